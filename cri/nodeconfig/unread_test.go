package nodeconfig_test

import (
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// Files that somebody has written for a registry, and that the runtime does not read.
func TestUnreadFiles(t *testing.T) {
	pem := string(catest.New(t).PEM())
	const dir = "etc/containerd/certs.d/hub.test:5000/"
	const path = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n"
	for name, tc := range map[string]struct {
		runtime, image string // containerd, hub.test:5000/a:1
		files          map[string]string
		path           string
		kind           nodeconfig.NoticeKind
	}{
		"Docker's insecure registry":  {files: map[string]string{daemonJSON: `{"insecure-registries": ["http://hub.test:5000"]}`}, path: daemonJSON, kind: nodeconfig.NoticeOfDocker},
		"one of another registry":     {files: map[string]string{daemonJSON: `{"insecure-registries": ["hub.test"], "registry-mirrors": ["https://m.test"]}`}},
		"Docker's insecure network":   {image: "10.1.2.3/a:1", files: map[string]string{daemonJSON: `{"insecure-registries": ["10.0.0.0/8"]}`}, path: daemonJSON, kind: nodeconfig.NoticeOfDocker},
		"Docker's mirrors":            {image: "nginx", files: map[string]string{daemonJSON: `{"registry-mirrors": ["https://m.test"]}`}, path: daemonJSON, kind: nodeconfig.NoticeOfDocker},
		"Docker's, with CRI-O":        {runtime: "cri-o", files: map[string]string{daemonJSON: `{"insecure-registries": ["hub.test:5000"]}`}, path: daemonJSON, kind: nodeconfig.NoticeOfDocker},
		"localhost is insecure":       {image: "localhost:5000/a:1", files: map[string]string{daemonJSON: `{}`}},
		"Docker's, invalid":           {files: map[string]string{daemonJSON: `{"insecure-registries": "hub.test:5000"}`}},
		"authority":                   {files: map[string]string{dir + "ca.crt": pem}},
		"authority as .pem":           {files: map[string]string{dir + "ca.pem": pem}, path: dir + "ca.pem", kind: nodeconfig.NoticeNotCrt},
		"hosts.toml without it":       {files: map[string]string{dir + "ca.crt": pem, dir + "hosts.toml": mirror("m.test")}, path: dir + "ca.crt", kind: nodeconfig.NoticeNotNamed},
		"hosts.toml with it":          {files: map[string]string{dir + "ca.crt": pem, dir + "hosts.toml": mirror("m.test") + "ca = 'ca.crt'\n"}},
		"hosts.toml does not parse":   {files: map[string]string{dir + "ca.crt": pem, dir + "hosts.toml": "["}},
		"nor, as .pem":                {files: map[string]string{dir + "ca.pem": pem, dir + "hosts.toml": "["}},
		"authority in Docker's place": {files: map[string]string{"etc/docker/certs.d/hub.test:5000/ca.crt": pem}, path: "etc/docker/certs.d/hub.test:5000", kind: nodeconfig.NoticeOtherDirectory},
		"without the port":            {files: map[string]string{"etc/containerd/certs.d/hub.test/ca.crt": pem}, path: "etc/containerd/certs.d/hub.test", kind: nodeconfig.NoticeOtherDirectory},
		"CRI-O, containerd's place":   {runtime: "cri-o", files: map[string]string{dir + "ca.crt": pem}, path: dir[:len(dir)-1], kind: nodeconfig.NoticeOtherDirectory},
		"CRI-O, Docker's place":       {runtime: "cri-o", files: map[string]string{"etc/docker/certs.d/hub.test:5000/ca.crt": pem}},
		"Docker":                      {runtime: "docker", files: map[string]string{daemonJSON: `{"insecure-registries": ["hub.test:5000"]}`, "etc/docker/certs.d/hub.test:5000/ca.crt": pem}},
		"legacy":                      {files: map[string]string{"etc/docker/certs.d/hub.test:5000/ca.crt": pem}, path: "etc/docker/certs.d/hub.test:5000", kind: nodeconfig.NoticeOtherDirectory},
		"drop-in":                     {runtime: "cri-o", files: map[string]string{registryD + "a.toml": "[[registry]]\nlocation = 'hub.test:5000'\n"}, path: registryD + "a.toml", kind: nodeconfig.NoticeDropInName},
		"drop-in of another":          {runtime: "cri-o", files: map[string]string{registryD + "a.toml": "[[registry]]\nlocation = 'quay.io'\n", registryD + "README": "hub.test:5000"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"etc/containerd/config.toml": path}
			if name == "legacy" {
				files["etc/containerd/config.toml"] = "version = 2\n"
			}
			opts := options(node(t, with(tc.files, files)))
			opts.Runtime, opts.RuntimeVersion, opts.TempDir = tc.runtime, "2.1.4", t.TempDir()
			if name == "legacy" {
				opts.RuntimeVersion = "1.7.27"
			}
			if tc.runtime != "" {
				opts.RuntimeVersion = "1.34.2"
			}
			image := tc.image
			if image == "" {
				image = "hub.test:5000/a:1"
			}
			_, notices, err := sources(t, opts, image)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(notices, func(n nodeconfig.Notice) bool {
				return slices.Contains([]nodeconfig.NoticeKind{nodeconfig.NoticeNoAuthorities, nodeconfig.NoticeHidden, nodeconfig.NoticeHostsUnreadable}, n.Kind)
			})
			want := []nodeconfig.Notice{{Kind: tc.kind, Path: "/" + tc.path}}
			if tc.kind == "" {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("notices %v, want %v", got, want)
			}
		})
	}
}

