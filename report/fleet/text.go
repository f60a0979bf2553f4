package fleet

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/whypull/whypull/report"
)

// shown is how many pods of a group the short table has.
const shown = 3

// Table renders the groups, the biggest first: each with the sentence on it and
// its first pods, or, if wide, all of them with more columns. The namespace is
// empty for all of them; the pods are then named with theirs.
func (o Overview) Table(l Layout, now time.Time, namespace string, wide bool) string {
	if len(o.Pods) == 0 {
		return "No pod in " + scope(namespace, "any namespace") + " fails to get its image.\n"
	}
	var b strings.Builder
	for i := range o.Groups {
		g := &o.Groups[i]
		b.WriteString(l.headline(g))
		if g.Summary != "" {
			b.WriteString(wrap(g.Summary, "  ", l.Width))
		}
		if line := fleetLine(g.images(), g.RunsOn, g.PointsTo); line != "" {
			b.WriteString(wrap(line, "  ", l.Width))
		}
		b.WriteString(l.members(g, now, namespace == "", wide) + "\n")
	}
	b.WriteString(wrap(o.total(scope(namespace, "all namespaces")), "", l.Width))
	if namespace == "" {
		namespace = "NAMESPACE"
	}
	b.WriteString("All about one: kubectl why-pull -n " + report.Printable(namespace) + " POD\n")
	return b.String()
}

// scope says in words which namespace it is.
func scope(namespace, all string) string {
	if namespace == "" {
		return all
	}
	return "namespace " + report.Printable(namespace)
}

func (o Overview) total(scope string) string {
	verb := "fail"
	if len(o.Pods) == 1 {
		verb = "fails"
	}
	return fmt.Sprintf("%s in %s %s, for %s.", count(len(o.Pods), "pod"), scope, verb, count(len(o.Groups), "reason"))
}

// headline has the cause in colour; a line that is too long is wrapped, not cut.
func (l Layout) headline(g *Group) string {
	text := wrap(g.Headline(), "", l.Width)
	if g.Cause == "" {
		return strings.Replace(text, "no report", l.paint(yellow, "no report"), 1)
	}
	// The first colon: names of nodes have none.
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
		if i == shown && !wide && len(g.members) > shown+1 {
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
	row := []string{name, m.container.Name, m.pod.Node, since(m.container.told, now), m.container.Image}
	if wide {
		confidence := "-"
		if m.container.told != nil {
			confidence = m.container.told.Confidence
		}
		row = append(row, confidence, dash(clip(m.container.Reason, 40)), dash(m.pod.Owner))
	}
	return row
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// since is how long a container has failed, as kubectl writes ages.
func since(told *report.Container, now time.Time) string {
	if told == nil {
		return "-"
	}
	t, err := time.Parse(time.RFC3339, told.Since)
	if err != nil || t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(max(now.Sub(t), 0))
}

// Lines says in a line each why the pod's containers fail.
func (p Pod) Lines() []string {
	var out []string
	for _, c := range p.Containers {
		line := fmt.Sprintf("%s %s %s: ", p.Key(), kindWords(c.Kind), c.Name)
		if c.told == nil {
			line += "no report, " + c.NoReport
		} else {
			line += c.Cause + ", " + c.told.Summary
		}
		out = append(out, line)
	}
	return out
}
