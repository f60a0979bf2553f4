package credential

import (
	"fmt"
	"io"
	"log/slog"
)

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

const redacted = "REDACTED"

// Redacted holds a value that may be a password or contain one. It prints as
// REDACTED with every verb of package fmt, in logs, and as JSON, YAML or text.
//
// A struct that holds one needs no methods of its own. Package fmt does not call
// the methods of unexported fields, nor those of anything for %p: it prints the
// address of a function then, because that is where the value is. For the same
// reason a Redacted cannot be compared, neither by == nor by reflect.DeepEqual.
//
// The zero value holds the zero value of T.
type Redacted[T any] struct{ reveal func() T }

// Redact returns a Redacted that holds the value.
func Redact[T any](value T) Redacted[T] {
	return Redacted[T]{func() T { return value }}
}

// Reveal returns the value, to be handed to whom it is meant for and to nothing
// that prints.
func (r Redacted[T]) Reveal() (value T) {
	if r.reveal == nil {
		return value
	}
	return r.reveal()
}

// Format implements fmt.Formatter: not every verb calls String.
func (Redacted[T]) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue implements slog.LogValuer.
func (Redacted[T]) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which encoders of JSON and YAML
// call too. It returns no error.
func (Redacted[T]) MarshalText() ([]byte, error) { return []byte(redacted), nil }
