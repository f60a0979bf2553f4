package registry

import "github.com/whypull/whypull/cri/credential"

// sends reports whether the runtime sends a credential: not without a user name
// (containerd, ParseAuth).
func sends(c *credential.Credential) bool { return c != nil && c.Username.Reveal() != "" }
