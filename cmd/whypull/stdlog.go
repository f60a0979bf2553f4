package main

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// maxLogged bounds a line of package log that is kept.
const maxLogged = 1 << 10

// standardLog takes what the standard library writes to package log. net/http
// quotes there what a registry sends unasked (Transport: "Unsolicited response
// received on idle HTTP channel starting with …") and what a client of ours does:
// text of strangers, of which nothing is to get into our output. What it quotes is
// cut off, and the rest is for debugging.
type standardLog struct{ to *slog.Logger }

// takeStandardLog makes package log write to a logger.
func takeStandardLog(to *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(standardLog{to})
}

// Write implements io.Writer.
func (s standardLog) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line[:min(len(line), maxLogged)]), `"`)
	level := slog.LevelDebug
	if strings.HasPrefix(text, "http: panic") {
		level = slog.LevelError // of a handler of ours
	}
	s.to.Log(context.Background(), level, "standard library", "text", strings.TrimSpace(text))
	return len(line), nil
}
