package e2e

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/monitoring"
)

// prometheus is a real Prometheus on the lab's node, with the users' alert rules.
type prometheus struct{ *demo.Prometheus }

// startPrometheus runs Prometheus until the test ends. The rules' minutes are changed
// to seconds; nothing else is changed.
func startPrometheus(t *testing.T) prometheus {
	t.Helper()
	rules := regexp.MustCompile(`(?m)^    for: \d+m$`).ReplaceAllString(monitoring.Rules(), "    for: 3s")
	p, err := demo.StartPrometheus(shared.lab, shared.root, strings.ReplaceAll(rules, "[3m]", "[5s]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := p.Stop(); t.Failed() {
			t.Logf("log of Prometheus:\n%s", log)
		}
	})
	return prometheus{p}
}

// sample is one series of a query's result.
type sample struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression; an error counts as an empty result.
func (p prometheus) query(t *testing.T, expr string) []sample {
	t.Helper()
	answer, err := p.Query(t.Context(), expr)
	if err != nil {
		t.Log(err)
	}
	var out []sample
	for _, s := range answer {
		if value := s.Points[0].Value; !math.IsNaN(value) {
			out = append(out, sample{s.Labels, value})
		}
	}
	return out
}

// refusing returns the firing alerts about the stopped registry.
func (p prometheus) refusing(t *testing.T) []demo.Alert {
	t.Helper()
	all, err := p.Alerts(t.Context())
	if err != nil {
		t.Log(err)
	}
	return slices.DeleteFunc(all, func(a demo.Alert) bool {
		return a.State != "firing" || a.Labels["alertname"] != "WhypullPullFailingRegistry" || a.Labels["registry"] != registry.TokenHost2
	})
}

// TestPrometheus is not parallel, because it stops a registry.
func TestPrometheus(t *testing.T) {
	p := startPrometheus(t)
	shared.eventually(t.Context(), t, func() (string, bool) {
		up := p.query(t, `up{job="whypull-agent"} == 1`)
		return fmt.Sprint("the agent to be scraped: ", up), len(up) == 1 && up[0].labels["node"] == "lab-node"
	})
	const stalled = "panels-stalled" // detected only after half a minute
	breakStalled(t, stalled)
	defer func() {
		endStall(t) // deleting the pod does not cancel the pull, and whypull's retries would yield to it
		if _, err := shared.lab.Kubectl(t.Context(), nil, "delete", "namespace", stalled, "--wait=false"); err != nil {
			t.Error(err)
		}
	}()
	t.Run("metrics", metricsPassPromtool)
	t.Run("alert", p.alertFiresAndStops)
	t.Run("dashboard", p.panelsShowSomething)
}

func metricsPassPromtool(t *testing.T) {
	text := shared.metrics(t.Context(), t)
	if out, problems, err := shared.lab.Exec(t.Context(), strings.NewReader(text), "promtool", "check", "metrics"); err != nil {
		t.Errorf("%v\n%s%s", err, out, problems)
	}
}

// alertFiresAndStops stops a registry and checks that the alert fires while the kubelet
// alternates between its two reasons, and resolves when the registry is back and the
// pod runs.
func (p prometheus) alertFiresAndStops(t *testing.T) {
	ctx := t.Context()
	image := registry.TokenHost2 + "/public/alerted:1.0" // other tests leave no failing pods for it
	s := demo.Scenario{Name: "alerted", Images: []string{image}, Manifests: []string{demo.Pod("app", image, "", "")},
		Prepare: func(ctx context.Context, l *lab.Lab) error { return l.StopComponent(ctx, registry.Token) }}
	defer func() { // the other tests need the registry too
		if err := shared.lab.StartComponent(context.WithoutCancel(ctx), registry.Token); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	var first demo.Alert
	shared.eventually(ctx, t, func() (string, bool) {
		all := p.refusing(t)
		if len(all) == 1 {
			first = all[0]
		}
		return fmt.Sprint("the alert to fire: ", p.query(t, "ALERTS")), len(all) == 1
	})
	if first.Labels["cause"] != "ConnectionRefused" || first.Labels["severity"] != "warning" || first.Labels["owner"] != "registry" || first.Labels["namespace"] != "whypull" ||
		!strings.Contains(first.Annotations["description"], "What to do: ") || !strings.HasSuffix(first.Annotations["runbook_url"], "/ConnectionRefused.md") {
		t.Errorf("got %+v", first)
	}
	flaps(ctx, t, s.Name, "app")
	if now := p.refusing(t); len(now) != 1 || !now[0].ActiveAt.Equal(first.ActiveAt) {
		t.Errorf("the alert started again: %+v, then %+v", first, now)
	}
	if err := shared.lab.StartComponent(ctx, registry.Token); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		all := p.refusing(t)
		return fmt.Sprint("the alert to stop: ", all), len(all) == 0
	})
}

