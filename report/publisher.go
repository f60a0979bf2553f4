package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/share"
)

// Writer writes to the API server.
type Writer interface {
	PatchPod(ctx context.Context, namespace, pod, uid string, change kube.PodChange) error
	Event(ctx context.Context, e *eventsv1.Event) error
}

// rewriteInterval is the minimum time between two writes to a pod with the same
// causes.
const rewriteInterval = time.Minute

// restoreInterval is the minimum time between two writes to a pod that undo what somebody
// has changed.
const restoreInterval = 20 * time.Second

// Queue is the queue of pods to process.
type Queue interface {
	// Again queues a pod again after a delay.
	Again(uid string, after time.Duration)
	// Busy reports whether other pods are queued or served.
	Busy() bool
}

// Metrics counts what a Publisher does. It is an interface so that programs that
// only read reports are linked without the Prometheus client.
type Metrics interface {
	// Diagnosed counts a verdict.
	Diagnosed(v diagnosis.Verdict)
	// Failing replaces the verdicts on the pod with the UID, and Pulling the pulls
	// that it waits for; with nil the pod has none.
	Failing(uid string, verdicts []diagnosis.Verdict)
	Pulling(uid string, pulls []diagnosis.Progress)
	// TimeToDiagnosis records the time from a failed status to the annotation.
	TimeToDiagnosis(d time.Duration)
	// Wrote counts a write to the API server.
	Wrote(err error)
}

// Publisher writes verdicts to the pods, the metrics and the log. It writes only
// changes.
type Publisher struct {
	writer  Writer
	queue   Queue
	metrics Metrics
	log     *slog.Logger
	node    string
	now     func() time.Time
	removed *share.Cache[string, struct{}] // reports, by the pod's uid, for restoreInterval
	// conditions reports whether PullableCondition is written.
	conditions func() bool
}

// NewPublisher returns a publisher for the pods of a node. A pod whose write is
// deferred is queued again. It writes PullableCondition while conditions reports true.
func NewPublisher(w Writer, q Queue, m Metrics, log *slog.Logger, node string, conditions func() bool) *Publisher {
	p := &Publisher{writer: w, queue: q, metrics: m, log: log, node: node, now: time.Now, conditions: conditions}
	p.removed = share.New[string](math.MaxInt, share.For[struct{}](restoreInterval), func() time.Time { return p.now() })
	return p
}

// Reported implements agent.Publisher.
func (p *Publisher) Reported(annotations map[string]string) bool {
	_, err := Parse(annotations[ReportAnnotation])
	return err == nil
}

// Pod implements agent.Publisher.
func (p *Publisher) Pod(uid string) agent.PodPublisher {
	return &podPublisher{Publisher: p, uid: uid}
}

// podPublisher publishes the verdicts on one pod.
type podPublisher struct {
	*Publisher
	uid   string
	state *podState // nil until the first verdicts
}

// podState is what has been published about a pod.
type podState struct {
	causes     string
	content    digest // of the report without its times; zero if the pod has none
	said       said   // what this report was made of
	first      bool   // made before the slow checks were done
	at         time.Time
	dated      time.Time // the time that the report names
	seal       digest    // of the annotations that this run of the agent has written; zero if none
	begun      time.Time // when that write began
	due        time.Time // when its deferred Events are to be created; zero if none are deferred
	containers map[diagnosis.Subject]*containerState
	pulls      map[diagnosis.Subject]earlierIncident // followed by an earlier run of the agent
	unsaid     []diagnosis.Failure                   // recoveries whose Events the API server has refused
	refusals   int                                   // how often in a row Events have been refused
	condition  *corev1.PodCondition                  // that this run of the agent has written last; nil if none
	recovered  bool                                  // a container has got its image since the last verdict
	deleting   time.Time                             // since when the pod is being deleted; zero if it is not
}

// said is what a complete document is made of, with the digest of it without its times.
type said struct {
	verdicts   []diagnosis.Verdict
	pulls      []diagnosis.Progress
	unexamined int
	digest     digest
}

// says reports whether this run of the agent has written the same. As a rule it has: the
// watch shows what was written, and the Events come later.
func (t *podState) says(now said, node string) bool {
	if t.seal == (digest{}) {
		return false
	}
	now.digest = t.said.digest
	return reflect.DeepEqual(now, t.said) || digestOf(complete(now.verdicts, now.pulls, now.unexamined, node, time.Time{}).withoutTimes()) == now.digest
}

