package retry

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/whypull/whypull/deploy/lab/pki"
)

const (
	// host is the registry of large images: the box's own address, since
	// runtimes treat localhost as nobody else.
	host = "240.0.0.2:5443"
	// trusted is where the runtimes find the registry's authority.
	trusted = "/etc/ssl/certs/retry.pem"
	// piece is the size of a layer, and given what comes of it at once while
	// the registry is held up.
	piece = 8 << 20
	given = 1 << 20

	user, password = "robot", "correct-horse"
)

// store is a registry that gives its layers out as slowly as it is told to, and
// wants a login.
type store struct {
	next http.Handler
	mu   sync.Mutex
	held map[string]chan struct{} // by the digest of a layer that stops after the first bytes, until it is closed
}

// serve starts the registry. The runtimes have to be started after it: they
// read the authorities that they trust once.
func serve() (*store, func(), error) {
	authority, err := pki.NewAuthority("retry")
	if err != nil {
		return nil, nil, err
	}
	pair, err := authority.Issue(pki.Request{CommonName: "registry", Names: []string{"240.0.0.2"}})
	if err != nil {
		return nil, nil, err
	}
	key, err := pair.KeyPEM()
	if err != nil {
		return nil, nil, err
	}
	certificate, err := tls.X509KeyPair(pair.CertificatePEM(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(trusted), 0o755); err != nil {
		return nil, nil, fmt.Errorf("authority: %w", err)
	}
	if err := os.WriteFile(trusted, authority.CertificatePEM(), 0o644); err != nil {
		return nil, nil, fmt.Errorf("authority: %w", err)
	}
	return listen(certificate)
}

func listen(certificate tls.Certificate) (*store, func(), error) {
	l, err := net.Listen("tcp", host)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: %w", err)
	}
	quiet := log.New(io.Discard, "", 0)
	s := &store{next: ggcr.New(ggcr.Logger(quiet)), held: map[string]chan struct{}{}}
	server := &http.Server{
		Handler: s, ErrorLog: quiet,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	return s, func() { _ = server.Close() }, nil
}

// ServeHTTP implements http.Handler.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if u, p, _ := r.BasicAuth(); u != user || p != password {
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	open, held := s.held[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	s.mu.Unlock()
	if held && r.Method == http.MethodGet {
		w = &slow{ResponseWriter: w, open: open, gone: r.Context().Done()}
	}
	s.next.ServeHTTP(w, r)
}

// slow gives out the first bytes, and then nothing until it is opened.
type slow struct {
	http.ResponseWriter
	open, gone <-chan struct{}
	written    int
}

// Write implements io.Writer.
func (s *slow) Write(data []byte) (n int, err error) {
	for n < len(data) && err == nil {
		if s.written >= given {
			_ = http.NewResponseController(s.ResponseWriter).Flush()
			select {
			case <-s.open:
			case <-s.gone:
				return n, io.ErrClosedPipe
			}
		}
		var some int
		some, err = s.ResponseWriter.Write(data[n:min(n+given, len(data))])
		n += some
		s.written += some
	}
	return n, err
}

// hold makes an image of two layers, of which the second is held up until it is
// released.
func (s *store) hold(repository string) (reference string, release func(), err error) {
	reference = host + "/" + repository + ":1"
	image, err := random.Image(piece, 2)
	if err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	digest, err := layers[1].Digest()
	if err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	s.mu.Lock()
	open := make(chan struct{})
	s.held[digest.String()] = open
	s.mu.Unlock()
	return reference, sync.OnceFunc(func() { close(open) }), s.push(reference, image)
}

// push stores an image without the way over the network.
func (s *store) push(reference string, image v1.Image) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	return remote.Write(ref, image, remote.WithTransport(direct{s.next}))
}

// direct has a handler in this process answer requests.
type direct struct{ to http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	d.to.ServeHTTP(answer, r)
	response := answer.Result()
	response.Request = r
	return response, nil
}
