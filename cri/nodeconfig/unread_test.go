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
		"drop-in":                     {runtime: "cri-o", files: map[string]string{registryD + "a.toml": "[[registry]]\nlocation = 'hub.test:5000'\n"}, path: registryD + "a.toml", kind: nodeconfig.NoticeDropInName},
		"drop-in of another":          {runtime: "cri-o", files: map[string]string{registryD + "a.toml": "[[registry]]\nlocation = 'quay.io'\n", registryD + "README": "hub.test:5000"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"etc/containerd/config.toml": path}
			opts := options(node(t, with(tc.files, files)))
			opts.Runtime, opts.RuntimeVersion, opts.TempDir = tc.runtime, "2.1.4", t.TempDir()
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
	const misnamed = "etc/rancher/k3s/registries.yml"
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