// containerState is what has been published about one container.
type containerState struct {
	final   string          // image of the final verdict on the pod; empty if none
	event   announcement    // the last Event since the container had its image
	unsure  string          // summary of the verdict whose Event an earlier run of the agent may not have created
	counted counted         // the last verdict counted in the metrics
	timed   time.Time       // incident whose time to diagnosis has been measured (diagnosis.Failure.Incident)
	earlier earlierIncident // from an earlier run of the agent
}

// announcement is what an Event announces: why a container cannot get an image. When
// that began is no part of it: a pull that hangs may fail for the same cause, and the
// status of a pod may come and go while the runtime is restarted.
type announcement struct {
	cause diagnosis.Cause
	image string
}

func announcementOf(v diagnosis.Verdict) announcement {
	return announcement{v.Cause, v.Failure.Image}
}

// counted is what the metrics count once: a cause of an incident.
type counted struct {
	cause    diagnosis.Cause
	incident int64 // Unix time in seconds
}

func countedOf(v diagnosis.Verdict) counted { return counted{v.Cause, v.Failure.Incident.Unix()} }

// earlierIncident is an incident from an earlier run of the agent.
type earlierIncident struct {
	image string
	since time.Time // when it began, by the clock as it is now
	named time.Time // when it began, as its Events are named
}

func newPodState() *podState {
	return &podState{containers: map[diagnosis.Subject]*containerState{}, pulls: map[diagnosis.Subject]earlierIncident{}}
}

// container returns the state of a failure's container; it creates one if needed.
func (t *podState) container(key diagnosis.Subject) *containerState {
	if t.containers[key] == nil {
		t.containers[key] = &containerState{}
	}
	return t.containers[key]
}

// Verdicts implements agent.PodPublisher.
func (p *podPublisher) Verdicts(ctx context.Context, u podwatch.Update, verdicts []diagnosis.Verdict, final bool) error {
	state := p.of(u)
	p.metrics.Pulling(u.UID, u.Pulling)
	if len(verdicts) == 0 {
		p.metrics.Failing(u.UID, nil)
	}
	if len(verdicts)+len(u.Pulling) == 0 {
		return p.clear(ctx, u, state)
	}
	if len(verdicts) > 0 {
		state.recovered = false
	}
	if !final && state.hasFinal(verdicts) {
		return nil
	}
	verdicts = state.withBeginnings(u, verdicts, p.now())
	p.metrics.Failing(u.UID, verdicts)
	current, err := p.annotate(ctx, u, state, verdicts, final)
	if err != nil {
		return err
	}
	if current {
		p.measure(state, verdicts)
	}
	_ = p.catchUp(ctx, u, state) // the pod stays queued
	if !final || p.putsOff(u, state, verdicts) {
		return nil
	}
	state.due = time.Time{}
	if !p.events(ctx, state, verdicts) {
		p.sayLater(u, state)
	}
	return nil
}

// eventDelay is how long Events wait while other pods are queued or served: those pods'
// annotations come first.
const eventDelay = time.Second

// putsOff reports whether the pod's Events are to wait. They do so once, also if the
// pod is processed again meanwhile, as it is when the watch shows its annotations.
func (p *podPublisher) putsOff(u podwatch.Update, state *podState, verdicts []diagnosis.Verdict) bool {
	now := p.now()
	switch {
	case !p.queue.Busy():
		return false
	case !state.due.IsZero():
		left := state.due.Sub(now)
		if left > 0 {
			p.queue.Again(u.UID, left) // the queue keeps one time for each pod
		}
		return left > 0
	case !slices.ContainsFunc(verdicts, func(v diagnosis.Verdict) bool {
		return state.container(v.Failure.Subject()).event != announcementOf(v)
	}):
		return false
	}
	state.due = now.Add(eventDelay)
	p.queue.Again(u.UID, eventDelay)
	return true
}

// of returns the state of the pod: at first what an earlier run of the agent has left.
func (p *podPublisher) of(u podwatch.Update) *podState {
	if p.state == nil {
		p.state = adopt(u, p.now())
	}
	return p.state
}

