package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// callTimeout limits one call. A healthy runtime responds from memory in
	// milliseconds.
	callTimeout = 3 * time.Second
	// maxMessage is the kubelet's limit on CRI messages.
	maxMessage = 16 << 20
	// maxBackoff is how long the runtime may still appear down after a restart.
	maxBackoff = time.Second
)

// Runtime is a container runtime behind a CRI socket. It is safe for concurrent
// use, connects on the first call, and reconnects after the runtime restarts.
type Runtime struct {
	conn    *grpc.ClientConn
	images  runtime.ImageServiceClient
	runtime runtime.RuntimeServiceClient
	content content.Store // containerd only

	listing atomic.Int32              // lists of sandboxes under way
	lists   singleflight.Group        // of all sandboxes
	large   atomic.Pointer[time.Time] // until when all are too many for a list
}

// Dial returns a Runtime for a socket: an absolute path, or unix:///path. It
// does not connect yet, so an error always means an invalid endpoint. Mount the
// socket's directory rather than the socket, because the socket's inode changes
// when the runtime restarts.
func Dial(endpoint string) (*Runtime, error) {
	conn, err := Connect(endpoint, grpc.WithDefaultServiceConfig(fmt.Sprintf(
		`{"methodConfig": [{"name": [{"service": "runtime.v1.RuntimeService"}, {"service": "runtime.v1.ImageService"}], "timeout": "%gs"}]}`, callTimeout.Seconds())))
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		conn:    conn,
		images:  runtime.NewImageServiceClient(conn),
		runtime: runtime.NewRuntimeServiceClient(conn),
		content: contentproxy.NewContentStore(conn),
	}
	r.large.Store(&time.Time{})
	return r, nil
}

// SocketPath returns the path of an endpoint's socket. The endpoint is as in Dial.
func SocketPath(endpoint string) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	if !filepath.IsAbs(name) && !path.IsAbs(name) { // to Windows, a path without a volume is relative
		return "", errors.New("container runtime endpoint: want an absolute path or unix:///path")
	}
	return name, nil
}

func dialOptions(path string) []grpc.DialOption {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// An own dialer also ignores the proxy settings in the environment.
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

// Version returns the runtime's name ("containerd", "cri-o") and version as it
// reports them. Errors are of type *Error.
func (r *Runtime) Version(ctx context.Context) (name, version string, err error) {
	resp, err := r.runtime.Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return "", "", callError("Version", err)
	}
	return resp.GetRuntimeName(), resp.GetRuntimeVersion(), nil
}

// Ready returns nil if the runtime responds and reports its RuntimeReady
// condition. NetworkReady does not matter, because images are pulled through
// the node's own network. Errors are of type *Error.
func (r *Runtime) Ready(ctx context.Context) error {
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

// SandboxImage returns the image of the process that holds a pod's sandbox, as the
// runtime's own settings have it; "" where it does not say. Errors are of type
// *Error.
func (r *Runtime) SandboxImage(ctx context.Context) (string, error) {
	resp, err := r.runtime.Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return "", callError("Status", err)
	}
	for _, text := range resp.GetInfo() {
		var info struct {
			SandboxImage string `json:"sandboxImage"`
		}
		if json.Unmarshal([]byte(text), &info) == nil && info.SandboxImage != "" {
			return info.SandboxImage, nil
		}
	}
	return "", nil
}

func notFound(err error) bool { return status.Code(err) == codes.NotFound }

// Connect returns a connection to a runtime's socket for calls other than
// CRI's: containerd serves its own API on the same socket. The endpoint is as
// in Dial. It does not connect yet, so an error always means an invalid
// endpoint. No call has a time limit of its own, unless more options set one.
func Connect(endpoint string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	path, err := SocketPath(endpoint)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+path, append(dialOptions(path), more...)...)
	if err != nil {
		return nil, fmt.Errorf("container runtime at %s: %w", path, err)
	}
	return conn, nil
}
