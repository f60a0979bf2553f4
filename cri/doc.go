// Package cri asks the node's container runtime over its CRI socket which
// images it has, where a pod's network is and, for containerd, what it is
// receiving. It makes read-only calls only: the socket gives its holder root on
// the node, whatever else restricts the process.
package cri
