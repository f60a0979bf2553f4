// Package nodeconfig finds the endpoints that the node's runtime would ask for an
// image, in the runtime's order and with its settings, from the node's own files:
// those of containerd, CRI-O and the distributions that bring their own, and the
// proxies of the runtime's process.
//
// The endpoints come from containerd's own package core/remotes/docker/config
// and, for CRI-O, from go.podman.io/image's sysregistriesv2. So a setting means
// here what it means to the runtime.
package nodeconfig
