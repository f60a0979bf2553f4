package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// announced is the kubelet's next attempt as a summary announced it.
type announced struct {
	written time.Time // when the report was written
	next    time.Time // zero if none was announced
	until   time.Time
	summary string
}

// attempts is how often the kubelet tries: after back-offs of 10, 20, 40 and 80
// seconds.
const attempts = 5

// TestNextAttempt compares the announced times of the kubelet's next attempt with the
// times at which the registry saw a request. A registry that fails the kubelet but not
// whypull's own pull keeps the verdict at "the cause is gone", until a test that runs
// in parallel changes the node's files and whypull pulls once more. How close the times
// are depends on the machine, so they are only logged; each announced time must be new
// and later. There are two pods, because the kubelet's second attempt may come before
// whypull's pull, which then fails.
func TestNextAttempt(t *testing.T) {
	t.Parallel()
	all := map[string]string{} // namespace to image
	summaries := map[string]func() []announced{}
	for i := range 2 {
		name := fmt.Sprintf("attempts-%d", i)
		all[name] = pushFickle(t, name, 1<<20, registry.FickleRefuse, registry.FicklePass, registry.FickleRefuse)
		s := demo.Scenario{Name: name, Manifests: []string{demo.Pod("app", all[name], "", "")}}
		if err := s.Break(t.Context(), shared.lab); err != nil {
			t.Fatal(err)
		}
		summaries[name] = recordSummaries(t, name)
	}
	shown := 0
	for name, image := range all {
		shared.eventually(t.Context(), t, func() (string, bool) {
			n := len(asked(t, image))
			p, err := shared.client.CoreV1().Pods(name).Get(t.Context(), "app", metav1.GetOptions{})
			// One attempt is whypull's. If the kubelet was faster, it got the image.
			return fmt.Sprintf("the kubelet's attempts on %s, %d so far", image, n), n > attempts || err == nil && p.Status.Phase == corev1.PodRunning
		})
		shown += compare(t, name, asked(t, image), summaries[name]())
		if _, err := shared.lab.Kubectl(t.Context(), nil, "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	}
	if shown == 0 {
		t.Log("no time was given for any attempt: whypull's own pulls came too late")
	}
}

// compare logs how far the announced times are from the attempts, and returns how many
// were announced.
func compare(t *testing.T, name string, pulls []time.Time, summaries []announced) int {
	t.Helper()
	t.Logf("%s: pulls at %s", name, clockTimes(pulls))
	shown := 0
	var last time.Time
	for _, a := range summaries {
		t.Logf("%s: written at %s: %s", name, a.written.Format(time.TimeOnly), a.summary)
		if a.next.IsZero() {
			if strings.Contains(a.summary, "tries again") {
				t.Errorf("%s: no time that can be read", name)
			}
			continue
		}
		shown++
		if !a.next.After(last) {
			t.Errorf("%s: %s is given, and was %s before", name, a.next.Format(time.TimeOnly), last.Format(time.TimeOnly))
		}
		last = a.next
		for _, p := range pulls {
			if p.After(a.written) {
				t.Logf("%s: given %s to %s, asked at %s: %+.0f s", name, a.next.Format(time.TimeOnly), a.until.Format(time.TimeOnly), p.Format(time.TimeOnly), p.Sub(a.next).Seconds())
				break
			}
		}
	}
	return shown
}

func clockTimes(all []time.Time) string {
	var out []string
	for _, at := range all {
		out = append(out, at.Format(time.TimeOnly))
	}
	return strings.Join(out, " ")
}

// recordSummaries records the announcements in a pod's summaries until the returned
// function is called.
func recordSummaries(t *testing.T, namespace string) func() []announced {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := shared.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []announced, 1)
	go func() { done <- heard(w) }()
	return func() []announced {
		cancel()
		return <-done
	}
}

func heard(w watch.Interface) []announced {
	var out []announced
	nextTry := regexp.MustCompile(`tries again between about (\d\d:\d\d:\d\d) and (\d\d:\d\d:\d\d) UTC$`)
	for event := range w.ResultChan() {
		p, ok := event.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		a := announced{summary: p.Annotations["whypull.dev/summary"]}
		if a.summary == "" || len(out) > 0 && out[len(out)-1].summary == a.summary {
			continue
		}
		var report podReport
		_ = json.Unmarshal([]byte(p.Annotations["whypull.dev/report"]), &report)
		a.written, _ = time.Parse(time.RFC3339, report.ObservedAt)
		if m := nextTry.FindStringSubmatch(a.summary); m != nil {
			a.next, a.until = after(a.written, m[1]), after(a.written, m[2])
		}
		out = append(out, a)
	}
	return out
}

// after returns the first time after at whose clock time is clock.
func after(at time.Time, clock string) time.Time {
	next, err := time.Parse(time.DateTime, at.UTC().Format(time.DateOnly)+" "+clock)
	if err != nil {
		return time.Time{}
	}
	if next.Before(at.Add(-12 * time.Hour)) {
		next = next.AddDate(0, 0, 1)
	}
	return next
}

// asked returns the times, to the second, at which containerd requested an image of
// FickleHost.
func asked(t *testing.T, image string) []time.Time {
	t.Helper()
	data, err := os.ReadFile(shared.lab.RegistryLog(registry.Limited))
	if err != nil {
		t.Fatal(err)
	}
	path := "/v2" + strings.TrimSuffix(strings.TrimPrefix(image, registry.FickleHost), ":1.0") + "/manifests/1.0 "
	var out []time.Time
	for line := range strings.SplitSeq(string(data), "\n") {
		_, rest, ok := strings.Cut(line, " [")
		if !ok || !strings.Contains(line, `"HEAD `+path) || !strings.Contains(line, `"containerd/`) {
			continue
		}
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", rest[:strings.Index(rest, "]")])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, at.UTC())
	}
	return out
}
