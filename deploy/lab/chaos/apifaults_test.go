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
	while := func(ctx context.Context) error { return pause(ctx, 45*time.Second) }
	return []fault{
		apiFault("the API server answers the agent 429", answered(http.StatusTooManyRequests, "1"), while),
		apiFault("the API server answers the agent 503", answered(http.StatusServiceUnavailable, ""), while),
		apiFault("the API server takes three seconds for each of the agent's requests", slowly(3*time.Second), while),
		apiFault("the API server breaks off the agent's requests", brokenOff(2*time.Second), while),
		killedAtEvents(),
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

// apiFault leads the agent's requests through a proxy until whypull is right again, and
// disturbs them until meanwhile returns.
func apiFault(name string, disturb middleware, meanwhile func(context.Context) error) fault {
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
			err = meanwhile(ctx)
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

// killedAtEvents kills the agent when it has changed a pod's annotations, or is about to
// remove them, and creates the Event that belongs to that: before the API server gets the
// Event, and after, when the agent has not heard of it yet. Each Event is there once.
func killedAtEvents() fault {
	const ns = "between"
	next, handled := make(chan bool), make(chan struct{}) // whether to carry out the next Event
	disturb := func(forward http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/namespaces/"+ns+"/events") {
				select {
				case carryOut := <-next:
					if carryOut {
						forward.ServeHTTP(&nowhere{header: http.Header{}}, r)
					}
					handled <- struct{}{}
					<-r.Context().Done()
					return
				default:
				}
			}
			forward.ServeHTTP(w, r)
		})
	}
	want := map[string]string{}
	killed := func(ctx context.Context, carryOut bool) error {
		late, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		select {
		case next <- carryOut:
			<-handled
			return errors.Join(causes(ns, want)(ctx), killAgent(ctx))
		case <-late.Done():
			return errors.Join(errors.New("no Event"), late.Err())
		}
	}
	return apiFault("the agent is killed between annotation and Event", disturb, func(ctx context.Context) error {
		return inNamespace(ctx, ns, func(ctx context.Context) error {
			for _, carryOut := range []bool{false, true} {
				name := fmt.Sprintf("carried-out-%t", carryOut)
				want[name] = "RepositoryNotFound"
				pod, err := newPod(ctx, ns, name, noRepository)
				if err == nil {
					err = killed(ctx, carryOut)
				}
				if err == nil {
					err = until(ctx, name+": the failure", all(causes(ns, want), events(pod, "RepositoryNotFound")))
				}
				if err == nil {
					err = errors.Join(setImage(ctx, ns, name, registry.PlainApp), killed(ctx, carryOut))
				}
				if err != nil {
					return err
				}
				want[name] = ""
				if err := until(ctx, name+": the recovery", all(causes(ns, want), events(pod, "RepositoryNotFound", "ImagePullRecovered"))); err != nil {
					return err
				}
			}
			return nil
		})
	})
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
