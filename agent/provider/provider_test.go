package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

const (
	version  = "credentialprovider.kubelet.k8s.io/v1"
	password = "xylophon-hunter2"
	// mode is the variable that makes this test binary a plugin.
	mode = "WHYPULL_TEST_PLUGIN"
)

// TestMain is the plugin if it is run as one: a real process that plays each fault.
func TestMain(m *testing.M) {
	if play := os.Getenv(mode); play != "" {
		os.Exit(plugin(play))
	}
	os.Exit(m.Run())
}

// plugin plays a fault and returns the exit status.
func plugin(play string) int {
	if play == "linger" {
		time.Sleep(time.Hour)
	}
	var request struct {
		Kind, APIVersion, Image, ServiceAccountToken string
		ServiceAccountAnnotations                    map[string]string
	}
	stdin, _ := io.ReadAll(os.Stdin)
	if err := json.Unmarshal(stdin, &request); err != nil || request.Kind != "CredentialProviderRequest" || request.APIVersion != version {
		return 90
	}
	count()
	name, argument, _ := strings.Cut(play, ":")
	switch name {
	case "print":
		fmt.Print(argument)
	case "echo": // what the plugin was given
		fmt.Printf(`{"kind":"CredentialProviderResponse","apiVersion":%q,"cacheKeyType":"Image","auth":{%q:{"username":%q,"password":%q}}}`,
			version, request.Image, strings.Join(os.Args[1:], " "), os.Getenv("OWN")+os.Getenv("SERVICE"))
	case "account": // what the plugin was given of a service account
		given, _ := json.Marshal(request.ServiceAccountAnnotations)
		fmt.Printf(`{"kind":"CredentialProviderResponse","apiVersion":%q,"cacheKeyType":"Registry","cacheDuration":"30m","auth":{"hub.test":{"username":%q,"password":%q}}}`,
			version, given, argument+request.ServiceAccountToken)
	case "global": // for all images but one
		if strings.HasSuffix(request.Image, "/bad") {
			return 3
		}
		fmt.Print(answer("Global", "30m", "hub.test"))
	case "exit":
		fmt.Fprintln(os.Stderr, "password:", password)
		return 3
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang": // for all images but one
		if request.Image == argument {
			fmt.Print(answer("Image", "", "hub.test"))
			break
		}
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		time.Sleep(time.Hour)
	case "flood":
		line := bytes.Repeat([]byte("x"), 1<<16)
		for range 1 << 14 { // 1 GiB
			if _, err := os.Stdout.Write(line); err != nil {
				return 4
			}
		}
	case "fork": // leaves a child that keeps stdout open
		child := exec.Command(os.Args[0])
		child.Env, child.Stdout = append(os.Environ(), mode+"=linger"), os.Stdout
		if child.Start() != nil {
			return 5
		}
		_ = os.WriteFile(os.Getenv("CHILD"), []byte(fmt.Sprint(child.Process.Pid)), 0o600)
		fmt.Print(answer("Image", "", "hub.test"))
	}
	return 0
}

