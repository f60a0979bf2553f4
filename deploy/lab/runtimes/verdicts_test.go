package runtimes

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/box"
)

var (
	update = flag.Bool("update", false, "write the golden file")
	only   = flag.String("only", "", "the `name` of the one runtime to run; the golden file is then left alone")
)

// mistakes are the complaints that are known to be right, and what makes whypull
// say the wrong thing.
var mistakes = map[string]string{}

func TestMain(m *testing.M) {
	played, err := Reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtimes:", err)
		os.Exit(1)
	}
	if !played {
		os.Exit(m.Run())
	}
}

// TestVerdicts lets each runtime pull from the world of faults and compares what
// whypull says with what is really wrong.
func TestVerdicts(t *testing.T) {
	dir, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(dir + "-runtimes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	runtimes := slices.DeleteFunc(All(), func(r Runtime) bool { return *only != "" && r.Name != *only })
	all, err := Run(t.Context(), l, runtimes, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	assertNothingLeft(t, l)
	if len(all) == 0 {
		t.Fatal("no results")
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "texts.txt"), []byte(Texts(all)), 0o600); err != nil {
		t.Fatal(err)
	}
	table := Table(all)
	fmt.Print(table)
	t.Run("CRI-O answers as recorded", func(t *testing.T) { assertRecorded(t, all) })
	complaints := Complaints(all)
	for _, complaint := range complaints {
		if mistakes[complaint] == "" {
			t.Error(complaint)
		}
	}
	if *only != "" {
		return
	}
	for mistake, why := range mistakes {
		if !slices.Contains(complaints, mistake) {
			t.Errorf("no longer a mistake: %s (%s)", mistake, why)
		}
	}
	compare(t, filepath.Join("testdata", "verdicts.golden"), table)
}

// assertNothingLeft: no process, mount or cgroup of the box outlives it.
func assertNothingLeft(t *testing.T, l *lab.Lab) {
	t.Helper()
	if _, err := box.Find(l.Dir()); !errors.Is(err, box.ErrNotRunning) {
		t.Errorf("the box runs (%v)", err)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || strings.Contains(string(mounts), l.Dir()) {
		t.Errorf("mounts of %s are left (%v)", l.Dir(), err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		if left, err := filepath.Glob(pattern + l.Cgroup()); err != nil || len(left) > 0 {
			t.Errorf("cgroup folders are left: %v (%v)", left, err)
		}
	}
}

// compare compares a text with a golden file, or writes the file.
func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range differences(string(want), got) {
		t.Error(difference)
	}
}
