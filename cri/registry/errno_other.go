//go:build !windows

package registry

import "syscall"

// socketErrno returns the error that a socket returns for one of package syscall.
func socketErrno(e syscall.Errno) syscall.Errno { return e }
