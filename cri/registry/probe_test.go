package registry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// exchange is a case of an HTTP conversation that takes place.
type exchange struct {
	name   string
	config registrytest.Config
	repo   registrytest.Repository
	object string // ":1.0" if empty
	cred   *credential.Credential
	want   registry.Answer // without Endpoint, addresses, certificate, durations
	lines  []string        // of the requests, with $M for the manifest
}

func given(username, password string) *credential.Credential {
	c := credential.New(username, password)
	return &c
}

func good() *credential.Credential { return given("user", secret) }
func bad() *credential.Credential  { return given("user", secret+"x") }

func known() map[string]string { return map[string]string{"user": secret, "other": "x"} }

const (
	head  = "HEAD /v2/team/app/manifests/1.0"
	get   = "GET /v2/team/app/manifests/1.0"
	tags  = "GET /v2/team/app/tags/list"
	post  = "POST /token"
	fetch = "GET /token"
)

func found(a registry.Answer) registry.Answer {
	a.Found = true
	a.Phase = registry.PhaseManifest
	a.Status = 200
	a.Content.Digest = registrytest.Digest
	return a
}

func fault(f registry.Fault, phase registry.Phase, status int, a registry.Answer) registry.Answer {
	a.Fault, a.Phase, a.Status = f, phase, status
	return a
}

func plainCases() []exchange {
	return []exchange{
		{name: "found", repo: registrytest.Repository{Tags: []string{"1.0"}}, want: found(registry.Answer{}), lines: []string{head}},
		{
			name: "login not asked for", repo: registrytest.Repository{Tags: []string{"1.0"}}, cred: good(),
			want: found(registry.Answer{}), lines: []string{head},
		},
		{
			name: "digest found", object: "@" + registrytest.Digest, repo: registrytest.Repository{Tags: []string{"1.0"}},
			want: found(registry.Answer{}), lines: []string{"HEAD /v2/team/app/manifests/" + registrytest.Digest},
		},
		{
			name: "no HEAD", repo: registrytest.Repository{Tags: []string{"1.0"}, Behaviour: registrytest.NoHead},
			want: found(registry.Answer{}), lines: []string{head, get},
		},
		{
			name: "rate limit told", repo: registrytest.Repository{Tags: []string{"1.0"}, Header: http.Header{
				"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"7;w=21600"},
			}},
			want: found(registry.Answer{Response: registry.Response{RateLimit: &registry.RateLimit{Limit: 100, Remaining: 7, Window: 6 * time.Hour}}}), lines: []string{head},
		},
		{
			name: "forbidden", repo: registrytest.Repository{Status: 403},
			want: fault(registry.FaultForbidden, registry.PhaseManifest, 403, registry.Answer{}), lines: []string{head, get},
		},
		{
			name: "rate limited", repo: registrytest.Repository{Status: 429, Header: http.Header{"Retry-After": {"90"}}},
			want:  fault(registry.FaultRateLimited, registry.PhaseManifest, 429, registry.Answer{Response: registry.Response{RetryAfter: 90 * time.Second}}),
			lines: []string{head},
		},
		{
			name: "rate limited with another status", repo: registrytest.Repository{Status: 403, ErrorBody: `{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}`},
			want: fault(registry.FaultRateLimited, registry.PhaseManifest, 403, registry.Answer{}), lines: []string{head, get},
		},
		{
			name: "bandwidth used up", repo: registrytest.Repository{Status: 509},
			want: fault(registry.FaultRateLimited, registry.PhaseManifest, 509, registry.Answer{}), lines: []string{head},
		},
		{
			name: "not paid for", repo: registrytest.Repository{Status: 402},
			want: fault(registry.FaultPolicyBlocked, registry.PhaseManifest, 402, registry.Answer{}), lines: []string{head},
		},
		{
			name: "retry after is bounded", repo: registrytest.Repository{Status: 429, Header: http.Header{"Retry-After": {"999999999"}}},
			want:  fault(registry.FaultRateLimited, registry.PhaseManifest, 429, registry.Answer{Response: registry.Response{RetryAfter: 24 * time.Hour}}),
			lines: []string{head},
		},
		{
			name: "server error", repo: registrytest.Repository{Status: 503},
			want: fault(registry.FaultServerError, registry.PhaseManifest, 503, registry.Answer{}), lines: []string{head},
		},
		{
			name: "strange status", repo: registrytest.Repository{Status: 418},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 418, registry.Answer{}), lines: []string{head},
		},
		{
			name: "login page", repo: registrytest.Repository{Tags: []string{"1.0"}, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}},
			want: fault(registry.FaultWebPage, registry.PhaseManifest, 200, registry.Answer{Response: registry.Response{HTML: true}}), lines: []string{head},
		},
		{
			name: "reset", repo: registrytest.Repository{Behaviour: registrytest.Reset},
			want: fault(registry.FaultNetworkUnreachable, registry.PhasePing, 0, registry.Answer{}), lines: []string{head},
		},
		{
			name: "401 without challenge", repo: registrytest.Repository{Auth: registrytest.Basic, Challenge: "Negotiate"}, cred: good(),
			want:  fault(registry.FaultUnauthorized, registry.PhasePing, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeUnknown}}),
			lines: []string{head},
		},
	}
}

