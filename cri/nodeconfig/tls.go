package nodeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// freshTransport returns a transport with only the node's CA certificates set.
func (c *Config) freshTransport() *http.Transport {
	transport := docker.DefaultHTTPTransport(&tls.Config{})
	if c.pool != nil {
		transport.TLSClientConfig.RootCAs = c.pool.Clone()
	}
	return transport
}

// cipherSuites returns those that CRI-O offers for TLS 1.2, nil for Go's own. Before 1.35 it
// offers others with CBC (go-connections, tlsconfig), so that all servers that Go's own suit
// have one.
func (c *Config) cipherSuites() []uint16 {
	if !c.crioVersion().atLeast(1, 35) {
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

func (c *Config) addClient(config *tls.Config, cert, key string) error {
	certPEM, err := c.fs.ReadFile(cert, maxConfigFile)
	if err != nil {
		return err
	}
	keyPEM, err := c.fs.ReadFile(key, maxConfigFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return err
	}
	config.Certificates = append(config.Certificates, pair)
	return nil
}

// addCA adds CA certificates to the node's. A file without any is no error.
func (c *Config) addCA(config *tls.Config, name string) error {
	pem, err := c.fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return err
	}
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			return err
		}
	}
	config.RootCAs.AppendCertsFromPEM(pem)
	return nil
}
