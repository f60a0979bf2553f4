package runtimes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

const (
	namespace = "faults"
	nodeName  = "lab-node"
	// pullLimit ends a pull that nothing else ends: CRI-O has no limit for a
	// registry that accepts a connection and never answers. All limits that
	// runtimes have are shorter.
	pullLimit = 100 * time.Second
	// callLimit is for calls that do not leave the machine.
	callLimit = 30 * time.Second
)

// images is a runtime's image service as the kubelet uses it.
type images struct {
	conn   *grpc.ClientConn
	client runtimeapi.ImageServiceClient
}

// dialImages makes a client for the runtime at a socket. It connects on the
// first call.
func dialImages(socket string) (images, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	if err != nil {
		return images{}, fmt.Errorf("runtime at %s: %w", socket, err)
	}
	return images{conn, runtimeapi.NewImageServiceClient(conn)}, nil
}

// pull tries one credential after the other, or none if there are none, and
// returns all errors as one: kubelet, kuberuntime.PullImage.
func (s images) pull(ctx context.Context, c faulttest.Case) error {
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	if len(c.Credentials) == 0 {
		return s.attempt(ctx, c, nil)
	}
	var failures []error
	for _, given := range c.Credentials {
		err := s.attempt(ctx, c, &runtimeapi.AuthConfig{Username: given.Username.Reveal(), Password: given.Password.Reveal()})
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return utilerrors.NewAggregate(failures)
}

// try pulls an image and removes it again.
func (s images) try(ctx context.Context, c faulttest.Case) (*Trial, error) {
	if err := s.pull(ctx, c); err != nil {
		return &Trial{Image: c.Image, Message: err.Error()}, nil //nolint:nilerr // the trial has it
	}
	if err := s.remove(ctx, c); err != nil {
		return nil, fmt.Errorf("removing %s: %w", c.Image, err)
	}
	return &Trial{Image: c.Image, Pulled: true}, nil
}

// tryFor tries again, as the kubelet does, until a pull works or the time is over.
func (s images) tryFor(ctx context.Context, c faulttest.Case, limit time.Duration) (*Trial, error) {
	ctx, cancel := context.WithTimeout(ctx, limit+pullLimit)
	defer cancel()
	for end := time.Now().Add(limit); ; {
		trial, err := s.try(ctx, c)
		if err != nil || trial.Pulled || time.Now().After(end) {
			return trial, err
		}
		select {
		case <-ctx.Done():
			return trial, nil
		case <-time.After(time.Second):
		}
	}
}

// attempt asks the runtime once. Of its error the code Unknown is left out:
// k8s.io/cri-client, remoteImageService.pullImageV1.
func (s images) attempt(ctx context.Context, c faulttest.Case, cred *runtimeapi.AuthConfig) error {
	_, err := s.client.PullImage(ctx, &runtimeapi.PullImageRequest{
		Image: &runtimeapi.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image}, Auth: cred,
		SandboxConfig: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: c.Name, Namespace: namespace, Uid: c.Name}},
	})
	if answer, ok := status.FromError(err); ok && answer.Code() == codes.Unknown {
		return errors.New(answer.Message())
	}
	return err
}

// remove takes a pulled image away again, so that no later case finds it.
func (s images) remove(ctx context.Context, c faulttest.Case) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err := s.client.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: c.Image}})
	return err
}

// failedPod is the case's pod with the status that the kubelet gives it for the
// error of a pull (kubelet, images.evalCRIPullErr).
func failedPod(c faulttest.Case, err error) *corev1.Pod {
	policy := corev1.PullPolicy(c.Policy)
	if policy == "" {
		policy = corev1.PullIfNotPresent
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.Name, UID: types.UID(c.Name)},
		Spec: corev1.PodSpec{NodeName: nodeName, ServiceAccountName: "default",
			Containers: []corev1.Container{{Name: "app", Image: c.Image, ImagePullPolicy: policy}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", Image: c.Image, State: corev1.ContainerState{Waiting: waiting(c.Image, err)},
		}}},
	}
	for _, name := range secretNames(c) {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return pod
}

// waiting is the state of a container for the error of a pull. Two errors are
// reasons: an aggregate of several has neither.
func waiting(image string, err error) *corev1.ContainerStateWaiting {
	for reason, because := range map[error]string{
		crierrors.ErrRegistryUnavailable:       "the registry is unavailable",
		crierrors.ErrSignatureValidationFailed: "the signature validation failed",
	} {
		if rest, ok := strings.CutPrefix(err.Error(), reason.Error()); ok {
			return &corev1.ContainerStateWaiting{
				Reason: reason.Error(), Message: fmt.Sprintf("image pull failed for %s because %s%s", image, because, rest),
			}
		}
	}
	return &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: err.Error()}
}

// secretNames are the pull secrets of a case's pod, in their order.
func secretNames(c faulttest.Case) []string {
	var names []string
	for i := range c.Credentials {
		names = append(names, secretName(c, i))
	}
	return names
}

// secretName is the name of the secret that holds a credential. Each has one
// of its own, since the order within a secret is the kubelet's to choose.
func secretName(c faulttest.Case, i int) string {
	name := strings.TrimPrefix(c.Credentials[i].Source, "secret ")
	if name == "" {
		name = "regcred"
	}
	for _, earlier := range c.Credentials[:i] {
		if earlier.Source == c.Credentials[i].Source {
			return fmt.Sprintf("%s-%d", name, i+1)
		}
	}
	return name
}

// secrets are the pull secrets of one case, as the API server has them.
type secrets struct{ of faulttest.Case }

// Secret returns a secret of the case's pod, or kube.ErrNotFound.
func (s secrets) Secret(_ context.Context, ns, name string) (kube.Secret, error) {
	for i, c := range s.of.Credentials {
		if ns != namespace || secretName(s.of, i) != name {
			continue
		}
		data, err := json.Marshal(map[string]any{"auths": map[string]any{
			c.Key: map[string]string{"username": c.Username.Reveal(), "password": c.Password.Reveal()},
		}})
		if err != nil {
			return kube.Secret{}, fmt.Errorf("secret %s: %w", name, err)
		}
		return kube.Secret{Type: string(corev1.SecretTypeDockerConfigJson),
			Data: credential.Redact(map[string][]byte{corev1.DockerConfigJsonKey: data})}, nil
	}
	return kube.Secret{}, kube.ErrNotFound
}
