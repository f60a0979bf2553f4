package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/demo"
)

// smokeScenarios are the scenarios on a cluster of an old version of Kubernetes: the
// causes that people meet most.
var smokeScenarios = []string{
	"secret-for-another-host", "no-secret", "secret-missing", "wrong-password", "denied-with-credentials", "tag-missing",
	"repository-missing", "registry-name-unknown", "port-closed", "ca-unknown", "rate-limited", "never-absent",
}

// scenarios returns the scenarios for the cluster.
func scenarios() []demo.Scenario {
	all := demo.All()
	if shared.Kubernetes == binaries.Newest().Kubernetes {
		return all
	}
	return slices.DeleteFunc(all, func(s demo.Scenario) bool { return !slices.Contains(smokeScenarios, s.Name) })
}

// TestScenarios breaks pods, checks whypull's verdict on each, follows the remedy, and
// checks that it fixes the pod and that whypull reports it.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if err := s.Break(ctx, shared.lab); err != nil {
				t.Fatal(err)
			}
			for _, want := range s.Expect {
				report := shared.settled(ctx, t, s.Name, want.Pod)
				assertReport(t, report, want)
				assertEvent(ctx, t, s.Name, want.Pod, want.Cause)
				if s.Unfixable {
					deleteScenario(ctx, t, s)
					continue
				}
				runRemedy(ctx, t, s, report)
				assertFixed(ctx, t, s, want)
			}
		})
	}
}

func assertReport(t *testing.T, report podReport, want demo.Expectation) {
	t.Helper()
	i := slices.IndexFunc(report.Containers, func(c containerReport) bool { return c.Name == want.Container && c.Kind == want.Kind })
	if i < 0 {
		t.Fatalf("no %s %s in %+v", want.Kind, want.Container, report)
	}
	got := report.Containers[i]
	if got.Cause != want.Cause || got.Confidence != want.Confidence {
		t.Errorf("cause %s (%s), want %s (%s)\n%+v", got.Cause, got.Confidence, want.Cause, want.Confidence, got)
	}
	if missing := inOrder(got.Summary, want.Summary); missing != "" {
		t.Errorf("summary %q lacks %q", got.Summary, missing)
	}
	if missing := evidenceInOrder(got.Evidence, want.Evidence); missing != nil {
		t.Errorf("evidence lacks, in this order, %+v\n%+v", *missing, got.Evidence)
	}
	if strings.Contains(fmt.Sprint(report), demo.WrongPassword()) {
		t.Errorf("the report shows a password: %+v", report)
	}
}

// inOrder returns the first word that text lacks after the previous one, or "".
func inOrder(text string, words []string) string {
	for _, w := range words {
		i := strings.Index(text, w)
		if i < 0 {
			return w
		}
		text = text[i+len(w):]
	}
	return ""
}

func evidenceInOrder(got, want []demo.Evidence) *demo.Evidence {
	for _, w := range want {
		i := slices.IndexFunc(got, func(g demo.Evidence) bool { return fits(g, w) })
		if i < 0 {
			return &w
		}
		got = got[i+1:]
	}
	return nil
}

func fits(got, want demo.Evidence) bool {
	return got.Check == want.Check && got.Outcome == want.Outcome && got.Fault == want.Fault && strings.Contains(got.Detail, want.Detail)
}

// assertEvent checks that there is exactly one Warning, and that its reason is the
// cause.
func assertEvent(ctx context.Context, t *testing.T, namespace, pod, cause string) {
	t.Helper()
	shared.eventually(ctx, t, func() (string, bool) {
		n := len(events(ctx, t, namespace, pod, cause, corev1.EventTypeWarning))
		if n > 1 {
			t.Fatalf("%d events %s on %s/%s, want 1", n, cause, namespace, pod)
		}
		return "event " + cause, n == 1
	})
}

func events(ctx context.Context, t *testing.T, namespace, pod, reason, kind string) []corev1.Event {
	t.Helper()
	list, err := shared.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.Type != kind || e.ReportingController != "whypull.dev/agent" })
}

// runRemedy runs the printed remedy with the placeholders filled in: commands below a
// line "# On node …" on the node, all others on the machine.
func runRemedy(ctx context.Context, t *testing.T, s demo.Scenario, report podReport) {
	t.Helper()
	for _, c := range report.Containers {
		onNode := false
		for _, line := range c.Remedy {
			if strings.HasPrefix(line, "#") {
				onNode = onNode || strings.HasPrefix(line, "# On node ")
				continue
			}
			if strings.HasSuffix(line, " --watch") { // it only prints, and never ends
				continue
			}
			line = filled(t, line, s.Fill)
			if out, err := shared.shell(ctx, line, onNode); err != nil {
				t.Fatalf("remedy %q: %v\n%s", line, err, out)
			}
		}
	}
	if s.Fix != nil {
		if err := s.Fix(ctx, shared.lab); err != nil {
			t.Fatal(err)
		}
	}
}

// deleteScenario deletes a scenario that cannot be fixed.
func deleteScenario(ctx context.Context, t *testing.T, s demo.Scenario) {
	t.Helper()
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "namespace", s.Name, "--wait=false"); err != nil {
		t.Error(err)
	}
}

// filled returns a line of a remedy with its placeholders filled in.
func filled(t *testing.T, line string, fill map[string]string) string {
	t.Helper()
	for placeholder, value := range fill {
		if placeholder == demo.ConfigFile {
			file := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
			value = file
		}
		line = strings.ReplaceAll(line, placeholder, value)
	}
	return line
}

// assertFixed checks that the pod has its images and that whypull's annotations are
// gone.
func assertFixed(ctx context.Context, t *testing.T, s demo.Scenario, want demo.Expectation) {
	t.Helper()
	if want.Kind == "ephemeralContainer" { // it cannot be changed; the remedy starts another one
		assertAnotherRuns(ctx, t, s, want)
		return
	}
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(s.Name).Get(ctx, want.Pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if c.State.Running == nil {
				return "running containers; " + states(p), false
			}
		}
		for k := range p.Annotations {
			if strings.HasPrefix(k, "whypull.dev/") {
				return "annotations to go", false
			}
		}
		return "running containers; " + states(p), len(p.Status.ContainerStatuses) > 0
	})
}

func assertAnotherRuns(ctx context.Context, t *testing.T, s demo.Scenario, want demo.Expectation) {
	t.Helper()
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(s.Name).Get(ctx, want.Pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		ok := slices.ContainsFunc(p.Status.EphemeralContainerStatuses, func(c corev1.ContainerStatus) bool { return c.State.Running != nil })
		return "a running ephemeral container; " + states(p), ok
	})
}

// get sends a GET request to a server inside the lab.
func (c *cluster) get(ctx context.Context, url string) (string, error) {
	return demo.Get(ctx, c.lab, url)
}
