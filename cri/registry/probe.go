package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Probe asks the endpoint for the manifest of a reference, as the runtime asks
// when it resolves an image, with the login or, if that is nil, anonymously.
//
// It is one conversation: a HEAD of the manifest; after a 401, one exchange
// for a token and the HEAD once more; after a 404, up to two requests that
// tell a missing tag from a missing repository. Nothing is tried again. The
// exchange is containerd's: with a login it is a POST, and a GET if the token
// server does not take that. When Probe returns, every connection is closed.
func (e Endpoint) Probe(ctx context.Context, ref reference.Named, login *Login) Answer {
	ctx, cancel := context.WithTimeout(withLogger(ctx, nil), e.opts.Timeouts.Total)
	defer cancel()
	c := newConversation(ctx, e, ref, login)
	defer c.close()
	c.hold(ctx)
	c.notes.fill(&c.answer)
	return c.answer
}

// conversation is one probe under way.
type conversation struct {
	endpoint   Endpoint
	repository string
	object     string // tag or digest
	digested   bool
	login      *Login
	notes      *notes
	dialer     *dialer
	transport  *http.Transport
	client     *http.Client
	authorizer docker.Authorizer
	answer     Answer
}

func newConversation(ctx context.Context, e Endpoint, ref reference.Named, login *Login) *conversation {
	c := &conversation{endpoint: e, login: login, notes: newNotes(), repository: repository(ref)}
	c.answer.Endpoint = e.String()
	c.object, c.digested = object(ref)
	c.dialer = &dialer{ctx: ctx, opts: e.opts, notes: c.notes}
	c.transport = newTransport(e, c.dialer)
	g := guard{next: c.transport, notes: c.notes}
	c.client = registryClient(e, g)
	c.authorizer = docker.NewDockerAuthorizer(
		docker.WithAuthClient(tokenClient(g)),
		docker.WithAuthCreds(login.given),
		docker.WithAuthHeader(c.header()),
	)
	return c
}

// object is what follows the repository in a reference; a digest wins over a
// tag, and no tag means "latest".
func object(ref reference.Named) (name string, digested bool) {
	if d, ok := ref.(reference.Digested); ok {
		return d.Digest().String(), true
	}
	if t, ok := reference.TagNameOnly(ref).(reference.Tagged); ok {
		return t.Tag(), false
	}
	return "latest", false
}

func (c *conversation) close() {
	c.transport.CloseIdleConnections()
	c.dialer.close()
}

// hold is the conversation from the first request to the verdict.
func (c *conversation) hold(ctx context.Context) {
	r, err := c.manifest(ctx, http.MethodHead, diagnosis.PhasePing)
	if err != nil {
		c.failed(ctx, err)
		return
	}
	if r.status == http.StatusUnauthorized {
		if r, err = c.authorized(ctx, r); err != nil {
			return
		}
	}
	if r.status == http.StatusMethodNotAllowed {
		// The runtime does so too, for registries without HEAD.
		if r, err = c.manifest(ctx, http.MethodGet, diagnosis.PhaseManifest); err != nil {
			c.failed(ctx, err)
			return
		}
	}
	c.judge(ctx, r)
}

// reply is an answer of the registry that was read and closed.
type reply struct {
	status   int
	header   http.Header
	url      *url.URL       // that answered, after redirects
	response *http.Response // for containerd's authorizer, without its body
	body     []byte         // of a list of tags or an error, at most maxBody bytes
}

// authorized answers a 401 and asks again. With an error, the answer is
// written already.
func (c *conversation) authorized(ctx context.Context, r reply) (reply, error) {
	if err := c.challenged(ctx, r); err != nil {
		c.refused(r, err)
		return reply{}, err
	}
	again, err := c.manifest(ctx, http.MethodHead, diagnosis.PhaseManifest)
	var token *tokenError
	switch {
	case errors.As(err, &token):
		c.noToken(token)
	case err != nil:
		c.failed(ctx, err)
	}
	return again, err
}

// tokenError is an error of the exchange for a token.
type tokenError struct{ err error }

// Error implements error.
func (t *tokenError) Error() string { return t.err.Error() }

// Unwrap gives containerd's error.
func (t *tokenError) Unwrap() error { return t.err }

// manifest asks for the manifest.
func (c *conversation) manifest(ctx context.Context, method string, phase diagnosis.Phase) (reply, error) {
	return c.send(ctx, method, phase, "", "manifests", c.object)
}

