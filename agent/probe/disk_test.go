package probe

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/registry/registrytest"
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
	all := n.collector.lookAtDisk(n.t.Context(), f, []diagnosis.Evidence{messageEvidence(f)}).evidence()
	wellFormed(n.t, f, all)
	return of(f, all, diagnosis.CheckPull)
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
	unrecorded := app
	unrecorded.Message = "Failed to record image pull intent for container image \"" + app.Image + "\": failed to record image pull intent: open /var/lib/kubelet/image_manager/pulling/x: no space left on device"
	stalled := silent
	stalled.Stall = diagnosis.StallTransfer
	const where = contentDir + " (content store, image store"
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
		"nothing is mounted": {func(*node) {}, fullText(app), []string{"NotRun | free space at " + contentDir +
			" (content store) and /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store) is unknown: not mounted into the agent"}},
		"nothing is mounted, and the text does not speak of it": {func(*node) {}, silent, nil},
		"room, and the text says there is none": {func(n *node) { n.tmpfs(tmpmounts, "size=8m,nr_inodes=100") }, fullText(app),
			[]string{"Inconclusive | node worker-3 now has 8.0 MiB free on " + seen}},
		"few inodes": {func(n *node) { n.files(n.tmpfs(tmpmounts, "size=8m,nr_inodes=40"), 37) }, fullText(app),
			[]string{"Inconclusive | node worker-3 now has 8.0 MiB and only 2 of 40 inodes free on " + seen}},
		"room, and the text does not speak of it": {func(n *node) { n.tmpfs(tmpmounts, "size=8m,nr_inodes=100") }, silent, nil},
		"full by the stand-in": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, fullText(app),
			[]string{"Failed | DiskFull | node worker-3 has no space left on " + seen + " (0 B of 1.0 MiB)"}},
		"full by the stand-in, and the text does not speak of it": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, silent,
			[]string{"Inconclusive | DiskFull | node worker-3 has no space left on " + seen + " (0 B of 1.0 MiB)"}},
		"no inodes": {func(n *node) { n.tmpfs(tmpmounts, "size=1m,nr_inodes=1") }, fullText(app),
			[]string{"Failed | DiskFull | node worker-3 has no inodes left on " + seen + ", so no file can be created; 1.0 MiB free"}},
		"full itself, and the text does not speak of it": {func(n *node) {
			n.tmpfs("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs", "size=1m")
			fill(n.t, n.tmpfs(contentDir, "size=1m"))
		}, silent, []string{"Failed | DiskFull | node worker-3 has no space left on " + contentDir + " (content store) (0 B of 1.0 MiB)"}},
		"one is full, the other not seen": {func(n *node) { fill(n.t, n.tmpfs(contentDir, "size=1m")) }, fullText(app),
			[]string{"Failed | DiskFull | node worker-3 has no space left on " + contentDir + " (content store) (0 B of 1.0 MiB)",
				"NotRun | free space at /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store) is unknown: not mounted into the agent"}},
		"full, and the message is about a credential": {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, denied, nil},
		"full, and nothing is pulled":                 {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, never, nil},
		"full, and it is the kubelet that writes":     {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, unrecorded, nil},
		"full, and the pull has not failed":           {func(n *node) { fill(n.t, n.tmpfs(tmpmounts, "size=1m")) }, stalled, nil},
		"too small by the image's size":               {func(n *node) { both(n, "size=64k"); n.half(app, 1<<20) }, silent, []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 64.0 KiB free, and the image needs about 4.0 MiB once unpacked"}},
		"too small by an estimate":                    {func(n *node) { both(n, "size=2m"); n.half(app, 1<<20) }, fullText(app), []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 2.0 MiB free, and the image needs about 4.0 MiB once unpacked"}},
		"large enough for the image's size":           {func(n *node) { both(n, "size=8m"); n.half(app, 1<<20) }, silent, nil},
		"another runtime, nothing mounted":            {func(n *node) { n.runtime.Name = "cri-o" }, fullText(app), []string{"NotRun | free space at /var/tmp (temporary files) and /var/lib/containers/storage (image store) is unknown: not mounted into the agent"}},
		"another runtime, its room is known": {func(n *node) {
			n.runtime.Name = "cri-o"
			fill(n.t, n.tmpfs("/var/tmp", "size=1m"))
			n.tmpfs("/var/lib/containers/storage", "size=1m")
		}, fullText(app), []string{"Failed | DiskFull | node worker-3 has no space left on /var/tmp (temporary files) (0 B of 1.0 MiB)"}},
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

// files makes so many empty files.
func (n *node) files(dir string, count int) {
	n.t.Helper()
	for i := range count {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

// noise is a layer that does not pack.
func noise(c *registrytest.Content, size int) ocispec.Descriptor {
	body := make([]byte, size)
	_, _ = rand.Read(body)
	return c.Blob(ocispec.MediaTypeImageLayerGzip, body)
}

// What containerd has cleaned up is known by the registry: how much the image
// needs, and so how much is missing.
func TestDiskByTheRegistrysSize(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	const where = contentDir + " (content store, image store"
	both := func(options string) func(*node) {
		return func(n *node) {
			n.runtime.SetFilesystems([]*runtime.FilesystemUsage{critest.NewFilesystem(contentDir+"/snap", 1, 1)}, nil)
			n.files(n.tmpfs(contentDir, options), 1)
			if err := os.Mkdir(filepath.Join(n.options.Root, contentDir, "snap"), 0o750); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	apart := func(content, images string) func(*node) {
		return func(n *node) {
			n.tmpfs(contentDir, content)
			n.tmpfs("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs", images)
		}
	}
	const snapshots = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store)"
	silent := func(f diagnosis.Failure) diagnosis.Failure {
		f.Message = "something that nobody has written before"
		return f
	}
	for name, tc := range map[string]struct {
		change     func(*node)
		text       func(diagnosis.Failure) diagnosis.Failure
		held       int // the layers that another image has left on the node
		present    bool
		want       []string // of the evidence on the pull, but for the retry's
		summary    string   // "" where it is the first of the evidence, "-" where it is cut
		cause      diagnosis.Cause
		confidence diagnosis.Confidence
	}{
		"smaller than what comes": {change: both("size=1m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Confirmed,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 1.0 MiB free, and the image needs about 8.0 MiB once unpacked"}},
		"smaller than what it unpacks to": {change: both("size=4m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Likely,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 4.0 MiB free, and the image needs about 8.0 MiB once unpacked"}},
		"a part of it is there": {change: both("size=512k"), text: fullText, held: 1, cause: diagnosis.DiskFull, confidence: diagnosis.Confirmed,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 512 KiB free, and the rest of the image needs about 4.0 MiB once unpacked"}},
		"all but the unpacked is there": {change: both("size=1m"), text: fullText, held: 3, cause: diagnosis.DiskFull, confidence: diagnosis.Likely,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 1.0 MiB free, and the image needs about 6.0 MiB once unpacked"}},
		"large enough by now": {change: both("size=64m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Suspected,
			want:    []string{"Inconclusive | node worker-3 now has 64.0 MiB free on " + where + "), and the image needs about 8.0 MiB once unpacked"},
			summary: "the runtime ran out of disk space; node worker-3 now has 64.0 MiB free on " + where + "), and the image needs about 8.0 MiB once unpacked"},
		"one of two is too small": {change: apart("size=1m", "size=64m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Confirmed,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + contentDir + " (content store): 1.0 MiB free, and the image needs about 2.0 MiB"}},
		"both are large enough": {change: apart("size=64m", "size=32m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Suspected,
			want: []string{"Inconclusive | node worker-3 now has 64.0 MiB free on " + contentDir + " (content store), and the image needs about 2.0 MiB; " +
				"32.0 MiB free on /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs (image store), and the image needs about 6.0 MiB once unpacked"},
			summary: "-"},
		"one of two may be too small": {change: apart("size=64m", "size=4m"), text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Likely,
			want: []string{"Inconclusive | DiskFull | node worker-3 may have too little space on " + snapshots + ": 4.0 MiB free, and the image needs about 6.0 MiB once unpacked"}},
		"full": {change: func(n *node) { both("size=1m")(n); fill(n.t, filepath.Join(n.options.Root, contentDir)) }, text: fullText, cause: diagnosis.DiskFull, confidence: diagnosis.Confirmed,
			want: []string{"Failed | DiskFull | node worker-3 has no space left on " + where + ") (0 B of 1.0 MiB), and the image needs about 8.0 MiB once unpacked"}},
		"smaller, and the text does not speak of it": {change: both("size=1m"), text: silent, cause: diagnosis.DiskFull, confidence: diagnosis.Confirmed,
			want: []string{"Failed | DiskFull | node worker-3 has too little space on " + where + "): 1.0 MiB free, and the image needs about 8.0 MiB once unpacked"}},
		"smaller, but the image is there": {change: both("size=1m"), text: silent, present: true, cause: diagnosis.NotReproducible, confidence: diagnosis.Likely},
		"smaller, but all of it is there": {change: both("size=1m"), text: silent, held: 3, cause: diagnosis.NotReproducible, confidence: diagnosis.Likely},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var held []critest.Blob
			s := holding(t, func(c *registrytest.Content) ocispec.Descriptor {
				layers := []ocispec.Descriptor{noise(c, mib), noise(c, mib)}
				image := c.Image(platforms.DefaultSpec(), layers...)
				var m ocispec.Manifest
				if err := json.Unmarshal(c.Body(image), &m); err != nil {
					t.Fatal(err)
				}
				for _, d := range append(layers, m.Config)[:tc.held] {
					held = append(held, critest.Blob{Data: c.Body(d)})
				}
				return image
			})
			n := newNode(t, s.CA, nil)
			n.follow()
			n.runtime.Hold(held...)
			n.collector.Brief = true // noise is no archive
			tc.change(n)
			n.collector.Filesystems = n.collector.Transfers.(Filesystems)
			f := tc.text(failure(s.Host + "/team/app:1.0"))
			if tc.present {
				n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
			}
			all := n.collect(f)
			got := slices.DeleteFunc(of(f, all, diagnosis.CheckPull), func(l string) bool { return strings.HasPrefix(l, "NotRun | pulls are not retried") })
			wantLines(t, "disk", got, tc.want...)
			v := diagnosis.Diagnose(f, all)
			if v.Cause != tc.cause || v.Confidence != tc.confidence {
				t.Errorf("%s, %s: %s", v.Cause, v.Confidence, v.Summary)
			}
			if tc.summary == "" && len(tc.want) > 0 {
				tc.summary = tc.want[0][strings.LastIndex(tc.want[0], "| ")+2:]
			}
			if tc.summary != "" && tc.summary != "-" && v.Summary != tc.summary {
				t.Errorf("summary %s", v.Summary)
			}
			if heads(s) > 1 || count(s.Lines(), "GET /v2/team/app/manifests/"+s.Repositories[0].Content.Tagged("1.0").String()) != 1 {
				t.Errorf("requests %q", s.Lines())
			}
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