// adopt returns the state that an earlier run of the agent has left in the
// annotations; empty if they hold no report that can be read, or another pod's. One of
// another schema, which another version of whypull has written, counts as far as it has the
// same fields.
func adopt(u podwatch.Update, now time.Time) *podState {
	state := newPodState()
	doc, err := decode(u.Annotations[ReportAnnotation])
	at, unknown := time.Parse(time.RFC3339, doc.ObservedAt)
	if err != nil || unknown == nil && u.Created.Sub(at) > clockSkew {
		return state
	}
	state.causes, state.content, state.dated = u.Annotations[CauseAnnotation], digestOf(doc.withoutTimes()), at
	if unknown == nil && !at.After(now) { // else the clock was ahead: nobody knows when it was written
		state.at = now.Add(at.Sub(now)) // goes on with the monotonic clock
	}
	for _, c := range doc.Containers {
		state.adopt(u, c, now)
	}
	for _, g := range doc.Pulling {
		if since, ok := adoptable(g.Since, u.Created, now); ok {
			state.pulls[diagnosis.Subject{UID: u.UID, Kind: diagnosis.Kind(g.Kind), Name: g.Name}] = earlierIncident{image: g.Image, since: since}
		}
	}
	return state
}

// eventDoubt is how old a report is at most whose Events may be missing because the agent
// was killed before it created them. Until then the kubelet starts it again, as a rule; the
// longest wait is five minutes. The same Event has the same name, so that it is there once;
// if the summary has changed since, there is one with each.
const eventDoubt = 5 * time.Minute

// adopt takes over one container of a report of an earlier run. If that was a
// first verdict, for which there is no Event yet, only the start of the incident
// is taken over. A report with times that are to come counts as what has been said like any
// other: the clock was ahead when it was written. Whoever may write to a pod can write such a
// report, and the worst that comes of it is that this pod's next Event is missing.
func (t *podState) adopt(u podwatch.Update, c Container, now time.Time) {
	since, known := adoptable(c.Since, u.Created, now)
	of := t.container(diagnosis.Subject{UID: u.UID, Kind: diagnosis.Kind(c.Kind), Name: c.Name})
	named := incidentOf(c)
	if known {
		of.earlier, of.timed = earlierIncident{c.Image, since, named}, named
	}
	if slices.ContainsFunc(c.Evidence, func(e Entry) bool { return e.Fault == string(diagnosis.FaultPending) }) {
		t.first = true
		return
	}
	of.final = c.Image
	of.event = announcement{diagnosis.Cause(c.Cause), c.Image}
	if !known {
		of.timed = now // its recovery is published nevertheless
	}
	if known && now.Sub(t.at) < eventDoubt {
		of.unsure = c.Summary
	}
	of.counted = counted{diagnosis.Cause(c.Cause), named.Unix()}
}

// hasFinal reports whether the pod has a final verdict for each of the images. A
// first verdict, made of less evidence, does not replace a final one.
func (t *podState) hasFinal(verdicts []diagnosis.Verdict) bool {
	return !slices.ContainsFunc(verdicts, func(v diagnosis.Verdict) bool {
		return t.container(v.Failure.Subject()).final != v.Failure.Image
	})
}

// withBeginnings returns the verdicts with Incident set, and Since as it is shown; both
// taken from an earlier run of the agent where it saw the same incident. Another image is
// another incident.
func (t *podState) withBeginnings(u podwatch.Update, verdicts []diagnosis.Verdict, now time.Time) []diagnosis.Verdict {
	out := slices.Clone(verdicts)
	for i := range out {
		f := &out[i].Failure
		f.Incident = f.Since
		switch of := t.container(f.Subject()); {
		case of.earlier.since.IsZero():
		case of.earlier.image == f.Image:
			f.Since, f.Incident = earliest(of.earlier.since, f.Since), of.earlier.named
		default:
			of.earlier = earlierIncident{}
		}
		f.Since = shownSince(f.Since, u.Created, now)
	}
	return out
}

