package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// KubeconfigPath returns the path of the administrator's kubeconfig, for use on this
// machine.
func (l *Lab) KubeconfigPath() string { return l.path("admin.kubeconfig") }

// ToolPath returns the path of one of the lab's programs on this machine.
func (l *Lab) ToolPath(name string) (string, error) {
	s, err := l.load()
	if err != nil {
		return "", err
	}
	if s.Tools[name] == "" {
		return "", fmt.Errorf("the lab has no program %q (is it up?)", name)
	}
	return s.Tools[name], nil
}

// KubectlPath returns the path of a kubectl of the cluster's version, for use on this
// machine.
func (l *Lab) KubectlPath() (string, error) { return l.ToolPath("kubectl") }

// Kubectl runs kubectl on this machine against the lab and returns its output.
func (l *Lab) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	kubectl, err := l.KubectlPath()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, kubectl, args...) // #nosec G204 -- the caller's own arguments
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.KubeconfigPath())
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, problems.String())
	}
	return out.String(), nil
}

// Command returns a command with the environment of the lab's node. Pass it to Run.
func Command(argv ...string) *exec.Cmd {
	return &exec.Cmd{Args: argv, Env: append(box.Environment(), "KUBECONFIG=/etc/kubernetes/admin.kubeconfig")}
}

// Run runs a command from Command inside the lab.
func (l *Lab) Run(ctx context.Context, cmd *exec.Cmd) error {
	b, err := box.Find(l.dir)
	if err != nil {
		return err
	}
	return b.Run(ctx, cmd)
}

// Exec runs a command inside the lab and returns what it printed.
func (l *Lab) Exec(ctx context.Context, stdin io.Reader, argv ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	cmd := Command(argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problems
	err = l.Run(ctx, cmd)
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, problems.String())
	}
	return out.String(), problems.String(), err
}

// Dial connects to host:port inside the lab from this machine. The host is an
// address or one of the registries' names.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	b, err := box.Find(l.dir)
	if err != nil {
		return nil, err
	}
	return b.Dial(ctx, network, registry.Resolve(address))
}

// Listen listens on address:port inside the lab. This process accepts the connections.
func (l *Lab) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	b, err := box.Find(l.dir)
	if err != nil {
		return nil, err
	}
	return b.Listen(ctx, network, address)
}

// ListenPacket is Listen for packets.
func (l *Lab) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	b, err := box.Find(l.dir)
	if err != nil {
		return nil, err
	}
	return b.ListenPacket(ctx, network, address)
}

// Forward makes host:port inside the lab reachable on 127.0.0.1 of this machine until
// ctx is done, and returns the local address.
func (l *Lab) Forward(ctx context.Context, target string) (string, error) {
	if _, err := box.Find(l.dir); err != nil {
		return "", err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("forwarding %s: %w", target, err)
	}
	go node.Forward(ctx, listener, func() (net.Conn, error) { return l.Dial(ctx, "tcp", target) })
	return listener.Addr().String(), nil
}

// ReadFile reads a file of the node.
func (l *Lab) ReadFile(path string) ([]byte, error) {
	root, err := l.root()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.ReadFile(strings.TrimPrefix(path, "/"))
}

// WriteFile writes a file of the node and creates missing directories. Files outside
// /var are reset by the next Up.
func (l *Lab) WriteFile(path string, data []byte) error {
	root, err := l.root()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	path = strings.TrimPrefix(path, "/")
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("directory on the node: %w", err)
	}
	return root.WriteFile(path, data, 0o644)
}

// RemoveFile removes a file of the node.
func (l *Lab) RemoveFile(path string) error {
	root, err := l.root()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return root.Remove(strings.TrimPrefix(path, "/"))
}

// Socket returns a path on this machine for a unix socket of the node.
func (l *Lab) Socket(path string) (string, error) {
	b, err := box.Find(l.dir)
	if err != nil {
		return "", err
	}
	return b.Path(path), nil
}

func (l *Lab) root() (*os.Root, error) {
	b, err := box.Find(l.dir)
	if err != nil {
		return nil, err
	}
	return b.Root()
}

// StopComponent stops a component until StartComponent.
func (l *Lab) StopComponent(ctx context.Context, name string) error {
	b, err := box.Find(l.dir)
	if err != nil {
		return err
	}
	return control(b).Stop(ctx, name)
}

// StartComponent starts a stopped component and waits until it is ready.
func (l *Lab) StartComponent(ctx context.Context, name string) error {
	b, err := box.Find(l.dir)
	if err != nil {
		return err
	}
	return control(b).Start(ctx, name)
}

// ComponentLog returns the path of a component's log on this machine.
func (l *Lab) ComponentLog(name string) string { return l.path("log", name+".log") }

// RegistryLog returns the path, on this machine, of the access log of a registry
// (registry.Hub, registry.Token, registry.Plain) or of registry.Auth: one line per
// request, with its status and user agent.
func (l *Lab) RegistryLog(name string) string { return l.path("log", registry.LogFile(name)) }

// Transport returns a transport that reaches the lab's registries from this machine by
// name and trusts their CA.
func (l *Lab) Transport() (*http.Transport, error) {
	authority, err := os.ReadFile(l.path("pki", "registry-ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("registry authority: %w", err)
	}
	return registry.Transport(l.Dial, authority), nil
}

// Push stores an image in one of the lab's registries, as a user with permission.
func (l *Lab) Push(ctx context.Context, reference string, i v1.Image) error {
	transport, err := l.Transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	return registry.Push(ctx, transport, reference, i)
}

// PauseImage returns a new image with its own digest that only runs the pause program.
func (l *Lab) PauseImage(name string) (v1.Image, error) {
	program, err := l.ToolPath("pause")
	if err != nil {
		return nil, err
	}
	return image.Build(image.Options{Name: name, Program: program})
}

// BuildImage builds an image archive from one static program, in the lab's directory,
// and returns its path.
func (l *Lab) BuildImage(reference, program string, o image.Options) (string, error) {
	o.Name, o.Program = reference, program
	built, err := image.Build(o)
	if err != nil {
		return "", err
	}
	dir := l.path("images")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("image directory: %w", err)
	}
	path := filepath.Join(dir, image.FileName(reference))
	return path, image.WriteArchive(path, reference, built)
}

// ImportImage imports the images of an archive into the node's runtime, where the
// kubelet finds them.
func (l *Lab) ImportImage(ctx context.Context, archive string) error {
	f, err := os.Open(filepath.Clean(archive))
	if err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	defer func() { _ = f.Close() }()
	_, _, err = l.Exec(ctx, f, "ctr", "--namespace=k8s.io", "images", "import", "-")
	return err
}
