package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/cri/scratchpull/scratchpulltest"
)

// retrying makes the node of a fault try pulls again; the pods that are to be
// examined again come through the channel.
func retrying(t *testing.T, mode RetryMode, fault string) (n *node, f diagnosis.Failure, done chan string) {
	t.Helper()
	w, err := faulttest.Start(faulttest.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	of := faultNamed(t, w, fault)
	n = newNodeIn(t, w, of)
	done = make(chan string, 10)
	n.collector.Retry = Retry{Mode: mode, SlowAfter: long, Again: func(uid string) { done <- uid }}
	c := causeCase{text: "something that nobody has seen before"}
	return n, c.failing(of), done
}

// isolatedIn sets an isolated puller that calls pull.
func isolatedIn(t *testing.T, n *node, version string, pull func(context.Context, *scratchpulltest.Transfer) error) *scratchpulltest.Containerd {
	t.Helper()
	return isolatedFor(t, n, version, long, pull)
}

// isolatedFor is isolatedIn, with how long no byte may come.
func isolatedFor(t *testing.T, n *node, version string, idle time.Duration, pull func(context.Context, *scratchpulltest.Transfer) error) *scratchpulltest.Containerd {
	t.Helper()
	c := scratchpulltest.New(t, version)
	c.OnPull(pull)
	p, err := scratchpull.New(c.Socket, "", scratchpull.Limits{Bytes: 1 << 20, Floor: 1, Time: time.Minute, Idle: idle, Free: func() (uint64, error) { return 1 << 30, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	n.collector.Retry.Isolated = p
	return c
}

func wholePull(_ context.Context, t *scratchpulltest.Transfer) error {
	d, size, err := t.Fetch([]byte("layer one"))
	if err == nil {
		t.Save(ocispec.MediaTypeImageManifest, d, size)
	}
	return err
}

func failingPull(text string) func(context.Context, *scratchpulltest.Transfer) error {
	return func(context.Context, *scratchpulltest.Transfer) error { return grpcstatus.Error(codes.Unknown, text) }
}

// afterRetry gives the evidence on the pull once it was tried again.
func afterRetry(t *testing.T, n *node, f diagnosis.Failure, done chan string) []string {
	t.Helper()
	wantLines(t, "at first", of(f, n.collect(f), diagnosis.CheckPull), "NotRun | Pending | the pull is being retried")
	select {
	case uid := <-done:
		if uid != f.UID {
			t.Fatalf("pod %s is to be examined again", uid)
		}
	case <-time.After(long):
		t.Fatal("the retry does not end")
	}
	return of(f, n.collect(f), diagnosis.CheckPull)
}

func TestRetryIsolated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pull    func(context.Context, *scratchpulltest.Transfer) error
		want    string // what the evidence begins with
		has     string
		verdict diagnosis.Cause
	}{
		"comes whole": {wholePull, "Passed | the runtime retried the pull of ", "nothing was kept", diagnosis.NotReproducible},
		"fails":       {failingPull("write /var/lib/containerd/x: no space left on device"), "Failed | DiskFull | the runtime retried the pull without credentials and it failed: ", "no space left", diagnosis.DiskFull},
		"fails at a name": {failingPull(`failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://cdn.example/b?X-Signature=5160ed": dial tcp: lookup cdn.example: no such host`),
			"Failed | RegistryNameNotFound | the runtime retried the pull without credentials and it failed: ", "lookup cdn.example: no such host", diagnosis.RegistryNameNotFound},
		"fails in strange words": {failingPull("the moon is full"), "Failed | PullFailed | the runtime retried the pull without credentials and it failed: ", "the moon is full", diagnosis.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, f, done := retrying(t, RetryAuto, "works")
			c := isolatedIn(t, n, "v2.4.2", tc.pull)
			got := afterRetry(t, n, f, done)
			if len(got) != 1 || !strings.HasPrefix(got[0], tc.want) || !strings.Contains(got[0], tc.has) {
				t.Errorf("got %q", got)
			}
			if held := c.Holds(); len(held) > 0 {
				t.Errorf("containerd holds %q", held)
			}
			if transfers := c.Transfers(); len(transfers) != 1 || transfers[0].HostDir != "/etc/containerd/certs.d" {
				t.Errorf("transfers %+v", transfers)
			}
			if v := diagnosis.Diagnose(f, n.collect(f)); tc.verdict != diagnosis.Unknown && (v.Cause != tc.verdict || v.Confidence != diagnosis.Confirmed) {
				t.Errorf("%s, %s", v.Cause, v.Confidence)
			}
		})
	}
}

// Several credentials are tried in the kubelet's order until one works.
func TestRetryCredentialByCredential(t *testing.T) {
	t.Parallel()
	n, f, done := retrying(t, RetryIsolated, "basic-anonymous")
	host := hostOfImage(f.Image)
	n.secrets.byName["first"] = pullSecret(dockerConfig("one", "wrong", host))
	n.secrets.byName["second"] = pullSecret(dockerConfig("two", "right", host))
	n.secrets.byName["third"] = pullSecret(dockerConfig("three", "unused", host))
	f.PullSecrets = []string{"first", "second", "third"}
	var users []string
	isolatedIn(t, n, "v2.4.2", func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		user, password, err := tr.Credential(host)
		users = append(users, user)
		if err != nil || password != "right" {
			return grpcstatus.Error(codes.Unknown, "unexpected status from HEAD request to https://"+host+"/v2/x/manifests/v1: 401 Unauthorized")
		}
		return wholePull(ctx, tr)
	})
	job, ok := n.collector.retryOf(t.Context(), f, credentialsOf(t, n, f))
	if !ok {
		t.Fatal("nothing to try")
	}
	_ = done
	got := of(f, job.run(), diagnosis.CheckPull)
	if len(got) != 2 || !strings.HasPrefix(got[0], "Failed | CredentialsRejected | the runtime retried the pull with the credentials in secret first") ||
		!strings.HasPrefix(got[1], "Passed | the runtime retried the pull of "+f.Image+" with the credentials in secret second") {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(users, []string{"one", "two"}) {
		t.Errorf("users %q", users)
	}
	for _, line := range got {
		if strings.Contains(line, "wrong") || strings.Contains(line, "right") {
			t.Errorf("a password is in %s", line)
		}
	}
}

// If containerd cannot pull, or the image is too large, the pull is replayed.
func TestRetryFallsBack(t *testing.T) {
	t.Parallel()
	large := func(_ context.Context, tr *scratchpulltest.Transfer) error {
		_, _, err := tr.Fetch(make([]byte, 2<<20))
		return err
	}
	for name, change := range map[string]func(*testing.T, *node){
		"an old containerd": func(t *testing.T, n *node) { isolatedIn(t, n, "1.6.36", wholePull); n.runtime.Release = "1.6.36" },
		"a large image":     func(t *testing.T, n *node) { isolatedIn(t, n, "v2.4.2", large) },
		"another runtime": func(t *testing.T, n *node) {
			isolatedIn(t, n, "v2.4.2", failingPull("not to be asked"))
			n.runtime.Name = "cri-o"
			hostfstest.Add(t, n.options.Root, map[string]string{"etc/containers/registries.conf": ""})
		},
		"nobody who pulls": func(*testing.T, *node) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, f, done := retrying(t, RetryAuto, "works")
			change(t, n)
			got := afterRetry(t, n, f, done)
			if name == "another runtime" { // which does not know the authority of the world's registries
				if len(got) != 1 || !strings.Contains(got[0], "pull replayed without credentials: ") {
					t.Errorf("got %q", got)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "Passed | pull replayed without credentials: https://"+hostOfImage(f.Image)+" serves the manifest, the config,") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// If an isolated pull has too little space, there is evidence of it, and the pull is replayed.
func TestRetryWithoutSpace(t *testing.T) {
	t.Parallel()
	n, f, done := retrying(t, RetryAuto, "works")
	c := scratchpulltest.New(t, "v2.4.2")
	p, err := scratchpull.New(c.Socket, "", scratchpull.Limits{Bytes: 1 << 20, Floor: 2 << 30, Time: time.Minute, Free: func() (uint64, error) { return 1 << 30, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	n.collector.Retry.Isolated = p
	got := afterRetry(t, n, f, done)
	want := "NotRun | the pull of " + f.Image + " was not retried for lack of disk space: node worker-3 has 1.0 GiB free, and whypull leaves 2.0 GiB free for others"
	if len(got) != 2 || got[0] != want || !strings.HasPrefix(got[1], "Passed | pull replayed without credentials: ") {
		t.Errorf("got %q", got)
	}
	if len(c.Transfers()) > 0 {
		t.Errorf("transfers %+v", c.Transfers())
	}
}

// hangingPull receives a part of a layer, and then nothing until it is stopped.
func hangingPull(c *scratchpulltest.Containerd) func(context.Context, *scratchpulltest.Transfer) error {
	return func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		c.Receive(tr.Namespace, "layer-x", 1)
		<-ctx.Done()
		return ctx.Err()
	}
}

// kubeletPulls has the kubelet begin a pull: the runtime makes a lease for each.
func kubeletPulls(c *scratchpulltest.Containerd) {
	c.Lease("k8s.io", "1-a", map[string]string{"containerd.io/gc.expire": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
}

// A pull that would keep the kubelet's waiting is replayed instead, whether that is
// known before or shows while it runs; nothing of it goes on.
func TestRetryGivesWay(t *testing.T) {
	t.Parallel()
	waiting := failure("registry.test/other/app:1")
	waiting.UID, waiting.PullPolicy = "other", "IfNotPresent"
	for name, tc := range map[string]struct {
		idle      time.Duration
		change    func(*testing.T, *node, *scratchpulltest.Containerd)
		transfers int
		isolated  bool // the pull comes to its end
	}{
		"the kubelet pulls":    {idle: long, change: func(_ *testing.T, _ *node, c *scratchpulltest.Containerd) { kubeletPulls(c) }},
		"the registry is slow": {idle: long, change: func(_ *testing.T, n *node, _ *scratchpulltest.Containerd) { n.collector.Retry.SlowAfter = 1 }},
		"no byte comes":        {idle: time.Millisecond, change: func(_ *testing.T, _ *node, c *scratchpulltest.Containerd) { c.OnPull(hangingPull(c)) }, transfers: 1},
		"the kubelet begins a pull": {idle: long, transfers: 1, change: func(_ *testing.T, _ *node, c *scratchpulltest.Containerd) {
			c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
				kubeletPulls(c)
				return hangingPull(c)(ctx, tr)
			})
		}},
		"the kubelet begins to receive": {idle: long, transfers: 1, change: func(_ *testing.T, _ *node, c *scratchpulltest.Containerd) {
			c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
				c.Receive("k8s.io", "layer-y", 0)
				return hangingPull(c)(ctx, tr)
			})
		}},
		"a pod waits for its image": {idle: long, change: func(_ *testing.T, n *node, _ *scratchpulltest.Containerd) {
			n.collector.Retry.Waiting = func() []diagnosis.Failure { return []diagnosis.Failure{waiting} }
		}},
		"a pod waits for the registry": {idle: long, change: func(_ *testing.T, n *node, _ *scratchpulltest.Containerd) {
			always := waiting
			always.PullPolicy = "Always"
			n.runtime.Add(critest.NewImage("sha256:1", []string{always.Image}, nil))
			n.collector.Retry.Waiting = func() []diagnosis.Failure { return []diagnosis.Failure{always} }
		}},
		"a pod begins to wait for its image": {idle: long, transfers: 1, change: func(_ *testing.T, n *node, c *scratchpulltest.Containerd) {
			var waits atomic.Bool
			n.collector.Retry.Waiting = func() []diagnosis.Failure {
				if waits.Load() {
					return []diagnosis.Failure{waiting}
				}
				return nil
			}
			c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
				waits.Store(true)
				return hangingPull(c)(ctx, tr)
			})
		}},
		"a pod waits for something else": {idle: long, transfers: 1, isolated: true, change: func(_ *testing.T, n *node, _ *scratchpulltest.Containerd) {
			never, present := waiting, waiting
			never.Container, never.PullPolicy = "never", "Never"
			present.Image = "registry.test/other/present:1"
			n.runtime.Add(critest.NewImage("sha256:1", []string{present.Image}, nil))
			n.collector.Retry.Waiting = func() []diagnosis.Failure { return []diagnosis.Failure{never, present} }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, f, done := retrying(t, RetryAuto, "works")
			c := isolatedFor(t, n, "v2.4.2", tc.idle, wholePull)
			tc.change(t, n, c)
			got := afterRetry(t, n, f, done)
			want := "Passed | pull replayed without credentials: https://" + hostOfImage(f.Image) + " serves the manifest, the config,"
			if tc.isolated {
				want = "Passed | the runtime retried the pull of " + f.Image + " without credentials"
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Errorf("got %q", got)
			}
			if n := len(c.Transfers()); n != tc.transfers {
				t.Errorf("%d transfers", n)
			}
			if disturbed := !n.collector.disturbed.end(n.collector.now()).IsZero(); disturbed && tc.transfers == 0 || !disturbed && tc.isolated {
				t.Errorf("pulls of the kubelet count as disturbed: %t", disturbed)
			}
			if slices.ContainsFunc(c.Holds(), func(s string) bool { return strings.HasPrefix(s, scratchpull.DefaultNamespace) }) {
				t.Errorf("containerd holds %q", c.Holds())
			}
		})
	}
}

// After a registry has sent nothing, images are not pulled from it for some time.
func TestRetryRemembersASlowRegistry(t *testing.T) {
	t.Parallel()
	n, f, done := retrying(t, RetryAuto, "works")
	clock := n.clocked()
	c := isolatedFor(t, n, "v2.4.2", time.Millisecond, wholePull)
	c.OnPull(hangingPull(c))
	for i, want := range []int{1, 1, 2} {
		if got := afterRetry(t, n, f, done); len(got) != 1 || !strings.HasPrefix(got[0], "Passed | pull replayed without credentials: ") {
			t.Errorf("got %q", got)
		}
		if n := len(c.Transfers()); n != want {
			t.Errorf("after %d retries: %d transfers, want %d", i+1, n, want)
		}
		n.collector.retries.forget()
		if i == 1 {
			clock.advance(slowFor + time.Second)
		}
	}
}

func TestSlowness(t *testing.T) {
	t.Parallel()
	c, one := New(Options{}), registry.Endpoint{Host: "one.test"}
	c.answered("shop", one, DefaultSlowAfter)
	if c.isSlow(registry.Endpoint{Host: "other.test"}) || !c.isSlow(one) {
		t.Error("not the slow registry")
	}
	c.answered("other", one, 0)
	if c.isSlow(one) {
		t.Error("a registry that answers fast again is slow")
	}
	c.idle.note("shop", one.Host, slowFor)
	c.answered("shop", one, DefaultSlowAfter)
	c.answered("shop", one, 0)
	if !c.isSlow(one) {
		t.Error("a registry that sent nothing in a retry is not slow")
	}
}

func TestHostSet(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHostSet(clock.Now)
	h.note("good", "one.test", time.Hour)
	h.note("evil", "one.test", time.Hour/2) // whose it is then not
	for i := range 2 * maxHosts {
		h.note("evil", fmt.Sprint(i), time.Hour+time.Duration(i))
	}
	if h.notes.Len() != maxHosts || !h.has("one.test") || h.has("other.test") {
		t.Errorf("%d are remembered, the victim's: %t", h.notes.Len(), h.has("one.test"))
	}
	if h.has("0") || !h.has(fmt.Sprint(2*maxHosts-1)) {
		t.Error("not the attacker's oldest is forgotten")
	}
	h.forget("one.test")
	if h.has("one.test") {
		t.Error("what is to be forgotten is not")
	}
	h.note("good", "one.test", time.Minute)
	h.note("good", "one.test", time.Hour)
	if clock.advance(time.Hour - 1); !h.has("one.test") {
		t.Error("it is forgotten before its time")
	}
	if clock.advance(1); h.has("one.test") {
		t.Error("it is not forgotten at its time")
	}
}

// A registry whose answers take long is known as slow from the probe, and from a
// replay.
func TestSlowAnswersAreNoticed(t *testing.T) {
	t.Parallel()
	e := registry.Endpoint{Host: "slow.test"}
	ref, err := reference.ParseDockerRef("slow.test/app:1")
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Metrics: &fakeMetrics{}})
	c.heard("shop", e, ref, registry.Answer{Found: true, Durations: map[registry.Phase]time.Duration{registry.PhasePing: DefaultSlowAfter - 1, registry.PhaseManifest: DefaultSlowAfter - 1}})
	if c.isSlow(e) {
		t.Error("a fast registry is slow")
	}
	c.heard("shop", e, ref, registry.Answer{Found: true, Durations: map[registry.Phase]time.Duration{registry.PhaseManifest: DefaultSlowAfter}})
	if !c.isSlow(e) {
		t.Error("a slow answer went unnoticed")
	}
	n, f, _ := retrying(t, RetryReplay, "works")
	n.collector.Retry.SlowAfter = 1
	job, ok := n.collector.retryOf(t.Context(), f, nil)
	if !ok || slices.ContainsFunc(job.endpoints, n.collector.isSlow) {
		t.Fatal("nothing to try, or slow before it is asked")
	}
	job.run()
	if !slices.ContainsFunc(job.endpoints, n.collector.isSlow) {
		t.Error("a slow blob went unnoticed")
	}
}

