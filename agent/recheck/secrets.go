//go:build linux

package recheck

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/share"
)

const (
	// mostWatches is the number of secrets that are watched at the same time. Others
	// are polled.
	mostWatches = 250
	// openWithin is the maximum random delay before a watch is opened, so that the
	// agents of a cluster do not open theirs at the same time.
	openWithin = time.Second
	// firstRetry and lastRetry are the delay before a watch that failed is opened
	// again; it doubles each time. After a few failures its secret is polled as well.
	firstRetry = time.Second
	lastRetry  = time.Minute
	fewRetries = 3
	// firstBar and lastBar are how long a watch that is not allowed is not opened again;
	// it doubles each time. An API server that has just started refuses everything.
	firstBar = 5 * time.Second
	lastBar  = 10 * time.Minute
	// refusedFor is how long a secret that may not be read is not polled.
	refusedFor = time.Minute
	// A secret that is polled is requested after every, then less and less often, up
	// to slowest, until it changes.
	slowest = 5 * time.Minute
	// pollGap is the minimum time between two polls, and patience the time limit for one.
	pollGap  = time.Second
	patience = 8 * time.Second
)

// Secrets are the secrets of the cluster. Neither method returns their content.
// Errors wrap kube.ErrNotFound, kube.ErrNoAccess or neither.
type Secrets interface {
	// SecretVersion returns the version of a secret.
	SecretVersion(ctx context.Context, namespace, name string) (string, error)
	// WatchSecret calls seen with the version of a secret, or the error, at first and
	// after each change, until the context or the watch ends.
	WatchSecret(ctx context.Context, namespace, name string, seen func(version string, err error)) error
}

// Values in place of a secret's version.
const (
	missing = "missing"
	unknown = ""
	refused = "refused"
)

// reading is what is known of a secret at one time.
type reading struct {
	value string // the version, or a value in its place
	at    string // the version that shows how old it is; empty if that is unknown
}

func readingOf(version string, err error) reading {
	switch {
	case err == nil:
		return reading{version, version}
	case errors.Is(err, kube.ErrNotFound):
		return reading{missing, version}
	case errors.Is(err, kube.ErrNoAccess):
		return reading{refused, ""}
	}
	return reading{}
}

// newsTo reports whether r is something else than was, and not older.
func (r reading) newsTo(was reading) bool {
	return r.value != unknown && r.value != was.value && !kube.Older(r.at, was.at)
}

// following is how one secret is followed.
type following struct {
	stop    context.CancelFunc // ends the watch; nil if there is none
	current reading            // by the watch or a poll; unknown if neither has read it
	open    bool               // the watch has delivered something
	failed  int                // how often in a row the watch could not be opened
	barred  time.Time          // until when no watch is opened, because it is not allowed
	bar     time.Duration      // how long that is
	due     time.Time          // of the next poll
	pause   time.Duration      // before the poll after that
	polled  string             // what the last poll has shown
}

// follow follows a secret that an examination has read. What a poll has shown before is
// older than that.
func (w *Watch) follow(s secret) {
	f := w.followed[s]
	if f == nil {
		f = &following{due: w.now().Add(soon()), pause: every}
		w.followed[s] = f
		w.tell()
	}
	if !f.open {
		f.current = reading{}
	}
}

// soon returns the time until a first poll.
func soon() time.Duration { return every - rand.N(jitter) } //nolint:gosec // jitter, not a secret

// tell has the changes acted upon.
func (w *Watch) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// serve opens the watches that are to be open, and closes the others.
func (w *Watch) serve(ctx context.Context, wg *sync.WaitGroup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	chosen := map[secret]bool{}
	all := w.watchable()
	for _, i := range share.InTurn(len(all), mostWatches, func(i int) string { return all[i].namespace }) {
		chosen[*all[i]] = true
	}
	for s, f := range w.followed {
		switch {
		case f.stop != nil && !chosen[s]:
			f.stop()
			f.stop, f.open = nil, false
		case f.stop == nil && chosen[s]:
			ctx, cancel := context.WithCancel(ctx)
			f.stop = cancel
			wg.Go(func() { w.watch(ctx, s, f) })
		}
	}
}