func missingCases() []exchange {
	return []exchange{
		{
			name: "tag missing", repo: registrytest.Repository{Tags: []string{"2.0", "1.1", "<script>", "1.1"}},
			want:  fault(registry.FaultTagNotFound, registry.PhaseManifest, 404, registry.Answer{Content: registry.Content{Tags: []string{"1.1", "2.0"}}}),
			lines: []string{head, tags},
		},
		{
			name: "repository missing", repo: registrytest.Repository{Name: "team/other", Tags: []string{"1.0"}},
			want:  fault(registry.FaultRepositoryNotFound, registry.PhaseManifest, 404, registry.Answer{}),
			lines: []string{head, tags},
		},
		{
			name: "no tags at all", repo: registrytest.Repository{},
			want: fault(registry.FaultNotFound, registry.PhaseManifest, 404, registry.Answer{}), lines: []string{head, tags},
		},
		{
			name: "tag listed but missing", repo: registrytest.Repository{Tags: []string{"1.0"}, Status: 404},
			want: fault(registry.FaultNotFound, registry.PhaseManifest, 404, registry.Answer{}), lines: []string{head, tags},
		},
		{
			name: "list refused", repo: registrytest.Repository{Tags: []string{"2.0"}, ListStatus: 403},
			want:  fault(registry.FaultTagNotFound, registry.PhaseManifest, 404, registry.Answer{}),
			lines: []string{head, tags, get},
		},
		{
			name: "list rate limited", repo: registrytest.Repository{Tags: []string{"2.0"}, ListStatus: 429},
			want: fault(registry.FaultNotFound, registry.PhaseManifest, 404, registry.Answer{}), lines: []string{head, tags},
		},
	}
}

func expired(a registry.Answer) registry.Answer {
	a.Auth.SaysExpired = true
	return a
}

func basicCases() []exchange {
	basic := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Basic}
	asked := registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBasic, CredentialSent: true}}
	return []exchange{
		{
			name: "basic, no login", config: registrytest.Config{Passwords: known()}, repo: basic,
			want:  fault(registry.FaultUnauthorized, registry.PhasePing, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBasic}}),
			lines: []string{head},
		},
		{
			name: "basic, good login", config: registrytest.Config{Passwords: known()}, repo: basic, cred: good(),
			want: found(asked), lines: []string{head, head + " Basic"},
		},
		{
			name: "basic, bad login", config: registrytest.Config{Passwords: known()}, repo: basic, cred: bad(),
			want:  fault(registry.FaultUnauthorized, registry.PhaseManifest, 401, asked),
			lines: []string{head, head + " Basic", get + " Basic"},
		},
		{
			name: "a login without user name is none", config: registrytest.Config{Passwords: known()}, repo: basic,
			cred:  given("", secret),
			want:  fault(registry.FaultUnauthorized, registry.PhasePing, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBasic}}),
			lines: []string{head},
		},
		{
			name: "basic, tag missing", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo:  registrytest.Repository{Tags: []string{"2.0"}, Auth: registrytest.Basic},
			want:  fault(registry.FaultTagNotFound, registry.PhaseManifest, 404, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBasic, CredentialSent: true}, Content: registry.Content{Tags: []string{"2.0"}}}),
			lines: []string{head, head + " Basic", tags + " Basic"},
		},
	}
}

