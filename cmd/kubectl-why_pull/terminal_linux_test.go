package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
)

// pseudoTerminal is a pseudo-terminal of 60 columns and 12 lines, with what was
// written to it.
func pseudoTerminal(t *testing.T) (*os.File, *output) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals: %v", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 60}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals: %v", err)
	}
	seen := &output{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = seen.Write(buf[:n]) // never fails
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = slave.Close() // the reader then ends
		<-read
		_ = master.Close() // of a test
	})
	return slave, seen
}

func TestColors(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"a terminal":      {map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		"NO_COLOR":        {map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		"a dumb terminal": {map[string]string{"TERM": "dumb", "NO_COLOR": ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			s := apitest.New(t, broken("shop", "web-"+strings.Repeat("x", 100), diagnosis.DiskFull))
			tty, seen := pseudoTerminal(t)
			var errs output
			if status := run([]string{"--kubeconfig", s.Kubeconfig(t)}, tty, &errs); status != somethingFails {
				t.Errorf("status %d, %s", status, errs.String())
			}
			eventually(t, "the last line", func() bool { return strings.Contains(seen.String(), "shop POD") })
			got := seen.String()
			if strings.Contains(got, "\x1b[") != tc.want || !strings.Contains(got, "…") {
				t.Errorf("%q", got)
			}
			for line := range strings.SplitSeq(got, "\r\n") {
				if strings.Contains(line, "…") && len([]rune(line)) > 60 {
					t.Errorf("too wide: %q", line)
				}
			}
		})
	}
}

// On a terminal --watch shows the whole state again, as much as fits.
func TestWatchOnTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull))
	tty, seen := pseudoTerminal(t)
	status := make(chan int, 1)
	args := []string{"-w", "--kubeconfig", s.Kubeconfig(t)}
	go func() { status <- run(args, tty, os.Stderr) }()
	eventually(t, "the first screen", func() bool { return strings.Contains(seen.String(), "DiskFull") })
	for _, c := range []diagnosis.Cause{diagnosis.TagNotFound, diagnosis.AccessDenied} {
		s.Put(broken("shop", "p-"+strings.ToLower(string(c)), c))
	}
	eventually(t, "the second screen", func() bool { return strings.Contains(seen.String(), "lines more") })
	screens := strings.Split(seen.String(), clearScreen)
	if screens[0] != "" || len(screens) < 3 {
		t.Errorf("screens %q", screens)
	}
	if last := screens[len(screens)-1]; strings.Count(last, "\n") > 12 {
		t.Errorf("%d lines: %q", strings.Count(last, "\n"), last)
	}
	w := &watching{status: status}
	if got := w.interrupt(t); got != somethingFails {
		t.Errorf("status %d", got)
	}
}
