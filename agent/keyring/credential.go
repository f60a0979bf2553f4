package keyring

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

// Credential is one attempt of the kubelet: what it sends to the runtime, and
// where that was found. Both user name and password are empty where the entry
// has neither: the kubelet sends such a credential too, and the runtime takes it
// for none.
type Credential struct {
	credential.Credential
	// Source is the name of the secret, or the path of the node's file.
	Source string
	// OfNode is true if the credential is from the node's own file.
	OfNode bool
	// UID is the secret's; empty if unknown, and for the node's file.
	UID string
	// Key is the registry key as written in the secret, safe to show (see
	// Entry.Key).
	Key string
	// Order is the place in the kubelet's order of attempts, from 1. Credentials
	// of one secret whose keys mean the same ("hub.example.com" and
	// "https://hub.example.com/v2/") share a place, because the kubelet's
	// order among them changes from pull to pull: BasicDockerKeyring.Add
	// ranges over a map.
	Order int
	// Validity is what the credential itself, or its age, shows of its time.
	Validity diagnosis.Validity
	// Expires is when the credential says that it ends; zero if it does not.
	Expires time.Time
	// Changed is when the secret or file was last written; zero if unknown.
	Changed time.Time
	// Lifetime is how long tokens of this kind live; 0 if the credential is none
	// of a kind that does not name its end.
	Lifetime time.Duration

	hash func() string
}

// NewCredential returns a Credential that does not come from a pull secret.
func NewCredential(source, key string, order int, found credential.Credential) Credential {
	return Credential{Credential: found, Source: source, Key: safeKey(key), Order: order}
}

// Hash returns the kubelet's hash of the credential
// (credentialprovider.hashAuthConfig), which its records of pulled images are
// compared by; empty if unknown. A weak password can be guessed from it, so it is
// to be treated as one.
func (c Credential) Hash() string {
	if c.hash == nil {
		return ""
	}
	return c.hash()
}
