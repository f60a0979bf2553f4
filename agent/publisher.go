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

	mu   sync.Mutex
	pods map[string]*published // by pod uid
}

// published is what has been told of a pod.
type published struct {
	causes  string
	content string // the report without its times; empty if none is on the pod
	first   bool   // made before the slow checks had answered
	at      time.Time
	told    map[podwatch.Key]diagnosis.Cause // by Event
	timed   map[podwatch.Key]time.Time       // whose time to diagnosis is measured, by incident
	since   map[podwatch.Key]time.Time       // of incidents that an earlier run of the agent saw
}

// NewPublisher returns a publisher for a node's pods.
func NewPublisher(w Writer, m *report.Metrics, log *slog.Logger, node string) *PodPublisher {
	return &PodPublisher{writer: w, metrics: m, log: log, node: node, now: time.Now, pods: map[string]*published{},
		again: func(string, time.Duration) {}}
}

// Again sets how the publisher asks for a pod to be served later, when a write
// was put off.
func (p *PodPublisher) Again(again func(uid string, after time.Duration)) { p.again = again }

// Verdicts implements Publisher.
func (p *PodPublisher) Verdicts(ctx context.Context, u podwatch.Update, verdicts []diagnosis.Verdict, final bool) error {
	told := p.of(u)
	p.metrics.Failing(u.UID, verdicts)
	if len(verdicts) == 0 {
		return p.clear(ctx, u, told)
	}
	verdicts = told.continued(verdicts)
	if err := p.annotate(ctx, u, told, verdicts, final); err != nil {
		return err
	}
	p.measure(told, verdicts)
	if final {
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
	told := &published{told: map[podwatch.Key]diagnosis.Cause{}, timed: map[podwatch.Key]time.Time{}, since: map[podwatch.Key]time.Time{}}
	doc, err := report.Parse(annotations[report.ReportAnnotation])
	if err != nil {
		return told
	}
	told.causes = annotations[report.CauseAnnotation]
	told.content = report.Timeless(annotations[report.ReportAnnotation])
	for _, c := range doc.Containers {
		key := podwatch.Key{Kind: diagnosis.Kind(c.Kind), Name: c.Name}
		told.told[key] = diagnosis.Cause(c.Cause)
		if since, err := time.Parse(time.RFC3339, c.Since); err == nil {
			told.since[key], told.timed[key] = since, since
		}
	}
	return told
}

// continued gives incidents that an earlier run saw their true beginning.
func (t *published) continued(verdicts []diagnosis.Verdict) []diagnosis.Verdict {
	out := slices.Clone(verdicts)
	for i := range out {
		if since, ok := t.since[podwatch.KeyOf(out[i].Failure)]; ok {
			out[i].Failure.Since = since
		}
	}
	return out
}

// annotate writes the annotations if they say anything new: at once for new
// causes and for what replaces a first verdict, else not more often than once a
// minute.
func (p *PodPublisher) annotate(ctx context.Context, u podwatch.Update, told *published, verdicts []diagnosis.Verdict, final bool) error {
	annotations, err := report.Annotations(verdicts, p.node, p.now())
	if err != nil {
		return err
	}
	content, causes := report.Timeless(annotations[report.ReportAnnotation]), annotations[report.CauseAnnotation]
	if content == told.content {
		return nil
	}
	if wait := rewrite - p.now().Sub(told.at); causes == told.causes && wait > 0 && told.content != "" && !told.first {
		p.again(u.UID, wait)
		return nil
	}
	patch := map[string]*string{}
	for k, v := range annotations {
		patch[k] = &v
	}
	if err := p.write(ctx, u, patch); err != nil {
		return err
	}
	told.content, told.causes, told.at, told.first = content, causes, p.now(), !final
	for _, v := range verdicts {
		p.log.Info("diagnosed", "namespace", u.Namespace, "pod", u.Name, "container", v.Failure.Container,
			"cause", v.Cause, "confidence", v.Confidence, "summary", v.Summary)
	}
	return nil
}

func (p *PodPublisher) write(ctx context.Context, u podwatch.Update, patch map[string]*string) error {
	err := p.writer.Annotate(ctx, u.Namespace, u.Name, u.UID, patch)
	if !errors.Is(err, kube.ErrNotFound) {
		p.metrics.Wrote(err)
	}
	return err
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
	p.log.Info("recovered", "namespace", u.Namespace, "pod", u.Name)
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
		key := podwatch.KeyOf(v.Failure)
		if since, ok := told.timed[key]; ok && since.Equal(v.Failure.Since) {
			continue
		}
		told.timed[key] = v.Failure.Since
		p.metrics.Told(p.now().Sub(v.Failure.Since))
	}
}

// events records an Event for each verdict that has not been told by one, and
// counts it.
func (p *PodPublisher) events(ctx context.Context, told *published, verdicts []diagnosis.Verdict) {
	for _, v := range verdicts {
		key := podwatch.KeyOf(v.Failure)
		if told.told[key] == v.Cause {
			continue
		}
		p.metrics.Diagnosed(v)
		if err := p.event(ctx, report.FailureEvent(v, p.now())); err != nil {
			continue // the annotation is there; the next examination tries again
		}
		told.told[key] = v.Cause
	}
}

func (p *PodPublisher) event(ctx context.Context, e *eventsv1.Event) error {
	err := p.writer.Event(ctx, e)
	p.metrics.Wrote(err)
	if err != nil {
		p.log.Warn("event not recorded", "namespace", e.Namespace, "pod", e.Regarding.Name, "reason", e.Reason, "err", err)
	}
	return err
}

// Recovered implements Publisher.
func (p *PodPublisher) Recovered(ctx context.Context, f diagnosis.Failure) {
	_ = p.event(ctx, report.RecoveredEvent(f, p.now())) // logged and counted there
	p.mu.Lock()
	defer p.mu.Unlock()
	if told := p.pods[f.UID]; told != nil {
		key := podwatch.KeyOf(f)
		delete(told.told, key)
		delete(told.timed, key)
		delete(told.since, key)
	}
}

// Forget implements Publisher.
func (p *PodPublisher) Forget(uid string) {
	p.metrics.Failing(uid, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, uid)
}
