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
)

// ownerKind is a kind of owners that are read.
type ownerKind struct {
	path, resource string
	short          string // kubectl's short name; may be empty
	owns           string // the kind between it and its pods; empty if it owns them itself
}

// ownerKinds are the kinds of owners that are read.
var ownerKinds = map[schema.GroupKind]ownerKind{ //nolint:gochecknoglobals // never written
	{Kind: "ReplicationController"}:         {"/api/v1", "replicationcontrollers", "rc", ""},
	{Group: "apps", Kind: "ReplicaSet"}:     {"/apis/apps/v1", "replicasets", "rs", ""},
	{Group: "apps", Kind: "Deployment"}:     {"/apis/apps/v1", "deployments", "deploy", "ReplicaSet"},
	{Group: "apps", Kind: "StatefulSet"}:    {"/apis/apps/v1", "statefulsets", "sts", ""},
	{Group: "apps", Kind: "DaemonSet"}:      {"/apis/apps/v1", "daemonsets", "ds", ""},
	{Group: "batch", Kind: "Job"}:           {"/apis/batch/v1", "jobs", "", ""},
	{Group: "batch", Kind: "CronJob"}:       {"/apis/batch/v1", "cronjobs", "cj", "Job"},
	{Group: "argoproj.io", Kind: "Rollout"}: {"/apis/argoproj.io/v1alpha1", "rollouts", "ro", "ReplicaSet"},
}

func groupKind(o metav1.OwnerReference) schema.GroupKind {
	return schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).GroupKind()
}

const (
	// maxOwners is how many owners are read, each of the one before: a pod's ReplicaSet
	// and its Deployment, a pod's Job and its CronJob.
	maxOwners = 2
	// ownersTimeout limits how long to wait for them.
	ownersTimeout = 5 * time.Second
	// metadataOnly asks for an object's metadata, and namesOnly for that of a list.
	metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	namesOnly    = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// Manager returns what manages a pod's owners, else the pod. Labels and annotations of a
// Deployment need not be on its pods, so that the agent, which may not read it, need not
// know. Owners that the caller may not read are left out.
func (c *Client) Manager(ctx context.Context, pod *corev1.Pod) diagnosis.Manager {
	ctx, cancel := context.WithTimeout(ctx, ownersTimeout)
	defer cancel()
	found, of := diagnosis.ManagerOf(pod.Labels, pod.Annotations), &pod.ObjectMeta
	for range maxOwners {
		o := metav1.GetControllerOf(of)
		if o == nil {
			break
		}
		var err error
		if of, err = c.owner(ctx, pod.Namespace, *o); err != nil || of == nil {
			break
		}
		found = cmp.Or(diagnosis.ManagerOf(of.Labels, of.Annotations), found)
	}
	return found
}

// owner reads the metadata of an owner; nil if it is gone or of a kind that is
// not read.
func (c *Client) owner(ctx context.Context, namespace string, o metav1.OwnerReference) (*metav1.ObjectMeta, error) {
	kind, known := ownerKinds[groupKind(o)]
	if !known {
		return nil, nil
	}
	m, err := c.metadata(ctx, kind, namespace, o.Name)
	if apierrors.IsNotFound(err) || err == nil && m.UID != o.UID {
		return nil, nil
	}
	return &m.ObjectMeta, err
}

// metadata reads an object's metadata.
func (c *Client) metadata(ctx context.Context, kind ownerKind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	m := &metav1.PartialObjectMetadata{}
	err := c.core.Get().AbsPath(kind.path).Namespace(namespace).Resource(kind.resource).Name(name).SetHeader("Accept", metadataOnly).Do(ctx).Into(m)
	return m, err
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
