package registry

import (
	"cmp"
	"syscall"

	"golang.org/x/sys/windows"
)

// socketErrno returns the error that a socket returns for one of package syscall, whose
// POSIX names have numbers there that Windows never returns.
func socketErrno(e syscall.Errno) syscall.Errno {
	return cmp.Or(map[syscall.Errno]syscall.Errno{
		syscall.ECONNREFUSED:  windows.WSAECONNREFUSED,
		syscall.ETIMEDOUT:     windows.WSAETIMEDOUT,
		syscall.ECONNRESET:    windows.WSAECONNRESET,
		syscall.ECONNABORTED:  windows.WSAECONNABORTED,
		syscall.EHOSTUNREACH:  windows.WSAEHOSTUNREACH,
		syscall.ENETUNREACH:   windows.WSAENETUNREACH,
		syscall.EHOSTDOWN:     windows.WSAEHOSTDOWN,
		syscall.ENETDOWN:      windows.WSAENETDOWN,
		syscall.EADDRNOTAVAIL: windows.WSAEADDRNOTAVAIL,
		syscall.EACCES:        windows.WSAEACCES,
	}[e], e)
}
