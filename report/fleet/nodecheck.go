package fleet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

// NodesSchema is the version of the Answers as JSON. Within a version fields are
// only ever added.
const NodesSchema = "whypull.dev/nodes/v1"

// checkSchema is the schema of what "whypull check -o json" prints.
const checkSchema = "whypull.dev/check/v1"

// Answers are what the agents of several nodes found about an image.
type Answers struct {
	Schema string   `json:"schema"`
	Image  string   `json:"image"`
	Nodes  []Answer `json:"nodes"`
}

// Answer is what the agent of a node found, or why that is not known.
type Answer struct {
	Node string `json:"node"`
	// Pullable reports whether the node can pull the image or has it.
	Pullable bool `json:"pullable"`
	// Cause and Summary say why not.
	Cause   string `json:"cause,omitempty"`
	Summary string `json:"summary,omitempty"`
	// Error is why there is no answer; empty if there is one.
	Error string `json:"error,omitempty"`
}

// NewAnswers returns the answers in the order of the nodes.
func NewAnswers(image string, all []Answer) Answers {
	nodes := slices.Clone(all)
	slices.SortFunc(nodes, func(a, b Answer) int { return cmp.Compare(a.Node, b.Node) })
	return Answers{Schema: NodesSchema, Image: report.Printable(podwatch.ImageOf(image).Written), Nodes: nodes}
}

// Failing reports whether the image cannot be pulled on a node, and Unknown whether
// there is a node without an answer.
func (a Answers) Failing() bool {
	return slices.ContainsFunc(a.Nodes, func(n Answer) bool { return n.Error == "" && !n.Pullable })
}

// Unknown reports whether there is a node without an answer.
func (a Answers) Unknown() bool {
	return slices.ContainsFunc(a.Nodes, func(n Answer) bool { return n.Error != "" })
}

// maxNodes is how many nodes a line names.
const maxNodes = 10

// Text renders the answers: on how many nodes the image works, and a line for each
// other answer with its nodes, those of most nodes first.
func (a Answers) Text(l Layout) string {
	works := 0
	key := func(n Answer) string { return n.Cause + "\n" + n.Error }
	nodes := map[string][]string{} // by key
	var others []Answer            // the first of each key
	for _, n := range a.Nodes {
		if n.Pullable {
			works++
			continue
		}
		if nodes[key(n)] == nil {
			others = append(others, n)
		}
		nodes[key(n)] = append(nodes[key(n)], n.Node)
	}
	slices.SortStableFunc(others, func(a, b Answer) int { return cmp.Compare(len(nodes[key(b)]), len(nodes[key(a)])) })
	var b strings.Builder
	b.WriteString(wrap(fmt.Sprintf("%s works on %d of %s", a.Image, works, count(len(a.Nodes), "node")), "", l.Width))
	for _, n := range others {
		line := firstFew(nodes[key(n)], maxNodes) + ": "
		if n.Error != "" {
			b.WriteString(wrap(line+"no answer, "+n.Error, "", l.Width))
			continue
		}
		b.WriteString(wrap(line+n.Cause, "", l.Width))
		if n.Summary != "" {
			b.WriteString(wrap(n.Summary, "  ", l.Width))
		}
	}
	return b.String()
}

// parseAnswer returns what an agent's "whypull check -o json" printed. Whoever has
// power over the node or the agent's pod can print anything.
func parseAnswer(node string, text []byte) (Answer, error) {
	var d struct {
		Schema   string `json:"schema"`
		Pullable bool   `json:"pullable"`
		Pods     []struct {
			Pullable bool            `json:"pullable"`
			Report   report.Document `json:"report"`
		} `json:"pods"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return Answer{}, fmt.Errorf("the agent's answer is not JSON: %w", err)
	}
	switch {
	case d.Schema != checkSchema:
		return Answer{}, fmt.Errorf("the agent's answer has the schema %q, not %s", clip(d.Schema, 64), checkSchema)
	case len(d.Pods) != 1 || len(d.Pods[0].Report.Containers) != 1 || d.Pods[0].Pullable != d.Pullable:
		return Answer{}, errors.New("the agent's answer is not about one image")
	}
	c := d.Pods[0].Report.Containers[0]
	e, known := entryOf(c.Cause)
	switch {
	case d.Pullable:
		return Answer{Node: node, Pullable: true}, nil
	case !known || string(e.Cause) != c.Cause:
		return Answer{}, fmt.Errorf("the agent's answer has the unknown cause %q", clip(c.Cause, 64))
	}
	return Answer{Node: node, Cause: c.Cause, Summary: clip(report.Printable(c.Summary), maxSummary)}, nil
}

// maxSummary is the length of a report's longest summary, with room for later versions.
const maxSummary = 512

// manifest returns a pod with the image and the pull secrets, for "whypull check -f -".
func manifest(image, namespace string, secrets []string, read []corev1.Secret) ([]byte, error) {
	object := func(kind, name string, more map[string]any) map[string]any {
		more["apiVersion"], more["kind"], more["metadata"] = "v1", kind, map[string]any{"namespace": namespace, "name": name}
		return more
	}
	refs := []map[string]any{}
	for _, name := range secrets {
		refs = append(refs, map[string]any{"name": name})
	}
	items := []map[string]any{object("Pod", "check", map[string]any{"spec": map[string]any{
		"containers": []map[string]any{{"name": "app", "image": image}}, "imagePullSecrets": refs,
	}})}
	for _, s := range read {
		items = append(items, object("Secret", s.Name, map[string]any{"type": s.Type, "data": s.Data}))
	}
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

// checkCommand returns the command that has an agent check a manifest: its own
// binary, with those of its own flags that say where things are on the node.
func checkCommand(c *corev1.Container) []string {
	out := []string{"/whypull"}
	if len(c.Command) > 0 {
		out = c.Command[:1:1]
	}
	out = append(out, "check", "-f", "-", "-o", "json")
	nodes := []string{"host-root", "cri-socket", "registry-config-path", "containerd-config", "registries-conf", "kubelet-root-dir", "image-credential-provider-config"}
	args := slices.Concat(c.Command[min(1, len(c.Command)):], c.Args)
	for i, arg := range args {
		name, _, whole := strings.Cut(arg, "=")
		switch {
		case !slices.Contains(nodes, strings.TrimPrefix(name, "--")):
		case whole:
			out = append(out, arg)
		case i+1 < len(args):
			out = append(out, arg+"="+args[i+1])
		}
	}
	return out
}
