// Package pki makes the certificate authorities, certificates and keys of a lab.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// lifetime is long enough for any lab and has no meaning beyond that.
const lifetime = 365 * 24 * time.Hour

// Pair is a certificate with its private key.
type Pair struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
}

// Request says what a certificate is for.
type Request struct {
	CommonName    string
	Organizations []string
	// Names are DNS names and literal IP addresses.
	Names []string
	// NotBefore and NotAfter default to an hour ago and a year from now.
	NotBefore, NotAfter time.Time
}

// NewAuthority makes a self-signed certificate authority.
func NewAuthority(name string) (*Pair, error) {
	template, err := newTemplate(Request{CommonName: name})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return sign(template, nil)
}

// Issue makes a certificate for servers and clients alike.
func (p *Pair) Issue(r Request) (*Pair, error) {
	template, err := newTemplate(r)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return sign(template, p)
}

func newTemplate(r Request) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: r.CommonName, Organization: r.Organizations},
		NotBefore:             r.NotBefore,
		NotAfter:              r.NotAfter,
		BasicConstraintsValid: true,
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
	return template, nil
}

func sign(template *x509.Certificate, parent *Pair) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", template.Subject.CommonName, err)
	}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.Key, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	return &Pair{Certificate: certificate, Key: key}, nil
}

// CertificatePEM returns the certificate in PEM form.
func (p *Pair) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate.Raw})
}

// KeyPEM returns the private key in PEM form.
func (p *Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PublicKeyPEM returns the public key in PEM form.
func (p *Pair) PublicKeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(p.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Write stores the pair as base.crt, base.key and base.pub.
func (p *Pair) Write(base string) error {
	key, err := p.KeyPEM()
	if err != nil {
		return err
	}
	public, err := p.PublicKeyPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o750); err != nil {
		return fmt.Errorf("certificate folder: %w", err)
	}
	for suffix, data := range map[string][]byte{".crt": p.CertificatePEM(), ".key": key, ".pub": public} {
		if err := os.WriteFile(base+suffix, data, 0o600); err != nil {
			return fmt.Errorf("certificate file: %w", err)
		}
	}
	return nil
}

// Read loads a pair that Write has stored.
func Read(base string) (*Pair, error) {
	certificate, err := decode(base + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := decode(base + ".key")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", base, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", base, err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s.key: not an elliptic curve key", base)
	}
	return &Pair{Certificate: parsed, Key: ec}, nil
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
