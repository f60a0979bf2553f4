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

// The watch's intervals and limits.
const (
	// every is the interval between two checks, plus or minus jitter: a change is
	// noticed within 11 seconds, and the new verdict is published within 15.
	every  = 10 * time.Second
	jitter = time.Second
	// patience is the time limit for all requests of one check.
	patience = 8 * time.Second
	// mostSecrets is the number of secrets that one check requests; the next check goes on with the others.
	mostSecrets = 20
	// refusedFor is how long a forbidden secret is not requested again.
	refusedFor = time.Minute
	// calm is the pause for a pod after a change was noticed. After a few changes
	// the pause doubles with each one, up to calmest; after quiet without a change it
	// starts over. So a secret that is written all the time does not cause an
	// examination each time.
	calm    = every - jitter
	few     = 4
	calmest = 5 * time.Minute
	quiet   = 10 * time.Minute
)

// Values in place of a secret's version.
const (
	missing  = "missing"
	unlooked = "" // unknown
	refused  = "refused"
)

// Secrets returns the version of a secret, without its content. Errors wrap
// kube.ErrNotFound, kube.ErrNoAccess or neither.
type Secrets interface {
	SecretVersion(ctx context.Context, namespace, name string) (string, error)
}

// Pods are the pods whose failures are followed.
type Pods interface {
	// Failing returns all known failures, with or without a verdict.
	Failing() []diagnosis.Failure
	// Reexamine schedules an examination of the pod.
	Reexamine(uid string, fresh bool)
}

// Watch remembers what each verdict is based on and checks at intervals whether
// any of it has changed. It is safe for concurrent use.
type Watch struct {
	root    string
	secrets Secrets
	now     func() time.Time

	mu     sync.Mutex
	bases  map[diagnosis.Subject]*basis
	pauses map[string]pause  // by pod uid
	files  map[string]glance // by path; for a second
	cursor secret            // the last secret that was requested
	shut   map[secret]time.Time
}

type secret struct{ namespace, name string }

func (s secret) compare(o secret) int {
	return cmp.Or(cmp.Compare(s.namespace, o.namespace), cmp.Compare(s.name, o.name))
}

// basis is what a verdict is based on.
type basis struct {
	secrets map[secret]string // the version
	files   map[string]string // the mark; empty if it must count as changed
}

// pause limits how often a pod is examined.
type pause struct {
	times int
	last  time.Time
}

// length returns how long the pod is not examined again.
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

// New returns a watch over secrets (may be nil) and over the files of the node
// whose file system is mounted at root; "" is "/".
func New(secrets Secrets, root string) *Watch {
	return &Watch{root: filepath.Clean("/" + root), secrets: secrets, now: time.Now,
		bases: map[diagnosis.Subject]*basis{}, pauses: map[string]pause{}, files: map[string]glance{}, shut: map[secret]time.Time{}}
}

// Secret records the version of a secret that an examination has read, or the
// error of reading it.
func (w *Watch) Secret(f diagnosis.Failure, name, version string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of(f).secrets[secret{f.Namespace, name}] = versionOf(version, err)
}

// Files records the files of the node that an examination is about to read, in
// place of those of an earlier examination.
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

// versionOf returns the version to remember after reading a secret.
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

// glance returns the state of a path, which may be a second old.
func (w *Watch) glance(path string, now time.Time) state {
	const moment = time.Second
	if g, ok := w.files[path]; ok && now.Sub(g.at) < moment {
		return g.state
	}
	s := look(w.root, path)
	w.files[path] = glance{s, now}
	return s
}

// Run checks at intervals until the context ends. It calls nodeChanged before it
// schedules pods because of a changed file.
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

// look checks once and schedules the pods whose verdicts are based on something that has changed.
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

// forget drops the records of containers that no longer fail.
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

// versions requests the versions of the secrets that verdicts are based on, each
// once; if there are more than mostSecrets, they take turns.
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
		w.asked(s, out[s])
	}
	return out
}

// turn returns the secrets to request in this check.
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
	first = max(first, 0) // after the last one it starts over
	return append(slices.Clone(sorted[first:]), sorted[:first]...)[:mostSecrets]
}

// asked records that a secret was requested, and does not request it again for a while
// if it is forbidden.
func (w *Watch) asked(s secret, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cursor = s
	if version == refused {
		w.shut[s] = w.now().Add(refusedFor)
	}
}

// changed returns the UIDs of the pods to examine, in the order of the failures,
// and whether a file of the node is the reason for one of them.
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

// mayDisturb reports whether a pod's pause is over and, if so, starts the next
// one. A change that has to wait is seen again at the next check.
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
