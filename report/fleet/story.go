package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
	"github.com/whypull/whypull/report"
)

// Story renders all that is known of one pod. Remedies are whole, whatever the
// layout's width, to be copied.
func (p Pod) Story(l Layout, now time.Time) string {
	var b strings.Builder
	head := "pod " + p.Key()
	if p.Node != "" {
		head += " on node " + p.Node
	}
	if p.Owner != "" {
		head += ", of " + p.Owner
	}
	b.WriteString(l.paint(bold, strings.TrimSuffix(wrap(head, "", l.Width), "\n")) + "\n")
	if p.Report != nil && p.Report.ObservedAt != "" {
		b.WriteString(l.paint(dim, "observed "+p.Report.ObservedAt) + "\n")
	}
	for _, c := range p.Containers {
		b.WriteString("\n" + l.story(p, c, now))
	}
	if p.Report != nil && p.Report.Omitted > 0 {
		fmt.Fprintf(&b, "\nThe report had no room for %s more.\n", count(p.Report.Omitted, "container"))
	}
	return b.String()
}

func (l Layout) story(p Pod, c Container, now time.Time) string {
	out := l.verdict(c, now) + l.facts(p, c)
	if c.told != nil {
		out += l.evidence(c.told.Evidence)
	}
	if c.Message != "" || c.Reason != "" {
		out += l.section("The kubelet says (" + dash(c.Reason) + ")")
		if c.Message != "" {
			out += wrap(c.Message, "    ", l.Width)
		}
	}
	if c.told != nil {
		out += l.remedy(*c.told) + l.paint(dim, "  More: kubectl why-pull explain "+c.Cause) + "\n"
	}
	return out
}

// kindWords are the report's kinds in words.
func kindWords(kind string) string {
	switch diagnosis.Kind(kind) {
	case diagnosis.KindInitContainer:
		return "init container"
	case diagnosis.KindEphemeralContainer:
		return "ephemeral container"
	case diagnosis.KindImageVolume:
		return "image volume"
	default:
		return "container"
	}
}

func (l Layout) verdict(c Container, now time.Time) string {
	head := kindWords(c.Kind) + " " + c.Name + ": "
	if c.told == nil {
		return wrap(head+"no report", "", l.Width) + wrap(c.NoReport, "  ", l.Width)
	}
	notes := c.told.Confidence
	if age := since(c.told, now); age != "-" {
		notes += ", for " + age
	}
	return head + l.paint(bold+";"+red, c.Cause) + " (" + notes + ")\n" + wrap(c.told.Summary, "  ", l.Width)
}

func (l Layout) facts(p Pod, c Container) string {
	image := "image " + c.Image
	if c.told != nil && c.told.PullPolicy != "" {
		image += ", pull policy " + c.told.PullPolicy
	}
	out := "\n" + wrap(image, "  ", l.Width)
	pointsTo := ""
	if ofNode(diagnosis.Cause(c.Cause)) && !c.RunsHere {
		pointsTo = p.Node
	}
	if line := fleetLine(1, c.RunsOn, pointsTo); line != "" {
		out += wrap(line, "  ", l.Width)
	}
	if c.RunsHere {
		out += wrap("another container on node "+p.Node+" has it", "  ", l.Width)
	}
	if e, ok := entryOf(c.Cause); ok {
		out += wrap(fixes(e), "  ", l.Width)
	}
	return out
}

func entryOf(cause string) (diagnosis.Entry, bool) {
	all := diagnosis.Catalogue()
	i := slices.IndexFunc(all, func(e diagnosis.Entry) bool { return string(e.Cause) == cause })
	if i < 0 {
		return diagnosis.Entry{}, false
	}
	return all[i], true
}

// fixes says who can mend a cause, and whether it may pass.
func fixes(e diagnosis.Entry) string {
	who := runbook.Owner(e.Fixer)
	if e.Transient {
		return "can be mended by " + who + "; may pass by itself"
	}
	return "can be mended by " + who
}

func (l Layout) section(title string) string { return "\n  " + l.paint(bold, title) + "\n" }

// evidence lists the checks in the report's order, each with its mark.
func (l Layout) evidence(all []report.Entry) string {
	if len(all) == 0 {
		return ""
	}
	out, widest := l.section("Evidence"), 0
	for _, e := range all {
		widest = max(widest, columns(e.Check))
	}
	for _, e := range all {
		text := e.Detail
		if e.Fault != "" {
			text = strings.TrimPrefix(text+" ["+e.Fault+"]", " ")
		}
		if text == "" {
			text = outcomeWords(e.Outcome)
		}
		// The mark takes no column more for its colour.
		indent := strings.Repeat(" ", 4+2+widest+gap)
		body := strings.TrimPrefix(wrap(text, indent, l.Width), indent)
		out += "    " + l.mark(e.Outcome) + " " + pad(e.Check, widest+gap) + body
	}
	return out
}

func outcomeWords(outcome string) string {
	switch diagnosis.Outcome(outcome) {
	case diagnosis.Passed:
		return "passed"
	case diagnosis.Failed:
		return "failed"
	case diagnosis.Inconclusive:
		return "could not tell"
	case diagnosis.NotRun:
		return "not run"
	}
	return outcome
}

func (l Layout) mark(outcome string) string {
	switch diagnosis.Outcome(outcome) {
	case diagnosis.Passed:
		return l.paint(green, "✓")
	case diagnosis.Failed:
		return l.paint(red, "✗")
	case diagnosis.NotRun:
		return l.paint(dim, "-")
	default:
		return l.paint(yellow, "?")
	}
}

// remedy is what to run, uncut; without commands it is the catalogue's advice.
func (l Layout) remedy(c report.Container) string {
	out := l.section("Remedy")
	if len(c.Remedy) > 0 {
		return out + "    " + strings.Join(c.Remedy, "\n    ") + "\n\n"
	}
	e, ok := entryOf(c.Cause)
	if !ok {
		return "\n"
	}
	return out + wrap(e.Advice, "    ", l.Width) + "\n"
}
