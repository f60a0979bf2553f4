// Package crio holds the source of a small CRI server that pulls images as CRI-O 1.37
// does: with the same release of the image library, the same settings, and the same
// error messages. CRI-O itself cannot be built from the Go module proxy.
//
// It is a separate module, because whypull uses a later release of the image library.
package crio

import (
	"embed"
	"io/fs"
)

//go:embed go.mod go.sum cmd/crio/*.go
var source embed.FS

// Source returns the files from which the server is built. Its main package is
// ./cmd/crio.
func Source() fs.FS { return source }
