package nodeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

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
		return []Notice{{Kind: NoticeFileHidden, Path: hidden}}, nil
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
		return []Notice{{Kind: NoticeFileHidden, Path: name}}, nil
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
