package kube

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
)

var (
	// errNoCertificate is returned for a read with the kubelet's certificate if
	// there is none, or the API server does not accept it.
	errNoCertificate = errors.New("no usable client certificate of the kubelet")
	// errNotOneSecret is returned for a request that the kubelet's certificate may
	// not make.
	errNotOneSecret = errors.New("the kubelet's client certificate may only read single secrets")
)

// certificateIdle is how long a connection without a watch stays open.
const certificateIdle = 30 * time.Second

// kubeletTransport sends reads and watches of single secrets with the kubelet's client
// certificate, and refuses everything else: the API server would let the kubelet
// do far more. It does not forward requests, but makes its own from a namespace and
// a name, so nothing else of a request reaches the API server but a read's Accept
// header. A watch accepts only metadata.
//
// Requests go to the address, and trust the authority, that the agent's own account
// uses. The server in the kubelet's kubeconfig is often a load balancer on the
// node's loopback address, and the file cannot send anything elsewhere this way.
// The API server accepts the certificate at every one of its addresses.
//
// It is safe for concurrent use. A nil *kubeletTransport has no certificate.
type kubeletTransport struct {
	server      *url.URL
	cfg         *rest.Config // the API server's address and authority, without credentials
	certificate func() (tls.Certificate, error)
	refused     refusals // by certificate

	mu        sync.Mutex
	leaf      []byte // the certificate of transport
	transport *http.Transport
}

// newKubeletTransport returns a transport to the API server of cfg. certificate
// returns the current certificate; it is called for each request, so that a rotated
// one is used at once.
func newKubeletTransport(cfg *rest.Config, certificate func() (tls.Certificate, error)) (*kubeletTransport, error) {
	server, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	anonymous := rest.AnonymousClientConfig(cfg)
	anonymous.Insecure = false
	return &kubeletTransport{server: server, cfg: anonymous, certificate: certificate, refused: newRefusals(lastRetry, refusalTTL)}, nil
}

// RoundTrip implements http.RoundTripper.
func (k *kubeletTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close() //nolint:errcheck // it is not read
	}
	own, err := k.request(r)
	if err != nil {
		return nil, err
	}
	transport, err := k.current()
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(own)
	if err != nil && r.Context().Err() == nil {
		k.drop(transport) // the authority may have changed
	}
	return response, err
}

// request returns the request to send in place of r.
func (k *kubeletTransport) request(r *http.Request) (*http.Request, error) {
	same := r.URL.Scheme == "https" && k.server.Scheme == "https" && r.URL.Host == k.server.Host && strings.Trim(k.server.Path, "/") == ""
	plain := r.URL.RawPath == "" && !r.URL.ForceQuery && r.URL.Opaque == "" && r.URL.User == nil && r.URL.Fragment == ""
	if !same || !plain || r.Method != http.MethodGet || r.Body != nil && r.Body != http.NoBody {
		return nil, errNotOneSecret
	}
	at := url.URL{Scheme: "https", Host: k.server.Host}
	accept := r.Header.Get("Accept")
	if namespace, name, ok := singleSecret(r.URL.Path); ok && (r.URL.RawQuery == "" || r.URL.RawQuery == fromCache) {
		at.Path, at.RawQuery = "/api/v1/namespaces/"+namespace+"/secrets/"+name, r.URL.RawQuery
	} else if namespace, query, ok := singleSecretWatch(r.URL); ok {
		at.Path, at.RawQuery = "/api/v1/namespaces/"+namespace+"/secrets", query
		accept = secretMetadata
	} else {
		return nil, errNotOneSecret
	}
	own, err := http.NewRequestWithContext(r.Context(), http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	own.Header.Set("Accept", accept)
	own.Header.Set("User-Agent", k.cfg.UserAgent)
	return own, nil
}

// fromCache is the only query of a read.
const fromCache = "resourceVersion=0"

// singleSecretWatch returns the namespace of a watch on one secret, and the query of
// such a watch. u must have exactly the parameters that watchOptions sets.
func singleSecretWatch(u *url.URL) (namespace, query string, ok bool) {
	rest, found := strings.CutPrefix(u.Path, "/api/v1/namespaces/")
	namespace, ending := strings.CutSuffix(rest, "/secrets")
	given, err := url.ParseQuery(u.RawQuery)
	name, byName := strings.CutPrefix(given.Get("fieldSelector"), "metadata.name=")
	seconds, notNumber := strconv.ParseUint(given.Get("timeoutSeconds"), 10, 16)
	query = url.Values{
		"watch": {"true"}, "resourceVersion": {"0"}, "fieldSelector": {"metadata.name=" + name},
		"timeoutSeconds": {strconv.FormatUint(seconds, 10)},
	}.Encode()
	return namespace, query, found && ending && byName && err == nil && notNumber == nil &&
		given.Encode() == query && time.Duration(seconds)*time.Second <= 2*shortestWatch &&
		len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(name)) == 0
}

