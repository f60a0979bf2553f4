package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// Writer writes to the API server.
type Writer interface {
	Annotate(ctx context.Context, namespace, pod, uid string, annotations map[string]*string) error
	Event(ctx context.Context, e *eventsv1.Event) error
}

// rewrite is the least time between two writes to a pod that say the same
// cause.
const rewrite = time.Minute

// PodPublisher writes verdicts to the pod, the metrics and the log. It writes
// only what is new.
type PodPublisher struct {
	writer  Writer
	metrics *report.Metrics
	log     *slog.Logger
	node    string
	now     func() time.Time
	again   func(uid string, after time.Duration)
	busy    func() bool

	mu   sync.Mutex
	pods map[string]*published // by pod uid
}

// published is what has been told of a pod.
type published struct {
	causes     string
	content    string // the report without its times; empty if none is on the pod
	first      bool   // made before the slow checks had answered
	at         time.Time
	owed       bool // its Events have been put off once
	containers map[podwatch.Key]*telling
	pulls      map[podwatch.Key]adopted // that an earlier run of the agent followed
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
	return &published{containers: map[podwatch.Key]*telling{}, pulls: map[podwatch.Key]adopted{}}
}

// about returns what has been told of a failure's container.
func (t *published) about(key podwatch.Key) *telling {
	if t.containers[key] == nil {
		t.containers[key] = &telling{}
	}
	return t.containers[key]
}

// NewPublisher returns a publisher for a node's pods.
func NewPublisher(w Writer, m *report.Metrics, log *slog.Logger, node string) *PodPublisher {
	return &PodPublisher{writer: w, metrics: m, log: log, node: node, now: time.Now, pods: map[string]*published{},
		again: func(string, time.Duration) {}, busy: func() bool { return false }}
}

// Again sets how the publisher asks for a pod to be served later, when a write
// was put off.
func (p *PodPublisher) Again(again func(uid string, after time.Duration)) { p.again = again }

// Busy sets how the publisher learns that other pods wait to be served: what each
// has on it comes before the Events about any.
func (p *PodPublisher) Busy(busy func() bool) { p.busy = busy }

// Verdicts implements Publisher.
func (p *PodPublisher) Verdicts(ctx context.Context, u podwatch.Update, verdicts []diagnosis.Verdict, final bool) error {
	told := p.of(u)
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
	case !told.owed && p.busy():
		told.owed = true
		p.again(u.UID, 0)
	default:
		told.owed = false
		p.events(ctx, told, verdicts)
	}
	return nil
}

// of returns what has been told of a pod: by this run or, by the pod's own
// annotations, by an earlier one.
func (p *PodPublisher) of(u podwatch.Update) *published {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := p.pods[u.UID]
	if told == nil {
		told = adopt(u.Annotations)
		p.pods[u.UID] = told
	}
	return told
}

// adopt reads what an earlier run of the agent has told. Annotations that are
// not whypull's reports are not taken for one.
func adopt(annotations map[string]string) *published {
	told := newPublished()
	doc, err := report.Parse(annotations[report.ReportAnnotation])
	if err != nil {
		return told
	}
	told.causes = annotations[report.CauseAnnotation]
	told.content = report.Timeless(annotations[report.ReportAnnotation])
	told.at, _ = time.Parse(time.RFC3339, doc.ObservedAt) // zero: long ago
	for _, c := range doc.Containers {
		told.adopt(c)
	}
	for _, g := range doc.Pulling {
		if since, err := time.Parse(time.RFC3339, g.Since); err == nil {
			told.pulls[podwatch.Key{Kind: diagnosis.Kind(g.Kind), Name: g.Name}] = adopted{g.Image, since}
		}
	}
	return told
}

// adopt takes over what an earlier run has told of one container. Of a first
// verdict, which has had no Event, that is only when the incident began.
func (t *published) adopt(c report.Container) {
	since, err := time.Parse(time.RFC3339, c.Since)
	if err != nil {
		return
	}
	of := t.about(podwatch.Key{Kind: diagnosis.Kind(c.Kind), Name: c.Name})
	of.earlier, of.timed = adopted{c.Image, since}, since
	if slices.ContainsFunc(c.Evidence, func(e report.Entry) bool { return e.Fault == string(diagnosis.FaultPending) }) {
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
		return t.about(podwatch.KeyOf(v.Failure)).final != v.Failure.Image
	})
}

