package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

// Up starts the lab and returns when its node accepts pods and its registries have
// their images. It reports to progress. If the lab is already running, Up does nothing.
func (l *Lab) Up(ctx context.Context, progress io.Writer) error {
	if progress == nil {
		progress = io.Discard
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab creates namespaces, mounts and cgroups: run it as root")
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if status, err := l.Status(ctx); err == nil && status.Ready {
		if tool, err := l.Lacks(); err != nil || tool != "" {
			return cmp.Or(err, fmt.Errorf("the running lab has no program %s: stop it with lab down", tool))
		}
		if err := l.sameVersion(); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(progress, "already up; kubeconfig:", status.Kubeconfig)
		return nil
	}
	start := time.Now()
	b, err := box.Find(l.dir)
	if errors.Is(err, ErrNotRunning) {
		b, err = l.start(ctx, progress)
	}
	if err != nil {
		return err
	}
	if err := l.waitReady(ctx, b, progress); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(progress, "ready after %.1f s; kubeconfig: %s\n", time.Since(start).Seconds(), l.KubeconfigPath())
	return nil
}

// start prepares the lab's directory and starts the box.
func (l *Lab) start(ctx context.Context, progress io.Writer) (*box.Box, error) {
	cluster, err := l.Cluster()
	if err != nil {
		return nil, err
	}
	if err := l.sameVersion(); err != nil {
		return nil, err
	}
	tools, err := l.Build(ctx, progress)
	if err != nil {
		return nil, err
	}
	// Leftovers of an earlier lab in this directory that was killed.
	if err := l.down(ctx); err != nil {
		return nil, err
	}
	listener, err := l.listen(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	if err := l.save(settings{Port: listener.Addr().(*net.TCPAddr).Port, Kubernetes: cluster.Kubernetes, Tools: tools}); err != nil {
		return nil, err
	}
	if err := l.writeFiles(listener.Addr().(*net.TCPAddr).Port, cluster, tools["pause"]); err != nil {
		return nil, err
	}
	if err := l.writeProvider(tools["provider"]); err != nil {
		return nil, err
	}
	return l.startBox(ctx, tools, listener)
}

// Build builds the lab's programs that are not cached, without starting anything. Up
// calls it too.
func (l *Lab) Build(ctx context.Context, progress io.Writer) (binaries.Paths, error) {
	families, err := l.families()
	if err != nil {
		return nil, err
	}
	if err := ensureRunc(ctx, progress); err != nil {
		return nil, err
	}
	cache, err := binaries.OpenCache(l.CacheDir, progress)
	if err != nil {
		return nil, err
	}
	return cache.Build(ctx, families)
}

// families returns the programs of the lab.
func (l *Lab) families() ([]binaries.Family, error) {
	cluster, err := l.Cluster()
	return slices.Concat(cluster.Families(), l.Extra), err
}

// Cluster returns the cluster that the lab runs.
func (l *Lab) Cluster() (binaries.Cluster, error) {
	s, err := l.load()
	if err != nil {
		return binaries.Cluster{}, err
	}
	return binaries.FindCluster(cmp.Or(l.Kubernetes, s.Kubernetes, binaries.Newest().Kubernetes))
}

// sameVersion returns an error if the lab has a cluster of another version of Kubernetes
// than it is to run. Its data may be of no use to another version.
func (l *Lab) sameVersion() error {
	s, err := l.load()
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.path("var", "lib", "etcd")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	has := cmp.Or(s.Kubernetes, binaries.Newest().Kubernetes)
	if cluster, err := l.Cluster(); err != nil || cluster.Kubernetes == has {
		return err
	}
	return fmt.Errorf("the cluster in %s runs Kubernetes %s, not %s: use lab reset, or another --dir", l.dir, has, l.Kubernetes)
}

// Lacks returns the first program of the lab that a running one was started without.
func (l *Lab) Lacks() (string, error) {
	s, err := l.load()
	if err != nil {
		return "", err
	}
	families, err := l.families()
	if err != nil {
		return "", err
	}
	for _, f := range families {
		for _, t := range f.Tools {
			if s.Tools[t.Name] == "" {
				return t.Name, nil
			}
		}
	}
	return "", nil
}

// ensureRunc installs runc, the only program that the lab takes from the system.
func ensureRunc(ctx context.Context, progress io.Writer) error {
	if _, err := exec.LookPath("runc"); err == nil {
		return nil
	}
	_, _ = fmt.Fprintln(progress, "installing runc")
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "runc"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...) // #nosec G204 -- constants
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("the lab needs runc, and apt-get %s failed: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// listen opens the API server's port on the machine. It prefers the last port, so that
// copied kubeconfigs stay valid.
func (l *Lab) listen(ctx context.Context) (*net.TCPListener, error) {
	s, err := l.load()
	if err != nil {
		return nil, err
	}
	candidates := []int{s.Port, 0}
	if l.Port != 0 {
		candidates = []int{l.Port}
	}
	for _, port := range candidates {
		var listener net.Listener
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return listener.(*net.TCPListener), nil
		}
	}
	return nil, fmt.Errorf("port for the API server: %w", err)
}

// writeFiles writes the kubeconfig and all files to copy into the node.
func (l *Lab) writeFiles(port int, cluster binaries.Cluster, pauseProgram string) error {
	for _, dir := range []string{"var/lib/lab", "var/log", "var/tmp", "log"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil { // #nosec G301 -- the node's own directories
			return fmt.Errorf("lab directory: %w", err)
		}
	}
	if err := os.RemoveAll(l.path("skeleton")); err != nil {
		return fmt.Errorf("lab directory: %w", err)
	}
	authorities, err := node.OpenAuthorities(l.path("pki"))
	if err != nil {
		return err
	}
	if err := node.Write(l.path("skeleton"), authorities, cluster.Containerd); err != nil {
		return err
	}
	name, content := node.ForwardsFile(1)
	if err := os.WriteFile(l.path("skeleton", name), []byte(content), 0o600); err != nil {
		return fmt.Errorf("lab directory: %w", err)
	}
	kubeconfig, err := node.AdminKubeconfig(authorities, apiURL(port))
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.KubeconfigPath(), []byte(kubeconfig), 0o600); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	if err := l.writeKubeletFile(); err != nil {
		return err
	}
	pause, err := image.Build(image.Options{Name: node.SandboxImage, Program: pauseProgram})
	if err != nil {
		return err
	}
	return image.WriteArchive(l.path("var", "lib", "lab", filepath.Base(node.SandboxArchive)), node.SandboxImage, pause)
}

// writeKubeletFile gives the node wrong credentials of its own for one registry that
// nothing else uses.
func (l *Lab) writeKubeletFile() error {
	name, content := registry.KubeletFile("not-the-password")
	name = l.path(name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { // #nosec G301 -- the kubelet's own mode
		return fmt.Errorf("kubelet's directory: %w", err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return fmt.Errorf("kubelet's credentials file: %w", err)
	}
	return nil
}

// writeProvider installs the kubelet's credential provider plugins, which are one program.
func (l *Lab) writeProvider(program string) error {
	data, err := os.ReadFile(filepath.Clean(program))
	if err != nil {
		return fmt.Errorf("credential provider: %w", err)
	}
	if err := os.MkdirAll(l.path("skeleton", node.ProviderDir), 0o755); err != nil { // #nosec G301 -- the node's own directory
		return fmt.Errorf("credential provider: %w", err)
	}
	for _, name := range []string{node.Provider, node.BearerProvider} {
		if err := os.WriteFile(l.path("skeleton", node.ProviderDir, name), data, 0o755); err != nil { // #nosec G306 G703 -- a program of the node
			return fmt.Errorf("credential provider: %w", err)
		}
	}
	return nil
}

func (l *Lab) startBox(ctx context.Context, tools binaries.Paths, listener *net.TCPListener) (*box.Box, error) {
	logs, err := os.OpenFile(l.path("log", "supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("supervisor's log: %w", err)
	}
	defer func() { _ = logs.Close() }()
	socket, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("API server's socket: %w", err)
	}
	defer func() { _ = socket.Close() }()
	b, err := box.Start(ctx, l.spec(tools), logs, []*os.File{socket})
	if err != nil {
		return nil, l.withLog(err)
	}
	return b, nil
}

func (l *Lab) spec(tools binaries.Paths) box.Spec {
	spec := box.Spec{
		Dir: l.dir, Cgroup: l.Cgroup(), Hostname: node.Name, Role: node.RoleSupervise,
		Addresses: node.Addresses(), Silent: node.SilentAddress, Skeleton: l.path("skeleton"), Precedence: l.Precedence,
		Writable: map[string]string{"/var": l.path("var"), node.LogDir: l.path("log")},
		ReadOnly: map[string]string{"/opt/cni/bin": tools.Dir("bridge")},
		Links:    map[string]string{"/var/run": "/run"},
	}
	for tool, path := range tools {
		family := "/opt/lab/tools/" + filepath.Base(filepath.Dir(path))
		spec.ReadOnly[family] = filepath.Dir(path)
		spec.Links[filepath.Join(node.ToolDir, tool)] = filepath.Join(family, filepath.Base(path))
	}
	return spec
}

// waitReady reports each component that becomes ready, until all are.
func (l *Lab) waitReady(ctx context.Context, b *box.Box, progress io.Writer) error {
	reported := map[string]bool{}
	for {
		states, err := control(b).States(ctx)
		if err == nil {
			done, err := report(progress, states, reported)
			if done || err != nil {
				return err
			}
		}
		if !b.Alive() {
			return l.withLog(errors.New("the lab has exited"))
		}
		if !pause(ctx) {
			return fmt.Errorf("the lab is not ready: %w%s", ctx.Err(), waitingFor(states))
		}
	}
}

// withLog adds the end of the lab's log to an error.
func (l *Lab) withLog(err error) error {
	return fmt.Errorf("%w; its last lines:\n%s", err, supervise.Tail(l.path("log", "supervisor.log"), 15))
}

func report(progress io.Writer, states []supervise.State, reported map[string]bool) (done bool, err error) {
	for _, s := range states {
		if s.Failed {
			return false, fmt.Errorf("%s (%s) does not start: %s", s.Name, s.Title, s.Trouble)
		}
		if s.Ready && !reported[s.Name] {
			reported[s.Name] = true
			_, _ = fmt.Fprintf(progress, "[%d/%d] %5.1f s  %s: %s\n", len(reported), len(states), s.ReadyAfter.Seconds(), s.Name, s.Title)
		}
	}
	return len(states) > 0 && len(reported) == len(states), nil
}

func waitingFor(states []supervise.State) string {
	var text strings.Builder
	for _, s := range states {
		if !s.Ready {
			text.WriteString("\n  waiting for " + s.Name + ": " + s.Waiting + " " + s.Trouble)
		}
	}
	return text.String()
}
