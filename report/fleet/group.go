package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// Group is a set of pods that fail for the same cause and share what it is
// about.
type Group struct {
	Cause string `json:"cause,omitempty"`
	// NoReport is the pods' common reason for having no report.
	NoReport string `json:"noReport,omitempty"`
	// Secrets are the pull secrets that the cause is about, as namespace/name.
	Secrets    []string `json:"secrets,omitempty"`
	Registry   string   `json:"registry,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Image      string   `json:"image,omitempty"`
	// Pods are the pods as namespace/name; sorted, like the nodes.
	Pods  []string `json:"pods"`
	Nodes []string `json:"nodes"`
	// Owners are what has to be edited to change the pods for good, those with
	// most pods first. Pods of nobody have none.
	Owners []GroupOwner `json:"owners"`
	// Summary is the summary that the pods of most namespaces share. Whoever may
	// write to a pod can forge its report, so that a namespace counts once,
	// however many pods it has.
	Summary string `json:"summary,omitempty"`
	// SummaryOf are the namespaces whose pods have that summary; sorted, and empty
	// if there are no others.
	SummaryOf []string `json:"summaryOf,omitempty"`
	// RunsOn are nodes without these pods that run all of their images.
	RunsOn []string `json:"runsOn"`
	// PointsTo is the node of all failures, if other nodes run the image and
	// the cause can depend on the node.
	PointsTo string `json:"pointsTo,omitempty"`

	members []member
}

// member is one failing container of a group.
type member struct {
	pod       Pod
	container Container
}

// nodeSpecific reports whether a cause can differ between nodes for the same
// image: the node has to be fixed, or it depends on where the node is.
func nodeSpecific(cause string) bool {
	e, _ := entryOf(cause)
	return e.Fixer == diagnosis.FixNode || e.PerNode
}

// key returns the group that a container belongs to, without members: with what pods with
// its cause most likely have in common, so that one remedy fixes them all.
func key(p Pod, c Container) Group {
	g := Group{Cause: c.Cause, NoReport: c.NoReport}
	if c.Cause == "" {
		return g
	}
	e, _ := entryOf(c.Cause)
	switch e.Group {
	case diagnosis.ByImage: // also for causes of later versions
		g.Image = c.Image
	case diagnosis.ByRepository:
		g.Repository = strings.Trim(c.Registry+"/"+c.Repository, "/")
	case diagnosis.ByRegistry:
		g.Registry = c.Registry
	case diagnosis.BySecret:
		g.Registry, g.Secrets = c.Registry, secretsInvolved(p, c)
	case diagnosis.ByNode:
		g.Nodes = []string{p.Node}
	}
	return g
}

// secretsInvolved returns the pull secrets that a container's failure is about:
// those that the summary names, or the pod's only one.
func secretsInvolved(p Pod, c Container) []string {
	words := strings.FieldsFunc(c.verdict.Summary, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == ':' })
	var out []string
	for _, s := range p.secrets {
		if len(p.secrets) == 1 || slices.Contains(words, s) {
			out = append(out, report.Printable(p.Namespace+"/"+s))
		}
	}
	return out
}

// groups groups the pods' containers.
func groups(pods []Pod) []Group {
	at := map[string]int{}
	out := []Group{}
	for _, p := range pods {
		for _, c := range p.Containers {
			g := key(p, c)
			id := fmt.Sprintf("%q", []any{g.Cause, g.NoReport, g.Secrets, g.Registry, g.Repository, g.Image, g.Nodes})
			if _, there := at[id]; !there {
				at[id] = len(out)
				out = append(out, g)
			}
			out[at[id]].members = append(out[at[id]].members, member{p, c})
		}
	}
	for i := range out {
		out[i].finish()
	}
	// Groups without a cause are last.
	slices.SortStableFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Pods), len(a.Pods)), cmp.Compare(cmp.Or(a.Cause, "~"), cmp.Or(b.Cause, "~")), cmp.Compare(a.headline(), b.headline()))
	})
	return out
}

// finish sets the fields that depend on the members.
func (g *Group) finish() {
	for _, m := range g.members {
		g.Pods = append(g.Pods, m.pod.Key())
		g.Nodes = append(g.Nodes, m.pod.Node)
	}
	g.summarize()
	slices.Sort(g.Pods)
	slices.Sort(g.Nodes)
	g.Pods, g.Nodes = slices.Compact(g.Pods), slices.Compact(g.Nodes)
	g.Owners = g.owners()
	g.RunsOn = g.otherNodes()
	here := slices.ContainsFunc(g.members, func(m member) bool { return m.container.RunsHere })
	if len(g.RunsOn) > 0 && len(g.Nodes) == 1 && !here && nodeSpecific(g.Cause) {
		g.PointsTo = g.Nodes[0]
	}
}

// summarize sets the summary that the pods of most namespaces share, and among
// those the one that most pods share, then the first in the order of texts; and
// the namespaces that it is from if the others have another.
func (g *Group) summarize() {
	all := map[string]bool{}               // namespaces with a report
	shared := map[string]map[string]bool{} // summary → namespaces
	members := map[string]int{}            // summary → its members
	for _, m := range g.members {
		if m.container.Cause == "" {
			continue
		}
		summary := m.container.verdict.Summary
		all[m.pod.Namespace] = true
		members[summary]++
		set(&shared, summary, m.pod.Namespace, true)
	}
	if len(all) == 0 {
		return
	}
	g.Summary = slices.MinFunc(slices.Collect(maps.Keys(shared)), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(shared[b]), len(shared[a])), cmp.Compare(members[b], members[a]), cmp.Compare(a, b))
	})
	if len(shared[g.Summary]) < len(all) {
		g.SummaryOf = slices.Sorted(maps.Keys(shared[g.Summary]))
	}
}

// summaryLine returns the group's summary, with the namespaces that it is from if
// it is not that of all; "" if there is no report.
func (g *Group) summaryLine() string {
	if g.Summary == "" || len(g.SummaryOf) == 0 {
		return g.Summary
	}
	return "in " + plural(len(g.SummaryOf), "namespace") + " " + firstFew(g.SummaryOf, 3) + ": " + g.Summary
}

// otherNodes returns the nodes without failures of this group that run all of
// its images.
func (g *Group) otherNodes() []string {
	out := slices.Clone(g.members[0].container.RunsOn)
	for _, m := range g.members[1:] {
		out = slices.DeleteFunc(out, func(n string) bool { return !slices.Contains(m.container.RunsOn, n) })
	}
	return slices.DeleteFunc(out, func(n string) bool { return slices.Contains(g.Nodes, n) })
}

// headline returns the group in one line: how many pods on how many nodes, the
// cause, and what they share.
func (g *Group) headline() string {
	nodes := count(len(g.Nodes), "node")
	if len(g.Nodes) == 1 {
		nodes = "node " + g.Nodes[0]
	}
	out := count(len(g.Pods), "pod") + " on " + nodes
	if g.Cause == "" {
		return out + ": no report, " + g.NoReport
	}
	out += ": " + g.Cause
	if s := g.shared(); s != "" {
		out += ", " + s
	}
	return out
}

func (g *Group) shared() string {
	switch {
	case len(g.Secrets) > 0 && g.Registry != "":
		return plural(len(g.Secrets), "secret") + " " + strings.Join(g.Secrets, ", ") + " for " + g.Registry
	case len(g.Secrets) > 0:
		return plural(len(g.Secrets), "secret") + " " + strings.Join(g.Secrets, ", ")
	case g.Registry != "":
		return "registry " + g.Registry
	case g.Repository != "":
		return "repository " + g.Repository
	case g.Image != "":
		return "image " + g.Image
	}
	return ""
}

// fleetLine returns the line on other nodes that run the same image; "" if none does.
func fleetLine(images int, nodes []string, pointsTo string) string {
	if len(nodes) == 0 {
		return ""
	}
	out := "the same image runs on "
	if images > 1 {
		out = "the same images run on "
	}
	out += count(len(nodes), "other node") + " (" + firstFew(nodes, 3) + ")"
	if pointsTo != "" {
		out += ": this points to node " + pointsTo
	}
	return out
}

// images returns the number of different images in the group.
func (g *Group) images() int {
	var all []string
	for _, m := range g.members {
		all = append(all, m.container.Image)
	}
	slices.Sort(all)
	return len(slices.Compact(all))
}

// firstFew lists the first few entries.
func firstFew(all []string, limit int) string {
	if len(all) <= limit {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:limit], ", "), len(all)-limit)
}

func count(n int, what string) string { return fmt.Sprintf("%d %s", n, plural(n, what)) }

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

// Select returns the overview of the containers that fail for one of the causes,
// as Cause returns them, and since at most that long. No causes and 0 select all.
func (o Overview) Select(causes []string, since time.Duration, now time.Time) Overview {
	if len(causes) == 0 && since == 0 {
		return o
	}
	out := Overview{Schema: o.Schema, Preflight: o.Preflight, Pods: []Pod{}}
	for _, p := range o.Pods {
		p.Containers = slices.DeleteFunc(slices.Clone(p.Containers), func(c Container) bool {
			return len(causes) > 0 && !slices.Contains(causes, c.Cause) || since > 0 && now.Sub(c.begin) > since
		})
		if len(p.Containers) > 0 {
			out.Pods = append(out.Pods, p)
		}
	}
	out.Groups = groups(out.Pods)
	return out
}

// begin returns since when a container fails: by its report, else since its pod last
// changed.
func begin(reported string, pod *corev1.Pod) time.Time {
	if t, err := time.Parse(time.RFC3339, reported); err == nil {
		return t
	}
	return lastChange(pod)
}

// GroupOwner is a workload with pods in a group.
type GroupOwner struct {
	// Kind has the API group appended, unless it is a built-in one.
	Kind string `json:"kind"`
	// Name is the owner as namespace/name.
	Name string `json:"name"`
	// Pods is the number of its pods in the group.
	Pods int `json:"pods"`
}

// workload returns what has to be edited to change the pod for good; the zero
// value for a pod of nobody or of a node's file.
func workload(pod *corev1.Pod) diagnosis.Owner {
	o := podwatch.OwnerOf(pod)
	if o.Kind == "Node" {
		return diagnosis.Owner{}
	}
	return diagnosis.Owner{Kind: report.Printable(o.Kind), Name: report.Printable(o.Name)}
}

// owners returns the owners of the members, those with most pods first.
func (g *Group) owners() []GroupOwner {
	pods, seen := map[GroupOwner]int{}, map[string]bool{}
	for _, m := range g.members {
		if m.pod.workload.Name != "" && !seen[m.pod.Key()] {
			seen[m.pod.Key()] = true
			pods[GroupOwner{Kind: m.pod.workload.Kind, Name: m.pod.Namespace + "/" + m.pod.workload.Name}]++
		}
	}
	out := []GroupOwner{}
	for o, n := range pods {
		o.Pods = n
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b GroupOwner) int {
		return cmp.Or(cmp.Compare(b.Pods, a.Pods), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// ownersLine returns the line on the owners; "" if none has several pods.
func (g *Group) ownersLine() string {
	if len(g.Owners) == 0 || g.Owners[0].Pods < 2 {
		return ""
	}
	var all []string
	for _, o := range g.Owners {
		kind, _, _ := strings.Cut(o.Kind, ".")
		all = append(all, kind+" "+o.Name+": "+count(o.Pods, "pod"))
	}
	return firstFew(all, 3)
}
