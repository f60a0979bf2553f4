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

func TestImageDirectories(t *testing.T) {
	const overlay = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
	fs := critest.NewFilesystem
	for name, tc := range map[string]struct {
		images, containers []*runtime.FilesystemUsage
		want               []string
	}{
		"none":       {},
		"containerd": {images: []*runtime.FilesystemUsage{fs(overlay, 7, 3)}, want: []string{overlay}},
		"not counted yet": {images: []*runtime.FilesystemUsage{{FsId: &runtime.FilesystemIdentifier{Mountpoint: overlay + "/"}}},
			want: []string{overlay}},
		"CRI-O": {images: []*runtime.FilesystemUsage{fs("/images", 1, 2)}, containers: []*runtime.FilesystemUsage{fs("/containers", 3, 4)},
			want: []string{"/images"}},
		"the order stays": {images: []*runtime.FilesystemUsage{fs("/b", 0, 0), fs("/a", 0, 0)}, want: []string{"/b", "/a"}},
		"odd paths":       {images: []*runtime.FilesystemUsage{fs("", 0, 0), fs("relative", 0, 0), {}, nil, fs("/a/../b", 0, 0)}, want: []string{"/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			fake := critest.New(t)
			fake.SetFilesystems(tc.images, tc.containers)
			got, err := dial(t, fake.Socket).ImageDirectories(t.Context())
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestImageDirectoriesAreBounded(t *testing.T) {
	fake := critest.New(t)
	var all []*runtime.FilesystemUsage
	for n := range 100 {
		all = append(all, critest.NewFilesystem(fmt.Sprintf("/%d", n), 0, 0))
	}
	fake.SetFilesystems(all, all)
	got, err := dial(t, fake.Socket).ImageDirectories(t.Context())
	if err != nil || len(got) != 32 || got[31] != "/31" {
		t.Errorf("%d directories, %v", len(got), err)
	}
}

func TestImageDirectoriesFail(t *testing.T) {
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	for code, want := range map[codes.Code]cri.Kind{codes.Unavailable: cri.KindDown, codes.Unimplemented: cri.KindUnimplemented, codes.Unknown: cri.KindFailed} {
		fake.Set(critest.Fault{Code: code, Of: "ImageFsInfo"})
		if got, err := r.ImageDirectories(t.Context()); got != nil || kindOf(t, err) != want {
			t.Errorf("%s: %v, %v", code, got, err)
		}
	}
}
