// Package disk reports how much space a node has where pulled images are
// stored, and how much a pull needs. It looks at whole file systems (statfs(2))
// and reads no files on them.
package disk
