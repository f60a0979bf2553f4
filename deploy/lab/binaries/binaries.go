// Package binaries builds the lab's programs from pinned Go modules and caches them, so
// that each is built once per machine.
package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// CacheVariable is the environment variable that sets the cache directory.
const CacheVariable = "WHYPULL_CACHE"

// Cache is a directory of built programs.
type Cache struct {
	dir   string
	every time.Duration // between reports of a build that goes on

	mu       sync.Mutex // of progress
	progress io.Writer
}

// Paths maps tool names to absolute paths.
type Paths map[string]string

// Dir returns the directory that contains a tool.
func (p Paths) Dir(tool string) string { return filepath.Dir(p[tool]) }

// OpenCache opens the cache in dir, or in the default directory if dir is empty. Builds
// report to progress.
func OpenCache(dir string, progress io.Writer) (*Cache, error) {
	if dir == "" {
		dir = os.Getenv(CacheVariable)
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory (set %s): %w", CacheVariable, err)
		}
		dir = filepath.Join(base, "whypull")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "bin"))
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil { // #nosec G703 -- the user names it
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	return &Cache{dir: dir, progress: progress, every: 30 * time.Second}, nil
}

// Build returns the paths of all tools of the families. It builds those that are not in
// the cache, several at a time if the machine has the memory.
func (c *Cache) Build(ctx context.Context, families []Family) (Paths, error) {
	goVersion, err := goVersion(ctx)
	if err != nil {
		return nil, err
	}
	paths := Paths{}
	var missing []missingFamily
	for _, f := range families {
		key, err := f.key(goVersion)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(c.dir, key)
		if !exists(dir) {
			missing = append(missing, missingFamily{f, dir})
		}
		for _, t := range f.Tools {
			paths[t.Name] = filepath.Join(dir, t.Name)
		}
	}
	if err := c.buildAll(ctx, missing); err != nil {
		return nil, err
	}
	return paths, nil
}

// missingFamily is a family that is not in the cache, and its directory there.
type missingFamily struct {
	Family
	dir string
}

