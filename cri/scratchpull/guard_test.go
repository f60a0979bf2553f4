package scratchpull_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/cri/scratchpull/scratchpulltest"
)

const (
	kubelets = "k8s.io"
	layer    = "layer-sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
)

// expiring returns the labels of a pull's lease: containerd removes it after a
// while if nobody else does.
func expiring(in time.Duration) map[string]string {
	return map[string]string{"containerd.io/gc.expire": time.Now().Add(in).UTC().Format(time.RFC3339)}
}

// hanging receives a part of a layer, then calls then, and then waits until it
// is stopped.
func hanging(c *scratchpulltest.Containerd, then func()) func(context.Context, *scratchpulltest.Transfer) error {
	return func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		c.Receive(tr.Namespace, layer, 1<<20)
		then()
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestGivesWayToKubelet(t *testing.T) {
	t.Parallel()
	for name, begins := range map[string]func(*scratchpulltest.Containerd){
		"it receives a blob":              func(c *scratchpulltest.Containerd) { c.Receive(kubelets, "layer-sha256:aa", 0) },
		"it goes on with an earlier blob": func(c *scratchpulltest.Containerd) { c.Receive(kubelets, layer, 101) },
		"it waits for its share":          func(c *scratchpulltest.Containerd) { c.Lease(kubelets, "1-a", expiring(time.Hour)) },
		"its lease cannot be made sense of": func(c *scratchpulltest.Containerd) {
			c.Lease(kubelets, "1-a", map[string]string{"containerd.io/gc.expire": "tomorrow"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := scratchpulltest.New(t, "v2.4.2")
			c.Receive(kubelets, layer, 100)                  // of a failed pull
			c.Lease(kubelets, "sandbox", nil)                // holds a sandbox
			c.Lease(kubelets, "0-old", expiring(-time.Hour)) // of a containerd that was killed
			c.OnPull(hanging(c, func() { begins(c) }))
			l := limits()
			l.Idle = time.Minute
			res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image})
			if err != nil || res.Stopped != scratchpull.StoppedGaveWay || leavesAnything(c) {
				t.Errorf("%+v, %v; containerd holds %q", res, err, c.Holds())
			}
			if n := len(c.Transfers()); n != 1 {
				t.Errorf("%d transfers", n)
			}
		})
	}
}

func TestGivesWayToWaitingPods(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	var waits atomic.Bool
	c.OnPull(hanging(c, func() { waits.Store(true) }))
	l := limits()
	l.Idle = time.Minute
	yield := func(context.Context) bool { return waits.Load() }
	res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image, Yield: yield})
	if err != nil || res.Stopped != scratchpull.StoppedGaveWay || len(c.Transfers()) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image, Yield: yield})
	if err != nil || res.Stopped != scratchpull.StoppedGaveWay || len(c.Transfers()) != 1 {
		t.Errorf("a pod waits already: %+v, %v, %d transfers", res, err, len(c.Transfers()))
	}
	empty(t, c)
}

func TestNoPullWhileKubeletPulls(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.Lease(kubelets, "1-a", expiring(time.Hour))
	res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image})
	if err != nil || res.Stopped != scratchpull.StoppedGaveWay || res.Begun || len(c.Transfers()) > 0 {
		t.Errorf("%+v, %v, %d transfers", res, err, len(c.Transfers()))
	}
	c.Drop(kubelets)
	c.OnPull(good)
	if res, err := puller(t, c, limits()).Pull(t.Context(), scratchpull.Request{Ref: image}); err != nil || res.Stopped != scratchpull.NotStopped {
		t.Errorf("when it has ended: %+v, %v", res, err)
	}
}

func TestIdlePullEnds(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	c.OnPull(hanging(c, func() {}))
	l := limits()
	l.Idle = time.Millisecond
	res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image})
	if err != nil || res.Stopped != scratchpull.StoppedIdle {
		t.Errorf("%+v, %v", res, err)
	}
	empty(t, c)
}

// What uses no download slot may take its time: requesting the manifest,
// unpacking.
func TestPullWithoutDownloadsIsNotIdle(t *testing.T) {
	t.Parallel()
	c := scratchpulltest.New(t, "v2.4.2")
	var looks atomic.Int32
	enough := make(chan struct{})
	c.OnPull(func(ctx context.Context, tr *scratchpulltest.Transfer) error {
		select {
		case <-enough:
			return good(ctx, tr)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	l := limits()
	l.Idle = time.Nanosecond
	res, err := puller(t, c, l).Pull(t.Context(), scratchpull.Request{Ref: image, Yield: func(context.Context) bool {
		if looks.Add(1) == 4 {
			close(enough)
		}
		return false
	}})
	if err != nil || res.Stopped != scratchpull.NotStopped {
		t.Errorf("%+v, %v", res, err)
	}
	empty(t, c)
}

// If the runtime cannot say whether the kubelet pulls, no pull starts, and one
// that was ended in the middle says nothing about the image.
func TestPullEndsIfGuardFails(t *testing.T) {
	t.Parallel()
	for call, left := range map[string]bool{"Content/ListStatuses": false, "Leases/List": true} {
		c := scratchpulltest.New(t, "v2.4.2")
		c.OnPull(hanging(c, func() { c.Fail(call, status.Error(codes.Internal, "no")) }))
		l := limits()
		l.Idle = time.Minute
		p := puller(t, c, l)
		res, err := p.Pull(t.Context(), scratchpull.Request{Ref: image})
		if e, ok := errors.AsType[*scratchpull.Error](err); !ok || e.Op == scratchpull.OpTransfer || len(c.Transfers()) != 1 || left != leavesAnything(c) {
			t.Errorf("%s: %+v, %v, %d transfers", call, res, err, len(c.Transfers()))
		}
		if _, err := p.Pull(t.Context(), scratchpull.Request{Ref: image}); err == nil || len(c.Transfers()) != 1 {
			t.Errorf("%s, before it: %v, %d transfers", call, err, len(c.Transfers()))
		}
		c.Fail(call, nil)
		if err := p.Sweep(t.Context()); err != nil {
			t.Errorf("%s: %v", call, err)
		}
		empty(t, c)
	}
}
