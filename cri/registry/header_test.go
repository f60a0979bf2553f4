package registry

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
)

func challenges(headers ...string) []auth.Challenge {
	return auth.ParseAuthHeader(http.Header{"Www-Authenticate": headers})
}

func TestSchemeOf(t *testing.T) {
	for _, tc := range []struct {
		headers      []string
		scheme       AuthScheme
		invalidToken bool
	}{
		{nil, SchemeUnknown, false},
		{[]string{"Digest realm=x"}, SchemeUnknown, false},
		{[]string{`Basic realm="x"`}, SchemeBasic, false},
		{[]string{`Basic realm="x"`, `Bearer realm="https://x",error="invalid_token"`}, SchemeBearer, true},
		{[]string{`Bearer error="insufficient_scope"`}, SchemeBearer, false},
		{[]string{`Bearer error="<freely chosen>"`}, SchemeBearer, false},
	} {
		scheme, invalidToken := schemeOf(challenges(tc.headers...))
		if scheme != tc.scheme || invalidToken != tc.invalidToken {
			t.Errorf("%q: got %q, %t", tc.headers, scheme, invalidToken)
		}
	}
}

func TestTokenServer(t *testing.T) {
	for _, tc := range []struct{ header, scheme, want string }{
		{`Bearer realm="https://auth.test/token"`, "https", "auth.test"},
		{`Bearer realm="https://u:p@auth.test:8443/token?x=y"`, "http", "auth.test:8443"},
		{`Bearer realm="http://auth.test/token"`, "http", "auth.test:80"},
		{`Bearer realm="http://auth.test/token"`, "https", "auth.test:80"}, // refused, but named
		{`Bearer realm="file:///etc/passwd"`, "http", ""},
		{`Bearer realm="file://host/etc/passwd"`, "http", ""},
		{`Bearer realm="/token"`, "https", ""},
		{`Bearer realm="%"`, "https", ""},
		{`Bearer`, "https", ""},
		{`Basic realm="x"`, "https", ""},
	} {
		got, plain, err := tokenServer(challenges(tc.header), tc.scheme)
		if got != tc.want || plain != strings.Contains(tc.header, `"http:`) || (err == nil) != (tc.want != "" && !errors.Is(err, ErrRealmInsecure)) {
			t.Errorf("%s for %s: got %q, %v; want %q", tc.header, tc.scheme, got, err, tc.want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	known := &RateLimit{Limit: 1, Remaining: 1}
	for _, tc := range []struct {
		limit, remaining, reset string
		want                    *RateLimit
	}{
		{"100;w=21600", "76;w=21600", "", &RateLimit{Limit: 100, Remaining: 76, Window: 6 * time.Hour}},
		{"100;w=21600", "0;burst=3; w=21600", "", &RateLimit{Limit: 100, Window: 6 * time.Hour}},
		{"100", "0;w=99999999", "", &RateLimit{Limit: 100, Window: 24 * time.Hour}},
		{"100", "0;w=soon", "", &RateLimit{Limit: 100}},
		{"100", "0", "50", &RateLimit{Limit: 100}},
		{"", "", "50", known},
		{"100", "", "", known},
		{"-1", "5", "", known},
		{"lots", "5", "", known},
		{"99999999999", "5", "", known},
	} {
		h := http.Header{}
		h.Set("RateLimit-Limit", tc.limit)
		h.Set("RateLimit-Remaining", tc.remaining)
		h.Set("RateLimit-Reset", tc.reset)
		if got := rateLimit(h, known); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q, %q: got %v, want %v", tc.limit, tc.remaining, got, tc.want)
		}
	}
}

func TestWait(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in90 := strconv.FormatInt(now.Add(90*time.Second).Unix(), 10)
	for _, tc := range []struct {
		status     int
		key, value string
		want       time.Duration
	}{
		{429, "RateLimit-Reset", "30", 30 * time.Second},
		{429, "X-RateLimit-Reset", in90, 90 * time.Second},
		{429, "X-RateLimit-Reset", in90 + "000", 90 * time.Second},
		{429, "X-RateLimit-Reset", "1000000001", 0}, // long ago
		{429, "RateLimit-Reset", "999999999", 24 * time.Hour},
		{429, "RateLimit-Reset", "9223372036854775807", 24 * time.Hour},
		{429, "RateLimit-Reset", "-3", 0},
		{429, "RateLimit-Reset", "soon", 0},
		{429, "RateLimit-Remaining", "0;w=21600", 0},
		{429, "Retry-After", "7", 7 * time.Second},
		{503, "Retry-After", "7", 7 * time.Second},
		{200, "RateLimit-Reset", "30", 0},
	} {
		if got := wait(tc.status, http.Header{http.CanonicalHeaderKey(tc.key): {tc.value}}, now); got != tc.want {
			t.Errorf("%d with %s: %s: got %s, want %s", tc.status, tc.key, tc.value, got, tc.want)
		}
	}
}

// The clocks of the registry and the node may differ: a date is by the registry's.
func TestWaitBetweenClocks(t *testing.T) {
	node := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, ahead := range []time.Duration{-2 * time.Hour, -time.Minute, 0, time.Minute, 2 * time.Hour} {
		registry := node.Add(ahead)
		date := http.Header{"Date": {registry.Format(http.TimeFormat)}}
		for key, value := range map[string]string{
			"Retry-After":       registry.Add(90 * time.Second).Format(http.TimeFormat),
			"X-Ratelimit-Reset": strconv.FormatInt(registry.Add(90*time.Second).Unix(), 10),
			"Ratelimit-Reset":   "90",
		} {
			h := date.Clone()
			h.Set(key, value)
			if got := wait(http.StatusTooManyRequests, h, node); got != 90*time.Second {
				t.Errorf("%s, the registry's clock is %s ahead: %s, want 1m30s", key, ahead, got)
			}
		}
	}
}

func TestSaysExpired(t *testing.T) {
	for text, want := range map[string]bool{
		"Your Authorization Token has expired. Please run 'aws ecr get-login'":          true,
		"denied: Your authorization token\n has  expired. Reauthenticate and try again": true,
		"unauthorized: personal access token is expired":                                true,
		`error_description="The access token expired"`:                                  true,
		"AADSTS7000222: The provided client secret keys are expired.":                   true,
		"an expired token was used":                                                     true,
		"your password has expired":                                                     true,
		"certificate has expired or is not yet valid":                                   false,
		"Request has expired":                                                           false, // a signed address of S3
		"the trial of this organization has expired":                                    false,
		"authentication required":                                                       false,
		"":                                                                              false,
	} {
		if got := saysExpired(text); got != want {
			t.Errorf("%q: got %t", text, got)
		}
	}
}

func TestProxyAnswered(t *testing.T) {
	for _, tc := range []struct {
		status int
		header string
		want   bool
	}{
		{502, "Via", true},
		{503, "Proxy-Status", true},
		{504, "Proxy-Connection", true},
		{403, "X-Squid-Error", true},
		{403, "Via", false},
		{500, "Via", false},
		{200, "Via", false},
		{200, "X-Squid-Error", false},
		{503, "Server", false},
	} {
		if got := proxyAnswered(tc.status, http.Header{tc.header: {"1"}}); got != tc.want {
			t.Errorf("%d with %s: got %t", tc.status, tc.header, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	long := strings.Repeat("x", 1000)
	cert := &x509.Certificate{
		Issuer:      pkix.Name{Organization: []string{"Evil\x1b[31m", "Org<script>"}},
		DNSNames:    []string{"*.hub.test", "a\nb", long, "4", "5", "6", "7", "8", "9"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	got := describe(cert)
	want := &Certificate{
		Issuer: "Evil[31m Orgscript",
		Names:  []string{"*.hub.test", "ab", long[:253], "4", "5", "6", "7", "8"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(cert.DNSNames) != 9 {
		t.Error("the certificate was changed")
	}
	authority := &x509.Certificate{IsCA: true, Subject: pkix.Name{CommonName: "CA 1"}, RawSubject: []byte{1}, RawIssuer: []byte{2}}
	if got := describe(authority); got.Authority != "CA 1" || got.SelfSigned {
		t.Errorf("authority: %+v", got)
	}
	authority.RawIssuer = authority.RawSubject
	if got := describe(authority); got.Authority != "" || !got.SelfSigned {
		t.Errorf("self-signed: %+v", got)
	}
	cert.Issuer.CommonName = long
	if got := describe(cert).Issuer; got != long[:64] {
		t.Errorf("issuer %q", got)
	}
}

func TestOfAPI(t *testing.T) {
	for body, want := range map[string]bool{
		`{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}`: true,
		`{"errors":[{"code":"freely chosen"}]}`:              true,
		`{"errors":[{"code":404}]}`:                          false,
		`{"errors":[]}`:                                      false,
		`{}`:                                                 false,
		`<html>`:                                             false,
		``:                                                   false,
	} {
		if r := (reply{body: []byte(body)}); r.ofAPI() != want {
			t.Errorf("%s: got %t", body, r.ofAPI())
		}
	}
	if r := (reply{header: http.Header{"Docker-Distribution-Api-Version": {"registry/2.0"}}}); !r.ofAPI() {
		t.Error("the header does not count")
	}
}

func TestValidTags(t *testing.T) {
	body, err := json.Marshal(map[string][]string{"tags": {"v1", "latest", "v1", "", "-x", "a b", "a/b", strings.Repeat("x", 129), "1.0_a-B", "x\n"}})
	if err != nil {
		t.Fatal(err)
	}
	got := tagsOf(body)
	if want := []string{"1.0_a-B", "latest", "v1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
