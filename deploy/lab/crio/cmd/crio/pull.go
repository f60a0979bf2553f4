package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
)

// PullImage implements runtimeapi.ImageServiceServer. The kubelet turns the prefixes of
// its errors into reasons.
func (s *server) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	id, err := s.pull(ctx, r)
	var policy signature.PolicyRequirementError
	var invalid signature.InvalidSignatureError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: %w", crierrors.ErrRegistryUnavailable, err)
	case errors.As(err, &policy), errors.As(err, &invalid):
		return nil, fmt.Errorf("%w: %w", crierrors.ErrSignatureValidationFailed, err)
	case err != nil:
		return nil, err
	}
	return &runtimeapi.PullImageResponse{ImageRef: id}, nil
}

// pull tries each image that a name may stand for. If all fail, it returns the last
// error.
func (s *server) pull(ctx context.Context, r *runtimeapi.PullImageRequest) (id string, err error) {
	image := r.GetImage().GetImage()
	system, done, err := s.contextFor(r.GetSandboxConfig().GetMetadata().GetNamespace(), image)
	if err != nil {
		return "", err
	}
	defer done()
	system.DockerLogMirrorChoice = true
	if system.DockerAuthConfig, err = credentials(r.GetAuth()); err != nil {
		return "", err
	}
	candidates, err := s.candidates(image)
	if err != nil {
		return "", err
	}
	for _, name := range candidates {
		if id, err = s.pullCandidate(ctx, system, name); err == nil {
			return id, nil
		}
	}
	return "", err
}

// credentials returns the credentials of a request, or nil if it has none. Credentials
// without a user name count as none.
func credentials(auth *runtimeapi.AuthConfig) (*types.DockerAuthConfig, error) {
	user, password := auth.GetUsername(), auth.GetPassword()
	if encoded := auth.GetAuth(); encoded != "" {
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, err
		}
		user, password, _ = strings.Cut(string(decoded), ":")
		password = strings.Trim(password, "\x00")
	}
	if user == "" {
		return nil, nil //nolint:nilnil // the image library takes nil for "none"
	}
	return &types.DockerAuthConfig{Username: user, Password: password}, nil
}

// contextFor returns the library's settings for a namespace, which may have its own
// signature policy and credentials. The credentials are valid for one pull: done
// removes them.
func (s *server) contextFor(namespace, image string) (system *types.SystemContext, done func(), err error) {
	copied := *s.system
	system, done = &copied, func() {}
	if namespace == "" {
		return system, done, nil
	}
	policy := filepath.Join(s.config.CRIO.Image.SignaturePolicyDir, namespace+".json")
	switch _, err := os.Stat(policy); {
	case err == nil:
		system.SignaturePolicyPath = policy
	case !errors.Is(err, fs.ErrNotExist):
		return nil, done, fmt.Errorf("get context for namespace: read policy path %s: %w", policy, err)
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, done, fmt.Errorf("prepare temp auth file: parse image name: %w", err)
	}
	file := filepath.Join(s.config.CRIO.Image.NamespacedAuthDir,
		fmt.Sprintf("%s-%x.json", namespace, sha256.Sum256([]byte(named.Name()))))
	if _, err := os.Stat(file); err == nil {
		system.AuthFilePath = file
		done = func() { _ = os.Remove(file) }
	}
	return system, done, nil
}

// candidates returns the full names that a name may stand for.
func (s *server) candidates(image string) ([]reference.Named, error) {
	resolved, err := shortnames.Resolve(s.system, image)
	if err != nil {
		if strings.Contains(err.Error(), "short-name resolution enforced but cannot prompt without a TTY") {
			return nil, fmt.Errorf("short name mode is enforcing, but image name %s returns ambiguous list", image)
		}
		return nil, err
	}
	names := make([]reference.Named, 0, len(resolved.PullCandidates))
	for _, candidate := range resolved.PullCandidates {
		names = append(names, withoutTagOfDigest(candidate.Value))
	}
	return names, nil
}

// withoutTagOfDigest drops the tag of a name that also has a digest, because the
// library rejects both together.
func withoutTagOfDigest(name reference.Named) reference.Named {
	digested, ok := name.(reference.Digested)
	if !ok {
		return name
	}
	if trimmed, err := reference.WithDigest(reference.TrimNamed(name), digested.Digest()); err == nil {
		return trimmed
	}
	return name
}

// pullCandidate pulls an image, or an artifact if it is not an image. If a limit is
// set, it cancels a pull that makes no progress.
func (s *server) pullCandidate(ctx context.Context, system *types.SystemContext, name reference.Named) (id string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source, err := docker.NewReference(name)
	if err != nil {
		return "", err
	}
	err = s.copyImage(ctx, cancel, system, name, source)
	if mayBeArtifact(err) {
		id, artifactErr := s.artifacts.pull(ctx, system, source)
		if artifactErr != nil {
			return "", fmt.Errorf("unable to pull image or OCI artifact: pull image err: %w; artifact err: %w", err, artifactErr)
		}
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("unable to pull image: %w", err)
	}
	image, err := s.imageNamed(name)
	if err != nil {
		return "", err
	}
	return image.ID, nil
}

// copyImage copies an image into the store.
func (s *server) copyImage(ctx context.Context, cancel func(), system *types.SystemContext, name reference.Named, source types.ImageReference) error {
	destination, err := istorage.Transport.NewStoreReference(s.store, name, "")
	if err != nil {
		return err
	}
	policy, err := policyContext(system)
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }()
	options := &copy.Options{SourceCtx: system, DestinationCtx: s.system}
	if limit := s.config.CRIO.Image.PullProgressTimeout; limit > 0 {
		progress := make(chan types.ProgressProperties)
		defer close(progress)
		options.Progress, options.ProgressInterval = progress, limit/10
		go watch(progress, limit, cancel)
	}
	_, err = copy.Image(ctx, policy, destination, source, options)
	return err
}

// watch calls stop when no progress has been made for limit, starting with the first
// progress.
func watch(progress <-chan types.ProgressProperties, limit time.Duration, stop func()) {
	timer := time.AfterFunc(limit, stop)
	timer.Stop()
	defer timer.Stop()
	for range progress {
		timer.Reset(limit)
	}
}

func policyContext(system *types.SystemContext) (*signature.PolicyContext, error) {
	policy, err := signature.DefaultPolicy(system)
	if err != nil {
		return nil, err
	}
	return signature.NewPolicyContext(policy)
}

// mayBeArtifact reports whether CRI-O tries to pull an artifact after this error. It
// does not if the network or the caller ended the pull.
func mayBeArtifact(err error) bool {
	var network net.Error
	return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &network)
}
