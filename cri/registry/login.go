package registry

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// Login is a credential as the kubelet hands it to the runtime. It does not
// print: not with any verb of package fmt, not with slog, not as JSON.
type Login struct {
	Username, Password string
}

// Format implements fmt.Formatter: a String method alone is not asked for %d.
func (Login) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String implements fmt.Stringer.
func (Login) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Login) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Login) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements json.Marshaler.
func (Login) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText keeps text encoders, map keys and flags from seeing it.
func (Login) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// given is the credential that the runtime would send: without a user name it
// sends none (containerd, ParseAuth).
func (l *Login) given(string) (username, secret string, err error) {
	if l == nil || l.Username == "" {
		return "", "", nil
	}
	return l.Username, l.Password, nil
}

func (l *Login) empty() bool { return l == nil || l.Username == "" }
