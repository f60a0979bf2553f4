//go:build linux

package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/metrics"
)

func TestStatus(t *testing.T) {
	config := kubeconfig(t)
	with := func(args ...string) []string {
		return append([]string{"agent", "--kubeconfig", config, "--node-name", "n", "--listen-address", "127.0.0.1:0"}, args...)
	}
	for name, tc := range map[string]struct {
		args   []string
		env    map[string]string
		status int
		stdout string // contains
		stderr string // is
	}{
		"nothing":         {status: 0, stdout: "Usage:"},
		"help":            {args: []string{"--help"}, status: 0, stdout: "Explain why a pod cannot pull its image"},
		"agent, help":     {args: []string{"agent", "--help"}, status: 0, stdout: "--node-name"},
		"version":         {args: []string{"--version"}, status: 0, stdout: "whypull version dev"},
		"unknown command": {args: []string{"nonsense"}, status: 2, stderr: `whypull: unknown command "nonsense" for "whypull"`},
		"unknown flag":    {args: []string{"agent", "--nonsense"}, status: 2, stderr: "whypull: unknown flag: --nonsense"},
		"too much":        {args: []string{"agent", "nonsense"}, status: 2, stderr: `whypull: unknown command "nonsense" for "whypull agent"`},
		"no value":        {args: []string{"agent", "--node-name"}, status: 2, stderr: "whypull: flag needs an argument: --node-name"},
		"no node":         {args: []string{"agent"}, status: 2, stderr: "whypull: --node-name or WHYPULL_NODE_NAME: missing; want the name of this node, such as worker-3"},
		"empty node":      {args: with("--node-name", ""), status: 2, stderr: "whypull: --node-name or WHYPULL_NODE_NAME: missing; want the name of this node, such as worker-3"},
		"access": {args: with("--secret-access", "all"), status: 2,
			stderr: `whypull: --secret-access or WHYPULL_SECRET_ACCESS: secret access "all": want auto, impersonate, kubelet, direct or none`},
		"access, environment": {args: with(), env: map[string]string{"WHYPULL_SECRET_ACCESS": "all"}, status: 2,
			stderr: `whypull: --secret-access or WHYPULL_SECRET_ACCESS: secret access "all": want auto, impersonate, kubelet, direct or none`},
		"level": {args: with("--log-level", "loud"), status: 2,
			stderr: `whypull: --log-level or WHYPULL_LOG_LEVEL: slog: level string "loud": unknown name`},
		"metrics": {args: with("--metrics-auth", "all"), status: 2,
			stderr: `whypull: --metrics-auth or WHYPULL_METRICS_AUTH: metrics authentication "all": want none or token`},
		"image check too often": {args: with("--image-check-interval", "30m"), status: 2,
			stderr: "whypull: --image-check-interval or WHYPULL_IMAGE_CHECK_INTERVAL: 30m0s: want at least 1h, such as 24h, or 0 for no checks"},
		"format": {args: with("--log-format", "xml"), status: 2,
			stderr: `whypull: --log-format or WHYPULL_LOG_FORMAT: log format "xml": want json or text`},
		"format, environment": {args: with(), env: map[string]string{"WHYPULL_LOG_FORMAT": "xml"}, status: 2,
			stderr: `whypull: --log-format or WHYPULL_LOG_FORMAT: log format "xml": want json or text`},
		"environment, overruled": {args: []string{"agent", "--log-format", "text"}, env: map[string]string{"WHYPULL_LOG_FORMAT": "xml"}, status: 2,
			stderr: "whypull: --node-name or WHYPULL_NODE_NAME: missing; want the name of this node, such as worker-3"},
		"empty address": {args: with("--listen-address", ""), status: 2,
			stderr: "whypull: --listen-address or WHYPULL_LISTEN_ADDRESS: empty; want an address, such as :9779"},
		"others' environment": {args: []string{"agent"}, env: map[string]string{"WHYPULL_HELP": "x", "WHYPULL_PORT": "tcp://10.0.0.1:80", "WHYPULL_VERSION": "v1"}, status: 2,
			stderr: "whypull: --node-name or WHYPULL_NODE_NAME: missing; want the name of this node, such as worker-3"},
		"version in the environment": {env: map[string]string{"WHYPULL_VERSION": "v1"}, status: 0, stdout: "Usage:"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			status, stdout, stderr := captured(t, tc.args...)
			if status != tc.status || strings.TrimSpace(stderr) != tc.stderr || !strings.Contains(stdout, tc.stdout) {
				t.Errorf("status %d, want %d\nstderr %s\nwant   %s\nstdout %s", status, tc.status, stderr, tc.stderr, stdout)
			}
		})
	}
}