// annotate writes the annotations if they have changed, if somebody has edited them, or if
// the clock was ahead when they were written: at once if the causes have changed or a first
// verdict is replaced, otherwise at most once per rewriteInterval, or restoreInterval if they
// were edited. It returns whether the pod's annotations are up to date.
func (p *Publisher) annotate(ctx context.Context, u podwatch.Update, state *podState, verdicts []diagnosis.Verdict, final bool) (bool, error) {
	pulls := state.pullsOf(u, p.now())
	what := said{verdicts: verdicts, pulls: pulls, unexamined: u.Unexamined}
	condition := p.condition(u, state, verdicts)
	at := reportTime(u.Created, p.now()).Round(0)
	ahead := state.dated.Sub(at) > clockSkew
	if !ahead && state.says(what, p.node) && !state.edited(u, rendering{}, condition) { // as a rule: the watch shows what was written
		state.written(verdicts, final)
		return true, nil
	}
	now := render(verdicts, pulls, u.Unexamined, p.node, at)
	causes := now.annotations[CauseAnnotation]
	content := digestOf(now.content)
	same := content == state.content && !ahead
	edited := same && state.edited(u, now, condition)
	interval := rewriteInterval
	if edited {
		interval = restoreInterval
	}
	if wait := interval - p.now().Sub(state.at); wait > 0 && (edited || !same && causes == state.causes && !state.first) {
		p.queue.Again(u.UID, min(wait, interval))
		if !edited {
			return false, nil
		}
		edited = false // until then
	}
	if same && !edited {
		state.written(verdicts, final)
		return true, nil
	}
	begun := p.now()
	patch := map[string]*string{CauseAnnotation: nil} // none while nothing has failed
	for k, v := range now.annotations {
		patch[k] = &v
	}
	if err := p.write(ctx, u, kube.PodChange{Annotations: patch, Condition: condition}); err != nil {
		return false, err
	}
	state.condition = cmp.Or(condition, state.condition)
	what.digest = digestOf(now.complete)
	state.content, state.said, state.causes, state.at, state.dated = content, what, causes, p.now(), at
	state.seal, state.begun = sealOf(now.annotations), begun
	state.written(verdicts, final)
	p.logPulls(u)
	for _, v := range verdicts {
		p.log.Info("diagnosed", "namespace", u.Namespace, "pod", u.Name, "container", v.Failure.Container,
			"cause", v.Cause, "confidence", v.Confidence, "summary", v.Summary)
		p.logTimings(v)
	}
	return true, nil
}

// retrying reports whether a pull retry is still running, whose result is to be
// written at once.
func retrying(verdicts []diagnosis.Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v diagnosis.Verdict) bool {
		return slices.ContainsFunc(v.Evidence, func(e diagnosis.Finding) bool { return e.Fault == diagnosis.FaultPending })
	})
}

// logPulls logs the layers of the images being pulled, for which the report has
// no room.
func (p *Publisher) logPulls(u podwatch.Update) {
	for _, g := range u.Pulling {
		p.log.Debug("pulling", "namespace", u.Namespace, "pod", u.Name, "container", g.Failure.Container, "image", g.Failure.Image,
			"detail", g.Detail(), "layers", g.Layers)
	}
}

// pullsOf returns the update's pulls with Since taken from an earlier run of the
// agent where it saw the same pull.
func (t *podState) pullsOf(u podwatch.Update, now time.Time) []diagnosis.Progress {
	out := slices.Clone(u.Pulling)
	for i := range out {
		f := &out[i].Failure
		if was, ok := t.pulls[f.Subject()]; ok && was.image == f.Image {
			f.Since = earliest(was.since, f.Since)
		}
		f.Since = shownSince(f.Since, u.Created, now)
	}
	return out
}

// logTimings logs how long each phase of the registry probes took. The report does
// not have it, since it would change with every diagnosis.
func (p *Publisher) logTimings(v diagnosis.Verdict) {
	for _, e := range v.Evidence {
		if len(e.Registry().Timings) == 0 {
			continue
		}
		var phases []any
		for _, phase := range diagnosis.Phases() {
			if d, ok := e.Registry().Timings[phase]; ok {
				phases = append(phases, slog.Duration(string(phase), d))
			}
		}
		p.log.Debug("registry probed", "endpoint", e.Endpoint.URL, "outcome", e.Outcome, "fault", e.Fault, slog.Group("phases", phases...))
	}
}

// written records which images the pod's annotations are about.
func (t *podState) written(verdicts []diagnosis.Verdict, final bool) {
	t.first = !final || retrying(verdicts)
	for _, of := range t.containers {
		of.final = ""
	}
	if !final {
		return
	}
	for _, v := range verdicts {
		t.container(v.Failure.Subject()).final = v.Failure.Image
	}
}

