// Package supervise starts the components of a node in the order of their dependencies,
// restarts those that exit, and reports their states.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	restartDelay = time.Second
	readyPoll    = 50 * time.Millisecond
	// maxEarlyExits is how often a component may exit before it is first ready.
	maxEarlyExits = 3
)

// Component is a program, or a task that runs once.
type Component struct {
	Name string
	// Title is a short description for progress output.
	Title string
	Argv  []string
	Env   []string
	// After names the components that must be ready first.
	After []string
	// Ready returns nil when the component is usable. If Ready is nil, the component is
	// ready once it runs.
	Ready func(ctx context.Context) error
	// Task runs once instead of Argv; when it has finished, the component is ready.
	Task func(ctx context.Context) error
	// AccessLog writes standard output to a separate file, NAME.access.log.
	AccessLog bool
}

// State is the state of a component.
type State struct {
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	Ready    bool      `json:"ready"`
	Stopped  bool      `json:"stopped,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	// ReadyAfter is the time from the start of the supervisor.
	ReadyAfter time.Duration `json:"readyAfter,omitempty"`
	// Trouble is the last output or error of the component before it last exited.
	Trouble string `json:"trouble,omitempty"`
	// Waiting is the last error of the component's readiness check.
	Waiting string `json:"waiting,omitempty"`
	// Failed means that the component does not start.
	Failed bool `json:"failed,omitempty"`
}

// Supervisor runs a set of components.
type Supervisor struct {
	logDir  string
	started time.Time
	members map[string]*member
	order   []string
}

// member is a component at run time.
type member struct {
	Component
	ready chan struct{} // closed when it is ready for the first time

	mu    sync.Mutex
	state State
	want  bool          // false: stopped on request
	wake  chan struct{} // signaled when want changes
}

// New returns a supervisor that writes the components' output to logDir.
func New(logDir string, components []Component) (*Supervisor, error) {
	s := &Supervisor{logDir: logDir, started: time.Now(), members: map[string]*member{}}
	for _, c := range components {
		s.members[c.Name] = &member{
			Component: c,
			ready:     make(chan struct{}),
			state:     State{Name: c.Name, Title: c.Title},
			want:      true,
			wake:      make(chan struct{}, 1),
		}
		s.order = append(s.order, c.Name)
	}
	for _, c := range components {
		for _, other := range c.After {
			if s.members[other] == nil {
				return nil, fmt.Errorf("component %s waits for %s, which does not exist", c.Name, other)
			}
		}
	}
	return s, nil
}

// Run runs all components until ctx is done.
func (s *Supervisor) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range s.members {
		all.Go(func() { s.runMember(ctx, m) })
	}
	all.Wait()
}

func (s *Supervisor) runMember(ctx context.Context, m *member) {
	for _, name := range m.After {
		select {
		case <-s.members[name].ready:
		case <-ctx.Done():
			return
		}
	}
	for early := 0; ctx.Err() == nil; {
		if !m.wanted(ctx) {
			continue
		}
		err := s.once(ctx, m)
		if m.Task != nil && err == nil {
			return
		}
		if !m.everReady() {
			early++
		}
		m.note(err, early >= maxEarlyExits)
		sleep(ctx, restartDelay)
	}
}

// once runs the component or task a single time.
func (s *Supervisor) once(ctx context.Context, m *member) error {
	if m.Task != nil {
		m.update(func(st *State) { st.Started = time.Now() })
		if err := m.Task(ctx); err != nil {
			return err
		}
		s.markReady(m)
		return nil
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, logs, err := s.command(run, m)
	if err != nil {
		return err
	}
	defer closeAll(logs)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", m.Name, err)
	}
	m.update(func(st *State) { st.PID, st.Started = cmd.Process.Pid, time.Now() })
	go s.watch(run, m)
	go m.endWhenUnwanted(run, cmd.Process)
	err = cmd.Wait()
	m.update(func(st *State) { st.PID, st.Ready = 0, false })
	return s.explain(m, err)
}

// explain returns why a component has exited, with its last output.
func (s *Supervisor) explain(m *member, err error) error {
	if !m.isWanted() {
		return nil
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s exited: %w; its last lines:\n%s", m.Name, err, Tail(s.logPath(m.Name, ".log"), 15))
}

func (s *Supervisor) logPath(name, suffix string) string { return filepath.Join(s.logDir, name+suffix) }

func (s *Supervisor) command(ctx context.Context, m *member) (*exec.Cmd, []*os.File, error) {
	log, err := openLog(s.logPath(m.Name, ".log"))
	if err != nil {
		return nil, nil, err
	}
	files := []*os.File{log}
	out := log
	if m.AccessLog {
		if out, err = openLog(s.logPath(m.Name, ".access.log")); err != nil {
			return nil, nil, errors.Join(err, log.Close())
		}
		files = append(files, out)
	}
	cmd := exec.CommandContext(ctx, m.Argv[0], m.Argv[1:]...) // #nosec G204 -- the node's own table
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = m.Env, "/", out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, files, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// watch marks the component ready when its readiness check passes.
func (s *Supervisor) watch(ctx context.Context, m *member) {
	for m.Ready != nil {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := m.Ready(attempt)
		cancel()
		if err == nil {
			break
		}
		m.update(func(st *State) { st.Waiting = err.Error() })
		if !sleep(ctx, readyPoll) {
			return
		}
	}
	if ctx.Err() == nil {
		s.markReady(m)
	}
}

func (s *Supervisor) markReady(m *member) {
	m.update(func(st *State) {
		st.Ready, st.Trouble, st.Waiting, st.Failed = true, "", "", false
		if st.ReadyAfter == 0 {
			st.ReadyAfter = time.Since(s.started)
			close(m.ready)
		}
	})
}

// States returns the states of all components, in the order of New.
func (s *Supervisor) States() []State {
	var states []State
	for _, name := range s.order {
		states = append(states, s.members[name].snapshot())
	}
	return states
}

// Stop stops a component until Start.
func (s *Supervisor) Stop(name string) error { return s.setWanted(name, false) }

// Start starts a stopped component.
func (s *Supervisor) Start(name string) error { return s.setWanted(name, true) }

func (s *Supervisor) setWanted(name string, want bool) error {
	m := s.members[name]
	if m == nil || m.Task != nil {
		return fmt.Errorf("no component named %q", name)
	}
	m.mu.Lock()
	m.want = want
	m.state.Stopped = !want
	if want && m.state.PID == 0 {
		m.state.Ready = false
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return nil
}

func (m *member) isWanted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.want
}

// wanted waits while the component is stopped on request.
func (m *member) wanted(ctx context.Context) bool {
	if m.isWanted() {
		return true
	}
	select {
	case <-m.wake:
	case <-ctx.Done():
	}
	return false
}

func (m *member) endWhenUnwanted(ctx context.Context, p *os.Process) {
	for m.isWanted() {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return
		}
	}
	_ = p.Signal(syscall.SIGTERM)
	if sleep(ctx, 5*time.Second) {
		_ = p.Kill()
	}
}

func (m *member) everReady() bool {
	select {
	case <-m.ready:
		return true
	default:
		return false
	}
}

func (m *member) note(err error, failed bool) {
	m.update(func(st *State) {
		st.Failed = failed
		if err != nil {
			st.Restarts++
			st.Trouble = err.Error()
		}
	})
}

func (m *member) update(change func(*State)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.state)
}

func (m *member) snapshot() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// sleep reports whether d has passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
