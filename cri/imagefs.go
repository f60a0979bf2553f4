package cri

import (
	"context"
	"path"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxDirectories limits the number of directories that a runtime may report.
const maxDirectories = 32

// ImageDirectories returns the directories on the node in which the runtime stores
// images, which need not be mount points: the snapshotters' roots for containerd, the
// default one's first (ImageFsInfo; internal/cri/server/images), a directory in the
// graph root for CRI-O. It leaves out paths that are not absolute. Errors are of type
// *Error.
func (r *Runtime) ImageDirectories(ctx context.Context) ([]string, error) {
	resp, err := r.images.ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
	if err != nil {
		return nil, callError("ImageFsInfo", err)
	}
	var out []string
	for _, u := range resp.GetImageFilesystems() {
		if dir := u.GetFsId().GetMountpoint(); path.IsAbs(dir) {
			out = append(out, path.Clean(dir))
		}
	}
	return out[:min(len(out), maxDirectories)], nil
}
