package message

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// crioMessage is a line of the collections of what a real CRI-O said.
type crioMessage struct {
	ID, Case        string
	Reason, Message string
	Cause, Truth    diagnosis.Cause
	Also            []diagnosis.Cause
}

// undecided are the cases whose text says less than the whole truth: who was
// asked, with which credentials, or what the answer's status was.
var undecided = []string{
	"basic-wrong", "basic-two-wrong", "bearer-loop", "expired-jwt", "hub-invalid-token",
	"mirror-corrupt-origin-401", "mirror-corrupt-origin-nxdomain", "mirror-corrupt-origin-404",
	"mirror-corrupt-origin-good", "mirror-web-page-origin-401", "mirror-web-page-origin-nxdomain", "mirror-web-page-origin-404",
	"mirror-web-page-origin-good", "policy-451", "proxy-plain-502", "rejected-jwt", "scope-refused-anonymous", "scope-refused-login", "token-anonymous-401",
	"token-anonymous-403", "token-missing", "proxy-hang", "cdn-http-hangs", "http-hangs", "token-hangs",
}

// crioMessages returns the collections of what a real CRI-O said. They lie beside
// the repository and are not part of it.
func crioMessages(t *testing.T) []crioMessage {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "testdata", "crio-1.37-*.jsonl"))
	var all []crioMessage
	for _, file := range files {
		all = append(all, readLines[crioMessage](t, file)...)
	}
	return slices.DeleteFunc(all, func(m crioMessage) bool { return m.Cause+m.Truth == "" || m.Message == "" })
}

func TestReadCRIOCollections(t *testing.T) {
	n, good := 0, 0
	for _, m := range crioMessages(t) {
		n++
		got, want := Read(m.Reason, m.Message).Cause, m.Cause+m.Truth
		switch {
		case got == want || slices.Contains(m.Also, got):
			good++
		case !slices.Contains(undecided, m.Case):
			t.Errorf("%s%s: %s, want %s\n%s", m.ID, m.Case, got, want, m.Message)
		}
	}
	t.Logf("%d of %d agree", good, n)
}

// namesIn finds what people named in a text of a runtime: images, tags, hosts.
var namesIn = []*regexp.Regexp{
	regexp.MustCompile(`docker://([^\s":,]+(?::\d+/[^\s":,]+)?)`),
	regexp.MustCompile(`access denied for ([^\s:,]+),`),
	regexp.MustCompile(`(?:Failed to pull|pulling|pull and unpack) image \\?"([^\s":@]+)`),
	regexp.MustCompile(`pinging container registry ([^\s":/]+)`),
	regexp.MustCompile(`lookup ([^\s":/]+) on `),
	regexp.MustCompile(`image name ([^\s":/]+) returns`),
	regexp.MustCompile(`reading manifest ([^\s":/]+) in `),
}

// renamed replaces each name in a text, part by part, by another word; ports and
// top-level domains stay.
func renamed(text, word string) string {
	for _, names := range namesIn {
		for _, found := range names.FindAllStringSubmatch(text, -1) {
			for i, part := range strings.Split(found[1], "/") {
				if len(part) < 3 || i == 0 && strings.ContainsAny(part, ".:") || slices.Contains([]string{"sha256", "x509", "localhost"}, part) || !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(part) {
					continue
				}
				for _, after := range []string{":", ",", `"`, " ", "/", "@", "\\"} {
					for _, before := range []string{"/", `"`, " ", `\"`} {
						text = strings.ReplaceAll(text, before+part+after, before+word+after)
					}
				}
			}
		}
	}
	return text
}

// Whatever an image is called, also without a registry, its name is no phrase of
// the runtime.
func TestReadBareNames(t *testing.T) {
	words := []string{"squid", "quarantine", "toomanyrequests", "nxdomain", "snapshotter", "readlink", "truncated", "proxyconnect", "goaway", "ratelimit", "expiredtoken", "erofs"}
	all := crioMessages(t)
	for _, s := range scenarios(t) {
		all = append(all, crioMessage{Reason: s.Reason, Message: s.Message})
	}
	changed := 0
	for _, m := range all {
		for _, word := range words {
			text := renamed(m.Message, word)
			if text == m.Message {
				continue
			}
			changed++
			if got, want := Read(m.Reason, text).Cause, Read(m.Reason, m.Message).Cause; got != want {
				t.Errorf("%s, want %s: %s", got, want, text)
			}
		}
	}
	if changed < 500 {
		t.Errorf("only %d texts were changed", changed)
	}
}

