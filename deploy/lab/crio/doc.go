// Package crio holds the source of a small CRI server that pulls images as
// CRI-O 1.37 does: with the same release of the same image library, the same
// settings, and the same words around its errors. CRI-O itself is no Go module
// that can be built from the module proxy.
//
// It is a module of its own, because the product has a later release of the
// image library.
package crio

import (
	"embed"
	"io/fs"
)

//go:embed go.mod go.sum cmd/crio/*.go
var source embed.FS

// Source returns the files from which the server is built; ./cmd/crio is its
// package.
func Source() fs.FS { return source }
