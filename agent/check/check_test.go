//go:build linux

package check

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// everything is a manifest with all supported kinds of objects and images.
func everything(t *testing.T, w *faulttest.World) string {
	t.Helper()
	good, closed := caseOf(t, w, "works"), caseOf(t, w, "basic-works")
	gone, hidden := caseOf(t, w, "manifest-404"), caseOf(t, w, "basic-anonymous")
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      imagePullSecrets: [{name: reg}, {name: other}]
      initContainers: [{name: init, image: "` + good.Image + `"}]
      containers:
      - {name: app, image: "` + closed.Image + `"}
      - {name: old, image: "` + gone.Image + `", imagePullPolicy: Always}
      - {name: typo, image: "Not/Valid:1"}
      volumes: [{name: model, image: {reference: "` + good.Image + `"}}]
---
` + strings.ReplaceAll(secretOf(t, "reg", "", dockerAuths(t, closed.Credentials...)), "namespace: ''", "namespace: shop") + `
---
{apiVersion: v1, kind: Service, metadata: {name: web}}
---
{apiVersion: v1, kind: Pod, metadata: {name: bare}, spec: {containers: [{name: app, image: "` + hidden.Image + `"}, {name: never, image: "` + good.Image + `", imagePullPolicy: Never}]}}
`
}

func TestText(t *testing.T) {
	t.Parallel()
	w := world(t)
	o := options(w)
	o.Files = []string{"-"}
	got := do(t, o, everything(t, w))
	if got.pullable || got.err != nil {
		t.Errorf("pullable %t, error %v", got.pullable, got.err)
	}
	golden(t, "manifests.txt", got.text)
	clusterless(t, "text", got.text)
}

func TestJSON(t *testing.T) {
	t.Parallel()
	w := world(t)
	o := options(w)
	o.Files, o.Output = []string{"-"}, "json"
	got := do(t, o, everything(t, w))
	if got.pullable || got.err != nil {
		t.Errorf("pullable %t, error %v", got.pullable, got.err)
	}
	golden(t, "manifests.json", got.text)
	d := got.parsed(t)
	if d.Schema != Schema || len(d.Pods) != 2 || len(d.Pods[0].Report.Containers) != 5 || len(d.Pods[1].Report.Containers) != 2 {
		t.Errorf("document %+v", d)
	}
	for _, p := range d.Pods {
		valid(t, p.Report)
	}
}

// valid checks a report against the schema.
func valid(t *testing.T, report any) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("../../report/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("%v in %s", err, text)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	w := world(t)
	closed := caseOf(t, w, "basic-works")
	config := write(t, filepath.Join(t.TempDir(), "config.json"), dockerAuths(t, closed.Credentials...))
	wrong := closed.Credentials[0]
	wrong.Password = credential.Redact(password)
	bad := write(t, filepath.Join(t.TempDir(), "bad.json"), dockerAuths(t, wrong))
	for name, tc := range map[string]struct {
		image, config string
		pullable      bool
	}{
		"works":                {caseOf(t, w, "works").Image, "", true},
		"credentials":          {closed.Image, config, true},
		"credentials-none":     {closed.Image, "", false},
		"credentials-wrong":    {closed.Image, bad, false},
		"credentials-needless": {caseOf(t, w, "works").Image, config, true},
		"gone":                 {caseOf(t, w, "manifest-404").Image, "", false},
		"invalid":              {"https://Hub.example/a", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(w)
			o.Image, o.DockerConfig = tc.image, tc.config
			got := do(t, o, "")
			if got.pullable != tc.pullable || got.err != nil {
				t.Errorf("pullable %t, error %v", got.pullable, got.err)
			}
			golden(t, "image-"+name+".txt", got.text, tc.config, "CONFIG")
			o.Output = "json"
			got = do(t, o, "")
			if d := got.parsed(t); d.Pullable != tc.pullable || got.pullable != tc.pullable || len(d.Pods) != 1 || d.Notes == nil {
				t.Errorf("document %+v", d)
			} else {
				valid(t, d.Pods[0].Report)
			}
		})
	}
}

// Pull secrets come before the docker configuration, as with the kubelet.
func TestSecretBeforeDockerConfig(t *testing.T) {
	t.Parallel()
	w := world(t)
	closed := caseOf(t, w, "basic-works")
	wrong := closed.Credentials[0]
	wrong.Password = credential.Redact(password)
	o := options(w)
	o.Files = []string{"-"}
	o.DockerConfig = write(t, filepath.Join(t.TempDir(), "config.json"), dockerAuths(t, wrong))
	if got := do(t, o, podOf(t, closed)); !got.pullable || !strings.Contains(got.text, "with the credentials in secret "+closed.Credentials[0].Source) {
		t.Errorf("%+v", got)
	}
	o.DockerConfig = write(t, filepath.Join(t.TempDir(), "config.json"), dockerAuths(t, closed.Credentials...))
	closed.Credentials[0] = wrong
	got := do(t, o, podOf(t, closed))
	refused, given := strings.Index(got.text, "rejects the credentials in secret"), strings.Index(got.text, "serves the manifest with the node's credentials")
	if !got.pullable || refused < 0 || given < refused {
		t.Errorf("%+v", got)
	}
}

// A secret that is not in the files is never reported as missing, and does not
// affect a public image.
func TestSecretNotGiven(t *testing.T) {
	t.Parallel()
	w := world(t)
	for name, want := range map[string]struct {
		pullable bool
		cause    string
	}{"works": {true, "NotReproducible"}, "basic-anonymous": {false, "Unknown"}} {
		o := options(w)
		o.Files, o.Output = []string{"-"}, "json"
		got := do(t, o, `{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}, spec: {imagePullSecrets: [{name: reg}], containers: [{name: app, image: "`+
			caseOf(t, w, name).Image+`"}]}}`)
		d := got.parsed(t)
		v := d.Pods[0].Report.Containers[0]
		if got.pullable != want.pullable || v.Cause != want.cause || v.Confidence == "Confirmed" || !strings.Contains(v.Summary, "given") || strings.Contains(got.text, "does not exist") {
			t.Errorf("%s: %t, %s (%s): %s", name, got.pullable, v.Cause, v.Confidence, v.Summary)
		}
		if want.cause == "Unknown" && !slices.Equal(v.Remedy, []string{"# pass secret reg too with -f, from a file or from the output of kubectl -n shop get secret reg -o yaml"}) {
			t.Errorf("remedy %q", v.Remedy)
		}
	}
}

// The runtime reports whether the image is present; the kubelet's records decide
// whether a pod may use it.
func TestRuntime(t *testing.T) {
	t.Parallel()
	w := world(t)
	good, bad := caseOf(t, w, "works").Image, caseOf(t, w, "manifest-404").Image
	recorded := caseOf(t, w, "repository-404").Image
	runtime := critest.New(t, critest.NewImage("sha256:1", []string{good, bad}, nil), critest.NewImage("sha256:2", []string{recorded}, nil))
	empty := critest.New(t)
	down := critest.New(t)
	down.Set(critest.Fault{Code: codes.Unavailable})
	const here = " is on node ci-1, so no pull is needed here "
	// A record that lets all pods on the node use the image.
	record := fmt.Sprintf(`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2026-01-02T03:04:05Z","imageRef":"sha256:2","credentialMapping":{%q:{"nodePodsAccessible":true}}}`,
		strings.TrimSuffix(recorded, ":v1"))
	write(t, filepath.Join(w.Root(), "kubelet/image_manager/pulled", fmt.Sprintf("sha256-%x", sha256.Sum256([]byte("sha256:2")))), record)
	for name, tc := range map[string]struct {
		socket, image, policy string
		records               bool // the kubelet keeps some
		pullable              bool
		summary, detail       string // contained
	}{
		"there":              {runtime.Socket, good, "IfNotPresent", true, true, good + here + "(IfNotPresent); it can also be pulled", "the image is on node ci-1"},
		"there, and no more": {runtime.Socket, bad, "IfNotPresent", true, true, bad + here + "(IfNotPresent); a pull would fail: ", "the image is on node ci-1"},
		"recorded":           {runtime.Socket, recorded, "IfNotPresent", true, true, recorded + here + "(IfNotPresent); a pull would fail: ", "and the kubelet lets every pod on the node use it"},
		"no records":         {runtime.Socket, bad, "IfNotPresent", false, false, "does not exist", "the image is on node ci-1"},
		"no records, never":  {runtime.Socket, bad, "Never", false, true, bad + here + "(Never)", "contacts no registry"},
		"always":             {runtime.Socket, bad, "Always", true, false, "does not exist", "the image is on node ci-1"},
		"not there":          {empty.Socket, good, "IfNotPresent", true, true, good + " can be pulled", "the image is not on node ci-1"},
		"not there, never":   {empty.Socket, good, "Never", true, false, "and the pull policy Never prevents a pull", "the image is not on node ci-1"},
		"down":               {down.Socket, good, "IfNotPresent", true, true, good + " can be pulled", "on node ci-1 does not respond"},
		"down, never":        {down.Socket, good, "Never", true, false, "cannot tell whether image " + good + " is on node ci-1, and the pull policy is Never", "does not respond"},
		"none, never":        {"", good, "Never", true, false, "cannot tell whether image " + good + " is on node ci-1, and the pull policy is Never", "--cri-socket is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(w)
			o.Files, o.Socket, o.Kubelet.Dir = []string{"-"}, tc.socket, "/kubelet-none"
			if tc.records {
				o.Kubelet.Dir = "/kubelet"
				for _, dir := range []string{"pulled", "pulling"} {
					if err := os.MkdirAll(filepath.Join(w.Root(), "kubelet/image_manager", dir), 0o700); err != nil {
						t.Fatal(err)
					}
				}
			}
			o.Output = "json"
			got := do(t, o, `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: "`+tc.image+`", imagePullPolicy: `+tc.policy+`}]}}`)
			v := got.parsed(t).Pods[0].Report.Containers[0]
			if tc.pullable && (v.Confidence == "Confirmed") != (name == "recorded" || strings.HasSuffix(v.Summary, " can be pulled")) {
				t.Errorf("%s: %s", v.Confidence, v.Summary)
			}
			if got.pullable != tc.pullable || !strings.Contains(v.Summary, tc.summary) || !strings.Contains(got.text, tc.detail) {
				t.Errorf("pullable %t, %s (%s): %s\n%s", got.pullable, v.Cause, v.Confidence, v.Summary, got.text)
			}
		})
	}
}

