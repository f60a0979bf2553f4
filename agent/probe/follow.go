package probe

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
)

// The bounds of what is remembered of looks at pulls.
const (
	maxFollowed = 1000        // containers; there are 110 pods on a node by default
	rateWindow  = time.Minute // over which a rate is measured, and for which looks are kept
	rateSpan    = 5 * time.Second
	maxSamples  = 16 // of one container
	lately      = 30 * time.Second
	maxBehind   = 3 // pods that are named
)

// books are the runtime's books as they are in one look: the content store is
// listed once for a pod, and once for each of its repositories.
type books struct {
	from    Transfers
	ingests []cri.Ingest
	read    bool
	stored  map[string][]cri.Stored
}

// Ingests is Transfers' of that name.
func (b *books) Ingests(ctx context.Context) ([]cri.Ingest, error) {
	if b.read {
		return b.ingests, nil
	}
	all, err := b.from.Ingests(ctx)
	if err != nil {
		return nil, err
	}
	b.ingests, b.read = all, true
	return all, nil
}

// Stored is Transfers' of that name.
func (b *books) Stored(ctx context.Context, registry, repository string) ([]cri.Stored, error) {
	key := registry + "/" + repository
	if all, ok := b.stored[key]; ok {
		return all, nil
	}
	all, err := b.from.Stored(ctx, registry, repository)
	if err != nil {
		return nil, err
	}
	if b.stored == nil {
		b.stored = map[string][]cri.Stored{}
	}
	b.stored[key] = all
	return all, nil
}

// follower remembers the last looks at waiting containers. Those of a pod that
// is gone are not renewed, and go after rateWindow. The zero value is ready.
type follower struct {
	mu       sync.Mutex
	followed map[diagnosis.Subject]*look
}

type look struct {
	of      diagnosis.Failure
	seen    time.Time
	queued  bool     // no byte had come, and others were received
	stalled bool     // bytes had come, and then no more
	samples []sample // the oldest first
}

// sample is how many bytes there were at a moment.
type sample struct {
	at   time.Time
	done int64
}

// saw notes a look, and returns how far the pull is.
func (l *follower) saw(f diagnosis.Failure, s standstill, now time.Time) diagnosis.Progress {
	p := diagnosis.Progress{Failure: f, Done: s.done, Total: s.total, Layers: s.layers}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, old := range l.followed {
		if now.Sub(old.seen) > rateWindow {
			delete(l.followed, key)
		}
	}
	key := f.Subject()
	was := l.followed[key]
	if was == nil || was.of.Image != f.Image {
		if was == nil && len(l.followed) >= maxFollowed {
			return p
		}
		was = &look{of: f}
		if l.followed == nil {
			l.followed = map[diagnosis.Subject]*look{}
		}
		l.followed[key] = was
	}
	was.seen, was.queued, was.stalled = now, s.stage == queued, s.way == diagnosis.StallTransfer
	p.Rate = was.rate(s, now)
	return p
}

// rate takes a sample and gives bytes a second since the oldest of the last
// minute; 0 where that is too short a while ago. containerd's numbers grow by
// 1 MiB at a time, so two looks at a slow pull would tell too much or too little.
func (w *look) rate(s standstill, now time.Time) float64 {
	if s.stage != receiving {
		w.samples = nil
		return 0
	}
	if n := len(w.samples); n > 0 && s.done < w.samples[n-1].done { // it has begun anew
		w.samples = nil
	}
	w.samples = slices.DeleteFunc(w.samples, func(x sample) bool { return now.Sub(x.at) > rateWindow })
	if len(w.samples) < maxSamples {
		w.samples = append(w.samples, sample{now, s.done})
	}
	first := w.samples[0]
	span := now.Sub(first.at)
	if span < rateSpan {
		return 0
	}
	return float64(s.done-first.done) / span.Seconds()
}

// behind returns the other pods that have lately been seen to wait without a byte;
// nil if there are none.
func (l *follower) behind(f diagnosis.Failure, now time.Time) *diagnosis.Behind {
	names, others := l.waiting(f, now)
	if len(names)+others == 0 {
		return nil
	}
	named := names[:min(len(names), maxBehind)]
	return &diagnosis.Behind{Pods: named, More: len(names) - len(named), Others: others}
}

// ahead is the pull that stalls while a pod waits without a byte, of several one
// of the pod's own namespace.
func (l *follower) ahead(f diagnosis.Failure, now time.Time) (diagnosis.Failure, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []diagnosis.Failure
	for key, w := range l.followed {
		if key.UID != f.UID && w.stalled && now.Sub(w.seen) <= lately {
			all = append(all, w.of)
		}
	}
	if len(all) == 0 {
		return diagnosis.Failure{}, false
	}
	rank := func(o diagnosis.Failure) string {
		if o.Namespace == f.Namespace {
			return "0/" + o.Pod
		}
		return "1/" + o.Namespace + "/" + o.Pod
	}
	return slices.MinFunc(all, func(a, b diagnosis.Failure) int { return strings.Compare(rank(a), rank(b)) }), true
}

// queue is how a pull that hangs stands to those of other pods.
func (c *Collector) queue(ctx context.Context, f diagnosis.Failure, s standstill) string {
	switch {
	case s.way == diagnosis.StallBehind:
		return c.waitedFor(ctx, f).Detail()
	case s.alone:
		if behind := c.follower.behind(f, c.now()); behind != nil {
			return behind.Detail(f)
		}
	}
	return ""
}

// waitedFor returns the pull that a pod waits for, as far as the pod's report may
// name it.
func (c *Collector) waitedFor(ctx context.Context, f diagnosis.Failure) diagnosis.Ahead {
	switch first, known := c.follower.ahead(f, c.now()); {
	case !known:
		return diagnosis.Ahead{}
	case first.Namespace != f.Namespace:
		return diagnosis.Ahead{Hidden: true}
	default:
		return diagnosis.Ahead{Pod: first.Pod, Sources: c.sources(ctx, first)}
	}
}

// waiting are the pods of behind: the names of those in the pod's namespace,
// sorted, and how many others.
func (l *follower) waiting(f diagnosis.Failure, now time.Time) (names []string, others int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pods := map[string]bool{f.UID: true}
	for key, w := range l.followed {
		if pods[key.UID] || !w.queued || now.Sub(w.seen) > lately {
			continue
		}
		pods[key.UID] = true
		if w.of.Namespace == f.Namespace {
			names = append(names, w.of.Pod)
		} else {
			others++
		}
	}
	slices.Sort(names)
	return names, others
}

// sources are the hosts that the node asks for an image, as its configuration
// has them, in that order.
func (c *Collector) sources(ctx context.Context, f diagnosis.Failure) []string {
	ref, err := completed(f.Image)
	if err != nil {
		return []string{f.Registry}
	}
	config := c.configs.load(ctx, c.options, c.Images)
	endpoints, _, err := config.EndpointsFor(ctx, f.Registry, ref)
	if err != nil || len(endpoints) == 0 {
		return []string{f.Registry}
	}
	var hosts []string
	for _, e := range endpoints {
		if !slices.Contains(hosts, e.Host) {
			hosts = append(hosts, e.Host)
		}
	}
	return hosts
}
