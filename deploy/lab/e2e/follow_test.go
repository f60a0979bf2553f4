package e2e

import (
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// A slow pull is reported with its progress and is not a failure; when it is done,
// nothing of the report is left. The first report has only one sample, so the rate
// follows with the next, a minute later: the pull takes four.
func TestSlowPull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const repository = "/e2e/slow:1.0"
	program, err := shared.lab.ToolPath("pause")
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.Build(image.Options{Name: repository, Program: program, Padding: 240 * registry.SlowRate})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(ctx, registry.PlainHost+repository, i); err != nil {
		t.Fatal(err)
	}
	s := demo.Scenario{Name: "slow", Manifests: []string{demo.Pod("app", registry.SlowHost+repository, "", "")}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	waitSummary := func(pattern string) {
		t.Helper()
		shared.eventually(ctx, t, func() (string, bool) {
			p, err := shared.client.CoreV1().Pods(s.Name).Get(ctx, "app", metav1.GetOptions{})
			if err != nil {
				return err.Error(), false
			}
			if cause, ok := p.Annotations["whypull.dev/cause"]; ok {
				t.Errorf("cause %s: %v", cause, p.Annotations)
			}
			summary, report := p.Annotations["whypull.dev/summary"], p.Annotations["whypull.dev/report"]
			return "a summary like " + pattern + ", not " + summary, regexp.MustCompile(pattern).MatchString(summary) && strings.Contains(report, `"containers":[],"pulling":[{"name":"app"`)
		})
	}
	waitSummary(`^pulling [0-9.]+ of [0-9.]+ MiB`)
	if m := shared.metrics(ctx, t); !strings.Contains(m, `whypull_pull_progress_bytes{cause="",container_name="app",pod_name="app",pod_namespace="slow",registry="`+registry.SlowHost+`"}`) ||
		!strings.Contains(m, `whypull_pull_stalled{cause="",container_name="app",pod_name="app",pod_namespace="slow",registry="`+registry.SlowHost+`"} 0`) {
		t.Errorf("the metrics lack the pull:\n%s", m)
	}
	waitSummary(`^pulling [0-9.]+ of [0-9.]+ MiB at [0-9.]+ [KM]iB/s, (about|less than) .* left$`)
	shared.waitRunning(ctx, t, s.Name, "app")
	waitUnmarked(ctx, t, s.Name, "app")
	if got := events(ctx, t, s.Name, "app", "ImagePullRecovered", "Normal"); len(got) > 0 {
		t.Errorf("nothing had failed, and there is an Event: %v", got)
	}
	if m := shared.metrics(ctx, t); strings.Contains(m, `namespace="slow"`) {
		t.Errorf("the metrics still have the pull:\n%s", m)
	}
}