// flaps waits until the container's reason has changed from ImagePullBackOff back to
// ErrImagePull.
func flaps(ctx context.Context, t *testing.T, namespace, pod string) {
	t.Helper()
	last := ""
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
			return fmt.Sprint("a reason: ", err), false
		}
		reason := p.Status.ContainerStatuses[0].State.Waiting.Reason
		before := last
		last = reason
		return "the kubelet to go back and forth, last " + last, before == "ImagePullBackOff" && reason == "ErrImagePull"
	})
}

// panelsShowSomething checks that every panel of the dashboard has data while pods fail
// in several ways.
func (p prometheus) panelsShowSomething(t *testing.T) {
	ctx := t.Context()
	inCluster := "registry.panels.svc.cluster.local:5000"
	s := demo.Scenario{Name: "panels", Images: []string{registry.HubHost + "/e2e/panels:1.0"}, Manifests: []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: registry}\nspec: {ports: [{port: 5000}]}\n",
		demo.Secret("regcred", registry.HubHost, registry.Alice, demo.WrongPassword()),
		strings.Join([]string{
			demo.Pod("password", registry.HubHost+"/e2e/panels:1.0", "", demo.PullSecrets("regcred")),
			demo.Pod("limit", registry.ExhaustedHost+"/e2e/panels:1.0", "", ""),
			demo.Pod("name", inCluster+"/e2e/panels:1.0", "", ""),
		}, "---\n"),
	}}
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := shared.lab.Kubectl(context.WithoutCancel(ctx), nil, "delete", "namespace", s.Name, "--wait=false"); err != nil {
			t.Error(err)
		}
	}()
	for _, panel := range monitoring.Panels() {
		for _, q := range panel.Queries {
			expr := monitoring.Filled(q.Expr, "1m", "5m")
			if strings.Contains(expr, "whypull_image_unavailable") {
				continue // no image is checked while pods fail; TestImageCheck sees the series
			}
			counts := strings.HasSuffix(expr, " or vector(0)") && !strings.Contains(expr, "up{")
			shared.eventually(ctx, t, func() (string, bool) {
				got := p.query(t, expr)
				return fmt.Sprintf("something in panel %q: %v\n%s", panel.Title, got, expr), len(got) > 0 && (!counts || got[0].value > 0)
			})
		}
	}
	for expr, least := range map[string]float64{
		`max(whypull_dns_mismatch{registry="` + inCluster + `"})`:                                          1,
		`count(whypull_registry_ratelimit_remaining{registry="` + registry.ExhaustedHost + `"} == 0)`:      1,
		`min(whypull_registry_tls_expiry_timestamp_seconds{registry="` + registry.HubHost + `"}) - time()`: 1,
		`count(whypull_pod_failure_info{pod_namespace="panels",node="lab-node"})`:                          3,
		`count(time() - whypull_pod_failure_start_timestamp_seconds{pod_namespace="panels"} >= 0)`:         3,
	} {
		shared.eventually(ctx, t, func() (string, bool) { // other tests' pods may have filled the panels
			got := p.query(t, expr)
			return fmt.Sprintf("%s: %v, want at least %v", expr, got, least), len(got) == 1 && got[0].value >= least
		})
	}
}
