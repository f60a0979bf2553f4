//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the variable that makes TestEndless run.
const program = "WHYPULL_TEST_PROGRAM"

// TestEndless is a program for TestSecondSignal that does not end by itself; without
// the variable it does nothing. It prints when it has started and when it has been
// signaled.
func TestEndless(t *testing.T) {
	if os.Getenv(program) == "" {
		return
	}
	ctx, stop := untilSignal(context.Background())
	defer stop()
	fmt.Println("started")
	<-ctx.Done()
	fmt.Println("signaled")
	time.Sleep(time.Hour)
}

// The second SIGTERM terminates a process that is still busy after the first.
func TestSecondSignal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestEndless$")
	cmd.Env = append(os.Environ(), program+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"started", "signaled"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q: %v", lines.Text(), want, cmd.Wait())
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	// A signal that arrives while the first is being handled counts as the first.
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM || ctx.Err() != nil {
		t.Errorf("ended with %v", err)
	}
}

// SIGTERM ends a check that is reading manifests from an idle pipe.
func TestSignalWhileReading(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // of a test
	defer r.Close() //nolint:errcheck // of a test
	old := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = old }()
	ended := make(chan int)
	go func() { ended <- run([]string{"check", "-f", "-"}) }()
	if _, err := w.WriteString(strings.Repeat("#\n", 1<<19)); err != nil { // more than a pipe holds, so it is being read
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != usageError {
		t.Errorf("status %d", status)
	}
}
