package nodeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/whypull/whypull/cri/catest"
)

// dial_timeout bounds connecting within what is allowed for it, and only where
// the runtime knows it: since containerd 2.0.7.
func TestDialTimeout(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "certs.d/hub.test")
	const text = "server = 'https://hub.test'\ndial_timeout = '1s'\n" +
		"[host.'m1.test']\ndial_timeout = '2s'\n[host.'https://m2.test:5000/v2']\ndial_timeout = '1h'\n[host.'https://m3.test']\n"
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string][]time.Duration{
		"2.4.2":  {2 * time.Second, 5 * time.Second, 5 * time.Second, time.Second},
		"2.0.7":  {2 * time.Second, 5 * time.Second, 5 * time.Second, time.Second},
		"2.0.5":  {5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second},
		"1.7.35": {5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second},
	} {
		opts := Options{Root: root, CertsDir: "/certs.d", TempDir: t.TempDir(), RuntimeVersion: version}
		eps, _, err := Load(opts).hostEndpoints(t.Context(), "hub.test")
		if err != nil || len(eps) != len(want) {
			t.Fatalf("%s: %d endpoints, %v", version, len(eps), err)
		}
		for i, e := range eps {
			if got := e.Settings.Timeouts.Connect; got != want[i] {
				t.Errorf("%s, %s: %s, want %s", version, e, got, want[i])
			}
		}
	}
}

// Where the runtime does not know dial_timeout, a bad one does no harm.
func TestBadDialTimeout(t *testing.T) {
	for _, bad := range []string{"'soon'", "5"} {
		root := t.TempDir()
		dir := filepath.Join(root, "hub.test")
		text := "server = 'https://hub.test'\ndial_timeout = " + bad + "\n[host.'https://m.test']\ndial_timeout = " + bad + "\nca = 'ca.pem'\n"
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"hosts.toml": text, "ca.pem": string(catest.New(t).PEM())} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for version, want := range map[string]string{"1.6.36": "https://m.test", "1.7.35": "https://m.test", "2.0.5": "https://m.test", "2.4.2": ""} {
			for _, opts := range []Options{{CertsDir: root}, {Root: root, CertsDir: "/"}} { // on the node, and in a container
				opts.TempDir, opts.RuntimeVersion = t.TempDir(), version
				eps, notices, err := Load(opts).hostEndpoints(t.Context(), "hub.test")
				if want != "" && (err != nil || len(notices) > 0 || len(eps) != 2 || eps[0].String() != want) {
					t.Errorf("%s, %s: endpoints %v, notices %v, %v", version, bad, eps, notices, err)
				}
				if want == "" && err == nil && len(notices) == 0 {
					t.Errorf("%s, %s: endpoints %v, and nothing is odd", version, bad, eps)
				}
			}
		}
	}
}

// The capability "referrers" makes the file invalid before containerd 2.2.
func TestReferrers(t *testing.T) {
	const text = "[host.'https://m.test']\ncapabilities = ['pull', 'resolve', \"Referrers\"]\n"
	root := t.TempDir()
	dir := filepath.Join(root, "certs.d/hub.test")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]int{"2.4.2": 2, "2.2.0": 2, "2.1.4": 1, "1.7.35": 1} {
		for _, opts := range []Options{{CertsDir: root + "/certs.d"}, {Root: root, CertsDir: "/certs.d"}} { // on the node, and in a container
			opts.TempDir, opts.RuntimeVersion = t.TempDir(), version
			eps, notices, err := Load(opts).hostEndpoints(t.Context(), "hub.test")
			invalid := len(notices) == 1 && notices[0].Kind == NoticeHostsBadValue
			if err != nil || len(eps) != want || invalid != (want == 1) {
				t.Errorf("%s: endpoints %v, notices %v, %v", version, eps, notices, err)
			}
		}
	}
}

