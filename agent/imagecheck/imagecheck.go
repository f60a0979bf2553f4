// Package imagecheck asks at long intervals whether the images of running pods could be
// pulled again, and passes on those that could not.
package imagecheck

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// MinInterval is the minimum interval of the checks.
const MinInterval = time.Hour

// The checker's times.
const (
	// retry is how often an image that could not be pulled again is asked for, at times
	// that are as spread as the regular ones.
	retry = time.Hour
	// readopt is within what time an image is asked for that an earlier run of the agent
	// has found to be unavailable.
	readopt = 10 * time.Minute
	// confirm is the time until the second check of what may be over in a moment.
	confirm = 10 * time.Minute
	// gap is the minimum time between two checks.
	gap = time.Second
	// idle is how often the checker looks whether something is due that it has put off, and
	// putOff is how long it does so at most: in some namespace a pod may always fail.
	idle   = 10 * time.Second
	putOff = time.Hour
	// rewrite is the time after which a write that failed is tried again; it doubles with
	// each failure, up to retry.
	rewrite = time.Minute
)

// Limits on the images that are checked; others are not.
const (
	maxImages   = 1000 // of a node
	maxImagesOf = 256  // of one namespace
)

// Prober asks registries.
type Prober interface {
	// Again examines whether the image of a running container could be pulled again. There
	// is no evidence if no pull is needed. blind reports whether the kubelet may have
	// credentials that are not known. The error means that nothing can be said now.
	Again(ctx context.Context, f diagnosis.Failure) (evidence []diagnosis.Evidence, blind bool, err error)
}

// Publisher publishes what was found. It is used from one goroutine at a time.
type Publisher interface {
	// Adopt returns what an earlier run of the agent has found about a pod, and takes it
	// over.
	Adopt(pod podwatch.RunningPod) []Finding
	// Unavailable publishes the verdicts on a pod's images that could not be pulled again;
	// none removes what was published. After an error it is called again.
	Unavailable(ctx context.Context, pod podwatch.RunningPod, verdicts []diagnosis.Verdict) error
	// Forget drops the state of a pod that is gone.
	Forget(uid string)
}

// Finding is an image that could not be pulled again.
type Finding struct {
	Subject diagnosis.Subject
	Image   string
	Cause   diagnosis.Cause
	Since   time.Time
}

// Options configure a Checker.
type Options struct {
	Node     string
	Platform diagnosis.Platform
	// Interval is that between two checks of an image; 0 checks none, and removes what an
	// earlier run of the agent has published.
	Interval time.Duration
	// Busy reports whether the checks have to wait, up to an hour, because pods cannot pull
	// their image.
	Busy func() bool
	Log  *slog.Logger
	Now  func() time.Time
}

// Checker checks the images of running pods, one at a time. It is safe for concurrent use.
type Checker struct {
	Options

	prober    Prober
	publisher Publisher
	wake      chan struct{}

	mu     sync.Mutex
	pods   map[string]*pod // by uid
	images map[key]*image
	served map[string]time.Time // last check, by namespace
	gone   []string             // uids that the publisher has to forget
	asking key
	// changed reports whether what the image that is asked for rests on has changed since.
	changed bool
}

// pod is a running pod. Its publication is due unless settled is set.
type pod struct {
	podwatch.RunningPod

	settled bool
	adopted bool
	after   time.Time     // of the next publication
	pause   time.Duration // after the next failed one; 0 for rewrite
}

// key is what one check is about: an image with the credentials that a pod brings.
type key struct {
	namespace, image, policy, account, secrets string
}

func keyOf(f diagnosis.Failure) key {
	return key{f.Namespace, f.Image, f.PullPolicy, f.ServiceAccount, strings.Join(f.PullSecrets, "\x00") + "\x00" + strconv.Itoa(f.MoreSecrets)}
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.image, o.image), cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.secrets, o.secrets), cmp.Compare(k.account, o.account), cmp.Compare(k.policy, o.policy))
}

// image is the state of one image.
type image struct {
	pods map[string]bool // uids
	due  time.Time
	// doubted reports whether the last check has found what may be over in a moment.
	doubted bool
	cause   diagnosis.Cause // "" if the image could be pulled again, as far as is known
	since   time.Time
	// evidence is that of the cause; nil if it was found by an earlier run of the agent.
	evidence []diagnosis.Evidence
}

