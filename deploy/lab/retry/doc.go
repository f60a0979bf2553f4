// Package retry tests that a pull in whypull's own containerd namespace
// (cri/scratchpull) has the same result as the runtime's own pull and leaves nothing
// behind: with real releases of containerd, in a box without Kubernetes. It has only
// tests; most run inside the box.
package retry
