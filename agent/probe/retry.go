package probe

import (
	"cmp"
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
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/scratchpull"
)

// RetryMode is the method of the pull retry.
type RetryMode string

// The modes. Auto is Isolated with containerd, else Replay.
const (
	RetryOff  RetryMode = "off"
	RetryAuto RetryMode = ""
	// RetryIsolated: containerd pulls into a containerd namespace of whypull, where
	// no pod can use the image. Replay if it cannot, the image is large, the registry
	// is slow, or the kubelet is about to pull.
	RetryIsolated RetryMode = "isolated"
	// RetryReplay: whypull sends the requests of a pull and stores nothing.
	RetryReplay RetryMode = "replay"
)

// ParseRetryMode parses a flag's value; empty is RetryAuto.
func ParseRetryMode(s string) (RetryMode, error) {
	m := RetryMode(s)
	if !slices.Contains([]RetryMode{RetryAuto, RetryOff, RetryIsolated, RetryReplay}, m) {
		return "", fmt.Errorf("pull retry %q: want isolated, replay, off, or empty for isolated with containerd and else replay", s)
	}
	return m, nil
}

// IsolatedPuller pulls an image so that no pod can use it.
type IsolatedPuller interface {
	Pull(ctx context.Context, r scratchpull.Request) (scratchpull.Result, error)
}

// Retry configures the pull retry. The zero value retries nothing.
type Retry struct {
	Mode     RetryMode
	Isolated IsolatedPuller
	// Waiting, if set, returns all waiting containers for which the kubelet may be
	// about to pull.
	Waiting func() []diagnosis.Failure
	// SlowAfter is the response time from which a registry counts as slow, so that its
	// images are replayed; 0: DefaultSlowAfter.
	SlowAfter time.Duration
	// Again is called when the retry of a pod's pull has finished.
	Again func(podUID string)
}

// The result of a retry is reused for retryLife, doubled with each further retry up
// to retryLongest. retryTime is the time limit of one.
const (
	retryLife    = 5 * time.Minute
	retryLongest = 80 * time.Minute
	retryTime    = 2 * time.Minute
)

// Limits of retries.
const (
	maxRetriesWaiting = 64   // of one namespace
	maxRetries        = 1000 // cached results
)

// retries runs pull retries, one at a time, and caches their results. Namespaces
// take turns.
type retries struct {
	now     func() time.Time
	one     *share.Lanes
	results *share.Cache[string, *retryResult] // by retryKey.text, which keeps the binary smaller

	mu      sync.Mutex
	running map[retryKey][]string // UIDs of pods to examine again when it is done
}

// retryKey is the image and the credentials that the kubelet would try, and for whom: a
// namespace does not wait for the turn of another, and is not told its secrets' names.
type retryKey struct {
	tenant, image string
	creds         [sha256.Size]byte
}

func (k retryKey) text() string { return k.tenant + " " + k.image + " " + string(k.creds[:]) }

type retryResult struct {
	evidence []diagnosis.Evidence
	serves   time.Duration // how long it is reused
	next     time.Duration // how long that of the next retry is, which has to know of it
}

func newRetries() *retries {
	r := &retries{now: time.Now, one: share.NewLanes(1, maxRetriesWaiting), running: map[retryKey][]string{}}
	r.results = share.New[string](maxRetries, func(x *retryResult) time.Duration { return 2 * x.serves }, func() time.Time { return r.now() })
	return r
}

// get returns the cached result of a retry. If there is none, it starts a retry for
// the key's tenant and returns nil.
func (r *retries) get(key retryKey, uid string, run func() []diagnosis.Evidence, again func(uid string)) []diagnosis.Evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	serves := retryLife
	if last, known := r.results.Peek(key.text()); known {
		if r.now().Before(last.Fetched.Add(last.Value.serves)) {
			return last.Value.evidence
		}
		serves = last.Value.next
	}
	waiting, runs := r.running[key]
	r.running[key] = append(waiting, uid)
	if !runs {
		go r.run(key, serves, run, again)
	}
	return nil
}

