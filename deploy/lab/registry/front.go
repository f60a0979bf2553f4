package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

// logged writes one line per request to standard output, in the registries' own format.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		user, _, ok := r.BasicAuth()
		if !ok {
			user = "-"
		}
		_, _ = fmt.Fprintf(os.Stdout, "%s - %s [%s] %q %d 0 %q %q\n", client, user,
			time.Now().Format("02/Jan/2006:15:04:05 -0700"), r.Method+" "+r.URL.RequestURI()+" "+r.Proto,
			recorder.status, r.Referer(), r.UserAgent())
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// Unwrap implements the interface that http.ResponseController needs.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// ServeExpired serves the hub with certificates that have expired or will soon, as
// ExpiredHost, ExpiringHost and EndingHost, until ctx is done.
func ServeExpired(ctx context.Context) error {
	ca, err := os.ReadFile(AuthorityFile)
	if err != nil {
		return fmt.Errorf("registry authority: %w", err)
	}
	target := &url.URL{Scheme: "https", Host: HubHost}
	proxy := &httputil.ReverseProxy{
		Transport: Transport((&net.Dialer{}).DialContext, ca),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}
	return serveTLS(ctx, net.JoinHostPort(expiredAddress, "443"), logged(proxy), "expired", "expiring", "ending")
}

// Dialer connects to a literal address inside the lab.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Transport returns a transport that reaches the registries by name and trusts their
// CA.
func Transport(dial Dialer, authority []byte) *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, Resolve(address))
		},
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}
}
