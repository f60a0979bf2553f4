// Package box runs a process in its own namespaces, with a root file system, network
// and cgroups that nothing outside shares, so that nothing is left when its first
// process ends.
package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// RoleVariable is the environment variable that selects the role of a re-executed
// program.
const RoleVariable = "WHYPULL_LAB_ROLE"

const (
	specVariable = "WHYPULL_LAB_SPEC"
	roleLaunch   = "launch"
	roleInit     = "init"
)

// Spec describes a box.
type Spec struct {
	// Dir is the directory on the machine that holds everything of the box.
	Dir string
	// Cgroup is the name of the box's cgroup in each hierarchy.
	Cgroup   string
	Hostname string
	// Addresses are the addresses of the box's network device, with prefix lengths.
	Addresses []string
	// Silent is an address in the box's network that never answers.
	Silent string
	// Skeleton is a directory on the machine whose files are copied into the root.
	Skeleton string
	// ReadOnly and Writable map paths inside the box to directories on the machine.
	ReadOnly map[string]string
	Writable map[string]string
	// Links maps paths inside the box to the targets of symbolic links.
	Links map[string]string
	// Role is the role of the box's main process (see RoleVariable).
	Role string
	// Listeners is the number of listening sockets that the main process inherits.
	Listeners int
	// Precedence is whether the box goes before what else runs on the machine where
	// processors are short.
	Precedence bool
}

// Box is a running box.
type Box struct {
	dir string
	PID int
	// started distinguishes the first process from a later one with the same PID.
	started string
}

// ErrNotRunning reports that there is no box.
var ErrNotRunning = errors.New("the lab is not running")

// Start starts a box. Its output goes to logs; it inherits the listeners.
func Start(ctx context.Context, spec Spec, logs *os.File, listeners []*os.File) (*Box, error) {
	if os.Getenv(RoleVariable) != "" {
		return nil, errors.New("to start a lab, this program must call lab.Reexec first in main")
	}
	spec.Listeners = len(listeners)
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("describing the box: %w", err)
	}
	path := filepath.Join(spec.Dir, "box.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("describing the box: %w", err)
	}
	cmd := reexec(ctx, roleLaunch, path)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = logs, logs, listeners
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("starting the box (%s): %w", logs.Name(), err)
	}
	return Find(spec.Dir)
}

// reexec returns a command that runs this program again in another role.
func reexec(ctx context.Context, role, specPath string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{"whypull-lab-" + role}
	cmd.Env = append(withoutRole(os.Environ()), RoleVariable+"="+role, specVariable+"="+specPath)
	return cmd
}

func withoutRole(env []string) []string {
	var keep []string
	for _, e := range env {
		if !strings.HasPrefix(e, RoleVariable+"=") && !strings.HasPrefix(e, specVariable+"=") {
			keep = append(keep, e)
		}
	}
	return keep
}

// Reexec runs one of the box's own roles if this process was started for one, and
// reports whether it did. If so, the caller must exit.
func Reexec() (played bool, err error) {
	switch os.Getenv(RoleVariable) {
	case roleLaunch:
		return true, launch()
	case roleInit:
		return true, runInit()
	default:
		return false, nil
	}
}

func readSpec() (Spec, error) {
	var spec Spec
	data, err := os.ReadFile(os.Getenv(specVariable)) // #nosec G703 -- our own parent set it
	if err != nil {
		return spec, fmt.Errorf("description of the box: %w", err)
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return spec, fmt.Errorf("description of the box: %w", err)
	}
	return spec, nil
}

// launch joins the box's cgroups and starts its first process from there, because a new
// cgroup namespace is rooted in the parent's cgroup.
func launch() error {
	spec, err := readSpec()
	if err != nil {
		return err
	}
	if err := joinCgroups(spec); err != nil {
		return err
	}
	cmd := reexec(context.Background(), roleInit, os.Getenv(specVariable))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, inherited(spec.Listeners)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("first process of the box: %w", err)
	}
	if err := writePID(spec.Dir, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	return nil
}

// inherited returns the n listening sockets inherited from the parent.
func inherited(n int) []*os.File {
	var files []*os.File
	for i := range n {
		files = append(files, os.NewFile(uintptr(3+i), "listener"))
	}
	return files
}

func pidPath(dir string) string { return filepath.Join(dir, "box.pid") }

func writePID(dir string, pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	temporary := pidPath(dir) + ".new"
	if err := os.WriteFile(temporary, fmt.Appendf(nil, "%d %s\n", pid, started), 0o600); err != nil {
		return fmt.Errorf("process file: %w", err)
	}
	if err := os.Rename(temporary, pidPath(dir)); err != nil {
		return fmt.Errorf("process file: %w", err)
	}
	return nil
}

// Find returns the running box of a directory, or ErrNotRunning.
func Find(dir string) (*Box, error) {
	data, err := os.ReadFile(pidPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("process file: %w", err)
	}
	first, started, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return nil, fmt.Errorf("process file %s: %w", pidPath(dir), err)
	}
	b := &Box{dir: dir, PID: pid, started: started}
	if !b.Alive() {
		return nil, ErrNotRunning
	}
	return b, nil
}

// Alive reports whether the box's first process is running.
func (b *Box) Alive() bool {
	started, err := startTime(b.PID)
	return err == nil && started == b.started
}

// startTime returns a process's start time, which distinguishes it from a later one with
// the same PID. A zombie counts as gone.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, err)
	}
	// The second field is the command in parentheses, which may contain anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d is gone", pid)
	}
	return fields[19], nil
}

// Kill kills the box and returns when its last process is gone.
func (b *Box) Kill(ctx context.Context) error {
	process, err := os.FindProcess(b.PID)
	if err != nil {
		return fmt.Errorf("process %d: %w", b.PID, err)
	}
	defer func() { _ = process.Release() }()
	if !b.Alive() {
		return nil
	}
	if err := process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the box: %w", err)
	}
	for start := time.Now(); b.Alive(); {
		if time.Since(start) > 5*time.Second {
			_ = process.Signal(unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not exit: %w", b.PID, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Root opens the box's root file system. Paths cannot escape it.
func (b *Box) Root() (*os.Root, error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", b.PID))
	if err != nil {
		return nil, fmt.Errorf("root file system of the box: %w", err)
	}
	return root, nil
}

// Path returns the machine's path for a path of the box, if the path has no symbolic
// links.
func (b *Box) Path(inside string) string {
	return fmt.Sprintf("/proc/%d/root/%s", b.PID, strings.TrimPrefix(inside, "/"))
}
