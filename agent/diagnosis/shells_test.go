package diagnosis

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// canary is the file that hostile names try to create, and lastLine the one that the
// end of each script creates.
const (
	canary   = "canary"
	lastLine = "last-line"
)

// payloads returns names that create the canary when a shell reads any part of them
// as anything but text.
func payloads() []string {
	return []string{
		"$(touch canary)", "`touch canary`", "'$(touch canary)'", `"$(touch canary)"`, `\'$(touch canary)`, "it's$(touch canary)",
		"';touch canary;'", `";touch canary;"`, ";touch canary;", "\ntouch canary\n", "\r\ntouch canary #", "\u2028touch canary\n", "|touch canary|", "&touch canary&", "||touch canary&&touch canary",
		">canary", "<>canary", " >canary ", "<(touch canary)", "=(touch canary)", "${x:=$(touch canary)}", "$((x[$(touch canary)]))", "$[$(touch canary)]",
		"*(e:'touch canary':)", "*(+touch)", "${(e):-\\$(touch canary)}", "{touch,canary}", "!touch canary", "x!'`touch canary`'", "^x^$(touch canary)^", "#\ntouch canary",
		"touch canary", "=touch canary", "~$(touch canary)", "\\\n$(touch canary)", blankStart + "tag" + blankEnd + "$(touch canary)", blankStart + "$(touch canary)" + blankEnd, "<tag>canary",
	}
}

// shells returns the shells that people paste a remedy into, interactive and not. An
// interactive zsh runs a comment as a command whose name is #. An interactive dash is
// missing: after an error it drops the rest of its input buffer, which here, without
// a terminal, is all remaining lines, so nothing would be tested.
func shells() [][]string {
	return [][]string{
		{"bash", "--norc", "-i", "-s"}, {"bash", "-s"}, {"dash", "-s"}, {"zsh", "-f", "-i", "-s"}, {"zsh", "-f", "-s"},
	}
}

// paste feeds lines to a shell, in a new directory and with only touch in PATH, and
// reports whether they created the canary. A shell that gave up midway fails the test.
func paste(t *testing.T, shell, lines []string) bool {
	t.Helper()
	program, err := exec.LookPath(shell[0])
	if err != nil {
		t.Skipf("%s is not installed: what is pasted into it is not tested", shell[0])
	}
	touch, err := exec.LookPath("touch")
	if err != nil {
		t.Skip("touch is not installed")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(touch, filepath.Join(bin, "touch")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, shell[1:]...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin, "HOME=" + dir, "ZDOTDIR=" + dir, "HISTFILE=", "PS1=", "TERM=dumb"}
	script, err := os.OpenFile(filepath.Join(dir, "script"), os.O_CREATE|os.O_RDWR, 0o600) // a shell reads a pipe byte by byte
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close() //nolint:errcheck // a test
	text := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "/etc/", dir+"/etc/")
	if !slices.Contains(shell, "-i") { // it may give up at a line that ends in a blank
		text = strings.ReplaceAll(text, ">\n", "> filled\n")
	}
	if _, err := script.WriteString(idle(shell[0]) + text + "touch " + lastLine + "\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := script.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = script
	_ = cmd.Run() // a blank that is not filled in is an error, on purpose
	if ctx.Err() != nil {
		t.Fatalf("%q waits for more input after\n%s", shell, strings.Join(lines, "\n"))
	}
	if _, err := os.Stat(filepath.Join(dir, lastLine)); err != nil {
		t.Errorf("%q does not run the last line behind\n%s", shell, strings.Join(lines, "\n"))
	}
	_, err = os.Stat(filepath.Join(dir, canary))
	return err == nil
}

// idle returns functions that do nothing, with the names of the commands that remedies
// use, and for zsh of the command that a comment is to it.
func idle(shell string) string {
	var b strings.Builder
	names := programs()
	if shell == "zsh" {
		names = append(names, "'#'")
	}
	for _, name := range names {
		b.WriteString(name + "() { :; }\n")
	}
	return b.String()
}

// TestPastedRemediesAreHarmless: whatever the names are, no part of them runs when a
// remedy is pasted into a shell, even from its comments, which an interactive zsh
// runs.
func TestPastedRemediesAreHarmless(t *testing.T) {
	t.Parallel()
	var pages [][]string // of one payload each
	cases := kindsOfRemedy(t)
	for _, payload := range payloads() {
		lines := []string{Comment("pass secret %s of %s too", payload, payload)}
		for _, s := range cases {
			for _, v := range []Verdict{Diagnose(spoil(s.failure, s.evidence, payload)), harmless(s, payload)} {
				lines = append(lines, v.Remedy...)
			}
		}
		slices.Sort(lines)
		pages = append(pages, slices.Compact(lines))
	}
	for _, shell := range shells() {
		t.Run(strings.Join(shell, " "), func(t *testing.T) {
			t.Parallel()
			pasted := "touch canary"
			if shell[0] == "zsh" && slices.Contains(shell, "-i") {
				pasted = "# $(touch canary)"
			}
			if !paste(t, shell, []string{pasted}) {
				t.Errorf("%q does not create the canary, so this test cannot fail", pasted)
			}
			for _, lines := range pages {
				if paste(t, shell, lines) {
					culprit(t, shell, lines)
				}
			}
		})
	}
}

// culprit reports the lines that create the canary on their own.
func culprit(t *testing.T, shell, lines []string) {
	t.Helper()
	n := 0
	for _, line := range lines {
		if n < 3 && paste(t, shell, []string{line}) {
			n++
			t.Errorf("%s", line)
		}
	}
	if n == 0 {
		t.Errorf("part of a name ran in one of %d lines, the first:\n%s", len(lines), lines[0])
	}
}