func (p *Publisher) write(ctx context.Context, u podwatch.Update, change kube.PodChange) error {
	err := p.writer.PatchPod(ctx, u.Namespace, u.Name, u.UID, change)
	if !gone(err) {
		countWrite(p.metrics, err)
	}
	return err
}

// countWrite counts a write to the API server, but not one that the guard held
// back.
func countWrite(m interface{ Wrote(err error) }, err error) {
	if !errors.Is(err, kube.ErrUnguarded) {
		m.Wrote(err)
	}
}

// gone reports whether the error is that the pod no longer exists.
func gone(err error) bool { return errors.Is(err, kube.ErrNotFound) }

// annotated reports whether a pod has any of whypull's annotations, readable or not.
func annotated(annotations map[string]string) bool {
	return annotations[CauseAnnotation] != "" || annotations[SummaryAnnotation] != "" || annotations[ReportAnnotation] != ""
}

// deletionTime is how long a pod that is being deleted keeps its annotations: as a rule it
// is gone by then, and needs no write.
const deletionTime = 10 * time.Second

// clear removes whypull's annotations, if any, from a pod that no longer fails, and
// ends its condition, if any. A pod that is being deleted keeps them for deletionTime, and
// a report that this run of the agent has not written is removed at most once per
// restoreInterval; until then the error is agent.ErrDeferred.
func (p *Publisher) clear(ctx context.Context, u podwatch.Update, state *podState) error {
	condition := p.condition(u, state, nil)
	if state.content == (digest{}) && !annotated(u.Annotations) && condition == nil {
		return p.catchUp(ctx, u, state)
	}
	if u.Deleting {
		if state.deleting.IsZero() {
			state.deleting = p.now()
		}
		if left := deletionTime - p.now().Sub(state.deleting); left > 0 {
			_ = p.catchUp(ctx, u, state) // the pod stays queued
			p.queue.Again(u.UID, left)
			return agent.ErrDeferred
		}
	}
	if removed, lately := p.removed.Peek(u.UID); lately && state.seal == (digest{}) {
		_ = p.catchUp(ctx, u, state)
		p.queue.Again(u.UID, removed.Until.Sub(p.now()))
		return agent.ErrDeferred
	}
	patch := map[string]*string{CauseAnnotation: nil, SummaryAnnotation: nil, ReportAnnotation: nil}
	if err := p.write(ctx, u, kube.PodChange{Annotations: patch, Condition: condition}); err != nil {
		return err
	}
	p.removed.Put(ctx, u.UID, struct{}{})
	failed := state.causes != "" || u.Annotations[CauseAnnotation] != ""
	fresh := newPodState()
	for _, f := range u.Waiting {
		// It has another image to wait for, or a new sandbox, and has not recovered.
		if of := state.containers[f.Subject()]; of != nil && of.event.image != "" && (of.event.image != f.Image || of.event.cause != diagnosis.PullStalled) {
			fresh.containers[f.Subject()] = of
		}
	}
	fresh.unsaid, fresh.refusals, fresh.condition = state.unsaid, state.refusals, state.condition
	*state = *fresh
	state.condition = cmp.Or(condition, state.condition)
	if failed {
		p.log.Info("recovered", "namespace", u.Namespace, "pod", u.Name)
	}
	return p.catchUp(ctx, u, state)
}

// measure records the time to diagnosis of each new incident.
func (p *Publisher) measure(state *podState, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		of := state.container(v.Failure.Subject())
		if of.timed.Equal(v.Failure.Incident) {
			continue
		}
		of.timed = v.Failure.Incident
		if v.Failure.Stall != "" { // it did not begin with a change of the pod's status
			continue
		}
		p.metrics.TimeToDiagnosis(p.now().Sub(v.Failure.Incident))
	}
}

// events counts each verdict that is new for its incident, and creates an Event for each
// that differs from the last Event. It returns false if the API server has refused one.
func (p *Publisher) events(ctx context.Context, state *podState, verdicts []diagnosis.Verdict) bool {
	all := true
	for _, v := range verdicts {
		of, said := state.container(v.Failure.Subject()), announcementOf(v)
		if now := countedOf(v); of.counted != now {
			of.counted = now
			p.metrics.Diagnosed(v)
		}
		if of.event == said && of.unsure != v.Summary {
			continue
		}
		if err := p.event(ctx, failureEvent(v, p.now())); err != nil {
			all = false
			continue
		}
		of.event, of.unsure, state.refusals = said, "", 0
	}
	return all
}

