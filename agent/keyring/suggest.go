package keyring

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Near is the entry that was most likely meant for the image.
type Near struct {
	// Secret is the name of the entry's secret.
	Secret string
	Entry  Entry
}

// Nearest returns the entry that needs the least change to match the image:
// first those with the right host, then by how much the hosts differ, then in
// the order of the secrets and keys. False if an entry matches already, or
// there is none.
func (l Lookup) Nearest() (Near, bool) {
	if slices.ContainsFunc(l.Secrets, SecretState.Matches) {
		return Near{}, false
	}
	all := l.candidates()
	if len(all) == 0 {
		return Near{}, false
	}
	return slices.MinFunc(all, func(a, b Near) int {
		return cmp.Compare(l.distance(a.Entry), l.distance(b.Entry))
	}), true
}

// candidates are the entries worth comparing; so few, because a secret may
// hold thousands and the comparison is quadratic in the length of each.
func (l Lookup) candidates() []Near {
	const most = 200
	var all []Near
	for _, s := range l.Secrets {
		for _, e := range s.Entries {
			all = append(all, Near{Secret: s.Name, Entry: e})
		}
	}
	return all[:min(len(all), most)]
}

// distance orders entries by how much is wrong with them. What is not about
// the host is less than any difference between hosts.
func (l Lookup) distance(e Entry) int {
	switch e.Why {
	case OtherPath, VersionPath, HubPath, LetterCase, HubUnused, BadPattern:
		return 0
	case OtherPort, HubAlias, LabelCount:
		return 1
	default:
		return 2 + levenshtein.ComputeDistance(strings.ToLower(guess(e)), l.Host)
	}
}

// guess is the host that the key was meant to name, where the kubelet reads
// none or another from it.
func guess(e Entry) string {
	if e.Host != "" && e.Why != OtherScheme {
		return e.Host
	}
	return strings.TrimSpace(authorityOf(e.Key))
}

// ServerFor returns what to write behind --docker-server in "kubectl create
// secret docker-registry" so that the kubelet uses the secret for the image:
// "https://index.docker.io/v1/" for images of Docker Hub, host[:port] for all
// others. It returns "" if the image is no valid reference, and if no key can
// name its registry (an IPv6 address without a port: the kubelet takes the
// brackets for a pattern).
func ServerFor(image diagnosis.Image) string {
	if !image.Valid() {
		return ""
	}
	t := newTarget(image)
	if t.registry == hub {
		return hubServer
	}
	if key, ok := effectiveKey(t.registry); !ok || !t.matches(key) {
		return ""
	}
	return t.registry
}
