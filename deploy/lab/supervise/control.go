package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Serve answers requests of a Client on a socket until ctx is done.
func (s *Supervisor) Serve(ctx context.Context, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func (s *Supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /states", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(s.States())
	})
	for verb, action := range map[string]func(string) error{"start": s.Start, "stop": s.Stop} {
		mux.HandleFunc("POST /components/{name}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			if err := action(r.PathValue("name")); err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
			}
		})
	}
	return mux
}

// Client talks to a supervisor through its socket.
type Client struct{ http *http.Client }

// NewClient returns a client for the supervisor that serves on socket.
func NewClient(socket string) *Client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	return &Client{http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

// States returns the states of all components.
func (c *Client) States(ctx context.Context) ([]State, error) {
	body, err := c.do(ctx, http.MethodGet, "/states")
	if err != nil {
		return nil, err
	}
	var states []State
	if err := json.Unmarshal(body, &states); err != nil {
		return nil, fmt.Errorf("supervisor's answer: %w", err)
	}
	return states, nil
}

// Stop stops a component until Start, and returns when it has exited.
func (c *Client) Stop(ctx context.Context, name string) error {
	return c.change(ctx, name, "stop", func(s State) bool { return s.PID == 0 })
}

// Start starts a stopped component, and returns when it is ready.
func (c *Client) Start(ctx context.Context, name string) error {
	return c.change(ctx, name, "start", func(s State) bool { return s.Ready && s.PID != 0 })
}

func (c *Client) change(ctx context.Context, name, verb string, done func(State) bool) error {
	if _, err := c.do(ctx, http.MethodPost, "/components/"+name+"/"+verb); err != nil {
		return err
	}
	for {
		states, err := c.States(ctx)
		if err != nil {
			return err
		}
		for _, s := range states {
			if s.Name == name && done(s) {
				return nil
			}
		}
		if !sleep(ctx, readyPoll) {
			return fmt.Errorf("%s of %s: %w", verb, name, ctx.Err())
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("supervisor: %s", bytes.TrimSpace(body))
	}
	return body, nil
}

// Tail returns the last lines of a file, or the error of reading it.
func Tail(path string, lines int) string {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return "  " + string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n  ")))
}
