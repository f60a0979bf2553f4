package scratchpull

import (
	"context"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const (
	// kubeletNamespace is the containerd namespace of everything that comes over
	// CRI (constants.K8sContainerdNamespace).
	kubeletNamespace = "k8s.io"
	// lookEvery is how often a guard looks, and lookLimit how long one look may
	// take.
	lookEvery = 100 * time.Millisecond
	lookLimit = 5 * time.Second
)

// guard ends a pull that keeps a share of the runtime's downloads from the
// kubelet, or that makes no use of it.
type guard struct {
	p     *Puller
	yield func(context.Context) bool
	// theirs is what the kubelet's pulls had left unfinished before ours began:
	// what a failed pull has received of a blob stays for a while.
	theirs map[string]int64
	ours   map[string]int64
	moved  time.Time // when ours last changed
}

// guard returns the guard of a pull that has not begun, and whether that has to
// give way already.
func (p *Puller) guard(ctx context.Context, t target) (g *guard, busy bool, err error) {
	g = &guard{p: p, yield: t.Yield, moved: time.Now()}
	if g.yield == nil {
		g.yield = func(context.Context) bool { return false }
	}
	if g.theirs, err = p.unfinished(ctx, kubeletNamespace); err != nil {
		return nil, false, err
	}
	busy, err = g.wanted(ctx)
	return g, busy, err
}

// watch ends the pull when it has to end.
func (g *guard) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		why, err := g.look(ctx)
		switch {
		case err != nil:
			stop(broken{err})
			return
		case why != NotStopped:
			stop(stopped{why: why})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look returns why the pull has to end, if it has to.
func (g *guard) look(ctx context.Context) (Stop, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if wanted, err := g.wanted(ctx); err != nil || wanted {
		return StoppedGaveWay, err
	}
	ours, err := g.p.unfinished(ctx, g.p.namespace)
	if err != nil {
		return NotStopped, err
	}
	now := time.Now()
	switch {
	case len(ours) == 0, !maps.Equal(ours, g.ours): // what is not being received holds no share
		g.ours, g.moved = ours, now
	case now.Sub(g.moved) >= g.p.limits.Idle:
		return StoppedIdle, nil
	}
	return NotStopped, nil
}

// wanted reports whether the kubelet wants the runtime's downloads. Every pull of
// its own holds a lease that expires, from before its first request to its end
// (client.Pull; core/transfer/local, withLease): so one that still waits for its
// share is noticed as well. The leases of sandboxes do not expire. A lease that a
// containerd which was killed has left counts until it expires: in doubt the
// pull is the kubelet's.
func (g *guard) wanted(ctx context.Context) (bool, error) {
	now, err := g.p.unfinished(ctx, kubeletNamespace)
	if err != nil {
		return false, err
	}
	for ref, bytes := range now {
		if before, was := g.theirs[ref]; !was || bytes > before {
			return true, nil
		}
	}
	held, err := g.p.leases.List(namespaces.WithNamespace(ctx, kubeletNamespace))
	if err != nil {
		return false, callError(ctx, "List leases", err)
	}
	for _, l := range held {
		if end, expires := l.Labels[expiry]; expires && !over(end) {
			return true, nil
		}
	}
	return g.yield(ctx), nil
}

// over reports whether a time of expiry has passed. One that cannot be read has
// not.
func over(end string) bool {
	at, err := time.Parse(time.RFC3339, end)
	return err == nil && time.Now().After(at)
}

// unfinished returns how many bytes a namespace has of each blob that is not
// complete, by the name that the runtime gives to it.
func (p *Puller) unfinished(ctx context.Context, namespace string) (map[string]int64, error) {
	all, err := p.content.ListStatuses(namespaces.WithNamespace(ctx, namespace))
	if err != nil {
		return nil, callError(ctx, "ListStatuses", err)
	}
	out := map[string]int64{}
	for _, s := range all {
		out[s.Ref] = s.Offset
	}
	return out, nil
}
