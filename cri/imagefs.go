package cri

import (
	"context"
	"path"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxFilesystems bounds the directories that a runtime may tell of.
const maxFilesystems = 32

// ImageFilesystem is a directory in which the runtime has images. The numbers are
// what the images use, and not what is free on the file system; the directory need
// not be a mount.
type ImageFilesystem struct {
	// Directory is an absolute path of the node: with containerd a snapshotter's
	// root, with CRI-O one in its graph root.
	Directory string
	// Used is bytes, Inodes a number of files. Both are 0 as long as the runtime
	// has not counted, which containerd does every ten seconds (snapshotsSyncer).
	Used, Inodes uint64
	// Containers: it is for the writable layers of containers, which CRI-O tells of
	// separately.
	Containers bool
}

// ImageFilesystems gives the directories in which the runtime has images, the
// default snapshotter's first (ImageFsInfo; internal/cri/server/images). Paths that
// are not absolute are left out. Errors are of type *Error.
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
			out = append(out, ImageFilesystem{
				Directory: path.Clean(dir), Used: u.GetUsedBytes().GetValue(), Inodes: u.GetInodesUsed().GetValue(), Containers: containers,
			})
		}
	}
	return out
}
