//go:build !linux

package disk

import (
	"context"
	"errors"
	"fmt"
)

// Filesystems returns errors.ErrUnsupported: no node runs here.
func Filesystems(context.Context, string, []Place) ([]Filesystem, error) {
	return nil, fmt.Errorf("file systems of the node: %w", errors.ErrUnsupported)
}
