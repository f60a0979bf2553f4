package credential

// Credential is a user name and a password, as one entry of a pull secret, of
// the node's docker configuration or of the runtime's own configuration has
// them. The zero value is empty.
type Credential struct {
	Username, Password Redacted[string]
}

// New returns the credential of a user name and a password.
func New(username, password string) Credential {
	return Credential{Username: Redact(username), Password: Redact(password)}
}

// Reveal returns the user name and the password.
func (c Credential) Reveal() (username, password string) {
	return c.Username.Reveal(), c.Password.Reveal()
}

// Incomplete reports whether the user name or the password is missing. A runtime sends
// no such credential (containerd, ParseAuth and NewDockerAuthorizer; containers/image,
// getBearerToken).
func (c Credential) Incomplete() bool {
	return c.Username.Reveal() == "" || c.Password.Reveal() == ""
}
