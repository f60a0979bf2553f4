// Package lab runs a real Kubernetes node with its control plane, registries and
// network in one process tree on this machine, and leaves nothing behind when it stops.
//
// A program that uses it is re-executed for the parts that run inside, so it must call
// Reexec first in main or TestMain:
//
//	func TestMain(m *testing.M) {
//		if lab.Reexec() {
//			return
//		}
//		os.Exit(m.Run())
//	}
package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

// DirVariable is the environment variable that sets the lab's directory.
const DirVariable = "WHYPULL_LAB_DIR"

// ErrNotRunning reports that the lab is not running.
var ErrNotRunning = box.ErrNotRunning

// Lab is a lab. All its files are in one directory.
type Lab struct {
	dir string
	// Port is the API server's port on 127.0.0.1. Zero means the port of the last
	// start, or any free port.
	Port int
	// CacheDir is the cache directory for the lab's programs; empty means the default.
	CacheDir string
	// Kubernetes is the minor version of Kubernetes, one of binaries.Clusters. Empty
	// means the version of the last start, or the newest.
	Kubernetes string
	// Extra are programs to build, and to have on the node, besides the cluster's own.
	Extra []binaries.Family
	// Precedence is whether the cluster goes before what else runs on the machine where
	// processors are short: it has timeouts, which builds and tests beside it have not.
	// What is measured from outside is not comparable with it.
	Precedence bool
}

// Reexec runs the part of the lab that this process was re-executed for, and reports
// whether there was one. If so, the caller must exit.
func Reexec() bool {
	for _, play := range []func() (bool, error){box.Reexec, node.Reexec} {
		played, err := play()
		if err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
			os.Exit(1)
		}
		if played {
			return true
		}
	}
	return false
}

// DefaultDir returns the directory of the default lab.
func DefaultDir() (string, error) {
	if dir := os.Getenv(DirVariable); dir != "" {
		return dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for the lab (set %s): %w", DirVariable, err)
	}
	return filepath.Join(base, "whypull", "lab"), nil
}

// Open returns the lab in dir, or the default lab if dir is "". The lab need not exist.
func Open(dir string) (*Lab, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("lab directory: %w", err)
	}
	return &Lab{dir: dir}, nil
}

// Dir returns the lab's directory.
func (l *Lab) Dir() string { return l.dir }

// Cgroup returns the name of the lab's cgroup in each hierarchy.
func (l *Lab) Cgroup() string {
	sum := sha256.Sum256([]byte(l.dir))
	return "whypull-lab-" + hex.EncodeToString(sum[:4])
}

func (l *Lab) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}

// settings holds what a lab remembers between starts.
type settings struct {
	Port       int               `json:"port"`
	Kubernetes string            `json:"kubernetes"`
	Tools      map[string]string `json:"tools"`
}

func (l *Lab) load() (settings, error) {
	var s settings
	data, err := os.ReadFile(l.path("settings.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("lab settings: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("lab settings: %w", err)
	}
	return s, nil
}

func (l *Lab) save(s settings) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("lab settings: %w", err)
	}
	if err := os.WriteFile(l.path("settings.json"), data, 0o600); err != nil {
		return fmt.Errorf("lab settings: %w", err)
	}
	return nil
}

// lock prevents other processes from starting or stopping the lab.
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(l.dir, 0o750); err != nil {
		return nil, fmt.Errorf("lab directory: %w", err)
	}
	f, err := os.OpenFile(l.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab lock: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // #nosec G115 -- a descriptor is a small number
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || !pause(ctx) {
			return nil, errors.Join(fmt.Errorf("another process is starting or stopping the lab: %w", err), f.Close())
		}
	}
}

// pause waits briefly and reports whether ctx is not done yet.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// Status describes the state of a lab.
type Status struct {
	Dir        string            `json:"dir"`
	Kubernetes string            `json:"kubernetes,omitempty"`
	Running    bool              `json:"running"`
	Ready      bool              `json:"ready"`
	API        string            `json:"api,omitempty"`
	Kubeconfig string            `json:"kubeconfig,omitempty"`
	Components []supervise.State `json:"components,omitempty"`
}

// Status returns the state of the lab. A lab that is not running is not an error.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	status := Status{Dir: l.dir}
	b, err := box.Find(l.dir)
	if errors.Is(err, ErrNotRunning) {
		return status, nil
	}
	if err != nil {
		return status, err
	}
	s, err := l.load()
	if err != nil {
		return status, err
	}
	status.Running, status.Kubernetes, status.API, status.Kubeconfig = true, s.Kubernetes, apiURL(s.Port), l.KubeconfigPath()
	if status.Components, err = control(b).States(ctx); err != nil {
		return status, err
	}
	status.Ready = true
	for _, c := range status.Components {
		status.Ready = status.Ready && c.Ready
	}
	return status, nil
}

func control(b *box.Box) *supervise.Client { return supervise.NewClient(b.Path(node.ControlSocket)) }

func apiURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// Down stops the lab and removes everything outside its directory. The cluster is kept
// for the next Up. Stopping a lab that is not running is not an error.
func (l *Lab) Down(ctx context.Context) error {
	if _, err := os.Stat(l.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return l.down(ctx)
}

func (l *Lab) down(ctx context.Context) error {
	b, err := box.Find(l.dir)
	switch {
	case err == nil:
		if err := b.Kill(ctx); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotRunning):
		return err
	}
	if err := box.RemoveCgroups(ctx, l.Cgroup()); err != nil {
		return err
	}
	if err := os.Remove(l.path("box.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lab directory: %w", err)
	}
	return nil
}

// Reset stops the lab, deletes its cluster, and starts it with a new one.
func (l *Lab) Reset(ctx context.Context, progress io.Writer) error {
	if err := l.Remove(ctx); err != nil {
		return err
	}
	return l.Up(ctx, progress)
}

// Remove stops the lab and deletes its cluster and logs. The built programs and the
// port are kept.
func (l *Lab) Remove(ctx context.Context) error {
	if err := l.Down(ctx); err != nil {
		return err
	}
	for _, name := range []string{"var", "log", "skeleton", "root", "pki", "box.json", "admin.kubeconfig"} {
		if err := os.RemoveAll(l.path(name)); err != nil {
			return fmt.Errorf("lab directory: %w", err)
		}
	}
	return nil
}
