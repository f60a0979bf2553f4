// Package registry asks one endpoint of a registry, as the node's runtime would,
// one question: would this reference resolve, or this transfer pass, and if not,
// why? Which endpoints there are is the business of package nodeconfig.
//
// The authorization comes from containerd's core/remotes/docker, so it means here
// what it means to the runtime. What differs is deliberate: each
// request is made once, a realm or a redirect never gets a credential that it
// should not see, addresses of machines' metadata services are refused, and
// text that a registry chose is not handed on.
package registry
