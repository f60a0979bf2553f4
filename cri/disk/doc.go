// Package disk tells how much room a node has where pulled images go, and how
// much a pull needs. It looks at file systems as a whole (statfs(2)) and reads no
// file of them.
package disk
