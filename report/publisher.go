package report

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
)

// Writer writes to the API server.
type Writer interface {
	Annotate(ctx context.Context, namespace, pod, uid string, annotations map[string]*string) error
	Event(ctx context.Context, e *eventsv1.Event) error
}

// rewrite is the least time between two writes to a pod that say the same
// cause.
const rewrite = time.Minute

// Queue holds the pods that wait to be served.
type Queue interface {
	// Again has a pod served again after a while.
	Again(uid string, after time.Duration)
	// Busy reports whether pods wait.
	Busy() bool
}

// Publisher writes verdicts to the pods, the metrics and the log. It writes only
// what is new.
type Publisher struct {
	writer  Writer
	queue   Queue
	metrics *Metrics
	log     *slog.Logger
	node    string
	now     func() time.Time
}

// NewPublisher returns a publisher for a node's pods. A pod whose write is put
// off is served again through the queue.
func NewPublisher(w Writer, q Queue, m *Metrics, log *slog.Logger, node string) *Publisher {
	return &Publisher{writer: w, queue: q, metrics: m, log: log, node: node, now: time.Now}
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
	uid  string
	told *published // nil until the first verdicts come
}

// published is what has been published of a pod.
type published struct {
	causes     string
	content    string // the report without its times; empty if none is on the pod
	first      bool   // made before the slow checks had answered
	at         time.Time
	owed       bool // its Events have been put off once
	containers map[diagnosis.Subject]*telling
	pulls      map[diagnosis.Subject]adopted // that an earlier run of the agent followed
}

// telling is what has been told of one container.
type telling struct {
	final   string    // image that a final verdict on the pod is about, empty if none
	event   saying    // told by an Event
	counted saying    // told by the metrics
	timed   time.Time // beginning of the incident whose time to diagnosis is measured
	earlier adopted   // what an earlier run of the agent saw
}

// saying is what is said once: a cause of an incident.
type saying struct {
	cause diagnosis.Cause
	since int64 // the incident's beginning, Unix time
}

func sayingOf(v diagnosis.Verdict) saying { return saying{v.Cause, v.Failure.Since.Unix()} }

// adopted is an incident that an earlier run of the agent saw.
type adopted struct {
	image string
	since time.Time
}

func newPublished() *published {
	return &published{containers: map[diagnosis.Subject]*telling{}, pulls: map[diagnosis.Subject]adopted{}}
}

// about returns what has been told of a failure's container.
func (t *published) about(key diagnosis.Subject) *telling {
	if t.containers[key] == nil {
		t.containers[key] = &telling{}
	}
	return t.containers[key]
}

// Verdicts implements agent.PodPublisher.
func (p *podPublisher) Verdicts(ctx context.Context, u podwatch.Update, verdicts []diagnosis.Verdict, final bool) error {
	if p.told == nil {
		p.told = adopt(p.uid, u.Annotations)
	}
	told := p.told
	p.metrics.Pulling(u.UID, u.Pulling)
	if len(verdicts) == 0 {
		p.metrics.Failing(u.UID, nil)
	}
	if len(verdicts)+len(u.Pulling) == 0 {
		return p.clear(ctx, u, told)
	}
	if !final && told.settled(verdicts) {
		return nil
	}
	verdicts = told.continued(verdicts)
	p.metrics.Failing(u.UID, verdicts)
	current, err := p.annotate(ctx, u, told, verdicts, final)
	if err != nil {
		return err
	}
	if current {
		p.measure(told, verdicts)
	}
	switch {
	case !final:
	case !told.owed && p.queue.Busy():
		told.owed = true
		p.queue.Again(u.UID, 0)
	default:
		told.owed = false
		p.events(ctx, told, verdicts)
	}
	return nil
}

// adopt reads what an earlier run of the agent has told. Annotations that are
// not whypull's reports are not taken for one.
func adopt(uid string, annotations map[string]string) *published {
	told := newPublished()
	doc, err := Parse(annotations[ReportAnnotation])
	if err != nil {
		return told
	}
	content, err := doc.timeless()
	if err != nil {
		return told
	}
	told.causes, told.content = annotations[CauseAnnotation], content
	told.at, _ = time.Parse(time.RFC3339, doc.ObservedAt) // zero: long ago
	for _, c := range doc.Containers {
		told.adopt(uid, c)
	}
	for _, g := range doc.Pulling {
		if since, err := time.Parse(time.RFC3339, g.Since); err == nil {
			told.pulls[diagnosis.Subject{UID: uid, Kind: diagnosis.Kind(g.Kind), Name: g.Name}] = adopted{g.Image, since}
		}
	}
	return told
}