// New returns a checker without pods.
func New(o Options, prober Prober, publisher Publisher) *Checker {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Checker{Options: o, prober: prober, publisher: publisher, wake: make(chan struct{}, 1),
		pods: map[string]*pod{}, images: map[key]*image{}, served: map[string]time.Time{}}
}

// Slot returns the first time after now at which the check of an image is due on a node:
// the same times for each run of the agent, and others for other images and nodes.
func Slot(node, image string, every time.Duration, now time.Time) time.Time {
	sum := sha256.Sum256([]byte(node + "\x00" + image))
	at := now.Truncate(every).Add(time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(every))) //nolint:gosec // intervals are positive
	if !at.After(now) {
		at = at.Add(every)
	}
	return at
}

func (c *Checker) slot(k key, every time.Duration) time.Time {
	return Slot(c.Node, k.image, every, c.Now())
}

// Observe records a change of a running pod. It does not block.
func (c *Checker) Observe(u podwatch.RunningPod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.Gone {
		c.leave(u.UID, nil)
		delete(c.pods, u.UID)
		c.gone = append(c.gone, u.UID)
		c.rouse()
		return
	}
	if c.Interval == 0 {
		u.Images = nil
	}
	p := c.pods[u.UID]
	if p == nil {
		p = &pod{settled: u.Annotation == ""}
		c.pods[u.UID] = p
	}
	p.Namespace, p.Name, p.UID, p.Images = u.Namespace, u.Name, u.UID, u.Images
	if !p.adopted {
		p.Annotation = u.Annotation
	}
	keys := map[key]bool{}
	for _, f := range u.Images {
		keys[keyOf(f)] = true
	}
	if c.leave(u.UID, keys) {
		p.settled = false
	}
	c.join(u.UID, keys)
	if !p.settled {
		c.rouse()
	}
}

// leave takes a pod from the images that it no longer has, and reports whether one of them
// is unavailable.
func (c *Checker) leave(uid string, keep map[key]bool) (unavailable bool) {
	p := c.pods[uid]
	if p == nil {
		return false
	}
	for k, i := range c.images {
		if !i.pods[uid] || keep[k] {
			continue
		}
		unavailable = unavailable || i.cause != ""
		delete(i.pods, uid)
		if len(i.pods) == 0 {
			delete(c.images, k)
			c.dropServed(k.namespace)
		}
	}
	return unavailable
}

// dropServed forgets when a namespace without images was served.
func (c *Checker) dropServed(namespace string) {
	if c.imagesOf(namespace) == 0 {
		delete(c.served, namespace)
	}
}

func (c *Checker) imagesOf(namespace string) int {
	n := 0
	for k := range c.images {
		if k.namespace == namespace {
			n++
		}
	}
	return n
}

// join adds a pod to its images. An image that was unavailable is asked for at once: the
// pod has just got it.
func (c *Checker) join(uid string, keys map[key]bool) {
	for k := range keys {
		i := c.images[k]
		switch {
		case i == nil && (len(c.images) >= maxImages || c.imagesOf(k.namespace) >= maxImagesOf):
			continue
		case i == nil:
			i = &image{pods: map[string]bool{}, due: c.slot(k, c.Interval)}
			c.images[k] = i
			if i.due.Before(c.Now().Add(rewrite)) { // before Run looks again by itself
				c.rouse()
			}
		case !i.pods[uid] && i.cause != "":
			i.due = c.Now()
			c.rouse()
		}
		i.pods[uid] = true
	}
}

// rouse has Run look at what has changed.
func (c *Checker) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Failing returns one container for each image that is unavailable, or is being asked
// for: what their verdicts rest on is to be followed (recheck.Pods).
func (c *Checker) Failing() []diagnosis.Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []diagnosis.Failure
	for k, i := range c.images {
		if i.cause != "" || i.doubted || k == c.asking {
			if f, there := c.first(k, i); there {
				out = append(out, f)
			}
		}
	}
	diagnosis.SortFailures(out)
	return out
}

// Reexamine has the images of a pod that are unavailable asked for at once, because what
// their verdicts rest on has changed (recheck.Pods).
func (c *Checker) Reexamine(uid string, _ bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, i := range c.images {
		if !i.pods[uid] {
			continue
		}
		if k == c.asking {
			c.changed = true
		}
		if i.cause != "" || i.doubted {
			i.due = c.Now()
			c.rouse()
		}
	}
}

