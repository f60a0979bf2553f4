package report

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// pullingLimit is the maximum number of images being pulled in a report. Without
// failing containers they fit into reportLimit.
const pullingLimit = 5

// Pulling is an image being pulled, for a container that waits and has not failed.
type Pulling struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Image      string `json:"image"`
	Detail     string `json:"detail"`
	DoneBytes  int64  `json:"doneBytes"`
	TotalBytes int64  `json:"totalBytes"`
	Since      string `json:"since"`
}

// rendering is what is written to a pod.
type rendering struct {
	annotations map[string]string
	content     string // the report without its times
}

// render returns the three annotations for the verdicts and the pulls in progress
// of one pod; either may be empty. Without verdicts there is no cause, and the
// summary is the progress of the first pull. The same arguments give the same
// bytes, apart from the document's times.
func render(verdicts []diagnosis.Verdict, pulls []diagnosis.Progress, unexamined int, node string, observed time.Time) rendering {
	d := complete(verdicts, pulls, unexamined, node, observed)
	doc := d.fit()
	out := rendering{map[string]string{ReportAnnotation: doc, CauseAnnotation: Causes(verdicts), SummaryAnnotation: summaryOf(verdicts, unexamined)}, d.withoutTimes()}
	if len(verdicts) == 0 && len(pulls) > 0 {
		delete(out.annotations, CauseAnnotation)
		out.annotations[SummaryAnnotation] = withMore(pulls[0].Detail(), len(pulls)-1)
	}
	return out
}

// complete returns the document before anything is left out of it. Documents that are
// the same without their times are fitted into the same report.
func complete(verdicts []diagnosis.Verdict, pulls []diagnosis.Progress, unexamined int, node string, observed time.Time) Document {
	d := NewDocument(verdicts, node, observed)
	d.Omitted = unexamined
	for _, p := range pulls[:min(len(pulls), pullingLimit)] {
		d.Pulling = append(d.Pulling, newPulling(p))
	}
	return d
}

func newPulling(p diagnosis.Progress) Pulling {
	return Pulling{
		Name: p.Failure.Container, Kind: string(p.Failure.Kind), Image: diagnosis.Clip(diagnosis.Printable(p.Failure.Image), 256), Detail: p.Detail(),
		DoneBytes: min(p.Done, p.Total), TotalBytes: p.Total, Since: stamp(p.Failure.Since),
	}
}

// shortenPulling shortens the names of the images being pulled.
func shortenPulling(d *Document) {
	for i := range d.Pulling {
		d.Pulling[i].Image = diagnosis.Clip(d.Pulling[i].Image, 96)
	}
}
