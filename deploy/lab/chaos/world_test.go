package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// namespace is where the pods fail.
const namespace = "chaos"

// kind is a way in which a pod fails.
type kind struct {
	cause  string
	image  string
	secret string
	policy corev1.PullPolicy
	// also are the causes that the pod has in truth while a fault strikes; the kubelet
	// may show them until its next attempt, minutes later.
	also []string
}

func kinds() []kind {
	absent := []string{"RegistryNameNotFound", "DNSFailure", "ConnectionRefused", "ConnectionTimeout", "NetworkUnreachable", "RegistryError", "PullStalled", "PullTimeout", "RuntimeError", "SandboxImageFailed"}
	return []kind{
		{cause: "CredentialsRejected", image: registry.Nginx112, secret: "wrong", also: absent},
		{cause: "AuthenticationRequired", image: registry.Nginx113, also: absent},
		{cause: "PullSecretMissing", image: registry.HubTeamA, secret: "missing", also: absent},
		{cause: "PullSecretNoMatch", image: registry.HubTeamB, secret: "elsewhere", also: absent},
		{cause: "PullSecretMalformed", image: registry.Nginx112, secret: "malformed", also: absent},
		{cause: "TagNotFound", image: registry.PlainApp + "-no-such-tag", also: absent},
		{cause: "RepositoryNotFound", image: registry.PlainHost + "/chaos/no-such-repository:1.0", also: absent},
		{cause: "RegistryNameNotFound", image: registry.MissingHost + "/chaos/app:1.0", also: absent},
		{cause: "ConnectionRefused", image: registry.ClosedHost + "/chaos/app:1.0", also: absent},
		{cause: "TLSUntrusted", image: registry.UntrustedHost + "/chaos/app:1.0", also: absent},
		{cause: "RateLimited", image: registry.LimitedHost + "/chaos/app:1.0", also: absent},
		{cause: "ImageNotPresent", image: registry.PlainHost + "/chaos/never:1.0", policy: corev1.PullNever},
		{cause: "InvalidImageName", image: registry.PlainHost + "/Chaos/App:1.0"},
	}
}

// truth is what the oracle knows of a pod.
type truth struct {
	kind kind
	// shaken is whether a fault has struck since the pod was created.
	shaken bool
	// brought are further causes that it may have had for that.
	brought []string
}

// world creates, heals, deletes and recreates pods, and knows the truth about each.
type world struct {
	mu     sync.Mutex // held for each change and each look
	random *rand.Rand
	next   int
	pods   map[string]truth
	// reported is what a fault before has failed for; it fails no other.
	reported map[string]bool
}

func newWorld(seed uint64) *world {
	return &world{random: rand.New(rand.NewPCG(seed, seed)), pods: map[string]truth{}, reported: map[string]bool{}}
}

// maxPods is the number of pods at a time.
const maxPods = 26

// change does one thing to one pod. An API server that is away is no error.
func (w *world) change(ctx context.Context, t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	names := slices.Sorted(maps.Keys(w.pods))
	action := w.random.IntN(10)
	if len(names) < maxPods/2 || action < 4 && len(names) < maxPods {
		k := kinds()[w.next%len(kinds())]
		w.next++
		w.create(ctx, t, fmt.Sprintf("%s-%d", strings.ToLower(k.cause), w.next), k)
		return
	}
	name := names[w.random.IntN(len(names))]
	switch {
	case action < 7:
		w.heal(ctx, t, name)
	case action < 9:
		w.remove(ctx, t, name)
	default:
		k := w.pods[name].kind
		if w.remove(ctx, t, name) {
			w.create(ctx, t, name, k) // under the same name
		}
	}
}

// possible reports whether a request had its effect. Only an answer of the API server
// that no fault explains fails the test.
func possible(t *testing.T, what string, err error) bool {
	t.Helper()
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		t.Errorf("%s: %v", what, err)
	}
	return err == nil
}

func (w *world) create(ctx context.Context, t *testing.T, name string, k kind) {
	t.Helper()
	now := int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &now,
			Containers:                    []corev1.Container{{Name: "app", Image: k.image, ImagePullPolicy: k.policy}},
		},
	}
	if k.secret != "" {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: k.secret}}
	}
	_, err := node.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	// An API server that dies may have created it.
	if possible(t, "creating "+name, err) || !apierrors.IsAlreadyExists(err) {
		w.pods[name] = truth{kind: k}
	}
}

// heal gives a pod an image in place that can be pulled.
func (w *world) heal(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	if w.pods[name].kind.policy == corev1.PullNever {
		return // it would need the image on the node
	}
	patch := `{"spec":{"containers":[{"name":"app","image":"` + registry.PlainApp + `"}]}}`
	_, err := node.client.CoreV1().Pods(namespace).Patch(ctx, name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	possible(t, "healing "+name, err)
}

func (w *world) remove(ctx context.Context, t *testing.T, name string) bool {
	t.Helper()
	now := int64(0)
	err := node.client.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if possible(t, "deleting "+name, err) || apierrors.IsNotFound(err) {
		delete(w.pods, name)
		return true
	}
	return false
}

// shake notes that a fault strikes all pods, and brings causes of its own.
func (w *world) shake(brings []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, p := range w.pods {
		p.shaken, p.brought = true, brings
		w.pods[name] = p
	}
}

// churn changes something every interval until ctx is done.
func (w *world) churn(ctx context.Context, t *testing.T, interval time.Duration) {
	t.Helper()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
			w.change(context.WithoutCancel(ctx), t)
		}
	}
}

// prepare creates the namespace and its pull secrets.
func prepare(ctx context.Context) error {
	if err := (demo.Scenario{Name: namespace, Manifests: []string{strings.Join([]string{
		demo.Secret("wrong", registry.HubHost, registry.Alice, demo.WrongPassword()),
		demo.Secret("elsewhere", registry.HubHost2, registry.Alice, registry.AlicePassword),
		"apiVersion: v1\nkind: Secret\nmetadata: {name: malformed}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{\"auths\":{\"" + registry.HubHost + "\":{\"auth\":\"%%%\"}}}'}\n",
	}, "---\n")}}).Break(ctx, node.lab); err != nil {
		return err
	}
	return nil
}
