package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/whypull/whypull/cri/catest"
	labnode "github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// apiFaults are the faults of the agent's way to the API server.
func apiFaults() []fault {
	const while = 45 * time.Second
	return []fault{
		apiFault("the API server answers the agent 429", while, answered(http.StatusTooManyRequests, "1")),
		apiFault("the API server answers the agent 503", while, answered(http.StatusServiceUnavailable, "")),
		apiFault("the API server takes three seconds for each of the agent's requests", while, slowly(3*time.Second)),
		apiFault("the API server breaks off the agent's requests", while, brokenOff(2*time.Second)),
		{name: "the agent's watch is too old", strike: watchTooOld},
	}
}

// middleware disturbs what it passes on.
type middleware func(next http.Handler) http.Handler

func answered(status int, retryAfter string) middleware {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			w.WriteHeader(status)
		})
	}
}

func slowly(d time.Duration) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if pause(r.Context(), d) == nil {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// brokenOff carries out each request, and cuts its answer off after a while, or at once
// if it is no watch.
func brokenOff(d time.Duration) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), d)
			defer cancel()
			if r.URL.Query().Get("watch") == "" {
				w = &nowhere{header: http.Header{}}
			}
			next.ServeHTTP(w, r.WithContext(ctx))
			panic(http.ErrAbortHandler)
		})
	}
}

// nowhere is an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }

// apiProxy is between the agent and the API server.
type apiProxy struct {
	server *http.Server
	active atomic.Pointer[http.Handler]
}

// apiFault leads the agent's requests through a proxy, which disturbs them for a while,
// until whypull is right again.
func apiFault(name string, while time.Duration, disturb middleware) fault {
	var proxy *apiProxy
	return fault{
		name: name,
		strike: func(ctx context.Context) error {
			var err error
			var forward http.Handler
			if proxy, forward, err = startProxy(ctx); err != nil {
				return err
			}
			if err := agentThrough(ctx, "KUBERNETES_SERVICE_HOST="+registry.ClosedAddress, "KUBERNETES_SERVICE_PORT="+proxyPort); err != nil {
				return err
			}
			disturbed := disturb(forward)
			proxy.active.Store(&disturbed)
			err = pause(ctx, while)
			proxy.active.Store(&forward)
			return err
		},
		after: func(ctx context.Context) error {
			return errors.Join(agentThrough(ctx, "KUBERNETES_SERVICE_HOST-", "KUBERNETES_SERVICE_PORT-"), proxy.server.Close())
		},
	}
}

// agentThrough sets variables of the agent's environment, and waits for the new agent.
func agentThrough(ctx context.Context, variables ...string) error {
	if _, err := node.lab.Kubectl(ctx, nil, append([]string{"-n", "whypull", "set", "env", "daemonset/whypull-agent"}, variables...)...); err != nil {
		return err
	}
	_, err := node.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m")
	return err
}

const proxyPort = "6444"

// startProxy starts a proxy that passes everything on. It also returns the handler that
// does so.
func startProxy(ctx context.Context) (*apiProxy, http.Handler, error) {
	authorities, err := labnode.OpenAuthorities(filepath.Join(node.lab.Dir(), "pki"))
	if err != nil {
		return nil, nil, err
	}
	pair, err := authorities.Cluster.Issue(catest.Request{CommonName: "kube-apiserver", Names: []string{registry.ClosedAddress}})
	if err != nil {
		return nil, nil, err
	}
	certificate, err := tls.X509KeyPair(pair.PEM(), pair.KeyPEM())
	if err != nil {
		return nil, nil, err
	}
	listener, err := node.lab.Listen(ctx, "tcp", net.JoinHostPort(registry.ClosedAddress, proxyPort))
	if err != nil {
		return nil, nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	var forward http.Handler = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: labnode.APIAddress}) },
		Transport:     registry.Transport(node.lab.Dial, authorities.Cluster.PEM()),
		FlushInterval: -1, ErrorLog: quiet,
	}
	p := &apiProxy{}
	p.active.Store(&forward)
	p.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.active.Load()).ServeHTTP(w, r) }),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: time.Minute, ErrorLog: quiet,
	}
	go func() { _ = p.server.ServeTLS(listener, "", "") }()
	return p, forward, nil
}

// watchTooOld freezes the agent while pods change, and restarts the API server, which
// then knows nothing of before, with a compacted etcd.
func watchTooOld(ctx context.Context) error {
	if err := signalAll(ctx, "whypull", "STOP"); err != nil {
		return err
	}
	err := pause(ctx, 10*time.Second)
	if err == nil {
		err = node.lab.StopComponent(ctx, labnode.APIServer)
	}
	if err == nil {
		err = errors.Join(compact(ctx), node.lab.StartComponent(ctx, labnode.APIServer))
	}
	if err == nil {
		err = pause(ctx, 5*time.Second) // pods change
	}
	return errors.Join(err, signalAll(context.WithoutCancel(ctx), "whypull", "CONT"))
}

// compact discards the history of etcd.
func compact(ctx context.Context) error {
	var answer struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	if err := askEtcd(ctx, "/v3/kv/range", `{"key":"AA=="}`, &answer); err != nil {
		return err
	}
	return askEtcd(ctx, "/v3/kv/compaction", `{"physical":true,"revision":"`+answer.Header.Revision+`"}`, &answer)
}

func askEtcd(ctx context.Context, path, question string, answer any) error {
	client := &http.Client{Transport: &http.Transport{DialContext: node.lab.Dial, DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:2379"+path, strings.NewReader(question))
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("etcd: %s: %s", resp.Status, bytes.TrimSpace(body)))
	}
	return json.Unmarshal(body, answer)
}