// An Event that the API server refuses is tried again after lateEvent, then each time
// after latestEvent, up to lateEvents times: within latestEvent of the end of an outage of
// a few minutes. Then the next verdict tries again.
const (
	lateEvent   = 10 * time.Second
	latestEvent = 20 * time.Second
	lateEvents  = 12
)

// sayLater queues a pod again whose Events were refused. It reports whether it did.
func (p *Publisher) sayLater(u podwatch.Update, state *podState) bool {
	if state.refusals >= lateEvents {
		return false
	}
	p.queue.Again(u.UID, min(lateEvent<<state.refusals, latestEvent))
	state.refusals++
	return true
}

func (p *Publisher) event(ctx context.Context, e *eventsv1.Event) error {
	err := p.writer.Event(ctx, e)
	countWrite(p.metrics, err)
	if err != nil && !errors.Is(err, kube.ErrUnguarded) { // which is logged once, and not for each Event
		p.log.Warn("create event failed", "namespace", e.Namespace, "pod", e.Regarding.Name, "reason", e.Reason, "err", err)
	}
	return err
}

// Recovered implements agent.PodPublisher. It does nothing for a container about
// which nothing has been published. An error is temporary.
func (p *podPublisher) Recovered(ctx context.Context, u podwatch.Update, f diagnosis.Failure) error {
	state := p.of(u)
	if of := state.containers[f.Subject()]; of != nil && !of.timed.IsZero() {
		f.Incident = of.timed // as in the report, so that another run of the agent names the Event the same
		f.Image = cmp.Or(f.Image, of.earlier.image)
		switch err := p.event(ctx, recoveredEvent(f, p.now())); { // logged and counted there
		case temporary(err):
			return err
		case err != nil:
			state.unsaid = append(state.unsaid, f)
		}
	}
	delete(state.containers, f.Subject())
	state.recovered = true
	return nil
}

// catchUp creates the Events of recoveries that were refused. The error is
// agent.ErrDeferred if the API server still refuses them. Where it always does, they are
// dropped in the end, and the annotations do not wait for them.
func (p *Publisher) catchUp(ctx context.Context, u podwatch.Update, state *podState) error {
	if len(state.unsaid) == 0 {
		return nil
	}
	state.unsaid = slices.DeleteFunc(state.unsaid, func(f diagnosis.Failure) bool {
		return p.event(ctx, recoveredEvent(f, p.now())) == nil
	})
	switch {
	case len(state.unsaid) == 0:
		state.refusals = 0
		return nil
	case p.sayLater(u, state):
		return agent.ErrDeferred
	}
	state.unsaid = nil
	return nil
}

// temporary reports whether the same write may succeed later.
func temporary(err error) bool {
	var status apierrors.APIStatus
	return err != nil && (!errors.As(err, &status) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err))
}

// Forget implements agent.PodPublisher.
func (p *podPublisher) Forget() {
	p.metrics.Failing(p.uid, nil)
	p.metrics.Pulling(p.uid, nil)
	p.state = nil
}

// sealOf returns the digest of the annotations that whypull writes; others in the
// map do not count.
func sealOf(annotations map[string]string) digest {
	h := sha256.New()
	for _, key := range Annotations() {
		text, there := annotations[key]
		fmt.Fprintf(h, "%t %d %s\n", there, len(text), text)
	}
	return digest(h.Sum(nil))
}

// digest stands for a text to compare with; zero for none.
type digest [sha256.Size]byte

func digestOf(text string) digest { return sha256.Sum256([]byte(text)) }

// edited reports whether somebody has changed or removed the annotations or the
// condition (nil for none), which were to say what they say now: whoever may write to a
// pod can forge its report. What the watch had seen before they were written does not
// count. Of a report that an earlier run of the agent has written, only the other two
// annotations can be compared.
func (t *podState) edited(u podwatch.Update, now rendering, condition *corev1.PodCondition) bool {
	other := condition != nil && !sameCondition(condition, pullable(u.Conditions))
	if t.seal != (digest{}) {
		return u.SeenAt.After(t.begun) && (other || sealOf(u.Annotations) != t.seal)
	}
	expected := maps.Clone(now.annotations)
	expected[ReportAnnotation] = u.Annotations[ReportAnnotation]
	return other || sealOf(u.Annotations) != sealOf(expected)
}
