package critest

import (
	"context"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// NewFilesystem returns an entry of ImageFsInfo.
func NewFilesystem(mountpoint string, used, inodes uint64) *runtime.FilesystemUsage {
	return &runtime.FilesystemUsage{
		FsId:      &runtime.FilesystemIdentifier{Mountpoint: mountpoint},
		UsedBytes: &runtime.UInt64Value{Value: used}, InodesUsed: &runtime.UInt64Value{Value: inodes},
	}
}

// SetFilesystems sets where the runtime stores images and, if it reports that
// separately, containers.
func (r *Runtime) SetFilesystems(images, containers []*runtime.FilesystemUsage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filesystems = &runtime.ImageFsInfoResponse{ImageFilesystems: images, ContainerFilesystems: containers}
}

// ImageFsInfo implements CRI.
func (r *Runtime) ImageFsInfo(ctx context.Context, _ *runtime.ImageFsInfoRequest) (*runtime.ImageFsInfoResponse, error) {
	if _, err := r.enter(ctx, "ImageFsInfo"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filesystems == nil {
		return &runtime.ImageFsInfoResponse{}, nil
	}
	return r.filesystems, nil
}
