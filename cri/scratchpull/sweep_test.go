package scratchpull_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/cri/scratchpull/scratchpulltest"
)

// Whichever call fails, what can be removed is removed, and the rest is removed
// later.
func TestCleanupAfterFailures(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]struct{ result, left bool }{
		"Version/Version": {},
		"Namespaces/Get":  {},
		"Leases/Create":   {},
		"Images/Get":      {},
		// Without these it is unknown whether the kubelet pulls; for failures
		// during a pull see guard_test.go.
		"Leases/List":          {},
		"Content/ListStatuses": {},

		"Images/List":       {result: true, left: true},
		"Images/Delete":     {result: true, left: true},
		"Leases/Delete":     {result: true, left: true},
		"Namespaces/Delete": {result: true, left: true},
		"Namespaces/List":   {result: true},
	} {
		c := scratchpulltest.New(t, "v2.4.2")
		c.OnPull(good)
		c.Fail(method, status.Error(codes.Internal, "simulated"))
		p := puller(t, c, limits())
		res, err := p.Pull(t.Context(), scratchpull.Request{Ref: image})
		if want.result != (err == nil) || want.left != leavesAnything(c) {
			t.Errorf("%s: %+v, %v; containerd holds %q", method, res, err, c.Holds())
		}
		if e, ok := errors.AsType[*scratchpull.Error](err); ok && (e.Op == scratchpull.OpTransfer || e.Code != codes.Internal) {
			t.Errorf("%s: %+v", method, e)
		}
		if !want.left {
			empty(t, c)
			continue
		}
		if err := p.Sweep(t.Context()); err == nil {
			t.Errorf("%s: a sweep that cannot remove everything succeeds", method)
		}
		c.Fail(method, nil)
		if err := p.Sweep(t.Context()); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		empty(t, c)
	}
}

func TestSweepAfterKill(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.Put("k8s.io", []byte("the kubelet's"), time.Now())
	c.OnPull(func(_ context.Context, tr *scratchpulltest.Transfer) error {
		d, size, err := tr.Fetch([]byte("layer"))
		tr.Save(ocispec.MediaTypeImageManifest, d, size)
		return err
	})
	c.Fail("Images/Delete", status.Error(codes.Internal, "killed"))
	p := puller(t, c, limits())
	if res, err := p.Pull(t.Context(), scratchpull.Request{Ref: image}); err != nil || !leavesAnything(c) {
		t.Fatalf("%+v, %v; containerd holds %q", res, err, c.Holds())
	}
	c.Fail("Images/Delete", nil)
	c.Drop(scratchpull.DefaultNamespace) // what is left has lost its lease
	if err := puller(t, c, limits()).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := c.Holds(); len(held) == 0 || !strings.HasPrefix(held[0], "k8s.io") || slices.ContainsFunc(held, func(l string) bool { return strings.HasPrefix(l, "whypull") }) {
		t.Errorf("containerd holds %q", held)
	}
}

func TestSweepOfNothing(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	if err := puller(t, c, limits()).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls := c.Calls(); !slices.Equal(calls, []string{"Namespaces/Get"}) {
		t.Errorf("calls: %q", calls)
	}
}

// Emptying a namespace that is still written to is tried again.
func TestSweepRetries(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.Put(scratchpull.DefaultNamespace, []byte("x"), time.Now())
	c.Fail("Namespaces/Delete", status.Error(codes.FailedPrecondition, "not empty"))
	time.AfterFunc(30*time.Millisecond, func() { c.Fail("Namespaces/Delete", nil) })
	if err := puller(t, c, limits()).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	empty(t, c)
	c.Put(scratchpull.DefaultNamespace, []byte("x"), time.Now())
	c.Fail("Namespaces/Delete", status.Error(codes.FailedPrecondition, "not empty"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := puller(t, c, limits()).Sweep(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	running, release := make(chan struct{}), make(chan struct{})
	c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		close(running)
		<-release
		return good(ctx, tr)
	})
	p := puller(t, c, limits())
	first := make(chan error, 1)
	go func() {
		_, err := p.Pull(t.Context(), scratchpull.Request{Ref: image})
		first <- err
	}()
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Pull(ctx, scratchpull.Request{Ref: image}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second pull: %v", err)
	}
	if err := p.Sweep(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a sweep: %v", err)
	}
	close(release)
	if err := <-first; err != nil || len(c.Transfers()) != 1 {
		t.Errorf("%v, %d transfers", err, len(c.Transfers()))
	}
}

// Whatever containerd returns once the lease is gone, it is not about the
// image.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		c.Drop(scratchpull.DefaultNamespace)
		return good(ctx, tr)
	})
	if _, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); !errors.Is(err, scratchpull.ErrInterrupted) {
		t.Errorf("%v", err)
	}
	c.OnPull(func(context.Context, *scratchpulltest.Transfer) error { return nil }) // and no record
	if _, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); !errors.Is(err, scratchpull.ErrInterrupted) {
		t.Errorf("%v", err)
	}
}

