package nodeconfig_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// configured is a node with a configuration file of containerd 1.x.
func configured(t *testing.T, registryTable string, more map[string]string) nodeconfig.Options {
	t.Helper()
	const plugin = "[plugins.\"io.containerd.grpc.v1.cri\".registry"
	files := map[string]string{
		"etc/containerd/config.toml":        "version = 2\n" + strings.ReplaceAll(registryTable, "[registry", plugin),
		"etc/ssl/certs/ca-certificates.crt": string(catest.New(t).PEM()),
	}
	maps.Copy(files, more)
	opts := options(node(t, files))
	opts.RuntimeVersion = "1.7.35"
	return opts
}

func TestLegacyMirrors(t *testing.T) {
	const mirrors = "[registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m1.test\", \"http://m2.test:5000/v2/hub\", \"m3.test\"]\n" +
		"[registry.mirrors.\"*\"]\nendpoint = [\"https://any.test/\"]\n" +
		"[registry.mirrors.\"own.test\"]\nendpoint = [\"http://own.test\"]\n" +
		"[registry.mirrors.\"none.test\"]\nendpoint = []\n" +
		"[registry.mirrors.\"local.test\"]\nendpoint = [\"localhost:5000\", \"127.0.0.1\"]\n"
	for host, want := range map[string][]string{
		"docker.io":      {"https://m1.test", "http://m2.test:5000", "https://m3.test", "https://registry-1.docker.io"},
		"quay.io":        {"https://any.test", "https://quay.io"},
		"own.test":       {"http://own.test"},
		"none.test":      {"https://none.test"},
		"local.test":     {"http://localhost:5000", "http://127.0.0.1", "https://local.test"},
		"localhost:5000": {"https://any.test", "http://localhost:5000"},
	} {
		for _, version := range []string{"1.6.36", "1.7.35", "2.0.5", "2.4.2"} {
			opts := configured(t, mirrors, nil)
			opts.RuntimeVersion = version
			eps, notices := endpoints(t, opts, host)
			var odd []nodeconfig.Notice // a slash is a path
			if want[0] == "https://any.test" {
				odd = []nodeconfig.Notice{{Kind: nodeconfig.NoticePathWithoutVersion, Path: "/etc/containerd/config.toml", Endpoint: "https://any.test"}}
			}
			if !slices.Equal(names(eps), want) || !slices.Equal(notices, odd) || len(nodeconfig.Load(opts).Notices()) > 0 {
				t.Errorf("%s, %s: endpoints %q, notices %v; want %q", version, host, names(eps), notices, want)
			}
			for i, e := range eps {
				if e.HTTPFallback || !e.Serves(ref(t, "x.test/a:1")) || (e.Source == "") != (i == len(eps)-1 && host != "docker.io" && host != "own.test" && host != "none.test" && host != "local.test") {
					t.Errorf("%s: %+v", host, e)
				}
			}
		}
	}
}

// Without config_path and mirrors, the versions differ in what they make of a
// node's own registry.
func TestLegacyDefault(t *testing.T) {
	for version, want := range map[string]string{"1.7.35": "http://localhost:5000", "2.0.5": "http://localhost:5000", "2.1.4": "https://localhost:5000", "2.4.2": "https://localhost:5000"} {
		opts := configured(t, "", nil)
		opts.RuntimeVersion = version
		if e := endpoint(t, opts, "localhost:5000"); e.String() != want {
			t.Errorf("%s: %s, want %s", version, e, want)
		}
	}
}

// A mirror's path precedes the repository, and the parameter ns names the registry.
func TestLegacyMirrorIsAsked(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts := configured(t, "[registry.mirrors.\"hub.test\"]\nendpoint = [\"https://"+s.Host+"/v2/proxy\"]\n"+
		"[registry.headers]\nX-Node = [\"n1\"]\n", map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM())})
	eps, _ := endpoints(t, opts, "hub.test")
	eps[0].Probe(t.Context(), ref(t, "hub.test/team/app:1.0"), nil)
	r := s.Requests()[0]
	if r.Path != "/v2/proxy/team/app/manifests/1.0" || r.Query != "ns=hub.test" || r.Header.Get("X-Node") != "n1" {
		t.Errorf("request %+v", r)
	}
}

// registry.headers go to all hosts, together with the host's own.
func TestHeadersOfAllHosts(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts := configured(t, "[registry]\nconfig_path = \"/certs.d\"\n[registry.headers]\nX-Node = [\"n1\"]\nX-Both = [\"1\"]\n", map[string]string{
		"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM()),
		"certs.d/" + s.Host + "/hosts.toml": fmt.Sprintf("server = 'https://%s'\n[host.'https://%s']\n[host.'https://%s'.header]\nx-both = '2'\n", s.Host, s.Host, s.Host),
	})
	eps, _ := endpoints(t, opts, s.Host)
	if a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); !a.Found {
		t.Fatal(a.Err)
	}
	if h := s.Requests()[0].Header; h.Get("X-Node") != "n1" || !slices.Equal(h["X-Both"], []string{"1", "2"}) {
		t.Errorf("header %v", h)
	}
}