// send makes one request of the registry, with the authorization that there
// is. phase says what waiting for the answer counts as.
func (c *conversation) send(ctx context.Context, method string, phase diagnosis.Phase, query string, what ...string) (reply, error) {
	ctx = docker.WithScope(ctx, "repository:"+c.repository+":pull")
	req, err := http.NewRequestWithContext(c.notes.trace(ctx, phase), method, c.url(query, what...), http.NoBody)
	if err != nil {
		return reply{}, err
	}
	req.Header = c.header()
	if err := c.authorize(ctx, req); err != nil {
		return reply{}, &tokenError{err}
	}
	resp, err := c.client.Do(req)
	c.notes.measure(phase)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	c.answer.Endpoint = resp.Request.URL.Scheme + "://" + c.endpoint.Host
	c.answer.RateLimit = rateLimit(resp.Header, c.answer.RateLimit)
	r := reply{status: resp.StatusCode, header: resp.Header, url: resp.Request.URL, response: resp}
	if r.status >= http.StatusBadRequest || what[0] == "tags" {
		// What is missing of a body that breaks off shows when it is parsed.
		r.body, _ = io.ReadAll(resp.Body)
	}
	return r, nil
}

// authorize sets the Authorization header, for which containerd's authorizer
// may ask a token server; it does so once for all requests of a conversation.
func (c *conversation) authorize(ctx context.Context, req *http.Request) error {
	if c.answer.Scheme != SchemeBearer || c.answer.TokenIssued {
		return c.authorizer.Authorize(ctx, req)
	}
	defer c.tokenPhase()()
	if err := c.authorizer.Authorize(withAside(ctx), req); err != nil {
		return err
	}
	c.answer.TokenIssued = true
	return nil
}

func (c *conversation) tokenPhase() (leave func()) {
	return c.notes.enter(diagnosis.PhaseToken, false)
}

// url is the address of a resource of the repository, as the runtime makes it.
func (c *conversation) url(query string, what ...string) string {
	p := path.Join(append([]string{"/", c.endpoint.host.Path, c.repository}, what...)...)
	if c.endpoint.Mirror {
		if query != "" {
			query += "&"
		}
		query += "ns=" + url.QueryEscape(c.endpoint.domain)
	}
	if query != "" {
		p += "?" + query
	}
	return c.endpoint.String() + p
}

// header is what every request carries: hosts.toml's headers, the runtime's
// Accept, our own User-Agent.
func (c *conversation) header() http.Header {
	h := http.Header{}
	for key, values := range c.endpoint.host.Header {
		h[key] = append(h[key], values...)
	}
	h.Set("Accept", strings.Join([]string{
		images.MediaTypeDockerSchema2Manifest,
		images.MediaTypeDockerSchema2ManifestList,
		ocispec.MediaTypeImageManifest,
		ocispec.MediaTypeImageIndex, "*/*",
	}, ", "))
	h.Set("User-Agent", userAgent(c.endpoint.opts.Version))
	return h
}

func userAgent(version string) string {
	if version == "" {
		return "whypull"
	}
	return "whypull/" + version
}

// challenged takes note of a 401 and prepares the answer to it. Its errors
// mean that there is none.
func (c *conversation) challenged(ctx context.Context, r reply) error {
	challenges := auth.ParseAuthHeader(r.header)
	c.answer.Scheme, c.answer.Challenge = schemeOf(challenges)
	// The scheme may have changed by the fallback to http, the host may not.
	if r.url.Host != c.endpoint.Host {
		return ErrChallengeElsewhere
	}
	if c.answer.Scheme == SchemeBearer {
		realm, err := tokenServer(challenges, r.url.Scheme)
		if err != nil {
			return err
		}
		c.answer.TokenHost = realm
	}
	if err := c.authorizer.AddResponses(ctx, []*http.Response{r.response}); err != nil {
		return err
	}
	c.answer.CredentialSent = !c.login.empty()
	return nil
}

// refused writes the answer for a 401 to which there is none of ours.
func (c *conversation) refused(r reply, err error) {
	phase := diagnosis.PhasePing
	if c.answer.TokenHost == "" && c.answer.Scheme == SchemeBearer {
		phase = diagnosis.PhaseToken
	}
	c.conclude(phase, faultOf(err, phase), r.status, err)
}

