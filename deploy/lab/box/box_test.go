package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const v1Mounts = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /.. /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

func TestHierarchies(t *testing.T) {
	for name, test := range map[string]struct {
		mountinfo string
		want      []hierarchy
	}{
		"v1 and v2": {v1Mounts, []hierarchy{
			{mount: "/sys/fs/cgroup/cpu,cpuacct", options: "cpu,cpuacct"},
			{mount: "/sys/fs/cgroup/memory", options: "memory"},
			{mount: "/sys/fs/cgroup/systemd", options: "none,name=systemd"},
		}},
		"v2 alone": {"30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", []hierarchy{{mount: "/sys/fs/cgroup", unified: true}}},
		"none":     {"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\nnonsense\n", nil},
	} {
		if got := hierarchies(test.mountinfo); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestRemoveTreeRemovesFoldersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(t.Context(), dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in-use"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := removeTree(ctx, dir); err == nil {
		t.Error("a cgroup in use was removed")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("an empty cgroup: %v", err)
	}
	if err := writePID(dir, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	b, err := Find(dir)
	if err != nil || b.PID != os.Getpid() {
		t.Errorf("this process: %+v, %v", b, err)
	}
	// The same PID, but a different start time.
	if err := os.WriteFile(pidPath(dir), fmt.Appendf(nil, "%d 1\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a reused process number: %v", err)
	}
}

func TestKillEndsAProcessThatIgnoresTheFirstSignal(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writePID(dir, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	b, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if b.Alive() {
		t.Error("it still runs")
	}
	_ = cmd.Wait()
}

func TestCopyTreeKeepsLinksAndModes(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(filepath.Join(from, "d"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "d", "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d/f", filepath.Join(from, "l")); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(to, "l")); err != nil || target != "d/f" {
		t.Errorf("link: %q, %v", target, err)
	}
	info, err := os.Stat(filepath.Join(to, "d", "f"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
}

func TestStartRefusesAProgramThatDoesNotPlayRoles(t *testing.T) {
	t.Setenv(RoleVariable, "anything")
	if _, err := Start(t.Context(), Spec{Dir: t.TempDir()}, os.Stderr, nil); err == nil {
		t.Error("it would start itself for ever")
	}
}
