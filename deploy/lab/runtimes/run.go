package runtimes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

// SilentAddress never answers. It is of the network that nobody routes.
const SilentAddress = "240.0.0.1"

// Run makes a box in the lab's folder, runs every case of the world of faults
// on each of the runtimes there, and returns what became of them, sorted by case
// and in the order of All. Nothing is left but logs. It reports to progress what it
// does.
func Run(ctx context.Context, l *lab.Lab, runtimes []Runtime, progress io.Writer) ([]Result, error) {
	return runIn(ctx, l, runtimes, role, nil, caseOf, progress)
}

func caseOf(r Result) (name, runtime string) { return r.Case, r.Runtime }

// runIn makes a box with these files in the lab's folder, whose main process plays a
// role, and returns its results, sorted by case and in the order of All. of returns the
// case and the runtime of a result.
func runIn[T any](ctx context.Context, l *lab.Lab, runtimes []Runtime, role string, files map[string]string, of func(T) (name, runtime string), progress io.Writer) (_ []T, err error) {
	tools, err := build(ctx, l, runtimes, progress)
	if err != nil {
		return nil, err
	}
	if err := l.Remove(ctx); err != nil { // what an earlier run has left when it was killed
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(ctx))) }()
	if err := registry.WriteFiles(l.Dir(), files); err != nil {
		return nil, err
	}
	b, err := start(ctx, l, runtimes, tools, role)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, b, l, progress, func() int {
		some, _ := read(hostPath(l, resultsFile), of) // only for progress
		return len(some)
	}); err != nil {
		return nil, err
	}
	return read(hostPath(l, resultsFile), of)
}

// read returns the results so far, in the order of runIn.
func read[T any](path string, of func(T) (name, runtime string)) ([]T, error) {
	all, err := readLines[T](path)
	slices.SortStableFunc(all, func(a, b T) int {
		nameA, runtimeA := of(a)
		nameB, runtimeB := of(b)
		return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(place(runtimeA), place(runtimeB)))
	})
	return all, err
}

// build builds the runtimes' programs, if the lab's cache does not have them.
func build(ctx context.Context, l *lab.Lab, runtimes []Runtime, progress io.Writer) (binaries.Paths, error) {
	cache, err := binaries.OpenCache(l.CacheDir, progress)
	if err != nil {
		return nil, err
	}
	families := slices.DeleteFunc(slices.Concat(binaries.Default(), binaries.Runtimes()), func(f binaries.Family) bool {
		return !slices.ContainsFunc(f.Tools, func(t binaries.Tool) bool {
			return slices.ContainsFunc(runtimes, func(r Runtime) bool { return r.Tool == t.Name })
		})
	})
	return cache.Build(ctx, families)
}

// start prepares the folder and starts the box.
func start(ctx context.Context, l *lab.Lab, runtimes []Runtime, tools binaries.Paths, role string) (*box.Box, error) {
	if err := os.MkdirAll(filepath.Dir(logFile(l)), 0o755); err != nil { // #nosec G301 -- the box's own folder
		return nil, fmt.Errorf("lab folder: %w", err)
	}
	logs, err := os.OpenFile(logFile(l), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer func() { _ = logs.Close() }()
	return startBox(ctx, l, runtimes, tools, role, logs)
}

func spec(l *lab.Lab, runtimes []Runtime, tools binaries.Paths) box.Spec {
	s := box.Spec{
		Dir: l.Dir(), Cgroup: l.Cgroup(), Hostname: nodeName, Role: role,
		Addresses: []string{"240.0.0.2/24"}, Silent: SilentAddress,
		Skeleton: filepath.Join(l.Dir(), "skeleton"),
		Writable: map[string]string{"/var": filepath.Join(l.Dir(), "var"), logDir: filepath.Join(l.Dir(), "log")},
		ReadOnly: map[string]string{},
		Links:    map[string]string{"/var/run": "/run"},
	}
	for _, r := range runtimes {
		family := "/opt/lab/tools/" + r.Tool
		s.ReadOnly[family] = tools.Dir(r.Tool)
		s.Links[filepath.Join(toolDir, r.Tool)] = filepath.Join(family, r.Tool)
	}
	return s
}

// hostPath is where the machine has a path below /var of the box.
func hostPath(l *lab.Lab, inside string) string { return filepath.Join(l.Dir(), inside) }

// logFile has what the box's own processes say.
func logFile(l *lab.Lab) string { return filepath.Join(l.Dir(), "log", "runtimes.log") }

// wait returns when the box has ended, which it does by itself.
func wait(ctx context.Context, b *box.Box, l *lab.Lab, progress io.Writer, results func() int) error {
	begun := time.Now()
	told := begun
	for b.Alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the runtimes' pulls were cut short: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
		if time.Since(told) < 15*time.Second {
			continue
		}
		told = time.Now()
		_, _ = fmt.Fprintf(progress, "%4.0f s: %d results\n", time.Since(begun).Seconds(), results())
	}
	if _, err := os.Stat(hostPath(l, doneFile)); err != nil {
		return fmt.Errorf("the box has ended too early; its last lines:\n%s", supervise.Tail(logFile(l), 15))
	}
	return nil
}

// place is a runtime's place among all.
func place(name string) int {
	return slices.IndexFunc(All(), func(r Runtime) bool { return r.Name == name })
}
