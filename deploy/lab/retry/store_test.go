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
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/whypull/whypull/cri/catest"
)

const (
	// host is the registry of large images. It uses the box's own address, because
	// runtimes treat localhost specially.
	host = "240.0.0.2:5443"
	// trusted is where the runtimes find the registry's CA.
	trusted = "/etc/ssl/certs/retry.pem"
	// piece is the size of a layer. given is how much of it is sent at once while the
	// registry holds the rest back.
	piece = 8 << 20
	given = 1 << 20

	user, password = "robot", "correct-horse"
	// clerk is another user, who is denied the forbidden layers.
	clerk, clerksPassword = "clerk", "battery-staple"
)

// store is a registry that requires credentials and can hold layers back.
type store struct {
	next http.Handler
	mu   sync.Mutex
	held map[string]chan struct{} // by digest; the layer stops after its first bytes until the channel is closed
	// forbidden holds digests that the clerk is denied. zeros maps the digests of
	// layers that are generated while they are sent to the bytes sent of them.
	forbidden map[string]bool
	zeros     map[string]*atomic.Int64
	asked     map[string]int // requests by repository
	// hanging is the current number of held requests, by repository.
	hanging map[string]int
}

// serve starts the registry. Start the runtimes after it, because they read the trusted
// CAs only once.
func serve() (*store, func(), error) {
	authority, err := catest.NewAuthority(catest.Request{CommonName: "retry"})
	if err != nil {
		return nil, nil, err
	}
	pair, err := authority.Issue(catest.Request{CommonName: "registry", Names: []string{"240.0.0.2"}})
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(trusted), 0o755); err != nil {
		return nil, nil, fmt.Errorf("authority: %w", err)
	}
	if err := os.WriteFile(trusted, authority.PEM(), 0o644); err != nil {
		return nil, nil, fmt.Errorf("authority: %w", err)
	}
	return listen(pair.TLS())
}

func listen(certificate tls.Certificate) (*store, func(), error) {
	l, err := net.Listen("tcp", host)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: %w", err)
	}
	quiet := log.New(io.Discard, "", 0)
	s := &store{next: ggcr.New(ggcr.Logger(quiet)), held: map[string]chan struct{}{}, forbidden: map[string]bool{}, zeros: map[string]*atomic.Int64{}, asked: map[string]int{}, hanging: map[string]int{}}
	server := &http.Server{
		Handler: s, ErrorLog: quiet,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	return s, func() { _ = server.Close() }, nil
}

// ServeHTTP implements http.Handler.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u, p, _ := r.BasicAuth()
	if passwords := map[string]string{user: password, clerk: clerksPassword}; p == "" || passwords[u] != p {
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
		return
	}
	object := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	s.mu.Lock()
	open, held := s.held[object]
	forbidden := s.forbidden[object] && u == clerk
	zeros := s.zeros[object]
	s.asked[repositoryOf(r.URL.Path)]++
	s.mu.Unlock()
	switch {
	case forbidden:
		http.Error(w, `{"errors":[{"code":"DENIED","message":"not for you"}]}`, http.StatusForbidden)
		return
	case zeros != nil:
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(&counted{w, zeros}, r, "", time.Time{}, io.NewSectionReader(sparse{}, 0, sparseSize))
		return
	case held && r.Method == http.MethodGet:
		s.hang(repositoryOf(r.URL.Path), 1)
		defer s.hang(repositoryOf(r.URL.Path), -1)
		w = &slow{ResponseWriter: w, open: open, gone: r.Context().Done()}
	}
	s.next.ServeHTTP(w, r)
}

// repositoryOf returns the repository of a request path.
func repositoryOf(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/")
	return name
}

// slow sends the first bytes, and then nothing until it is released.
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

// hold returns an image of two layers, the second of which is held back until it is
// released.
func (s *store) hold(repository string) (reference string, release func(), err error) {
	return s.holdFrom(repository, 1, 2)
}

// holdFrom returns an image of all layers, of which the first ones are sent and the
// others are held back until they are released.
func (s *store) holdFrom(repository string, first int, all int64) (reference string, release func(), err error) {
	reference = host + "/" + repository + ":1"
	image, err := noise(piece, all)
	if err != nil {
		return "", nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", nil, fmt.Errorf("image: %w", err)
	}
	open := make(chan struct{})
	for _, l := range layers[first:] {
		digest, err := l.Digest()
		if err != nil {
			return "", nil, fmt.Errorf("image: %w", err)
		}
		s.mu.Lock()
		s.held[digest.String()] = open
		s.mu.Unlock()
	}
	return reference, sync.OnceFunc(func() { close(open) }), s.push(reference, image)
}

func (s *store) hang(repository string, more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hanging[repository] += more
}

// heldUp returns the current number of held requests for a repository.
func (s *store) heldUp(repository string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hanging[repository]
}

// noise returns an image for this machine with incompressible layers of size bytes.
func noise(size, layers int64) (v1.Image, error) {
	image, err := random.Image(size, layers)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return image, nil
}

// push stores an image without using the network.
func (s *store) push(reference string, image v1.Image) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	return remote.Write(ref, image, remote.WithTransport(direct{s.next}))
}

// direct is a RoundTripper that calls a handler in this process.
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

// manifest stores an image except for layers that must not be stored.
func (s *store) manifest(reference string, image v1.Image) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	to := remote.WithTransport(direct{s.next})
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	for _, l := range append(layers, config) {
		if _, made := l.(sparseLayer); made {
			continue
		}
		if err := remote.WriteLayer(ref.Context(), l, to); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
	}
	return remote.Put(ref, image, to)
}

// requests returns how many requests there were for a repository.
func (s *store) requests(repository string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[repository]
}
