package keyring

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Near is the entry that was probably meant for the image.
type Near struct {
	// Secret is the name of the entry's secret.
	Secret string
	Entry  Entry
}

// Nearest returns the entry that needs the least change to match the image: those
// with the right host first, then by the difference between the hosts, then in the
// order of secrets and keys. It returns the zero value if an entry matches or there is
// none.
func (l Lookup) Nearest() (near Near) {
	if slices.ContainsFunc(l.Secrets, SecretState.Matches) {
		return Near{}
	}
	least := -1
	for _, n := range l.candidates() {
		if d := l.distance(n.Entry); least < 0 || d < least {
			near, least = n, d
		}
	}
	return near
}

// candidates returns the entries to compare, limited because a secret may have
// thousands and each comparison is quadratic in the length.
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

// distance returns how much is wrong with an entry. Anything but the host counts less
// than any difference between hosts.
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

// guess returns the host that the key was probably meant to name.
func guess(e Entry) string {
	if e.Host != "" && e.Why != OtherScheme {
		return e.Host
	}
	return strings.TrimSpace(authorityOf(e.Key))
}
