package keyring

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// WhyNot says why an entry is not for an image.
type WhyNot string

// The reasons, in the order in which they are looked for; each stands for
// entries that those before it do not explain.
const (
	Undecodable  WhyNot = "Undecodable"  // the entry itself breaks the secret
	NotAnAddress WhyNot = "NotAnAddress" // the key does not parse: the kubelet drops the entry
	OtherScheme  WhyNot = "OtherScheme"  // the key begins with a scheme that is not http or https
	HubUnused    WhyNot = "HubUnused"    // index.docker.io, and another entry matches the image
	HubPath      WhyNot = "HubPath"      // index.docker.io with a path, as in https://index.docker.io/v1
	HubAlias     WhyNot = "HubAlias"     // another name of Docker Hub's, which the kubelet does not know
	BadPattern   WhyNot = "BadPattern"   // the host is read as a pattern, and is none or not itself
	LetterCase   WhyNot = "LetterCase"   // the same host in other letters, upper or lower
	LabelCount   WhyNot = "LabelCount"   // a wildcard stands for exactly one part of a host name
	OtherHost    WhyNot = "OtherHost"    // another host
	OtherPort    WhyNot = "OtherPort"    // the same host, another port or none
	VersionPath  WhyNot = "VersionPath"  // /v1 or /v2 without a slash behind it is a path
	OtherPath    WhyNot = "OtherPath"    // the key's path is not the beginning of the image's
)

// whyNot is the first reason that applies to an entry that does not match.
func (e entry) whyNot(t target) WhyNot {
	if why := e.unusable(t); why != "" {
		return why
	}
	key, ok := newEndpoint(e.effective)
	if !ok || !t.valid {
		return NotAnAddress
	}
	if why := e.hubTrap(key, t); why != "" {
		return why
	}
	if !key.coversHost(t.endpoint) {
		return key.hostDiffers(t.endpoint)
	}
	return key.restDiffers(t.endpoint)
}

// unusable are the reasons that have nothing to do with the image.
func (e entry) unusable(t target) WhyNot {
	switch {
	case e.fault != "":
		return Undecodable
	case !e.address:
		return NotAnAddress
	case otherScheme(e.key) != "":
		return OtherScheme
	case e.effective == hubKey && t.defaultRegistry():
		return HubUnused
	default:
		return ""
	}
}

// hubTrap are the reasons peculiar to images of Docker Hub.
func (e entry) hubTrap(key endpoint, t target) WhyNot {
	switch {
	case t.registry != hub:
		return ""
	case key.host() == hubKey && key.port == "":
		return HubPath
	case slices.Contains(hubAliases(), strings.ToLower(key.host())):
		return HubAlias
	default:
		return ""
	}
}

// hubAliases are names of Docker Hub that people take from its own pages and
// from the addresses in error messages.
func hubAliases() []string {
	return []string{
		"registry-1.docker.io", "registry.docker.io", "registry.hub.docker.com", "hub.docker.com",
		"auth.docker.io", "www.docker.io", "docker.com", "index.docker.io",
	}
}

func (e endpoint) hostDiffers(image endpoint) WhyNot {
	switch {
	case e.host() == image.host() || !e.pattern():
		return BadPattern
	case strings.EqualFold(e.host(), image.host()):
		return LetterCase
	case strings.ContainsAny(e.host(), "*?") && e.suffixOf(image):
		return LabelCount
	default:
		return OtherHost
	}
}

// pattern tells that every label is a valid shell pattern.
func (e endpoint) pattern() bool {
	for _, label := range e.labels {
		if _, err := path.Match(label, ""); err != nil {
			return false
		}
	}
	return true
}

// suffixOf tells that the labels behind the first, which is the wildcard, are
// the end of the image's host, so that only the number of labels is wrong.
func (e endpoint) suffixOf(image endpoint) bool {
	fixed := e.labels[1:]
	return len(e.labels) != len(image.labels) && len(fixed) <= len(image.labels) &&
		slices.Equal(fixed, image.labels[len(image.labels)-len(fixed):])
}