// first returns the container of an image that stands for all: that of the pod with the
// lowest uid.
func (c *Checker) first(k key, i *image) (diagnosis.Failure, bool) {
	for _, uid := range slices.Sorted(maps.Keys(i.pods)) {
		for _, f := range c.pods[uid].Images {
			if keyOf(f) == k {
				f.Platform = c.Platform
				return f, true
			}
		}
	}
	return diagnosis.Failure{}, false
}

// Run checks images until the context ends.
func (c *Checker) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.step(ctx)):
		case <-c.wake:
			select { // many pods change at once
			case <-ctx.Done():
				return
			case <-time.After(gap):
			}
		}
	}
}

// step publishes what has changed, checks at most one image, and returns how long there is
// nothing to do.
func (c *Checker) step(ctx context.Context) time.Duration {
	c.publish(ctx)
	now, longest := c.Now(), rewrite
	if c.Busy() {
		now, longest = now.Add(-putOff), idle
	}
	k, f, wait := c.next(now)
	if wait > 0 {
		return min(wait, longest)
	}
	evidence, blind, err := c.prober.Again(ctx, f)
	if ctx.Err() != nil {
		return gap
	}
	c.settle(k, f, evidence, blind, err)
	c.publish(ctx)
	return gap
}

// next returns the image to ask for at a time, or how long none is due. Namespaces take turns.
func (c *Checker) next(now time.Time) (k key, f diagnosis.Failure, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = rewrite
	var due []key
	for k, i := range c.images {
		if i.due.Sub(c.Now()) > c.Interval { // the clock was set back
			i.due = c.slot(k, c.Interval)
		}
		if left := i.due.Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			due = append(due, k)
		}
	}
	if len(due) == 0 {
		return key{}, diagnosis.Failure{}, wait
	}
	k = slices.MinFunc(due, func(a, b key) int {
		return cmp.Or(c.served[a.namespace].Compare(c.served[b.namespace]), c.images[a].due.Compare(c.images[b].due), a.compare(b))
	})
	f, _ = c.first(k, c.images[k])
	c.asking, c.changed = k, false
	return k, f, 0
}

// settle records what a check has found.
func (c *Checker) settle(k key, f diagnosis.Failure, evidence []diagnosis.Evidence, blind bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	c.served[k.namespace] = now
	changed := c.changed
	c.asking = key{}
	i := c.images[k]
	if i == nil {
		c.dropServed(k.namespace)
		return
	}
	v := diagnosis.Verdict{Cause: diagnosis.NotReproducible}
	if len(evidence) > 0 {
		v = diagnosis.Diagnose(f, evidence)
	}
	w := weigh(v, evidence, blind)
	i.due = c.slot(k, c.Interval)
	switch {
	case err != nil: // also where it had been found unavailable
		i.due = earlier(i.due, c.slot(k, retry))
	case v.Cause == diagnosis.NotReproducible:
		c.available(k, i)
	case w == diagnosis.CountsTwice && !i.doubted && i.cause != v.Cause:
		i.doubted, i.due = true, now.Add(confirm)
	case w != diagnosis.CountsNever:
		c.unavailable(k, i, v, evidence, now)
		// A rejected credential is sent again only with the next regular check, or when it
		// changes: each try counts against the account.
		if !slices.Contains([]diagnosis.Cause{diagnosis.CredentialsRejected, diagnosis.CredentialsExpired, diagnosis.AccessDenied}, v.Cause) {
			i.due = earlier(i.due, c.slot(k, retry))
		}
	case i.cause != "":
		i.due = earlier(i.due, c.slot(k, retry))
	default:
		i.doubted = false
	}
	if changed {
		i.due = now.Add(gap)
	}
}

func earlier(a, b time.Time) time.Time { return slices.MinFunc([]time.Time{a, b}, time.Time.Compare) }

// available records that an image could be pulled again.
func (c *Checker) available(k key, i *image) {
	i.doubted = false
	if i.cause == "" {
		return
	}
	c.Log.Info("image available again", "namespace", k.namespace, "image", k.image, "pods", len(i.pods))
	i.cause, i.evidence, i.since = "", nil, time.Time{}
	c.unsettle(i)
}

// unavailable records that an image could not be pulled again.
func (c *Checker) unavailable(k key, i *image, v diagnosis.Verdict, evidence []diagnosis.Evidence, now time.Time) {
	i.doubted = false
	if i.cause == "" {
		i.since = now
	}
	if i.cause != v.Cause {
		c.Log.Info("image unavailable", "namespace", k.namespace, "image", k.image, "cause", v.Cause, "pods", len(i.pods), "summary", v.Summary)
	}
	i.cause, i.evidence = v.Cause, evidence
	c.unsettle(i)
}

