package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/oci"
)

// Probe requests the manifest of a reference from the endpoint, as the runtime does when it
// resolves an image, with the credential or, if it is nil, anonymously.
//
// It is one conversation: a HEAD of the manifest; after a 401, one token exchange and another
// HEAD. HEAD has no error body: after a 403, a 412 or a 401 for a sent credential, a GET
// follows, as in containerd after a 403 (core/remotes/docker/resolver.go, Resolve). After a
// 404 there are up to two requests to distinguish a missing tag from a missing repository and,
// for a digest, one before them for a blob with that digest, as in containerd. Nothing is
// retried. The token exchange is containerd's: a POST with a credential, and a GET if the
// token server does not accept that.
//
// So an existing manifest takes one request if it is public, two with a basic challenge, and
// three with a bearer challenge. When Probe returns, all connections are closed.
//
// CRI-O works differently: it requests /v2/ first and answers only that challenge
// (go.podman.io/image, docker, detectPropertiesHelper).
func (e Endpoint) Probe(ctx context.Context, ref reference.Named, cred *credential.Credential) Answer {
	return e.ProbeAfter(ctx, nil, ref, cred)
}

// conversation is one running probe.
type conversation struct {
	endpoint   Endpoint
	repository string
	object     string // tag or digest
	digested   bool
	cred       *credential.Credential
	notes      *notes
	dialer     *dialer
	transport  *http.Transport
	client     *http.Client
	room       *Room
	authorizer docker.Authorizer
	hasPinged  bool // /v2/ has answered as CRI-O wants it
	// invalidToken: the last 401 says that a token was invalid.
	invalidToken bool
	answer       Answer
	began        time.Time
}

// finish completes and returns the answer.
func (c *conversation) finish() Answer {
	c.notes.fill(&c.answer)
	return c.answer
}

func newConversation(ctx context.Context, e Endpoint, ref reference.Named, cred *credential.Credential) *conversation {
	c := &conversation{began: time.Now(), endpoint: e, cred: cred, notes: newNotes(), repository: repository(ref)}
	c.answer.Endpoint = e.String()
	c.object, c.digested = object(ref)
	if c.room = e.Settings.Room; c.room == nil {
		c.room = NewRoom(nil)
	}
	g := c.connect(ctx)
	c.authorizer = docker.NewDockerAuthorizer(
		docker.WithAuthClient(tokenClient(g)),
		docker.WithAuthCreds(func(string) (username, password string, err error) {
			if sends(cred) {
				username, password = cred.Reveal()
			}
			return username, password, nil
		}),
		docker.WithAuthHeader(c.tokenHeader()),
	)
	return c
}

// connect creates the conversation's own dialer and clients.
func (c *conversation) connect(ctx context.Context) guard {
	c.dialer = &dialer{ctx: ctx, settings: &c.endpoint.Settings, notes: c.notes}
	c.transport = newTransport(c.endpoint, c.dialer)
	g := guard{next: c.transport, notes: c.notes, room: c.room}
	c.client = registryClient(c.endpoint, g)
	return g
}

// fork returns another conversation with the same authorization but its own connections and
// notes, which can be used for only one request at a time.
func (c *conversation) fork(ctx context.Context) *conversation {
	f := *c
	f.notes = newNotes()
	f.notes.setPhase(c.notes.now().phase)
	f.connect(ctx)
	return &f
}

// object returns the digest of a reference, else its tag, else "latest".
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

// hold runs the conversation from the first request to the answer.
func (c *conversation) hold(ctx context.Context) {
	r, err := c.ask(ctx, http.MethodHead, PhasePing)
	if c.wantsGet(r, err) {
		resolves := err == nil && r.good() && !c.endpoint.Settings.Pings
		defer func() { c.answer.Final = resolves && !r.good() }()
		c.renew()
		if r, err = c.manifest(ctx, http.MethodGet, PhaseManifest); err != nil {
			c.failed(ctx, err)
		}
	}
	if err == nil {
		c.judge(ctx, r)
	}
}

