package registry

import "github.com/whypull/whypull/cri/credential"

// sends reports whether the runtime sends a credential: not without a user name
// (containerd, ParseAuth).
func sends(c *credential.Credential) bool { return c != nil && c.Username.Reveal() != "" }

// authCredentials returns a function that returns the credential that the runtime sends,
// whatever the host.
func authCredentials(c *credential.Credential) func(host string) (username, password string, err error) {
	return func(string) (username, password string, err error) {
		if sends(c) {
			username, password = c.Reveal()
		}
		return username, password, nil
	}
}
