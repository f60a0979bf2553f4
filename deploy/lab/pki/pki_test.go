package pki

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"
)

func TestIssuedCertificateIsGoodForItsNames(t *testing.T) {
	authority := newAuthority(t)
	pair, err := authority.Issue(Request{CommonName: "a", Organizations: []string{"o"}, Names: []string{"a.example", "10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{"a.example": true, "10.0.0.1": true, "b.example": false, "10.0.0.2": false} {
		_, err := pair.Certificate.Verify(x509.VerifyOptions{DNSName: name, Roots: poolOf(authority), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := pair.Certificate.Subject.Organization; len(got) != 1 || got[0] != "o" {
		t.Errorf("organizations: %v", got)
	}
}

func TestAnotherAuthorityDoesNotKnowIt(t *testing.T) {
	pair, err := newAuthority(t).Issue(Request{CommonName: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Certificate.Verify(x509.VerifyOptions{Roots: poolOf(newAuthority(t))}); err == nil {
		t.Error("a certificate of another authority is good")
	}
}

func TestExpiry(t *testing.T) {
	authority := newAuthority(t)
	long := time.Now().Add(-48 * time.Hour)
	pair, err := authority.Issue(Request{CommonName: "a", NotBefore: long, NotAfter: long.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Certificate.Verify(x509.VerifyOptions{Roots: poolOf(authority)}); err == nil {
		t.Error("an expired certificate is good")
	}
}

func TestWriteAndRead(t *testing.T) {
	base := filepath.Join(t.TempDir(), "sub", "a")
	authority := newAuthority(t)
	if err := authority.Write(base); err != nil {
		t.Fatal(err)
	}
	read, err := Read(base)
	if err != nil {
		t.Fatal(err)
	}
	if !read.Certificate.Equal(authority.Certificate) || !read.Key.Equal(authority.Key) {
		t.Error("what was read is not what was written")
	}
	if _, err := Read(base + "-missing"); err == nil {
		t.Error("a missing pair was read")
	}
}

func newAuthority(t *testing.T) *Pair {
	t.Helper()
	pair, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func poolOf(p *Pair) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)
	return pool
}
