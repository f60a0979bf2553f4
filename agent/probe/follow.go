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

// Limits of what is remembered about running pulls.
const (
	maxFollowed = 1000        // containers of one namespace; there are 110 pods on a node by default
	rateWindow  = time.Minute // over which a rate is measured and records are kept
	rateSpan    = 5 * time.Second
	maxSamples  = 16 // of one container
	lately      = 30 * time.Second
	maxBehind   = 3 // pods that are named
)

// snapshot caches the runtime's content store during one check of a pod: ingests
// are listed once, stored images once per repository.
type snapshot struct {
	from    Transfers
	ingests func() ([]cri.Ingest, error)
	stored  map[string][]cri.Stored
}

func newSnapshot(ctx context.Context, from Transfers) *snapshot {
	ingests := sync.OnceValues(func() ([]cri.Ingest, error) { return from.Ingests(ctx) })
	return &snapshot{from: from, ingests: ingests, stored: map[string][]cri.Stored{}}
}

// Stored is like Transfers.Stored.
func (b *snapshot) Stored(ctx context.Context, registry, repository string) ([]cri.Stored, error) {
	key := registry + "/" + repository
	if all, ok := b.stored[key]; ok {
		return all, nil
	}
	all, err := b.from.Stored(ctx, registry, repository)
	if err == nil {
		b.stored[key] = all
	}
	return all, err
}

// follower records the progress of waiting containers' pulls. Records are dropped
// rateWindow after their last update. The zero value is ready to use.
type follower struct {
	mu       sync.Mutex
	followed map[diagnosis.Subject]*look
}

type look struct {
	of      diagnosis.Failure
	seen    time.Time
	queued  bool     // nothing received yet, while other images were
	stalled bool     // it has received bytes and then no more
	samples []sample // the oldest first
}

// sample is the number of bytes received at a time.
type sample struct {
	at   time.Time
	done int64
}

// record records the state of a pull and returns its progress.
func (l *follower) record(f diagnosis.Failure, s pullState, now time.Time) diagnosis.Progress {
	p := diagnosis.Progress{Failure: f, Done: s.done, Total: s.total, Layers: s.layers}
	l.mu.Lock()
	defer l.mu.Unlock()
	others := 0 // of the namespace
	for key, old := range l.followed {
		if now.Sub(old.seen) > rateWindow {
			delete(l.followed, key)
		} else if old.of.Namespace == f.Namespace {
			others++
		}
	}
	key := f.Subject()
	was := l.followed[key]
	if was == nil || was.of.Image != f.Image {
		if was == nil && others >= maxFollowed {
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

// rate adds a sample and returns the bytes per second since the oldest sample in
// rateWindow; 0 if that is less than rateSpan ago. containerd's offsets grow in
// steps of 1 MiB, so two samples of a slow pull would be too inaccurate.
func (w *look) rate(s pullState, now time.Time) float64 {
	if s.stage != receiving {
		w.samples = nil
		return 0
	}
	if n := len(w.samples); n > 0 && s.done < w.samples[n-1].done { // it has started over
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

// behind returns the other pods that recently waited without receiving anything: the names
// of some in the pod's namespace, sorted, and how many others; nil if there are none.
func (l *follower) behind(f diagnosis.Failure, now time.Time) *diagnosis.Behind {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out diagnosis.Behind
	pods := map[string]bool{f.UID: true}
	for key, w := range l.followed {
		if pods[key.UID] || !w.queued || now.Sub(w.seen) > lately {
			continue
		}
		pods[key.UID] = true
		if w.of.Namespace == f.Namespace {
			out.Pods = append(out.Pods, w.of.Pod)
		} else {
			out.Others++
		}
	}
	if len(pods) == 1 {
		return nil
	}
	slices.Sort(out.Pods)
	out.More = max(len(out.Pods)-maxBehind, 0)
	out.Pods = out.Pods[:len(out.Pods)-out.More]
	return &out
}

// ahead returns the stalled pull that a pod waits for, preferably one in the pod's
// namespace.
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

// queue describes how a hanging pull blocks other pods or is blocked by one; "" if neither.
func (c *Collector) queue(ctx context.Context, f diagnosis.Failure, s pullState) string {
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

// waitedFor returns the pull that a pod waits for. It names no pod of another
// namespace.
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

// sources returns the hosts that the node asks for an image, in the order of its
// configuration.
func (c *Collector) sources(ctx context.Context, f diagnosis.Failure) []string {
	ref, err := completed(f.Image)
	if err != nil {
		return []string{f.Registry}
	}
	endpoints, _, err := c.config(ctx).EndpointsFor(ctx, f.Registry, ref)
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
