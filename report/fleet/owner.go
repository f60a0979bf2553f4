package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// ownerKinds are the kinds of owners that are read, as group/kind, with their paths.
var ownerKinds = map[string]struct{ path, resource string }{ //nolint:gochecknoglobals // never written
	"/ReplicationController": {"/api/v1", "replicationcontrollers"},
	"apps/ReplicaSet":        {"/apis/apps/v1", "replicasets"},
	"apps/Deployment":        {"/apis/apps/v1", "deployments"},
	"apps/StatefulSet":       {"/apis/apps/v1", "statefulsets"},
	"apps/DaemonSet":         {"/apis/apps/v1", "daemonsets"},
	"batch/Job":              {"/apis/batch/v1", "jobs"},
	"batch/CronJob":          {"/apis/batch/v1", "cronjobs"},
	"argoproj.io/Rollout":    {"/apis/argoproj.io/v1alpha1", "rollouts"},
}

const (
	// maxOwners is how many owners are read, each of the one before: a pod's ReplicaSet
	// and its Deployment, a pod's Job and its CronJob.
	maxOwners = 2
	// ownersTimeout limits how long to wait for them.
	ownersTimeout = 5 * time.Second
	// metadataOnly asks for an object's metadata.
	metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
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
		if of = c.owner(ctx, pod.Namespace, *o); of == nil {
			break
		}
		found = cmp.Or(diagnosis.ManagerOf(of.Labels, of.Annotations), found)
	}
	return found
}

// owner reads the metadata of an owner; nil if it cannot be read.
func (c *Client) owner(ctx context.Context, namespace string, o metav1.OwnerReference) *metav1.ObjectMeta {
	group, _, named := strings.Cut(o.APIVersion, "/")
	if !named {
		group = ""
	}
	kind, known := ownerKinds[group+"/"+o.Kind]
	if !known {
		return nil
	}
	text, err := c.core.Get().AbsPath(kind.path).Namespace(namespace).Resource(kind.resource).Name(o.Name).
		SetHeader("Accept", metadataOnly).Do(ctx).Raw()
	var m metav1.PartialObjectMetadata
	if err != nil || json.Unmarshal(text, &m) != nil || m.UID != o.UID {
		return nil
	}
	return &m.ObjectMeta
}
