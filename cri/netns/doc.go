// Package netns opens sockets in the network namespace of a pod, for a process
// that is in another one and stays there.
//
// A socket belongs for good to the namespace in which it was made, whichever
// thread uses it later. So a thread of its own enters the namespace, makes the
// socket and returns; connecting, waiting and talking are done by the usual
// means. Nothing else runs on that thread meanwhile, no goroutine is started from
// it, and if it cannot return it ends. net.Dialer, net.Resolver and http.Client
// cannot be used inside: they go on in other goroutines, on other threads, in the
// process's own namespace.
//
// What the process needs:
//   - the capability CAP_SYS_ADMIN in the initial user namespace, for setns(2).
//     It covers pods that have a user namespace of their own. The runtimes'
//     default seccomp profiles allow setns to a container with this capability,
//     and to no other.
//   - the folder of the namespace files, as a rule /run/netns, mounted with
//     mountPropagation HostToContainer: the files are mounts, and without it
//     those made later are plain empty files.
//   - Linux 5.6 or later, for openat2(2).
package netns
