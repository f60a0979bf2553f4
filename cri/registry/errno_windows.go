package registry

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// socketErrno returns the error that a socket returns for one of package syscall, whose
// POSIX names have numbers there that Windows never returns.
func socketErrno(e syscall.Errno) syscall.Errno {
	switch e {
	case syscall.ECONNREFUSED:
		return windows.WSAECONNREFUSED
	case syscall.ETIMEDOUT:
		return windows.WSAETIMEDOUT
	case syscall.ECONNRESET:
		return windows.WSAECONNRESET
	case syscall.ECONNABORTED:
		return windows.WSAECONNABORTED
	case syscall.EHOSTUNREACH:
		return windows.WSAEHOSTUNREACH
	case syscall.ENETUNREACH:
		return windows.WSAENETUNREACH
	case syscall.EHOSTDOWN:
		return windows.WSAEHOSTDOWN
	case syscall.ENETDOWN:
		return windows.WSAENETDOWN
	case syscall.EADDRNOTAVAIL:
		return windows.WSAEADDRNOTAVAIL
	case syscall.EACCES:
		return windows.WSAEACCES
	}
	return e
}
