package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
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

// longestToken is the maximum size in bytes of a token that is decoded. Tokens of
// registries have a few kilobytes.
const longestToken = 64 << 10

// judge sets Validity, Expires and Lifetime.
func (c *Credential) judge(now time.Time) {
	username, password := c.Reveal()
	c.Expires = expiry(username, password)
	if !c.Expires.IsZero() {
		c.Validity = state(c.Expires, now, diagnosis.ValidityGood, diagnosis.ValidityExpired)
		return
	}
	c.Lifetime = lifetimes[username]
	if c.Lifetime > 0 && !c.Changed.IsZero() {
		c.Validity = state(c.Changed.Add(c.Lifetime), now, diagnosis.ValidityUnknown, diagnosis.ValidityOutlived)
	}
}

// nearEnd is the time before expiry from which a credential counts as expiring soon.
const nearEnd = time.Hour

// EndsSoon reports whether the credential is valid now and has an expiry time within
// the next hour.
func (c Credential) EndsSoon(now time.Time) bool {
	return c.Validity == diagnosis.ValidityGood && now.Before(c.Expires) && c.Expires.Sub(now) < nearEnd
}

// state returns before or after, depending on whether end is later than now; unknown
// if now is zero.
func state(end, now time.Time, before, after diagnosis.Validity) diagnosis.Validity {
	switch {
	case now.IsZero():
		return diagnosis.ValidityUnknown
	case now.Before(end):
		return before
	default:
		return after
	}
}

// lifetimes are the documented lifetimes of tokens by their user names: Google's OAuth2
// access tokens, Amazon ECR's authorization tokens, and the refresh tokens of Azure
// Container Registry.
var lifetimes = map[string]time.Duration{ //nolint:gochecknoglobals // never written
	"oauth2accesstoken":                    time.Hour,
	"AWS":                                  12 * time.Hour,
	"00000000-0000-0000-0000-000000000000": 3 * time.Hour,
}

// expiry returns the expiry time in a password; zero if it has none. Signatures are
// not verified: the registry decides.
func expiry(username, password string) time.Time {
	switch {
	case len(password) > longestToken:
		return time.Time{}
	case username == "AWS":
		return ecrExpiry(password)
	default:
		return webTokenExpiry(password)
	}
}

// webTokenExpiry reads the claim "exp" (RFC 7519, 4.1.4) and nothing else.
func webTokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Exp json.Number `json:"exp"`
	}
	if !decodePart(parts[0], &header) || header.Alg == "" || !decodePart(parts[1], &claims) {
		return time.Time{}
	}
	return epoch(claims.Exp)
}

func decodePart(part string, into any) bool {
	plain, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(plain, into) == nil
}

// ecrExpiry reads the field "expiration" next to the encrypted payload in a password
// of Amazon ECR.
func ecrExpiry(token string) time.Time {
	plain, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return time.Time{}
	}
	var outer struct {
		Expiration json.Number `json:"expiration"`
	}
	if json.NewDecoder(bytes.NewReader(plain)).Decode(&outer) != nil {
		return time.Time{}
	}
	return epoch(outer.Expiration)
}

// epoch is a number of seconds since 1970; zero for what cannot be a date.
func epoch(n json.Number) time.Time {
	const year9999 = 253402300799
	seconds, err := n.Float64()
	if err != nil || seconds < 1 || seconds > year9999 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
