package retry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/disk"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// small is the size of a file system that is too small for the images of
// TestInsideDiskTooSmall.
const small = "24m"

// resize changes the size of the file system of a runtime's root.
func resize(t *testing.T, r runtimes.Runtime, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", r.Root(), "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
		t.Fatal(err)
	}
}

// spare returns the agent's limits, with floor bytes to keep free.
func spare(r runtimes.Runtime, floor uint64) scratchpull.Limits {
	l := limits()
	l.Floor = floor
	l.Free = func() (uint64, error) {
		all, err := disk.Filesystems(context.Background(), "/", disk.Containerd(r.Root(), nil))
		if err != nil {
			return 0, err
		}
		return slices.MinFunc(all, func(a, b disk.Filesystem) int { return int(a.Free) - int(b.Free) }).Free, nil
	}
	return l
}

// fill fills the file system, and returns a function that frees the space again.
func fill(t *testing.T, r runtimes.Runtime) (empty func()) {
	t.Helper()
	name := filepath.Join(r.Root(), "ballast")
	f, err := os.Create(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// attempt pulls as the kubelet does; the runtime keeps what it received.
func attempt(t *testing.T, r runtimes.Runtime, image string) string {
	t.Helper()
	req := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}, Auth: &runtimeapi.AuthConfig{Username: user, Password: password}}
	_, err := images(t, r).PullImage(t.Context(), req)
	said := status.Convert(err).Message()
	free, _ := spare(r, 0).Free()
	t.Logf("%s: %d bytes are free: %s", image, free, said)
	if !strings.Contains(said, "no space left on device") {
		t.Errorf("the pull of %s ends with %v", image, err)
	}
	return said
}

// cleanedUp waits until the runtime has removed the leftovers of an image that it could
// not store.
func cleanedUp(t *testing.T, r runtimes.Runtime, image string) {
	t.Helper()
	runtime, err := cri.Dial(r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = runtime.Close() }()
	repository, _, _ := strings.Cut(strings.TrimPrefix(image, host+"/"), ":")
	for deadline := time.Now().Add(worksFor); ; time.Sleep(10 * time.Millisecond) {
		stored, err := runtime.Stored(t.Context(), host, repository)
		if err != nil {
			t.Fatal(err)
		}
		if len(stored) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the runtime still has %+v", stored)
		}
	}
}

// want checks the verdict on the pull of an image, by an agent that keeps floor bytes
// free, and its summary.
func want(t *testing.T, r runtimes.Runtime, floor uint64, image, said string, cause diagnosis.Cause, in ...string) {
	t.Helper()
	a := newAgent(t, r, spare(r, floor), robots())
	v := a.judge(t, a.failure(t, image, said))
	t.Log(describe(v))
	if v.Cause != cause {
		t.Errorf("with %d bytes to keep free: want %s: %s", floor, cause, describe(v))
	}
	for _, s := range in {
		if !strings.Contains(describe(v), s) {
			t.Errorf("with %d bytes to keep free: want %q in %s", floor, s, describe(v))
		}
	}
}

// missing returns the start and end of the summary's part about a file system that is
// too small.
func missing(r runtimes.Runtime, needed string) (start, end string) {
	return "node lab-node has too little space on " + r.Root() + "/io.containerd.content.v1.content (content store, image store): ",
		" MiB free, and the image needs about " + needed + " once unpacked\n"
}

const (
	// floor is more than the small file system has.
	floor = 64 << 20
	whole = "and it succeeded"
)

// The runtime's message says that a pull found no space. The summary names the file
// system, whether the image is pulled again or, for lack of space, replayed. It also
// says how much space is missing, by the size that the registry reports, because the
// runtime has cleaned up. Once there is space, the retried pull succeeds.
func TestInsideDiskTooSmall(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		for name, parts := range map[string]struct {
			size, layers int64
			needed       string
		}{"received": {8 << 20, 4, "128 MiB"}, "unpacked": {15 << 20, 1, "60.0 MiB"}} {
			t.Run(name, func(t *testing.T) {
				image := put(t, "small-"+name+"-"+r.Tool, parts.size, parts.layers)
				resize(t, r, small)
				defer resize(t, r, roomy)
				said := attempt(t, r, image)
				cleanedUp(t, r, image)
				start, end := missing(r, parts.needed)
				want(t, r, 0, image, said, diagnosis.DiskFull, start, end, "DiskFull DiskFull: the runtime retried the pull")
				cleanedUp(t, r, image)
				want(t, r, floor, image, said, diagnosis.DiskFull, start, end, "for lack of disk space", "replayed with")
				resize(t, r, roomy)
				want(t, r, floor, image, said, diagnosis.NotReproducible, whole)
				_ = pullAndRemove(t.Context(), images(t, r), image, robot())
			})
		}
	})
}

// Other files have filled the file system completely.
func TestInsideDiskFull(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		image := put(t, "full-"+r.Tool, 1<<20, 2)
		resize(t, r, small)
		defer resize(t, r, roomy)
		empty := fill(t, r)
		defer empty()
		said := attempt(t, r, image)
		want(t, r, floor, image, said, diagnosis.DiskFull, "node lab-node has no space left on "+r.Root())
		empty()
		want(t, r, 0, image, said, diagnosis.NotReproducible, whole)
		_ = pullAndRemove(t.Context(), images(t, r), image, robot())
	})
}
