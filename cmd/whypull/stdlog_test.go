package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/whypull/whypull/cri/sockettest"
)

// unasked is what a registry sends behind the answer to a HEAD, which has no
// body.
const unasked = "\x1b[31mUNASKED level=ERROR msg=owned"

// violating is a registry that answers everything with a body, asked for or not,
// and counts the HEAD requests.
func violating(t *testing.T) (address string, heads *atomic.Int32) {
	t.Helper()
	heads = new(atomic.Int32)
	return sockettest.Listen(t, func(conn net.Conn) {
		for in := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(in)
			if err != nil { // of a client that tries TLS first
				_, _ = conn.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\n"))
				return
			}
			if req.Method == http.MethodHead {
				heads.Add(1)
			}
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}%s", unasked)
		}
	}), heads
}

// TestViolatingRegistryChild is the program that TestViolatingRegistry runs.
func TestViolatingRegistryChild(t *testing.T) {
	address := os.Getenv("VIOLATING_REGISTRY")
	if address == "" {
		t.Skip("it is run by another test")
	}
	for range 20 {
		run([]string{"check", address + "/team/app:1.0", "--cri-socket", ""})
	}
}

// Nothing that a registry sends unasked gets into the program's output.
func TestViolatingRegistry(t *testing.T) {
	t.Parallel()
	address, heads := violating(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestViolatingRegistryChild$")
	cmd.Env = append(os.Environ(), "VIOLATING_REGISTRY="+address, "NO_PROXY=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil || heads.Load() == 0 {
		t.Fatalf("%v after %d requests: %s%s", err, heads.Load(), stdout, stderr.String())
	}
	if got := string(stdout) + stderr.String(); strings.Contains(got, "UNASKED") || strings.Contains(got, "Unsolicited") {
		t.Errorf("the registry's own text is in the output: %s", got)
	}
}

func TestStandardLog(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"Unsolicited response received on idle HTTP channel starting with \"\\x1b[31mUNASKED\"; err=<nil>\n": `level=DEBUG msg="standard library" text="Unsolicited response received on idle HTTP channel starting with"`,
		"http: panic serving 10.0.0.1:1: oops\ngoroutine 1\n":                                                `level=ERROR msg="standard library" text="http: panic serving 10.0.0.1:1: oops\ngoroutine 1"`,
		"\x1b[31m\n":               `level=DEBUG msg="standard library" text="\x1b[31m"`,
		strings.Repeat("x", 1<<20): `level=DEBUG msg="standard library" text=` + strings.Repeat("x", maxLogged),
	} {
		var out bytes.Buffer
		log := standardLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		if n, err := log.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("wrote %d of %d, %v", n, len(line), err)
		}
		if _, got, _ := strings.Cut(out.String(), " "); strings.TrimSpace(got) != want {
			t.Errorf("%.60q: got %.200s, want %.200s", line, got, want)
		}
	}
}
