package recheck

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
)

// The watch's times and bounds.
const (
	// every is how often it looks, give or take jitter: a change is seen within
	// eleven seconds, so that a new verdict is there within fifteen.
	every  = 10 * time.Second
	jitter = time.Second
	// patience bounds the requests of one look together.
	patience = 8 * time.Second
	// mostSecrets is how many secrets one look asks for. Those beyond come next.
	mostSecrets = 20
	// refusedFor is how long a secret that may not be read is left alone.
	refusedFor = time.Minute
	// calm is for how long a pod is left alone after a change was noticed. After
	// a few changes the time doubles with each, up to calmest, and all is forgotten
	// after quiet: what is written all the time calls for no more verdicts.
	calm    = every - jitter
	few     = 4
	calmest = 5 * time.Minute
	quiet   = 10 * time.Minute
)

// The versions of secrets that there are none of.
const (
	missing  = "missing"
	unlooked = "" // not known
	refused  = "refused"
)

// Secrets tells which version of a secret there is, without its content. The
// errors are kube.ErrNotFound, kube.ErrNoAccess or any other.
type Secrets interface {
	SecretVersion(ctx context.Context, namespace, name string) (string, error)
}

// Pods are those whose failures are followed.
type Pods interface {
	// Failing returns all failures that are known, whether they have a verdict or
	// not.
	Failing() []diagnosis.Failure
	// Reexamine has a pod examined.
	Reexamine(uid string, fresh bool)
}

// Watch remembers what each verdict rested on, and looks from time to time
// whether that is still so. It is safe for use by many goroutines.
type Watch struct {
	root    string
	secrets Secrets
	now     func() time.Time

	mu     sync.Mutex
	bases  map[diagnosis.Subject]*basis
	pauses map[string]pause  // by pod uid
	files  map[string]glance // by path; of the last moment
	cursor secret            // the last secret that was asked for
	shut   map[secret]time.Time
}

type secret struct{ namespace, name string }

func (s secret) compare(o secret) int {
	return cmp.Or(cmp.Compare(s.namespace, o.namespace), cmp.Compare(s.name, o.name))
}

// basis is what a verdict rested on.
type basis struct {
	secrets map[secret]string // the version
	files   map[string]string // the mark; empty if it is equal to none
}

// pause keeps a pod from being examined all the time.
type pause struct {
	times int
	last  time.Time
}

// length is how long the pod is left alone.
func (p pause) length() time.Duration {
	d := calm
	for range p.times - few {
		if d = min(2*d, calmest); d == calmest {
			break
		}
	}
	return d
}

type glance struct {
	state state
	at    time.Time
}

// New returns a watch over secrets, nil for none, and over the files of the
// node whose file system is mounted at root; "" is "/".
func New(secrets Secrets, root string) *Watch {
	return &Watch{root: filepath.Clean("/" + root), secrets: secrets, now: time.Now,
		bases: map[diagnosis.Subject]*basis{}, pauses: map[string]pause{}, files: map[string]glance{}, shut: map[secret]time.Time{}}
}

// Secret notes which version of a secret an examination has read. The error is
// that of the reading.
func (w *Watch) Secret(f diagnosis.Failure, name, version string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of(f).secrets[secret{f.Namespace, name}] = versionOf(version, err)
}

// Files notes the files of the node that an examination is about to read, in
// place of those that an earlier one has read.
func (w *Watch) Files(f diagnosis.Failure, paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	files := map[string]string{}
	for _, path := range paths {
		s := w.glance(path, now)
		files[path] = s.mark
		if !s.settled(now) {
			files[path] = ""
		}
	}
	w.of(f).files = files
}

func (w *Watch) of(f diagnosis.Failure) *basis {
	key := f.Subject()
	if w.bases[key] == nil {
		w.bases[key] = &basis{secrets: map[secret]string{}}
	}
	return w.bases[key]
}

// versionOf is what a reading tells of a secret's version.
func versionOf(version string, err error) string {
	switch {
	case err == nil:
		return version
	case errors.Is(err, kube.ErrNotFound):
		return missing
	case errors.Is(err, kube.ErrNoAccess):
		return refused
	}
	return unlooked
}

// glance looks at a path, once for all who ask within a moment.
func (w *Watch) glance(path string, now time.Time) state {
	const moment = time.Second
	if g, ok := w.files[path]; ok && now.Sub(g.at) < moment {
		return g.state
	}
	s := look(w.root, path)
	w.files[path] = glance{s, now}
	return s
}