// What a registry says in its own words is nothing that the node has done.
func TestReadServersWords(t *testing.T) {
	const (
		source = "unable to pull image or OCI artifact: pull image err: initializing source docker://r.test/a:1: "
		asked  = "unexpected status from GET request to https://r.test/v2/a/manifests/1: " // containerd
	)
	for _, words := range []string{"no space left on device", "squid", "connection refused", "no such host", "x509: certificate signed by unknown authority", "exec format error is what you get", "dial unix", "context canceled"} {
		for lead, want := range map[string]diagnosis.Cause{
			"reading manifest 1 in r.test/a: denied: ":                      diagnosis.AccessDenied,
			"reading manifest 1 in r.test/a: unauthorized: ":                diagnosis.AuthenticationRequired,
			"reading manifest 1 in r.test/a: manifest unknown: ":            diagnosis.TagNotFound,
			"reading manifest 1 in r.test/a: StatusCode: 503, \"<html>":     diagnosis.RegistryError,
			"reading blob sha256:00: fetching blob: StatusCode: 403, \"<b>": diagnosis.AccessDenied,
			asked + "500 Internal Server Error\nunknown: ":                  diagnosis.RegistryError,
			asked + "429 Too Many Requests\ntoomanyrequests: ":              diagnosis.RateLimited,
			asked + "403 Forbidden\ndenied: ":                               diagnosis.AccessDenied,
			"Error response from daemon: denied: ":                          diagnosis.AccessDenied,
			"Error response from daemon: unknown: ":                         diagnosis.RegistryError,
			"Error response from daemon: error from registry: ":             diagnosis.RegistryError,
			"Get \"https://r.test/v2/a/manifests/1\": unauthorized: ":       diagnosis.AuthenticationRequired,
		} {
			if got := Read("", source+lead+words); got.Cause != want || got.BehindProxy {
				t.Errorf("%s, want %s: %s", got.Cause, want, lead+words)
			}
		}
	}
}

// A registry's code for what it does not have counts, whatever it says beside it;
// but a policy, a limit and an expired credential have no code of their own.
func TestReadCodes(t *testing.T) {
	const source = "unable to pull image or OCI artifact: pull image err: initializing source docker://r.test/a:1: reading manifest 1 in r.test/a: "
	for code, want := range map[string]diagnosis.Cause{
		"manifest unknown: ": diagnosis.TagNotFound, "name unknown: ": diagnosis.RepositoryNotFound,
	} {
		for words, other := range map[string]diagnosis.Cause{
			"access forbidden": "", "authentication required": "", "requested access to the resource is denied": "", "HTTP 503": "", "": "",
			"repository a not found": "", "tag 1 not found": "", "Unauthorized": "",
			"blocked by quarantine policy": diagnosis.PolicyBlocked, "rate limit exceeded": diagnosis.RateLimited, "token has expired": diagnosis.CredentialsExpired,
		} {
			if other == "" {
				other = want
			}
			if got := Read("", source+code+words).Cause; got != other {
				t.Errorf("%s, want %s: %s%s", got, other, code, words)
			}
		}
	}
	const blob = "pull image err: reading blob sha256:00: fetching blob: blob unknown: access forbidden"
	if got := Read("", blob).Cause; got != diagnosis.ContentCorrupt {
		t.Errorf("%s: %s", got, blob)
	}
}

// An image's name with its tag is no password.
func TestReadKeepsImageNames(t *testing.T) {
	for _, text := range []string{
		"initializing source docker://nginx:latest: reading manifest latest in docker.io/library/nginx: manifest unknown",
		"determining manifest MIME type for docker://nginx:1: reading manifest sha256:00 in docker.io/library/nginx: EOF",
		`getting username and password: reading JSON file "/etc/crio/auth.json": unmarshaling JSON at "/etc/crio/auth.json": EOF`,
		"getting username and password: illegal base64 data at input byte 0",
	} {
		if got := Read("", text).Text; got != text {
			t.Errorf("%s\n%s", got, text)
		}
	}
}

// TestReadCRIOStore: where CRI-O had no room.
func TestReadCRIOStore(t *testing.T) {
	text := "writing blob: setting up to decompress blob: write /var/tmp/container_images_storage38/2: no space left on device"
	if r := Read("", text); r.Cause != diagnosis.DiskFull || r.FullStore != "/var/tmp" {
		t.Errorf("%s, %q", r.Cause, r.FullStore)
	}
}

// TestReadRelocated: registries.conf has the image at another place.
func TestReadRelocated(t *testing.T) {
	for text, want := range map[string]diagnosis.Cause{
		"initializing source docker://nginx:1: reading manifest 1 in docker.io/library/nginx: manifest unknown":                 diagnosis.TagNotFound,
		"initializing source docker://nginx:1: pinging container registry registry-1.docker.io: 503 Service Unavailable":        diagnosis.RegistryError,
		"initializing source docker://nginx:1: reading manifest 1 in mirror.test/library/nginx: manifest unknown":               diagnosis.MirrorFailed,
		"initializing source docker://r.test/a:1: pinging container registry m.test:5000: Get \"https://m.test:5000/v2/\": EOF": diagnosis.MirrorFailed,
		"initializing source docker://r.test:5000/a:1: reading manifest 1 in r.test:5000/a: denied: requested access":           diagnosis.AccessDenied,
	} {
		if got := Read("", text).Cause; got != want {
			t.Errorf("%s, want %s: %s", got, want, text)
		}
	}
}

// A credential helper of the runtime is no plugin of the kubelet's.
func TestReadRuntimeHelper(t *testing.T) {
	for text, want := range map[string]bool{
		`initializing source docker://r.test/a:1: getting username and password: error getting credentials - err: exec: "docker-credential-x": executable file not found in $PATH`: true,
		"failed to get credentials from external registry credential provider plugin":                                                                                              false,
	} {
		if got := Read("", text); got.RuntimeHelper != want || got.Cause != diagnosis.CredentialProviderFailed {
			t.Errorf("%v, %s: %s", got.RuntimeHelper, got.Cause, text)
		}
	}
}
