// Package report publishes verdicts: annotations and Events on the pod, and the log.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Schema is the version of the report document. Within it fields are only
// ever added.
const Schema = "whypull.dev/v1"

// The keys of the annotations.
const (
	Prefix            = "whypull.dev/"
	CauseAnnotation   = Prefix + "cause"
	SummaryAnnotation = Prefix + "summary"
	ReportAnnotation  = Prefix + "report"
)

// Annotations returns the keys.
func Annotations() []string { return []string{CauseAnnotation, SummaryAnnotation, ReportAnnotation} }

// reportLimit is the maximum size of the report annotation in bytes.
const reportLimit = 4096

// Document is the content of the report annotation: all failing containers of one pod.
type Document struct {
	Schema     string      `json:"schema"`
	Node       string      `json:"node"`
	ObservedAt string      `json:"observedAt"`
	Containers []Container `json:"containers"`
	// Omitted is the number of failing containers left out to stay within reportLimit,
	// or not examined.
	Omitted int `json:"omitted,omitempty"`
	// Pulling are images being pulled, for which nothing has failed; at most
	// pullingLimit.
	Pulling []Pulling `json:"pulling,omitempty"`
}

// Container is one failing container or image volume.
type Container struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	Image      string   `json:"image"`
	PullPolicy string   `json:"pullPolicy"`
	Cause      string   `json:"cause"`
	Confidence string   `json:"confidence"`
	Summary    string   `json:"summary"`
	Remedy     []string `json:"remedy"`
	Evidence   []Entry  `json:"evidence"`
	Since      string   `json:"since"`
	// Incident is what Since was when the incident began, where the clock has turned out to
	// be wrong: the Events of the incident are named after it.
	Incident string `json:"incident,omitempty"`
	// Hosts are the servers that the pull needs, each as host:port, sorted.
	Hosts []string `json:"hosts,omitempty"`
}

