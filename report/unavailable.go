package report

import (
	"context"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/imagecheck"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
)

// UnavailableAnnotation is the key of the annotation on a running pod whose images could
// not be pulled again. Its value is a Document. The key does not begin with Prefix: the pod
// does not fail.
const UnavailableAnnotation = "preflight." + Prefix + "report"

// UnavailableReason is the reason of the Event on a running pod with an image that could
// not be pulled again.
const UnavailableReason = "ImageUnavailable"

// UnavailableMetrics counts what an UnavailablePublisher does.
type UnavailableMetrics interface {
	// Unavailable replaces the verdicts on the running pod with the UID; with nil its
	// images could be pulled again.
	Unavailable(uid string, verdicts []diagnosis.Verdict)
	// Wrote counts a write to the API server.
	Wrote(err error)
}

// UnavailablePublisher publishes which images of running pods could not be pulled again.
// It writes only changes.
type UnavailablePublisher struct {
	writer  Writer
	metrics UnavailableMetrics
	log     *slog.Logger
	node    string
	now     func() time.Time
	pods    map[string]*unavailable // by uid
}

// unavailable is what has been published about one pod.
type unavailable struct {
	content   digest    // of the report without its times; zero if the pod has none
	dated     time.Time // the time that the report names
	announced map[diagnosis.Subject]announcement
}

// NewUnavailablePublisher returns a publisher for the running pods of a node.
func NewUnavailablePublisher(w Writer, m UnavailableMetrics, log *slog.Logger, node string) *UnavailablePublisher {
	return &UnavailablePublisher{writer: w, metrics: m, log: log, node: node, now: time.Now, pods: map[string]*unavailable{}}
}

// Adopt implements imagecheck.Publisher. A report that cannot be read is replaced, or
// removed, with the next publication.
func (p *UnavailablePublisher) Adopt(pod podwatch.RunningPod) []imagecheck.Finding {
	state := &unavailable{content: digestOf("unreadable"), announced: map[diagnosis.Subject]announcement{}}
	p.pods[pod.UID] = state
	doc, err := Parse(pod.Annotation)
	if err != nil {
		return nil
	}
	state.content = digestOf(doc.withoutTimes())
	state.dated, _ = time.Parse(time.RFC3339, doc.ObservedAt)
	var out []imagecheck.Finding
	var verdicts []diagnosis.Verdict
	for _, f := range pod.Images {
		c, since, found := entryFor(doc, f, pod.Created, p.now())
		if !found {
			continue
		}
		f.Since = since
		state.announced[f.Subject()] = announcement{diagnosis.Cause(c.Cause), f.Image}
		out = append(out, imagecheck.Finding{Subject: f.Subject(), Image: f.Image, Cause: diagnosis.Cause(c.Cause), Since: since})
		verdicts = append(verdicts, diagnosis.Verdict{Failure: f, Cause: diagnosis.Cause(c.Cause)})
	}
	p.metrics.Unavailable(pod.UID, verdicts)
	return out
}

// entryFor returns the document's entry on a container's image, with a cause that counts:
// whoever may write to a pod can forge its report.
func entryFor(d Document, f diagnosis.Failure, created, now time.Time) (Container, time.Time, bool) {
	for _, c := range d.Containers {
		since, ok := adoptable(c.Since, created, now)
		if ok && c.Kind == string(f.Kind) && c.Name == f.Container && c.Image == f.Image && imagecheck.Counts(diagnosis.Cause(c.Cause)) {
			return c, since, true
		}
	}
	return Container{}, time.Time{}, false
}

// Unavailable implements imagecheck.Publisher.
func (p *UnavailablePublisher) Unavailable(ctx context.Context, pod podwatch.RunningPod, verdicts []diagnosis.Verdict) error {
	p.metrics.Unavailable(pod.UID, verdicts)
	state := p.pods[pod.UID]
	if len(verdicts) == 0 {
		if state != nil && state.content != (digest{}) {
			if err := p.annotate(ctx, pod, nil); err != nil {
				return err
			}
		}
		delete(p.pods, pod.UID)
		return nil
	}
	if state == nil {
		state = &unavailable{announced: map[diagnosis.Subject]announcement{}}
		p.pods[pod.UID] = state
	}
	at := reportTime(pod.Created, p.now()).Round(0)
	doc := NewDocument(withShownSince(verdicts, pod.Created, p.now()), p.node, at)
	text, _ := doc.fit()
	if now := digestOf(doc.withoutTimes()); now != state.content || state.dated.Sub(at) > clockSkew {
		if err := p.annotate(ctx, pod, &text); err != nil {
			return err
		}
		state.content, state.dated = now, at
	}
	return p.events(ctx, state, verdicts)
}

// withShownSince returns the verdicts on a pod with Since as it is shown.
func withShownSince(verdicts []diagnosis.Verdict, created, now time.Time) []diagnosis.Verdict {
	out := slices.Clone(verdicts)
	for i := range out {
		out[i].Failure.Since = shownSince(out[i].Failure.Since, created, now)
	}
	return out
}

// events creates an Event for each image whose cause is new.
func (p *UnavailablePublisher) events(ctx context.Context, state *unavailable, verdicts []diagnosis.Verdict) error {
	now := map[diagnosis.Subject]announcement{}
	var failed error
	for _, v := range verdicts {
		subject, said := v.Failure.Subject(), announcementOf(v)
		if state.announced[subject] != said {
			err := p.writer.Event(ctx, unavailableEvent(v, p.now()))
			countWrite(p.metrics, err)
			if err != nil {
				failed = err
				continue
			}
		}
		now[subject] = said
	}
	state.announced = now
	return failed
}

// annotate sets the annotation, or removes it if text is nil.
func (p *UnavailablePublisher) annotate(ctx context.Context, pod podwatch.RunningPod, text *string) error {
	err := p.writer.PatchPod(ctx, pod.Namespace, pod.Name, pod.UID, kube.PodChange{Annotations: map[string]*string{UnavailableAnnotation: text}})
	switch {
	case gone(err):
		return nil
	case err == nil && text == nil:
		p.log.Info("images available again", "namespace", pod.Namespace, "pod", pod.Name)
	}
	countWrite(p.metrics, err)
	return err
}

// Forget implements imagecheck.Publisher.
func (p *UnavailablePublisher) Forget(uid string) {
	p.metrics.Unavailable(uid, nil)
	delete(p.pods, uid)
}

// unavailableEvent returns the Warning for the image of a running container that could not
// be pulled again.
func unavailableEvent(v diagnosis.Verdict, now time.Time) *eventsv1.Event {
	note := v.Failure.Kind.Words() + " " + v.Failure.Container + " runs, but its image could not be pulled again (" + string(v.Cause) + "): " + v.Summary
	return newEvent(v.Failure, corev1.EventTypeWarning, UnavailableReason, note, now)
}