// The default socket may be missing.
func TestSocket(t *testing.T) {
	t.Parallel()
	w := world(t)
	runtime := critest.New(t)
	none := filepath.Join(t.TempDir(), "none.sock")
	for _, tc := range []struct {
		socket string
		wanted bool
		says   string
		bad    bool
	}{
		{"", true, "no container runtime used (--cri-socket is empty)", false},
		{none, false, "no container runtime socket at " + none, false},
		{"unix://" + none, false, "no container runtime socket at " + none, false},
		{none, true, "", true},
		{"tcp://127.0.0.1:1", false, "", true},
		{"unix://" + runtime.Socket, true, "containerd v2.4.2 at " + runtime.Socket, false},
	} {
		o := options(w)
		o.Image, o.Socket, o.SocketWanted, o.Output = caseOf(t, w, "works").Image, tc.socket, tc.wanted, "json"
		got := do(t, o, "")
		var flag *FlagError
		if tc.bad {
			if !errors.As(got.err, &flag) || flag.Flag != "cri-socket" || got.text != "" {
				t.Errorf("%+v: error %v", tc, got.err)
			}
			continue
		}
		if d := got.parsed(t); d.Runtime != tc.says || !d.Pullable {
			t.Errorf("%+v: %+v", tc, d)
		}
	}
}

