package message

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
		{"token before a host", `"tok3n@reg.example/app:v1"`, `"REDACTED@reg.example/app:v1"`},
		{"user info with a slash, without scheme", `joe:hun/ter2@reg.example/app`, `REDACTED@reg.example/app`},
		{"user info and digest", `joe:p@ss@reg.example/app@sha256:0123456789abcdef`, `REDACTED@reg.example/app@sha256:0123456789abcdef`},
		{"port and digest stay", `reg.example:5000/team/app:v1@sha256:0123456789abcdef`, `reg.example:5000/team/app:v1@sha256:0123456789abcdef`},
		{"at sign in a path stays", `open /sys/devices/a@b/c`, `open /sys/devices/a@b/c`},
		{"host that begins like a digest", `joe:hunter2@shared.example/app`, `REDACTED@shared.example/app`},
		{"host alone that begins like a digest", `joe:hunter2@sharing:5000`, `REDACTED@sharing:5000`},
		{"digest that is cut off", `app:1@sha25`, `app:1@sha25`},
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
		{"user info, cut off", `Get "https://joe:hunter2…`, `Get "https://REDACTED`},
		{"user info with a slash", `https://joe:hun/ter2@reg.example/v2/`, `https://REDACTED@reg.example/v2/`},
		{"user info with an encoded at sign", `https://joe:hunter2%40reg.example/v2/: EOF`, `https://REDACTED%40reg.example/v2/: EOF`},
		{"encoded user info", `http%3A%2F%2Fjoe%3Ahunter2%40proxy.example%3A3128`, `http%3A%2F%2FREDACTED%40proxy.example%3A3128`},
		{"user info behind slashes", `//joe:hunter2@reg.example/v2`, `//REDACTED@reg.example/v2`},
		{"encoded query", `https://h.example/x%3Fsig%3Dabc%26se%3D1: EOF`, `https://h.example/x%3FREDACTED: EOF`},
		{"query in JSON", `https://h.example/x\u003fsig=abc`, `https://h.example/x\u003fREDACTED`},
		{"cut-off query", `https://h.example/x?X-Amz-Signature=abc…`, `https://h.example/x?REDACTED`},
		{"port stays", `https://reg.example:5000/v2/: EOF`, `https://reg.example:5000/v2/: EOF`},
		{"IPv6 stays", `https://[::1]:5000/v2/: EOF`, `https://[::1]:5000/v2/: EOF`},
		{"host before an error stays", `https://reg.example: EOF`, `https://reg.example: EOF`},
		{"quote in a JSON string", `{"password":"a\"hunter2","auth":"am9l"}`, `{"password":"REDACTED","auth":"REDACTED"}`},
		{"backslash before a quote", `{"password":"hunter2\\","user":"joe"}`, `{"password":"REDACTED\\","user":"joe"}`},
		{"escaped quote in escaped JSON", `{\"password\":\"x\\\"hunter2\",\"a\":1}`, `{\"password\":\"REDACTED\",\"a\":1}`},
		{"JSON with blanks", `{"auth" : "hunter2"`, `{"auth" : "REDACTED"`},
		{"cut-off JSON", `{"auths":{"reg.example":{"auth":"am9lOmh1`, `{"auths":{"reg.example":{"auth":"REDACTED`},
		{"header map", `map[Authorization:[Basic am9lOg==] Accept:[*/*]]`, `map[Authorization:[REDACTED] Accept:[*/*]]`},
		{"header with =", `Authorization=Basic am9lOg==`, `Authorization=REDACTED`},
		{"encoded header", `Authorization%3A%20Bearer%20abcdefghijkl`, `Authorization%3A%20Bearer%REDACTED`},
		{"cookie", `Set-Cookie: sid=hunter2H; Path=/`, `Set-Cookie: REDACTED; Path=/`},
		{"api key header", `X-JFrog-Art-Api: hunter2Hunter2`, `X-JFrog-Art-Api: REDACTED`},
		{"ini file", `aws_secret_access_key = hunter2`, `aws_secret_access_key = REDACTED`},
		{"flag", `--docker-password hunter2 --docker-server reg.example`, `--docker-password REDACTED --docker-server reg.example`},
		{"short flag", `docker login -u joe -p hunter2 reg.example`, `docker login -u joe -p REDACTED reg.example`},
		{"short flag of others", `docker run -p 8080:80 x`, `docker run -p 8080:80 x`},
		{"flag without a value", `use --password-stdin instead`, `use --password-stdin instead`},
		{"netrc", `machine reg.example login joe password hunter2`, `machine reg.example login joe password REDACTED`},
		{"registry's token", `using dckr_oat_abcdefghijklmnop`, `using REDACTED`},
		{"image called token", `pull "reg.example/shop/token:1"`, `pull "reg.example/shop/token:1"`},
		{"volume called token", `failed for volume "token" : failed to fetch`, `failed for volume "token" : failed to fetch`},
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

func hostileUnits() []string {
	return []string{
		"://", "a=", "password=", `"`, "?", "@", "Bearer ", "password: ", `\`, "eyJ", "https://a:b", "%3f", "%3a%2f%2f", `"auth":"\"`,
		"login -p ", "--token ", "authorization:[", "sha256:", "lookup ", "[rpc error, ", "(Mirrors also failed: [", "“", "&#34;", ": eof",
	}
}

func TestRedactGrowsLittle(t *testing.T) {
	for _, unit := range hostileUnits() {
		in := strings.Repeat(unit, (1<<20)/len(unit))
		if out := Redact(in); len(out) > 16*maxMessage {
			t.Errorf("%q grows to %d bytes", unit, len(out))
		}
	}
}

// threadTime is the processor time that this thread has used.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// Four times the text takes about four times as long, not sixteen times.
func TestReadingIsLinear(t *testing.T) {
	// The thread's own time: others on the machine do not count.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fastest := func(in string) time.Duration {
		best := time.Hour
		for range 5 {
			start := threadTime(t)
			Read("", in)
			best = min(best, threadTime(t)-start)
		}
		return max(best, time.Microsecond)
	}
	for _, unit := range hostileUnits() {
		ratio := 0.0
		for range 4 { // a busy machine may disturb one measurement
			short := fastest(strings.Repeat(unit, maxMessage/4/len(unit)))
			long := fastest(strings.Repeat(unit, maxMessage/len(unit)))
			if ratio = float64(long) / float64(short); ratio < 9 {
				break
			}
		}
		if ratio >= 9 {
			t.Errorf("%q: four times the text takes %.1f times as long", unit, ratio)
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
