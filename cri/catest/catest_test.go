package catest

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"testing"
	"time"
)

func TestIssuedCertificateIsGoodForItsNames(t *testing.T) {
	t.Parallel()
	ca := New(t)
	pair := ca.Issue(Request{Organizations: []string{"o"}, Names: []string{"a.example", "10.0.0.1"}})
	for name, good := range map[string]bool{"a.example": true, "10.0.0.1": true, "b.example": false, "10.0.0.2": false} {
		_, err := pair.Certificate.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := pair.Certificate.Subject; got.CommonName != "a.example" || len(got.Organization) != 1 || got.Organization[0] != "o" {
		t.Errorf("subject: %v", got)
	}
}

func TestAnotherAuthorityDoesNotKnowIt(t *testing.T) {
	t.Parallel()
	if _, err := New(t).Issue(Request{}).Certificate.Verify(x509.VerifyOptions{Roots: New(t).Pool()}); err == nil {
		t.Error("a certificate of another authority is good")
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	ca := New(t)
	long := time.Now().Add(-48 * time.Hour)
	pair := ca.Issue(Request{NotBefore: long, NotAfter: long.Add(time.Hour)})
	if _, err := pair.Certificate.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err == nil {
		t.Error("an expired certificate is good")
	}
}

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "sub", "a")
	ca := New(t)
	if err := ca.Write(base); err != nil {
		t.Fatal(err)
	}
	read, err := Read(base)
	if err != nil {
		t.Fatal(err)
	}
	if !read.Certificate.Equal(ca.Certificate) || !read.Key.Equal(ca.Key) {
		t.Error("what was read is not what was written")
	}
	if _, err := Read(base + "-missing"); err == nil {
		t.Error("a missing pair was read")
	}
	block, _ := pem.Decode(read.PublicKeyPEM())
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if key, ok := public.(*ecdsa.PublicKey); err != nil || !ok || !key.Equal(ca.Key.Public()) {
		t.Errorf("public key %v, %v", public, err)
	}
}
