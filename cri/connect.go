package cri

import (
	"fmt"

	"google.golang.org/grpc"
)

// Connect returns a connection to a runtime's socket for calls other than
// CRI's: containerd serves its own API on the same socket. The endpoint is as
// in Dial. It does not connect yet, so an error always means an invalid
// endpoint.
func Connect(endpoint string) (*grpc.ClientConn, error) {
	path, err := SocketPath(endpoint)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+path, dialOptions(path)...)
	if err != nil {
		return nil, fmt.Errorf("container runtime at %s: %w", path, err)
	}
	return conn, nil
}
