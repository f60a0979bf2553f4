package message

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/whypull/whypull/agent/diagnosis"
)

// messageScenario is one line of testdata/causes.jsonl: a text and what it supports.
// Only the values that are set are compared.
type messageScenario struct {
	Cause           diagnosis.Cause
	Runtime         string
	Reason, Message string
	Host            string
	Status          int
	Parts           []diagnosis.Cause // of the members of a list
}

func TestReadScenarios(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	n, seen := 0, map[diagnosis.Cause]int{}
	for _, file := range files {
		for _, s := range readLines[messageScenario](t, file) {
			n++
			seen[s.Cause]++
			checkReading(t, s)
		}
	}
	if n < 200 {
		t.Errorf("only %d scenarios", n)
	}
	for _, e := range diagnosis.Catalogue() {
		if e.Label != "" && seen[e.Cause] == 0 {
			t.Errorf("no scenario for %s", e.Cause)
		}
	}
}

func checkReading(t *testing.T, s messageScenario) {
	t.Helper()
	got := Read(s.Reason, s.Message)
	if got.Cause != s.Cause {
		t.Errorf("%s: cause %s, want %s\n%q %s", s.Runtime, got.Cause, s.Cause, s.Reason, s.Message)
	}
	if s.Host != "" && got.Host != s.Host || s.Status != 0 && got.Status != s.Status {
		t.Errorf("host %q, status %d, want %q, %d\n%s", got.Host, got.Status, s.Host, s.Status, s.Message)
	}
	var parts []diagnosis.Cause
	for _, a := range readAttempts(membersApart(tidy(s.Message))) {
		parts = append(parts, a.Cause)
	}
	if len(parts) > 1 && !slices.Equal(parts, s.Parts) || len(parts) == 1 && s.Parts != nil {
		t.Errorf("parts %v, want %v\n%s", parts, s.Parts, s.Message)
	}
}

// readLines reads a file of JSON values, one a line.
func readLines[T any](t *testing.T, file string) []T {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, lines.Text())
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestReadValues(t *testing.T) {
	const prefix = `failed to pull and unpack image "reg.test/shop/cart:1": failed to resolve image: failed to do request: Head "https://reg.test:5000/v2/shop/cart/manifests/1": `
	for _, s := range []messageScenario{
		{Cause: diagnosis.DNSFailure, Message: prefix + `dial tcp: lookup reg.test on 10.0.0.2:53: read udp 10.0.0.9:4->10.0.0.2:53: i/o timeout`,
			Host: "reg.test:5000"},
		{Cause: diagnosis.RegistryNameNotFound, Message: prefix + `dial tcp: lookup reg.test on [fd00::a]:53: no such host`, Host: "reg.test:5000"},
		{Cause: diagnosis.RegistryNameNotFound, Message: `dial tcp: lookup reg.test: no such host`, Host: "reg.test"},
		{Cause: diagnosis.ConnectionRefused, Message: prefix + `dial tcp [fd00::5]:5000: connect: connection refused`, Host: "reg.test:5000"},
		{Cause: diagnosis.NetworkUnreachable, Message: prefix + `read tcp 10.0.0.9:4->10.1.1.1:5000: read: connection reset by peer`, Host: "reg.test:5000"},
		{Cause: diagnosis.ProxyFailed, Message: prefix + `proxyconnect tcp: dial tcp 10.9.9.9:3128: i/o timeout`, Host: "reg.test:5000"},
		{Cause: diagnosis.ProxyFailed, Message: prefix + `proxyconnect tcp: dial tcp: lookup proxy.test on 10.0.0.2:53: no such host`, Host: "reg.test:5000"},
		{Cause: diagnosis.TLSHostnameMismatch, Message: prefix + `x509: certificate is valid for a.test, *.b.test, not reg.test`, Host: "reg.test:5000"},
		{Cause: diagnosis.DiskFull, Message: `failed to copy: write /var/lib/containerd/ingest/ab/data: no space left on device`},
		{Cause: diagnosis.RegistryError, Status: 503, Message: `unexpected status from HEAD request to https://joe:pw@reg.test/v2/a/manifests/503: 503 Service Unavailable`, Host: "reg.test"},
		{Cause: diagnosis.AuthenticationRequired, Status: 401, Message: `failed to fetch anonymous token: unexpected status from GET request to https://auth.test/token?scope=repository%3Aa%2F404%3Apull: 401 Unauthorized`, Host: "auth.test"},
		{Cause: diagnosis.PlatformMismatch, Message: `no matching manifest for linux/arm64/v8 in the manifest list entries`},
		{Cause: diagnosis.PlatformMismatch, Message: `no image found in image index for architecture "arm64", variant "v8", OS "linux"; artifact err: x`},
		{Cause: diagnosis.RegistryError, Message: `pinging container registry reg.test:5000: received unexpected HTTP status: 502 Bad Gateway`, Host: "reg.test:5000", Status: 502},
		{Cause: diagnosis.TagNotFound, Message: `initializing source docker://reg.test/a:1: reading manifest 1 in reg.test/a: manifest unknown`},
	} {
		checkReading(t, s)
	}
}

