package probe

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/scratchpull"
)

// RetryMode is how a pull is tried again.
type RetryMode string

// The modes. Auto is Isolated with containerd, else Replay.
const (
	RetryOff  RetryMode = "off"
	RetryAuto RetryMode = ""
	// RetryIsolated: containerd pulls into a namespace of whypull's own, where no
	// pod finds the image; where it cannot, or the image is large, the registry slow,
	// or the kubelet wants containerd's downloads, Replay.
	RetryIsolated RetryMode = "isolated"
	// RetryReplay: what a pull asks for is asked for, and nothing is stored.
	RetryReplay RetryMode = "replay"
)

// ParseRetryMode returns the mode that a flag's value names; empty is RetryAuto.
func ParseRetryMode(s string) (RetryMode, error) {
	m := RetryMode(s)
	if !slices.Contains([]RetryMode{RetryAuto, RetryOff, RetryIsolated, RetryReplay}, m) {
		return "", fmt.Errorf("pull retry %q: want isolated, replay, off, or empty for isolated with containerd and else replay", s)
	}
	return m, nil
}

// IsolatedPuller pulls where no pod finds the image.
type IsolatedPuller interface {
	Pull(ctx context.Context, r scratchpull.Request) (scratchpull.Result, error)
}

// Retry is how failed pulls are tried again. The zero value tries none.
type Retry struct {
	Mode     RetryMode
	Isolated IsolatedPuller
	// Waiting, if set, returns the containers of all pods that wait without a
	// reason: the kubelet may be about to pull for them.
	Waiting func() []diagnosis.Failure
	// SlowAfter is how long a registry may take for an answer before it counts as
	// slow, whose images are replayed then; 0: DefaultSlowAfter.
	SlowAfter time.Duration
	// Again is told of a pod whose pull was tried again meanwhile.
	Again func(podUID string)
}

// The times of retries: how long the result of one serves, doubled each time
// that the next one shows the same; and how long one may take.
const (
	retryLife    = 5 * time.Minute
	retryLongest = 80 * time.Minute
	retryTime    = 2 * time.Minute
)

// retries are the pulls tried again, one at a time, each for all that want the
// same.
type retries struct {
	now func() time.Time
	one sync.Mutex // held while one runs

	mu  sync.Mutex
	all map[retryKey]*retryState
}

// retryKey is the image, with the credentials that the kubelet would try.
type retryKey struct {
	image string
	creds [sha256.Size]byte
}

type retryState struct {
	evidence []diagnosis.Evidence // nil while it runs
	until    time.Time
	life     time.Duration
	waiting  []string // pods that have it examined again when it is done
}

func newRetries() *retries { return &retries{now: time.Now, all: map[retryKey]*retryState{}} }

// get returns the result of a retry; if there is none that serves, it begins one
// and returns nil.
func (r *retries) get(key retryKey, uid string, run func() []diagnosis.Evidence, again func(uid string)) []diagnosis.Evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for k, s := range r.all { // one whose life was not renewed
		if s.evidence != nil && now.After(s.until.Add(s.life)) {
			delete(r.all, k)
		}
	}
	s := r.all[key]
	if s != nil && s.evidence != nil && now.Before(s.until) {
		return s.evidence
	}
	old := &retryState{life: retryLife / 2}
	if s != nil {
		if s.evidence == nil { // it runs
			s.waiting = append(s.waiting, uid)
			return nil
		}
		old = s
	}
	next := &retryState{waiting: []string{uid}, life: min(2*old.life, retryLongest)}
	r.all[key] = next
	go r.run(next, run, again)
	return nil
}

func (r *retries) run(s *retryState, run func() []diagnosis.Evidence, again func(uid string)) {
	r.one.Lock()
	evidence := run()
	r.one.Unlock()
	r.mu.Lock()
	s.evidence, s.until = evidence, r.now().Add(s.life)
	waiting := s.waiting
	s.waiting = nil
	r.mu.Unlock()
	for _, uid := range waiting {
		again(uid)
	}
}

// forget drops the results; what runs goes on.
func (r *retries) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.all {
		if s.evidence != nil {
			delete(r.all, k)
		}
	}
}

// pullRetry is a pull to be tried again.
type pullRetry struct {
	c         *Collector
	f         diagnosis.Failure
	config    *nodeconfig.Config
	ref       reference.Named
	endpoints []registry.Endpoint   // that resolve the image's name
	all       []registry.Endpoint   // and those that only have content
	creds     []*keyring.Credential // the kubelet's order; nil for none
}

