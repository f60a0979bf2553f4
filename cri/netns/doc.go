// Package netns opens sockets in the network namespace of a pod, for a process
// that stays in another one.
//
// A socket belongs to the namespace in which it was created, whichever thread
// uses it later. So a dedicated thread enters the namespace, creates the socket
// and returns; connecting, waiting and I/O work as usual. Nothing else runs on
// that thread in the meantime, no goroutine is started from it, and if it
// cannot return, it exits. net.Dialer then connects the socket from outside, in
// place of one of its own. net.Resolver and http.Client cannot be used inside,
// because they continue in other goroutines, on other threads, in the process's
// own namespace.
//
// Requirements:
//   - the capability CAP_SYS_ADMIN in the initial user namespace, for setns(2).
//     It covers pods that have a user namespace of their own. The runtimes'
//     default seccomp profiles allow setns only to containers with this
//     capability.
//   - the directory of the namespace files, usually /run/netns, mounted with
//     mountPropagation HostToContainer: the files are mounts, and without
//     propagation those created later are plain empty files.
//   - Linux 5.6 or later, for openat2(2).
package netns

import "errors"

// ErrGone means that the namespace file does not exist. Pods end at any time,
// so this is an ordinary result.
var ErrGone = errors.New("the network namespace is gone")

// ErrNotMounted means that not even the directory of the namespace file exists:
// it is not mounted into the agent's container.
var ErrNotMounted = errors.New("the directory of the network namespaces is not mounted")

// ErrNotNamespace means that the file is not a network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// ErrNotPermitted means that the process may not open or enter the namespace.
var ErrNotPermitted = errors.New("not permitted to enter the network namespace; CAP_SYS_ADMIN is required")
