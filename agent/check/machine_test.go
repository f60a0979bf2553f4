package check

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// The tests of this file run on every system for which the command is built: on Windows
// paths have backslashes and volumes, and files lines that end with CR and LF.

// laptop is a machine without a node, with a working directory that has manifests, a
// docker configuration and a directory of hosts.toml files.
type laptop struct {
	options  Options
	dir      string
	registry string // with an image team/app:v1 for Linux, for which user has to log in
}

// viaHosts is a host that the machine's hosts.toml sends to the registry.
const viaHosts = "viaHosts.example"

func newLaptop(t *testing.T) laptop {
	t.Helper()
	content := registrytest.NewContent(t)
	content.Tag("v1", content.Index(content.Image(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, content.Layer(10))))
	s := registrytest.New(t, registrytest.Config{Plain: true, Passwords: map[string]string{"user": password}, Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"v1"}, Auth: registrytest.Basic, Content: content},
	}})
	m := laptop{dir: t.TempDir(), registry: s.Address}
	config := fmt.Sprintf(`{"auths":{"%s":{"auth":%q},"%s":{"auth":%[2]q}}}`, m.registry, basic("user", password), viaHosts)
	for name, text := range map[string]string{
		"config.json":                         config,
		"certs.d/" + viaHosts + "/hosts.toml": fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", m.registry),
		"manifests/a.yaml": fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  imagePullSecrets:\n  - name: reg\n  containers:\n  - name: app\n    image: %s/team/app:v1\n", m.registry) +
			"---\n" + secretOf(t, "reg", "default", config),
		"manifests/sub/b.yml": fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: old\nspec:\n  containers:\n  - name: app\n    image: %s/team/app:v1\n", m.registry),
	} {
		write(t, filepath.Join(m.dir, filepath.FromSlash(name)), strings.ReplaceAll(text, "\n", "\r\n"))
	}
	t.Chdir(m.dir)
	m.options = Options{
		Output: outputText, Registries: nodeconfig.Options{Root: "/", ConfigFile: filepath.Join("node", "config.toml"), Version: "test"},
		Kubelet: kubelet.Options{Dir: filepath.Join("node", "kubelet")},
		Socket:  "unix:///run/no-such-runtime/containerd.sock", node: "laptop", now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		getenv: environment("LANG=C.UTF-8"), Report: reportOf,
	}
	return m
}

// Paths are relative to the working directory, also those of the node's files, or have
// a volume.
func TestPathsOfThisMachine(t *testing.T) {
	m := newLaptop(t)
	file := filepath.Join("manifests", "a.yaml")
	for name, tc := range map[string]struct {
		change   func(*Options)
		pullable bool
		contains string
	}{
		"relative file":   {func(o *Options) { o.Files = []string{file} }, true, "container app (" + file + ", document 1)"},
		"absolute file":   {func(o *Options) { o.Files = []string{filepath.Join(m.dir, file)} }, true, "container app (" + filepath.Join(m.dir, file) + ", document 1)"},
		"directory":       {func(o *Options) { o.Files = []string{"." + string(filepath.Separator) + "manifests"} }, true, "container app (" + file},
		"subdirectories":  {func(o *Options) { o.Files, o.Recursive = []string{filepath.Join(m.dir, "manifests")}, true }, false, "1 of 2 images can be pulled"},
		"no credentials":  {func(o *Options) { o.Image = m.registry + "/team/app:v1" }, false, string(diagnosis.AuthenticationRequired)},
		"docker config":   {func(o *Options) { o.Image, o.DockerConfig = m.registry+"/team/app:v1", "config.json" }, true, "can be pulled"},
		"Windows":         {func(o *Options) { o.Files, o.Platform = []string{file}, "windows/amd64" }, false, "the image is for linux/"},
		"missing runtime": {func(o *Options) { o.Files = []string{file} }, true, "no container runtime socket at /run/no-such-runtime/containerd.sock"},
		"hosts.toml, relative": {func(o *Options) {
			o.Image, o.DockerConfig, o.Registries.CertsDir = viaHosts+"/team/app:v1", filepath.Join(m.dir, "config.json"), filepath.Join(".", "certs.d")
		}, true, "http://" + m.registry},
		"hosts.toml, absolute": {func(o *Options) {
			o.Image, o.DockerConfig, o.Registries.CertsDir = viaHosts+"/team/app:v1", filepath.Join(m.dir, "config.json"), filepath.Join(m.dir, "certs.d")
		}, true, "http://" + m.registry},
		"hosts.toml below a root": {func(o *Options) {
			o.Image, o.DockerConfig, o.Registries.Root, o.Registries.CertsDir = viaHosts+"/team/app:v1", "config.json", ".", "/certs.d"
		}, true, "http://" + m.registry},
	} {
		t.Run(name, func(t *testing.T) {
			o := m.options
			tc.change(&o)
			got := do(t, o, "")
			if got.err != nil || got.pullable != tc.pullable || !strings.Contains(got.text, tc.contains) {
				t.Errorf("pullable %t, error %v, want %q in\n%s", got.pullable, got.err, tc.contains, got.text)
			}
		})
	}
}

