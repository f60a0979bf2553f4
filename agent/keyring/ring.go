package keyring

import (
	"slices"
	"strings"
	"time"
)

// ring has the entries of all secrets by effective key, and under one key in
// the order of the secrets: the kubelet's BasicDockerKeyring.
type ring map[string][]held

type held struct {
	place int // of its secret in the pod's list
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

// attempts returns the effective keys whose logins the kubelet tries, in its
// order: reverse-sorted, so that of two keys for one host the longer path
// comes first (BasicDockerKeyring.Add). The key of Docker Hub is the fallback
// when nothing matches (BasicDockerKeyring.Lookup).
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

// among tells that a key is one of those that attempts returned.
func among(tried []string, key string) bool {
	_, found := slices.BinarySearchFunc(tried, key, descending)
	return found
}

// logins returns the attempts one by one, with places from first on. The
// kubelet does not remove duplicates.
func (r ring) logins(tried []string, first int, now time.Time) []Login {
	var out []Login
	for _, key := range tried {
		place, last := 0, -1
		for _, h := range r[key] {
			if h.place != last {
				place, last = first+len(out), h.place
			}
			out = append(out, h.login(place, now))
		}
	}
	return out
}

func (h held) login(order int, now time.Time) Login {
	l := NewLogin(h.from.name, h.entry.key, order, h.entry.username, h.entry.password)
	l.OfNode, l.UID, l.Changed = h.from.ofNode, h.from.uid, h.from.changed
	l.hash = h.entry.hash
	l.judge(now)
	return l
}