// noToken writes the answer for an exchange that failed.
func (c *conversation) noToken(token *tokenError) {
	fault := tokenFault(token.err)
	if fault == diagnosis.FaultRateLimited || fault == diagnosis.FaultServerError {
		c.answer.RetryAfter = c.notes.tokenWait()
	}
	c.blame(token.err)
	c.conclude(diagnosis.PhaseToken, fault, unexpectedStatus(token.err), token.err)
}

// failed writes the answer for a request that got none.
func (c *conversation) failed(ctx context.Context, err error) {
	phase := c.notes.current()
	fault := faultOf(err, phase)
	if c.speaksTLS(ctx, fault) {
		fault = diagnosis.FaultHTTPSMismatch
	}
	c.blame(err)
	c.conclude(phase, fault, proxyStatus(err), err)
}

// blame notes the certificate that an error is about.
func (c *conversation) blame(err error) {
	var (
		verification *tls.CertificateVerificationError
		invalid      x509.CertificateInvalidError
	)
	if errors.As(err, &verification) {
		c.notes.presented(verification.UnverifiedCertificates)
	}
	if errors.As(err, &invalid) && invalid.Cert != nil {
		c.notes.presented([]*x509.Certificate{invalid.Cert})
	}
}

// conclude writes the verdict.
func (c *conversation) conclude(phase diagnosis.Phase, fault diagnosis.Fault, status int, err error) {
	a := &c.answer
	a.Phase, a.Fault, a.Status = phase, fault, status
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		a.DNSServer = dns.Server
	}
	if a.Found {
		return
	}
	a.Err = &Error{Endpoint: a.Endpoint, Phase: phase, Fault: fault, Status: status, cause: harmless(err)}
}

// speaksTLS finds out whether an endpoint that is configured for http, and
// that gave no sensible answer to it, wants TLS: by a handshake, since the
// texts with which servers complain have no common form.
func (c *conversation) speaksTLS(ctx context.Context, fault diagnosis.Fault) bool {
	phase := c.notes.current()
	if c.endpoint.Scheme != "http" || c.notes.usesProxy() ||
		phase != diagnosis.PhasePing && phase != diagnosis.PhaseManifest {
		return false
	}
	if fault != diagnosis.FaultUnexpectedAnswer && fault != diagnosis.FaultNetworkUnreachable {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.endpoint.opts.Timeouts.TLS)
	defer cancel()
	conn, err := c.dialer.dial(withAside(ctx), "tcp", withPort(c.endpoint.Host, "80"))
	if err != nil {
		return false
	}
	// Nothing is sent over it, so nobody needs to be verified.
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	return client.HandshakeContext(ctx) == nil
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// judge reads the answer of the registry itself.
func (c *conversation) judge(ctx context.Context, r reply) {
	c.answer.RetryAfter = retryAfter(r.header, time.Now())
	fault := c.meaning(r)
	switch {
	case fault == "":
		c.answer.Found = true
		c.answer.Digest, c.answer.MediaType = descriptor(r.header)
	case r.status == http.StatusNotFound:
		fault = c.whatIsMissing(ctx)
	case r.status == http.StatusBadRequest && c.speaksTLS(ctx, fault):
		fault = diagnosis.FaultHTTPSMismatch
	}
	c.conclude(diagnosis.PhaseManifest, fault, r.status, nil)
}

// meaning is the fault of an answer's status, "" if the manifest is there.
func (c *conversation) meaning(r reply) diagnosis.Fault {
	switch {
	case r.status >= 200 && r.status < 300:
		if isHTML(r.header) {
			return diagnosis.FaultUnexpectedAnswer // a login page in between
		}
		return ""
	case r.status == http.StatusUnauthorized:
		scheme, challenge := schemeOf(auth.ParseAuthHeader(r.header))
		c.answer.Challenge = challenge
		if c.answer.TokenIssued && scheme != SchemeBasic {
			return diagnosis.FaultInsufficientScope
		}
		return diagnosis.FaultUnauthorized
	default:
		return statusFault(r.status)
	}
}

// repository is the path of a reference below its registry. Package reference
// takes a host with an underscore for a part of the path; the runtime does not.
func repository(ref reference.Named) string {
	_, path, _ := strings.Cut(ref.Name(), "/")
	return path
}
