package probe

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// Behind cri-dockerd, daemon.json says which registries are asked over http. Where the
// runtime's text says nothing, it need not be what dockerd was started with.
func TestDocker(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Plain: true, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
	const mismatch = `Error response from daemon: Get "https://HUB/v2/": http: server gave HTTP response to HTTPS client`
	for name, tc := range map[string]struct {
		insecure, tag, text, want string
	}{
		"over https":           {text: "something new", tag: "1.0", want: "HTTPSMismatch Likely"},
		"over https, the text": {text: mismatch, tag: "1.0", want: "HTTPSMismatch Confirmed"},
		"over http":            {insecure: `"HUB"`, text: "something new", tag: "2.0", want: "TagNotFound Likely"},
		"over http, the text":  {insecure: `"HUB"`, text: "Error response from daemon: manifest for HUB/team/app:2.0 not found: manifest unknown: manifest unknown", tag: "2.0", want: "TagNotFound Confirmed"},
	} {
		hub := strings.NewReplacer("HUB", s.Host).Replace
		n := newNode(t, nil, map[string]string{"etc/docker/daemon.json": hub(`{"insecure-registries": [` + tc.insecure + `]}`), "certs.d/_default/hosts.toml": "server = 'https://other.test'\n"})
		n.runtime.Name, n.runtime.Release = "docker", "28.5.1"
		f := failure(hub("HUB/team/app:" + tc.tag))
		f.Message = hub(tc.text)
		if got, summary := n.judged(f); got != tc.want {
			t.Errorf("%s: %s: %s", name, got, summary)
		}
	}
}
