//go:build !linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Namespace is a network namespace of the node, of which there is none here.
type Namespace struct{}

// Open returns errors.ErrUnsupported: only Linux has network namespaces.
func Open(_, path string) (*Namespace, error) {
	return nil, fmt.Errorf("network namespace %s: %w", path, errors.ErrUnsupported)
}

// Close does nothing.
func (*Namespace) Close() error { return nil }

// DialContext returns errors.ErrUnsupported.
func (*Namespace) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
