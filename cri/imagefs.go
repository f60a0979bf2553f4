package cri

import (
	"context"
	"path"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxFilesystems limits the number of directories that a runtime may report.
const maxFilesystems = 32

// ImageFilesystem is a directory in which the runtime stores images. It need not be a
// mount point.
type ImageFilesystem struct {
	// Directory is an absolute path on the node: a snapshotter's root for
	// containerd, a directory in the graph root for CRI-O.
	Directory string
	// Containers reports whether the directory holds the writable layers of
	// containers, which CRI-O reports separately.
	Containers bool
}

// ImageFilesystems returns the directories in which the runtime stores images,
// the default snapshotter's first (ImageFsInfo; internal/cri/server/images). It
// leaves out paths that are not absolute. Errors are of type *Error.
func (r *Runtime) ImageFilesystems(ctx context.Context) ([]ImageFilesystem, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := r.images.ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
	if err != nil {
		return nil, callError("ImageFsInfo", err)
	}
	out := filesystems(resp.GetImageFilesystems(), false)
	out = append(out, filesystems(resp.GetContainerFilesystems(), true)...)
	return out[:min(len(out), maxFilesystems)], nil
}

func filesystems(list []*runtime.FilesystemUsage, containers bool) []ImageFilesystem {
	var out []ImageFilesystem
	for _, u := range list {
		if dir := u.GetFsId().GetMountpoint(); path.IsAbs(dir) {
			out = append(out, ImageFilesystem{path.Clean(dir), containers})
		}
	}
	return out
}
