// Package cri asks the node's container runtime, over its CRI socket, which
// images it has, where a pod's network is and, of containerd, what it is
// receiving. It makes read-only calls, but for Pull, which nobody calls
// unless it was asked for: the socket gives its owner root on the node, whatever
// else restricts the process that holds it.
package cri