// Entry is one piece of evidence.
type Entry struct {
	Check   string `json:"check"`
	Outcome string `json:"outcome"`
	Fault   string `json:"fault,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// Causes returns the sorted, distinct causes, joined by commas.
func Causes(verdicts []diagnosis.Verdict) string {
	var all []string
	for _, v := range verdicts {
		all = append(all, string(v.Cause))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// summaryOf returns one sentence for all verdicts of a pod, of which more containers may
// fail than are examined; at most diagnosis.SummaryLimit bytes.
func summaryOf(verdicts []diagnosis.Verdict, unexamined int) string {
	if len(verdicts) == 0 {
		return ""
	}
	return withMore(verdicts[0].Summary, len(verdicts)-1+unexamined)
}

// withMore returns a sentence with " (and N more)" appended, within
// diagnosis.SummaryLimit.
func withMore(sentence string, more int) string {
	rest := ""
	if more > 0 {
		rest = fmt.Sprintf(" (and %d more)", more)
	}
	return diagnosis.Clip(sentence, diagnosis.SummaryLimit-len(rest)) + rest
}

// NewDocument returns the complete document, which may exceed reportLimit.
func NewDocument(verdicts []diagnosis.Verdict, node string, observed time.Time) Document {
	d := Document{Schema: Schema, Node: node, ObservedAt: stamp(observed), Containers: []Container{}}
	for _, v := range verdicts {
		d.Containers = append(d.Containers, newContainer(v))
	}
	return d
}

func newContainer(v diagnosis.Verdict) Container {
	c := Container{
		Name: v.Failure.Container, Kind: string(v.Failure.Kind), Image: diagnosis.Printable(v.Failure.Image),
		PullPolicy: v.Failure.PullPolicy, Cause: string(v.Cause), Confidence: string(v.Confidence),
		Summary: v.Summary, Remedy: v.Remedy, Evidence: []Entry{}, Since: stamp(v.Failure.Since),
		Hosts: v.Hosts,
	}
	if c.Remedy == nil {
		c.Remedy = []string{}
	}
	if at := v.Failure.Incident; !at.IsZero() && stamp(at) != c.Since {
		c.Incident = stamp(at)
	}
	for _, e := range v.Evidence {
		c.Evidence = append(c.Evidence, Entry{string(e.Check), string(e.Outcome), string(e.Fault), diagnosis.Printable(e.Detail)})
	}
	return c
}

// incidentOf returns what identifies the incident of a container in a report; the zero time if
// the report does not have it.
func incidentOf(c Container) time.Time {
	if at, err := time.Parse(time.RFC3339, c.Incident); err == nil {
		return at
	}
	at, _ := time.Parse(time.RFC3339, c.Since)
	return at
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// fit encodes the document within reportLimit. It drops the least useful parts
// first: long details, then evidence that found nothing, then remedies after the
// first container's, then hosts and evidence, then containers. d is changed accordingly;
// reduced reports whether it is.
func (d *Document) fit() (text string, reduced bool) {
	var out bytes.Buffer // for all attempts: those of many containers are large
	for i, reduce := range reductions() {
		if encodeTo(&out, *d); out.Len() <= reportLimit {
			return out.String(), i > 0
		}
		reduce(d)
	}
	for {
		if encodeTo(&out, *d); out.Len() <= reportLimit || len(d.Containers) == 0 {
			return out.String(), true
		}
		d.Containers = d.Containers[:len(d.Containers)-1]
		d.Omitted++
	}
}

func reductions() []func(*Document) {
	return []func(*Document){
		eachContainer(func(c *Container) { c.shorten(200) }),
		shortenPulling,
		eachContainer(func(c *Container) { c.keep("Failed", "Inconclusive") }),
		eachContainer(func(c *Container) { c.shorten(80); c.keep("Failed") }),
		func(d *Document) {
			for i := 1; i < len(d.Containers); i++ {
				d.Containers[i].Remedy = []string{}
			}
		},
		eachContainer(func(c *Container) { c.Hosts = nil }), // a part of them would pass for all
		eachContainer(func(c *Container) { c.Evidence = c.Evidence[:min(1, len(c.Evidence))] }),
		eachContainer(func(c *Container) { c.Evidence, c.Summary = []Entry{}, diagnosis.Clip(c.Summary, 96) }),
		eachContainer(func(c *Container) { c.Image, c.Remedy = diagnosis.Clip(c.Image, 96), []string{} }),
		func(d *Document) { d.Pulling = d.Pulling[:min(1, len(d.Pulling))] },
	}
}

func eachContainer(reduce func(*Container)) func(*Document) {
	return func(d *Document) {
		for i := range d.Containers {
			reduce(&d.Containers[i])
		}
	}
}

func (c *Container) shorten(n int) {
	for i := range c.Evidence {
		c.Evidence[i].Detail = diagnosis.Clip(c.Evidence[i].Detail, n)
	}
}

func (c *Container) keep(outcomes ...string) {
	c.Evidence = slices.DeleteFunc(c.Evidence, func(e Entry) bool { return !slices.Contains(outcomes, e.Outcome) })
}

func encode(d Document) string {
	var out bytes.Buffer
	encodeTo(&out, d)
	return out.String()
}

// encodeTo replaces what is in out.
func encodeTo(out *bytes.Buffer, d Document) {
	out.Reset()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)    // the remedy's <placeholders> are to be read by people
	_ = enc.Encode(d)           // texts and numbers always encode
	out.Truncate(out.Len() - 1) // the line's end
}

// withoutTimes returns the encoded document with its times empty, to find out
// whether anything else has changed.
func (d Document) withoutTimes() string {
	d.ObservedAt = ""
	d.Containers, d.Pulling = slices.Clone(d.Containers), slices.Clone(d.Pulling)
	for i := range d.Containers {
		d.Containers[i].Since, d.Containers[i].Incident = "", ""
	}
	for i := range d.Pulling {
		d.Pulling[i].Since = ""
	}
	return encode(d)
}

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
	complete    string // the same before anything was left out of it
}

// render returns the three annotations for the verdicts and the pulls in progress
// of one pod; either may be empty. Without verdicts there is no cause, and the
// summary is the progress of the first pull. The same arguments give the same
// bytes, apart from the document's times.
func render(verdicts []diagnosis.Verdict, pulls []diagnosis.Progress, unexamined int, node string, observed time.Time) rendering {
	d := complete(verdicts, pulls, unexamined, node, observed)
	whole := d.withoutTimes()
	doc, reduced := d.fit()
	out := rendering{map[string]string{ReportAnnotation: doc, CauseAnnotation: Causes(verdicts), SummaryAnnotation: summaryOf(verdicts, unexamined)}, whole, whole}
	if reduced {
		out.content = d.withoutTimes()
	}
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
