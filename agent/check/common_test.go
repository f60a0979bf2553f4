package check

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/platforms"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/report"
)

// long is the time limit for what must happen.
const long = time.Minute

// update updates the golden files.
var update = flag.Bool("update", false, "update the golden files")

// password is in all input of the command and must not be in any output.
const password = "correct-horse-battery"

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
		Output: "text", HostRoot: w.Root(), RegistryDir: "/etc/containerd/certs.d", KubeletDir: "/var/lib/kubelet", Version: "test",
		Platform: "", node: "ci-1", now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), proxy: w.Proxy,
		lookUp:   environment("LANG=C.UTF-8"),
		Report:   reportOf,
		timeouts: registry.Timeouts{DNS: long, Connect: long, TLS: long, Response: long, Total: long},
	}
}

// reportOf is Options.Report as in the command.
func reportOf(v []diagnosis.Verdict, node string, at time.Time) any {
	return report.NewDocument(v, node, at)
}

// outcome is the result of a run of the command.
type outcome struct {
	pullable bool
	err      error
	text     string
}

// do runs the command and checks that its output has no password and nothing that
// moves the cursor.
func do(t *testing.T, o Options, stdin string) outcome {
	t.Helper()
	var out bytes.Buffer
	pullable, err := Run(t.Context(), o, strings.NewReader(stdin), &out)
	got := outcome{pullable, err, out.String()}
	everything := fmt.Sprint(got.text, got.err)
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), basic("user", password)} {
		if strings.Contains(everything, form) {
			t.Errorf("the password is in\n%s", everything)
		}
	}
	tidy(t, everything)
	return got
}

func tidy(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Fatalf("%U is in %q", r, text)
		}
	}
}

// parsed returns the parsed JSON output.
func (o outcome) parsed(t *testing.T) Document[report.Document] {
	t.Helper()
	var d Document[report.Document]
	dec := json.NewDecoder(strings.NewReader(o.text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("%v in %s (error %v)", err, o.text, o.err)
	}
	return d
}

func basic(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
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

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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

func secretOf(t *testing.T, name, namespace, config string) string {
	t.Helper()
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\nmetadata: {name: %s, namespace: '%s'}\ndata: {.dockerconfigjson: %s}\n",
		name, namespace, base64.StdEncoding.EncodeToString([]byte(config)))
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// golden compares text with a file in testdata, except what differs between runs:
// ports, directories, digests.
func golden(t *testing.T, name, text string, variable ...string) {
	t.Helper()
	text = regexp.MustCompile(`(\.example|localhost|127\.0\.0\.1):\d+`).ReplaceAllString(text, "$1:PORT")
	text = regexp.MustCompile(`example-\d+`).ReplaceAllString(text, "example-PORT")
	variable = append(variable, platforms.Format(platforms.DefaultSpec()), "PLATFORM")
	for i := 0; i < len(variable); i += 2 {
		if variable[i] == "" {
			continue
		}
		text = strings.ReplaceAll(text, variable[i], variable[i+1])
	}
	file := filepath.Join("testdata", name)
	if *update {
		write(t, file, text)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s:\n%s\nwant:\n%s", name, text, want)
	}
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