func bearerCases() []exchange {
	bearer := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Bearer}
	others := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Bearer, Users: []string{"other"}}
	anonymous := registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}}
	sent := registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer, CredentialSent: true}}
	issued := func(a registry.Answer) registry.Answer { a.Auth.TokenIssued = true; return a }
	page := func(a registry.Answer) registry.Answer { a.Response.HTML = true; return a }
	return []exchange{
		{name: "bearer, anonymous", repo: bearer, want: found(issued(anonymous)), lines: []string{head, fetch, head + " Bearer"}},
		{
			name: "bearer, good login", config: registrytest.Config{Passwords: known()}, repo: bearer, cred: good(),
			want: found(issued(sent)), lines: []string{head, post, head + " Bearer"},
		},
		{
			name: "bearer, token server without POST", config: registrytest.Config{Passwords: known(), TokenGET: true}, repo: bearer, cred: good(),
			want: found(issued(sent)), lines: []string{head, post, fetch + " Basic", head + " Bearer"},
		},
		{
			name: "bearer, bad login", config: registrytest.Config{Passwords: known()}, repo: bearer, cred: bad(),
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 401, sent), lines: []string{head, post, fetch + " Basic"},
		},
		{
			name: "bearer, anonymous refused", config: registrytest.Config{NoAnonymous: true}, repo: bearer,
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 401, anonymous), lines: []string{head, fetch},
		},
		{
			name: "bearer, token server forbids", config: registrytest.Config{TokenStatus: 403}, repo: bearer, cred: good(),
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 403, sent), lines: []string{head, post},
		},
		{
			name: "bearer, login without access", config: registrytest.Config{Passwords: known()}, repo: others, cred: good(),
			want:  fault(registry.FaultInsufficientScope, registry.PhaseManifest, 401, issued(sent)),
			lines: []string{head, post, head + " Bearer", get + " Bearer"},
		},
		{
			name: "bearer, anonymous without access", config: registrytest.Config{Passwords: known()}, repo: bearer,
			want:  fault(registry.FaultInsufficientScope, registry.PhaseManifest, 401, issued(anonymous)),
			lines: []string{head, fetch, head + " Bearer"},
		},
		{
			name: "bearer, forbidden", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo:  registrytest.Repository{Auth: registrytest.Bearer, Status: 403},
			want:  fault(registry.FaultForbidden, registry.PhaseManifest, 403, issued(sent)),
			lines: []string{head, post, head + " Bearer", get + " Bearer"},
		},
		{
			name: "bearer, tag missing: one token", repo: registrytest.Repository{Auth: registrytest.Bearer, Tags: []string{"2.0"}},
			want:  fault(registry.FaultTagNotFound, registry.PhaseManifest, 404, issued(registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}, Content: registry.Content{Tags: []string{"2.0"}}})),
			lines: []string{head, fetch, head + " Bearer", tags + " Bearer"},
		},
		{
			name:   "bearer, token server rate limited",
			config: registrytest.Config{TokenStatus: 429, TokenHeader: http.Header{"Retry-After": {"30"}}}, repo: bearer,
			want:  fault(registry.FaultRateLimited, registry.PhaseToken, 429, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}, Response: registry.Response{RetryAfter: 30 * time.Second}}),
			lines: []string{head, fetch},
		},
		{
			name: "bearer, token server broken", config: registrytest.Config{TokenStatus: 500}, repo: bearer, cred: good(),
			want: fault(registry.FaultServerError, registry.PhaseToken, 500, sent), lines: []string{head, post},
		},
		{
			name: "bearer, no token in the answer", config: registrytest.Config{TokenBody: "{}"}, repo: bearer,
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseToken, 0, anonymous), lines: []string{head, fetch},
		},
		{
			name: "bearer, login page", config: registrytest.Config{TokenBody: "<html>"}, repo: bearer,
			want: fault(registry.FaultWebPage, registry.PhaseToken, 200, page(anonymous)), lines: []string{head, fetch},
		},
		{
			name:   "bearer, token request redirected",
			config: registrytest.Config{TokenStatus: 302, TokenHeader: http.Header{"Location": {"/v2/team/app/tags/list"}}}, repo: bearer, cred: good(),
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseToken, 0, sent), lines: []string{head, post},
		},
		{
			name: "bearer, realm without TLS", config: registrytest.Config{Realm: "http://registry.test:1/token"}, repo: bearer, cred: good(),
			want:  fault(registry.FaultUnexpectedAnswer, registry.PhaseToken, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer, TokenPlain: true}}),
			lines: []string{head},
		},
		{
			name: "bearer, no realm", repo: registrytest.Repository{Auth: registrytest.Bearer, Challenge: "Bearer"}, cred: good(),
			want:  fault(registry.FaultUnexpectedAnswer, registry.PhaseToken, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}}),
			lines: []string{head},
		},
	}
}

const schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

// wordsCases are about what only the words, the type or a rare status tell.
func wordsCases() []exchange {
	const harbor = `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"own words"}]}`
	const xray = `{"errors":[{"code":"DENIED","message":"rejected due to the download blocking policy configured in Xray, own words"}]}`
	basic := registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBasic, CredentialSent: true}}
	answered := func(r registrytest.Repository) registrytest.Repository { r.Tags = []string{"1.0"}; return r }
	typed := func(t string) http.Header { return http.Header{"Content-Type": {t}} }
	policy := func(status int) registry.Answer {
		return fault(registry.FaultPolicyBlocked, registry.PhaseManifest, status, registry.Answer{})
	}
	nothing := http.Header{"Docker-Distribution-Api-Version": {""}, "Content-Type": {"text/html"}}
	return []exchange{
		{name: "first schema", repo: answered(registrytest.Repository{Header: typed(schema1)}),
			want: fault(registry.FaultUnsupportedFormat, registry.PhaseManifest, 200, registry.Answer{Content: registry.Content{Form: registry.FormSchema1}}), lines: []string{head}},
		{name: "text is the first schema", repo: answered(registrytest.Repository{Header: typed("text/plain; charset=utf-8")}),
			want: fault(registry.FaultUnsupportedFormat, registry.PhaseManifest, 200, registry.Answer{Content: registry.Content{Form: registry.FormText}}), lines: []string{head}},
		{name: "policy of Harbor", repo: registrytest.Repository{Status: 412, ErrorBody: harbor},
			want: policy(412), lines: []string{head, get}},
		{name: "policy of Xray", repo: registrytest.Repository{Status: 403, ErrorBody: xray},
			want: policy(403), lines: []string{head, get}},
		{name: "a registry that is shut down", repo: registrytest.Repository{Status: 403, ErrorBody: `{"errors":[{"code":"DENIED","message":"Container Registry is deprecated and shutting down, own words"}]}`},
			want: policy(403), lines: []string{head, get}},
		{name: "a page that speaks of a policy", repo: registrytest.Repository{Status: 403, ErrorBody: "<html>blocked by policy"},
			want: fault(registry.FaultForbidden, registry.PhaseManifest, 403, registry.Answer{Response: registry.Response{HTML: true}}), lines: []string{head, get}},
		{name: "412 for another reason", repo: registrytest.Repository{Status: 412, ErrorBody: "{}"},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 412, registry.Answer{}), lines: []string{head, get}},
		{name: "451", repo: registrytest.Repository{Status: 451}, want: policy(451), lines: []string{head}},
		{name: "410", repo: registrytest.Repository{Status: 410}, want: fault(registry.FaultNotFound, registry.PhaseManifest, 410, registry.Answer{}), lines: []string{head}},
		{name: "policy of a curation", repo: registrytest.Repository{Status: 403, ErrorBody: `{"errors":[{"code":"DENIED","message":"blocked by JFrog Packages Curation service, own words"}]}`},
			want: policy(403), lines: []string{head, get}},
		{name: "the upstream of a cache refuses", repo: registrytest.Repository{Status: 403, ErrorBody: `{"errors":[{"code":"DENIED","message":"Own words: verify the credentials of the pull through cache rule."}]}`},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 403, registry.Answer{Response: registry.Response{UpstreamRefuses: true}}), lines: []string{head, get}},
		{name: "the upstream of a proxy cache refuses", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo: registrytest.Repository{Auth: registrytest.Basic, Status: 401, ErrorBody: `{"errors":[{"code":"UNAUTHORIZED","message":"http status code: 401, body: own words"}]}`},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 401, registry.Answer{
				Auth: basic.Auth, Response: registry.Response{UpstreamRefuses: true},
			}), lines: []string{head, head + " Basic", get + " Basic"}},
		{name: "404 page", repo: registrytest.Repository{Status: 404, Header: nothing, ErrorBody: "<html>"},
			want:  fault(registry.FaultNotFound, registry.PhaseManifest, 404, registry.Answer{Response: registry.Response{HTML: true}}),
			lines: []string{head, tags}},
		{name: "503 page", repo: registrytest.Repository{Status: 503, Header: nothing, ErrorBody: "<html>"},
			want: fault(registry.FaultServerError, registry.PhaseManifest, 503, registry.Answer{Response: registry.Response{HTML: true}}), lines: []string{head}},
		{name: "ECR's expired token", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo:  registrytest.Repository{Auth: registrytest.Basic, Status: 403, ErrorBody: "Your Authorization Token has expired."},
			want:  fault(registry.FaultForbidden, registry.PhaseManifest, 403, expired(basic)),
			lines: []string{head, head + " Basic", get + " Basic"}},
		{name: "expired, without a login", repo: registrytest.Repository{Status: 403, ErrorBody: "token has expired"},
			want: fault(registry.FaultForbidden, registry.PhaseManifest, 403, registry.Answer{}), lines: []string{head, get}},
		{name: "expired password", config: registrytest.Config{Passwords: known()}, cred: bad(),
			repo:  registrytest.Repository{Auth: registrytest.Basic, ErrorBody: `{"errors":[{"code":"UNAUTHORIZED","message":"own words: password has expired"}]}`},
			want:  fault(registry.FaultUnauthorized, registry.PhaseManifest, 401, expired(basic)),
			lines: []string{head, head + " Basic", get + " Basic"}},
		{name: "digest is a blob's name to the registry", object: "@" + registrytest.Digest, repo: registrytest.Repository{},
			want:  fault(registry.FaultNotFound, registry.PhaseManifest, 404, registry.Answer{}),
			lines: []string{"HEAD /v2/team/app/manifests/" + registrytest.Digest, "HEAD /v2/team/app/blobs/" + registrytest.Digest, tags}},
		{name: "limit with a reset", repo: registrytest.Repository{Status: 429, Header: http.Header{"X-Ratelimit-Reset": {"40"}}},
			want:  fault(registry.FaultRateLimited, registry.PhaseManifest, 429, registry.Answer{Response: registry.Response{RetryAfter: 40 * time.Second}}),
			lines: []string{head}},
	}
}

