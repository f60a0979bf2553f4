package keyring

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Login is one attempt of the kubelet: what it sends to the runtime, and where
// that was found. The user name and the password are held in a way that
// neither fmt nor reflection-based printers nor encoders can show, also when a
// Login is a field of something else; only Reveal hands them out. Because of
// this, logins cannot be compared with == or reflect.DeepEqual.
type Login struct {
	// Source is the name of the secret, or the path of the node's file.
	Source string
	// OfNode tells that the login is from the node's own file.
	OfNode bool
	// UID is the secret's; empty if unknown, and for the node's file.
	UID string
	// Key is the registry key as written in the secret, safe to show (see
	// Entry.Key).
	Key string
	// Order is the place in the kubelet's order of attempts, from 1. Logins
	// of one secret whose keys mean the same ("hub.example.com" and
	// "https://hub.example.com/v2/") share a place, because the kubelet's
	// order among them changes from pull to pull: BasicDockerKeyring.Add
	// ranges over a map.
	Order int
	// Validity is what the login itself, or its age, shows of its time.
	Validity diagnosis.Validity
	// Expires is when the login says that it ends; zero if it does not.
	Expires time.Time
	// Changed is when the secret or file was last written; zero if unknown.
	Changed time.Time
	// Lifetime is how long tokens of this kind live; 0 if the login is none of
	// a kind that does not name its end.
	Lifetime time.Duration

	reveal func() (username, password string)
	hash   func() string
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

// Hash is the kubelet's hash of the login (credentialprovider.hashAuthConfig),
// which its records of pulled images are compared by; empty if unknown. A weak
// password can be guessed from it, so it is to be treated as one.
func (l Login) Hash() string {
	if l.hash == nil {
		return ""
	}
	return l.hash()
}

// String names the login without showing it.
func (l Login) String() string {
	of := " of secret "
	if l.OfNode {
		of = " of the node's file "
	}
	return "login " + strconv.Itoa(l.Order) + of + strconv.Quote(l.Source) + " for " + strconv.Quote(l.Key)
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