func (c *Cache) buildAll(ctx context.Context, missing []missingFamily) error {
	if len(missing) == 0 {
		return nil
	}
	places := make(chan struct{}, together())
	c.report("building %d families of programs, %d at a time; later runs find them in %s\n", len(missing), cap(places), c.dir)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, m := range missing {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if ctx.Err() != nil {
				return
			}
			if err := c.ensure(ctx, m.Family, m.dir, fmt.Sprintf("[%d/%d]", i+1, len(missing))); err != nil {
				cancel(fmt.Errorf("building %s %s: %w", m.Name, m.Version, err))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// buildMemory is what the build of a large program takes, in bytes.
const buildMemory = 4 << 30

// together returns how many builds the machine has processors and memory for.
func together() int {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 1
	}
	// Three quarters of the machine's memory; what is free says little, because the
	// page cache gives way.
	memory := (info.Totalram - info.Totalram/4) * uint64(info.Unit) / buildMemory // #nosec G115 -- a small number
	return int(max(1, min(memory, uint64(runtime.NumCPU()))))                     // #nosec G115 -- a small number
}

// key returns the name of a family's cache directory. It covers everything that can
// change the programs' bytes.
func (f Family) key(goVersion string) (string, error) {
	h := sha256.New()
	h.Write(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n%s/%s\n", f.Version, f.Tags, f.LDFlags, compileFlags, goVersion, runtime.GOOS, runtime.GOARCH))
	for _, t := range f.Tools {
		h.Write(fmt.Appendf(nil, "%s %s\n", t.Name, t.Package))
	}
	names, err := f.names()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		data, err := f.file(name)
		if err != nil {
			return "", err
		}
		h.Write(fmt.Appendf(nil, "%s %d\n", name, len(data)))
		h.Write(data)
	}
	return f.Name + "-" + f.Version + "-" + hex.EncodeToString(h.Sum(nil))[:12], nil
}

// ensure builds a family unless its directory exists. The directory appears only when
// it is complete, and only one process at a time builds it.
func (c *Cache) ensure(ctx context.Context, f Family, dir, prefix string) error {
	if exists(dir) {
		return nil
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if exists(dir) {
		return nil
	}
	work, err := os.MkdirTemp(c.dir, "build-")
	if err != nil {
		return fmt.Errorf("work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := c.compile(ctx, f, work, prefix); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "bin"), dir); err != nil {
		return fmt.Errorf("moving the programs into the cache: %w", err)
	}
	return nil
}

func (c *Cache) compile(ctx context.Context, f Family, work, prefix string) error {
	source := filepath.Join(work, "source")
	if err := f.writeModule(source); err != nil {
		return err
	}
	for i, t := range f.Tools {
		start := time.Now()
		c.report("%s %s %s: building %s (%d/%d)\n", prefix, f.Name, f.Version, t.Name, i+1, len(f.Tools))
		stop := c.repeat(func() {
			c.report("%s %s %s: building %s (%d/%d) for %.0f s\n", prefix, f.Name, f.Version, t.Name, i+1, len(f.Tools), time.Since(start).Seconds())
		})
		err := goBuild(ctx, f, t, source, filepath.Join(work, "bin", t.Name))
		stop()
		if err != nil {
			return err
		}
		c.report("%s %s %s: built %s in %.0f s\n", prefix, f.Name, f.Version, t.Name, time.Since(start).Seconds())
	}
	return nil
}

// repeat calls a function at intervals until stop is called.
func (c *Cache) repeat(report func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(c.every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				report()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (c *Cache) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.progress != nil {
		_, _ = fmt.Fprintf(c.progress, format, args...)
	}
}

// writeModule writes the embedded module to a directory that go can build.
func (f Family) writeModule(dir string) error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := f.file(name)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, f.target(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return fmt.Errorf("module directory: %w", err)
		}
		if err := os.WriteFile(target, data, 0o600); err != nil {
			return fmt.Errorf("module file: %w", err)
		}
	}
	return nil
}

// names returns the family's embedded files, without tests.
func (f Family) names() ([]string, error) {
	if f.Module == nil {
		names := []string{f.Name + ".mod", f.Name + ".sum"}
		for _, t := range f.Tools {
			if t.Source != "" {
				names = append(names, t.Source)
			}
		}
		return names, nil
	}
	var names []string
	err := fs.WalkDir(f.Module, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("embedded module %s: %w", f.Name, err)
	}
	return names, nil
}

// target returns the path of an embedded file in the module's directory.
func (f Family) target(name string) string {
	switch {
	case f.Module != nil:
		return name
	case name == f.Name+".mod":
		return "go.mod"
	case name == f.Name+".sum":
		return "go.sum"
	}
	for _, t := range f.Tools {
		if t.Source == name {
			return filepath.Join(t.Package, "main.go")
		}
	}
	return name
}

// compileFlags turn inlining off but in the standard library: a third less to compile.
var compileFlags = []string{"-gcflags=all=-l", "-gcflags=std="} //nolint:gochecknoglobals // never written

func goBuild(ctx context.Context, f Family, t Tool, source, output string) error {
	args := append([]string{"build", "-trimpath", "-o", output}, compileFlags...)
	if f.Tags != "" {
		args = append(args, "-tags", f.Tags)
	}
	if f.LDFlags != "" {
		args = append(args, "-ldflags", f.LDFlags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.Package)...) // #nosec G204 -- the table is ours
	cmd.Dir = source
	// Static programs need nothing from the root file system they run in.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", t.Package, err, lastLines(out, 20))
	}
	return nil
}

func goVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("the go command is needed to build the lab's programs: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func lastLines(out []byte, n int) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockFile takes an exclusive lock, which is released at the latest when the process
// exits.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // #nosec G115 -- a descriptor is a small number
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("waiting for another build: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
