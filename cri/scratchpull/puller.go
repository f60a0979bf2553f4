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
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"

	"github.com/whypull/whypull/cri"
)

// DefaultNamespace is the containerd namespace of the pulls.
const DefaultNamespace = "whypull.dev"

const (
	// cleanLimit bounds the removal of everything: it waits for a run of
	// containerd's garbage collector, which removes the files of the layers.
	cleanLimit = time.Minute
	// settleLimit is how long a pull that was stopped may take to end; the
	// service itself waits for 10 seconds (ProgressTracker.Wait).
	settleLimit = 15 * time.Second
	// spareTime is what the lease outlives the pull's time limit by.
	spareTime = 10 * time.Minute
)

// Limits end a pull. All are needed.
type Limits struct {
	// Bytes is the size, compressed, of the largest image that is pulled.
	Bytes int64
	// Floor is the free space, in bytes, that has to be left at any time.
	Floor uint64
	// Free gives the free space, in bytes, where the runtime stores content. An
	// error ends the pull: nobody would know when to stop.
	Free func() (uint64, error)
	// Time ends a pull that nothing else ends.
	Time time.Duration
	// Poll is how often Free is asked; 0 is twice a second.
	Poll time.Duration
	// Idle is for how long a pull may receive no byte; 0 is a second.
	Idle time.Duration
}

func (l Limits) check() error {
	if l.Bytes <= 0 || l.Time <= 0 || l.Free == nil {
		return errors.New("a pull needs limits of size, time and free space")
	}
	return nil
}

// Puller pulls images in a namespace of its own, one at a time. It is safe for
// concurrent use.
type Puller struct {
	namespace  string
	limits     Limits
	turn       chan struct{} // holds one token while a pull or a sweep runs
	conn       grpc.ClientConnInterface
	content    content.Store
	leases     leases.Manager
	images     imagesapi.ImagesClient
	namespaces namespacesapi.NamespacesClient
	version    versionapi.VersionClient
	closes     func() error
}

// New makes a Puller for containerd's socket, which is the one that serves CRI:
// an absolute path, or unix:///path. The namespace must be whypull's own, for
// everything in it is removed; "" is DefaultNamespace. Nothing is connected
// yet; the errors are those of arguments.
func New(socket, namespace string, limits Limits) (*Puller, error) {
	if err := limits.check(); err != nil {
		return nil, err
	}
	limits.Poll = cmp.Or(limits.Poll, time.Second/2)
	limits.Idle = cmp.Or(limits.Idle, time.Second)
	namespace = cmp.Or(namespace, DefaultNamespace)
	if slices.Contains([]string{"k8s.io", "default", "moby", "buildkit"}, namespace) {
		return nil, fmt.Errorf("the containerd namespace %s is not ours", namespace)
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
		closes:     conn.Close,
	}, nil
}

// Close closes the connection. A pull that runs then ends with an error, and
// cannot clean up: cancel its context and wait for it before.
func (p *Puller) Close() error { return p.closes() }

// Pull pulls an image as the runtime would for the kubelet, removes everything
// again, and tells how far it came. It waits for its turn.
//
// Without an error, either the pull succeeded (StageDone) or a limit ended it
// (Result.Stopped). An *Error with OpTransfer is the runtime's failure to pull.
// It gives way to the kubelet: where that pulls it does not begin, and when the
// kubelet begins to pull it ends.
//
// Every other error means that nothing was learnt: ErrUnsupported,
// ErrInterrupted, the context's, an *Error of another call.
func (p *Puller) Pull(ctx context.Context, request Request) (Result, error) {
	t, err := request.parse()
	if err != nil {
		return Result{}, err
	}
	release, err := p.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	if err := p.supports(ctx, t); err != nil {
		return Result{}, err
	}
	if free, low, err := p.low(0); err != nil || low {
		return Result{Stopped: StoppedLowSpace, Free: free, Floor: p.limits.Floor}, err
	}
	// What an earlier run has left would pass for what the node had.
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

// Sweep removes everything in the namespace, and the namespace: what a pull has
// left whose process was killed. Call it at start. It waits for a pull of this
// Puller; one of another process it would interrupt.
func (p *Puller) Sweep(ctx context.Context) error {
	release, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return p.sweep(ctx)
}

// take waits until nothing else runs.
func (p *Puller) take(ctx context.Context) (release func(), err error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ours is a context for calls about the namespace.
func (p *Puller) ours(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, p.namespace)
}

// low tells how much space is free, and whether so many more bytes would leave
// too little of it.
func (p *Puller) low(more int64) (free uint64, low bool, err error) {
	free, err = p.limits.Free()
	if err != nil {
		return 0, false, fmt.Errorf("free space: %w", err)
	}
	wanted := uint64(max(more, 0))
	return free, free < p.limits.Floor || free-p.limits.Floor < wanted, nil
}
