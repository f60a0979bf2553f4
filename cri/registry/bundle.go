package registry

import (
	"crypto/x509"
	"os"
	"path"
	"strings"
)

// bundleFiles and bundleDirs are where Go's crypto/x509 (root_linux.go) looks
// for the system's authorities: the first file that is there, and all the
// directories. containerd does the same, once, when it starts.
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

// systemPool gives the node's authorities; found is false if there are none,
// so that nothing can be said about a certificate's authority.
//
// For the process's own root it is nil, which means Go's own pool: there the
// standard library looks in the very same places.
func (f rootFS) systemPool() (pool *x509.CertPool, found bool) {
	if f.isHost() {
		return nil, true
	}
	pool = x509.NewCertPool()
	for _, name := range bundleFiles() {
		if data, err := f.readFile(name); err == nil {
			found = pool.AppendCertsFromPEM(data)
			break
		}
	}
	for _, dir := range bundleDirs() {
		found = f.addDir(pool, dir) || found
	}
	return pool, found
}

func (f rootFS) addDir(pool *x509.CertPool, dir string) (found bool) {
	real, err := f.resolve(dir)
	if err != nil {
		return false
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		if isAlias(real, entry) {
			continue
		}
		if data, err := f.readFile(path.Join(dir, entry.Name())); err == nil {
			found = pool.AppendCertsFromPEM(data) || found
		}
	}
	return found
}

// isAlias tells a link to a neighbour: directories of authorities hold each
// certificate under its name and its hash.
func isAlias(dir string, entry os.DirEntry) bool {
	if entry.Type()&os.ModeSymlink == 0 {
		return false
	}
	target, err := os.Readlink(path.Join(dir, entry.Name()))
	return err == nil && !strings.Contains(target, "/")
}