// singleSecret returns the secret that a path names.
func singleSecret(path string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/api/v1/namespaces/")
	namespace, name, found := strings.Cut(rest, "/secrets/")
	return namespace, name, ok && found &&
		len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(name)) == 0
}

// current returns a transport with the current certificate.
func (k *kubeletTransport) current() (*http.Transport, error) {
	certificate, err := k.load()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	leaf := certificate.Certificate[0]
	if k.transport != nil && bytes.Equal(k.leaf, leaf) {
		return k.transport, nil
	}
	config, err := rest.TLSConfigFor(k.cfg)
	if err != nil {
		return nil, fmt.Errorf("authority of the API server: %w", err)
	}
	config = cmp.Or(config, &tls.Config{})
	config.MinVersion = tls.VersionTLS12
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	if k.transport != nil {
		k.transport.CloseIdleConnections() // they show the old certificate
	}
	k.leaf = leaf
	k.transport = utilnet.SetTransportDefaults(&http.Transport{
		Proxy: k.cfg.Proxy, DialContext: k.cfg.Dial, TLSClientConfig: config, IdleConnTimeout: certificateIdle,
	})
	return k.transport, nil
}

// load returns the current certificate, if the API server has not refused it.
func (k *kubeletTransport) load() (tls.Certificate, error) {
	certificate, err := k.certificate()
	switch {
	case err != nil:
		return certificate, fmt.Errorf("%w: %w", errNoCertificate, err)
	case k.refused.has(string(certificate.Certificate[0])):
		return certificate, fmt.Errorf("%w: the API server does not accept it", errNoCertificate)
	}
	return certificate, nil
}

// check returns why there is no usable certificate; nil if there is one.
func (k *kubeletTransport) check() error {
	if k == nil {
		return errNoCertificate
	}
	_, err := k.load()
	return err
}

func (k *kubeletTransport) drop(transport *http.Transport) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.transport == transport {
		k.transport.CloseIdleConnections()
		k.transport = nil
	}
}

// refuse remembers that the API server has refused the certificate, until it changes
// or for at most ten minutes.
func (k *kubeletTransport) refuse(err error) {
	if errors.Is(err, errNoCertificate) { // nobody was asked
		return
	}
	k.mu.Lock()
	leaf := string(k.leaf)
	k.mu.Unlock()
	k.refused.add(leaf)
}

// notAccepted reports whether a read with the kubelet's certificate failed because
// there is none, or because the API server does not take it for that of a node: then
// another identity may do better.
func notAccepted(err error) bool {
	var alert *net.OpError
	return errors.Is(err, errNoCertificate) || apierrors.IsUnauthorized(err) ||
		apierrors.IsForbidden(err) && !unrelatedToNode(err) ||
		errors.As(err, &alert) && alert.Op == "remote error" // a TLS alert
}