// watchable returns the secrets that may be watched: those that are, then the others.
func (w *Watch) watchable() []*secret {
	now := w.now()
	var open, closed []*secret // sorting pointers keeps the binary smaller
	for s, f := range w.followed {
		switch {
		case f.stop != nil:
			open = append(open, &s)
		case !now.Before(f.barred):
			closed = append(closed, &s)
		}
	}
	slices.SortFunc(open, (*secret).compare)
	slices.SortFunc(closed, (*secret).compare)
	return append(open, closed...)
}

// watch watches a secret until the context ends or no watch is allowed.
func (w *Watch) watch(ctx context.Context, s secret, f *following) {
	delay := rand.N(openWithin) //nolint:gosec // jitter, not a secret
	for sleep(ctx, delay) {
		err := w.secrets.WatchSecret(ctx, s.namespace, s.name, func(version string, err error) { w.saw(ctx, f, readingOf(version, err)) })
		if delay = w.ended(ctx, f, err); delay == 0 {
			return
		}
	}
}

// saw records what the watch has delivered.
func (w *Watch) saw(ctx context.Context, f *following, r reading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil { // another watch may be open
		return
	}
	f.open, f.failed, f.bar, f.current = true, 0, 0, r
	w.tell()
}

// ended records the end of a watch, and returns after how long to open it again; 0 for
// not now.
func (w *Watch) ended(ctx context.Context, f *following, err error) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return 0
	}
	if f.open {
		f.open, f.current = false, reading{}
		f.due, f.pause = w.now().Add(soon()), every
	}
	if errors.Is(err, kube.ErrNoAccess) {
		f.bar = min(max(2*f.bar, firstBar), lastBar)
		f.barred = w.now().Add(f.bar + rand.N(f.bar/4)) //nolint:gosec // jitter, not a secret
		f.stop()
		f.stop = nil
		return 0
	}
	delay := firstRetry
	if err != nil {
		f.failed++
		for range f.failed - 1 {
			delay = min(2*delay, lastRetry)
		}
	}
	return delay/2 + rand.N(delay) //nolint:gosec // jitter, not a secret
}

// poll requests the versions of the secrets that cannot be watched, one after the other,
// until the context ends.
func (w *Watch) poll(ctx context.Context) {
	wait := every
	for sleep(ctx, wait) {
		if s, due := w.turn(); due {
			w.ask(ctx, s)
		}
		wait = w.untilDue()
	}
}

func (w *Watch) ask(ctx context.Context, s secret) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	version, err := w.secrets.SecretVersion(ctx, s.namespace, s.name)
	w.asked(s, readingOf(version, err))
}

// isPolled reports whether the secret is polled.
func (f *following) isPolled() bool {
	return !f.open && (f.stop == nil || f.bar > 0 || f.failed >= fewRetries)
}

// untilDue returns the time until the next poll.
func (w *Watch) untilDue() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, left := w.now(), every
	for _, f := range w.followed {
		if f.isPolled() {
			left = min(left, f.due.Sub(now))
		}
	}
	return max(left, pollGap)
}

// turn returns the secret to poll now, if one is due. Namespaces take turns; within one
// it is the secret that has waited longest.
func (w *Watch) turn() (next secret, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for s, f := range w.followed {
		if f.isPolled() && !now.Before(f.due) && (!due || w.before(s, next)) {
			next, due = s, true
		}
	}
	if due {
		w.lastPolled = next.namespace
	}
	return next, due
}

// before reports whether a is polled before b: of namespaces, those after the last one
// come first.
func (w *Watch) before(a, b secret) bool {
	again := func(s secret) int {
		if s.namespace > w.lastPolled {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(again(a), again(b)), cmp.Compare(a.namespace, b.namespace),
		w.followed[a].due.Compare(w.followed[b].due), cmp.Compare(a.name, b.name)) < 0
}

// asked records the answer to a poll.
func (w *Watch) asked(s secret, r reading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followed[s]
	if f == nil || f.open {
		return
	}
	switch r.value {
	case refused:
		f.pause = max(f.pause, refusedFor)
	case f.polled, unknown:
	default:
		f.pause = every
	}
	f.due = w.now().Add(f.pause - jitter + rand.N(2*jitter)) //nolint:gosec // jitter, not a secret
	if r.value != unknown {                                  // an outage does not delay what follows it
		f.pause = min(2*f.pause, slowest)
	}
	f.current, f.polled = r, r.value
	w.tell()
}
