package cri

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// callTimeout bounds one call. A runtime answers from memory in
	// milliseconds; one that needs longer is not well, which is an answer.
	callTimeout = 3 * time.Second
	// maxMessage is the bound that the kubelet puts on CRI messages.
	maxMessage = 16 << 20
	// maxBackoff is how long after a restart of the runtime it may still be
	// taken for down.
	maxBackoff = time.Second
)

// Runtime is a container runtime behind a CRI socket. It is safe for
// concurrent use, connects on the first call, and connects again by itself
// after the runtime was restarted.
type Runtime struct {
	conn    *grpc.ClientConn
	images  runtime.ImageServiceClient
	runtime runtime.RuntimeServiceClient
	content content.Store // containerd's own; others do not have it
}

// Dial makes a Runtime for a socket: an absolute path, or unix:///path. No
// connection is made yet, so an error is always a wrong endpoint. Give the
// path in a mounted directory rather than a mounted socket: the socket's inode
// changes when the runtime restarts.
func Dial(endpoint string) (*Runtime, error) {
	conn, err := Connect(endpoint)
	if err != nil {
		return nil, err
	}
	return &Runtime{
		conn:    conn,
		images:  runtime.NewImageServiceClient(conn),
		runtime: runtime.NewRuntimeServiceClient(conn),
		content: contentproxy.NewContentStore(conn),
	}, nil
}

func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	if !filepath.IsAbs(path) {
		return "", errors.New("container runtime endpoint: want an absolute path or unix:///path")
	}
	return path, nil
}

func dialOptions(path string) []grpc.DialOption {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A dialer of our own also keeps the proxy settings of the
		// environment away from the socket.
		grpc.WithContextDialer(dial),
		grpc.WithAuthority("localhost"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, MaxDelay: maxBackoff},
			MinConnectTimeout: callTimeout,
		}),
	}
}

// Close closes the connection.
func (r *Runtime) Close() error { return r.conn.Close() }

// Version gives the runtime's name ("containerd", "cri-o") and version as it
// writes them. Errors are of type *Error.
func (r *Runtime) Version(ctx context.Context) (name, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := r.runtime.Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return "", "", callError("Version", err)
	}
	return resp.GetRuntimeName(), resp.GetRuntimeVersion(), nil
}

// Ready returns nil when the runtime answers and reports its RuntimeReady
// condition. A network that is not ready is not asked about: images are pulled
// through the node's own network. Errors are of type *Error.
func (r *Runtime) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := r.runtime.Status(ctx, &runtime.StatusRequest{})
	if err != nil {
		return callError("Status", err)
	}
	for _, c := range resp.GetStatus().GetConditions() {
		if c.GetType() == runtime.RuntimeReady && c.GetStatus() {
			return nil
		}
	}
	return &Error{Op: "Status", Kind: KindNotReady, Code: codes.OK}
}

func notFound(err error) bool { return status.Code(err) == codes.NotFound }