// retried gives the evidence of the pull tried again, where that can add to what
// is known.
func (c *Collector) retried(ctx context.Context, f diagnosis.Failure, evidence []diagnosis.Evidence, creds []keyring.Credential) []diagnosis.Evidence {
	if why := c.retryNeedless(f, evidence); why != "" {
		return skipped(why, diagnosis.CheckPull)
	}
	job, ok := c.retryOf(ctx, f, creds)
	if !ok {
		return skipped(diagnosis.ReasonNobodyToPull, diagnosis.CheckPull)
	}
	found := c.retries.get(job.key(), f.UID, job.run, c.Retry.Again)
	if found == nil {
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultPending, Reason: diagnosis.ReasonRetrying}}
	}
	return found
}

// retryNeedless says why a pull is not tried again, or "".
func (c *Collector) retryNeedless(f diagnosis.Failure, evidence []diagnosis.Evidence) diagnosis.Reason {
	if c.Retry.Mode == RetryOff || c.Retry.Again == nil {
		return diagnosis.ReasonRetryOff
	}
	if f.Kind == diagnosis.KindSandbox {
		return diagnosis.ReasonRetrySandbox
	}
	if diagnosis.WantsRetry(f, evidence) {
		return ""
	}
	return diagnosis.ReasonRetryNeedless
}

// retryOf is the pull that the kubelet would make.
func (c *Collector) retryOf(ctx context.Context, f diagnosis.Failure, creds []keyring.Credential) (pullRetry, bool) {
	r := pullRetry{c: c, f: f, config: c.configs.load(ctx, c.options, c.Images)}
	names, _ := fullNames(r.config, f)
	if len(names) == 0 {
		return r, false
	}
	r.ref = names[0]
	var err error
	r.endpoints, _, err = r.config.EndpointsFor(ctx, domain(r.ref, f), r.ref)
	r.all = slices.Clone(r.endpoints)
	r.endpoints = slices.DeleteFunc(r.endpoints, func(e registry.Endpoint) bool { return !e.Serves(r.ref) })
	r.creds = visit{creds: creds}.usable()
	if r.creds = r.creds[:min(len(r.creds), maxCredentials)]; len(r.creds) == 0 {
		r.creds = []*keyring.Credential{nil}
	}
	return r, err == nil && len(r.endpoints) > 0
}

func (r pullRetry) key() retryKey {
	var all []byte
	for _, l := range r.creds {
		d := r.c.asker.digest(l)
		all = append(all, d[:]...)
	}
	return retryKey{image: r.ref.String(), creds: sha256.Sum256(all)}
}

// run tries the pull again, with one credential after the other until one is good.
func (r pullRetry) run() []diagnosis.Evidence {
	ctx, cancel := context.WithTimeout(context.Background(), retryTime)
	defer cancel()
	start := time.Now()
	out := r.try(ctx)
	r.c.Metrics.Checked(diagnosis.CheckPull, worst(out), time.Since(start))
	return out
}

func (r pullRetry) try(ctx context.Context) []diagnosis.Evidence {
	if r.c.Retry.Mode == RetryReplay || r.c.Retry.Isolated == nil {
		return r.replay(ctx)
	}
	dir, same := r.config.TransferDir(r.endpoints)
	if !same || r.c.slow.any(r.endpoints, r.c.now()) {
		return r.replay(ctx)
	}
	fallBack, why := false, []diagnosis.Evidence(nil)
	out := r.each(func(l *keyring.Credential) (diagnosis.Evidence, bool) {
		e, usable := r.isolated(ctx, dir, l)
		fallBack = fallBack || !usable
		if !usable && e.Pull().Room != nil {
			why = []diagnosis.Evidence{e}
		}
		return e, !usable
	})
	if fallBack {
		return append(why, r.replay(ctx)...)
	}
	return out
}

// each tries the credentials in turn, until one is good or tells to stop.
func (r pullRetry) each(try func(*keyring.Credential) (e diagnosis.Evidence, stop bool)) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	for _, l := range r.creds {
		e, stop := try(l)
		e.Check = diagnosis.CheckPull
		if e.Body == nil {
			e.Body = &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{}}
		}
		if again := e.Pull().Retry; again != nil && l != nil {
			again.Credential = credentialRef(*l)
		}
		out = append(out, e)
		if stop || e.Outcome == diagnosis.Passed {
			break
		}
	}
	return out
}

// isolated has containerd pull into a namespace of whypull's own. usable is
// false where it cannot, or will not: for so large an image, for want of space, at
// a registry that sends nothing, or while the kubelet pulls. Want of space is
// said.
func (r pullRetry) isolated(ctx context.Context, dir string, l *keyring.Credential) (e diagnosis.Evidence, usable bool) {
	request := scratchpull.Request{Ref: r.ref.String(), HostsDir: dir, Yield: r.awaited()}
	if l != nil {
		request.Credential = &l.Credential
	}
	result, err := r.c.Retry.Isolated.Pull(ctx, request)
	failed := (*scratchpull.Error)(nil)
	switch {
	case errors.As(err, &failed) && failed.Op == scratchpull.OpTransfer:
		return failedAgain(failed.Text), true
	case err != nil: // nothing was learnt
		return e, false
	case result.Stopped == scratchpull.StoppedLowSpace:
		return withoutSpace(result), false
	case result.Stopped == scratchpull.StoppedIdle:
		for _, endpoint := range r.endpoints {
			r.c.slow.add(endpoint, r.c.now())
		}
		return e, false
	case result.Stopped != scratchpull.NotStopped:
		return e, false
	}
	e.Outcome = diagnosis.Passed
	e.Body = &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{Bytes: result.Bytes, Fetched: result.Fetched()}}
	return e, true
}

