package registry

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
)

func challenges(headers ...string) []auth.Challenge {
	return auth.ParseAuthHeader(http.Header{"Www-Authenticate": headers})
}

func TestSchemeOf(t *testing.T) {
	for _, tc := range []struct {
		headers   []string
		scheme    AuthScheme
		challenge ChallengeError
	}{
		{nil, SchemeUnknown, ""},
		{[]string{"Digest realm=x"}, SchemeUnknown, ""},
		{[]string{`Basic realm="x"`}, SchemeBasic, ""},
		{[]string{`Basic realm="x"`, `Bearer realm="https://x",error="invalid_token"`}, SchemeBearer, ChallengeInvalidToken},
		{[]string{`Bearer error="insufficient_scope"`}, SchemeBearer, ChallengeInsufficientScope},
		{[]string{`Bearer error="<freely chosen>"`}, SchemeBearer, ""},
	} {
		scheme, challenge := schemeOf(challenges(tc.headers...))
		if scheme != tc.scheme || challenge != tc.challenge {
			t.Errorf("%q: got %q, %q", tc.headers, scheme, challenge)
		}
	}
}

func TestTokenServer(t *testing.T) {
	for _, tc := range []struct{ header, scheme, want string }{
		{`Bearer realm="https://auth.test/token"`, "https", "auth.test"},
		{`Bearer realm="https://u:p@auth.test:8443/token?x=y"`, "http", "auth.test:8443"},
		{`Bearer realm="http://auth.test/token"`, "http", "auth.test"},
		{`Bearer realm="http://auth.test/token"`, "https", ""},
		{`Bearer realm="file:///etc/passwd"`, "http", ""},
		{`Bearer realm="file://host/etc/passwd"`, "http", ""},
		{`Bearer realm="/token"`, "https", ""},
		{`Bearer realm="%"`, "https", ""},
		{`Bearer`, "https", ""},
		{`Basic realm="x"`, "https", ""},
	} {
		got, err := tokenServer(challenges(tc.header), tc.scheme)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s for %s: got %q, %v; want %q", tc.header, tc.scheme, got, err, tc.want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	known := &RateLimit{1, 1}
	for _, tc := range []struct {
		limit, remaining string
		want             *RateLimit
	}{
		{"100;w=21600", "76;w=21600", &RateLimit{100, 76}},
		{"100", "0", &RateLimit{100, 0}},
		{"", "", known},
		{"100", "", known},
		{"-1", "5", known},
		{"lots", "5", known},
		{"99999999999", "5", known},
	} {
		h := http.Header{}
		h.Set("RateLimit-Limit", tc.limit)
		h.Set("RateLimit-Remaining", tc.remaining)
		if got := rateLimit(h, known); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q, %q: got %v, want %v", tc.limit, tc.remaining, got, tc.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	long := strings.Repeat("x", 1000)
	cert := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"Evil\x1b[31m", "Org<script>"}},
		Issuer:      pkix.Name{CommonName: long},
		DNSNames:    []string{"*.hub.test", "a\nb", long, "4", "5", "6", "7", "8", "9"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	got := describe(cert)
	want := &Certificate{
		Subject: "Evil[31m Orgscript",
		Issuer:  long[:64],
		Names:   []string{"*.hub.test", "ab", long[:253], "4", "5", "6", "7", "8"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(cert.DNSNames) != 9 {
		t.Error("the certificate was changed")
	}
}

func TestErrorCode(t *testing.T) {
	for body, want := range map[string]struct {
		code  ErrorCode
		isAPI bool
	}{
		`{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}`:         {CodeNameUnknown, true},
		`{"errors":[{"code":"freely"},{"code":"MANIFEST_UNKNOWN"}]}`: {CodeManifestUnknown, true},
		`{"errors":[{"code":"freely chosen"}]}`:                      {"", true},
		`{"errors":[{"code":404}]}`:                                  {"", false},
		`{"errors":[]}`:                                              {"", false},
		`{}`:                                                         {"", false},
		`<html>`:                                                     {"", false},
		``:                                                           {"", false},
	} {
		if code, isAPI := errorCode([]byte(body)); code != want.code || isAPI != want.isAPI {
			t.Errorf("%s: got %q, %t", body, code, isAPI)
		}
	}
}

func TestValidTags(t *testing.T) {
	got := validTags([]string{"v1", "latest", "v1", "", "-x", "a b", "a/b", strings.Repeat("x", 129), "1.0_a-B", "x\n"})
	if want := []string{"1.0_a-B", "latest", "v1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
