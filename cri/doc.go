// Package cri asks the node's container runtime, over its CRI socket, which
// images it has and, of containerd, which it is receiving. It makes read-only calls only: the socket gives its owner
// root on the node, whatever else restricts the process that holds it.
package cri