// count notes a run in the file of the environment.
func count() {
	f, err := os.OpenFile(os.Getenv("COUNT"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = f.WriteString("x")
		_ = f.Close()
	}
}

// answer returns a response with a credential for each key.
func answer(keyType, duration string, keys ...string) string {
	auth := map[string]any{}
	for _, key := range keys {
		auth[key] = map[string]string{"username": "user", "password": password}
	}
	all := map[string]any{"kind": "CredentialProviderResponse", "apiVersion": version, "cacheKeyType": keyType, "auth": auth}
	if duration != "" {
		all["cacheDuration"] = duration
	}
	text, _ := json.Marshal(all)
	return string(text)
}

// fixture is a runner with one plugin, which is this program.
type fixture struct {
	*Runner
	plugin kubelet.Plugin
	count  string
	log    *bytes.Buffer
	clock  *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (f *fixture) Plugin(name string) (kubelet.Plugin, bool) { return f.plugin, name == f.plugin.Name }

func newFixture(t *testing.T, play string, env ...string) *fixture {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{count: filepath.Join(t.TempDir(), "count"), log: &bytes.Buffer{}, clock: &clock{now: time.Now()}}
	f.plugin = kubelet.Plugin{
		Name: "corp", APIVersion: version, Path: self, Args: credential.Redact([]string{"get", "-v"}),
		Env: credential.Redact(append([]string{mode + "=" + play, "COUNT=" + f.count}, env...)),
	}
	f.Runner = newRunner(Options{Plugins: f, Log: slog.New(slog.NewTextHandler(f.log, nil))}, time.Minute, f.clock.Now)
	return f
}

func (f *fixture) runs() int {
	data, _ := os.ReadFile(f.count)
	return len(data)
}

func failure(image string) diagnosis.Failure {
	ref, _ := podwatch.ParseImage(image)
	return diagnosis.Failure{Image: image, Registry: ref.Registry, Repository: ref.Repository}
}

// What a plugin may do, and what is made of it.
func TestRun(t *testing.T) {
	t.Parallel()
	valid := answer("Image", "", "hub.test")
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint("h", i)
	}
	for name, tc := range map[string]struct {
		play string
		want diagnosis.ProviderRun
		keys []string
	}{
		"credentials":           {"print:" + valid, diagnosis.ProviderGave, []string{"hub.test"}},
		"odd globs":             {"print:" + answer("Image", "", "*.*.*", "[", "../../etc", "u:p@hub.test", ""), diagnosis.ProviderGave, []string{"", "*.*.*", "../../etc", "[", "u:p@hub.test"}},
		"none":                  {"print:" + answer("Image", ""), diagnosis.ProviderGaveNone, nil},
		"no auth":               {`print:{"kind":"CredentialProviderResponse","apiVersion":"` + version + `","cacheKeyType":"Image"}`, diagnosis.ProviderGaveNone, nil},
		"10,000 entries":        {"print:" + answer("Image", "", many...)[:100_000], diagnosis.ProviderTooLarge, nil},
		"1 GiB":                 {"flood", diagnosis.ProviderTooLarge, nil},
		"an exit status":        {"exit", diagnosis.ProviderExited, nil},
		"a signal":              {"crash", diagnosis.ProviderKilled, nil},
		"nothing":               {"print:", diagnosis.ProviderInvalid, nil},
		"text":                  {"print:password: " + password, diagnosis.ProviderInvalid, nil},
		"another version":       {"print:" + strings.ReplaceAll(valid, "/v1", "/v1beta1"), diagnosis.ProviderInvalid, nil},
		"another kind":          {"print:" + strings.ReplaceAll(valid, "Response", "Request"), diagnosis.ProviderInvalid, nil},
		"an unknown field":      {"print:" + strings.Replace(valid, "{", `{"token":"x",`, 1), diagnosis.ProviderInvalid, nil},
		"a field in capitals":   {"print:" + strings.ReplaceAll(valid, `"auth"`, `"Auth"`), diagnosis.ProviderInvalid, nil},
		"a field twice":         {"print:" + strings.Replace(valid, "{", `{"cacheKeyType":"Image",`, 1), diagnosis.ProviderInvalid, nil},
		"no cache key":          {"print:" + strings.ReplaceAll(valid, `"Image"`, `""`), diagnosis.ProviderInvalid, nil},
		"an unknown cache key":  {"print:" + strings.ReplaceAll(valid, `"Image"`, `"image"`), diagnosis.ProviderInvalid, nil},
		"a duration of numbers": {"print:" + strings.Replace(valid, "{", `{"cacheDuration":60,`, 1), diagnosis.ProviderInvalid, nil},
		"two answers":           {"print:" + valid + valid, diagnosis.ProviderInvalid, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, tc.play)
			got := f.Run(t.Context(), "corp", failure("hub.test/team/app:1"))
			keys := slices.Sorted(maps.Keys(got.Credentials.Reveal()))
			if got.Run != tc.want || !slices.Equal(keys, tc.keys) {
				t.Errorf("%q with %q, want %q with %q", got.Run, keys, tc.want, tc.keys)
			}
			if status := got.ExitStatus; (status == 3) != (tc.play == "exit") || status != 0 && status != 3 {
				t.Errorf("exit status %d", status)
			}
			credentialtest.NeverShows(t, got, password)
			if strings.Contains(f.log.String(), password) {
				t.Errorf("logged: %s", f.log)
			}
		})
	}
}

// A plugin gets the request, its arguments, and the environment of the kubelet's
// service with its own variables behind.
func TestWhatAPluginGets(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "echo", "SERVICE=a", "OWN=service", "OWN=b")
	got := f.Run(t.Context(), "corp", failure("nginx:1.27")).Credentials.Reveal()
	user, secret := got["docker.io/library/nginx"].Reveal()
	if len(got) != 1 || user != "get -v" || secret != "ba" {
		t.Errorf("%d entries, arguments %q, environment %q", len(got), user, secret)
	}
}

// What does not end is ended, with all that it has started.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, play := range []string{"hang", "fork"} {
		child := filepath.Join(t.TempDir(), "child")
		f := newFixture(t, play, "CHILD="+child)
		f.timeout = 2 * time.Second // for the program to start, no measure of anything
		if got := f.Run(t.Context(), "corp", failure("hub.test/app")); got.Run != diagnosis.ProviderTimedOut {
			t.Errorf("%s: %q", play, got.Run)
		}
		var pid int
		if data, err := os.ReadFile(child); err == nil {
			_, _ = fmt.Sscan(string(data), &pid)
		}
		if (pid != 0) != (play == "fork") {
			t.Fatalf("%s: the child is %d", play, pid)
		}
		if pid != 0 && !gone(pid) {
			t.Errorf("%s: child %d still runs", play, pid)
		}
	}
}

