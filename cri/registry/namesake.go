package registry

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"regexp"
	"strings"
)

// hint matches what crypto/x509 says of an authority that it knows by the name of the issuer,
// and that has not signed. It has no exported fields for that (UnknownAuthorityError).
var hint = regexp.MustCompile(`possibly because of "(.*)" while trying to verify candidate authority certificate "(.*)"\)`)

// trustsNamesake reports whether a certificate is refused although the node trusts an
// authority of its issuer's name: that has another key, as after it was issued again. Of a
// self-signed certificate it is another one of the same name.
func trustsNamesake(err error) bool {
	unknown, ok := errors.AsType[x509.UnknownAuthorityError](err)
	if !ok {
		return false
	}
	said := hint.FindStringSubmatch(unknown.Error())
	if said == nil {
		return false
	}
	var sent []*x509.Certificate
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		sent = verification.UnverifiedCertificates
	}
	if len(sent) == 1 && bytes.Equal(sent[0].RawIssuer, sent[0].RawSubject) {
		return true
	}
	wrongKey := strings.Contains(said[1], "verification error") || strings.Contains(said[1], "verification failure")
	return wrongKey && !sentUnsigned(sent, said[2])
}

// sentUnsigned reports whether a server has sent an authority of this name that has not signed
// what it has sent before: crypto/x509 may then mean that one, and not one of the node.
func sentUnsigned(sent []*x509.Certificate, name string) bool {
	for i, authority := range sent {
		if i == 0 || cmp.Or(authority.Subject.CommonName, strings.Join(authority.Subject.Organization, " ")) != name {
			continue
		}
		for _, c := range sent[:i] {
			if bytes.Equal(c.RawIssuer, authority.RawSubject) && c.CheckSignatureFrom(authority) != nil {
				return true
			}
		}
	}
	return false
}