// expiryCases are about a token server's words.
func expiryCases() []exchange {
	bearer := registrytest.Repository{Tags: []string{"1.0"}, Auth: registrytest.Bearer}
	const words = `{"details":"unauthorized: personal access token is expired"}`
	sent := registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer, CredentialSent: true}}
	return []exchange{
		{name: "expired token, refused twice", config: registrytest.Config{TokenStatus: 401, TokenBody: words}, repo: bearer, cred: good(),
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 401, expired(sent)), lines: []string{head, post, fetch + " Basic"}},
		{name: "expired token, forbidden", config: registrytest.Config{TokenStatus: 403, TokenBody: words}, repo: bearer, cred: good(),
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 403, expired(sent)), lines: []string{head, post}},
		{name: "anonymous has no token to expire", config: registrytest.Config{TokenStatus: 401, TokenBody: words}, repo: bearer,
			want: fault(registry.FaultUnauthorized, registry.PhaseToken, 401, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}}), lines: []string{head, fetch}},
		{name: "page of a token server that forbids", config: registrytest.Config{TokenStatus: 403, TokenBody: "<html>"}, repo: bearer,
			want:  fault(registry.FaultUnauthorized, registry.PhaseToken, 403, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}, Response: registry.Response{HTML: true}}),
			lines: []string{head, fetch}},
		{name: "token server's limit with a reset", repo: bearer,
			config: registrytest.Config{TokenStatus: 429, TokenHeader: http.Header{"Ratelimit-Reset": {"30"}}},
			want:   fault(registry.FaultRateLimited, registry.PhaseToken, 429, registry.Answer{Auth: registry.Auth{Scheme: registry.SchemeBearer}, Response: registry.Response{RetryAfter: 30 * time.Second}}),
			lines:  []string{head, fetch}},
		{name: "a fresh token called expired is a matter of clocks", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo: registrytest.Repository{Auth: registrytest.Bearer, Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token",error_description="The token expired"`}}},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 401, registry.Answer{
				Auth: registry.Auth{Scheme: registry.SchemeBearer, CredentialSent: true, TokenIssued: true, TokenRejected: true, Skew: new(time.Duration(0))},
			}),
			lines: []string{head, post, head + " Bearer", get + " Bearer"}},
		{name: "a fresh token called invalid, the token server's clock ahead", cred: good(),
			config: registrytest.Config{Passwords: known(), TokenHeader: http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}},
			repo:   registrytest.Repository{Auth: registrytest.Bearer, Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="x",error="invalid_token"`}}},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 401, registry.Answer{
				Auth: registry.Auth{Scheme: registry.SchemeBearer, CredentialSent: true, TokenIssued: true, TokenRejected: true, Skew: new(-time.Hour)},
			}),
			lines: []string{head, post, head + " Bearer", get + " Bearer"}},
		{name: "an anonymous token called invalid",
			repo: registrytest.Repository{Auth: registrytest.Bearer, Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="x",error="invalid_token"`}}},
			want: fault(registry.FaultUnexpectedAnswer, registry.PhaseManifest, 401, registry.Answer{
				Auth: registry.Auth{Scheme: registry.SchemeBearer, TokenIssued: true, TokenRejected: true, Skew: new(time.Duration(0))},
			}),
			lines: []string{head, fetch, head + " Bearer"}},
		{name: "expired by the challenge", config: registrytest.Config{Passwords: known()}, cred: good(),
			repo: registrytest.Repository{Auth: registrytest.Basic, Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token",error_description="The token expired"`}}},
			want: fault(registry.FaultUnauthorized, registry.PhaseManifest, 401, expired(registry.Answer{
				Auth: registry.Auth{Scheme: registry.SchemeBasic, CredentialSent: true},
			})),
			lines: []string{head, head + " Basic", get + " Basic"}},
	}
}

