package report

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// pullingLimit is how many images on their way a report tells of. They have
// room in it beside nothing else.
const pullingLimit = 5

// Pulling is an image on its way, for a container that waits and has not failed.
type Pulling struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Image      string `json:"image"`
	Detail     string `json:"detail"`
	DoneBytes  int64  `json:"doneBytes"`
	TotalBytes int64  `json:"totalBytes"`
	Since      string `json:"since"`
}

// AnnotationsWithPulls is Annotations for a pod that has images on their way
// besides, or nothing else. Then there is no cause, and the summary tells how far
// the first is.
func AnnotationsWithPulls(verdicts []diagnosis.Verdict, pulls []diagnosis.Progress, node string, observed time.Time) (map[string]string, error) {
	d := NewDocument(verdicts, node, observed)
	for _, p := range pulls[:min(len(pulls), pullingLimit)] {
		d.Pulling = append(d.Pulling, newPulling(p))
	}
	doc, err := fit(d)
	if err != nil {
		return nil, err
	}
	if len(verdicts) == 0 && len(pulls) > 0 {
		return map[string]string{ReportAnnotation: doc, SummaryAnnotation: withMore(pulls[0].Detail(), len(pulls)-1)}, nil
	}
	return map[string]string{CauseAnnotation: Causes(verdicts), SummaryAnnotation: Summary(verdicts), ReportAnnotation: doc}, nil
}

func newPulling(p diagnosis.Progress) Pulling {
	return Pulling{
		Name: p.Failure.Container, Kind: string(p.Failure.Kind), Image: clip(safe(p.Failure.Image), 256), Detail: p.Detail(),
		DoneBytes: min(p.Done, p.Total), TotalBytes: p.Total, Since: stamp(p.Failure.Since),
	}
}

// shortenPulling leaves of the images on their way what a reader needs to know
// them.
func shortenPulling(d *Document) {
	for i := range d.Pulling {
		d.Pulling[i].Image = clip(d.Pulling[i].Image, 96)
	}
}
