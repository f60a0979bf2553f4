// Package registrytest is a registry for tests, on a loopback port, over TLS
// with an authority of its own or without. It answers for the repositories
// that it is given, each with its own way of being broken, and remembers who
// asked for what.
package registrytest

import (
	"crypto/tls"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/catest"
)

// Name is the host name of every registry. It resolves nowhere: give the client
// a resolver that says 127.0.0.1.
const Name = catest.Name

// Digest is the digest of every manifest here.
const Digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// Auth is how a repository is protected.
type Auth int

// The ways. A Bearer challenge points to this server's own /token.
const (
	Open Auth = iota
	Basic
	Bearer
)

// Behaviour is how a repository answers a request for a manifest, once the
// client is allowed in.
type Behaviour int

// The behaviours.
const (
	Healthy Behaviour = iota
	// Reset breaks the connection off.
	Reset
	// Hang does not answer before the server is closed.
	Hang
	// Redirect answers 307 to Repository.Location.
	Redirect
	// NoHead answers 405 to HEAD.
	NoHead
)

// Repository is a repository and its way of answering.
type Repository struct {
	Name string
	// Tags that exist. A digest is found if it is Digest and there is a tag.
	Tags []string
	Auth Auth
	// Users may pull, by name; nil: everyone who has logged in. The token
	// server gives others a token that does not allow it, as Docker Hub does.
	Users []string
	// Behaviour, and the details of it.
	Behaviour Behaviour
	Location  string
	// Status is answered to everyone who is allowed in, instead of a manifest.
	Status int
	// Header is added to answers about manifests.
	Header http.Header
	// ListStatus is answered to a request for the list of tags.
	ListStatus int
	// ErrorBody is the body of the answer with Status, and of a 401.
	ErrorBody string
	// Challenge replaces the WWW-Authenticate header of a 401.
	Challenge string
	// Content is what the repository holds. Without it every manifest is "{}",
	// and there are no blobs.
	Content *Content
	// BlobAuth protects the blobs instead of Auth; nil: they are as the rest.
	BlobAuth *Auth
	// Serve answers all requests instead, for what Split says of their path.
	Serve func(w http.ResponseWriter, r *http.Request, kind, object string)
}

// Config is a server's configuration. The zero value is a registry over TLS
// with a certificate of CA for Name and the loopback address.
type Config struct {
	CA *catest.CA // nil: a new one
	// Certificate is used instead of one that CA issues.
	Certificate *catest.Pair
	// Plain: http, without TLS.
	Plain bool
	// Ciphers are the only ones that it takes, of TLS 1.2.
	Ciphers []uint16
	// ClientCA: only clients with a certificate of it may connect.
	ClientCA *catest.CA
	// Passwords are those of the users, by name.
	Passwords map[string]string
	// TokenStatus is what /token answers instead of a token, with TokenBody if
	// that is set.
	TokenStatus int
	// TokenHeader is added to the token server's answers.
	TokenHeader http.Header
	// TokenBody is what it says instead of a token.
	TokenBody string
	// TokenGET: the token server answers 404 to a POST.
	TokenGET bool
	// NoAnonymous: the token server answers 401 to a client without a credential.
	NoAnonymous bool
	// Realm replaces the URL of the token server in challenges.
	Realm        string
	Repositories []Repository
	// PingStatus is what /v2/ answers; 0: 401 with the challenge of the first
	// repository that has one, else 200.
	PingStatus int
	// Others answers for the repositories that are not listed; nil: there are
	// none.
	Others *Repository
}

// Request is a request that was made.
type Request struct {
	Method, Path, Query string
	// Auth is the scheme of the Authorization header, "" if there was none.
	Auth      string
	UserAgent string
	Header    http.Header
}

// Server is a running registry. One that is only given a Config is a handler of
// the registry's requests.
type Server struct {
	Config

	// Host is the host[:port] to ask for: Name and the port.
	Host string
	// Address is the host[:port] with the loopback address.
	Address string

	server *httptest.Server
	done   chan struct{}

	mu       sync.Mutex
	requests []Request
}

