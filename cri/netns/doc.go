// Package netns opens sockets in the network namespace of a pod, for a process
// that stays in another one.
//
// A socket belongs to the namespace in which it was created, whichever thread
// uses it later. So a dedicated thread enters the namespace, creates the socket
// and returns; connecting, waiting and I/O work as usual. Nothing else runs on
// that thread in the meantime, no goroutine is started from it, and if it
// cannot return, it exits. net.Dialer, net.Resolver and http.Client cannot be
// used inside, because they continue in other goroutines, on other threads, in
// the process's own namespace.
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
