package nodeconfig_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// One host is asked another question by another path or repository.
func TestKey(t *testing.T) {
	image := ref(t, "quay.test/foo:1")
	opts := options(node(t, map[string]string{"certs.d/quay.test/hosts.toml": "[host.'https://h.test/v2/a']\noverride_path = true\n[host.'https://h.test/v2/b']\noverride_path = true\n"}))
	opts.CertsDir = "/certs.d"
	byPath, _ := endpoints(t, opts, "quay.test")
	mirror := crio(t, map[string]string{registries: "[[registry]]\nlocation = 'quay.test'\n[[registry.mirror]]\nlocation = 'quay.test/mirror'\n"})
	byName, _, err := sources(t, mirror, "quay.test/foo:1")
	if err != nil {
		t.Fatal(err)
	}
	opts = options(node(t, map[string]string{"certs.d/quay.test/hosts.toml": "server = 'https://h.test'\nskip_verify = true\n[host.'https://h.test']\n"}))
	opts.CertsDir = "/certs.d"
	byTrust, _ := endpoints(t, opts, "quay.test")
	opts = options(node(t, map[string]string{
		"certs.d/quay.test/hosts.toml": "server = 'https://h.test'\nca = 'ca.pem'\n[host.'https://h.test']\n",
		"certs.d/quay.test/ca.pem":     string(catest.New(t).PEM()),
	}))
	opts.CertsDir = "/certs.d"
	byCA, _ := endpoints(t, opts, "quay.test")
	opts = options(node(t, map[string]string{"certs.d/quay.test/hosts.toml": "server = 'https://h.test'\n[header]\nX-Team = 'a'\n[host.'https://h.test']\n"}))
	opts.CertsDir = "/certs.d"
	byHeader, _ := endpoints(t, opts, "quay.test")
	insecure := crio(t, map[string]string{registries: "[[registry]]\nlocation = 'quay.test'\ninsecure = true\n[[registry.mirror]]\nlocation = 'quay.test'\n"})
	byInsecure, _, err := sources(t, insecure, "quay.test/foo:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, eps := range [][]registry.Endpoint{byPath, byName, byTrust, byCA, byHeader, byInsecure} {
		if len(eps) < 2 || eps[0].String() != eps[1].String() || eps[0].Key(image) == eps[1].Key(image) {
			t.Errorf("endpoints %v, keys %q and %q", eps, eps[0].Key(image), eps[1].Key(image))
		}
	}
	opts = options(node(t, map[string]string{"certs.d/quay.test/hosts.toml": "server = 'https://h.test'\n[host.'https://h.test']\n"}))
	opts.CertsDir = "/certs.d"
	if same, _ := endpoints(t, opts, "quay.test"); len(same) != 2 || same[0].Key(image) != same[1].Key(image) {
		t.Errorf("endpoints %v differ", same)
	}
	opts = options(node(t, map[string]string{"certs.d/quay.test/hosts.toml": "[host.'https://h.test/v2/a']\noverride_path = true\n[host.'https://h.test/v2/b']\noverride_path = true\n"}))
	opts.CertsDir = "/certs.d"
	e := byPath[0]
	if again, _ := endpoints(t, opts, "quay.test"); again[0].Key(image) != e.Key(image) || e.Key(image) == e.Key(ref(t, "quay.test/foo:2")) {
		t.Errorf("key %q", e.Key(image))
	}
}

func TestEmptyCredentialFallsBack(t *testing.T) {
	for runtime, want := range map[string]bool{"containerd": false, "": false, "cri-o": true} {
		opts := options(node(t, nil))
		opts.Runtime, opts.TempDir = runtime, t.TempDir()
		if got := nodeconfig.Load(opts).EmptyCredentialFallsBack(); got != want {
			t.Errorf("%s: %t", runtime, got)
		}
	}
}

func TestEndpointDoesNotPrint(t *testing.T) {
	opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": "server = 'https://hub.test'\n[header]\nX-Api-Key = '" + secret + "'\n"}))
	opts.CertsDir, opts.RuntimeVersion = "/certs.d", "2.4.2"
	e := endpoint(t, opts, "hub.test")
	credentialtest.NeverShows(t, e, secret)
	credentialtest.NeverShows(t, e.Settings, secret)
	if text := fmt.Sprint(e); text != "https://hub.test" {
		t.Errorf("printed: %s", text)
	}
	if text, err := json.Marshal(e); err != nil || !strings.Contains(string(text), "hub.test") {
		t.Errorf("encoded: %s, %v", text, err)
	}
}

// Headers, which often hold secrets, go to a token server only where the
// runtime sends them there.
func TestHeadersOfTokenServer(t *testing.T) {
	const path, local = "[registry]\nconfig_path = '/certs.d'\n", "[registry.configs.'x.test'.auth]\nusername = 'a'\n"
	for _, tc := range []struct {
		version, table string
		own            bool
		want           []string
	}{
		{"1.6.36", path, true, nil},
		{"1.7.35", path, true, nil},
		{"2.0.5", path, true, nil},
		{"2.1.4", path, true, []string{"own"}},
		{"2.4.2", path, true, []string{"own"}},
		{"2.4.2", path, false, nil},
		{"2.4.2", path + local, false, []string{"all"}},
		{"2.4.2", path + local, true, []string{"own"}},
		{"2.0.5", path + local, false, nil},
	} {
		s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer}}})
		files := map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM()), "certs.d/unused/x": ""}
		if tc.own {
			files["certs.d/"+s.Host+"/hosts.toml"] = "[host.'https://" + s.Host + "']\n[host.'https://" + s.Host + "'.header]\nX-Key = 'own'\n"
		}
		opts := configured(t, tc.table+"[registry.headers]\nX-Key = ['all']\n", files)
		opts.RuntimeVersion = tc.version
		eps, _ := endpoints(t, opts, s.Host)
		if a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); !a.Found {
			t.Fatal(a.Err)
		}
		for _, r := range s.Requests() {
			want := []string{"all"}
			if tc.own {
				want = []string{"all", "own"}
			}
			if r.Path == "/token" {
				want = tc.want
			}
			if got := r.Header["X-Key"]; !slices.Equal(got, want) || r.UserAgent != "whypull/1.2.3" {
				t.Errorf("%s, own %t, %q: %s has %q by %q, want %q", tc.version, tc.own, tc.table, r.Path, got, r.UserAgent, want)
			}
		}
	}
}
