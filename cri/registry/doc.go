// Package registry probes one endpoint of a registry as the node's runtime would use it:
// whether a reference resolves or its content can be fetched, and if not, why. Package
// nodeconfig determines the endpoints.
//
// The authorization is containerd's core/remotes/docker, so it behaves as in the runtime.
// The differences are deliberate: each request is made once, a realm or a redirect never
// gets a credential that it should not see, metadata addresses are refused, and no text
// that a registry chose is passed on.
package registry