// gone waits until a process runs no more; it may be a zombie of whoever inherits it.
func gone(pid int) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return true
		}
	}
	return false
}

// A plugin ends with its caller, and that is no failure of the plugin's.
func TestCanceled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Answer)
	go func() { done <- f.Run(ctx, "corp", failure("hub.test/app")) }()
	for f.runs() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if got := <-done; got.Run != diagnosis.ProviderBusy || f.answers.Len() != 0 {
		t.Errorf("%q, %d answers are kept", got.Run, f.answers.Len())
	}
}

// An answer serves for what it says it does, and as long.
func TestAnswersServe(t *testing.T) {
	t.Parallel()
	const one, other, elsewhere = "hub.test/app:1", "hub.test/other:1", "x.test/app:1"
	for name, tc := range map[string]struct {
		play    string
		own     time.Duration // the configured duration
		images  []string
		later   time.Duration
		want    int // runs for the images
		wantAll int // after they were asked for again later
	}{
		"for the image":       {"print:" + answer("Image", "30m", "hub.test"), 0, []string{one, one, other}, 29 * time.Minute, 2, 2},
		"for the registry":    {"print:" + answer("Registry", "30m", "hub.test"), 0, []string{one, other, elsewhere}, 29 * time.Minute, 2, 2},
		"for all":             {"print:" + answer("Global", "30m", "hub.test"), 0, []string{one, other, elsewhere}, 29 * time.Minute, 1, 1},
		"until it ends":       {"print:" + answer("Global", "30m", "hub.test"), 0, []string{one}, 31 * time.Minute, 1, 2},
		"as configured":       {"print:" + answer("Image", "", "hub.test"), 30 * time.Minute, []string{one}, 29 * time.Minute, 1, 1},
		"not to be kept":      {"print:" + answer("Image", "0s", "hub.test"), time.Hour, []string{one, one}, 2 * time.Minute, 1, 2},
		"for an hour at most": {"print:" + answer("Image", "12h", "hub.test"), 0, []string{one}, 61 * time.Minute, 1, 2},
		"without credentials": {"print:" + answer("Registry", "30m"), 0, []string{one, other}, 29 * time.Minute, 1, 1},
		"a failure":           {"exit", time.Hour, []string{one, one, other}, 61 * time.Second, 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, tc.play)
			f.plugin.CacheDuration = tc.own
			ask := func() int {
				for _, image := range tc.images {
					f.Run(t.Context(), "corp", failure(image))
				}
				return f.runs()
			}
			if n := ask(); n != tc.want {
				t.Errorf("%d runs, want %d", n, tc.want)
			}
			f.clock.add(tc.later)
			if n := ask(); n != tc.wantAll {
				t.Errorf("%d runs later, want %d", n, tc.wantAll)
			}
		})
	}
}

// Failures are repeated less and less often, and a changed plugin is run at once.
func TestFailuresBackOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "exit")
	for i, wait := range []time.Duration{1, 2, 4, 8, 15, 15} {
		f.Run(t.Context(), "corp", failure("hub.test/app"))
		f.clock.add(wait*time.Minute - time.Second)
		f.Run(t.Context(), "corp", failure("hub.test/app"))
		if n := f.runs(); n != i+1 {
			t.Fatalf("%d runs before failure %d is over", n, i+1)
		}
		f.clock.add(2 * time.Second)
	}
	before := f.runs()
	f.Run(t.Context(), "corp", failure("hub.test/app"))
	f.plugin.Args = credential.Redact([]string{"fixed"})
	f.Run(t.Context(), "corp", failure("hub.test/app"))
	if n := f.runs() - before; n != 2 {
		t.Errorf("%d runs, want one more after the change", n)
	}
}

// A failure for an image does not hide an answer for all images that came later.
func TestAnswerBehindAFailure(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "global")
	for i, tc := range []struct {
		image string
		want  diagnosis.ProviderRun
	}{{"bad", diagnosis.ProviderExited}, {"good", diagnosis.ProviderGave}, {"bad", diagnosis.ProviderGave}} {
		if got := f.Run(t.Context(), "corp", failure("hub.test/"+tc.image)); got.Run != tc.want {
			t.Errorf("%d, %s: %q, want %q", i, tc.image, got.Run, tc.want)
		}
	}
	if n := f.runs(); n != 2 {
		t.Errorf("%d runs", n)
	}
}