func (r *retries) run(key retryKey, serves time.Duration, run func() []diagnosis.Evidence, again func(uid string)) {
	ctx := share.WithTenant(context.Background(), key.tenant)
	result := &retryResult{skipped(diagnosis.ReasonRetryQueueFull, diagnosis.CheckPull), retryLife, serves} // the next time is as this one
	if leave, err := r.one.Enter(ctx, ""); err == nil {
		result = &retryResult{run(), serves, min(2*serves, retryLongest)}
		leave()
	}
	r.mu.Lock()
	r.results.Put(ctx, key.text(), result)
	waiting := r.running[key]
	delete(r.running, key)
	r.mu.Unlock()
	for _, uid := range waiting {
		again(uid)
	}
}

// forget drops the results but not running retries.
func (r *retries) forget() { r.results.Forget(nil) }

// pullRetry is one pull to retry.
type pullRetry struct {
	c         *Collector
	f         diagnosis.Failure
	config    *nodeconfig.Config
	ref       reference.Named
	endpoints []registry.Endpoint   // that resolve the image's name
	all       []registry.Endpoint   // and those that only have content
	creds     []*keyring.Credential // the kubelet's order; nil for none
}

// retried returns the evidence of the pull retry, if it can add to the verdict.
func (c *Collector) retried(ctx context.Context, f diagnosis.Failure, evidence []diagnosis.Evidence, creds []keyring.Credential) []diagnosis.Evidence {
	if why := c.retryNeedless(f, evidence); why != "" {
		return skipped(why, diagnosis.CheckPull)
	}
	job, ok := c.retryOf(ctx, f, creds)
	if !ok {
		return skipped(diagnosis.ReasonNobodyToPull, diagnosis.CheckPull)
	}
	if len(job.creds) == 0 {
		return skipped(diagnosis.ReasonRetryNeedless, diagnosis.CheckPull)
	}
	found := c.retries.get(job.key(), f.UID, job.run, c.Retry.Again)
	if found == nil {
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultPending, Reason: diagnosis.ReasonRetrying}}
	}
	return found
}

// retryNeedless returns why a pull is not retried; "" if it is.
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

// retryOf returns the pull that the kubelet would make.
func (c *Collector) retryOf(ctx context.Context, f diagnosis.Failure, creds []keyring.Credential) (pullRetry, bool) {
	r := pullRetry{c: c, f: f, config: c.configFor(ctx, f)}
	names, _, _ := fullNames(r.config, f)
	if len(names) == 0 {
		return r, false
	}
	r.ref = names[0]
	var err error
	r.endpoints, _, err = c.configs.endpointsFor(ctx, r.config, f, r.ref)
	r.all = slices.Clone(r.endpoints)
	r.endpoints = slices.DeleteFunc(r.endpoints, func(e registry.Endpoint) bool { return !e.Serves(r.ref) })
	r.creds = visit{creds: creds}.usable()
	if r.creds = r.creds[:min(len(r.creds), maxCredentials)]; len(r.creds) == 0 {
		r.creds = []*keyring.Credential{nil}
	}
	// A rejected credential is not sent again: that may lock its account.
	r.creds = slices.DeleteFunc(r.creds, func(cred *keyring.Credential) bool {
		return slices.ContainsFunc(r.endpoints, func(e registry.Endpoint) bool { return c.asker.rejects(e, r.ref, cred) })
	})
	return r, err == nil && len(r.endpoints) > 0
}

func (r pullRetry) key() retryKey {
	var all []byte
	for _, l := range r.creds {
		d := r.c.asker.digest(l)
		all = append(all, d[:]...)
	}
	return retryKey{tenant: r.f.Namespace, image: r.ref.String(), creds: sha256.Sum256(all)}
}

