package fleet

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
	"github.com/whypull/whypull/report"
)

// Story renders everything known about one pod. Remedies are never wrapped, so
// that they can be copied; if wide, so are the hosts that the pull needs.
func (p Pod) Story(l Layout, now time.Time, wide bool) string {
	var b strings.Builder
	head := "pod " + p.Key()
	if p.Node != "" {
		head += " on node " + p.Node
	}
	if p.Owner != "" {
		head += ", of " + p.Owner
	}
	b.WriteString(l.paint(bold, strings.TrimSuffix(wrap(head, "", l.Width), "\n")) + "\n")
	if p.ManagedBy != "" {
		b.WriteString(wrap("managed by "+p.ManagedBy+": change it "+p.source, "", l.Width))
	}
	if p.Report != nil && p.Report.ObservedAt != "" {
		b.WriteString(l.paint(dim, "observed "+p.Report.ObservedAt) + "\n")
	}
	for _, c := range p.Containers {
		b.WriteString("\n" + l.story(p, c, now, wide))
	}
	if p.Report != nil && p.Report.Omitted > 0 {
		fmt.Fprintf(&b, "\nThe report omits %s.\n", count(p.Report.Omitted, "container"))
	}
	return b.String()
}

func (l Layout) story(p Pod, c Container, now time.Time, wide bool) string {
	out := l.verdict(c, now) + l.facts(p, c) + l.evidence(c.verdict.Evidence)
	if wide && len(c.verdict.Hosts) > 0 {
		out += l.section("Hosts that the pull needs, as far as known") + "    " + strings.Join(c.verdict.Hosts, "\n    ") + "\n"
	}
	if c.Message != "" || c.Reason != "" {
		out += l.section("The kubelet says (" + cmp.Or(c.Reason, "-") + ")")
		if c.Message != "" {
			out += wrap(c.Message, "    ", l.Width)
		}
	}
	if c.Cause != "" {
		out += l.remedy(c.verdict) + l.paint(dim, "  More: kubectl why-pull explain "+c.Cause) + "\n"
	}
	return out
}

func (l Layout) verdict(c Container, now time.Time) string {
	head := diagnosis.Kind(c.Kind).Words() + " " + c.Name + ": "
	if c.Cause == "" {
		return wrap(head+"no report", "", l.Width) + wrap(c.NoReport, "  ", l.Width)
	}
	notes := c.verdict.Confidence
	if age := since(c.verdict.Since, now); age != "-" {
		notes += ", for " + age
	}
	return head + l.paint(bold+";"+red, c.Cause) + " (" + notes + ")\n" + wrap(c.verdict.Summary, "  ", l.Width)
}

func (l Layout) facts(p Pod, c Container) string {
	image := "image " + c.Image
	if c.verdict.PullPolicy != "" {
		image += ", pull policy " + c.verdict.PullPolicy
	}
	out := "\n" + wrap(image, "  ", l.Width)
	pointsTo := ""
	if nodeSpecific(c.Cause) && !c.RunsHere {
		pointsTo = p.Node
	}
	if line := fleetLine(1, c.RunsOn, pointsTo); line != "" {
		out += wrap(line, "  ", l.Width)
	}
	if c.RunsHere {
		out += wrap("another container on node "+p.Node+" runs this image", "  ", l.Width)
	}
	if e, ok := entryOf(c.Cause); ok {
		fixed := "can be fixed by " + runbook.Owner(e.Fixer)
		if e.Transient {
			fixed += "; may resolve on its own"
		}
		out += wrap(fixed, "  ", l.Width)
	}
	return out
}

func (l Layout) section(title string) string { return "\n  " + l.paint(bold, title) + "\n" }

// outcomes are the outcomes in words, and their marks.
var outcomes = map[diagnosis.Outcome]struct{ words, color, mark string }{ //nolint:gochecknoglobals // never written
	diagnosis.Passed: {"passed", green, "✓"}, diagnosis.Failed: {"failed", red, "✗"},
	diagnosis.NotRun: {"not run", dim, "-"}, diagnosis.Inconclusive: {"inconclusive", yellow, "?"},
}

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
			text = cmp.Or(outcomes[diagnosis.Outcome(e.Outcome)].words, e.Outcome)
		}
		// Color adds no columns to the mark.
		indent := strings.Repeat(" ", 4+2+widest+gap)
		body := strings.TrimPrefix(wrap(text, indent, l.Width), indent)
		out += "    " + l.mark(e.Outcome) + " " + pad(e.Check, widest+gap) + body
	}
	return out
}

func (l Layout) mark(outcome string) string {
	o := outcomes[diagnosis.Outcome(outcome)]
	return l.paint(cmp.Or(o.color, yellow), cmp.Or(o.mark, "?"))
}

// remedy returns the commands, unwrapped; without commands, the cause's advice.
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