func TestAfterManifest(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                           false,
		"failed to resolve image: x": false,
		"failed to pull and unpack image \"x\": failed to resolve reference": false,
		"failed to copy: httpReadSeeker: failed open":                        true,
		"Error: reading blob sha256:1: x":                                    true,
		"copying blob":                                                       true,
		"Writing blob: storing blob":                                         true,
		"failed to extract layer sha256:1: no space left on device":          true,
		"failed to unpack image on snapshotter overlayfs":                    true,
		"failed commit on ref \"layer-sha256:1\"":                            true,
	} {
		if got := saysAny(text, afterManifest); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

// containerd names the registry of the image in requests to other hosts only.
func TestReadOfMirror(t *testing.T) {
	for text, want := range map[string]bool{
		`failed to do request: Head "https://mirror.test/v2/a/manifests/1?ns=reg.test": EOF`:                               true,
		`failed to do request: Head "https://mirror.test:5000/v2/a/manifests/1?ns=%5BREDACTED%5D": EOF`:                    true,
		`unexpected status from HEAD request to https://mirror.test/v2/a/manifests/1?ns=reg.test: 503 Service Unavailable`: true,
		`failed to do request: Head "https://reg.test/v2/a/manifests/1": EOF`:                                              false,
		`failed to fetch anonymous token: Get "https://auth.test/token?scope=a&ns=b": EOF`:                                 false,
		`pinging container registry reg.test: EOF`:                                                                         false,
	} {
		if got := Read("", text).OfMirror; got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}

func TestReadBehindProxy(t *testing.T) {
	for text, want := range map[string]bool{
		`Get "https://reg.test/v2/": proxyconnect tcp: EOF`:                                                           false,
		`Head "https://reg.test/v2/a/manifests/1": Forbidden`:                                                         true,
		`Head "https://reg.test/v2/a/manifests/1": Host Not Found`:                                                    true,
		`Head "https://reg.test/v2/a/manifests/1": something new`:                                                     false,
		`Head "https://reg.test/v2/a/manifests/1": EOF`:                                                               false,
		`Head "https://reg.test/v2/a/manifests/1": dns_unresolved_hostname`:                                           true,
		`Head "https://reg.test/v2/a/manifests/1": tcp_error" image="a"`:                                              true,
		`Head "https://reg.test/v2/a/manifests/1": read_me: EOF`:                                                      false,
		`Get "https://reg.test/v2/": Proxy Authentication Required`:                                                   true,
		`unexpected status from HEAD request to https://reg.test/v2/a/manifests/1: 407 Proxy Authentication Required`: true,
		`unexpected status from HEAD request to https://reg.test/v2/a/manifests/1: 403 Forbidden`:                     false,
		`reading manifest 1 in reg.test/a: manifest unknown`:                                                          false,
	} {
		if got := Read("", text).BehindProxy; got != want {
			t.Errorf("%v: %s", got, text)
		}
	}
}

func TestReadCredentialsSent(t *testing.T) {
	for text, want := range map[string]bool{
		"failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized":     true,
		"failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized": false,
	} {
		if got := Read("", text).CredentialsSent; got != want {
			t.Errorf("%v: %s", got, text)
		}
	}
}

// The registry itself was asked last, and counts; a mirror does where nothing
// else is said.
func TestReadMirrors(t *testing.T) {
	for _, c := range []struct {
		text  string
		cause diagnosis.Cause
		host  string
	}{
		{`(Mirrors also failed: [m1.test:5000/a:1: pinging container registry m1.test:5000: connection refused] [m2.test/a:1: EOF]): reg.test/a:1: manifest unknown`, diagnosis.TagNotFound, ""},
		{"(Mirrors also failed: [m1.test/a:1: x]\n[m2.test/a:1: y]): pinging container registry reg.test: 503 Service Unavailable", diagnosis.RegistryError, "reg.test"},
		{`(Mirrors also failed: [m1.test/a:1: pinging container registry m1.test: no such host]): something new`, diagnosis.MirrorFailed, "m1.test"},
		{`(Mirrors also failed: [m1.test/a:1: cut of`, diagnosis.MirrorFailed, ""},
		{`reading blob sha256:ab: (Fallback sources also failed: [reg.test/a:1: fetching blob: unauthorized: authentication required]): fetching blob: blob unknown`, diagnosis.AuthenticationRequired, ""},
		{"reading blob sha256:ab: (Fallback sources also failed: [m2.test/a:1: EOF]\n[reg.test/a:1: Get \"https://reg.test/v2/\": dial tcp: lookup reg.test: no such host]): fetching blob: received unexpected HTTP status: 500 Internal Server Error", diagnosis.MirrorFailed, ""},
		{`reading blob sha256:ab: (Fallback sources also failed: [m2.test/a:1: cut of`, diagnosis.MirrorFailed, ""},
		{"(Mirrors also fai\nled: [m1.test/a:1: x]): something new", diagnosis.MirrorFailed, ""},
	} {
		if got := Read("", c.text); got.Cause != c.cause || got.Host != c.host {
			t.Errorf("%s, %q, want %s, %q: %s", got.Cause, got.Host, c.cause, c.host, c.text)
		}
	}
}

func TestReadBlob(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"failed commit on ref \"layer-" + digest + "\": unexpected commit digest":                     digest,
		"failed to extract layer " + digest + ": x":                                                   digest,
		"failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip " + digest + ") to x":   digest,
		"reading blob " + digest + ": fetching blob: EOF":                                             digest,
		"Get https://r.test/v2/a/blobs/" + digest + ": EOF":                                           digest,
		"writing blob: adding layer with blob \"" + digest + "\": x":                                  digest,
		"could not fetch content descriptor " + digest + " (a/b) from remote":                         digest,
		"failed to get reader from content store: content digest " + digest + ": not found":           digest,
		"docker.io/library/a@" + digest + ": not found":                                               "",
		"reading manifest " + digest + " in r.test/a: manifest unknown":                               "",
		"reading blob " + digest[:40] + "… in r.test/a":                                               "",
		"reading manifest " + digest + " in r.test/a: reading blob sha256:" + strings.Repeat("f", 64): "sha256:" + strings.Repeat("f", 64),
	} {
		if got := Read("", text).Blob; got != want {
			t.Errorf("%q, want %q: %s", got, want, text)
		}
	}
}

func TestReadExpired(t *testing.T) {
	for text, want := range map[string]bool{
		"denied: Your authorization token has expired. Reauthenticate and try again.": true,
		"error: ExpiredToken: the provided token is expired":                          true,
		"x509: certificate has expired or is not yet valid":                           false,
		"unauthorized: authentication required":                                       false,
	} {
		if got := Read("", text).Cause; (got == diagnosis.CredentialsExpired) != want {
			t.Errorf("%s: %s", got, text)
		}
	}
}

// A text that was cut off inside the words that decide says what these begin with, if
// nothing else begins like that.
func TestReadCut(t *testing.T) {
	const (
		pull = `failed to pull and unpack image "r.test/a:1": `
		head = pull + `failed to resolve image: failed to do request: Head "https://r.test/v2/a/manifests/1": `
	)
	for text, want := range map[string]diagnosis.Cause{
		head + "dial tcp: lookup r.test on 10.0.0.2:53: no such ho":                     diagnosis.RegistryNameNotFound,
		head + "dial tcp: lookup r.test on 10.0.0.2:53: some":                           diagnosis.DNSFailure,
		head + "dial tcp 10.1.1.1:443: connect: connection ref":                         diagnosis.ConnectionRefused,
		head + "dial tcp 10.1.1.1:443: connect: connection re":                          diagnosis.NetworkUnreachable, // refused or reset
		head + "dial tcp 10.1.1.1:443: i/o ti...":                                       diagnosis.ConnectionTimeout,
		head + "http: server gave HTTP res…":                                            diagnosis.HTTPSMismatch,
		head + "tls: failed to verify certificate: x509: certificate is va":             diagnosis.TLSHostnameMismatch,
		pull + "failed to resolve image: r.test/a:1: not fou":                           diagnosis.TagNotFound,
		pull + "failed to copy: write /var/lib/x: no space le":                          diagnosis.DiskFull,
		pull + "no match for pla":                                                       diagnosis.PlatformMismatch,
		pull + "failed to reso...":                                                      diagnosis.Unknown,
		`initializing source docker://r.test/a:1: reading manifest 1 in r.test/a: mani`: diagnosis.Unknown,
		`Back-off pulling image "r.test/no-space-le"`:                                   diagnosis.Unknown,
		`Back-off pulling image "r.test/a/no such ho`:                                   diagnosis.Unknown,
		pull + "failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic au": diagnosis.AuthenticationRequired,
		"pods are forbidden: they do not fit any security context c":                                                                                    diagnosis.Unknown,
		"denied: no space le": diagnosis.AccessDenied,
	} {
		if got := Read("", text).Cause; got != want {
			t.Errorf("%s, want %s: %s", got, want, text)
		}
	}
}

// A host is never a password that lost its end.
func TestReadHostOfBrokenURL(t *testing.T) {
	for _, text := range []string{`Get "https://joe:hunter2": EOF`, `Get https://joe:hunter2%40reg.test/v2/: EOF`, `Get "https://$HOST/v2/": EOF`} {
		if got := Read("", text).Host; got != "" {
			t.Errorf("%q: %s", got, text)
		}
	}
}

func TestReadText(t *testing.T) {
	r := Read("ErrImagePull", "a\x00\x1b[31mb\n\t c\u202e \xff https://u:p@h/?q=1 "+strings.Repeat("ä", 4000))
	if len(r.Text) > 1024 || !utf8.ValidString(r.Text) || strings.ContainsAny(r.Text, "\x00\x1b\n\t\u202e") {
		t.Errorf("%d bytes: %q", len(r.Text), r.Text)
	}
	if !strings.HasPrefix(r.Text, "a [31mb c  https://REDACTED@h/?REDACTED ää") {
		t.Errorf("%q", r.Text[:80])
	}
}

// What cannot be seen does not hide a secret from the redaction.
func TestReadInvisibleCharacters(t *testing.T) {
	for _, text := range []string{"pass\u200bword=hunter2", "token eyJhbGciOiJI\u00adUzI1NiJ9.e30.x", "https://joe\x00:hunter2@reg.test/"} {
		if got := Read("", text).Text; strings.Contains(got, "hunter2") || strings.Contains(got, "eyJ") {
			t.Errorf("%q", got)
		}
	}
}

func TestReadWithoutMessage(t *testing.T) {
	if r := Read("ImagePullBackOff", ""); r.Cause != diagnosis.Unknown || r.Text != "" {
		t.Errorf("%+v", r)
	}
	for _, reason := range []string{"InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed"} {
		if r := Read(reason, ""); r.Cause == diagnosis.Unknown {
			t.Errorf("%s says nothing", reason)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("", "")
	f.Add("ErrImagePull", `[rpc error: code = NotFound desc = "a": not found, failed to pull: 401 Unauthorized]`)
	f.Add("ImagePullBackOff", `(Mirrors also failed: [a: b])`)
	f.Add("", "lookup  on : current time  is : certificate is valid for , not : proxyconnect tcp: dial tcp")
	f.Add("", "\"\\\"'[([=<>]) https://[::1:5@?://")
	f.Add("", "no matching manifest for  for architecture , OS \n ? retry-after: 99999999999999999999")
	f.Fuzz(func(t *testing.T, reason, message string) {
		r := Read(reason, message)
		if r.Cause == "" || len(r.Text) > maxText || !utf8.ValidString(r.Text) {
			t.Errorf("%q %q: %+v", reason, message, r)
		}
		const secret = "s3cr3tS3cr3tS3cr3t"
		if len(message) < 512 && len(reason) < 128 {
			text := Read(clean(reason), clean(message)+" https://joe:"+secret+"@reg.example/?sig="+secret+" ").Text
			if strings.Contains(text, secret) {
				t.Errorf("%q %q: %s", reason, message, text)
			}
		}
	})
}

func TestReadLongInput(t *testing.T) {
	for _, unit := range []string{"[", ", rpc error", "lookup ", `"`, "manifest ", "a ", "https://", "(Mirrors also failed: [", "\\", "401 "} {
		long := strings.Repeat(unit, (1<<20)/len(unit))
		if r, parts := Read("", long), splitAttempts(long); len(r.Text) > maxText || len(parts) > maxParts {
			t.Errorf("%q: %d bytes, %d parts", unit, len(r.Text), len(parts))
		}
	}
}

// TestReadFullStore: what a text without room says of where there is none.
func TestReadFullStore(t *testing.T) {
	for text, want := range map[string]string{
		"write /var/lib/containerd/io.containerd.content.v1.content/ingest/x/data: no space left on device": "/var/lib/containerd/io.containerd.content.v1.content",
		"write /var/lib/other/data: no space left on device":                                                "",
		"write ingest/x/data: no space left on device":                                                      "",
		"/store/ingest/x: permission denied":                                                                "",
	} {
		if got := Read("ErrImagePull", text).FullStore; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if r := Read("ErrImagePull", "failed to record image pull intent: write /x: no space left on device"); !r.IntentUnrecorded || r.FullStore != "" {
		t.Errorf("%+v", r)
	}
	if Read("ErrImagePull", "no space left on device").IntentUnrecorded {
		t.Error("any text is of the kubelet's own file")
	}
}

func BenchmarkRead(b *testing.B) {
	for name, message := range map[string]string{
		"early":   `failed to pull and unpack image "reg.test/shop/cart:1": failed to resolve image: failed to do request: Head "https://reg.test/v2/shop/cart/manifests/1": dial tcp: lookup reg.test on 10.0.0.2:53: no such host`,
		"late":    `rpc error: code = NotFound desc = failed to pull and unpack image "reg.test/shop/cart:1": failed to resolve image: reg.test/shop/cart:1: not found`,
		"unknown": `Back-off pulling image "reg.test/shop/cart:1": ErrImagePull: failed to pull and unpack image "reg.test/shop/cart:1": something that nobody has seen before and that is rather long`,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Read("ErrImagePull", message)
			}
		})
	}
}
