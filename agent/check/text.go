package check

import (
	"cmp"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/containerd/platforms"
	"golang.org/x/term"

	"github.com/whypull/whypull/agent/diagnosis"
)

// look is the style of the text output.
type look struct {
	terminal bool
	colors   bool // only on a terminal
	ascii    bool // the locale is not UTF-8
}

// lookOf returns the look for an output: colors on a terminal unless NO_COLOR is
// set (consoles of Windows take escape sequences only if asked to), and characters beyond ASCII if the locale is UTF-8 (POSIX: LC_ALL, else
// LC_CTYPE, else LANG).
func lookOf(out io.Writer, getenv func(string) string) look {
	locale := strings.ToUpper(cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")))
	f, isFile := out.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd())) && getenv("TERM") != "dumb" && goruntime.GOOS != "windows"
	return look{
		terminal: terminal, colors: terminal && getenv("NO_COLOR") == "",
		ascii: !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8"),
	}
}

// sign is the mark at the beginning of a line.
type sign int

const (
	signNone sign = iota // not run or irrelevant
	signGood
	signBad
	signOpen // inconclusive
)

func (l look) mark(s sign) string {
	marks, colors := []string{"–", "✓", "✗", "?"}, []string{"2", "32", "31", "33"}
	if l.ascii {
		marks = []string{"-", "+", "x", "?"}
	}
	if !l.colors {
		return marks[s]
	}
	return "\x1b[" + colors[s] + "m" + marks[s] + "\x1b[0m"
}

// plain returns a text from a file or a registry as one line that is safe to show
// on a terminal: without characters that move the cursor, break the line or change
// the direction of text.
func (l look) plain(s string) string {
	if s = diagnosis.Printable(s); !l.ascii {
		return s
	}
	s = strings.NewReplacer("…", "...", "–", "-", "“", `"`, "”", `"`).Replace(s) // whypull's own
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, s)
}

// text writes the text output.
type text struct {
	out  io.Writer
	look look
	err  error // the first write error
}

func (t *text) line(format string, args ...any) {
	for i := range args {
		if s, ok := args[i].(string); ok {
			args[i] = t.look.plain(s)
		}
	}
	if _, err := fmt.Fprintf(t.out, format+"\n", args...); err != nil && t.err == nil {
		t.err = err
	}
}

// waiting shows on a terminal what is being checked, until evidence arrives.
func (t *text) waiting(at target) {
	if t.look.terminal && at.failure.Registry != "" {
		_, _ = fmt.Fprint(t.out, t.look.plain(fmt.Sprintf("  … checking %s", at.failure.Registry)))
	}
}

func (t *text) marked(indent string, s sign, format string, args ...any) {
	t.line(indent+t.look.mark(s)+" "+format, args...)
}

func (t *text) begin(c *checker) {
	t.line("on %s, platform %s; %s", c.name, platforms.Format(c.platform), c.runtimeSays)
	for _, n := range append(c.notes, c.objects.notes...) {
		t.line("note: %s", n)
	}
}

func (t *text) target(at target) {
	t.line("")
	p := at.pod
	if p == nil {
		t.line("%s", at.failure.Image)
		return
	}
	t.line("%s %s/%s, %s %s (%s)", p.kind, p.namespace, p.name, at.failure.Kind.Words(), at.failure.Container, p.at)
	t.line("%s, pull policy %s", at.failure.Image, at.failure.PullPolicy)
}

func (t *text) evidence(at target, all []diagnosis.Evidence) {
	if t.look.terminal { // what waiting has shown
		_, _ = fmt.Fprint(t.out, "\r\x1b[K")
	}
	for _, e := range all {
		t.marked("  ", signOf(e, at.failure.PullPolicy), "%-12s%s", string(e.Check), diagnosis.Detail(at.failure, &e))
	}
}

// signOf returns the sign for a piece of evidence. An image that is not present
// yet and a missing pull secret alone are no failures.
func signOf(e diagnosis.Evidence, policy string) sign {
	switch {
	case e.Fault == diagnosis.FaultNoCredentials, e.Fault == diagnosis.FaultImageAbsent && policy != "Never":
		return signNone
	case e.Outcome == diagnosis.Passed:
		return signGood
	case e.Outcome == diagnosis.Failed:
		return signBad
	case e.Outcome == diagnosis.Inconclusive:
		return signOpen
	}
	return signNone
}

func (t *text) result(r result) {
	v := r.verdict
	switch {
	case r.pullable:
		t.marked("", signGood, "%s", v.Summary)
	case v.Cause == diagnosis.Unknown:
		t.marked("", signOpen, "%s: %s", string(v.Cause), v.Summary)
	default:
		t.marked("", signBad, "%s (%s): %s", string(v.Cause), string(v.Confidence), v.Summary)
	}
	for _, l := range v.Remedy {
		t.line("    %s", l)
	}
	known := ""
	if !r.pullable {
		known = ", as far as known"
	}
	if len(v.Hosts) > 0 {
		t.line("  hosts that the pull needs%s: %s", known, strings.Join(v.Hosts, ", "))
	}
}

func (t *text) end(all []result) error {
	if n := len(good(all)); len(all) > 1 {
		t.line("")
		t.line("%d of %d images can be pulled", n, len(all))
	} else if len(all) == 0 {
		t.line("no images in the manifests")
	}
	return t.err
}

// good returns the results that can be pulled.
func good(all []result) []result {
	return slices.DeleteFunc(slices.Clone(all), func(r result) bool { return !r.pullable })
}
