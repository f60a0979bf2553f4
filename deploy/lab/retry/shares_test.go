package retry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	transferapi "github.com/containerd/containerd/api/services/transfer/v1"
	streamingproxy "github.com/containerd/containerd/v2/core/streaming/proxy"
	"github.com/containerd/containerd/v2/core/transfer/image"
	transferproxy "github.com/containerd/containerd/v2/core/transfer/proxy"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// shares is how many blobs containerd fetches at once for all pulls together
// (max_concurrent_downloads), by default.
const shares = 3

// slowImage returns an image with more layers than there are shares, all held back
// until the end of the test.
func slowImage(t *testing.T, repository string) (reference string) {
	t.Helper()
	reference, release, err := large.holdFrom(repository, 0, shares+1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return reference
}

// holding waits until the number of held requests for a repository is want.
func holding(t *testing.T, repository string, want int) {
	t.Helper()
	for deadline := time.Now().Add(worksFor); large.heldUp(repository) != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests for %s are held up, want %d", large.heldUp(repository), repository, want)
		}
	}
}

// victim pulls a small image from another, fast registry, as the kubelet does, and
// returns how long it takes.
func victim(t *testing.T, r runtimes.Runtime) time.Duration {
	t.Helper()
	start := time.Now()
	if err := pullAndRemove(t.Context(), images(t, r), caseNamed(t, "token-works").Image, nil); err != nil {
		t.Error(err)
	}
	return time.Since(start)
}

// hog pulls as any client of the runtime's socket can, and never gives way.
func hog(ctx context.Context, r runtimes.Runtime, reference string) error {
	conn, err := cri.Connect(r.Socket())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx = namespaces.WithNamespace(ctx, "hog")
	from, err := registry.NewOCIRegistry(ctx, reference, registry.WithHostDir(hostsDir(r)), registry.WithCredentials(robotHelper{}))
	if err != nil {
		return err
	}
	streams := streamingproxy.NewStreamCreator(conn)
	return transferproxy.NewTransferrer(transferapi.NewTransferClient(conn), streams).
		Transfer(ctx, from, image.NewStore(reference))
}

// robotHelper returns the robot's credentials for any host.
type robotHelper struct{}

// GetCredentials implements registry.CredentialHelper.
func (robotHelper) GetCredentials(_ context.Context, _, host string) (registry.Credentials, error) {
	return registry.Credentials{Host: host, Username: user, Secret: password}, nil
}

// The other tests of this file rely on this: a client that pulls in another namespace
// and does not give way delays the kubelet.
func TestInsideDownloadsAreShared(t *testing.T) {
	if world == nil {
		t.Skip("runs inside the box of TestRetry")
	}
	r := capable()[0] // CRI of 1.7 does not use the service
	repository := "hog-" + r.Tool
	reference, release, err := large.holdFrom(repository, 0, shares+1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hogs := make(chan error, 1)
	go func() { hogs <- hog(ctx, r, reference) }()
	holding(t, repository, shares)
	done := make(chan time.Duration, 1)
	go func() { done <- victim(t, r) }()
	select {
	case took := <-done:
		t.Errorf("the kubelet's pull took only %s while another pull held all slots", took)
		cancel()
	case <-time.After(3 * time.Second):
		cancel()
		t.Logf("the kubelet's pull took %s after another pull held all slots for 3 s", <-done)
	}
	if err := <-hogs; err == nil {
		t.Error("the hog's pull succeeded")
	}
	if err := sweep(t.Context(), r, "hog"); err != nil {
		t.Error(err)
	}
}

// sweep removes everything in a namespace.
func sweep(ctx context.Context, r runtimes.Runtime, namespace string) error {
	p, err := scratchpull.New(r.Socket(), namespace, limits())
	if err != nil {
		return err
	}
	return errors.Join(p.Sweep(ctx), p.Close())
}

// A retried pull that hangs at a slow registry and holds all download slots releases
// them when the kubelet starts a pull from another registry.
func TestInsideRetryGivesWay(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		if !modern(r) {
			t.Skip("CRI of 1.7 does not use the transfer service: its pull does not wait, and may finish before the test looks")
		}
		repository := "gives-way-" + r.Tool
		req := scratchpull.Request{Ref: slowImage(t, repository), Credential: robot(), HostsDir: hostsDir(r)}
		alone := victim(t, r)
		type outcome struct {
			res scratchpull.Result
			err error
		}
		retried := make(chan outcome, 1)
		go func() {
			res, err := puller(t, r, limits()).Pull(t.Context(), req)
			retried <- outcome{res, err}
		}()
		holding(t, repository, shares)
		during := victim(t, r)
		// Nobody has released a layer: only the end of the retry closes these.
		holding(t, repository, 0)
		t.Logf("the kubelet's pull takes %s alone, and %s during a retry that hangs", alone, during)
		got := <-retried
		if got.err != nil || got.res.Stopped != scratchpull.StoppedGaveWay {
			t.Errorf("%+v, %v: %s", got.res, got.err, text(got.err))
		}
	})
}