// adopt takes over what an earlier run has told of one container. Of a first
// verdict, which has had no Event, that is only when the incident began.
func (t *published) adopt(uid string, c Container) {
	since, err := time.Parse(time.RFC3339, c.Since)
	if err != nil {
		return
	}
	of := t.about(diagnosis.Subject{UID: uid, Kind: diagnosis.Kind(c.Kind), Name: c.Name})
	of.earlier, of.timed = adopted{c.Image, since}, since
	if slices.ContainsFunc(c.Evidence, func(e Entry) bool { return e.Fault == string(diagnosis.FaultPending) }) {
		t.first = true
		return
	}
	of.final = c.Image
	of.event = saying{diagnosis.Cause(c.Cause), since.Unix()}
	of.counted = of.event
}

// settled tells that the pod has a final verdict about each of the images: a
// first one, made of less, does not replace that.
func (t *published) settled(verdicts []diagnosis.Verdict) bool {
	return !slices.ContainsFunc(verdicts, func(v diagnosis.Verdict) bool {
		return t.about(v.Failure.Subject()).final != v.Failure.Image
	})
}

// continued gives incidents that an earlier run saw their true beginning.
// Another image is another incident.
func (t *published) continued(verdicts []diagnosis.Verdict) []diagnosis.Verdict {
	out := slices.Clone(verdicts)
	for i := range out {
		f := &out[i].Failure
		switch of := t.about(f.Subject()); {
		case of.earlier.since.IsZero():
		case of.earlier.image == f.Image:
			f.Since = of.earlier.since
		default:
			of.earlier = adopted{}
		}
	}
	return out
}

// annotate writes the annotations if they say anything new: at once for new
// causes and for what replaces a first verdict, else not more often than once a
// minute. It tells whether the pod has them now.
func (p *Publisher) annotate(ctx context.Context, u podwatch.Update, told *published, verdicts []diagnosis.Verdict, final bool) (bool, error) {
	now, err := render(verdicts, told.pullsOf(u), p.node, p.now())
	if err != nil {
		return false, err
	}
	causes := now.annotations[CauseAnnotation]
	if now.content == told.content {
		told.wrote(verdicts, final)
		told.first = told.first || retrying(verdicts)
		return true, nil
	}
	if wait := rewrite - p.now().Sub(told.at); causes == told.causes && wait > 0 && !told.first {
		p.queue.Again(u.UID, min(wait, rewrite))
		return false, nil
	}
	patch := map[string]*string{CauseAnnotation: nil} // a pod that only pulls has none
	for k, v := range now.annotations {
		patch[k] = &v
	}
	if err := p.write(ctx, u, patch); err != nil {
		return false, err
	}
	told.content, told.causes, told.at = now.content, causes, p.now()
	told.wrote(verdicts, final)
	told.first = told.first || retrying(verdicts)
	p.logPulls(u)
	for _, v := range verdicts {
		p.log.Info("diagnosed", "namespace", u.Namespace, "pod", u.Name, "container", v.Failure.Container,
			"cause", v.Cause, "confidence", v.Confidence, "summary", v.Summary)
		p.logTimings(v)
	}
	return true, nil
}

// retrying tells that a pull is still being tried again, whose result is worth
// writing at once.
func retrying(verdicts []diagnosis.Verdict) bool {
	return slices.ContainsFunc(verdicts, func(v diagnosis.Verdict) bool {
		return slices.ContainsFunc(v.Evidence, func(e diagnosis.Finding) bool { return e.Fault == diagnosis.FaultPending })
	})
}

// logPulls tells of the layers of images on their way: the report has no room
// for them.
func (p *Publisher) logPulls(u podwatch.Update) {
	for _, g := range u.Pulling {
		p.log.Debug("pulling", "namespace", u.Namespace, "pod", u.Name, "container", g.Failure.Container, "image", g.Failure.Image,
			"detail", g.Detail(), "layers", g.Layers)
	}
}

