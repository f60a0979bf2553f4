package nodeconfig

import (
	"crypto/x509"
	"io/fs"
	"path"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
)

// systemPool returns the CA certificates of a node's process that has the variables
// SSL_CERT_FILE and SSL_CERT_DIR; found is false if there are none, or if some cannot be
// seen, so that an untrusted certificate proves nothing.
//
// For the process's own root the pool is nil, which means Go's pool: the standard
// library looks in the same places.
func (c *Config) systemPool(certFile, certDir string) (pool *x509.CertPool, found bool) {
	if c.fs.IsHost() && certFile+certDir == "" {
		return nil, true
	}
	// Where Go's crypto/x509 (root_linux.go) looks: the first file that exists, and all
	// directories. The variables replace them (root_unix.go). containerd does the same once,
	// when it starts.
	files := []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
	dirs := []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	if certFile != "" {
		files = []string{certFile}
	}
	if certDir != "" {
		dirs = strings.Split(certDir, ":")
	}
	pool = x509.NewCertPool()
	for _, name := range files {
		if data, err := c.fs.ReadFile(name, maxConfigFile); err == nil {
			found = pool.AppendCertsFromPEM(data)
			break
		}
	}
	hidden := certFile != "" && c.hides(certFile)
	for _, dir := range dirs {
		found = addDir(c.fs, pool, dir) || found
		hidden = hidden || certDir != "" && c.hides(dir)
	}
	return pool, found && !hidden
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
