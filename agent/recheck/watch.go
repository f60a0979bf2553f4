//go:build linux

package recheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/hostfs"
)

// The watch's intervals and limits.
const (
	// every is the interval between two checks of the node's files, plus or minus
	// jitter: a change is noticed within 11 seconds, and the new verdict is published
	// within 15.
	every  = 10 * time.Second
	jitter = time.Second
	// gather is how long changes of secrets are gathered before they are acted upon.
	gather = 100 * time.Millisecond
	// calm is the pause for a pod after a change was noticed. After a few changes
	// the pause doubles with each one, up to calmest; after quiet without a change it
	// starts over. So a secret that is written all the time does not cause an
	// examination each time.
	calm    = 2 * time.Second
	few     = 4
	calmest = 5 * time.Minute
	quiet   = 10 * time.Minute
)

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

	news chan struct{} // a secret is new, or has changed

	mu         sync.Mutex
	bases      map[diagnosis.Subject]*basis
	pauses     map[string]pause  // by pod uid
	files      map[string]glance // by path; for a second
	followed   map[secret]*following
	lastPolled string // the namespace whose secret was polled last
}

type secret struct{ namespace, name string }

func (s *secret) compare(o *secret) int {
	return cmp.Or(cmp.Compare(s.namespace, o.namespace), cmp.Compare(s.name, o.name))
}

// basis is what a verdict is based on.
type basis struct {
	secrets map[secret]reading
	files   []marked
}

// marked is a file with its mark, which is empty if it must count as changed.
type marked struct{ path, mark string }

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

// New returns a watch over secrets and over the files of the node
// whose file system is mounted at root; "" is "/".
func New(secrets Secrets, root string) *Watch {
	return &Watch{root: filepath.Clean("/" + root), secrets: secrets, now: time.Now, news: make(chan struct{}, 1),
		bases: map[diagnosis.Subject]*basis{}, pauses: map[string]pause{}, files: map[string]glance{}, followed: map[secret]*following{}}
}

// Secret records the version of a secret that an examination has read, or the
// error of reading it.
func (w *Watch) Secret(f diagnosis.Failure, name, version string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := secret{f.Namespace, name}
	w.of(f).secrets[s] = readingOf(version, err)
	w.follow(s)
}

// Files records the files of the node that an examination is about to read, in
// place of those of an earlier examination.
func (w *Watch) Files(f diagnosis.Failure, paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	files := make([]marked, len(paths))
	for i, path := range paths {
		s := w.glance(path, now)
		files[i] = marked{path, s.mark}
		if !s.settled(now) {
			files[i].mark = ""
		}
	}
	w.of(f).files = files
}

func (w *Watch) of(f diagnosis.Failure) *basis {
	key := f.Subject()
	if w.bases[key] == nil {
		w.bases[key] = &basis{secrets: map[secret]reading{}}
	}
	return w.bases[key]
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

// Run watches until the context ends. It calls nodeChanged before it schedules pods
// because of a changed file.
func (w *Watch) Run(ctx context.Context, pods Pods, nodeChanged func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { w.poll(ctx) })
	wait := interval()
	checked := w.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-w.news:
			if !sleep(ctx, gather) {
				return
			}
		}
		failing := pods.Failing()
		w.forget(failing)
		w.serve(ctx, &wg)
		files := w.now().Sub(checked) >= every-jitter
		if files {
			checked = w.now()
		}
		paused := w.look(failing, files, pods, nodeChanged)
		wait = min(interval()-w.now().Sub(checked), paused)
	}
}

// interval returns the time until the next check of the files.
func interval() time.Duration {
	return every - jitter + rand.N(2*jitter) //nolint:gosec // jitter, not a secret
}

// sleep reports whether the time has passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// look schedules the pods whose verdicts are based on something that has changed.
// Files are only looked at if files is set. It returns after how long a pod is due
// whose pause is not over.
func (w *Watch) look(failing []diagnosis.Failure, files bool, pods Pods, nodeChanged func()) time.Duration {
	changed, ofNode, paused := w.changed(failing, files)
	if ofNode {
		nodeChanged()
	}
	for _, uid := range changed {
		pods.Reexamine(uid, false)
	}
	return paused
}