// continued gives incidents that an earlier run saw their true beginning.
// Another image is another incident.
func (t *published) continued(verdicts []diagnosis.Verdict) []diagnosis.Verdict {
	out := slices.Clone(verdicts)
	for i := range out {
		f := &out[i].Failure
		switch of := t.about(podwatch.KeyOf(*f)); {
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
func (p *PodPublisher) annotate(ctx context.Context, u podwatch.Update, told *published, verdicts []diagnosis.Verdict, final bool) (bool, error) {
	annotations, err := report.AnnotationsWithPulls(verdicts, told.pullsOf(u), p.node, p.now())
	if err != nil {
		return false, err
	}
	content, causes := report.Timeless(annotations[report.ReportAnnotation]), annotations[report.CauseAnnotation]
	if content == told.content {
		told.wrote(verdicts, final)
		told.first = told.first || retrying(verdicts)
		return true, nil
	}
	if wait := rewrite - p.now().Sub(told.at); causes == told.causes && wait > 0 && !told.first {
		p.again(u.UID, min(wait, rewrite))
		return false, nil
	}
	patch := map[string]*string{report.CauseAnnotation: nil} // a pod that only pulls has none
	for k, v := range annotations {
		patch[k] = &v
	}
	if err := p.write(ctx, u, patch); err != nil {
		return false, err
	}
	told.content, told.causes, told.at = content, causes, p.now()
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
		return slices.ContainsFunc(v.Evidence, func(e diagnosis.Evidence) bool { return e.Fault == diagnosis.FaultPending })
	})
}

// logPulls tells of the layers of images on their way: the report has no room
// for them.
func (p *PodPublisher) logPulls(u podwatch.Update) {
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
		if was, ok := t.pulls[podwatch.KeyOf(*f)]; ok && was.image == f.Image {
			f.Since = was.since
		}
	}
	return out
}

// logTimings tells how long each phase of the conversations took: the report
// does not, since it would change with every diagnosis.
func (p *PodPublisher) logTimings(v diagnosis.Verdict) {
	for _, e := range v.Evidence {
		if len(e.Timings) == 0 {
			continue
		}
		var phases []any
		for _, phase := range diagnosis.Phases() {
			if d, ok := e.Timings[phase]; ok {
				phases = append(phases, slog.Duration(string(phase), d))
			}
		}
		p.log.Debug("asked", "endpoint", e.Endpoint, "outcome", e.Outcome, "fault", e.Fault, slog.Group("phases", phases...))
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
		t.about(podwatch.KeyOf(v.Failure)).final = v.Failure.Image
	}
}

func (p *PodPublisher) write(ctx context.Context, u podwatch.Update, patch map[string]*string) error {
	err := p.writer.Annotate(ctx, u.Namespace, u.Name, u.UID, patch)
	if !errors.Is(err, kube.ErrNotFound) {
		p.wrote(err)
	}
	return err
}

// wrote counts a write, but not one that was held back: the API server got none.
func (p *PodPublisher) wrote(err error) {
	if !errors.Is(err, kube.ErrUnguarded) {
		p.metrics.Wrote(err)
	}
}

// clear takes whypull's annotations off a pod that fails no more. A pod that
// has none is left alone.
func (p *PodPublisher) clear(ctx context.Context, u podwatch.Update, told *published) error {
	if told.content == "" && !marked(u.Annotations) {
		return nil
	}
	patch := map[string]*string{report.CauseAnnotation: nil, report.SummaryAnnotation: nil, report.ReportAnnotation: nil}
	if err := p.write(ctx, u, patch); err != nil {
		return err
	}
	failed := told.causes != "" || u.Annotations[report.CauseAnnotation] != ""
	*told = *newPublished()
	if failed {
		p.log.Info("recovered", "namespace", u.Namespace, "pod", u.Name)
	}
	return nil
}

// marked tells that a pod carries a report of whypull's, not just something
// under the same prefix.
func marked(annotations map[string]string) bool {
	_, err := report.Parse(annotations[report.ReportAnnotation])
	return err == nil
}

// measure notes how long it took to tell of each new incident.
func (p *PodPublisher) measure(told *published, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		of := told.about(podwatch.KeyOf(v.Failure))
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
func (p *PodPublisher) events(ctx context.Context, told *published, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		of, said := told.about(podwatch.KeyOf(v.Failure)), sayingOf(v)
		if of.counted != said {
			of.counted = said
			p.metrics.Diagnosed(v)
		}
		if of.event == said {
			continue
		}
		if err := p.event(ctx, report.FailureEvent(v, p.now())); err != nil {
			continue // the annotation is there; the next time tries again
		}
		of.event = said
	}
}

func (p *PodPublisher) event(ctx context.Context, e *eventsv1.Event) error {
	err := p.writer.Event(ctx, e)
	p.wrote(err)
	if err != nil {
		p.log.Warn("event not recorded", "namespace", e.Namespace, "pod", e.Regarding.Name, "reason", e.Reason, "err", err)
	}
	return err
}

// Recovered implements Publisher. Of a container that got its image before
// anything was told of it, nothing is.
func (p *PodPublisher) Recovered(ctx context.Context, f diagnosis.Failure) {
	if p.end(f) {
		_ = p.event(ctx, report.RecoveredEvent(f, p.now())) // logged and counted there
	}
}

// end ends an incident, and tells whether it had been told of.
func (p *PodPublisher) end(f diagnosis.Failure) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	told, key := p.pods[f.UID], podwatch.KeyOf(f)
	if told == nil {
		return false
	}
	of := told.containers[key]
	delete(told.containers, key)
	return of != nil && !of.timed.IsZero()
}

// Forget implements Publisher.
func (p *PodPublisher) Forget(uid string) {
	p.metrics.Failing(uid, nil)
	p.metrics.Pulling(uid, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, uid)
}