func TestLegacyTLS(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	tls := func(settings string) string { return "[registry.configs.\"" + s.Host + "\".tls]\n" + settings }
	pem := map[string]string{"etc/pki/ca.pem": string(ca.PEM()), "etc/pki/bad.pem": "no certificate"}
	for name, tc := range map[string]struct {
		table, version string
		fault          registry.Fault
		refused        bool
		blind, client  bool
	}{
		"authority":        {table: tls("ca_file = '/etc/pki/ca.pem'\n")},
		"authority, 1.6":   {table: tls("ca_file = '/etc/pki/ca.pem'\n"), version: "1.6.1"},
		"none":             {fault: registry.FaultTLSUntrusted},
		"not verified":     {table: tls("insecure_skip_verify = true\n")},
		"file without any": {table: tls("ca_file = '/etc/pki/bad.pem'\n"), fault: registry.FaultTLSUntrusted},
		"no file":          {table: tls("ca_file = '/etc/pki/gone.pem'\n"), refused: true},
		"no key":           {table: tls("cert_file = '/etc/pki/ca.pem'\n"), refused: true},
		"no certificate":   {table: tls("key_file = '/etc/pki/ca.pem'\n"), refused: true},
		"key that is none": {table: tls("cert_file = '/etc/pki/ca.pem'\nkey_file = '/etc/pki/bad.pem'\n"), refused: true},
		"hidden authority": {table: tls("ca_file = '/opt/ca.pem'\n"), fault: registry.FaultTLSUntrusted, blind: true},
		"hidden client":    {table: tls("ca_file = '/etc/pki/ca.pem'\ncert_file = '/opt/c'\nkey_file = '/opt/k'\n"), client: true},
		"other endpoint's": {table: "[registry.configs.\"x.test\".tls]\ninsecure_skip_verify = true\n", fault: registry.FaultTLSUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			opts := configured(t, tc.table, pem)
			if tc.version != "" {
				opts.RuntimeVersion = tc.version
			}
			eps, notices, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), s.Host, ref(t, s.Host+"/whypull/whypull"))
			if tc.refused {
				var bad *nodeconfig.ConfigError
				if !errors.As(err, &bad) || bad.Kind != nodeconfig.NoticeEndpointInvalid || bad.Path != "/etc/containerd/config.toml" {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || len(eps) != 1 {
				t.Fatalf("%d endpoints, %v", len(eps), err)
			}
			if a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Fault != tc.fault {
				t.Errorf("fault %q, %v; want %q", a.Fault, a.Err, tc.fault)
			}
			if e := eps[0]; e.Blind != tc.blind || e.BlindClient != tc.client || (len(notices) > 0) != (tc.blind || tc.client) {
				t.Errorf("blind %t and %t, notices %v", e.Blind, e.BlindClient, notices)
			}
		})
	}
}

// TLS settings of registry.configs are gone in 2.0.
func TestLegacyTLSIgnored(t *testing.T) {
	const config = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"hub.test\".tls]\ninsecure_skip_verify = true\n"
	for version, ignored := range map[string]bool{"1.7.30": false, "2.0.5": true, "2.4.2": true} {
		opts := options(node(t, map[string]string{"etc/containerd/config.toml": config}))
		opts.RuntimeVersion = version
		for host, about := range map[string]bool{"hub.test": true, "other.test": false} {
			eps, notices := endpoints(t, opts, host)
			notice := nodeconfig.Notice{Kind: nodeconfig.NoticeTLSIgnored, Path: "/etc/containerd/config.toml", Endpoint: "https://" + host}
			if got := slices.Contains(notices, notice); got != (ignored && about) || eps[0].SkipVerify != (!ignored && about) {
				t.Errorf("%s, %s: %v", version, host, notices)
			}
		}
	}
}