// The operating system's text on a wrong value varies, but the flag and its
// environment variable are always named.
func TestStatusNamesTheFlag(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	for flag, args := range map[string][]string{
		"kubeconfig":     {"--kubeconfig", nowhere},
		"cri-socket":     {"--kubeconfig", kubeconfig(t), "--cri-socket", "tcp://127.0.0.1:1"},
		"listen-address": {"--kubeconfig", kubeconfig(t), "--listen-address", "127.0.0.1:no-such-port"},
	} {
		t.Run(flag, func(t *testing.T) {
			noGoroutinesLeft(t)
			status, _, stderr := captured(t, append([]string{"agent", "--node-name", "n"}, args...)...)
			last := lastLine(stderr)
			if status != 2 || !strings.HasPrefix(last, "whypull: --"+flag+" or "+environment(flag)+": ") {
				t.Errorf("status %d, %s", status, stderr)
			}
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// Outside of a cluster the agent needs a kubeconfig, and says so.
func TestStatusOutsideOfPod(t *testing.T) {
	for _, k := range []string{"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		t.Setenv(k, "")
	}
	status, _, stderr := captured(t, "agent", "--node-name", "n")
	if status != 2 || !strings.HasPrefix(stderr, "whypull: --kubeconfig or WHYPULL_KUBECONFIG: is missing, and this is not a pod: ") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

func TestStatusAddressInUse(t *testing.T) {
	noGoroutinesLeft(t)
	busy := &http.Server{Addr: freePort(t), Handler: http.NotFoundHandler()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = busy.ListenAndServe()
	}()
	eventually(t, "the address in use", func() bool { return get(busy.Addr, "/") != "" })
	status, _, stderr := captured(t, "agent", "--node-name", "n", "--kubeconfig", kubeconfig(t), "--listen-address", busy.Addr)
	want := "whypull: --listen-address or WHYPULL_LISTEN_ADDRESS: listen tcp " + busy.Addr + ": bind: address already in use"
	if status != 2 || !slices.Contains(strings.Split(stderr, "\n"), want) { // log lines may follow it
		t.Errorf("status %d, %s\nwant %s", status, stderr, want)
	}
	_ = busy.Close()
	<-done
}

// get returns a response's status and body, "" if there is none.
func get(address, path string) string { return getAs("", address, path) }

// getAs is get with a bearer token, unless it is empty.
func getAs(token, address, path string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err.Error()
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close() //nolint:errcheck // of a test
	body, _ := io.ReadAll(resp.Body)
	return resp.Status + " " + strings.TrimSpace(string(body))
}

// SIGTERM ends the agent with status 0 and leaves no goroutine, even if API
// server and runtime are unreachable.
func TestTerminate(t *testing.T) {
	noGoroutinesLeft(t)
	errs := redirect(t, &os.Stderr)
	address := freePort(t)
	args := []string{"agent", "--node-name", "n", "--kubeconfig", kubeconfig(t), "--listen-address", address,
		"--cri-socket", filepath.Join(t.TempDir(), "none.sock"), "--log-format", "text"}
	status := make(chan int)
	go func() { status <- run(args) }()
	eventually(t, "/healthz", func() bool { return get(address, "/healthz") == "200 OK ok" })
	if got := get(address, "/readyz"); got != "503 Service Unavailable the watch on pods has not synced" {
		t.Errorf("/readyz: %s", got)
	}
	if got := get(address, "/metrics"); !strings.Contains(got, "whypull_cri_up 0") || !strings.Contains(got, "whypull_admission_guarded 0") {
		t.Errorf("/metrics: %s", got)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != 0 {
		t.Errorf("status %d, want 0", got)
	}
	if text := errs(); !strings.Contains(text, "msg=started") || !strings.HasSuffix(strings.TrimSpace(text), "msg=stopped") {
		t.Errorf("log:\n%s", text)
	}
	if got := get(address, "/healthz"); got != "" {
		t.Errorf("/healthz after the end: %s", got)
	}
}

// With --metrics-auth=token the API server decides on access to the metrics, and with
// --metrics-pod-labels=false no metric names a pod.
func TestMetricsFlags(t *testing.T) {
	noGoroutinesLeft(t)
	errs := redirect(t, &os.Stderr)
	api := apitest.NewScript(t, func(w http.ResponseWriter, r apitest.Request) {
		switch path.Base(r.URL.Path) {
		case "tokenreviews":
			review := &authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}}
			review.Status.Authenticated = strings.Contains(r.Body, "prometheus-token")
			apitest.Write(w, runtime.ContentTypeProtobuf, review)
		case "subjectaccessreviews":
			review := &authorizationv1.SubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}}
			review.Status.Allowed = strings.Contains(r.Body, "/metrics")
			apitest.Write(w, runtime.ContentTypeProtobuf, review)
		default:
			apitest.Fail(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "not yet")
		}
	})
	address := freePort(t)
	args := []string{"agent", "--node-name", "n", "--kubeconfig", apitest.Kubeconfig(t, api.URL, nil), "--listen-address", address,
		"--cri-socket", filepath.Join(t.TempDir(), "none.sock"), "--metrics-auth", "token", "--metrics-pod-labels=false"}
	status := make(chan int)
	go func() { status <- run(args) }()
	eventually(t, "/healthz", func() bool { return get(address, "/healthz") == "200 OK ok" })
	if got := get(address, "/metrics"); got != "401 Unauthorized Unauthorized" {
		t.Errorf("without a token: %s", got)
	}
	if got := getAs("made-up", address, "/metrics"); got != "401 Unauthorized Unauthorized" {
		t.Errorf("with a token that is made up: %s", got)
	}
	if got := getAs("prometheus-token", address, "/metrics"); !strings.HasPrefix(got, "200 OK ") || strings.Contains(got, "whypull_pod_failure_info") {
		t.Errorf("with a token: %s", got)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != 0 {
		t.Errorf("status %d, want 0", got)
	}
	if log := errs(); strings.Contains(log, "prometheus-token") || strings.Contains(log, "made-up") {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// Writes are guarded unless a flag turns that off.
func TestWriter(t *testing.T) {
	t.Parallel()
	client, metrics := &kube.Client{}, metrics.New("v1")
	guarded := func() bool {
		families, err := metrics.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "whypull_admission_guarded" })
	}
	if w, _, _ := (agentOptions{}).writer(client, metrics, slog.New(slog.DiscardHandler)); w != report.Writer(client) || guarded() {
		t.Errorf("without a policy: %T, metric: %v", w, guarded())
	}
	for _, condition := range []bool{false, true} {
		for _, policy := range []bool{false, true} {
			if _, _, written := (agentOptions{policy: policy, podCondition: condition}).writer(client, metrics, slog.New(slog.DiscardHandler)); written() != condition {
				t.Errorf("policy %v, flag %v: condition written: %v", policy, condition, written())
			}
		}
	}
	w, _, _ := agentOptions{policy: true}.writer(client, metrics, slog.New(slog.DiscardHandler))
	if err := w.PatchPod(t.Context(), "team", "web", "u-1", kube.PodChange{}); !errors.Is(err, kube.ErrUnguarded) || !guarded() {
		t.Errorf("with a policy: %v, metric: %v", err, guarded())
	}
	for name, standard := range map[string]string{"require-admission-policy": "true", "pod-condition": "false"} {
		if f := agentCommand().Flags().Lookup(name); f == nil || f.DefValue != standard {
			t.Errorf("flag %s: %+v", name, f)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{"node-name": "WHYPULL_NODE_NAME", "kubeconfig": "WHYPULL_KUBECONFIG", "registry-config-path": "WHYPULL_REGISTRY_CONFIG_PATH"} {
		if got := environment(flag); got != want {
			t.Errorf("%s: %s, want %s", flag, got, want)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		env     map[string]string
		text    string
		number  int
		wantErr string
	}{
		"neither":                    {text: "default", number: 1},
		"flags":                      {args: []string{"--text", "flag", "--number", "2"}, text: "flag", number: 2},
		"environment":                {env: map[string]string{"WHYPULL_TEXT": "env", "WHYPULL_NUMBER": "3"}, text: "env", number: 3},
		"both":                       {args: []string{"--text", "flag"}, env: map[string]string{"WHYPULL_TEXT": "env", "WHYPULL_NUMBER": "3"}, text: "flag", number: 3},
		"a flag that is the default": {args: []string{"--text", "default"}, env: map[string]string{"WHYPULL_TEXT": "env"}, text: "default", number: 1},
		"empty environment":          {env: map[string]string{"WHYPULL_TEXT": ""}, text: "", number: 1},
		"bad environment":            {env: map[string]string{"WHYPULL_NUMBER": "many"}, wantErr: "WHYPULL_NUMBER: "},
		"bad and overruled":          {args: []string{"--number", "2"}, env: map[string]string{"WHYPULL_NUMBER": "many"}, text: "default", number: 2},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			text, number := flags.String("text", "default", "a text"), flags.Int("number", 1, "a number")
			if err := flags.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			err := fromEnvironment(flags)
			if tc.wantErr != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.wantErr)) || tc.wantErr == "" && err != nil {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
			if tc.wantErr == "" && (*text != tc.text || *number != tc.number) {
				t.Errorf("text %q and number %d, want %q and %d", *text, *number, tc.text, tc.number)
			}
		})
	}
}

// Every flag has a one-line help that names its environment variable.
func TestFlagHelp(t *testing.T) {
	t.Parallel()
	cmd := agentCommand()
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names = append(names, f.Name)
		twin := " [" + environment(f.Name) + "]"
		text, ok := strings.CutSuffix(f.Usage, twin)
		if !ok || text == "" || strings.Contains(f.Usage, "\n") || strings.Count(f.Usage, "[WHYPULL_") != 1 {
			t.Errorf("--%s: %q", f.Name, f.Usage)
		}
		for line := range strings.SplitSeq(cmd.Flags().FlagUsages(), "\n") {
			if strings.Contains(line, "--"+f.Name+" ") && !strings.Contains(line, twin) {
				t.Errorf("--%s takes more than one line", f.Name)
			}
		}
	})
	want := []string{
		"containerd-config", "cri-socket", "host-root", "image-check-interval", "image-credential-provider-bin-dir", "image-credential-provider-config", "kubeconfig", "kubelet-kubeconfig", "kubelet-root-dir", "listen-address",
		"log-format", "log-level", "metrics-auth", "metrics-pod-labels", "node-name", "pod-condition", "pod-network", "pull-retry", "pull-retry-max-bytes", "pull-stall-after", "registry-config-path", "require-admission-policy", "run-credential-providers", "secret-access",
	}
	if !slices.Equal(names, want) {
		t.Errorf("flags %q, want %q", names, want)
	}
}

func TestWrong(t *testing.T) {
	t.Parallel()
	err := wrong("log-level", io.ErrUnexpectedEOF)
	if err.Error() != "--log-level or WHYPULL_LOG_LEVEL: unexpected EOF" {
		t.Errorf("error %v", err)
	}
}
