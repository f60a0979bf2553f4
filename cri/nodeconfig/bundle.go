package nodeconfig

import (
	"crypto/x509"
	"io/fs"
	"path"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
)

// bundleFiles and bundleDirs return where Go's crypto/x509 (root_linux.go) looks for
// the system's CA certificates: the first file that exists, and all directories.
// containerd does the same once, when it starts.
func bundleFiles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

func bundleDirs() []string { return []string{"/etc/ssl/certs", "/etc/pki/tls/certs"} }

// systemPool returns the node's CA certificates; found is false if there are none, so
// that an untrusted certificate proves nothing.
//
// For the process's own root the pool is nil, which means Go's pool: the standard
// library looks in the same places.
func systemPool(host hostfs.FS) (pool *x509.CertPool, found bool) {
	if host.IsHost() {
		return nil, true
	}
	pool = x509.NewCertPool()
	for _, name := range bundleFiles() {
		if data, err := host.ReadFile(name, maxConfigFile); err == nil {
			found = pool.AppendCertsFromPEM(data)
			break
		}
	}
	for _, dir := range bundleDirs() {
		found = addDir(host, pool, dir) || found
	}
	return pool, found
}

func addDir(host hostfs.FS, pool *x509.CertPool, dir string) (found bool) {
	entries, err := host.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if entry.Type()&fs.ModeSymlink != 0 && isAlias(host, name) {
			continue
		}
		if data, err := host.ReadFile(name, maxConfigFile); err == nil {
			found = pool.AppendCertsFromPEM(data) || found
		}
	}
	return found
}

// isAlias reports whether a file is a link within its directory: directories of CA
// certificates have each one under its name and its hash.
func isAlias(host hostfs.FS, name string) bool {
	target := host.Readlink(name)
	return target != "" && !strings.Contains(target, "/")
}