func TestNodeCredential(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("alice:" + secret))
	auth := func(host, text string) string { return "[registry.configs.\"" + host + "\".auth]\n" + text }
	for name, tc := range map[string]struct {
		table, version string
		user           string
		notice         nodeconfig.NoticeKind
	}{
		"user":                     {table: auth("hub.test", "username = 'alice'\npassword = '"+secret+"'\n"), user: "alice"},
		"encoded":                  {table: auth("hub.test", "auth = '"+encoded+"'\n"), user: "alice"},
		"newest":                   {table: auth("hub.test", "auth = '"+encoded+"'\n"), user: "alice", version: "2.4.2"},
		"with config_path":         {table: "[registry]\nconfig_path = '/etc/none'\n" + auth("hub.test", "auth = '"+encoded+"'\n"), user: "alice"},
		"auths":                    {table: "[registry.auths.\"https://hub.test\"]\nauth = '" + encoded + "'\n", user: "alice"},
		"auths win":                {table: auth("hub.test", "username = 'bob'\n") + "[registry.auths.\"hub.test\"]\nusername = 'alice'\npassword = '" + secret + "'\n", user: "alice"},
		"another host":             {table: auth("x.test", "username = 'bob'\n")},
		"empty":                    {table: auth("hub.test", "")},
		"token":                    {table: auth("hub.test", "identitytoken = '"+secret+"'\n"), notice: nodeconfig.NoticeCredentialUnusable},
		"encoded wrongly":          {table: auth("hub.test", "auth = '%'\n"), notice: nodeconfig.NoticeCredentialUnusable},
		"encoded token":            {table: auth("hub.test", "auth = '"+base64.StdEncoding.EncodeToString([]byte(":"+secret))+"'\n"), notice: nodeconfig.NoticeCredentialUnusable},
		"no password":              {table: auth("hub.test", "username = 'alice'\n"), notice: nodeconfig.NoticeCredentialUnusable},
		"encoded, password empty":  {table: auth("hub.test", "auth = '"+base64.StdEncoding.EncodeToString([]byte("alice:"))+"'\n"), notice: nodeconfig.NoticeCredentialUnusable},
		"encoded without password": {table: auth("hub.test", "auth = 'YQ=='\n"), notice: nodeconfig.NoticeCredentialUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			opts := configured(t, tc.table, nil)
			if tc.version != "" {
				opts.RuntimeVersion = tc.version
			}
			eps, notices := endpoints(t, opts, "hub.test")
			e := eps[len(eps)-1]
			if tc.notice != "" && !slices.Equal(kinds(notices), []nodeconfig.NoticeKind{tc.notice}) {
				t.Errorf("notices %v, want %s", notices, tc.notice)
			}
			if tc.user == "" {
				if e.NodeCredential != nil || e.NodeCredentialSource != "" {
					t.Errorf("a credential of %q", e.NodeCredentialSource)
				}
				return
			}
			if e.NodeCredential == nil || !is(*e.NodeCredential, tc.user, secret) || e.NodeCredentialSource != "/etc/containerd/config.toml" {
				t.Fatalf("credential %t of %q", e.NodeCredential != nil, e.NodeCredentialSource)
			}
			credentialtest.NeverShows(t, e, secret)
			credentialtest.NeverShows(t, *nodeconfig.Load(opts), secret)
		})
	}
}

func TestMirrorsWithConfigPath(t *testing.T) {
	const mirrors = "[registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m.test\"]\n"
	const tls = "[registry.configs.\"hub.test\".tls]\ninsecure_skip_verify = true\n"
	const path = "[registry]\nconfig_path = '/etc/none'\n"
	for _, tc := range []struct {
		table, version string
		want           bool
	}{
		{path + mirrors, "1.6.1", true},
		{path + mirrors, "1.7.1", true},
		{path + mirrors, "2.0.1", true},
		{path + mirrors, "2.4.2", true},
		{path + tls, "1.6.1", true},
		{path + tls, "1.7.1", true},
		{path + tls, "2.0.1", false},
		{path, "1.7.1", false},
		{mirrors, "2.4.2", false},
		{mirrors, "2.2.0", true}, // the default stays
		{mirrors, "2.2.1", true},
		{mirrors, "2.2.2", false},
		{"[registry]\nconfig_path = ''\n" + mirrors, "2.2.1", true}, // it is migrated
		{"[registry]\nconfig_path = ''\n" + mirrors, "2.2.2", false},
	} {
		opts := configured(t, tc.table, nil)
		opts.RuntimeVersion = tc.version
		want := []nodeconfig.Notice{{Kind: nodeconfig.NoticeMirrorsBesidePath, Path: "/etc/containerd/config.toml"}}
		if !tc.want {
			want = nil
		}
		if got := nodeconfig.Load(opts).Notices(); !slices.Equal(got, want) {
			t.Errorf("%s with %q: notices %v", tc.version, tc.table, got)
		}
	}
}

func TestLegacyInvalid(t *testing.T) {
	for _, bad := range []string{"https://bad host/", "a%zz", "%zz://x"} {
		opts := configured(t, "[registry.mirrors.\"docker.io\"]\nendpoint = ['"+bad+"']\n", nil)
		_, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "docker.io", ref(t, "docker.io/whypull/whypull"))
		var refused *nodeconfig.ConfigError
		if !errors.As(err, &refused) || refused.Kind != nodeconfig.NoticeEndpointInvalid || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	opts := configured(t, "[registry.mirrors.\"docker.io\"]\nendpoint = 'https://m.test'\n", nil) // no list
	if got := kinds(nodeconfig.Load(opts).Notices()); !slices.Equal(got, []nodeconfig.NoticeKind{nodeconfig.NoticeUnreadable}) {
		t.Errorf("notices %v", got)
	}
}

func is(c credential.Credential, username, password string) bool {
	u, p := c.Reveal()
	return u == username && p == password
}
