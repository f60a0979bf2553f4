package faulttest

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each truth of CRI-O belongs to a case, and is another one than containerd's.
func TestCRIOTruths(t *testing.T) {
	t.Parallel()
	w := start(t)
	for name, want := range crioTruths() {
		i := slices.IndexFunc(w.CRIOCases(), func(c Case) bool { return c.Name == name })
		if i < 0 {
			t.Errorf("there is no case %s", name)
			continue
		}
		if c := w.CRIOCases()[i]; c.On(CRIO137) != want || c.Truth == want {
			t.Errorf("%s: %q with CRI-O, %q with containerd", name, c.On(CRIO137), c.Truth)
		}
	}
}

// A registry that wants credentials says so at GET /v2/, at the hosts of
// CRI-O's cases and at no other.
func TestPing(t *testing.T) {
	t.Parallel()
	w := start(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for host, want := range map[string]string{
		"good": "", "works": "", "basic-wrong": `Basic realm="registry"`, "token-works": "Bearer realm=",
		"hub": "", "hub-missing.hub": "Bearer realm=", "hub-anonymous.hub": "Bearer realm=",
	} {
		name, _, _ := strings.Cut(w.hostport(host), ":")
		server := w.addresses[hostGood]
		if strings.HasSuffix(host, hostHub) {
			server = w.addresses[hostHub]
		}
		r, err := http.NewRequest(http.MethodGet, "https://"+server+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = name
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		got := answer.Header.Get("Www-Authenticate")
		if (answer.StatusCode == http.StatusOK) != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, %q", name, answer.Status, got)
		}
	}
}

// The cases of CRI-O are those of containerd, at hosts of their own where
// credentials are wanted.
func TestCRIOCases(t *testing.T) {
	t.Parallel()
	w := start(t)
	theirs := w.CRIOCases()
	for i, c := range w.Cases() {
		host, _, _ := strings.Cut(theirs[i].Image, ":")
		switch {
		case theirs[i].Name != c.Name:
			t.Fatalf("case %d is %s, and %s for CRI-O", i, c.Name, theirs[i].Name)
		case strings.HasPrefix(c.Name, "hub-"):
			if host != c.Name+".hub.fault.example" {
				t.Errorf("%s is at %s", c.Name, host)
			}
		case strings.HasPrefix(c.Name, "basic-") || strings.HasPrefix(c.Name, "token-"):
			if host != c.Name+".fault.example" {
				t.Errorf("%s is at %s", c.Name, host)
			}
		case c.Name == "works" && theirs[i].Image != c.Image:
			t.Errorf("%s is at %s", c.Name, host)
		}
		for _, l := range theirs[i].Credentials {
			if !strings.HasPrefix(theirs[i].Image, l.Key+"/") {
				t.Errorf("%s has a credential for %s", theirs[i].Image, l.Key)
			}
		}
	}
}

// The files of a node with CRI-O are there, and are gone afterwards.
func TestCRIOFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	w, err := Start(Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	registries := filepath.Join(root, "etc/containers/registries.conf")
	text, err := os.ReadFile(registries)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`prefix = "` + w.hostport("mirror-works-origin-404") + `"`,
		`[[registry.mirror]]` + "\n" + `location = "` + w.hostport(hostMirror) + `"`,
		`location = "` + w.hostport(hostRefused) + `"` + "\ninsecure = false", // mirror-only-refused
		"insecure = true", "blocked = true",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("registries.conf has no %q", want)
		}
	}
	certs := filepath.Join(root, "etc/containers/certs.d")
	for file, directory := range map[string]bool{
		w.hostport("config-ca-works."+hostUntrusted) + "/ca.crt": false, w.hostport("config-ca-missing") + "/ca.crt": true,
	} {
		if info, err := os.Stat(filepath.Join(certs, file)); err != nil || info.IsDir() != directory {
			t.Errorf("%s: %v", file, err)
		}
	}
	w.Close()
	for _, name := range []string{registries, certs} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for given, want := range map[time.Duration]string{0: "21", 9 * time.Second: "9"} {
		if got := (&World{config: Config{RetryAfter: given}}).retryAfter(); got != want {
			t.Errorf("%s is %s, want %s", given, got, want)
		}
	}
}
