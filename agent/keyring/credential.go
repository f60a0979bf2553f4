package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

// Credential is one attempt of the kubelet: what it sends to the runtime and where it
// is from. User name and password are empty if the entry has neither: the kubelet
// sends such a credential too, and the runtime treats it as anonymous.
type Credential struct {
	credential.Credential
	// Source is the name of the secret, the path of the node's file, or the name of the
	// credential provider plugin.
	Source string
	// OfNode is true if the credential is the node's own and not from a secret.
	OfNode bool
	// OfProvider is true if the credential is from the credential provider plugin that
	// Source names. OfNode is then true too.
	OfProvider bool
	// UID is the secret's UID; empty if unknown and for the node's file.
	UID string
	// Key is the registry key as written in the secret, safe to show (see
	// Entry.Key).
	Key string
	// Order is the position in the kubelet's order of attempts, from 1. Credentials
	// of one secret with equivalent keys ("hub.example.com" and
	// "https://hub.example.com/v2/") have the same position, because their order is
	// random in the kubelet: BasicDockerKeyring.Add ranges over a map.
	Order int
	// Validity is whether it has expired, by its content or its age.
	Validity diagnosis.Validity
	// Expires is the expiry time in the credential itself; zero if it has none.
	Expires time.Time
	// Changed is when the secret or file was last written; zero if unknown.
	Changed time.Time
	// Lifetime is the lifetime of tokens of this kind; 0 if unknown or if the token
	// has an expiry time.
	Lifetime time.Duration

	hash func() string
}

// NewCredential returns a Credential that is not from a pull secret.
func NewCredential(source, key string, order int, found credential.Credential) Credential {
	return Credential{Credential: found, Source: source, Key: safeKey(key), Order: order}
}

// Hash returns the kubelet's hash of the credential
// (credentialprovider.hashAuthConfig), as in its records of pulled images; empty if
// unknown. Treat it like a password: a weak one can be guessed from it.
func (c Credential) Hash() string {
	if c.hash == nil {
		return ""
	}
	return c.hash()
}

// hash is the kubelet's hashAuthConfig, over the fields that BasicDockerKeyring.Add
// sets.
func (e entry) hash() string {
	encoded, _ := json.Marshal(struct { //nolint:gosec // hashed, not shown
		Username string `json:"username,omitempty"`
		Password string `json:"password,omitempty"`
		Email    string `json:"email,omitempty"`
	}{e.username, e.password, e.email})
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
