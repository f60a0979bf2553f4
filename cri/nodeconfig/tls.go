package nodeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/registry"
)

// cipherSuites returns those that CRI-O offers for TLS 1.2, nil for Go's own. Before 1.35 it
// offers others with CBC (go-connections, tlsconfig), so that all servers that Go's own suit
// have one.
func (c *Config) cipherSuites() []uint16 {
	if !c.version.atLeast(1, 35) {
		return nil
	}
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	}
}

// hiddenOf returns the first of some files of the node that this process cannot see; ""
// if there is none.
func (c *Config) hiddenOf(names ...string) string {
	for _, name := range names {
		if c.hides(name) {
			return name
		}
	}
	return ""
}

// errNoPair is a certificate without its key, or the other way round.
var errNoPair = errors.New("a client certificate needs a key, and a key a certificate")

// addClient adds a client certificate to an endpoint, or returns a notice if this process
// cannot see it or its key.
func (c *Config) addClient(e *registry.Endpoint, cert, key string) ([]Notice, error) {
	if hidden := c.hiddenOf(cert, key); hidden != "" {
		e.BlindClient = true
		return []Notice{{Kind: NoticeHidden, Path: hidden}}, nil
	}
	certPEM, err := c.fs.ReadFile(cert, maxConfigFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := c.fs.ReadFile(key, maxConfigFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	config := e.Settings.Transport.TLSClientConfig
	config.Certificates = append(config.Certificates, pair)
	return nil, nil
}

// addCA adds CA certificates to the node's for an endpoint, or returns a notice if this
// process cannot see them. A file without any is no error.
func (c *Config) addCA(e *registry.Endpoint, name string) ([]Notice, error) {
	if c.hides(name) {
		e.Blind = true
		return []Notice{{Kind: NoticeHidden, Path: name}}, nil
	}
	pem, err := c.fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return nil, err
	}
	config := e.Settings.Transport.TLSClientConfig
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, err
		}
	}
	config.RootCAs.AppendCertsFromPEM(pem)
	return nil, nil
}

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
