package retry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// roomy is the normal size of the file system of a runtime's root.
const roomy = "2g"

// State inside the box, for the tests that run there.
var (
	world *faulttest.World
	large *store
)

func TestMain(m *testing.M) {
	played, err := box.Reexec()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "retry:", err)
		os.Exit(1)
	case played:
	case os.Getenv(box.RoleVariable) == role:
		os.Exit(inside(m))
	case os.Getenv(box.RoleVariable) == pullerRole:
		fmt.Fprintln(os.Stderr, pullUntilKilled())
		os.Exit(1)
	default:
		os.Exit(m.Run())
	}
}

// inside runs the tests of the box.
func inside(m *testing.M) int {
	stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "retry:", err)
		return 1
	}
	defer stop()
	os.Args = []string{os.Args[0], "-test.v", "-test.run=^TestInside", "-test.timeout=5m"}
	code := m.Run()
	if code == 0 {
		err = os.WriteFile(doneFile, nil, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "retry:", err)
	}
	return code
}

func start() (stop func(), err error) {
	if err := os.Unsetenv(box.RoleVariable); err != nil {
		return nil, err
	}
	if world, err = faulttest.Start(faulttest.Config{Root: "/", DNS: runtimes.NameServer}); err != nil {
		return nil, err
	}
	var closeStore func()
	if large, closeStore, err = serve(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop = func() {
		cancel()
		closeStore()
		world.Close()
	}
	if err := mountRoots(); err != nil {
		return stop, err
	}
	if err := runtimes.Serve(ctx, environment()); err != nil {
		return nil, err
	}
	return stop, settle(ctx)
}

// mountRoots gives each capable runtime its own file system, so that a test can shrink
// it.
func mountRoots() error {
	for _, r := range capable() {
		if err := os.MkdirAll(r.Root(), 0o711); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		if err := unix.Mount("tmpfs", r.Root(), "tmpfs", 0, "mode=711,size="+roomy); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return nil
}

// environment returns the runtimes' environment: the fault registry's proxy is not used
// for the large registry.
func environment() []string {
	variables := world.ProxyEnv()
	for i, v := range variables {
		if strings.HasPrefix(v, "NO_PROXY=") {
			address, _, _ := strings.Cut(host, ":")
			variables[i] = v + "," + address
		}
	}
	return variables
}

// settle lets each runtime pull once as the kubelet does, so that what this creates
// permanently, the namespace k8s.io, exists from the start.
func settle(ctx context.Context) error {
	for _, r := range runtimes.Releases() {
		conn, err := cri.Connect(r.Socket())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		for _, c := range world.Cases() {
			if c.Name != "token-works" {
				continue
			}
			if err := pullAndRemove(ctx, kubelet{runtimeapi.NewImageServiceClient(conn), imagesapi.NewImagesClient(conn)}, c.Image, nil); err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return nil
}

// TestRetry runs the tests of the box.
func TestRetry(t *testing.T) {
	dir, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(dir + "-retry")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	log, passed, err := run(t.Context(), l, os.Stderr)
	said, readErr := os.ReadFile(filepath.Clean(log))
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	t.Logf("inside the box:\n%s", said)
	if !passed {
		t.Error("the tests inside the box failed")
	}
}
