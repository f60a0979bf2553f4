package message

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

func scenarios(t *testing.T) []messageScenario {
	t.Helper()
	return readLines[messageScenario](t, filepath.Join("testdata", "causes.jsonl"))
}

// Whatever people call their registries and images, the cause stays.
func TestReadHostileNames(t *testing.T) {
	for _, name := range []string{
		"denied.test/unauthorized/forbidden", "no-such-host.test/x509/certificate", "timeout.test:5000/toomanyrequests/proxyconnect",
		"not-found.test/no-space-left-on-device/401", "lookup.test/connection-refused/manifest-unknown", "short-name.test/429/403-forbidden",
	} {
		host, _, _ := strings.Cut(name, "/")
		renamed := strings.NewReplacer("registry.corp.test/shop/cart", name, "registry.corp.test", host, "shop/cart", strings.TrimPrefix(name, host+"/"))
		for _, s := range scenarios(t) {
			message := renamed.Replace(s.Message)
			if got := Read(s.Reason, message).Cause; got != s.Cause {
				t.Errorf("%s, want %s: %s", got, s.Cause, message)
			}
		}
	}
}

// Terminals and mail break lines anywhere, and put blanks into names and words.
// What is lost by that is little, and hardly ever replaced by another cause.
func TestReadWrapped(t *testing.T) {
	n, lost, wrong := 0, 0, 0
	for _, width := range []int{47, 61, 80, 119} {
		for _, s := range scenarios(t) {
			n++
			message := wrap(s.Message, width)
			switch got := Read(s.Reason, message).Cause; got {
			case s.Cause:
			case diagnosis.Unknown:
				lost++
			default:
				wrong++
				t.Logf("%s, want %s: %q", got, s.Cause, message)
			}
		}
	}
	t.Logf("of %d texts %d say nothing any more, %d something else", n, lost, wrong)
	if 100*(lost+wrong) > 2*n || 200*wrong > n {
		t.Error("too many")
	}
}

func TestRejoin(t *testing.T) {
	for in, want := range map[string]string{
		"no suc\nh host":                     "no such host",
		"no suc\r\n\t  h host\n":             "no such host",
		"signed by unkn     own authority":   "signed by unknown authority",
		"failed to resolve:\n  no such host": "failed to resolve: no such host",
		"[a: x,\nb: y]":                      "[a: x, b: y]",
	} {
		if got, broken := rejoin(in); got != want || !broken {
			t.Errorf("%q: %q, %v, want %q", in, got, broken, want)
		}
	}
	for _, in := range []string{"", "no such host", "no  such host", "no such host\n"} {
		if got, broken := rejoin(in); broken {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func wrap(s string, width int) string {
	runes := []rune(s)
	var b strings.Builder
	for i := 0; i < len(runes); i += width {
		if i > 0 {
			b.WriteString("\n      ")
		}
		b.WriteString(string(runes[i:min(len(runes), i+width)]))
	}
	return b.String()
}

// What the kubelet, a client or a log puts before an error does not change it.
func TestReadPrefixes(t *testing.T) {
	for _, prefix := range []string{
		`Failed to pull image "a/b:c": `, `Back-off pulling image "a/b:c": ErrImagePull: `, "ErrImagePull: ", "rpc error: code = Unknown desc = ",
		"Warning  Failed  3m (x4 over 5m)  kubelet  ", `E0101 03:04:05.678901    4234 kuberuntime_image.go:53] Failed to pull image: `,
		`Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image "a/pause:3.9": failed to pull image "a/pause:3.9": `,
	} {
		for _, s := range scenarios(t) {
			if s.Cause == diagnosis.Unknown || s.Reason != "" {
				continue
			}
			if got := Read("", prefix+s.Message).Cause; got != s.Cause {
				t.Errorf("%s, want %s: %s", got, s.Cause, prefix+s.Message)
			}
		}
	}
}

// Nor does the log that an error is quoted in: JSON without blanks, logfmt, and
// klog, whose header has runs of blanks and which quotes what is quoted.
func TestReadInLogs(t *testing.T) {
	for name, line := range map[string]func(string) string{
		"json": func(m string) string {
			return `{"image":"a/b:c","error":` + quoted(m) + `,"path":"/v2/a/b","attempt":1}`
		},
		"logfmt": func(m string) string { return `level=error msg="PullImage \"a/b:c\" failed" error=` + quoted(m) },
		"klog": func(m string) string {
			err := `failed to "StartContainer" for "app" with ErrImagePull: ` + quoted(m)
			return `E0101 03:04:05.678901    4234 pod_workers.go:1301] "Error syncing pod, skipping" err=` + quoted(err) + ` pod="a/b"`
		},
	} {
		n, lost, wrong := 0, 0, 0
		for _, s := range scenarios(t) {
			if s.Cause == diagnosis.Unknown || s.Reason != "" {
				continue
			}
			n++
			switch got := Read("", line(s.Message)).Cause; got {
			case s.Cause:
			case diagnosis.Unknown:
				lost++
			default:
				wrong++
				t.Logf("%s: %s, want %s: %s", name, got, s.Cause, line(s.Message))
			}
		}
		t.Logf("%s: of %d texts %d say nothing any more, %d something else", name, n, lost, wrong)
		if 100*(lost+wrong) > n {
			t.Error("too many")
		}
	}
}

func encoded(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(b), `"`)
}

// What logs make of a text does not change what it says.
func TestReadForms(t *testing.T) {
	forms := map[string]func(string) string{
		"JSON":         func(s string) string { return encoded(t, s) },
		"JSON in JSON": func(s string) string { return encoded(t, encoded(t, s)) },
		"lower case":   strings.ToLower,
		"lines":        func(s string) string { return strings.ReplaceAll(s, ": ", ":\r\n") },
		"event count":  func(s string) string { return s + " (x5 over 3m)" },
		"kubelet's log": func(s string) string {
			return `E0102 03:04:05.123456    1234 log.go:32] "PullImage from image service failed" err="` + encoded(t, s) + `" image="r.test/x:1"`
		},
		"pod worker's log": func(s string) string {
			return `"Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with ErrImagePull: \"` + encoded(t, encoded(t, s)) + `\"" pod="shop/cart"`
		},
		"nerdctl's log": func(s string) string {
			return `time="2026-01-02T03:04:05Z" level=fatal msg="` + encoded(t, s) + `"`
		},
	}
	all := scenarios(t)
	for name, form := range forms {
		wrong := 0
		for _, s := range all {
			if s.Reason != "" || s.Cause == diagnosis.Unknown {
				continue
			}
			if got := Read("", form(s.Message)).Cause; got != s.Cause {
				wrong++
				t.Logf("%s: %s, want %s: %s", name, got, s.Cause, form(s.Message))
			}
		}
		if 200*wrong > len(all) {
			t.Errorf("%s: %d of %d read differently", name, wrong, len(all))
		}
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string is always encoded
	return string(b)
}
