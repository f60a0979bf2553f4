package keyring

import (
	"fmt"
	"path"
	"slices"
	"strings"
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

// whyNot returns the first reason that applies to an entry that does not match.
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

// unusable returns the reasons that do not depend on the image.
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

// hubTrap returns the reasons specific to images of Docker Hub.
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

// hubAliases returns names of Docker Hub that people take from its website and from
// error messages.
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

// pattern reports whether every label is a valid shell pattern.
func (e endpoint) pattern() bool {
	for _, label := range e.labels {
		if _, err := path.Match(label, ""); err != nil {
			return false
		}
	}
	return true
}

// suffixOf reports whether the labels after the first, which is the wildcard, are a
// suffix of the image's host, so that only the number of labels is wrong.
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

// whyNotText returns the sentence on a reason.
func (e entry) whyNotText(why WhyNot, t target) string {
	key := quote(safeKey(e.key))
	switch why {
	case Undecodable:
		return e.fault
	case NotAnAddress:
		return key + " is not the address of a registry" + notAddress(e.key) + "; the kubelet ignores the entry"
	case OtherScheme:
		return fmt.Sprintf("%s begins with %q; the kubelet accepts only http:// and https://", key, otherScheme(e.key))
	case HubUnused:
		return key + " is used only when no other entry matches, and another one does"
	case HubPath:
		return fmt.Sprintf("%s is read as a path on Docker Hub; its key is %q, with a trailing slash", key, hubServer)
	case HubAlias:
		return fmt.Sprintf("%s is never used for images of Docker Hub; its key is %q", key, hubServer)
	case BadPattern:
		return key + " is read as a wildcard pattern, which does not match " + t.registry
	case LetterCase:
		return key + " and the image's host " + t.registry + " differ in upper and lower case"
	case LabelCount:
		return key + " does not match " + t.registry + ": a wildcard matches exactly one part of a hostname"
	case OtherHost:
		return key + " is for another host; the image is on " + t.place()
	case OtherPort:
		return key + " names " + e.portText() + "; the image is on " + t.registry + portTrap(e, t)
	case VersionPath:
		return key + " is read as a path; it needs a trailing slash, or no path at all"
	case OtherPath:
		return key + " is for other paths; the image is " + t.name + pathTrap(e)
	default:
		return ""
	}
}

// place returns the image's host, and why it is Docker Hub if the image does not name
// it.
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
		return ": wildcards do not work in ports"
	case isIPv6(authority):
		return ": an IPv6 address needs brackets, as in [" + authority + "]:5000"
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

// portTrap returns a hint that the kubelet does not know default ports.
func portTrap(e entry, t target) string {
	key, _ := newEndpoint(e.effective)
	ports := []string{key.port, t.port}
	if slices.Contains(ports, "") && (slices.Contains(ports, "443") || slices.Contains(ports, "80")) {
		return " (to the kubelet, no port and the default port differ)"
	}
	return ""
}

// pathTrap returns a hint on paths that look right.
func pathTrap(e entry) string {
	key, _ := newEndpoint(e.effective)
	switch {
	case strings.ContainsAny(key.path, "*?["):
		return " (wildcards do not work in paths)"
	case strings.ContainsAny(key.path, ":@"):
		return " (a key must not have a tag or digest)"
	case strings.HasSuffix(key.path, "/"):
		return " (the trailing slash counts)"
	default:
		return ""
	}
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
