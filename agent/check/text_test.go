package check

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/nodeconfig"
)

func TestLook(t *testing.T) {
	t.Parallel()
	for env, ascii := range map[string]bool{
		"": true, "LANG=C": true, "LANG=C.UTF-8": false, "LANG=de_DE.utf8": false, "LANG=en_US.ISO-8859-1": true,
		"LC_ALL=C LANG=C.UTF-8": true, "LC_ALL=C.UTF-8 LANG=C": false, "LC_CTYPE=C.UTF-8 LANG=C": false, "LC_ALL= LC_CTYPE=C LANG=C.UTF-8": true,
	} {
		if got := lookOf(&bytes.Buffer{}, environment(env)); got.ascii != ascii || got.colors {
			t.Errorf("%s: %+v", env, got)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // of a test
	if lookOf(file, environment("TERM=xterm")).colors {
		t.Error("colors in a file")
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // of a test
	if lookOf(null, environment("TERM=xterm")).colors {
		t.Error("colors in a device that is no terminal")
	}
}

// A terminal gets colors unless it is dumb or NO_COLOR is set.
func TestLookOfTerminal(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || runtime.GOOS != "linux" { // of others it is no terminal before it is opened from its other end
		t.Skip("there are no terminals here")
	}
	defer terminal.Close() //nolint:errcheck // of a test
	for env, want := range map[string]bool{"TERM=xterm": true, "": true, "NO_COLOR=1": false, "NO_COLOR=": true, "TERM=dumb": false} {
		got := lookOf(terminal, environment(env))
		if got.colors != want || got.terminal != (env != "TERM=dumb") {
			t.Errorf("%s: %+v", env, got)
		}
	}
}

// What is being checked is shown only on a terminal, where it can be erased.
func TestWaiting(t *testing.T) {
	t.Parallel()
	at := target{failure: diagnosis.Failure{Registry: "hub.\x1bexample", Node: "n"}}
	for l, want := range map[look]string{
		{}:               "  ✓ image       the image is on node n\n",
		{terminal: true}: "  … checking hub.example\r\x1b[K  ✓ image       the image is on node n\n",
	} {
		var out strings.Builder
		w := &text{out: &out, look: l}
		w.waiting(at)
		w.waiting(target{})
		w.evidence(at, []diagnosis.Evidence{{Check: diagnosis.CheckImage, Outcome: diagnosis.Passed}})
		if out.String() != want {
			t.Errorf("%+v: %q", l, out.String())
		}
	}
}

// environment returns a lookup function for the variables in text.
func environment(text string) func(string) string {
	return func(name string) string {
		for setting := range strings.FieldsSeq(text) {
			if value, ok := strings.CutPrefix(setting, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for l, want := range map[look]string{
		{}:                          "– ✓ ✗ ?",
		{ascii: true}:               "- + x ?",
		{colors: true}:              "\x1b[2m–\x1b[0m \x1b[32m✓\x1b[0m \x1b[31m✗\x1b[0m \x1b[33m?\x1b[0m",
		{ascii: true, colors: true}: "\x1b[2m-\x1b[0m \x1b[32m+\x1b[0m \x1b[31mx\x1b[0m \x1b[33m?\x1b[0m",
	} {
		if got := strings.Join([]string{l.mark(signNone), l.mark(signGood), l.mark(signBad), l.mark(signOpen)}, " "); got != want {
			t.Errorf("%+v: %q", l, got)
		}
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"a b": "a b", "a\nb\r\tc": "abc", "\x1b[2Ja\x07": "[2Ja", "a\u009bb\u202ec\u200d\u2028": "abc", "\xff\xfe": "", "…é": "…é", "\U000E0041x": "x",
	} {
		if got := (look{}).plain(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	if got := (look{ascii: true}).plain("“a…” – é世"); got != `"a..." - ??` {
		t.Errorf("got %q", got)
	}
}

func TestSigns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		e      diagnosis.Evidence
		policy string
		want   sign
	}{
		{diagnosis.Evidence{Outcome: diagnosis.Passed}, "Always", signGood},
		{diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultForbidden}, "Always", signBad},
		{diagnosis.Evidence{Outcome: diagnosis.Inconclusive}, "Always", signOpen},
		{diagnosis.Evidence{Outcome: diagnosis.NotRun}, "Always", signNone},
		{diagnosis.Evidence{}, "Always", signNone}, // never good news
		{diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials}, "Always", signNone},
		{diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultImageAbsent}, "IfNotPresent", signNone},
		{diagnosis.Evidence{Outcome: diagnosis.Failed, Fault: diagnosis.FaultImageAbsent}, "Never", signBad},
	} {
		if got := signOf(tc.e, tc.policy); got != tc.want {
			t.Errorf("%+v: %d, want %d", tc.e, got, tc.want)
		}
	}
}

// broken is an output that cannot be written to.
type broken struct{}

var errBroken = errors.New("no space left on device")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// A write error is returned, whatever the result of the checks.
func TestOutputBreaks(t *testing.T) {
	t.Parallel()
	for _, output := range Outputs() {
		o := Options{Image: "Not/Valid", Output: output, Registries: nodeconfig.Options{Root: t.TempDir()}, Kubelet: kubelet.Options{Dir: "/k"}, Report: reportOf}
		if _, err := Run(t.Context(), o, nil, broken{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: error %v", output, err)
		}
	}
}