func TestPlatform(t *testing.T) {
	t.Parallel()
	w := world(t)
	for name, tc := range map[string]struct {
		platform string
		pullable bool
		summary  string
	}{
		"platform-index": {"", false, "PlatformMismatch"},
		"works":          {"linux/s390x", true, "; the image is for linux/"},
	} {
		o := options(w)
		c := name
		if tc.platform == "" {
			c = "platform-index"
		}
		o.Image, o.Platform = caseOf(t, w, c).Image, tc.platform
		if got := do(t, o, ""); got.pullable != tc.pullable || !strings.Contains(got.text, tc.summary) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"nothing":   {Options{Output: "text"}, "pass an image, or manifests with -f"},
		"both":      {Options{Output: "text", Image: "a", Files: []string{"-"}}, "pass an image or manifests, not both"},
		"output":    {Options{Output: "xml", Image: "a"}, `--output: output "xml": want one of text, json, junit, sarif, yaml`},
		"platform":  {Options{Output: "text", Image: "a", Platform: "a/b/c/d"}, `--platform: `},
		"no file":   {Options{Output: "text", Files: []string{filepath.Join(t.TempDir(), "none")}}, "--file: open "},
		"a folder":  {Options{Output: "text", Files: []string{t.TempDir()}}, "--file: no pod or workload in the manifests"},
		"no pods":   {Options{Output: "text", Files: []string{"-"}}, "--file: no pod or workload in the manifests"},
		"no config": {Options{Output: "text", Image: "a", DockerConfig: filepath.Join(t.TempDir(), "none")}, "--docker-config: open "},
		"stdin":     {Options{Output: "text", Image: "a", DockerConfig: "-"}, "--docker-config: -: invalid docker config: "},
	} {
		got := do(t, tc.options, "")
		if got.err == nil || !strings.HasPrefix(got.err.Error(), tc.want) || got.pullable || got.text != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// An interrupted check has no result.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := world(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, output := range Outputs() {
		o := options(w)
		o.Image, o.Output = caseOf(t, w, "works").Image, output
		var out strings.Builder
		pullable, err := Run(ctx, o, strings.NewReader(""), &out)
		if pullable || !errors.Is(err, context.Canceled) || strings.Contains(out.String(), "can be pulled") {
			t.Errorf("%s: pullable %t, error %v, %s", output, pullable, err, out.String())
		}
	}
}