func TestRetryReplay(t *testing.T) {
	t.Parallel()
	n, f, _ := retrying(t, RetryReplay, "layer-broken-off")
	job, ok := n.collector.retryOf(t.Context(), f, nil)
	if !ok {
		t.Fatal("nothing to try")
	}
	all := job.run()
	got := of(f, all, diagnosis.CheckPull)
	if len(got) != 1 || !strings.HasPrefix(got[0], "Failed | ContentCorrupt | pull replayed without credentials: ") || all[0].Retry().Cause != diagnosis.ContentCorrupt || all[0].Pull().Retry == nil {
		t.Errorf("got %q", got)
	}
}

// A result serves for a while, which doubles each time; pods that ask meanwhile
// wait for the same.
func TestRetriesAreShared(t *testing.T) {
	t.Parallel()
	c := newClock()
	r := newRetries()
	r.now = c.Now
	begun, end := make(chan struct{}, 10), make(chan struct{})
	done := make(chan string, 10)
	run := func() []diagnosis.Evidence {
		begun <- struct{}{}
		<-end
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Passed}}
	}
	get := func(uid string) []diagnosis.Evidence {
		return r.get(retryKey{tenant: "team", image: "a"}, uid, run, func(uid string) { done <- uid })
	}
	if get("one") != nil || get("two") != nil {
		t.Fatal("a result before there is one")
	}
	end <- struct{}{}
	if both := []string{<-done, <-done}; !slices.Contains(both, "one") || !slices.Contains(both, "two") {
		t.Errorf("got %q", both)
	}
	for life := retryLife; life <= 2*retryLongest; life *= 2 {
		c.advance(min(life, retryLongest) - time.Second)
		if get("three") == nil {
			t.Fatalf("after %s: no result", life)
		}
		c.advance(2 * time.Second)
		if get("four") != nil {
			t.Fatalf("after %s: the result still serves", life)
		}
		end <- struct{}{}
		<-done
	}
	if n := len(begun); n != 1+6 {
		t.Errorf("%d retries", n)
	}
	r.forget()
	if get("five") != nil {
		t.Error("a result that was to be forgotten")
	}
	end <- struct{}{}
	<-done
}

