// Package registry finds the endpoints that the node's runtime would ask for
// an image, in the runtime's order and with its settings, and asks one of them
// one question: would this reference resolve, and if not, why?
//
// The endpoints come from containerd's own package core/remotes/docker/config
// and, for CRI-O, from go.podman.io/image's sysregistriesv2; the authorization
// comes from containerd's core/remotes/docker. So a setting means here what it
// means to the runtime. What differs is deliberate: each
// request is made once, a realm or a redirect never gets a credential that it
// should not see, addresses of machines' metadata services are refused, and
// text that a registry chose is not handed on.
package registry