// Run looks until the context ends. nodeChanged is called before the pods are
// examined that a change of the node's files is about.
func (w *Watch) Run(ctx context.Context, pods Pods, nodeChanged func()) {
	for {
		timer := time.NewTimer(every - jitter + rand.N(2*jitter)) //nolint:gosec // jitter, not a secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			w.look(ctx, pods, nodeChanged)
		}
	}
}

// look looks once, and has those pods examined that rest on what has changed.
func (w *Watch) look(ctx context.Context, pods Pods, nodeChanged func()) {
	failing := pods.Failing()
	w.forget(failing)
	versions := w.versions(ctx)
	changed, ofNode := w.changed(failing, versions)
	if ofNode {
		nodeChanged()
	}
	for _, uid := range changed {
		pods.Reexamine(uid, false)
	}
}

// forget drops what is kept about what fails no more.
func (w *Watch) forget(failing []diagnosis.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	subjects, uids, now := map[diagnosis.Subject]bool{}, map[string]bool{}, w.now()
	for _, f := range failing {
		subjects[f.Subject()], uids[f.UID] = true, true
	}
	maps.DeleteFunc(w.bases, func(s diagnosis.Subject, _ *basis) bool { return !subjects[s] })
	maps.DeleteFunc(w.pauses, func(uid string, _ pause) bool { return !uids[uid] })
	maps.DeleteFunc(w.shut, func(_ secret, until time.Time) bool { return !now.Before(until) })
	clear(w.files)
}

// versions asks for the versions of the secrets that verdicts rest on, once for
// each and in turn where there are many.
func (w *Watch) versions(ctx context.Context) map[secret]string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := map[secret]string{}
	for _, s := range w.turn() {
		v, err := w.secrets.SecretVersion(ctx, s.namespace, s.name)
		if ctx.Err() != nil {
			return out
		}
		out[s] = versionOf(v, err)
		if out[s] == refused {
			w.shutOut(s)
		}
		w.passed(s)
	}
	return out
}

// turn returns the secrets whose turn it is.
func (w *Watch) turn() []secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.secrets == nil {
		return nil
	}
	all := map[secret]bool{}
	for _, b := range w.bases {
		for s := range b.secrets {
			if _, not := w.shut[s]; !not {
				all[s] = true
			}
		}
	}
	sorted := slices.SortedFunc(maps.Keys(all), secret.compare)
	if len(sorted) <= mostSecrets {
		return sorted
	}
	first := slices.IndexFunc(sorted, func(s secret) bool { return s.compare(w.cursor) > 0 })
	first = max(first, 0) // after the last one it begins anew
	return append(slices.Clone(sorted[first:]), sorted[:first]...)[:mostSecrets]
}

func (w *Watch) passed(s secret) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cursor = s
}

func (w *Watch) shutOut(s secret) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut[s] = w.now().Add(refusedFor)
}

// changed returns the pods to examine, in the order of the failures, and
// whether one of them is so because of the node's files.
func (w *Watch) changed(failing []diagnosis.Failure, versions map[secret]string) (uids []string, ofNode bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	var paused []string
	for _, f := range failing {
		b := w.bases[f.Subject()]
		if b == nil || slices.Contains(paused, f.UID) {
			continue
		}
		files := w.filesDiffer(b, now)
		if !files && !secretsDiffer(b, versions) {
			continue
		}
		if !slices.Contains(uids, f.UID) {
			if !w.mayDisturb(f.UID, now) {
				paused = append(paused, f.UID)
				continue
			}
			uids = append(uids, f.UID)
		}
		ofNode = ofNode || files
	}
	return uids, ofNode
}

func (w *Watch) filesDiffer(b *basis, now time.Time) bool {
	for path, mark := range b.files {
		if w.glance(path, now).mark != mark {
			return true
		}
	}
	return false
}

func secretsDiffer(b *basis, versions map[secret]string) bool {
	for s, was := range b.secrets {
		if is := versions[s]; is != unlooked && is != was {
			return true
		}
	}
	return false
}

// mayDisturb tells that a pod was left alone for long enough, and begins the
// next pause. A change that is not told now differs at the next look as well.
func (w *Watch) mayDisturb(uid string, now time.Time) bool {
	p := w.pauses[uid]
	since := now.Sub(p.last)
	switch {
	case p.times > 0 && since < p.length():
		return false
	case since >= quiet:
		p.times = 0
	}
	w.pauses[uid] = pause{p.times + 1, now}
	return true
}
