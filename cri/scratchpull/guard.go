package scratchpull

import (
	"context"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const (
	// kubeletNamespace is the containerd namespace of everything pulled over
	// CRI (constants.K8sContainerdNamespace).
	kubeletNamespace = "k8s.io"
	// checkInterval is the time between two checks of a guard, and checkTimeout
	// limits one check.
	checkInterval = 100 * time.Millisecond
	checkTimeout  = 5 * time.Second
)

// guard ends a pull that blocks the kubelet's downloads or makes no progress.
type guard struct {
	p     *Puller
	yield func(context.Context) bool // nil: nobody waits
	// before holds what the kubelet's pulls had left unfinished before this
	// pull started: partial blobs of a failed pull are kept for a while.
	before map[string]int64
	own    map[string]int64
	moved  time.Time // when own last changed
}

// guard returns the guard of a pull that has not started, and whether the pull
// must give way already.
func (p *Puller) guard(ctx context.Context, t target) (g *guard, busy bool, err error) {
	g = &guard{p: p, yield: t.Yield, moved: time.Now()}
	if g.before, err = p.unfinished(ctx, kubeletNamespace); err != nil {
		return nil, false, err
	}
	busy, err = g.kubeletPulls(ctx)
	return g, busy, err
}

// check returns an error if the pull has to end.
func (g *guard) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	busy, err := g.kubeletPulls(ctx)
	switch {
	case err != nil:
		return checkFailed{err}
	case busy:
		return stopped{why: StoppedGaveWay}
	}
	ours, err := g.p.unfinished(ctx, g.p.namespace)
	if err != nil {
		return checkFailed{err}
	}
	now := time.Now()
	switch {
	case len(ours) == 0, !maps.Equal(ours, g.own): // what is not being received uses no download slot
		g.own, g.moved = ours, now
	case now.Sub(g.moved) >= g.p.limits.Idle:
		return stopped{why: StoppedIdle}
	}
	return nil
}

// kubeletPulls reports whether the kubelet needs the runtime's downloads. Each
// of the runtime's own pulls holds a lease with an expiry from before its first
// request to its end (client.Pull; core/transfer/local, withLease), so a pull
// that still waits for a download slot counts too. The leases of sandboxes do
// not expire. A lease left by a containerd that was killed counts until it
// expires: in doubt the pull is the kubelet's.
func (g *guard) kubeletPulls(ctx context.Context) (bool, error) {
	now, err := g.p.unfinished(ctx, kubeletNamespace)
	if err != nil {
		return false, err
	}
	for ref, bytes := range now {
		if before, was := g.before[ref]; !was || bytes > before {
			return true, nil
		}
	}
	held, err := g.p.leases.List(namespaces.WithNamespace(ctx, kubeletNamespace))
	if err != nil {
		return false, callError(ctx, "List leases", err)
	}
	for _, l := range held {
		if end, expires := l.Labels[expiry]; expires && !expired(end) {
			return true, nil
		}
	}
	return g.yield != nil && g.yield(ctx), nil
}

// expired reports whether an expiry has passed. One that does not parse has
// not.
func expired(end string) bool {
	at, err := time.Parse(time.RFC3339, end)
	return err == nil && time.Now().After(at)
}

// unfinished returns the number of bytes of each incomplete blob in a
// namespace, by the runtime's name for it.
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
