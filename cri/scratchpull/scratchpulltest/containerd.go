// Package scratchpulltest is a containerd for tests: its own API on a real unix
// socket, as far as a pull in a namespace needs it, with namespaces, leases,
// content and image records that behave as in containerd, and scripted
// transfers.
package scratchpulltest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	streamingapi "github.com/containerd/containerd/api/services/streaming/v1"
	transferapi "github.com/containerd/containerd/api/services/transfer/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Containerd is a fake containerd.
type Containerd struct {
	// Socket is the path of the socket.
	Socket string

	tb     testing.TB
	server *grpc.Server

	mu        sync.Mutex
	version   string
	pull      func(context.Context, *Transfer) error
	fail      map[string]error
	spaces    map[string]*space
	streams   map[string]*stream
	calls     []string
	transfers []*Transfer
}

// space is a namespace.
type space struct {
	leases map[string]*leasesapi.Lease
	images map[string]*types.Descriptor
	blobs  map[digest.Digest]blob
	// ingests are unfinished blobs: bytes by name.
	ingests map[string]int64
}

type blob struct {
	data    []byte
	created time.Time
}

// New starts a containerd of a version, whose transfers do nothing. It stops
// with the test.
func New(tb testing.TB, version string) *Containerd {
	tb.Helper()
	// Not tb.TempDir: a socket's path is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "ctd")
	if err != nil {
		tb.Fatal(err)
	}
	c := &Containerd{
		Socket: filepath.Join(dir, "containerd.sock"), tb: tb, version: version,
		pull: func(context.Context, *Transfer) error { return nil },
		fail: map[string]error{}, spaces: map[string]*space{}, streams: map[string]*stream{},
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", c.Socket)
	if err != nil {
		tb.Fatal(err)
	}
	c.server = grpc.NewServer(grpc.UnaryInterceptor(c.unary))
	c.register()
	go func() { _ = c.server.Serve(l) }()
	tb.Cleanup(func() {
		c.Stop()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// register registers the services that containerd of this version has.
func (c *Containerd) register() {
	versionapi.RegisterVersionServer(c.server, versionServer{c: c})
	namespacesapi.RegisterNamespacesServer(c.server, namespaceServer{c: c})
	leasesapi.RegisterLeasesServer(c.server, leaseServer{c: c})
	imagesapi.RegisterImagesServer(c.server, imageServer{c: c})
	contentapi.RegisterContentServer(c.server, contentServer{c: c})
	if !strings.Contains(c.version, "1.6") {
		streamingapi.RegisterStreamingServer(c.server, streamServer{c: c})
		transferapi.RegisterTransferServer(c.server, transferServer{c: c})
	}
}

// Stop closes the socket and every connection.
func (c *Containerd) Stop() { c.server.Stop() }

// OnPull sets what a transfer does. As in containerd, it may go on after its
// context, which is the caller's, has ended.
func (c *Containerd) OnPull(pull func(context.Context, *Transfer) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pull = pull
}

// Fail makes a method, for example "Leases/Create", return an error; nil resets
// it.
func (c *Containerd) Fail(method string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail[method] = err
}

// Calls returns the unary calls so far.
func (c *Containerd) Calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Transfers returns the transfers so far.
func (c *Containerd) Transfers() []*Transfer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.transfers)
}

// Put stores a blob in a namespace, like an earlier pull.
func (c *Containerd) Put(namespace string, data []byte, created time.Time) digest.Digest {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := digest.FromBytes(data)
	c.space(namespace).blobs[d] = blob{data, created}
	return d
}

// Receive sets how many bytes of an incomplete blob a namespace has.
func (c *Containerd) Receive(namespace, ref string, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.space(namespace).ingests[ref] = bytes
}

// Lease creates a lease in a namespace, like another pull.
func (c *Containerd) Lease(namespace, id string, labels map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.space(namespace).leases[id] = &leasesapi.Lease{ID: id, Labels: labels}
}

// Drop removes the leases of a namespace, like an operator.
func (c *Containerd) Drop(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.space(namespace).leases)
}

// Holds returns the contents, one line for each namespace and each thing in it,
// sorted.
func (c *Containerd) Holds() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for name, s := range c.spaces {
		lines = append(lines, name)
		for id := range s.leases {
			lines = append(lines, name+" lease "+id)
		}
		for image := range s.images {
			lines = append(lines, name+" image "+image)
		}
		for d := range s.blobs {
			lines = append(lines, name+" blob "+d.String())
		}
		for ref := range s.ingests {
			lines = append(lines, name+" ingest "+ref)
		}
	}
	slices.Sort(lines)
	return lines
}

// unary records the calls, and makes them fail.
func (c *Containerd) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	parts := strings.Split(info.FullMethod, ".")
	method := parts[len(parts)-1]
	c.mu.Lock()
	c.calls = append(c.calls, method)
	err := c.fail[method]
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// space returns a namespace, which is created by use. The lock is held.
func (c *Containerd) space(name string) *space {
	s := c.spaces[name]
	if s == nil {
		s = &space{map[string]*leasesapi.Lease{}, map[string]*types.Descriptor{}, map[digest.Digest]blob{}, map[string]int64{}}
		c.spaces[name] = s
	}
	return s
}

// of returns the namespace of a call; one that does not exist is empty. The
// lock is held.
func (c *Containerd) of(ctx context.Context) *space {
	if s := c.spaces[header(ctx, "containerd-namespace")]; s != nil {
		return s
	}
	return &space{}
}

// collect is the garbage collector: content is kept while there is a lease or a
// record. The lock is held.
func (c *Containerd) collect() {
	for _, s := range c.spaces {
		if len(s.leases) == 0 && len(s.images) == 0 {
			clear(s.blobs)
			clear(s.ingests)
		}
	}
}

func header(ctx context.Context, key string) string {
	in, _ := metadata.FromIncomingContext(ctx)
	if values := in.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func notFound(what string) error { return status.Errorf(codes.NotFound, "%s: not found", what) }
