package fleet

import (
	"cmp"
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/whypull/whypull/agent/diagnosis"
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
