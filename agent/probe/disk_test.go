package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/critest"
)

const (
	contentDir = "/var/lib/containerd/io.containerd.content.v1.content"
	tmpmounts  = "/var/lib/containerd/tmpmounts"
)

// tmpfs mounts a file system of its own on a node.
func (n *node) tmpfs(at, options string) string {
	n.t.Helper()
	dir := filepath.Join(n.options.Root, at)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		n.t.Fatal(err)
	}
	switch err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		n.t.Skip("this process may not mount")
	case err != nil:
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			n.t.Error(err)
		}
	})
	return dir
}

// fill writes until a file system has no byte left.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full")) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	_ = f.Close()
}

func fullText(f diagnosis.Failure) diagnosis.Failure {
	f.Message = `failed to pull and unpack image "` + f.Image + `": failed to copy: write ` + contentDir + `/ingest/0ac/data: no space left on device`
	return f
}

// disk are the lines of the check alone.
func (n *node) disk(f diagnosis.Failure) []string {
	n.t.Helper()
	text := message(f)
	all := n.collector.checkDisk(n.t.Context(), f, text)
	wellFormed(n.t, all)
	return of(all, diagnosis.CheckPull)
}

func TestDisk(t *testing.T) {
	t.Parallel()
	app := failure("registry.test/team/app:v1")
	silent := app
	silent.Message = "something that nobody has written before"
	denied := app
	denied.Message = "failed to resolve image: unexpected status: 401 Unauthorized"
	never := fullText(app)
	never.PullPolicy = "Never"
	stalled := silent
	stalled.Stall = diagnosis.StallTransfer
	const where = "node worker-3's file system of " + contentDir + " (content store, image store"
	const seen = where + ", seen at " + tmpmounts + ")"
	both := func(n *node, options string) {
		n.runtime.SetFilesystems([]*runtime.FilesystemUsage{critest.NewFilesystem(contentDir+"/snap", 1, 1)}, nil)
		dir := n.tmpfs(contentDir, options)
		if err := os.Mkdir(filepath.Join(dir, "snap"), 0o750); err != nil {
			n.t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		change func(*node)
		f      diagnosis.Failure
		want   []string
	}{
		"nothing is mounted": {func(*node) {}, fullText(app), []string{"NotRun | how much room there is at " + contentDir +
			" (content store) and /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store) is not known: not mounted into the agent"}},
		"nothing is mounted, and the text does not speak of it": {func(*node) {}, silent, nil},
		"room, and the text says there is none": {func(n *node) { n.tmpfs(tmpmounts, "size=8m,nr_inodes=100") }, fullText(app),
			[]string{"Inconclusive | " + seen + " has 8.0 MiB and 99 inodes free now"}},
		"room, and the text does not speak of it": {func(n *node) { n.tmpfs(tmpmounts, "size=8m,nr_inodes=100") }, silent, nil},
		"full by the stand-in": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, fullText(app),
			[]string{"Failed | DiskFull | no byte of 1.0 MiB is left on " + seen}},
		"full by the stand-in, and the text does not speak of it": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, silent,
			[]string{"Inconclusive | DiskFull | no byte of 1.0 MiB is left on " + seen}},
		"no inodes": {func(n *node) { n.tmpfs(tmpmounts, "size=1m,nr_inodes=1") }, fullText(app),
			[]string{"Failed | DiskFull | no inodes are left on " + seen + ", so no file can be made there; 1.0 MiB are free"}},
		"full itself, and the text does not speak of it": {func(n *node) {
			n.tmpfs("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs", "size=1m")
			fill(n.t, n.tmpfs(contentDir, "size=1m"))
		}, silent, []string{"Failed | DiskFull | no byte of 1.0 MiB is left on node worker-3's file system of " + contentDir + " (content store)"}},
		"one is full, the other not seen": {func(n *node) { fill(n.t, n.tmpfs(contentDir, "size=1m")) }, fullText(app),
			[]string{"Failed | DiskFull | no byte of 1.0 MiB is left on node worker-3's file system of " + contentDir + " (content store)",
				"NotRun | how much room there is at /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store) is not known: not mounted into the agent"}},
		"full, and the text is of a login":  {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, denied, nil},
		"full, and nothing is pulled":       {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, never, nil},
		"full, and the pull has not failed": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, stalled, nil},
		"too small by the image's size":     {func(n *node) { both(n, "size=64k"); n.half(app, 1<<20) }, silent, []string{"Failed | DiskFull | about 3.9 MiB are missing on " + where + "): 64.0 KiB are free, and what is left of the image needs about 4.0 MiB"}},
		"too small by an estimate":          {func(n *node) { both(n, "size=2m"); n.half(app, 1<<20) }, fullText(app), []string{"Inconclusive | DiskFull | 2.0 MiB may be missing on " + where + "): 2.0 MiB are free, and what is left of the image needs about 4.0 MiB once unpacked"}},
		"large enough for the image's size": {func(n *node) { both(n, "size=8m"); n.half(app, 1<<20) }, silent, nil},
		"another runtime, nothing mounted":  {func(n *node) { n.runtime.Name = "cri-o" }, fullText(app), []string{"NotRun | how much room there is at /var/tmp (temporary files) and /var/lib/containers/storage (image store) is not known: not mounted into the agent"}},
		"another runtime, its room is known": {func(n *node) {
			n.runtime.Name = "cri-o"
			fill(n.t, n.tmpfs("/var/tmp", "size=1m"))
			n.tmpfs("/var/lib/containers/storage", "size=1m")
		}, fullText(app), []string{"Failed | DiskFull | no byte of 1.0 MiB is left on node worker-3's file system of /var/tmp (temporary files)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := followed(t)
			tc.change(n)
			n.collector.Filesystems = n.collector.Transfers.(Filesystems)
			got := n.disk(tc.f)
			wantLines(t, "disk", got, tc.want...)
		})
	}
}

// half makes the runtime have an image's manifest, and of its layers none.
func (n *node) half(f diagnosis.Failure, size int) {
	layer := critest.Blob{Data: []byte(strings.Repeat("l", size))}
	source := map[string]string{"containerd.io/distribution.source." + f.Registry: f.Repository}
	manifest := `{"config":{"digest":"` + blobOf("c") + `","size":1},"layers":[{"digest":"` + layer.Digest() + `","size":` + strconv.Itoa(size) + `}]}`
	n.runtime.Hold(critest.Blob{Data: []byte(manifest), Labels: source, Fetched: f.Since})
}
