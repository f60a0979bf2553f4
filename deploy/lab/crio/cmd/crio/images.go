package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/storage"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageStatus implements runtimeapi.ImageServiceServer. A missing image is not an
// error.
func (s *server) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	name := r.GetImage().GetImage()
	if name == "" {
		return nil, errors.New("no image specified")
	}
	image, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if image == nil {
		return &runtimeapi.ImageStatusResponse{Image: s.artifact(name)}, nil
	}
	described, err := s.describe(image)
	return &runtimeapi.ImageStatusResponse{Image: described}, err
}

// ListImages implements runtimeapi.ImageServiceServer.
func (s *server) ListImages(_ context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	var images []storage.Image
	if name := r.GetFilter().GetImage().GetImage(); name != "" {
		image, err := s.find(name)
		if err != nil || image == nil {
			return &runtimeapi.ListImagesResponse{}, err
		}
		images = []storage.Image{*image}
	} else {
		var err error
		if images, err = s.store.Images(); err != nil {
			return nil, err
		}
	}
	var answer runtimeapi.ListImagesResponse
	for i := range images {
		described, err := s.describe(&images[i])
		if err != nil {
			return nil, err
		}
		answer.Images = append(answer.Images, described)
	}
	return &answer, nil
}

// RemoveImage implements runtimeapi.ImageServiceServer. It removes the name, and with
// its last name the image. A missing image is not an error.
func (s *server) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	name := r.GetImage().GetImage()
	image, err := s.find(name)
	switch {
	case err != nil:
		return nil, err
	case image == nil:
		err = s.artifacts.remove(name)
	case len(image.Names) > 1 && image.ID != name:
		err = s.store.RemoveNames(image.ID, []string{name})
	default:
		_, err = s.store.DeleteImage(image.ID, true)
	}
	return &runtimeapi.RemoveImageResponse{}, err
}

// ImageFsInfo implements runtimeapi.ImageServiceServer. As in CRI-O, it names the
// directory of the image metadata and counts only that.
func (s *server) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	dir := filepath.Join(s.store.GraphRoot(), s.store.GraphDriverName()+"-images")
	var bytes, inodes uint64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += uint64(max(info.Size(), 0))
			inodes++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // an image may be removed meanwhile
		return nil, err
	}
	usage := []*runtimeapi.FilesystemUsage{{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: dir},
		UsedBytes: &runtimeapi.UInt64Value{Value: bytes}, InodesUsed: &runtimeapi.UInt64Value{Value: inodes},
	}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// find returns the image with a name or ID, or nil if the store has none.
func (s *server) find(name string) (*storage.Image, error) {
	if regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(name) {
		image, err := s.store.Image(name)
		if errors.Is(err, storage.ErrImageUnknown) {
			return nil, nil //nolint:nilnil // not found
		}
		return image, err
	}
	candidates, err := s.candidates(name)
	if err != nil {
		return nil, err
	}
	for _, candidate := range candidates {
		image, err := s.imageNamed(candidate)
		if !errors.Is(err, istorage.ErrNoSuchImage) {
			return image, err
		}
	}
	return nil, nil //nolint:nilnil // not found
}

// imageNamed returns the image with a full name, or istorage.ErrNoSuchImage.
func (s *server) imageNamed(name reference.Named) (*storage.Image, error) {
	unresolved, err := istorage.Transport.NewStoreReference(s.store, name, "")
	if err != nil {
		return nil, err
	}
	_, image, err := istorage.ResolveReference(unresolved)
	return image, err
}

// describe returns an image in CRI's form. Each repository of its names is listed with
// each of its digests.
func (s *server) describe(image *storage.Image) (*runtimeapi.Image, error) {
	size, err := s.store.ImageSize(image.ID)
	if err != nil {
		return nil, err
	}
	described := &runtimeapi.Image{Id: image.ID, Size: uint64(max(size, 0)), Spec: &runtimeapi.ImageSpec{}}
	digests := map[string]bool{}
	for _, name := range image.Names {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, err
		}
		if _, tagged := named.(reference.Tagged); tagged {
			described.RepoTags = append(described.RepoTags, name)
		}
		for _, d := range image.Digests {
			if full := named.Name() + "@" + d.String(); !digests[full] {
				digests[full] = true
				described.RepoDigests = append(described.RepoDigests, full)
			}
		}
	}
	return described, nil
}

// artifact returns an artifact in CRI's form, or nil if there is none of that name.
func (s *server) artifact(name string) *runtimeapi.Image {
	found := s.artifacts.find(name)
	if found == digest.Digest("") {
		return nil
	}
	return &runtimeapi.Image{Id: found.Encoded(), RepoTags: []string{name}, Spec: &runtimeapi.ImageSpec{}}
}
