package cri

import (
	"context"
	"slices"
	"strings"

	"github.com/distribution/reference"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxOtherNames limits OtherNames, whose result is meant for a sentence.
const maxOtherNames = 5

// Image returns the runtime's ID of an image as written in a pod's spec; the runtime
// normalizes the name. containerd's IDs begin with sha256:, CRI-O's have hexadecimal
// digits only. present is false if the runtime has no such image: it returns an empty
// response (as CRI demands) or the code NotFound. Errors are of type *Error and mean
// that nothing is known.
func (r *Runtime) Image(ctx context.Context, ref string) (id string, present bool, err error) {
	resp, err := r.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err != nil && !notFound(err) {
		return "", false, callError("ImageStatus", err)
	}
	return resp.GetImage().GetId(), resp.GetImage() != nil, nil
}

// OtherNames returns other names under which the runtime has the image that ref
// refers to, sorted, at most five: other tags and digests of the same
// repository and, for a reference with a digest, names with the same digest in
// other repositories. A reference that does not parse has none. Errors are of
// type *Error.
//
// An image pulled by digest is not found by its tag, nor the other way round:
// the runtime keeps the two names apart.
func (r *Runtime) OtherNames(ctx context.Context, ref string) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, nil //nolint:nilerr // no name, so no other name
	}
	resp, err := r.images.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return nil, callError("ListImages", err)
	}
	var names []string
	for _, img := range resp.GetImages() {
		names = append(names, related(img, named)...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxOtherNames)], nil
}

// related returns the names of a listed image that refer to the same image as
// named, except named itself.
func related(img *runtime.Image, named reference.Named) []string {
	self := reference.TagNameOnly(named).String()
	all := slices.Concat(img.GetRepoTags(), img.GetRepoDigests())
	same := holdsDigest(img, named)
	var names []string
	for _, name := range all {
		other, err := reference.ParseNormalizedNamed(name)
		if err != nil || other.String() == self {
			continue
		}
		if same || other.Name() == named.Name() || builtHere(other, named) {
			names = append(names, other.String())
		}
	}
	return names
}

// builtHere reports whether a name is the one that buildah and podman give to an image
// that is built under another without a registry: localhost/NAME.
func builtHere(other, named reference.Named) bool {
	if reference.Domain(other) != "localhost" || reference.Domain(named) != "docker.io" {
		return false
	}
	return strings.TrimPrefix(reference.Path(named), "library/") == reference.Path(other)
}

func holdsDigest(img *runtime.Image, named reference.Named) bool {
	digested, ok := named.(reference.Digested)
	if !ok {
		return false
	}
	suffix := "@" + digested.Digest().String()
	return slices.ContainsFunc(img.GetRepoDigests(), func(d string) bool { return strings.HasSuffix(d, suffix) })
}
