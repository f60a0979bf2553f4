package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestAgentsTakeTurns(t *testing.T) {
	t.Parallel()
	socket := fmt.Sprintf("@whypull.dev/test/%d", os.Getpid())
	release := awaitTurn(t.Context(), slog.New(slog.DiscardHandler), socket)
	log := &lines{written: make(chan string, 8)}
	began := make(chan func())
	go func() { began <- awaitTurn(t.Context(), slog.New(slog.NewTextHandler(log, nil)), socket) }()
	if got := <-log.written; !strings.Contains(got, "another agent runs on the node") {
		t.Errorf("the second agent logs %q", got)
	}
	select {
	case <-began:
		t.Error("the second agent does not wait")
	default:
	}
	release()
	second := <-began
	third, stop := context.WithCancel(t.Context())
	stop()
	awaitTurn(third, slog.New(slog.DiscardHandler), socket)() // ends although it is not its turn
	second()
}

// lines passes on what is written to it.
type lines struct{ written chan string }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.written <- string(p)
	return len(p), nil
}

func TestAgentGoesOnWithoutTurns(t *testing.T) {
	t.Parallel()
	awaitTurn(t.Context(), slog.New(slog.DiscardHandler), "/no/such/directory/socket")()
}