// New starts a registry. It stops with the test.
func New(tb testing.TB, config Config) *Server {
	tb.Helper()
	s := &Server{Config: config, done: make(chan struct{})}
	if s.CA == nil {
		s.CA = catest.New(tb)
	}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.start()
	s.Address = s.server.Listener.Addr().String()
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		tb.Fatal(err)
	}
	s.Host = net.JoinHostPort(Name, port)
	tb.Cleanup(func() {
		close(s.done)
		s.server.Close()
	})
	return s
}

func (s *Server) start() {
	if s.Plain {
		s.server.Start()
		return
	}
	cert := s.Certificate
	if cert == nil {
		cert = s.CA.Issue(catest.Request{})
	}
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS()}, MinVersion: tls.VersionTLS12}
	if s.Ciphers != nil {
		s.server.TLS.MaxVersion, s.server.TLS.CipherSuites = tls.VersionTLS12, s.Ciphers
	}
	if s.ClientCA != nil {
		s.server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		s.server.TLS.ClientCAs = s.ClientCA.Pool()
	}
	s.server.StartTLS()
}

// Requests gives the requests made so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Lines gives the requests made so far as "METHOD path", with the scheme of
// the authorization behind it if there was one.
func (s *Server) Lines() []string {
	var lines []string
	for _, r := range s.Requests() {
		lines = append(lines, strings.TrimSpace(r.Method+" "+r.Path+" "+r.Auth))
	}
	return lines
}

func (s *Server) note(r *http.Request) {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Auth: scheme,
		UserAgent: r.UserAgent(), Header: r.Header.Clone(),
	})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.note(r)
	if r.URL.Path == "/token" {
		s.token(w, r)
		return
	}
	if r.URL.Path == "/v2/" {
		s.ping(w)
		return
	}
	name, kind, object := Split(r.URL.Path)
	if kind == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	i := slices.IndexFunc(s.Repositories, func(repo Repository) bool { return repo.Name == name })
	switch {
	case i >= 0:
		s.serve(w, r, s.Repositories[i], kind, object)
	case s.Others != nil:
		other := *s.Others
		other.Name = name
		s.serve(w, r, other, kind, object)
	default:
		fail(w, http.StatusNotFound, "NAME_UNKNOWN")
	}
}

// Split takes /v2/<name>/manifests/<tag or digest>, /v2/<name>/blobs/<digest>
// and /v2/<name>/tags/list apart. Other paths have no kind.
func Split(path string) (name, kind, object string) {
	path = strings.TrimPrefix(path, "/v2/")
	for _, kind := range []string{"manifests", "blobs", "tags"} {
		if name, object, ok := strings.Cut(path, "/"+kind+"/"); ok {
			return name, kind, object
		}
	}
	return path, "", ""
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, repo Repository, kind, object string) {
	if repo.Serve != nil {
		repo.Serve(w, r, kind, object)
		return
	}
	isBlob := kind == "blobs"
	if isBlob && repo.BlobAuth != nil {
		repo.Auth = *repo.BlobAuth
	}
	if !s.allowed(w, r, repo) {
		return
	}
	switch {
	case kind == "tags":
		repo.list(w, r)
		return
	case isBlob && repo.Content != nil:
		repo.Content.blob(w, r, object)
		return
	case isBlob:
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	maps.Copy(w.Header(), repo.Header)
	s.behave(w, r, repo, object)
}

func (s *Server) behave(w http.ResponseWriter, r *http.Request, repo Repository, object string) {
	switch repo.Behaviour {
	case Healthy:
		repo.manifest(w, r, object)
	case Reset:
		BreakOff(w)
	case Hang:
		select {
		case <-s.done:
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		BreakOff(w) // returning would answer 200
	case Redirect:
		http.Redirect(w, r, repo.Location, http.StatusTemporaryRedirect)
	case NoHead:
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		repo.manifest(w, r, object)
	}
}

func (repo Repository) manifest(w http.ResponseWriter, r *http.Request, object string) {
	switch {
	case repo.Status != 0:
		repo.fail(w, repo.Status)
	case repo.Content != nil:
		repo.Content.manifest(w, r, object)
	case slices.Contains(repo.Tags, object), object == Digest && len(repo.Tags) > 0:
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		w.Header().Set("Docker-Content-Digest", Digest)
		_, _ = io.WriteString(w, "{}")
	default:
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
	}
}

// BreakOff breaks the connection off with a TCP reset, without an answer.
func BreakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
