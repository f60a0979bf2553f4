// Package catest is a certificate authority for tests and labs: it issues any
// certificate, valid or not. Its keys protect nothing.
package catest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is long enough for any lab.
const lifetime = 365 * 24 * time.Hour

// Pair is a certificate with its private key.
type Pair struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey

	keyDER []byte // PKCS #8
}

// Request describes a certificate to issue.
type Request struct {
	// CommonName defaults to the first of Names.
	CommonName    string
	Organizations []string
	// Names are DNS names and IP addresses.
	Names []string
	// NotBefore defaults to an hour ago, NotAfter to a year after that.
	NotBefore, NotAfter time.Time
}

// NewAuthority returns a self-signed certificate authority.
func NewAuthority(r Request) (*Pair, error) {
	template := r.template()
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return sign(template, nil)
}

// Issue issues a certificate for servers and clients.
func (p *Pair) Issue(r Request) (*Pair, error) {
	template := r.template()
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return sign(template, p)
}

func (r Request) template() *x509.Certificate {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName, Organization: r.Organizations},
		NotBefore:             r.NotBefore,
		NotAfter:              r.NotAfter,
		BasicConstraintsValid: true,
	}
	if r.CommonName == "" && len(r.Names) > 0 {
		template.Subject.CommonName = r.Names[0]
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = template.NotBefore.Add(lifetime)
	}
	for _, name := range r.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return template
}

func sign(template *x509.Certificate, parent *Pair) (*Pair, error) {
	failed := func(err error) (*Pair, error) {
		return nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return failed(err)
	}
	template.SerialNumber = serial
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return failed(err)
	}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.Key, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return failed(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return failed(err)
	}
	return parse(der, keyDER)
}

func parse(der, keyDER []byte) (*Pair, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an elliptic curve key")
	}
	return &Pair{Certificate: certificate, Key: ec, keyDER: keyDER}, nil
}

// TLS returns the pair as a tls.Certificate.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
}

// Pool returns a pool with only this certificate.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)
	return pool
}

// PEM returns the certificate in PEM form.
func (p *Pair) PEM() []byte { return encode("CERTIFICATE", p.Certificate.Raw) }

// KeyPEM returns the private key in PEM form.
func (p *Pair) KeyPEM() []byte { return encode("PRIVATE KEY", p.keyDER) }

// PublicKeyPEM returns the public key in PEM form.
func (p *Pair) PublicKeyPEM() []byte {
	return encode("PUBLIC KEY", p.Certificate.RawSubjectPublicKeyInfo)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Write writes the pair to base.crt, base.key and base.pub.
func (p *Pair) Write(base string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o750); err != nil {
		return fmt.Errorf("certificate directory: %w", err)
	}
	for suffix, data := range map[string][]byte{".crt": p.PEM(), ".key": p.KeyPEM(), ".pub": p.PublicKeyPEM()} {
		if err := os.WriteFile(base+suffix, data, 0o600); err != nil {
			return fmt.Errorf("certificate file: %w", err)
		}
	}
	return nil
}

// Read reads a pair that Write has written.
func Read(base string) (*Pair, error) {
	certificate, err := decode(base + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := decode(base + ".key")
	if err != nil {
		return nil, err
	}
	pair, err := parse(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	return pair, nil
}

func decode(path string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("certificate file: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New(path + ": not a PEM file")
	}
	return block.Bytes, nil
}