// Pods that fail together share a run.
func TestSharedRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "print:"+answer("Image", "0s", "hub.test"))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := f.Run(t.Context(), "corp", failure("hub.test/app")); got.Run != diagnosis.ProviderGave {
				t.Errorf("%q", got.Run)
			}
		})
	}
	wg.Wait()
	if n := f.runs(); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// While a plugin hangs for a namespace's images, it is run for another, also for an image
// that waits for the first one's turn.
func TestHangingForAnother(t *testing.T) {
	t.Parallel()
	const mine = "hub.test/mine"
	f := newFixture(t, "hang:"+mine)
	f.timeout = time.Hour
	evil, cancel := context.WithCancel(share.WithTenant(t.Context(), "evil"))
	var wg sync.WaitGroup
	for i, image := range []string{"hub.test/one", "hub.test/two", mine} {
		wg.Go(func() { f.Run(evil, "corp", failure(image)) })
		for f.runs() == 0 || f.running.Len() <= i {
			time.Sleep(10 * time.Millisecond)
		}
	}
	ctx, giveUp := context.WithTimeout(share.WithTenant(t.Context(), "good"), 30*time.Second) // for a program to start, no measure of anything
	defer giveUp()
	if got := f.Run(ctx, "corp", failure(mine)); got.Run != diagnosis.ProviderGave {
		t.Errorf("%q", got.Run)
	}
	cancel()
	wg.Wait()
}

// What need not, or cannot, be run.
func TestNotRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for name, tc := range map[string]struct {
		change  func(*kubelet.Plugin)
		account string
		want    diagnosis.ProviderRun
	}{
		"no directory":    {func(p *kubelet.Plugin) { p.Path = "" }, "", diagnosis.ProviderHidden},
		"another name":    {func(p *kubelet.Plugin) { p.Name = "../corp" }, "", diagnosis.ProviderHidden},
		"missing":         {func(p *kubelet.Plugin) { p.Path = filepath.Join(dir, "gone") }, "", diagnosis.ProviderMissing},
		"a directory":     {func(p *kubelet.Plugin) { p.Path = dir }, "", diagnosis.ProviderUnexecutable},
		"no right to run": {func(p *kubelet.Plugin) { p.Path = file("plain", "#!/bin/sh", 0o600) }, "", diagnosis.ProviderUnexecutable},
		"no program":      {func(p *kubelet.Plugin) { p.Path = file("text", "text", 0o700) }, "", diagnosis.ProviderUnexecutable},
		"no interpreter":  {func(p *kubelet.Plugin) { p.Path = file("script", "#!/no/such/shell\n", 0o700) }, "", diagnosis.ProviderDependent},
		"a token":         {func(p *kubelet.Plugin) { p.Token = &kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount} }, "default", diagnosis.ProviderWantsToken},
		"no account": {func(p *kubelet.Plugin) {
			p.Token = &kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, RequireAccount: new(true)}
		}, "", diagnosis.ProviderNoAccount},
		"a token, no need": {func(p *kubelet.Plugin) { p.Token = &kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount} }, "", diagnosis.ProviderGave},
		"no token":         {func(*kubelet.Plugin) {}, "default", diagnosis.ProviderGave},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "print:"+answer("Image", "", "hub.test"))
			tc.change(&f.plugin)
			image := failure("hub.test/app")
			image.ServiceAccount = tc.account
			if got := f.Run(t.Context(), "corp", image); got.Run != tc.want {
				t.Errorf("%q, want %q", got.Run, tc.want)
			}
		})
	}
}

// Below another root only what is there can be run.
func TestRoot(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	f := newFixture(t, "exit")
	f.Runner = newRunner(Options{Root: root, Plugins: f, Log: slog.New(slog.DiscardHandler)}, time.Minute, f.clock.Now)
	f.plugin.Path = "/opt/bin/corp"
	if got := f.Run(t.Context(), "corp", failure("hub.test/app")); got.Run != diagnosis.ProviderHidden {
		t.Errorf("nothing is mounted: %q", got.Run)
	}
	script := func(name string) {
		at := filepath.Join(root, "opt/bin", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("another")
	if got := f.Run(t.Context(), "corp", failure("hub.test/app")); got.Run != diagnosis.ProviderMissing {
		t.Errorf("the directory has another plugin: %q", got.Run)
	}
	script("corp")
	want := diagnosis.ProviderDependent // the shell is not below the root
	if os.Geteuid() != 0 {
		want = diagnosis.ProviderNoCapability
	}
	if got := f.Run(t.Context(), "corp", failure("hub.test/app")); got.Run != want {
		t.Errorf("a script: %q, want %q", got.Run, want)
	}
}
