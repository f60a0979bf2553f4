package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	var first atomic.Bool
	s := run(t,
		Component{Name: "second", After: []string{"first"}, Task: func(context.Context) error {
			if !first.Load() {
				return errors.New("too early")
			}
			return nil
		}},
		Component{Name: "first", Task: func(context.Context) error { first.Store(true); return nil }},
	)
	eventually(t, "second is ready", func() bool { return state(s, "second").Ready })
	if restarts := state(s, "second").Restarts; restarts != 0 {
		t.Errorf("second ran before first: %d", restarts)
	}
}

func TestUnknownDependency(t *testing.T) {
	if _, err := New(t.TempDir(), []Component{{Name: "a", After: []string{"b"}}}); err == nil {
		t.Error("no error for a dependency that does not exist")
	}
}

func TestRestartsWhatEnds(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	s := run(t, Component{Name: "a", Argv: shell("test -e " + marker + " && exec sleep 1000; touch " + marker)})
	eventually(t, "it was restarted", func() bool { st := state(s, "a"); return st.Restarts == 1 && st.PID != 0 })
}

func TestTellsLastLinesOfWhatDoesNotComeUp(t *testing.T) {
	s := run(t, Component{Name: "a", Argv: shell("echo the reason >&2; exit 3"), Ready: never})
	eventually(t, "it has failed", func() bool { return state(s, "a").Failed })
	trouble := state(s, "a").Trouble
	if !strings.Contains(trouble, "the reason") || !strings.Contains(trouble, "exit status 3") {
		t.Errorf("trouble: %s", trouble)
	}
}

func TestReadyWhenItsCheckSaysSo(t *testing.T) {
	var ready atomic.Bool
	s := run(t, Component{Name: "a", Argv: shell("exec sleep 1000"), Ready: func(context.Context) error {
		if ready.Load() {
			return nil
		}
		return errors.New("not yet")
	}})
	eventually(t, "its check was made", func() bool { return state(s, "a").Waiting == "not yet" })
	if state(s, "a").Ready {
		t.Error("ready although its readiness check fails")
	}
	ready.Store(true)
	eventually(t, "it is ready", func() bool { st := state(s, "a"); return st.Ready && st.Waiting == "" })
}

func TestStopAndStartThroughTheSocket(t *testing.T) {
	s := run(t, Component{Name: "a", Argv: shell("exec sleep 1000")})
	socket := filepath.Join(t.TempDir(), "s")
	go func() { _ = s.Serve(t.Context(), socket) }()
	eventually(t, "the socket is there", func() bool { _, err := os.Stat(socket); return err == nil })
	client := NewClient(socket)

	eventually(t, "it runs", func() bool { return state(s, "a").Ready })
	first := state(s, "a").PID
	if err := client.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if st := state(s, "a"); st.PID != 0 || !st.Stopped || st.Ready {
		t.Errorf("after stop: %+v", st)
	}
	if err := client.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	states, err := client.States(t.Context())
	if err != nil || !states[0].Ready || states[0].PID == first || states[0].Restarts != 0 {
		t.Errorf("after start: %+v, %v", states, err)
	}
	if err := client.Stop(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("an unknown component: %v", err)
	}
}

func TestAccessLogIsKeptApart(t *testing.T) {
	dir := t.TempDir()
	s, err := New(dir, []Component{{Name: "a", Argv: shell("echo request; echo trouble >&2; exec sleep 1000"), AccessLog: true}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, s)
	eventually(t, "both logs are written", func() bool {
		access, _ := os.ReadFile(filepath.Clean(filepath.Join(dir, "a.access.log")))
		log, _ := os.ReadFile(filepath.Clean(filepath.Join(dir, "a.log")))
		return string(access) == "request\n" && string(log) == "trouble\n"
	})
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); got != "  2\n  3" {
		t.Errorf("got %q", got)
	}
	if got := Tail(path+"-missing", 2); !strings.Contains(got, "missing") {
		t.Errorf("got %q", got)
	}
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func never(context.Context) error { return errors.New("never") }

func run(t *testing.T, components ...Component) *Supervisor {
	t.Helper()
	s, err := New(t.TempDir(), components)
	if err != nil {
		t.Fatal(err)
	}
	start(t, s)
	return s
}

// start runs the supervisor until the test ends.
func start(t *testing.T, s *Supervisor) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func state(s *Supervisor, name string) State {
	for _, st := range s.States() {
		if st.Name == name {
			return st
		}
	}
	return State{}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}
