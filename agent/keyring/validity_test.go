package keyring

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

// webToken returns an unsigned token with these claims.
func webToken(claims string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"RS256"}`) + "." + part(claims) + "." + part("signature")
}

func ecrToken(content string) string { return base64.StdEncoding.EncodeToString([]byte(content)) }

func TestValidity(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	past, future := now.Add(-time.Minute), now.Add(time.Minute)
	exp := func(at time.Time) string { return fmt.Sprintf(`{"exp":%d,"sub":"x"}`, at.Unix()) }
	const azure = "00000000-0000-0000-0000-000000000000"
	for _, tt := range []struct {
		name, user, password string
		changed              time.Time
		want                 diagnosis.Validity
		expires              time.Time
	}{
		{name: "a password", user: "u", password: testPass, changed: past.AddDate(-9, 0, 0)},
		{name: "a token that is good", user: "u", password: webToken(exp(future)), want: diagnosis.ValidityGood, expires: future},
		{name: "a token that ended", user: "u", password: webToken(exp(past)), want: diagnosis.ValidityExpired, expires: past},
		{name: "a token that ends now", user: "u", password: webToken(exp(now)), want: diagnosis.ValidityExpired, expires: now},
		{name: "an end with a fraction", user: "u", password: webToken(fmt.Sprintf(`{"exp":%d.75}`, past.Unix())), want: diagnosis.ValidityExpired, expires: past},
		{name: "an end in scientific notation", user: "u", password: webToken(`{"exp":1.7e9}`), want: diagnosis.ValidityExpired, expires: time.Unix(1.7e9, 0)},
		{name: "a token without an end", user: "u", password: webToken(`{"iat":1}`)},
		{name: "an end that is a text", user: "u", password: webToken(`{"exp":"tomorrow"}`)},
		{name: "an end of nought", user: "u", password: webToken(`{"exp":0}`)},
		{name: "an end before time", user: "u", password: webToken(`{"exp":-5}`)},
		{name: "an end beyond all years", user: "u", password: webToken(`{"exp":1e300}`)},
		{name: "claims that are no object", user: "u", password: webToken(`[1]`)},
		{name: "three parts that are no token", user: "u", password: "a.b.c"},
		{name: "no header", user: "u", password: "." + strings.SplitN(webToken(exp(past)), ".", 2)[1]},
		{name: "too long", user: "u", password: webToken(`{"exp":1,"x":"` + strings.Repeat("x", longestToken) + `"}`)},
		{name: "ECR, good", user: "AWS", password: ecrToken(fmt.Sprintf(`{"payload":"x","expiration":%d}`, future.Unix())), want: diagnosis.ValidityGood, expires: future},
		{name: "ECR, ended", user: "AWS", password: ecrToken(fmt.Sprintf(`{"payload":"x","expiration":%d}`, past.Unix())), want: diagnosis.ValidityExpired, expires: past},
		{name: "ECR, its own word before its age", user: "AWS", password: ecrToken(fmt.Sprintf(`{"expiration":%d}`, future.Unix())), changed: now.AddDate(-1, 0, 0), want: diagnosis.ValidityGood, expires: future},
		{name: "ECR's shape with another user", user: "u", password: ecrToken(fmt.Sprintf(`{"expiration":%d}`, past.Unix()))},
		{name: "ECR, opaque and old", user: "AWS", password: testPass, changed: now.Add(-12 * time.Hour), want: diagnosis.ValidityOutlived},
		{name: "ECR, opaque and young", user: "AWS", password: testPass, changed: now.Add(-12*time.Hour + time.Second)},
		{name: "ECR, opaque, of unknown age", user: "AWS", password: testPass},
		{name: "Google, old", user: "oauth2accesstoken", password: testPass, changed: now.Add(-time.Hour), want: diagnosis.ValidityOutlived},
		{name: "Google, young", user: "oauth2accesstoken", password: testPass, changed: now.Add(-59 * time.Minute)},
		{name: "Google, a key", user: "_json_key", password: "{}", changed: now.AddDate(-1, 0, 0)},
		{name: "Azure, ended", user: azure, password: webToken(exp(past)), want: diagnosis.ValidityExpired, expires: past},
		{name: "Azure, old", user: azure, password: testPass, changed: now.Add(-3 * time.Hour), want: diagnosis.ValidityOutlived},
		{name: "written in the future", user: "AWS", password: testPass, changed: future},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content, err := json.Marshal(map[string]any{"auths": map[string]any{"r.io": map[string]string{"username": tt.user, "password": tt.password}}})
			if err != nil {
				t.Fatal(err)
			}
			s := configJSON("s", string(content))
			s.Changed = tt.changed
			l := Find(imageOf("r.io/a"), Sources{Secrets: []Secret{s}, Now: now})
			if len(l.Credentials) != 1 {
				t.Fatalf("%d credentials", len(l.Credentials))
			}
			got := l.Credentials[0]
			if got.Validity != tt.want || !got.Expires.Equal(tt.expires) || !got.Changed.Equal(tt.changed) {
				t.Errorf("%q, ends %s; want %q, %s", got.Validity, got.Expires, tt.want, tt.expires)
			}
			if (got.Validity == diagnosis.ValidityOutlived) && got.Lifetime == 0 {
				t.Error("outlived, but for how long such a token lives nobody says")
			}
			unclocked := Find(imageOf("r.io/a"), Sources{Secrets: []Secret{s}})
			if v := unclocked.Credentials[0].Validity; v != diagnosis.ValidityUnknown {
				t.Errorf("without a clock: %q", v)
			}
		})
	}
}

// TestHash checks hashAuthConfig: over the credential's fields in this order, without those
// that are empty.
func TestHash(t *testing.T) {
	for entry, hashed := range map[string]string{
		`{"password":"p","username":"u"}`:                    `{"username":"u","password":"p"}`,
		`{"email":"x@y.z","username":"u","password":"p"}`:    `{"username":"u","password":"p","email":"x@y.z"}`,
		`{"auth":"dTpw","identitytoken":"t","username":"x"}`: `{"username":"u","password":"p"}`,
		`{}`:                                `{}`,
		`{"username":"u","password":"<&>"}`: `{"username":"u","password":"\u003c\u0026\u003e"}`,
	} {
		l := find(t, "r.io/a", configJSON("s", `{"auths":{"r.io":`+entry+`}}`))
		if got, want := l.Credentials[0].Hash(), fmt.Sprintf("%x", sha256.Sum256([]byte(hashed))); got != want {
			t.Errorf("%s: got %s, want %s", entry, got, want)
		}
	}
	if (Credential{}).Hash() != "" || NewCredential("s", "k", 1, credential.New("u", "p")).Hash() != "" {
		t.Error("a credential of unknown origin has a hash")
	}
}

func FuzzExpiry(f *testing.F) {
	f.Add("u", webToken(`{"exp":1}`))
	f.Add("AWS", ecrToken(`{"expiration":1}`))
	f.Fuzz(func(t *testing.T, username, password string) {
		if at := expiry(username, password); !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
			t.Errorf("an end in the year %d", at.Year())
		}
	})
}

func TestEndsSoon(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for end, want := range map[time.Duration]bool{-1: false, 0: false, 1: true, nearEnd - 1: true, nearEnd: false} {
		l := Credential{Validity: diagnosis.ValidityGood, Expires: now.Add(end)}
		if got := l.EndsSoon(now); got != want {
			t.Errorf("%s before its end: %v", end, got)
		}
	}
	if (Credential{Validity: diagnosis.ValidityExpired, Expires: now.Add(1)}).EndsSoon(now) || (Credential{Validity: diagnosis.ValidityGood}).EndsSoon(now) {
		t.Error("a credential that is over, or names no end, ends soon")
	}
}