// Nothing in a manifest moves a terminal's cursor, in any output.
func TestHostileManifest(t *testing.T) {
	t.Parallel()
	w := world(t)
	manifest := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\u001b[2Jb","namespace":"n\u009b1A"},"spec":{"imagePullSecrets":[{"name":"s\u202e\u001b]0;x\u0007"}],` +
		`"containers":[{"name":"c\r\n✓ all is well","image":"hub.example/\u001b[1mx\u0085"}]}}` +
		`{"apiVersion":"x\u001b/v1","kind":"Odd\u001b[31m\u2066","metadata":{"name":"\u001b"}}`
	for _, output := range Outputs() {
		o := options(w)
		o.Files, o.Output = []string{"-"}, output
		got := do(t, o, manifest)
		if got.err != nil || got.pullable || got.text == "" {
			t.Errorf("%s: %+v", output, got)
		}
		if strings.Contains(got.text, "\n✓ all") {
			t.Errorf("%s: a line of its own in\n%s", output, got.text)
		}
	}
	o := options(w)
	o.Files = []string{"-"}
	if got := do(t, o, "{\"a\\u001b[2J\": 1, \"a\\u001b[2J\": 1, b: 1}"); got.err == nil {
		t.Error("no error")
	}
}

func TestEscaped(t *testing.T) {
	t.Parallel()
	const s = "{\n  \"a\": \"x\u009b\u202e\u2028…\U000E0041é\"\n}\n"
	got := escaped(s)
	tidy(t, got)
	var was, is map[string]string
	if json.Unmarshal([]byte(s), &was) != nil || json.Unmarshal([]byte(got), &is) != nil {
		t.Fatal(got)
	}
	if is["a"] != strings.ReplaceAll(was["a"], "\U000E0041", "") {
		t.Errorf("%q has become %q", was["a"], is["a"])
	}
}

// Without a runtime the proxy of this program's environment is used.
func TestOwnProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	if proxy, from := ownProxy(); proxy != nil || from != "" {
		t.Errorf("a proxy from %s", from)
	}
	w := world(t)
	proxied := caseOf(t, w, "proxy-works")
	t.Setenv("HTTPS_PROXY", proxyOf(t, w, proxied.Image))
	o := options(w)
	o.Image, o.Registries.Proxy = proxied.Image, nil
	got := do(t, o, "")
	if !got.pullable || !strings.Contains(got.text, "proxy settings are from this program's environment (HTTPS_PROXY)") || !strings.Contains(got.text, "through proxy ") {
		t.Errorf("%+v", got)
	}
	// With a runtime only its own settings count; here it has none.
	o.Socket = critest.New(t).Socket
	if got := do(t, o, ""); got.pullable || strings.Contains(got.text, "this program's own") {
		t.Errorf("%+v", got)
	}
}
