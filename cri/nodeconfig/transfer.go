package nodeconfig

import (
	"strings"

	"github.com/whypull/whypull/cri/registry"
)

// TransferDir tells whether containerd's transfer service, asked by somebody else
// than CRI, pulls from the same endpoints as CRI does; and the folder of
// hosts.toml files that it has to be given then, "" for none. It does not know
// legacy mirrors, configs and auths; and before 2.0 it does not read hosts.toml,
// so that nothing may be configured for the endpoints.
func (c *Config) TransferDir(endpoints []registry.Endpoint) (dir string, same bool) {
	v := parseVersion(c.opts.RuntimeVersion)
	if c.opts.isCRIO() || c.settings.localPull || !v.atLeast(1, 7) {
		return "", false
	}
	for _, e := range endpoints {
		if e.NodeCredential != nil || !v.atLeast(2, 0) && (e.Source != "" || e.HTTPFallback) {
			return "", false
		}
	}
	if !v.atLeast(2, 0) {
		return "", true
	}
	if !v.atLeast(2, 1) && len(c.dirs) > 1 { // CRI looks through each of them, the service through none
		return "", false
	}
	return strings.Join(c.dirs, ":"), true
}
