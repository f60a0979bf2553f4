// Package nodeconfig determines the endpoints that the node's runtime would ask for an
// image, in its order and with its settings and proxies, from the configuration of
// containerd, CRI-O and distributions such as k3s, and from the environment of the
// runtime's process.
//
// The endpoints come from containerd's own package core/remotes/docker/config
// and, for CRI-O, from go.podman.io/image's sysregistriesv2, so settings mean here
// what they mean to the runtime.
package nodeconfig