// A retried pull without any data ends on its own.
func TestInsideRetryWithoutDataEnds(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		repository := "idle-" + r.Tool
		req := scratchpull.Request{Ref: slowImage(t, repository), Credential: robot(), HostsDir: hostsDir(r)}
		l := limits()
		l.Idle = 0 // as the agent has it
		res, err := puller(t, r, l).Pull(t.Context(), req)
		if err != nil || res.Stopped != scratchpull.StoppedIdle {
			t.Errorf("%+v, %v: %s", res, err, text(err))
		}
		holding(t, repository, 0)
	})
}

// During a pull of the kubelet, the runtime retries none: the pull is replayed. What
// the kubelet's pull leaves behind when it fails does not prevent retries.
func TestInsideNoRetryDuringKubeletPull(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		repository, other := "kubelets-"+r.Tool, "other-"+r.Tool
		slow, fast := slowImage(t, repository), put(t, other, 1<<10, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		theirs := make(chan error, 1)
		go func() {
			_, err := images(t, r).PullImage(ctx, &runtimeapi.PullImageRequest{
				Image: &runtimeapi.ImageSpec{Image: slow}, Auth: &runtimeapi.AuthConfig{Username: user, Password: password},
			})
			theirs <- err
		}()
		holding(t, repository, shares)
		res, err := puller(t, r, limits()).Pull(t.Context(), scratchpull.Request{Ref: fast, Credential: robot(), HostsDir: hostsDir(r)})
		if err != nil || res.Stopped != scratchpull.StoppedGaveWay || res.Begun || large.requests(other) > 0 {
			t.Errorf("%+v, %v (%s), %d requests", res, err, text(err), large.requests(other))
		}
		tried := func(want string) {
			t.Helper()
			a := newAgent(t, r, limits(), robots())
			v := a.judge(t, a.failure(t, fast, strange))
			again := retries(v)
			if v.Cause != diagnosis.NotReproducible || len(again) != 1 || !strings.HasPrefix(again[0].Detail, want) {
				t.Errorf("want %q: %s", want, describe(v))
			}
		}
		tried("pull replayed with the credentials in secret robots")
		cancel()
		if err := <-theirs; err == nil {
			t.Error("the kubelet's pull succeeded")
		}
		holding(t, repository, 0)
		noLeases(t, r)
		tried("the runtime retried the pull of ")
		cleanedUp(t, r, slow)
	})
}

// noLeases returns when the kubelet has no pull in progress.
func noLeases(t *testing.T, r runtimes.Runtime) {
	t.Helper()
	for deadline := time.Now().Add(worksFor); ; time.Sleep(10 * time.Millisecond) {
		if !strings.Contains(strings.Join(holds(t, r), "\n"), "namespace k8s.io lease ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the runtime still has a lease of the kubelet's pull")
		}
	}
}
