package keyring

import (
	"net"
	"net/url"
	"path"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// hubKey is the effective key of Docker Hub (defaultRegistryHost), hub the host in
// the names of its images, and hubServer the address that docker login and kubectl
// write for it.
const (
	hubKey    = "index.docker.io"
	hub       = "docker.io"
	hubServer = "https://index.docker.io/v1/"
)

// effectiveKey returns a registry key as BasicDockerKeyring.Add indexes it: without
// scheme, user, query, and a leading /v1/ or /v2/ of the path. It returns false if
// the key does not parse: the kubelet drops the entry.
func effectiveKey(written string) (string, bool) {
	if !strings.HasPrefix(written, "https://") && !strings.HasPrefix(written, "http://") {
		written = "https://" + written
	}
	u, err := url.Parse(written)
	if err != nil {
		return "", false
	}
	p := u.Path
	if strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v2/") {
		p = p[len("/v1"):]
	}
	if p == "/" {
		p = ""
	}
	return u.Host + p, true
}

// endpoint is a parsed key or image.
type endpoint struct {
	labels []string // of the host
	port   string
	path   string
}

// newEndpoint parses a key or image without scheme (ParseSchemelessURL and SplitURL).
// Like the kubelet, it parses an effective key for the second time, which can change
// it: "%3F" has become "?".
func newEndpoint(s string) (endpoint, bool) {
	u, err := url.Parse("https://" + s)
	if err != nil {
		return endpoint{}, false
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, port = u.Host, ""
	}
	return endpoint{labels: strings.Split(host, "."), port: port, path: u.Path}, true
}

func (e endpoint) host() string { return strings.Join(e.labels, ".") }

// covers is URLsMatch: the same port, the same number of labels, each matched as a
// shell pattern, and a path that is a string prefix of the image's.
func (e endpoint) covers(image endpoint) bool {
	return e.port == image.port && e.coversHost(image) && strings.HasPrefix(image.path, e.path)
}

func (e endpoint) coversHost(image endpoint) bool {
	if len(e.labels) != len(image.labels) {
		return false
	}
	for i, pattern := range e.labels {
		if ok, err := path.Match(pattern, image.labels[i]); !ok || err != nil {
			return false
		}
	}
	return true
}

// target is an image as the kubelet looks it up.
type target struct {
	endpoint
	name     string // normalized, without tag
	registry string // the first part of the name
	valid    bool   // the name parses as a URL; "[:::]:5000/app" does not
	bare     bool   // the image as written names no registry
}

func newTarget(image diagnosis.Image) target {
	t := target{name: image.Name(), registry: image.Registry}
	t.endpoint, t.valid = newEndpoint(t.name)
	first, _, found := strings.Cut(image.Written, "/")
	t.bare = t.registry == hub && (!found || first != hub && first != hubKey)
	return t
}

// endsInWord reports whether the entry's path ends inside a part of the image's:
// the key reg/team is for reg/team-b too.
func (e entry) endsInWord(t target) bool {
	key, ok := newEndpoint(e.effective)
	if !ok || strings.HasSuffix(key.path, "/") || key.path == "" {
		return false
	}
	rest, found := strings.CutPrefix(t.path, key.path)
	return found && rest != "" && !strings.HasPrefix(rest, "/")
}

func (t target) matches(effective string) bool {
	e, ok := newEndpoint(effective)
	return ok && t.valid && e.covers(t.endpoint)
}

// defaultRegistry is isDefaultRegistryMatch for normalized names. Apart from Docker
// Hub it is true for hosts without dot and port: "localhost", and names that count as
// a host because of an uppercase letter.
func (t target) defaultRegistry() bool {
	return t.registry == hub || !strings.ContainsAny(t.registry, ".:")
}