func (e endpoint) restDiffers(image endpoint) WhyNot {
	switch {
	case e.port != image.port:
		return OtherPort
	case e.path == "/v1" || e.path == "/v2":
		return VersionPath
	default:
		return OtherPath
	}
}

// whyNotText is the sentence on a reason.
func (e entry) whyNotText(why WhyNot, t target) string {
	key := quote(safeKey(e.key))
	switch why {
	case Undecodable:
		return e.fault
	case NotAnAddress:
		return key + " is not the address of a registry" + notAddress(e.key) + "; the kubelet ignores the entry"
	case OtherScheme:
		return fmt.Sprintf("%s begins with %q; the kubelet understands only http:// and https:// there", key, otherScheme(e.key))
	case HubUnused:
		return key + " is used only when no other entry matches, and another one does"
	case HubPath:
		return fmt.Sprintf("%s is read as a path on Docker Hub; its key is %q, with the slash at the end", key, hubServer)
	case HubAlias:
		return fmt.Sprintf("%s is never used for images of Docker Hub; its key is %q", key, hubServer)
	case BadPattern:
		return key + " is read as a pattern with wildcards, which does not stand for " + t.registry
	case LetterCase:
		return key + " and the image's host " + t.registry + " differ in upper and lower case"
	case LabelCount:
		return key + " does not stand for " + t.registry + ": a wildcard is exactly one part of a host name"
	case OtherHost:
		return key + " is for another host; the image is on " + t.place()
	case OtherPort:
		return key + " names " + e.portText() + "; the image is on " + t.registry + portTrap(e, t)
	case VersionPath:
		return key + " is read as a path; it needs a slash at the end, or no path at all"
	case OtherPath:
		return key + " is for other paths; the image is " + t.name + pathTrap(e)
	default:
		return ""
	}
}

// place names the image's host, and why it is Docker Hub when the image does
// not say so.
func (t target) place() string {
	if t.bare {
		return t.registry + ", because it names no registry"
	}
	return t.registry
}

func notAddress(key string) string {
	authority := authorityOf(key)
	switch {
	case strings.ContainsAny(key, " \t\r\n"):
		return ": it contains a blank"
	case strings.HasSuffix(authority, ":*"):
		return ": there are no wildcards in ports"
	default:
		return ""
	}
}

func (e entry) portText() string {
	if key, _ := newEndpoint(e.effective); key.port != "" {
		return "port " + printable(key.port)
	}
	return "no port"
}

// portTrap explains that the kubelet does not know default ports.
func portTrap(e entry, t target) string {
	key, _ := newEndpoint(e.effective)
	ports := []string{key.port, t.port}
	if slices.Contains(ports, "") && (slices.Contains(ports, "443") || slices.Contains(ports, "80")) {
		return " (no port and the default port are not the same to the kubelet)"
	}
	return ""
}

// pathTrap explains the paths that look right.
func pathTrap(e entry) string {
	key, _ := newEndpoint(e.effective)
	switch {
	case strings.ContainsAny(key.path, "*?["):
		return " (there are no wildcards in paths)"
	case strings.ContainsAny(key.path, ":@"):
		return " (a key has no tag and no digest)"
	case strings.HasSuffix(key.path, "/"):
		return " (the slash at the key's end counts)"
	default:
		return ""
	}
}

// otherScheme returns the scheme at the beginning of a key, with its slashes,
// unless the kubelet cuts it off. It looks for exactly these two in exactly
// these letters.
func otherScheme(key string) string {
	scheme := schemeOf(key)
	if scheme == "https://" || scheme == "http://" {
		return ""
	}
	return scheme
}

// schemeOf returns what looks like a scheme, with its slashes.
func schemeOf(key string) string {
	scheme, _, found := strings.Cut(key, "://")
	if !found || scheme == "" || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-") != "" {
		return ""
	}
	return scheme + "://"
}