// run retries the pull with one credential after another until one works.
func (r pullRetry) run() []diagnosis.Evidence {
	ctx, cancel := context.WithTimeout(share.WithTenant(context.Background(), r.f.Namespace), retryTime)
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
	if !same || slices.ContainsFunc(r.endpoints, r.c.isSlow) {
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

// each calls try with each credential until one works or try returns stop.
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

// isolated has containerd pull into whypull's namespace. usable is false if it could
// not: the image is too large, space is low, the registry sends nothing, or the
// kubelet is about to pull. Low space gives evidence.
func (r pullRetry) isolated(ctx context.Context, dir string, l *keyring.Credential) (e diagnosis.Evidence, usable bool) {
	request := scratchpull.Request{Ref: r.ref.String(), HostsDir: dir, Yield: r.awaited()}
	if l != nil {
		request.Credential = &l.Credential
	}
	end := r.c.disturbed.begin(r.c.now)
	result, err := r.c.Retry.Isolated.Pull(ctx, request)
	end(result.Begun) // else it has used no download: with retries all the time, no pull would count as stalled
	failed := (*scratchpull.Error)(nil)
	switch {
	case errors.As(err, &failed) && failed.Op == scratchpull.OpTransfer:
		return failedAgain(failed.Text), true
	case err != nil: // no result
		return e, false
	case result.Stopped == scratchpull.StoppedLowSpace:
		return diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Body: &diagnosis.PullFacts{Room: &diagnosis.Room{Free: result.Free, Floor: result.Floor, Stopped: result.Begun}}}, false
	case result.Stopped == scratchpull.StoppedIdle:
		for _, endpoint := range r.endpoints {
			r.c.idle.note(r.f.Namespace, endpoint.Host, slowFor)
		}
		return e, false
	case result.Stopped != scratchpull.NotStopped:
		return e, false
	}
	e.Outcome = diagnosis.Passed
	e.Body = &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{Bytes: result.Bytes, Fetched: result.Fetched}}
	return e, true
}

// awaited returns a function that reports whether a pod waits for a pull of the
// kubelet. It asks the runtime once per container.
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

// pulls reports whether the kubelet will probably pull for a container.
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

// failedAgain returns the evidence of a retry that failed in the runtime.
func failedAgain(text string) diagnosis.Evidence {
	read := message.Read("ErrImagePull", text)
	return diagnosis.Evidence{
		Outcome: diagnosis.Failed, Fault: cmp.Or(diagnosis.FaultOf(read.Cause), diagnosis.FaultPullFailed),
		Body: &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{Cause: read.Cause, Message: read}},
	}
}

// replay sends the requests of a pull to the endpoints, up to the one that resolves the
// image's name: the runtime then asks no other for it.
func (r pullRetry) replay(ctx context.Context) []diagnosis.Evidence {
	var out []diagnosis.Evidence
	v := visit{c: r.c, f: r.f, text: messageEvidence(r.f), config: r.config, ref: r.ref, all: r.all}
	for _, endpoint := range r.endpoints {
		ends := false
		found := r.each(func(c *keyring.Credential) (diagnosis.Evidence, bool) {
			t, from := r.transfer(ctx, v, endpoint, c)
			var longest time.Duration
			for _, p := range t.Pieces { // a large one may take a second for each whole MiB
				longest = max(longest, p.Took-time.Duration(p.Received>>20)*time.Second)
			}
			r.c.answered(r.f.Namespace, endpoint, longest)
			e, answer := contentEvidence(t.Answer, c)
			answer.Size, answer.Missing = r.c.sizes(ctx, t.Answer)
			e.Endpoint.Mirror = from.Mirror
			e.Body = &diagnosis.PullFacts{Retry: &diagnosis.RetryFacts{
				Cause: replayCause(t.Fault, c), Replay: answer,
				Whole: t.Whole(), Layers: t.Layers, Bytes: t.Content.Compressed,
			}}
			ends = ends || t.Found || t.Final || t.Content.Digest != "" || t.Fault == registry.FaultWebPage && t.Status == http.StatusOK
			return e, t.Fault == registry.FaultRateLimited
		})
		out = append(out, found...)
		if ends {
			break
		}
	}
	return out
}

// transfer replays the download of an image whose name endpoint e resolves, from all
// endpoints that the runtime would ask for the content, and returns the endpoint that the
// result is about.
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
	return t, at(e, want.Sources, t.Content.Source)
}

// replayCause returns the cause that a fault of a replay shows alone.
func replayCause(fault registry.Fault, l *keyring.Credential) diagnosis.Cause {
	if fault == registry.FaultUnauthorized && l != nil {
		return diagnosis.CredentialsRejected
	}
	return diagnosis.CauseOf(diagnosis.Fault(fault))
}
