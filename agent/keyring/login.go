package keyring

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
)

// Login is one attempt of the kubelet: what it sends to the runtime, and where
// that was found. The user name and the password are held in a way that
// neither fmt nor reflection-based printers nor encoders can show, also when a
// Login is a field of something else; only Reveal hands them out. Because of
// this, logins cannot be compared with == or reflect.DeepEqual.
type Login struct {
	// Source is the name of the secret.
	Source string
	// Key is the registry key as written in the secret, safe to show (see
	// Entry.Key).
	Key string
	// Order is the place in the kubelet's order of attempts, from 1. Logins
	// of one secret whose keys mean the same ("hub.example.com" and
	// "https://hub.example.com/v2/") share a place, because the kubelet's
	// order among them changes from pull to pull: BasicDockerKeyring.Add
	// ranges over a map.
	Order int

	reveal func() (username, password string)
}

// NewLogin returns a Login for tests and for credentials that do not come
// from a pull secret.
func NewLogin(source, key string, order int, username, password string) Login {
	hidden := func() (string, string) { return username, password }
	return Login{Source: source, Key: safeKey(key), Order: order, reveal: hidden}
}

// Reveal returns the user name and the password. Both are empty in a login
// made of an entry without them: the kubelet sends such a login too, and the
// runtime takes it for none.
func (l Login) Reveal() (username, password string) {
	if l.reveal == nil {
		return "", ""
	}
	return l.reveal()
}

// Empty tells that the login has neither user name nor password. The kubelet
// counts it as a credential; the registry sees an anonymous request.
func (l Login) Empty() bool {
	username, password := l.Reveal()
	return username == "" && password == ""
}

// String names the login without showing it.
func (l Login) String() string {
	return "login " + strconv.Itoa(l.Order) + " of secret " + strconv.Quote(l.Source) + " for " + strconv.Quote(l.Key)
}

// GoString is String, so that %#v shows no more than %v.
func (l Login) GoString() string { return l.String() }

// Format writes String whatever the verb is.
func (l Login) Format(f fmt.State, _ rune) { writeOnly(f, l.String()) }

// LogValue is the login's place for slog.
func (l Login) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("secret", l.Source), slog.String("key", l.Key), slog.Int("order", l.Order))
}

// MarshalJSON writes the login's place. It returns no error.
func (l Login) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Secret string `json:"secret"`
		Key    string `json:"key"`
		Order  int    `json:"order"`
	}{l.Source, l.Key, l.Order})
}

// writeOnly ignores a write error as fmt itself does.
func writeOnly(f fmt.State, s string) { _, _ = f.Write([]byte(s)) }