// k3s and RKE2 read registries.yaml alone.
func TestK3sMisnamed(t *testing.T) {
	t.Parallel()
	for _, misnamed := range []string{"etc/rancher/k3s/registries.yml", "etc/rancher/k3s/registry.yaml", "etc/rancher/k3s/registry.yml"} {
		misnamedRegistries(t, misnamed)
	}
}

func misnamedRegistries(t *testing.T, misnamed string) {
	t.Helper()
	for host, want := range map[string]bool{"docker.io": true, "plain.corp.example": true, "quay.io": false} {
		for yaml, there := range map[string]bool{"": false, registriesText: true} {
			opts := k3sNode(t, map[string]string{k3sYAML: yaml, misnamed: registriesText, k3sDir + "config.toml": "version = 3\n", k3sHosts: ""})
			opts.TempDir = t.TempDir()
			_, notices, err := sources(t, opts, host+"/a/b:1")
			notice := nodeconfig.Notice{Kind: nodeconfig.NoticeRegistriesName, Path: "/" + misnamed}
			if err != nil || slices.Contains(notices, notice) != (want && !there) {
				t.Errorf("%s, registries.yaml: %t: notices %v, %v", host, there, notices, err)
			}
		}
	}
}

// containerd ignores TLS settings of hosts.toml under the names that they have elsewhere.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	const head = "server = \"https://hub.test\"\n"
	for name, tc := range map[string]struct {
		text string
		want []nodeconfig.Notice // without path and kind
	}{
		"its own names":     {head + "skip_verify = true\n[host.\"https://m.test\"]\nskip_verify = true\n", nil},
		"of a host":         {head + "[host.\"https://m.test\"]\ncapabilities = ['pull', 'resolve']\ninsecure_skip_verify = true\nca_file = 'a'\n", []nodeconfig.Notice{{Line: 4, Endpoint: "https://m.test"}}},
		"of the server":     {head + "ca_file = \"ca.crt\"\n[host.\"https://m.test\"]\n", []nodeconfig.Notice{{Line: 2, Endpoint: "https://hub.test"}}},
		"table":             {head + "[host.\"https://m.test\"]\n[host.\"https://m.test\".tls]\ncert_file = \"a\"\n", []nodeconfig.Notice{{Line: 3, Endpoint: "https://m.test"}}},
		"dotted":            {head + "[host.\"https://m.test\"]\ntls.insecure_skip_verify = true\n", []nodeconfig.Notice{{Line: 3, Endpoint: "https://m.test"}}},
		"name of a header":  {head + "[host.\"https://m.test\"]\n[host.\"https://m.test\".header]\ninsecure = \"x\"\n", nil},
		"does not parse":    {head + "insecure = [\n", nil},
		"host of one table": {"[host.\"https://hub.test\"]\ninsecure = true\n", []nodeconfig.Notice{{Line: 2, Endpoint: "https://hub.test"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := options(node(t, map[string]string{"certs.d/hub.test/hosts.toml": tc.text}))
			opts.CertsDir, opts.TempDir = "/certs.d", t.TempDir()
			_, notices, err := sources(t, opts, "hub.test/a:1")
			if err != nil {
				t.Fatal(err)
			}
			var got []nodeconfig.Notice
			for _, n := range notices {
				if n.Kind == nodeconfig.NoticeForeignKey && n.Path == "/certs.d/hub.test/hosts.toml" {
					got = append(got, nodeconfig.Notice{Line: n.Line, Endpoint: n.Endpoint})
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}