func TestRuntimeGoesAway(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(func(ctx context.Context, _ *scratchpulltest.Transfer) error {
		go c.Stop()
		<-ctx.Done()
		return ctx.Err()
	})
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	e, ok := errors.AsType[*scratchpull.Error](err)
	if !ok || e.Op == scratchpull.OpTransfer || e.Code != codes.Unavailable {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestSupported(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version, ref, hosts string
		supported           bool
	}{
		{"v2.4.2", image, "/etc/containerd/certs.d", true},
		{"v2.1.5-k3s1.33", image, "", true},
		{"2.0.0", "localhost:5000/app", "/x", true},
		{"v1.7.35", image, "", true},
		{"1.7.28~ds1", image, "", true},
		{"v1.7.35", image, "/etc/containerd/certs.d", false},
		{"v1.7.35", "localhost:5000/app", "", false},
		{"v1.7.35", "127.0.0.1/app", "", false},
		{"v1.6.36", image, "", false},
		{"0.9", image, "", false},
		{"", image, "", false},
		{"edge", image, "", false},
		{"v2", image, "", false},
	} {
		c := scratchpulltest.New(t, test.version)
		c.OnPull(good)
		_, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: test.ref, HostsDir: test.hosts})
		if test.supported != (err == nil) || !test.supported && !errors.Is(err, scratchpull.ErrUnsupported) {
			t.Errorf("%+v: %v", test, err)
		}
		if test.supported != (len(c.Transfers()) == 1) {
			t.Errorf("%+v: %d transfers", test, len(c.Transfers()))
		}
		empty(t, c)
	}
}

func TestNoTransferService(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2-of-1.6") // containerd reports that it has the image
	if _, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); !errors.Is(err, scratchpull.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	empty(t, c)
	c.Fail("Version/Version", status.Error(codes.Unimplemented, "CRI-O has no such service"))
	if _, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); !errors.Is(err, scratchpull.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	p := puller(t, c, limits())
	for _, r := range []scratchpull.Request{{Ref: "registry.example/UPPER"}, {Ref: ""}} {
		if _, err := p.Pull(t.Context(), r); err == nil {
			t.Errorf("%+v is pulled", r)
		}
	}
	if calls := c.Calls(); len(calls) > 0 {
		t.Errorf("calls: %q", calls)
	}
}

func TestReferencesAreNormalizedLikeCRI(t *testing.T) {
	t.Parallel()
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for given, want := range map[string]string{
		"nginx": "docker.io/library/nginx:latest", "registry.example/app:1@" + d: "registry.example/app@" + d,
	} {
		c := scratchpulltest.New(t, "v2.4.2")
		c.OnPull(good)
		if _, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: given}); err != nil || c.Transfers()[0].Reference != want {
			t.Errorf("%s: %v, %s", given, err, c.Transfers()[0].Reference)
		}
	}
}

func TestNewChecksArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		socket, namespace string
		change            func(*scratchpull.Limits)
	}{
		"no size":         {"/run/x.sock", "", func(l *scratchpull.Limits) { l.Bytes = 0 }},
		"no time":         {"/run/x.sock", "", func(l *scratchpull.Limits) { l.Time = 0 }},
		"no free space":   {"/run/x.sock", "", func(l *scratchpull.Limits) { l.Free = nil }},
		"the kubelet's":   {"/run/x.sock", "k8s.io", nil},
		"Docker's":        {"/run/x.sock", "moby", nil},
		"a relative path": {"x.sock", "", nil},
	} {
		l := limits()
		if test.change != nil {
			test.change(&l)
		}
		if _, err := scratchpull.New(test.socket, test.namespace, l); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
