package nodeconfig

import (
	"strings"

	"github.com/whypull/whypull/cri/registry"
)

// TransferDir reports whether containerd's transfer service, called by a client other than
// CRI, pulls from the same endpoints as CRI, and returns the directory of hosts.toml files
// to pass to it; "" for none. The service does not know legacy mirrors, configs and auths;
// before 2.0 it does not read hosts.toml, so nothing may be configured for the endpoints.
func (c *Config) TransferDir(endpoints []registry.Endpoint) (dir string, same bool) {
	v := c.version
	if c.opts.isCRIO() || c.settings.localPull || !v.atLeast(1, 7) || c.opts.CertsDir == "" && c.unseen() {
		return "", false
	}
	for _, e := range endpoints {
		if e.NodeCredential != nil || !v.atLeast(2, 0) && (e.Source != "" || e.Scheme == "http" || e.HTTPFallback) {
			return "", false
		}
	}
	if !v.atLeast(2, 0) {
		return "", true
	}
	if !v.atLeast(2, 1) && len(c.dirs) > 1 { // CRI searches each of them, the service none
		return "", false
	}
	return strings.Join(c.dirs, ":"), true
}
