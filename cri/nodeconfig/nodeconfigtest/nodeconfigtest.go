// Package nodeconfigtest makes nodes whose registry configuration is known, for
// tests.
package nodeconfigtest

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// Registries is CRI-O's configuration of registries.
const Registries = "etc/containers/registries.conf"

// NoProxy is a registry.ProxyFunc.
func NoProxy(*http.Request) (*url.URL, error) { return nil, nil } //nolint:nilnil // http.Transport's convention

// Resolve knows the test registry's name only.
func Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	if host == registrytest.Name {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, Server: "192.0.2.53:53", IsNotFound: true}
}

// Options are those of a node with containerd.
func Options(root string) nodeconfig.Options {
	return nodeconfig.Options{Root: root, Version: "1.2.3", Resolve: Resolve, Proxy: NoProxy}
}

// CRIO are the options of a node with CRI-O and the given files.
func CRIO(t *testing.T, files map[string]string) nodeconfig.Options {
	t.Helper()
	all := map[string]string{"etc/ssl/certs/ca-certificates.crt": string(catest.New(t).PEM())}
	maps.Copy(all, files)
	opts := Options(hostfstest.New(t, all))
	opts.Runtime, opts.RuntimeVersion, opts.TempDir = "cri-o", "1.37.0", t.TempDir()
	return opts
}

// Ref parses an image's name.
func Ref(t *testing.T, s string) reference.Named {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// Endpoints returns the endpoints for a host, and asserts that nothing is left
// behind.
func Endpoints(t *testing.T, opts nodeconfig.Options, host string) ([]registry.Endpoint, []nodeconfig.Notice) {
	t.Helper()
	if opts.TempDir == "" {
		opts.TempDir = t.TempDir()
	}
	eps, notices, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), host, Ref(t, host+"/whypull/whypull"))
	if err != nil {
		t.Fatal(err)
	}
	isEmpty(t, opts.TempDir)
	return eps, notices
}

// Endpoint returns the only endpoint for a host.
func Endpoint(t *testing.T, opts nodeconfig.Options, host string) registry.Endpoint {
	t.Helper()
	eps, _ := Endpoints(t, opts, host)
	if len(eps) != 1 {
		t.Fatalf("%d endpoints for %s, want one", len(eps), host)
	}
	return eps[0]
}

// Sources returns the endpoints for an image, and asserts that nothing is left
// behind.
func Sources(t *testing.T, opts nodeconfig.Options, image string) ([]registry.Endpoint, []nodeconfig.Notice, error) {
	t.Helper()
	named := Ref(t, image)
	host, _, _ := strings.Cut(named.Name(), "/")
	eps, notices, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), host, named)
	isEmpty(t, opts.TempDir)
	return eps, notices, err
}

func isEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}
