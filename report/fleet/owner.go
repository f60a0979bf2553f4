package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/whypull/whypull/agent/diagnosis"
)

// ownerKind is a kind of owners that are read.
type ownerKind struct {
	path, resource string
	short          string // kubectl's short name; may be empty
	owns           string // the kind between it and its pods; empty if it owns them itself
}

// ownerKinds are the kinds of owners that are read, as group/kind.
var ownerKinds = map[string]ownerKind{ //nolint:gochecknoglobals // never written
	"/ReplicationController": {"/api/v1", "replicationcontrollers", "rc", ""},
	"apps/ReplicaSet":        {"/apis/apps/v1", "replicasets", "rs", ""},
	"apps/Deployment":        {"/apis/apps/v1", "deployments", "deploy", "ReplicaSet"},
	"apps/StatefulSet":       {"/apis/apps/v1", "statefulsets", "sts", ""},
	"apps/DaemonSet":         {"/apis/apps/v1", "daemonsets", "ds", ""},
	"batch/Job":              {"/apis/batch/v1", "jobs", "", ""},
	"batch/CronJob":          {"/apis/batch/v1", "cronjobs", "cj", "Job"},
	"argoproj.io/Rollout":    {"/apis/argoproj.io/v1alpha1", "rollouts", "ro", "ReplicaSet"},
}

func groupOf(o metav1.OwnerReference) string {
	group, _, named := strings.Cut(o.APIVersion, "/")
	if !named {
		return ""
	}
	return group
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
	kind, known := ownerKinds[groupOf(o)+"/"+o.Kind]
	if !known {
		return nil, nil
	}
	m, err := c.metadata(ctx, kind, namespace, o.Name)
	if apierrors.IsNotFound(err) || err == nil && m.UID != o.UID {
		return nil, nil
	}
	return m, err
}

// raw returns the text of an answer.
func raw(ctx context.Context, request *rest.Request, accept string) ([]byte, error) {
	answer := request.SetHeader("Accept", accept).Do(ctx)
	if err := answer.Error(); err != nil { // unlike Raw's, it has the server's words
		return nil, err
	}
	return answer.Raw()
}

// metadata reads an object's metadata.
func (c *Client) metadata(ctx context.Context, kind ownerKind, namespace, name string) (*metav1.ObjectMeta, error) {
	text, err := raw(ctx, c.core.Get().AbsPath(kind.path).Namespace(namespace).Resource(kind.resource).Name(name), metadataOnly)
	if err != nil {
		return nil, err
	}
	var m metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind.resource, name, err)
	}
	return &m.ObjectMeta, nil
}