// If there is no retry, the evidence says why.
func TestRetryNeedless(t *testing.T) {
	t.Parallel()
	n, f, _ := retrying(t, RetryOff, "works")
	wantLines(t, "off", of(f, n.collect(f), diagnosis.CheckPull), "NotRun | pulls are not retried (--pull-retry=off)")
	n.collector.Retry.Mode = RetryReplay
	f.PullSecrets, f.Message = nil, "rpc error: code = NotFound desc = failed to resolve image: "+f.Image+": not found"
	n2, f2, _ := retrying(t, RetryReplay, "manifest-404")
	f2.Message = "rpc error: code = NotFound desc = failed to resolve image: " + f2.Image + ": not found"
	wantLines(t, "plain", of(f2, n2.collect(f2), diagnosis.CheckPull), "NotRun | the pull was not retried: the other checks are sufficient, or a retry would show no more")
}

func TestParseRetryMode(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "off", "isolated", "replay"} {
		if m, err := ParseRetryMode(s); err != nil || string(m) != s {
			t.Errorf("%q: %q, %v", s, m, err)
		}
	}
	for _, s := range []string{"always", "runtime"} {
		want := `pull retry "` + s + `": want isolated, replay, off, or empty for isolated with containerd and else replay`
		if _, err := ParseRetryMode(s); err == nil || err.Error() != want {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// credentialsOf returns the credentials that the kubelet would try for a failure.
func credentialsOf(t *testing.T, n *node, f diagnosis.Failure) []keyring.Credential {
	t.Helper()
	_, creds := n.collector.checkCredentials(t.Context(), f)
	return creds
}