func TestProbe(t *testing.T) {
	noGoroutinesLeft(t)
	for _, tc := range slices.Concat(plainCases(), missingCases(), basicCases(), bearerCases(), wordsCases(), expiryCases()) {
		t.Run(tc.name, func(t *testing.T) { tc.run(t) })
	}
}

func (tc exchange) run(t *testing.T) {
	if tc.repo.Name == "" {
		tc.repo.Name = "team/app"
	}
	if tc.object == "" {
		tc.object = ":1.0"
	}
	tc.config.Repositories = []registrytest.Repository{tc.repo}
	s := registrytest.New(t, tc.config)
	e, of := endpoint(t, options(trusting(t, s)), s.Host), ref(t, s.Host+"/team/app"+tc.object)
	a := e.Probe(t.Context(), of, tc.cred)

	checkErr(t, a)
	checkMeasured(t, &a, s)
	if a.Auth.Scheme == registry.SchemeBearer && tc.repo.Challenge == "" && tc.config.Realm == "" && a.Auth.TokenHost != s.Host {
		t.Errorf("token host %q, want %q", a.Auth.TokenHost, s.Host)
	}
	required := a.Auth.Required
	a.Auth.TokenHost, a.Err, a.Auth.Required = "", nil, nil
	if !reflect.DeepEqual(a, tc.want) {
		t.Errorf("answer\n%+v, want\n%+v", a, tc.want)
	}
	if got := s.Lines(); !slices.Equal(got, tc.lines) {
		t.Errorf("requests %q, want %q", got, tc.lines)
	}
	if required == nil {
		if slices.Contains([]registry.AuthScheme{registry.SchemeBasic, registry.SchemeBearer}, a.Auth.Scheme) {
			t.Error("what the endpoint said without credentials was not kept")
		}
		return
	}
	again := e.ProbeAfter(t.Context(), required, of, tc.cred)
	if got := s.Lines()[len(tc.lines):]; !slices.Equal(got, tc.lines[1:]) {
		t.Errorf("requests after a refusal without credentials %q, want %q", got, tc.lines[1:])
	}
	if again.Found != a.Found || again.Fault != a.Fault || again.Phase != a.Phase || again.Status != a.Status || again.Auth.Scheme != a.Auth.Scheme ||
		again.Auth.CredentialSent != a.Auth.CredentialSent || again.Auth.SaysExpired != a.Auth.SaysExpired {
		t.Errorf("answer after a refusal without credentials\n%+v, want\n%+v", again, a)
	}
	for _, r := range s.Requests() {
		if r.UserAgent != "whypull/1.2.3" {
			t.Errorf("user agent %q of %s %s", r.UserAgent, r.Method, r.Path)
		}
	}
}

