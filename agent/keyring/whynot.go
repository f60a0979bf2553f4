package keyring

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// WhyNot is the reason why an entry does not match an image.
type WhyNot string

// The reasons, in the order in which they are checked.
const (
	Undecodable  WhyNot = "Undecodable"  // the entry is malformed
	NotAnAddress WhyNot = "NotAnAddress" // the key does not parse: the kubelet drops the entry
	OtherScheme  WhyNot = "OtherScheme"  // the key begins with a scheme that is not http or https
	HubUnused    WhyNot = "HubUnused"    // index.docker.io, and another entry matches the image
	HubPath      WhyNot = "HubPath"      // index.docker.io with a path, as in https://index.docker.io/v1
	HubAlias     WhyNot = "HubAlias"     // another name of Docker Hub that the kubelet does not know
	BadPattern   WhyNot = "BadPattern"   // the host is read as a pattern that is invalid or does not match itself
	LetterCase   WhyNot = "LetterCase"   // the same host in different case
	LabelCount   WhyNot = "LabelCount"   // a wildcard matches exactly one label of a hostname
	OtherHost    WhyNot = "OtherHost"    // another host
	OtherPort    WhyNot = "OtherPort"    // the same host, another port or none
	VersionPath  WhyNot = "VersionPath"  // /v1 or /v2 without a trailing slash is a path
	OtherPath    WhyNot = "OtherPath"    // the key's path is not a prefix of the image's
)

// whyNot returns the first reason that applies to an entry that does not match, and the
// sentence on it.
func (e entry) whyNot(t target) (WhyNot, string) {
	name := quote(safeKey(e.key))
	key, ok := newEndpoint(e.effective)
	switch {
	case e.fault != "":
		return Undecodable, e.fault
	case !e.address:
		return NotAnAddress, name + notAddress(e.key)
	case otherScheme(e.key) != "":
		return OtherScheme, fmt.Sprintf("%s begins with %q; the kubelet accepts only http:// and https://", name, otherScheme(e.key))
	case e.effective == hubKey && t.defaultRegistry():
		return HubUnused, name + " is used only when no other entry matches, and another one does"
	case !ok || !t.valid:
		return NotAnAddress, name + notAddress(e.key)
	case t.registry == hub && key.host() == hubKey && key.port == "":
		return HubPath, fmt.Sprintf("%s is read as a path on Docker Hub; its key is %q, with a trailing slash", name, hubServer)
	case t.registry == hub && slices.Contains(hubAliases, strings.ToLower(key.host())):
		return HubAlias, fmt.Sprintf("%s is never used for images of Docker Hub; its key is %q", name, hubServer)
	case !key.coversHost(t.endpoint):
		return key.hostDiffers(name, t)
	}
	return key.restDiffers(name, t)
}

// hubAliases are names of Docker Hub that people take from its website and from
// error messages.
var hubAliases = []string{ //nolint:gochecknoglobals // never written
	"registry-1.docker.io", "registry.docker.io", "registry.hub.docker.com", "hub.docker.com",
	"auth.docker.io", "www.docker.io", "docker.com", "index.docker.io",
}

// hostDiffers is whyNot for a key whose host does not match.
func (e endpoint) hostDiffers(name string, t target) (WhyNot, string) {
	switch image := t.endpoint; {
	case e.host() == image.host() || !e.pattern():
		return BadPattern, name + " is read as a wildcard pattern, which does not match " + t.registry
	case strings.EqualFold(e.host(), image.host()):
		return LetterCase, name + " and the image's host " + t.registry + " differ in upper and lower case"
	case strings.ContainsAny(e.host(), "*?") && e.suffixOf(image):
		return LabelCount, name + " does not match " + t.registry + ": a wildcard matches exactly one part of a hostname"
	}
	return OtherHost, name + " is for another host; the image is on " + t.place()
}

// pattern reports whether every label is a valid shell pattern.
func (e endpoint) pattern() bool {
	return !slices.ContainsFunc(e.labels, func(label string) bool {
		_, err := path.Match(label, "")
		return err != nil
	})
}

// suffixOf reports whether the labels after the first, which is the wildcard, are a
// suffix of the image's host, so that only the number of labels is wrong.
func (e endpoint) suffixOf(image endpoint) bool {
	fixed := e.labels[1:]
	return len(e.labels) != len(image.labels) && len(fixed) <= len(image.labels) &&
		slices.Equal(fixed, image.labels[len(image.labels)-len(fixed):])
}

// restDiffers is whyNot for a key whose host matches.
func (e endpoint) restDiffers(name string, t target) (WhyNot, string) {
	switch {
	case e.port != t.port:
		return OtherPort, name + " names " + e.portText() + "; the image is on " + t.registry + portTrap(e.port, t.port)
	case e.path == "/v1" || e.path == "/v2":
		return VersionPath, name + " is read as a path; it needs a trailing slash, or no path at all"
	}
	return OtherPath, name + " is for other paths; the image is " + t.name + pathTrap(e.path)
}

// place returns the image's host, and why it is Docker Hub if the image does not name
// it.
func (t target) place() string {
	if t.bare {
		return t.registry + ", because it names no registry"
	}
	return t.registry
}

// notAddress returns the end of the sentence on a key that does not parse.
func notAddress(key string) string {
	hint := ""
	switch {
	case strings.ContainsAny(key, " \t\r\n"):
		hint = ": it contains a blank"
	case strings.HasSuffix(authorityOf(key), ":*"):
		hint = ": wildcards do not work in ports"
	case isIPv6(authorityOf(key)):
		hint = ": an IPv6 address needs brackets, as in [" + authorityOf(key) + "]:5000"
	}
	return " is not the address of a registry" + hint + "; the kubelet ignores the entry"
}

func (e endpoint) portText() string {
	if e.port == "" {
		return "no port"
	}
	return "port " + printable(e.port)
}

// portTrap returns a hint that the kubelet does not know default ports.
func portTrap(ports ...string) string {
	if slices.Contains(ports, "") && (slices.Contains(ports, "443") || slices.Contains(ports, "80")) {
		return " (to the kubelet, no port and the default port differ)"
	}
	return ""
}

// PathHint returns a hint in parentheses on a key whose path looks right and does not
// match; "" if there is none.
func (e Entry) PathHint() string {
	_, path, _ := strings.Cut(strings.TrimPrefix(e.Key, schemeOf(e.Key)), "/")
	return strings.TrimPrefix(pathTrap("/"+path), " ")
}

// pathTrap returns a hint on paths that look right.
func pathTrap(path string) string {
	switch {
	case strings.ContainsAny(path, "*?["):
		return " (wildcards do not work in paths)"
	case strings.ContainsAny(path, ":@"):
		return " (a key must not have a tag or digest)"
	case strings.HasSuffix(path, "/"):
		return " (the trailing slash counts)"
	}
	return ""
}

// otherScheme returns the scheme of a key, with its slashes, unless it is one of the
// two that the kubelet removes, which are case-sensitive.
func otherScheme(key string) string {
	scheme := schemeOf(key)
	if scheme == "https://" || scheme == "http://" {
		return ""
	}
	return scheme
}

// schemeOf returns what looks like a scheme, with its slashes; "" if nothing does.
func schemeOf(key string) string {
	scheme, _, found := strings.Cut(key, "://")
	if !found || scheme == "" || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-") != "" {
		return ""
	}
	return scheme + "://"
}

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