// forget drops the records of containers that no longer fail.
func (w *Watch) forget(failing []diagnosis.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	subjects, uids := map[diagnosis.Subject]bool{}, map[string]bool{}
	for _, f := range failing {
		subjects[f.Subject()], uids[f.UID] = true, true
	}
	maps.DeleteFunc(w.bases, func(s diagnosis.Subject, _ *basis) bool { return !subjects[s] })
	maps.DeleteFunc(w.pauses, func(uid string, _ pause) bool { return !uids[uid] })
	clear(w.files)
	needed := map[secret]bool{}
	for _, b := range w.bases {
		for s := range b.secrets {
			needed[s] = true
		}
	}
	maps.DeleteFunc(w.followed, func(s secret, f *following) bool {
		if !needed[s] && f.stop != nil {
			f.stop()
		}
		return !needed[s]
	})
}

// changed returns the UIDs of the pods to examine, in the order of the failures,
// whether a file of the node is the reason for one of them, and after how long
// another pod is due; at most every.
func (w *Watch) changed(failing []diagnosis.Failure, files bool) (uids []string, ofNode bool, next time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	next = every + jitter
	var paused []string
	for _, f := range failing {
		b := w.bases[f.Subject()]
		if b == nil || slices.Contains(paused, f.UID) {
			continue
		}
		file := files && w.filesDiffer(b, now)
		if !file && !w.secretsDiffer(b) {
			continue
		}
		if !slices.Contains(uids, f.UID) {
			if left := w.disturb(f.UID, now); left > 0 {
				paused = append(paused, f.UID)
				next = min(next, left)
				continue
			}
			uids = append(uids, f.UID)
		}
		ofNode = ofNode || file
	}
	return uids, ofNode, next
}

func (w *Watch) filesDiffer(b *basis, now time.Time) bool {
	return slices.ContainsFunc(b.files, func(f marked) bool { return w.glance(f.path, now).mark != f.mark })
}

func (w *Watch) secretsDiffer(b *basis) bool {
	for s, was := range b.secrets {
		if f := w.followed[s]; f != nil && f.current.newsTo(was) {
			return true
		}
	}
	return false
}

// disturb returns 0 if a pod's pause is over, and starts the next one; otherwise it
// returns what is left of it.
func (w *Watch) disturb(uid string, now time.Time) time.Duration {
	p := w.pauses[uid]
	since := now.Sub(p.last)
	switch {
	case p.times > 0 && since < p.length():
		return p.length() - since
	case since >= quiet:
		p.times = 0
	}
	w.pauses[uid] = pause{p.times + 1, now}
	return 0
}

// racy is the age below which a file's last change is not trusted: the content
// that was read may be older, since readers share what they have read for a
// second.
const racy = 2 * time.Second

// state is the state of a path at one time.
type state struct {
	mark    string // stays the same until the file changes
	changed time.Time
}

// look returns the state of a path on the node whose file system is mounted at
// root. A symbolic link that leads out of the mount is followed in the agent's own
// file system, as the readers of resolv.conf do.
func look(root, name string) state {
	host := hostfs.New(root)
	info, err := host.Stat(name)
	if err != nil && !host.IsHost() {
		info, err = hostfs.New("/").Stat(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return state{mark: "absent"}
	case err != nil:
		return state{mark: "unusable"}
	}
	s := state{mark: fmt.Sprint(info.Size(), " ", info.ModTime().UnixNano()), changed: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.changed = time.Unix(sys.Ctim.Unix())
		s.mark += fmt.Sprint(" ", sys.Ino, " ", s.changed.UnixNano())
	}
	return s
}

// settled reports whether the last change was long enough before at.
func (s state) settled(at time.Time) bool {
	return s.changed.IsZero() || at.Sub(s.changed).Abs() >= racy
}
