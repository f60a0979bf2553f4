package fleet

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
)

// maxShown is how many pods of a group the short table shows.
const maxShown = 3

// Table renders the groups, the largest first: each with its summary and its
// first pods or, if wide, all of them with more columns. An empty namespace
// means all; pods are then shown with theirs. The selection says which of those
// pods the overview is limited to; it is empty for all.
func (o Overview) Table(l Layout, now time.Time, namespace, selection string, wide bool) string {
	if selection != "" {
		selection = " (only " + report.Printable(selection) + ")"
	}
	if len(o.Pods) == 0 {
		return o.None(" in "+scope(namespace, "any namespace")+selection) + "\n"
	}
	var b strings.Builder
	for i := range o.Groups {
		g := &o.Groups[i]
		b.WriteString(l.headline(g))
		for _, line := range []string{g.summaryLine(), g.ownersLine(), fleetLine(g.images(), g.RunsOn, g.PointsTo)} {
			if line != "" {
				b.WriteString(wrap(line, "  ", l.Width))
			}
		}
		b.WriteString(l.members(g, now, namespace == "", wide) + "\n")
	}
	b.WriteString(wrap(o.total(scope(namespace, "all namespaces")+selection), "", l.Width))
	namespace = cmp.Or(namespace, "NAMESPACE")
	b.WriteString("Details of one pod: kubectl why-pull " + phrases[o.Preflight].flag + "-n " + report.Printable(namespace) + " POD\n")
	return b.String()
}

// phrases are what an overview, by Preflight, says of its pods.
var phrases = map[bool]struct{ none, pods, cannot, again, flag string }{ //nolint:gochecknoglobals // never written
	false: {none: "No pod%s fails to pull an image.", pods: "pod", cannot: "cannot pull"},
	true: {
		none: "No running pod%s is reported to have an image that could not be pulled again.",
		pods: "running pod", cannot: "could not pull", again: " again", flag: "--preflight ",
	},
}

// None returns the sentence on an overview without pods; which is appended to "no pod".
func (o Overview) None(which string) string { return fmt.Sprintf(phrases[o.Preflight].none, which) }

// scope returns the namespace in words.
func scope(namespace, all string) string {
	if namespace == "" {
		return all
	}
	return "namespace " + report.Printable(namespace)
}

func (o Overview) total(scope string) string {
	words, whose := phrases[o.Preflight], "their images"
	if len(o.Pods) == 1 {
		whose = "its image"
	}
	return fmt.Sprintf("%s in %s %s %s%s, for %s.", count(len(o.Pods), words.pods), scope, words.cannot, whose, words.again, count(len(o.Groups), "reason"))
}

// headline colors the cause; a line that is too long is wrapped, not truncated.
func (l Layout) headline(g *Group) string {
	text := wrap(g.headline(), "", l.Width)
	if g.Cause == "" {
		return strings.Replace(text, "no report", l.paint(yellow, "no report"), 1)
	}
	// The first occurrence: node names cannot contain it.
	before, after, found := strings.Cut(text, g.Cause)
	if !found {
		return text
	}
	return before + l.paint(bold+";"+red, g.Cause) + after
}

func (l Layout) members(g *Group, now time.Time, namespaces, wide bool) string {
	rows := [][]string{{"POD", "CONTAINER", "NODE", "SINCE", "IMAGE"}}
	if wide {
		rows[0] = append(rows[0], "CONFIDENCE", "REASON", "OWNER")
	}
	for i, m := range g.members {
		if i == maxShown && !wide && len(g.members) > maxShown+1 {
			break
		}
		rows = append(rows, m.row(now, namespaces, wide))
	}
	out := l.table("  ", rows)
	if rest := len(g.members) - len(rows) + 1; rest > 0 {
		out += fmt.Sprintf("  ... and %d more: -o wide\n", rest)
	}
	return out
}

func (m member) row(now time.Time, namespaces, wide bool) []string {
	name := m.pod.Name
	if namespaces {
		name = m.pod.Key()
	}
	row := []string{name, m.container.Name, m.pod.Node, since(m.container.verdict.Since, now), m.container.Image}
	if wide {
		row = append(row, cmp.Or(m.container.verdict.Confidence, "-"), cmp.Or(clip(m.container.Reason, 40), "-"), cmp.Or(m.pod.Owner, "-"))
	}
	return row
}

// since returns how long ago something began, in kubectl's format for ages; "-" if that is
// not known.
func since(begin string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, begin)
	if err != nil || t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(max(now.Sub(t), 0))
}

// Lines returns one line per container that says why it fails.
func (p Pod) Lines() []string {
	var out []string
	for _, c := range p.Containers {
		line := fmt.Sprintf("%s %s %s: ", p.Key(), diagnosis.Kind(c.Kind).Words(), c.Name)
		if c.Cause == "" {
			line += "no report, " + c.NoReport
		} else {
			line += c.Cause + ", " + c.verdict.Summary
		}
		out = append(out, line)
	}
	return out
}