// awaited returns what reports whether a pod waits for an image that the kubelet
// has yet to have pulled. It asks the runtime once for each container.
func (r pullRetry) awaited() func(context.Context) bool {
	if r.c.Retry.Waiting == nil {
		return nil
	}
	there := map[diagnosis.Subject]bool{}
	return func(ctx context.Context) bool {
		for _, f := range r.c.Retry.Waiting() {
			key := f.Subject()
			if !there[key] && r.c.pulls(ctx, f) {
				return true
			}
			there[key] = true
		}
		return false
	}
}

// pulls reports whether the kubelet has the runtime pull for a container that it
// starts, as far as is known.
func (c *Collector) pulls(ctx context.Context, f diagnosis.Failure) bool {
	switch {
	case f.PullPolicy == "Never":
		return false
	case f.PullPolicy == "Always" || c.Images == nil:
		return true
	}
	_, present, err := c.Images.Image(ctx, f.Image)
	return err != nil || !present
}

// withoutSpace: a pull into a namespace of whypull's own would leave too little
// space to others.
func withoutSpace(result scratchpull.Result) diagnosis.Evidence {
	return diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Body: &diagnosis.PullFacts{
		Room: &diagnosis.Room{Free: result.Free, Floor: result.Floor, Stopped: result.Stage != scratchpull.StageNone},
	}}
}

// failedAgain is the runtime's own failure of the pull tried again.
func failedAgain(text string) diagnosis.Evidence {
	read := message.Read("ErrImagePull", text)
	e := diagnosis.Evidence{
		Outcome: diagnosis.Failed, Fault: diagnosis.FaultPullFailed,
		Body: &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{Cause: read.Cause, Message: read}},
	}
	if read.Cause != diagnosis.Unknown {
		e.Fault = diagnosis.FaultOf(read.Cause)
	}
	return e
}

// replay asks the endpoints for what a pull asks for, up to the one that has the
// image's name: the runtime asks no other for the name then.
func (r pullRetry) replay(ctx context.Context) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	v := visit{c: r.c, f: r.f, text: messageEvidence(r.f), config: r.config, ref: r.ref, all: r.all}
	for _, endpoint := range r.endpoints {
		ends := false
		found := r.each(func(c *keyring.Credential) (diagnosis.Evidence, bool) {
			t, from := r.transfer(ctx, v, endpoint, c)
			for _, p := range t.Pieces { // a large one may take as long as it does at a MiB a second
				r.c.took(endpoint, p.Took-time.Duration(p.Received)*time.Second/(1<<20))
			}
			e, answer := contentEvidence(t.Answer, c)
			answer.Size, answer.Missing = r.c.sizes(ctx, t.Answer)
			e.Endpoint.Mirror = from.Mirror
			e.Body = &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{
				Cause: replayCause(t.Fault, c), Replay: answer,
				Whole: t.Found && t.Unasked == 0 && t.Unfinished == 0, Layers: t.Layers, Bytes: t.Compressed,
			}}
			ends = ends || t.Found || t.Digest != "" || t.Fault == registry.FaultWebPage && t.Status == http.StatusOK
			return e, t.Fault == registry.FaultRateLimited
		})
		out = append(out, found...)
		if ends {
			break
		}
	}
	return out
}

// transfer replays the transfer of the image whose name an endpoint has, from all
// endpoints that the runtime would ask for the content, and returns the one that
// the result is about.
func (r pullRetry) transfer(ctx context.Context, v visit, e registry.Endpoint, c *keyring.Credential) (registry.Transfer, registry.Endpoint) {
	ref, want := e.Reference(r.ref), v.inspection()
	if !e.Settings.Pings && len(r.all) > 1 {
		found := e.Probe(ctx, ref, sent(c))
		if !found.Found {
			return registry.Transfer{Answer: found}, e
		}
		ref = resolved(ref, found)
		want.Sources = v.sources(e, ref, c)
	}
	t := e.Replay(ctx, ref, sent(c), want)
	return t, at(e, want.Sources, t.Source)
}

// replayCause is what a replay shows by itself.
func replayCause(fault registry.Fault, l *keyring.Credential) diagnosis.Cause {
	if fault == registry.FaultUnauthorized && l != nil {
		return diagnosis.CredentialsRejected
	}
	return diagnosis.CauseOf(reportFault(fault))
}