// pullsOf gives pulls that an earlier run saw their true beginning.
func (t *published) pullsOf(u podwatch.Update) []diagnosis.Progress {
	out := slices.Clone(u.Pulling)
	for i := range out {
		f := &out[i].Failure
		if was, ok := t.pulls[f.Subject()]; ok && was.image == f.Image {
			f.Since = was.since
		}
	}
	return out
}

// logTimings tells how long each phase of the conversations took: the report
// does not, since it would change with every diagnosis.
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
		p.log.Debug("asked", "endpoint", e.Endpoint.URL, "outcome", e.Outcome, "fault", e.Fault, slog.Group("phases", phases...))
	}
}

// wrote notes what the pod's annotations are about.
func (t *published) wrote(verdicts []diagnosis.Verdict, final bool) {
	t.first = !final
	for _, of := range t.containers {
		of.final = ""
	}
	if !final {
		return
	}
	for _, v := range verdicts {
		t.about(v.Failure.Subject()).final = v.Failure.Image
	}
}

func (p *Publisher) write(ctx context.Context, u podwatch.Update, patch map[string]*string) error {
	err := p.writer.Annotate(ctx, u.Namespace, u.Name, u.UID, patch)
	if !errors.Is(err, kube.ErrNotFound) {
		p.wrote(err)
	}
	return err
}

// wrote counts a write, but not one that was held back: the API server got none.
func (p *Publisher) wrote(err error) {
	if !errors.Is(err, kube.ErrUnguarded) {
		p.metrics.Wrote(err)
	}
}

// clear takes whypull's annotations off a pod that fails no more. A pod that
// has none is left alone.
func (p *Publisher) clear(ctx context.Context, u podwatch.Update, told *published) error {
	if told.content == "" && !p.Reported(u.Annotations) {
		return nil
	}
	patch := map[string]*string{CauseAnnotation: nil, SummaryAnnotation: nil, ReportAnnotation: nil}
	if err := p.write(ctx, u, patch); err != nil {
		return err
	}
	failed := told.causes != "" || u.Annotations[CauseAnnotation] != ""
	*told = *newPublished()
	if failed {
		p.log.Info("recovered", "namespace", u.Namespace, "pod", u.Name)
	}
	return nil
}

// measure notes how long it took to tell of each new incident.
func (p *Publisher) measure(told *published, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		of := told.about(v.Failure.Subject())
		if of.timed.Equal(v.Failure.Since) {
			continue
		}
		of.timed = v.Failure.Since
		if v.Failure.Stall != "" { // no change of the pod's status began it
			continue
		}
		p.metrics.Told(p.now().Sub(v.Failure.Since))
	}
}

// events counts each verdict that is new for its incident, and records an Event
// for it.
func (p *Publisher) events(ctx context.Context, told *published, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		of, said := told.about(v.Failure.Subject()), sayingOf(v)
		if of.counted != said {
			of.counted = said
			p.metrics.Diagnosed(v)
		}
		if of.event == said {
			continue
		}
		if err := p.event(ctx, FailureEvent(v, p.now())); err != nil {
			continue // the annotation is there; the next time tries again
		}
		of.event = said
	}
}

func (p *Publisher) event(ctx context.Context, e *eventsv1.Event) error {
	err := p.writer.Event(ctx, e)
	p.wrote(err)
	if err != nil {
		p.log.Warn("event not recorded", "namespace", e.Namespace, "pod", e.Regarding.Name, "reason", e.Reason, "err", err)
	}
	return err
}

// Recovered implements agent.PodPublisher. Of a container that got its image
// before anything was told of it, nothing is.
func (p *podPublisher) Recovered(ctx context.Context, f diagnosis.Failure) {
	if p.told != nil && p.told.end(f) {
		_ = p.event(ctx, RecoveredEvent(f, p.now())) // logged and counted there
	}
}

// end ends an incident, and reports whether it had been told of.
func (t *published) end(f diagnosis.Failure) bool {
	of := t.containers[f.Subject()]
	delete(t.containers, f.Subject())
	return of != nil && !of.timed.IsZero()
}

// Forget implements agent.PodPublisher.
func (p *podPublisher) Forget() {
	p.metrics.Failing(p.uid, nil)
	p.metrics.Pulling(p.uid, nil)
	p.told = nil
}
