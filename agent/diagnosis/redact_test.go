package diagnosis

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"query", `Get "https://cdn.example/data?X-Amz-Signature=abc&Expires=1": EOF`, `Get "https://cdn.example/data?REDACTED": EOF`},
		{"query without quotes", `request to https://a.example/token?scope=x&service=y: 401 Unauthorized`, `request to https://a.example/token?REDACTED: 401 Unauthorized`},
		{"query without scheme", `/v2/token?account=joe&scope=x`, `/v2/token?REDACTED`},
		{"user info", `https://joe:hunter2@reg.example/v2/: EOF`, `https://REDACTED@reg.example/v2/: EOF`},
		{"user info and query", `https://joe:p@ss@reg.example?x=1`, `https://REDACTED@reg.example?REDACTED`},
		{"several URLs in a word", `[https://a:b@h/x,https://c:d@i/y]`, `[https://REDACTED@h/x,https://REDACTED@i/y]`},
		{"user info without scheme", `joe:hunter2@reg.example/app`, `REDACTED@reg.example/app`},
		{"digest stays", `reg.example/app@sha256:0123456789abcdef: not found`, `reg.example/app@sha256:0123456789abcdef: not found`},
		{"question stays", `is the docker daemon running?`, `is the docker daemon running?`},
		{"bearer header", `Authorization: Bearer abc.def.ghi, retry`, `Authorization: REDACTED, retry`},
		{"basic header", `authorization: basic am9lOmh1bnRlcjI=`, `authorization: REDACTED`},
		{"bearer alone", `sent Bearer abcdefghijkl to`, `sent Bearer REDACTED to`},
		{"prose: basic auth", `authorization failed: no basic auth credentials`, `authorization failed: no basic auth credentials`},
		{"prose: authorization", `may require authorization: server message: insufficient_scope: authorization failed`, `may require authorization: server message: insufficient_scope: authorization failed`},
		{"prose: token", `failed to fetch anonymous token: unexpected status`, `failed to fetch anonymous token: unexpected status`},
		{"prose: password", `invalid username/password: unauthorized: authentication required`, `invalid username/password: unauthorized: authentication required`},
		{"password=", `login user=joe password=hunter2 failed`, `login user=joe password=REDACTED failed`},
		{"password: ", `password: hunter2`, `password: REDACTED`},
		{"json", `{"username":"joe","password":"hunter 2","auth":"am9l"}`, `{"username":"joe","password":"REDACTED","auth":"REDACTED"}`},
		{"escaped json", `{\"password\": \"hunter2\"}`, `{\"password\": \"REDACTED\"}`},
		{"jwt", `token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is old`, `token REDACTED is old`},
		{"aws key id", `InvalidAccessKeyId: AKIAIOSFODNN7EXAMPLE`, `InvalidAccessKeyId: REDACTED`},
		{"azure sig", `blob.example/x?sv=2018&sig=abc%3D&se=1: EOF`, `blob.example/x?REDACTED: EOF`},
		{"sig alone", `sig=abc%3D`, `sig=REDACTED`},
		{"github", `using ghp_abcdefghijklmnopqrstuvwxyz0123456789`, `using REDACTED`},
		{"empty", ``, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Redact(c.in)
			if got != c.want {
				t.Errorf("Redact(%q)\n got %q\nwant %q", c.in, got, c.want)
			}
			if again := Redact(got); again != got {
				t.Errorf("a second time: %q", again)
			}
		})
	}
}

func TestRedactIsLinear(t *testing.T) {
	for _, unit := range []string{"://", "a=", "password=", `"`, "?", "@", "Bearer ", "password: ", `\`, "eyJ"} {
		in := strings.Repeat(unit, (1<<20)/len(unit))
		if out := Redact(in); len(out) > 16*maxMessage {
			t.Errorf("%q grows to %d bytes", unit, len(out))
		}
	}
}

func FuzzRedact(f *testing.F) {
	const secret = "s3cr3tS3cr3tS3cr3t"
	for _, s := range []string{
		"", "https://u:" + secret + "@h/p?q=1", "password=" + secret, "Authorization: Bearer " + secret,
		`{"auth":"` + secret + `"}`, "a?b=c&sig=" + secret, "\x00\xff://@?", "Bearer Bearer x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Redact(s)
		if twice := Redact(once); twice != once {
			t.Errorf("Redact(%q)\n once %q\ntwice %q", s, once, twice)
		}
		for _, carrier := range []string{
			" https://joe:" + secret + "@reg.example/v2/ ", " https://reg.example/v2/?sig=" + secret + " ",
			" password=" + secret + " ", " Authorization: Bearer " + secret + " ",
		} {
			if len(s) < maxMessage/4 && strings.Contains(Redact(clean(s)+carrier+clean(s)), secret) {
				t.Errorf("%q behind %q comes through: %q", carrier, s, Redact(clean(s)+carrier+clean(s)))
			}
		}
	})
}

// clean takes out what could itself spell the secret.
func clean(s string) string { return strings.ReplaceAll(s, "s3cr3t", "") }
