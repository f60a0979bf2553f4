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
