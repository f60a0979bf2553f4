package registry_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/leaktest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const secret = "s3cret-passw0rd"

func loopback() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

// resolve knows the test registry's name only.
func resolve(_ context.Context, host string) ([]netip.Addr, error) {
	if host == registrytest.Name {
		return []netip.Addr{loopback()}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, Server: "192.0.2.53:53", IsNotFound: true}
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// node is a node's file system with the given files.
func node(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// trusting is a node that trusts the authority of the registry.
func trusting(t *testing.T, s *registrytest.Server) string {
	return node(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM())})
}

func options(root string) registry.Options {
	return registry.Options{Root: root, Version: "1.2.3", Resolve: resolve, Proxy: noProxy}
}

func endpoints(t *testing.T, opts registry.Options, host string) ([]registry.Endpoint, []registry.Notice) {
	t.Helper()
	if opts.TempDir == "" {
		opts.TempDir = t.TempDir()
	}
	eps, notices, err := registry.Load(opts).Endpoints(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(opts.TempDir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	return eps, notices
}

func endpoint(t *testing.T, opts registry.Options, host string) registry.Endpoint {
	t.Helper()
	eps, _ := endpoints(t, opts, host)
	if len(eps) != 1 {
		t.Fatalf("%d endpoints for %s, want one", len(eps), host)
	}
	return eps[0]
}

func ref(t *testing.T, s string) reference.Named {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// noGoroutinesLeft fails the test if it ends with more goroutines than it
// began with. It is to be called first.
func noGoroutinesLeft(t *testing.T) {
	t.Helper()
	leaktest.Check(t, leaktest.Without())
}

// checkErr asserts what holds for the Err of every answer.
func checkErr(t *testing.T, a registry.Answer) {
	t.Helper()
	if (a.Err == nil) != a.Found {
		t.Errorf("found %t with error %v", a.Found, a.Err)
	}
	text := fmt.Sprintf("%v %+v %#v", a.Err, a, a)
	for _, taboo := range []string{secret, "own words", "?", "client_id", "Bearer ey"} {
		if strings.Contains(text, taboo) {
			t.Errorf("%q is in %s", taboo, text)
		}
	}
}
