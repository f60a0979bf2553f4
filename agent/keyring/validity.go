package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

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
	c.Lifetime = lifetime(username)
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

// lifetime returns the documented lifetime of tokens with this user name: Google's
// OAuth2 access tokens, Amazon ECR's authorization tokens, and the refresh tokens of
// Azure Container Registry; 0 for other user names.
func lifetime(username string) time.Duration {
	switch username {
	case "oauth2accesstoken":
		return time.Hour
	case "AWS":
		return 12 * time.Hour
	case "00000000-0000-0000-0000-000000000000":
		return 3 * time.Hour
	default:
		return 0
	}
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
