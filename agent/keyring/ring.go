package keyring

import (
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/cri/credential"
)

// ring holds the entries of all secrets by effective key, those of one key in the
// order of the secrets, like the kubelet's BasicDockerKeyring.
type ring map[string][]held

type held struct {
	place int // index of its secret in the pod's list
	from  content
	entry entry
}

func newRing(contents []content) ring {
	r := ring{}
	for i, c := range contents {
		for _, e := range c.entries {
			if e.usable() {
				r[e.effective] = append(r[e.effective], held{i, c, e})
			}
		}
	}
	return r
}

// attempts returns the effective keys whose credentials the kubelet tries, in its
// order: reverse-sorted, so that longer paths of a host come first
// (BasicDockerKeyring.Add). If nothing matches, the key of Docker Hub is the fallback
// (BasicDockerKeyring.Lookup).
func (r ring) attempts(t target) []string {
	var tried []string
	for key := range r {
		if t.matches(key) {
			tried = append(tried, key)
		}
	}
	if len(tried) == 0 && t.defaultRegistry() && len(r[hubKey]) > 0 {
		return []string{hubKey}
	}
	slices.SortFunc(tried, descending)
	return tried
}

func descending(a, b string) int { return strings.Compare(b, a) }

// among reports whether a key is in the result of attempts.
func among(tried []string, key string) bool {
	_, found := slices.BinarySearchFunc(tried, key, descending)
	return found
}

// credentials returns the attempts with Order from first on. Like the kubelet, it
// does not remove duplicates.
func (r ring) credentials(tried []string, first int, now time.Time) []Credential {
	var out []Credential
	for _, key := range tried {
		place, last := 0, -1
		for _, h := range r[key] {
			if h.place != last {
				place, last = first+len(out), h.place
			}
			out = append(out, h.credential(place, now))
		}
	}
	return out
}

func (h held) credential(order int, now time.Time) Credential {
	c := NewCredential(h.from.name, h.entry.key, order, credential.New(h.entry.username, h.entry.password))
	c.OfNode, c.OfProvider, c.UID, c.Changed = h.from.ofNode, h.from.ofProvider, h.from.uid, h.from.changed
	c.hash = h.entry.hash
	c.judge(now)
	return c
}
