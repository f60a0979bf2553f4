// Package retry shows that a pull in a containerd namespace of whypull's own
// (cri/isolated) says what the runtime's own pull says, and leaves nothing
// behind: with real releases of containerd, in a box without Kubernetes. It has
// tests only; most of them run inside the box.
package retry