// unsettle has the pods of an image published.
func (c *Checker) unsettle(i *image) {
	for uid := range i.pods {
		c.pods[uid].settled = false
	}
}

// publish publishes the pods that are not settled.
func (c *Checker) publish(ctx context.Context) {
	c.adopt()
	for _, uid := range c.unsettled() {
		pod, verdicts, ready := c.unpublished(uid)
		if !ready || ctx.Err() != nil {
			continue
		}
		err := c.publisher.Unavailable(ctx, pod, verdicts)
		if err != nil {
			c.Log.Warn("publish unavailable images failed", "namespace", pod.Namespace, "pod", pod.Name, "err", err)
		}
		c.published(uid, err)
	}
}

// adopt has the publisher forget pods that are gone and take over what an earlier run of
// the agent has published.
func (c *Checker) adopt() {
	c.mu.Lock()
	gone := c.gone
	c.gone = nil
	var fresh []podwatch.RunningPod
	for _, p := range c.pods {
		if !p.adopted && p.Annotation != "" {
			fresh = append(fresh, p.RunningPod)
		}
		p.adopted, p.Annotation = true, ""
	}
	c.mu.Unlock()
	for _, uid := range gone {
		c.publisher.Forget(uid)
	}
	for _, p := range fresh {
		c.take(p, c.publisher.Adopt(p))
	}
}

// take takes over what an earlier run of the agent has found about a pod.
func (c *Checker) take(p podwatch.RunningPod, findings []Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range p.Images {
		at := slices.IndexFunc(findings, func(o Finding) bool { return o.Subject == f.Subject() && o.Image == f.Image })
		i := c.images[keyOf(f)]
		if at < 0 || i == nil || i.cause != "" {
			continue
		}
		i.cause, i.since = findings[at].Cause, findings[at].Since
		i.due = earlier(i.due, c.slot(keyOf(f), readopt))
	}
}

// unsettled returns the uids of the pods whose publication is due, sorted.
func (c *Checker) unsettled() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for uid, p := range c.pods {
		if !p.settled && !c.Now().Before(p.after) {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}

// unpublished returns what is to be published of a pod, and marks it as settled. It is
// not ready while a finding of an earlier run of the agent has not been examined again.
func (c *Checker) unpublished(uid string) (_ podwatch.RunningPod, verdicts []diagnosis.Verdict, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[uid]
	if p == nil {
		return podwatch.RunningPod{}, nil, false
	}
	for _, f := range p.Images {
		i := c.images[keyOf(f)]
		switch {
		case i == nil || i.cause == "":
			continue
		case i.evidence == nil:
			return podwatch.RunningPod{}, nil, false
		}
		f.Platform, f.Since = c.Platform, i.since
		verdicts = append(verdicts, diagnosis.Diagnose(f, i.evidence))
	}
	p.settled = true
	return p.RunningPod, verdicts, true
}

// published records how the publication of a pod has ended. After an error it is published
// again later.
func (c *Checker) published(uid string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch p := c.pods[uid]; {
	case p == nil:
	case err == nil:
		p.pause = 0
	default:
		pause := cmp.Or(p.pause, rewrite)
		p.settled, p.after, p.pause = false, c.Now().Add(pause), min(2*pause, retry)
	}
}

// weigh returns how much a verdict on evidence counts; blind is that of Prober.Again.
func weigh(v diagnosis.Verdict, evidence []diagnosis.Evidence, blind bool) diagnosis.Weight {
	w := v.Cause.Entry().Weight
	if v.Cause == diagnosis.TagNotFound && !blind && slices.ContainsFunc(evidence, missing) {
		return w
	}
	if v.Confidence != diagnosis.Confirmed || blind && w == diagnosis.CountsOnceWithCredentials {
		return diagnosis.CountsNever
	}
	return w
}

// missing reports whether a registry has no manifest, though it does not say whether it
// has the repository: only what is missing is in doubt.
func missing(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Failed && e.Fault == diagnosis.FaultNotFound && !e.Endpoint.Unloaded
}

// Counts reports whether an image can be unavailable for a cause.
func Counts(c diagnosis.Cause) bool { return c.Entry().Weight != diagnosis.CountsNever }