// wantsGet reports whether a GET has to follow a HEAD, since the runtime makes one
// too. containerd does for registries without HEAD, and where the answer names no
// digest. CRI-O makes no HEAD at all, so that one which fails says nothing of the
// pull, unless it is about too many requests or took all the time.
func (c *conversation) wantsGet(r reply, err error) bool {
	pings := c.endpoint.Settings.Pings
	switch {
	case err != nil:
		a := &c.answer
		return c.hasPinged && a.Phase != PhaseToken && a.Fault != FaultConnectionTimeout && (a.Redirects.Via != "" || a.Phase == PhaseManifest)
	case r.good():
		return r.page() && r.header.Get("Docker-Content-Digest") == ""
	case r.status == http.StatusMethodNotAllowed:
		return true
	}
	return pings && r.status != http.StatusTooManyRequests
}

// ask requests the manifest, and again after a 401. phase is that of the first request. On
// error the answer is already filled in.
func (c *conversation) ask(ctx context.Context, method string, phase Phase) (reply, error) {
	if c.endpoint.Settings.Pings {
		return c.askAfterPing(ctx, method)
	}
	if c.answer.Auth.Required != nil {
		return c.authorized(ctx, method, c.answer.Auth.Required.reply)
	}
	r, err := c.manifest(ctx, method, phase)
	if err != nil {
		c.failed(ctx, err)
		return r, err
	}
	if r.status != http.StatusUnauthorized {
		return r, nil
	}
	c.answer.Auth.Required = c.newAuthRequired(r)
	return c.authorized(ctx, method, r)
}

// reply is a response of the registry, read and closed.
type reply struct {
	method   string
	status   int
	header   http.Header
	url      *url.URL       // after redirects
	response *http.Response // for containerd's authorizer, without its body
	body     []byte         // of a GET, limited in size
	broken   error          // the error that truncated the body
	hops     []string       // the places that the request was redirected to
	blob     bool           // the response is for a blob
	place    place          // in the room, for a body that may be large
}

// release frees the body's memory.
func (r *reply) release() {
	r.body = nil
	r.place.leave()
}

// good reports whether the runtime continues with the status.
func (r reply) good() bool { return r.status >= 200 && r.status < 300 }

// ofAPI reports whether the response is from a registry's API: it has the header that most
// registries send, or an error code.
func (r reply) ofAPI() bool {
	return strings.HasPrefix(r.header.Get("Docker-Distribution-Api-Version"), "registry/2") || len(oci.ReadErrorCodes(r.body)) > 0
}

// page reports whether the response is an HTML page.
func (r reply) page() bool { return isHTML(r.header) || startsPage(r.body) }

// authorized responds to a 401 and repeats the request. On error the answer is already filled
// in.
func (c *conversation) authorized(ctx context.Context, method string, r reply) (reply, error) {
	if err := c.challenged(ctx, r); err != nil {
		c.refused(r, err)
		return reply{}, err
	}
	again, err := c.manifest(ctx, method, PhaseManifest)
	if err != nil {
		c.failed(ctx, err)
	}
	return again, err
}

// tokenError is an error of the token exchange.
type tokenError struct{ err error }

// Error implements error.
func (t *tokenError) Error() string { return t.err.Error() }

// Unwrap returns containerd's error.
func (t *tokenError) Unwrap() error { return t.err }

// manifest requests the manifest.
func (c *conversation) manifest(ctx context.Context, method string, phase Phase) (reply, error) {
	return c.send(ctx, method, phase, "", "manifests", c.object)
}

// send sends one request to the registry with the current authorization. phase is the phase
// under which waiting for the response counts.
func (c *conversation) send(ctx context.Context, method string, phase Phase, query string, what ...string) (reply, error) {
	req, err := c.request(ctx, method, query, what...)
	if err != nil {
		return reply{}, err
	}
	defer c.notes.measure(phase)
	resp, err := c.do(req.WithContext(c.notes.trace(req.Context(), phase)))
	if err != nil {
		return reply{}, err
	}
	r := c.receive(resp, limitFor(resp))
	r.hops = c.notes.now().hops
	return r, noRoom(r.broken)
}

