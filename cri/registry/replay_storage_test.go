//go:build !windows

package registry_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/registry/registrytest"
)

// A replay writes no byte to any file: it works where none can be written.
func TestReplayStoresNothing(t *testing.T) {
	const child = "WHYPULL_TEST_STORES_NOTHING"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReplayStoresNothing$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return c.Image(amd64(), c.Layer(1), big(c, 100<<10)), b
	})
	thorough, dir := patient(), t.TempDir()
	thorough.Thorough = true
	opts := options(trusting(t, s))
	opts.TempDir = dir
	e := endpoint(t, opts, s.Host)
	name := ref(t, s.Host+"/team/app:1.0")
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Max: math.MaxInt64}); err != nil {
		t.Skipf("no limit of files: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600); err == nil {
		t.Fatal("files can be written, so that nothing is shown")
	}
	if a := e.Replay(t.Context(), name, nil, thorough); !a.Found {
		t.Errorf("answer %+v", a)
	}
}