// The certificates that hosts.toml names are found in its directory, by the machine's own
// paths and below a root.
func TestCertificatesOfThisMachine(t *testing.T) {
	m := newLaptop(t)
	content := registrytest.NewContent(t)
	content.Tag("v1", content.Index(content.Image(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, content.Layer(10))))
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"v1"}, Content: content}}})
	write(t, filepath.Join("certs", "ca.pem"), string(s.CA.PEM()))
	write(t, filepath.Join("certs.d", "relative.example", "ca.pem"), string(s.CA.PEM()))
	dir := filepath.Join(m.dir, "certs.d")
	for host, tc := range map[string]struct {
		ca, root, dir string
		pullable      bool
	}{
		"relative.example":   {"ca = 'ca.pem'", "/", dir, true},
		"up.example":         {"ca = '../../certs/ca.pem'", "/", "certs.d", true},
		"absolute.example":   {"ca = '" + filepath.Join(m.dir, "certs", "ca.pem") + "'", "/", dir, true},
		"below-root.example": {"ca = '/certs/ca.pem'", m.dir, "/certs.d", true},
		"unknown.example":    {"", "/", dir, false},
	} {
		write(t, filepath.Join("certs.d", host, "hosts.toml"), fmt.Sprintf("server = \"https://%s\"\r\n%s\r\n", s.Address, tc.ca))
		o := m.options
		o.Image, o.Registries.Root, o.Registries.CertsDir = host+"/team/app:v1", tc.root, tc.dir
		got := do(t, o, "")
		if got.err != nil || got.pullable != tc.pullable || !tc.pullable && !strings.Contains(got.text, "is not trusted by the node") {
			t.Errorf("%s: pullable %t, error %v in\n%s", host, got.pullable, got.err, got.text)
		}
	}
}

// The outputs for programs name files with slashes, as URIs have them.
func TestOutputsOfThisMachine(t *testing.T) {
	m := newLaptop(t)
	for _, dir := range []string{"manifests", filepath.Join(m.dir, "manifests")} {
		want := filepath.ToSlash(filepath.Join(dir, "sub", "b.yml"))
		o := m.options
		o.Files, o.Recursive, o.Output = []string{dir}, true, "sarif"
		var log sarifLog
		if got := do(t, o, ""); got.pullable || json.Unmarshal([]byte(got.text), &log) != nil || len(log.Runs) != 1 || len(log.Runs[0].Results) != 1 {
			t.Fatalf("%+v", got)
		}
		at := log.Runs[0].Results[0].Locations[0].Physical
		if dir != "manifests" {
			want = "file:///" + strings.TrimPrefix(want, "/")
		}
		if at.Artifact.URI != want || at.Region.StartLine != 8 {
			t.Errorf("%s at line %d, want %s", at.Artifact.URI, at.Region.StartLine, want)
		}
		o.Output = "junit"
		if got := do(t, o, ""); xml.Unmarshal([]byte(got.text), new(any)) != nil || !strings.Contains(got.text, `file="`+filepath.ToSlash(filepath.Join(dir, "sub", "b.yml"))+`" line="8"`) {
			t.Errorf("%+v", got)
		}
		o.Output = "json"
		if d := do(t, o, "").parsed(t); d.Pullable || len(d.Pods) != 2 || !d.Pods[0].Pullable || len(d.Pods[1].Report.Containers) != 1 {
			t.Errorf("%+v", d)
		}
	}
}

// A socket that the user names has to exist; its path need not have a volume.
func TestSocketOfThisMachine(t *testing.T) {
	m := newLaptop(t)
	m.options.Image, m.options.SocketWanted = "a", true
	for _, socket := range []string{"/run/none.sock", "unix:///run/none.sock", filepath.Join(m.dir, "none.sock"), "none.sock"} {
		m.options.Socket = socket
		var flag *FlagError
		if got := do(t, m.options, ""); !errors.As(got.err, &flag) || flag.Flag != "cri-socket" || got.text != "" {
			t.Errorf("%s: %+v", socket, got)
		}
	}
}