// noRoom returns err if it is for lack of memory, else nil: nothing is known about a response
// that was not read.
func noRoom(err error) error {
	if errors.Is(err, ErrNoRoom) {
		return ErrNoRoom
	}
	return nil
}

// request creates a request, for which it may fetch a token.
func (c *conversation) request(ctx context.Context, method, query string, what ...string) (*http.Request, error) {
	ctx = docker.WithScope(ctx, "repository:"+c.repository+":pull")
	req, err := http.NewRequestWithContext(ctx, method, c.url(query, what...), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
	if err := c.authorize(ctx, req); err != nil {
		return nil, &tokenError{err}
	}
	return req, nil
}

// do sends a request. The caller must close the response's body.
func (c *conversation) do(req *http.Request) (*http.Response, error) {
	c.notes.begin()
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if len(c.notes.now().hops) == 0 {
		c.answer.Endpoint = resp.Request.URL.Scheme + "://" + c.endpoint.Host
	}
	c.answer.Response.RateLimit = rateLimit(resp.Header, c.answer.Response.RateLimit)
	return resp, nil
}

// receive takes an answer to its end. Where more than maxBody may come, the
// reply is the caller's to release.
func (c *conversation) receive(resp *http.Response, limit int64) reply {
	defer resp.Body.Close() //nolint:errcheck // only read from
	boundChallenges(resp.Header)
	r := reply{
		method: resp.Request.Method, status: resp.StatusCode, header: resp.Header,
		url: resp.Request.URL, response: resp, place: place{room: c.room},
	}
	r.body, r.broken = readBody(resp.Request.Context(), resp, limit, &r.place)
	if noRoom(r.broken) != nil {
		c.notes.noRoom.Store(true)
		r.release()
	}
	if limit <= maxBody {
		r.place.leave() // small bodies are read and dropped soon
	}
	return r
}

// authorize sets the Authorization header, for which containerd's authorizer
// may ask a token server; it does so once for all requests of a conversation.
func (c *conversation) authorize(ctx context.Context, req *http.Request) error {
	if c.answer.Auth.Scheme != SchemeBearer || c.answer.Auth.TokenIssued {
		return c.authorizer.Authorize(ctx, req)
	}
	defer c.notes.enter(PhaseToken, false)()
	c.notes.begin()
	if err := c.authorizer.Authorize(withAside(c.notes.traceAside(ctx), PhaseToken), req); err != nil {
		return err
	}
	c.answer.Auth.TokenIssued = true
	return nil
}

// url is the address of a resource of the repository, as the runtime makes it.
func (c *conversation) url(query string, what ...string) string {
	p := path.Join(append([]string{"/", c.endpoint.Settings.Path, c.repository}, what...)...)
	if c.endpoint.Settings.Namespace != "" {
		if query != "" {
			query += "&"
		}
		query += "ns=" + url.QueryEscape(c.endpoint.Settings.Namespace)
	}
	if query != "" {
		p += "?" + query
	}
	return c.endpoint.String() + p
}

// header is what every request carries: hosts.toml's headers, the runtime's
// Accept, our own User-Agent.
func (c *conversation) header() http.Header {
	h := c.headerOf(c.endpoint.Settings.Header)
	h.Set("Accept", strings.Join([]string{
		images.MediaTypeDockerSchema2Manifest,
		images.MediaTypeDockerSchema2ManifestList,
		ocispec.MediaTypeImageManifest,
		ocispec.MediaTypeImageIndex, "*/*",
	}, ", "))
	return h
}

// tokenHeader is what a request of the token server carries.
func (c *conversation) tokenHeader() http.Header { return c.headerOf(c.endpoint.Settings.TokenHeader) }

// headerOf is a copy of a header, with our own User-Agent.
func (c *conversation) headerOf(header credential.Redacted[http.Header]) http.Header {
	h := http.Header{}
	maps.Copy(h, header.Reveal().Clone())
	h.Set("User-Agent", userAgent(c.endpoint.Settings.Version))
	return h
}

func userAgent(version string) string { return strings.TrimSuffix("whypull/"+version, "/") }

// challenged takes note of a 401 and prepares the answer to it. Its errors
// mean that there is none.
func (c *conversation) challenged(ctx context.Context, r reply) error {
	challenges := auth.ParseAuthHeader(r.header)
	c.answer.Auth.Scheme, c.invalidToken = schemeOf(challenges)
	// The scheme may have changed by the fallback to http, the host may not.
	if r.url.Host != c.endpoint.Host {
		return ErrChallengeElsewhere
	}
	// Who can answer in plain http could also name a token server of his own.
	downgraded := r.url.Scheme != "https" && firstScheme(r.response) == "https"
	if c.answer.Auth.Scheme == SchemeBearer {
		scheme := r.url.Scheme
		if downgraded {
			scheme = "https"
		}
		a := &c.answer.Auth
		var err error
		a.TokenHost, a.TokenPlain, err = tokenServer(challenges, scheme)
		if errors.Is(err, ErrRealmInsecure) && a.TokenPlain && !sends(c.cred) {
			err = nil // like the runtime, whypull asks it for an anonymous token
		}
		if err != nil {
			return err
		}
	}
	if downgraded {
		return ErrChallengeInsecure
	}
	if err := c.authorizer.AddResponses(ctx, []*http.Response{r.response}); err != nil {
		return err
	}
	c.answer.Auth.CredentialSent = sends(c.cred)
	return nil
}

// firstScheme returns the scheme that was spoken before any redirect.
func firstScheme(resp *http.Response) string {
	req := resp.Request
	for req.Response != nil {
		req = req.Response.Request
	}
	return req.URL.Scheme
}

// refused writes the answer for a 401 to which there is none of ours.
func (c *conversation) refused(r reply, err error) {
	phase := PhasePing
	if c.answer.Auth.Scheme == SchemeBearer {
		phase = PhaseToken
	}
	if errors.Is(err, ErrChallengeElsewhere) {
		phase = PhaseManifest
		c.sentTo(r.hops)
	}
	c.conclude(phase, faultOf(err, phase), r.status, err)
}

// noToken writes the answer for an exchange that failed.
func (c *conversation) noToken(token *tokenError) {
	last, status := c.notes.now().token, unexpectedStatus(token.err)
	fault := c.orProxy(tokenFault(token.err, c.notes.now().step()))
	switch {
	case last.proxys && status > 0:
		fault = FaultProxyFailed
	case last.policy && status > 0:
		fault = FaultPolicyBlocked
	case fault == FaultUnexpectedAnswer && status == 0 && last.page:
		fault, status = FaultWebPage, last.status
	case fault == FaultRateLimited, fault == FaultServerError:
		c.answer.Response.RetryAfter = last.wait
	}
	c.answer.Response.HTML = last.page && status > 0
	c.answer.Auth.SaysExpired = last.expired && c.answer.Auth.CredentialSent
	c.notes.blame(token.err)
	c.answer.Redirects.Hops = c.notes.now().hops
	c.conclude(PhaseToken, fault, status, token.err)
}

// failed fills in the answer for a request without a response.
func (c *conversation) failed(ctx context.Context, err error) {
	if token := (*tokenError)(nil); errors.As(err, &token) {
		c.noToken(token)
		return
	}
	phase := c.notes.now().phase
	fault := c.orProxy(faultOf(err, c.notes.now().step()))
	if c.speaksTLS(ctx, fault) {
		fault = FaultHTTPSMismatch
	}
	c.notes.blame(err)
	c.sentTo(c.notes.now().hops)
	c.compareClocks(ctx, fault)
	c.conclude(phase, fault, proxyStatus(err), err)
}

// orProxy returns FaultProxyFailed if the request failed at the proxy, else fault. Refused
// addresses and canceled requests are not changed.
func (c *conversation) orProxy(fault Fault) Fault {
	if fault != "" && fault != FaultAddressForbidden && fault != FaultAddressUnspecified && c.notes.atProxy() {
		return FaultProxyFailed
	}
	return fault
}

// conclude fills in the answer's result.
func (c *conversation) conclude(phase Phase, fault Fault, status int, err error) {
	a := &c.answer
	if !a.Found && c.notes.noRoom.Load() {
		fault, err = "", ErrNoRoom // the body that was not read may change the fault
	}
	a.Phase, a.Fault, a.Status = phase, fault, status
	if fault == FaultProxyFailed {
		a.Proxy.Status, a.Proxy.Fault = status, beforeProxy(err)
		if status == 0 && a.Proxy.Fault == "" && networkFault(err) == FaultConnectionTimeout {
			a.Proxy.Fault = FaultConnectionTimeout
		}
	}
	a.Connection.OtherProtocol = fault == FaultHTTPSMismatch && otherProtocol(err)
	if fault == FaultTLSHandshakeFailed {
		a.TLS.Alert = alertOf(err)
	}
	if fault == FaultConnectionTimeout || a.Proxy.Fault == FaultConnectionTimeout {
		a.Connection.Waited = c.patience()
	}
	if !a.Found {
		a.Err = harmless(err)
	}
}

// patience is how long was waited for what did not come: as long as the step that
// it is about may take, and no longer than the conversation has taken.
func (c *conversation) patience() time.Duration {
	t := c.endpoint.Settings.Timeouts
	own := map[Phase]time.Duration{PhaseDNS: t.DNS, PhaseConnect: t.Connect, PhaseTLS: t.TLS}[c.notes.now().step()]
	return min(cmp.Or(own, t.Response), time.Since(c.began))
}

// speaksTLS reports whether an endpoint that is configured for http and did not respond
// properly requires TLS. It tries a handshake, since servers' error texts have no common form.
func (c *conversation) speaksTLS(ctx context.Context, fault Fault) bool {
	phase := c.notes.now().phase
	if c.endpoint.Scheme != "http" || c.notes.now().proxy != "" ||
		phase != PhasePing && phase != PhaseManifest {
		return false
	}
	if fault != FaultUnexpectedAnswer && fault != FaultNetworkUnreachable {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.endpoint.Settings.Timeouts.TLS)
	defer cancel()
	defer c.notes.setInner("")
	conn, err := c.dialer.dial(withAside(ctx, PhaseTLS), "tcp", withPort(c.endpoint.Host, "80"))
	if err != nil {
		return false
	}
	// Nothing is sent over it, so the certificate need not be verified.
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	return client.HandshakeContext(ctx) == nil
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// judge fills in the answer from the registry's response.
func (c *conversation) judge(ctx context.Context, r reply) {
	r = c.fromBlobs(ctx, c.worded(ctx, r))
	c.read(r)
	fault := c.meaning(r)
	switch {
	case fault == "":
		c.answer.Found = true
		c.answer.Content.Digest = manifestDigest(r.header)
	case r.status == http.StatusNotFound && r.page() && c.ofHop(r, fault): // no registry said so
	case r.status == http.StatusNotFound:
		fault = c.whatIsMissing(ctx)
	case r.status == http.StatusBadRequest && c.speaksTLS(ctx, fault):
		fault = FaultHTTPSMismatch
	}
	if c.ofHop(r, fault) {
		c.sentTo(r.hops)
	}
	c.conclude(PhaseManifest, fault, r.status, nil)
}

// ofHop reports whether a fault is that of the place to which the registry has
// redirected, and not the registry's answer from another host of its own.
func (c *conversation) ofHop(r reply, fault Fault) bool {
	if len(r.hops) == 0 || r.url.Host == c.endpoint.Host {
		return false
	}
	switch fault { //nolint:exhaustive // the others are of the image
	case FaultUnauthorized, FaultInsufficientScope, FaultForbidden, FaultPolicyBlocked, FaultRateLimited, FaultServerError,
		FaultUnexpectedAnswer, FaultWebPage, FaultHTTPSMismatch, FaultProxyFailed:
		return true
	}
	return r.page()
}

// sentTo makes the answer one of the last of the places that a request was
// redirected to.
func (c *conversation) sentTo(hops []string) {
	a := &c.answer
	if len(hops) == 0 || a.Redirects.Via != "" || hops[len(hops)-1] == a.Endpoint {
		return
	}
	a.Redirects.Via, a.Endpoint, a.Redirects.Hops = a.Endpoint, hops[len(hops)-1], hops
}

// worded repeats a refused HEAD as a GET, whose response has an error body. A response with
// another status is ignored.
func (c *conversation) worded(ctx context.Context, r reply) reply {
	switch {
	case r.method != http.MethodHead:
		return r
	case r.status == http.StatusForbidden, r.status == http.StatusPreconditionFailed:
	case r.status == http.StatusUnauthorized && c.answer.Auth.CredentialSent && r.url.Host == c.endpoint.Host:
	default:
		return r
	}
	again, err := c.manifest(ctx, http.MethodGet, PhaseManifest)
	if err != nil || again.status != r.status {
		return r
	}
	return again
}

// read takes from a response what is not its status.
func (c *conversation) read(r reply) {
	c.answer.Response.RetryAfter = wait(r.status, r.header, time.Now())
	c.answer.Response.HTML = r.page()
	if r.good() {
		return
	}
	if r.status == http.StatusUnauthorized {
		_, c.invalidToken = schemeOf(auth.ParseAuthHeader(r.header))
	}
	switch r.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		// If a token that was just issued has expired, a clock is wrong, not the
		// credential.
		fresh := c.answer.Auth.TokenIssued && c.invalidToken
		c.answer.Auth.SaysExpired = c.answer.Auth.CredentialSent && !fresh &&
			(saysExpired(wordsOf(r.body)) || challengeSaysExpired(r.header))
	}
}

// meaning returns the fault of a response; "" if it is right.
func (c *conversation) meaning(r reply) Fault {
	switch {
	case r.url.Scheme == "http" && c.notes.now().throughProxy() && proxyAnswered(r.status, r.header):
		return FaultProxyFailed
	case r.good() && r.page():
		return FaultWebPage // a captive portal or login page
	case r.good():
		return c.unsupported(r)
	case upstreamRefuses(r.status, r.body):
		c.answer.Response.UpstreamRefuses = true
		return FaultUnexpectedAnswer
	case r.status == http.StatusUnauthorized:
		return c.unauthorized(r)
	case slices.Contains(oci.ReadErrorCodes(r.body), codeTooManyRequests):
		return FaultRateLimited // with another status than 429, as of a gateway in front
	case isPolicy(r.status, r.body):
		return FaultPolicyBlocked
	default:
		return statusFault(r.status)
	}
}

// unauthorized returns the fault of a 401. One that calls a token invalid which was issued for
// this conversation is about the registry and its token server, not about the credential, for
// which that has issued it (RFC 6750, 3.1).
func (c *conversation) unauthorized(r reply) Fault {
	scheme, invalid := schemeOf(auth.ParseAuthHeader(r.header))
	switch {
	case !c.answer.Auth.TokenIssued || scheme == SchemeBasic:
		return FaultUnauthorized
	case !invalid || r.url.Host != c.endpoint.Host:
		return FaultInsufficientScope
	}
	c.answer.Auth.TokenRejected = true
	c.answer.Auth.Skew = skew(r.header, time.Now(), c.notes.now().token.ahead)
	return FaultUnexpectedAnswer
}

// unsupported reports by the header whether the runtime cannot use a manifest: it is of the
// first schema, which containerd 2.0 removed, or a blob that is not a manifest.
func (c *conversation) unsupported(r reply) Fault {
	mediaType := contentType(r.header)
	form := &c.answer.Content.Form
	switch {
	case r.blob && !isManifest(mediaType):
		*form = FormBlob
	case !isSchema1(mediaType) || c.endpoint.Settings.TakesSchema1:
		return ""
	case mediaType == plainText:
		*form = FormText
	default:
		*form = FormSchema1
	}
	return FaultUnsupportedFormat
}

// repository returns the path of a reference below its registry. Unlike package reference, the
// runtime accepts a host with an underscore.
func repository(ref reference.Named) string {
	_, path, _ := strings.Cut(ref.Name(), "/")
	return path
}
