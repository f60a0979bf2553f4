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

// state returns how the kubelet reads the secret for image t, given the effective
// keys whose credentials it tries.
func (c content) state(t target, tried []string) SecretState {
	const most = 500
	out := SecretState{Name: c.name, Legacy: c.legacy, Problem: c.problem, Reason: c.reason}
	idle := 0
	for _, e := range c.entries {
		if !e.triedAs(tried) {
			idle++
		}
		if e.triedAs(tried) || idle <= most {
			out.Entries = append(out.Entries, e.state(t, tried))
		}
	}
	return out
}

func (e entry) triedAs(tried []string) bool { return e.usable() && among(tried, e.effective) }

func (e entry) state(t target, tried []string) Entry {
	out := Entry{Key: safeKey(e.key), Host: e.host(), Doubt: e.doubt()}
	if out.Matches = e.triedAs(tried); !out.Matches {
		out.Why, out.Text = e.whyNot(t)
		return out
	}
	if e.effective == hubKey && t.registry != hub && !t.matches(hubKey) {
		out.Doubt = HubCredentialLeak
	}
	if out.Doubt == "" && e.endsInWord(t) {
		out.Doubt = OtherFolder
	}
	out.Text, out.Padding = doubtText(out.Doubt, e), e.padding()
	return out
}

// host returns the entry's host[:port] as the kubelet matches it, safe to show.
func (e entry) host() string {
	at, ok := newEndpoint(e.effective)
	switch {
	case !e.address || !ok:
		return ""
	case at.port != "":
		return printable(at.host() + ":" + at.port)
	default:
		return printable(at.host())
	}
}
