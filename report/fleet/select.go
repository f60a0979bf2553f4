package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/report"
)

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

// OwnerName names an owner of pods as kubectl does: TYPE/NAME, where the type is a
// kind, its plural or its short name, and may have the API group appended.
type OwnerName struct {
	text            string
	resource, group string // in lower case; no group means any
	name            string
}

// String returns the name as it was given.
func (n OwnerName) String() string { return n.text }

// ParseOwnerName parses TYPE/NAME.
func ParseOwnerName(text string) (OwnerName, error) {
	kind, name, _ := strings.Cut(text, "/")
	o := OwnerName{text: text, name: name}
	o.resource, o.group, _ = strings.Cut(strings.ToLower(kind), ".")
	if version, group, more := strings.Cut(o.group, "."); more && isVersion(version) {
		o.group = group // deployments.v1.apps
	}
	switch {
	case o.resource == "" || name == "":
		return OwnerName{}, fmt.Errorf("%q is not TYPE/NAME, such as deploy/web", text)
	case slices.Contains([]string{"node", "nodes", "no"}, o.resource):
		return OwnerName{}, fmt.Errorf("%s: use --node %s for the pods of a node", text, name)
	}
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return OwnerName{}, fmt.Errorf("%s: %q is not a name: %s", text, name, faults[0])
	}
	return o, nil
}

// isVersion reports whether a word is a version of an API group, such as v1beta1.
func isVersion(word string) bool {
	return len(word) > 1 && word[0] == 'v' && word[1] >= '0' && word[1] <= '9'
}

// kind returns the kind of the owner, and whether its objects are read.
func (n OwnerName) kind() (ownerKind, bool) {
	for of, k := range ownerKinds {
		if n.isKind(of) {
			return k, true
		}
	}
	return ownerKind{}, false
}

// isKind reports whether the type names a kind of an API group.
func (n OwnerName) isKind(of schema.GroupKind) bool {
	if n.group != "" && n.group != of.Group {
		return false
	}
	kind := strings.ToLower(of.Kind)
	if k, known := ownerKinds[of]; known {
		return n.resource == kind || n.resource == k.resource || n.resource == k.short
	}
	plurals := []string{kind, kind + "s", kind + "es"}
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		plurals = append(plurals, stem+"ies")
	}
	return slices.Contains(plurals, n.resource)
}

func (n OwnerName) is(o metav1.OwnerReference) bool {
	return n.name == o.Name && n.isKind(groupKind(o))
}

// Owns reports whether the pod itself shows that it belongs to the owner: by its
// controller, or by the hash in the name of its ReplicaSet.
func (n OwnerName) Owns(pod *corev1.Pod) bool {
	o := metav1.GetControllerOf(pod)
	if o == nil {
		return false
	}
	hashed := hashedKind(pod, *o)
	return n.is(*o) || hashed.Kind != "" && n.name == podwatch.OwnerOf(pod).Name && n.isKind(hashed)
}

// hashedKind returns the kind of what owns the pod's ReplicaSet, if its name shows that.
func hashedKind(pod *corev1.Pod, controller metav1.OwnerReference) schema.GroupKind {
	o := podwatch.OwnerOf(pod)
	if o.Name == controller.Name {
		return schema.GroupKind{}
	}
	kind := schema.ParseGroupKind(o.Kind)
	kind.Group = cmp.Or(kind.Group, "apps")
	return kind
}

// Owned finds the pods of an owner. It remembers what it has read.
type Owned struct {
	client *Client
	name   OwnerName
	above  map[types.UID]bool // whether the owner controls this controller of pods
}

// Owned returns what finds the pods of an owner.
func (c *Client) Owned(name OwnerName) *Owned {
	return &Owned{client: c, name: name, above: map[types.UID]bool{}}
}

// Exists reports whether the owner is known to exist: it does not where the caller
// may not read it, or where its kind is not known. The error for an owner that does
// not exist says so.
func (f *Owned) Exists(ctx context.Context, namespace string) (bool, error) {
	kind, known := f.name.kind()
	if !known {
		return false, nil
	}
	_, err := f.client.metadata(ctx, kind, namespace, f.name.name)
	if apierrors.IsForbidden(err) {
		return false, nil
	}
	return err == nil, err
}

// Has reports whether a pod belongs to the owner. Where the pod does not show that,
// its controller is read with the caller's rights.
func (f *Owned) Has(ctx context.Context, pod *corev1.Pod) (bool, error) {
	o := metav1.GetControllerOf(pod)
	switch {
	case o == nil:
		return false, nil
	case f.name.Owns(pod):
		return true, nil
	case !f.between(pod, *o):
		return false, nil
	}
	if has, known := f.above[o.UID]; known {
		return has, nil
	}
	m, err := f.client.owner(ctx, pod.Namespace, *o)
	if err != nil {
		return false, err
	}
	has := false
	if m != nil {
		above := metav1.GetControllerOf(m)
		has = above != nil && f.name.is(*above)
	}
	f.above[o.UID] = has
	return has, nil
}

// between reports whether the owner may control a pod's controller.
func (f *Owned) between(pod *corev1.Pod, controller metav1.OwnerReference) bool {
	if hashedKind(pod, controller).Kind != "" {
		return false // the owner of the controller is another
	}
	kind, known := f.name.kind()
	return !known || kind.owns == controller.Kind
}
