package scratchpull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/distribution/reference"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/whypull/whypull/cri"
)

// DefaultNamespace is the containerd namespace of the pulls.
const DefaultNamespace = "whypull.dev"

const (
	// cleanupTimeout limits the removal of everything. The removal waits for
	// containerd's garbage collector, which deletes the layers' files.
	cleanupTimeout = time.Minute
	// settleTimeout is how long a stopped pull may take to end; the service
	// itself waits for 10 seconds (ProgressTracker.Wait).
	settleTimeout = 15 * time.Second
	// leaseMargin is how long the lease outlives the pull's time limit.
	leaseMargin = 10 * time.Minute
)

// Limits end a pull. Bytes, Free and Time are required.
type Limits struct {
	// Bytes is the compressed size of the largest image to pull.
	Bytes int64
	// Floor is the free space, in bytes, that must remain at any time.
	Floor uint64
	// Free returns the free space, in bytes, where the runtime stores content.
	// An error ends the pull, because the space can then not be monitored.
	Free func() (uint64, error)
	// Time ends a pull that nothing else ends.
	Time time.Duration
	// Poll is the interval between calls of Free; 0 means half a second.
	Poll time.Duration
	// Idle is how long a pull may receive nothing; 0 means a second.
	Idle time.Duration
}

// Puller pulls images in its own namespace, one at a time. It is safe for
// concurrent use.
type Puller struct {
	namespace  string
	limits     Limits
	turn       chan struct{} // holds one token while a pull or a sweep runs
	conn       *grpc.ClientConn
	content    content.Store
	leases     leases.Manager
	images     imagesapi.ImagesClient
	namespaces namespacesapi.NamespacesClient
	version    versionapi.VersionClient
}

// New returns a Puller for containerd's socket, the one that serves CRI: an
// absolute path, or unix:///path. The namespace must be whypull's own, because
// everything in it is removed; "" means DefaultNamespace. New does not connect;
// its errors are about the arguments.
func New(socket, namespace string, limits Limits) (*Puller, error) {
	if limits.Bytes <= 0 || limits.Time <= 0 || limits.Free == nil {
		return nil, errors.New("limits of size, time and free space are required")
	}
	limits.Poll = cmp.Or(limits.Poll, time.Second/2)
	limits.Idle = cmp.Or(limits.Idle, time.Second)
	namespace = cmp.Or(namespace, DefaultNamespace)
	if slices.Contains([]string{"k8s.io", "default", "moby", "buildkit"}, namespace) {
		return nil, fmt.Errorf("containerd namespace %s is reserved", namespace)
	}
	conn, err := cri.Connect(socket)
	if err != nil {
		return nil, err
	}
	return &Puller{
		namespace: namespace, limits: limits, turn: make(chan struct{}, 1), conn: conn,
		content:    contentproxy.NewContentStore(conn),
		leases:     leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(conn)),
		images:     imagesapi.NewImagesClient(conn),
		namespaces: namespacesapi.NewNamespacesClient(conn),
		version:    versionapi.NewVersionClient(conn),
	}, nil
}

// Close closes the connection. A running pull then fails and cannot clean up,
// so cancel its context and wait for it first.
func (p *Puller) Close() error { return p.conn.Close() }

// Pull pulls an image as the runtime would for the kubelet, removes everything
// again, and returns how far it got. It waits for its turn.
//
// Without an error, either the pull succeeded or a limit ended it
// (Result.Stopped). An *Error with OpTransfer means that the runtime failed to
// pull. Pull gives way to the kubelet: it does not start while the kubelet
// pulls, and ends when the kubelet starts to.
//
// Any other error means that nothing is known about the image: ErrUnsupported,
// ErrInterrupted, the context's error, an *Error of another call.
func (p *Puller) Pull(ctx context.Context, request Request) (Result, error) {
	named, err := reference.ParseDockerRef(request.Ref) // like CRI, it drops a tag before a digest
	if err != nil {
		return Result{}, fmt.Errorf("image reference: %w", err)
	}
	t := target{request, named}
	release, err := p.acquire(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	if err := p.supports(ctx, t); err != nil {
		return Result{}, err
	}
	if free, low, err := p.lowSpace(0); err != nil || low {
		return Result{Stopped: StoppedLowSpace, Free: free, Floor: p.limits.Floor}, err
	}
	// Leftovers of an earlier run would look like content of the node.
	if err := p.sweep(ctx); err != nil {
		return Result{}, err
	}
	g, busy, err := p.guard(ctx, t)
	switch {
	case err != nil:
		return Result{}, err
	case busy:
		return Result{Stopped: StoppedGaveWay}, nil
	}
	return p.pull(ctx, t, g)
}

// Sweep removes the namespace and everything in it, which is what a pull leaves
// behind if its process was killed. Call it at startup. It waits for a pull of
// this Puller, but would interrupt one of another process.
func (p *Puller) Sweep(ctx context.Context) error {
	release, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return p.sweep(ctx)
}

// acquire waits until no pull or sweep runs.
func (p *Puller) acquire(ctx context.Context) (release func(), err error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inNamespace returns a context for calls in the Puller's namespace.
func (p *Puller) inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, p.namespace)
}

// lowSpace returns the free space, and whether that many more bytes would leave
// less than Limits.Floor.
func (p *Puller) lowSpace(more int64) (free uint64, low bool, err error) {
	free, err = p.limits.Free()
	if err != nil {
		return 0, false, fmt.Errorf("read free space: %w", err)
	}
	return free, free < p.limits.Floor || free-p.limits.Floor < uint64(max(more, 0)), nil
}

// supports returns ErrUnsupported unless the runtime pulls this as it would for
// the kubelet. In doubt it is unsupported.
func (p *Puller) supports(ctx context.Context, t target) error {
	answer, err := p.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return callError(ctx, "Version", err)
	}
	v, err := version.ParseGeneric(answer.GetVersion()) // such as "v2.1.5-k3s1.33", "1.7.28~ds1"
	switch {
	case err != nil || v.LessThan(version.MajorMinor(1, 7)):
		return fmt.Errorf("containerd %q: %w", answer.GetVersion(), ErrUnsupported)
	case v.Major() == 1 && !needsNoConfig(t):
		return fmt.Errorf("containerd %d.%d does not read hosts.toml in its transfer service: %w", v.Major(), v.Minor(), ErrUnsupported)
	}
	return nil
}

// needsNoConfig reports whether a pull needs no registry configuration: 1.7's
// service reads none and uses https only, whereas CRI also tries http for a
// registry on localhost.
func needsNoConfig(t target) bool {
	local, err := docker.MatchLocalhost(reference.Domain(t.named))
	return t.HostsDir == "" && err == nil && !local
}
