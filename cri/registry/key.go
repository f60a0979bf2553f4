package registry

import "github.com/distribution/reference"

// Key tells apart the questions that endpoints are asked about a reference: one
// host may stand for several, by another path or, with CRI-O, by another
// repository.
func (e Endpoint) Key(ref reference.Named) string {
	return e.String() + e.host.Path + " " + e.Reference(ref).String()
}

// EmptyLoginFallsBack tells that the runtime takes the node's own credential
// where the pull brings one without user and password. containerd does so only
// where the pull brings none at all (PullImage, GetAuth).
func (c *Config) EmptyLoginFallsBack() bool { return c.opts.isCRIO() }