// A table may have both keys, and names for them that nobody reads.
func TestDropBothPaths(t *testing.T) {
	got, changed := dropPaths([]byte("ca = '/a'\nclient = '/b'\n"), func(string, string, string) bool { return true })
	var file map[string]any
	if err := toml.Unmarshal(got, &file); err != nil || !changed || file["ca"] != nil || file["client"] != nil {
		t.Errorf("%s: %v", got, err)
	}
}

func TestDropPaths(t *testing.T) {
	const doc = "ca = ['/a', \"/b\"]\nclient = [['/c','/d']] # ca = '/b'\n[host.'x.test:5']\nca='/b'\n[host.'x.test:5'.header]\nca = '/b'\n"
	for path, want := range map[string][]string{
		"/a": {"|ca"},
		"/b": {"|ca", "x.test:5|ca"},
		"/d": {"|client"},
		"/e": nil,
	} {
		var dropped []string
		got, changed := dropPaths([]byte(doc), func(host, key, name string) bool {
			if name == path {
				dropped = append(dropped, host+"|"+key)
			}
			return name == path
		})
		var file map[string]any
		if err := toml.Unmarshal(got, &file); err != nil {
			t.Fatal(err)
		}
		if len(dropped) != len(want) || changed != (len(want) > 0) {
			t.Errorf("%s: dropped %q, want %q", path, dropped, want)
		}
		_, ca := file["ca"]
		_, client := file["client"]
		if ca == (path == "/a" || path == "/b") || client == (path == "/d") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got, changed := dropPaths([]byte("ca = '/a'\n[x"), func(string, string, string) bool { return true }); changed || string(got) != "ca = '/a'\n[x" {
		t.Errorf("a broken file was changed: %s", got)
	}
}

func TestRewritePaths(t *testing.T) {
	const doc = `# ca = "/comment"
server = "https://h"   # "/untouched"
ca = '/root.pem'
client = [["/c.pem", """/k.pem"""], "/both.pem"]
header.ca = "/dotted"

[host."https://m/ca"]
  ca = [ "rel.pem",
    "/multi\\line.pem" ]   # end
  [host."https://m/ca".header]
    ca = "/header"

[other."x"]
  ca = "/other"
`
	const want = `# ca = "/comment"
server = "https://h"   # "/untouched"
ca = '/n/root.pem'
client = [['/n/c.pem', '/n/k.pem'], '/n/both.pem']
header.ca = "/dotted"

[host."https://m/ca"]
  ca = [ "rel.pem",
    '/n/multi\line.pem' ]   # end
  [host."https://m/ca".header]
    ca = "/header"

[other."x"]
  ca = "/other"
`
	rebase := func(p string) string {
		if strings.HasPrefix(p, "/") {
			return "/n" + p
		}
		return p
	}
	got, changed := rewritePaths([]byte(doc), rebase)
	if string(got) != want || !changed {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, broken := range []string{"ca = '/a'\n[host", "ca = ", "", "ca = 3\n"} {
		if got, changed := rewritePaths([]byte(broken), rebase); string(got) != broken || changed {
			t.Errorf("%q became %q", broken, got)
		}
	}
}

// The rewritten file must be one that containerd's decoder reads, for any file.
func FuzzRewritePaths(f *testing.F) {
	f.Add("ca = '/a'\n[host.\"x\"]\nclient = [['/a', \"/b\"], '/c']\n")
	f.Fuzz(func(t *testing.T, doc string) {
		got, changed := rewritePaths([]byte(doc), func(p string) string { return "/n" + p })
		if !changed {
			return
		}
		if again, _ := rewritePaths(got, func(p string) string { return p }); string(again) != string(got) {
			t.Errorf("%q became %q, which is not stable", doc, got)
		}
	})
}

func TestQuote(t *testing.T) {
	for _, want := range []string{"", "/etc/ssl/é.crt", ` a'b"c\d `, "a\n\x7f"} {
		var got struct{ X string }
		if err := toml.Unmarshal([]byte("x = "+quote(want)), &got); err != nil || got.X != want {
			t.Errorf("%q is quoted as %s, which is %q, %v", want, quote(want), got.X, err)
		}
	}
}
