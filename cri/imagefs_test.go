package cri_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/critest"
)

func TestImageFilesystems(t *testing.T) {
	const overlay = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
	fs := critest.NewFilesystem
	for name, tc := range map[string]struct {
		images, containers []*runtime.FilesystemUsage
		want               []cri.ImageFilesystem
	}{
		"none":       {},
		"containerd": {images: []*runtime.FilesystemUsage{fs(overlay, 7, 3)}, want: []cri.ImageFilesystem{{Directory: overlay}}},
		"not counted yet": {images: []*runtime.FilesystemUsage{{FsId: &runtime.FilesystemIdentifier{Mountpoint: overlay + "/"}}},
			want: []cri.ImageFilesystem{{Directory: overlay}}},
		"CRI-O": {images: []*runtime.FilesystemUsage{fs("/images", 1, 2)}, containers: []*runtime.FilesystemUsage{fs("/containers", 3, 4)},
			want: []cri.ImageFilesystem{{Directory: "/images"}, {Directory: "/containers", Containers: true}}},
		"the order stays": {images: []*runtime.FilesystemUsage{fs("/b", 0, 0), fs("/a", 0, 0)}, want: []cri.ImageFilesystem{{Directory: "/b"}, {Directory: "/a"}}},
		"odd paths":       {images: []*runtime.FilesystemUsage{fs("", 0, 0), fs("relative", 0, 0), {}, nil, fs("/a/../b", 0, 0)}, want: []cri.ImageFilesystem{{Directory: "/b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			fake := critest.New(t)
			fake.SetFilesystems(tc.images, tc.containers)
			got, err := dial(t, fake.Socket).ImageFilesystems(t.Context())
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestImageFilesystemsAreBounded(t *testing.T) {
	fake := critest.New(t)
	var all []*runtime.FilesystemUsage
	for n := range 100 {
		all = append(all, critest.NewFilesystem(fmt.Sprintf("/%d", n), 0, 0))
	}
	fake.SetFilesystems(all, all)
	got, err := dial(t, fake.Socket).ImageFilesystems(t.Context())
	if err != nil || len(got) != 32 || got[31].Directory != "/31" {
		t.Errorf("%d file systems, %v", len(got), err)
	}
}

func TestImageFilesystemsFail(t *testing.T) {
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	for code, want := range map[codes.Code]cri.Kind{codes.Unavailable: cri.KindDown, codes.Unimplemented: cri.KindUnimplemented, codes.Unknown: cri.KindFailed} {
		fake.Set(critest.Fault{Code: code, Of: "ImageFsInfo"})
		if got, err := r.ImageFilesystems(t.Context()); got != nil || kindOf(t, err) != want {
			t.Errorf("%s: %v, %v", code, got, err)
		}
	}
}