// checkMeasured checks what every conversation over TLS has, and takes it away.
func checkMeasured(t *testing.T, a *registry.Answer, s *registrytest.Server) {
	t.Helper()
	if a.Endpoint != "https://"+s.Host || a.Connection.Remote.String() != s.Address || !slices.Equal(a.Connection.Addresses, []netip.Addr{loopback()}) {
		t.Errorf("endpoint %s, remote %s, addresses %v", a.Endpoint, a.Connection.Remote, a.Connection.Addresses)
	}
	for _, phase := range []registry.Phase{registry.PhaseDNS, registry.PhaseConnect, registry.PhaseTLS, registry.PhasePing} {
		if a.Durations[phase] <= 0 {
			t.Errorf("no duration of phase %s in %v", phase, a.Durations)
		}
	}
	want := registry.Certificate{Issuer: "Test Authority", Names: []string{registrytest.Name, "127.0.0.1"}, Alone: true}
	got := *a.TLS.Certificate
	if got.NotAfter.Before(time.Now()) || got.NotBefore.After(time.Now()) {
		t.Errorf("certificate %+v", got)
	}
	got.NotBefore, got.NotAfter = time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("certificate %+v, want %+v", got, want)
	}
	if !a.TLS.Expiry.Equal(a.TLS.Certificate.NotAfter) {
		t.Errorf("the certificate ends %s, want %s", a.TLS.Expiry, a.TLS.Certificate.NotAfter)
	}
	a.Endpoint, a.Connection.Remote, a.Connection.Addresses, a.Durations, a.TLS.Certificate, a.TLS.Expiry = "", netip.AddrPort{}, nil, nil, nil, time.Time{}
}

// A server without /v2/ is no registry; one that has it may only lack the image.
func TestProbeNoAPI(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{http.StatusNotFound: true, http.StatusOK: false, http.StatusUnauthorized: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				w.WriteHeader(status)
				return
			}
			http.NotFound(w, r)
		}))
		t.Cleanup(s.Close)
		host := s.Listener.Addr().String() // a loopback address, which is asked by http too
		a := endpoint(t, options(node(t, nil)), host).Probe(t.Context(), ref(t, host+"/team/app:1.0"), nil)
		if a.Fault != registry.FaultNotFound || a.Response.NoAPI != want || a.Phase != registry.PhaseManifest || a.Status != http.StatusNotFound {
			t.Errorf("HTTP %d for /v2/: %+v", status, a)
		}
	}
}

// A page that answers HEAD says nothing of the manifest: without a digest the
// runtime asks again with GET.
func TestProbeGetsWhatHeadDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Type", "text/html")
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", registrytest.Digest)
		_, _ = w.Write([]byte("{}"))
	}}}})
	a := endpoint(t, options(trusting(t, s)), s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil)
	if !a.Found || a.Content.Digest != registrytest.Digest {
		t.Errorf("%+v", a)
	}
}

// containerd follows a HEAD that names no digest with a GET; where that fails, it asks no
// other host. CRI-O does not care for the HEAD.
func TestFinal(t *testing.T) {
	for name, tc := range map[string]struct {
		head, get func(http.ResponseWriter)
		crio      bool
		want      bool
	}{
		"GET fails":            {page, refused, false, true},
		"GET is broken off":    {page, registrytest.BreakOff, false, true},
		"GET gives the page":   {page, page, false, false},
		"HEAD fails":           {refused, refused, false, false},
		"HEAD fails for CRI-O": {refused, refused, true, false},
		"GET fails for CRI-O":  {page, refused, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{
				Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
					if r.Method == http.MethodHead {
						tc.head(w)
						return
					}
					tc.get(w)
				},
			}}})
			e := endpoint(t, options(trusting(t, s)), s.Host)
			if tc.crio {
				e = ofCRIO(t, s, false)
			}
			if a := e.Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Found || a.Final != tc.want {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

func page(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<html>")
}

func refused(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
