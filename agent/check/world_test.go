//go:build linux

package check

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// shared is the world of all tests; creating it is slow.
var shared struct {
	once  sync.Once
	world *faulttest.World
	err   error
}

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if w := shared.world; w != nil {
		w.Close()
		_ = os.RemoveAll(w.Root())
	}
	os.Exit(status)
}

// world is a faulttest world whose names are in the hosts file: the resolver uses
// port 53, on which a test may not listen.
func world(t *testing.T) *faulttest.World {
	t.Helper()
	shared.once.Do(func() {
		root, err := os.MkdirTemp("", "check")
		if err != nil {
			t.Fatal(err)
		}
		if shared.world, shared.err = faulttest.Start(faulttest.Config{Root: root}); shared.err == nil {
			nameHosts(t, shared.world)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.world
}

func nameHosts(t *testing.T, w *faulttest.World) {
	t.Helper()
	hosts := []string{"tokens.fault.example", "mirror.fault.example"}
	for _, c := range slices.Concat(w.Cases(), w.InProcess()) {
		hosts = append(hosts, host(c.Image))
	}
	for _, h := range hosts[2:] {
		first, _, _ := strings.Cut(h, ".fault.example")
		hosts = append(hosts, "cdn-"+first[strings.LastIndex(first, ".")+1:]+".fault.example")
	}
	slices.Sort(hosts)
	text := "127.0.0.1 localhost\n"
	for _, h := range slices.Compact(hosts) {
		addrs, err := w.Resolve(t.Context(), h)
		for _, a := range addrs {
			if err == nil {
				text += fmt.Sprintf("%s %s\n", a, h)
			}
		}
	}
	write(t, filepath.Join(w.Root(), "etc/hosts"), text)
}

// host returns the hostname of an image's registry.
func host(image string) string {
	h, _, _ := net.SplitHostPort(strings.SplitN(image, "/", 2)[0])
	return h
}

// caseOf returns the world's case with a name.
func caseOf(t *testing.T, w *faulttest.World, name string) faulttest.Case {
	t.Helper()
	all := w.Cases()
	i := slices.IndexFunc(all, func(c faulttest.Case) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("the world has no case %s", name)
	}
	return all[i]
}

// options returns the options for a machine in the world, without a runtime.
func options(w *faulttest.World) Options {
	return Options{
		Output: "text", Kubelet: kubelet.Options{Dir: "/var/lib/kubelet"},
		Registries: nodeconfig.Options{
			Root: w.Root(), CertsDir: "/etc/containerd/certs.d", Version: "test", Proxy: w.Proxy,
			Timeouts: registry.Timeouts{DNS: long, Connect: long, TLS: long, Response: long, Total: long},
		},
		Platform: "", node: "ci-1", now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		getenv: environment("LANG=C.UTF-8"),
		Report: reportOf,
	}
}

// dockerAuths is a docker configuration.
func dockerAuths(t *testing.T, credentials ...faulttest.Credential) string {
	t.Helper()
	auths := map[string]any{}
	for _, l := range credentials {
		auths[l.Key] = map[string]string{"auth": basic(l.Reveal())}
	}
	return asJSON(t, map[string]any{"auths": auths})
}

// podOf returns a manifest of a pod for a case, with its secrets.
func podOf(t *testing.T, c faulttest.Case) string {
	t.Helper()
	var secrets []map[string]string
	text := ""
	for _, l := range c.Credentials {
		secrets = append(secrets, map[string]string{"name": l.Source})
		text += "---\n" + secretOf(t, l.Source, "", dockerAuths(t, l))
	}
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: " + asJSON(t, map[string]any{
		"imagePullSecrets": secrets,
		"containers":       []map[string]string{{"name": "app", "image": c.Image, "imagePullPolicy": c.Policy}},
	}) + "\n" + strings.ReplaceAll(text, "namespace: ''", "namespace: shop")
}

// proxyOf returns the URL of the world's proxy for an image.
func proxyOf(t *testing.T, w *faulttest.World, image string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+strings.SplitN(image, "/", 2)[0]+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := w.Proxy(r)
	if err != nil || u == nil {
		t.Fatalf("no proxy for %s: %v", image, err)
	}
	return u.String()
}
