package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/monitoring"
)

const (
	prometheusAddress = "127.0.0.1:9790" // inside the lab
	prometheusFolder  = "/var/lib/lab/prometheus"
)

// prometheus is a real one on the lab's node, which scrapes the agent as users
// do and has their alert rules.
type prometheus struct{ c *cluster }

// startPrometheus runs Prometheus for as long as the test. Times in the rules are
// seconds where they are minutes; nothing else of them is changed.
func startPrometheus(t *testing.T) prometheus {
	t.Helper()
	scrape, err := os.ReadFile(filepath.Join(shared.root, "deploy/monitoring/scrape.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Inside a cluster it asks with the token of its pod.
	const role = "\n  - role: pod\n"
	config := strings.Replace(string(scrape), role, role+"    kubeconfig_file: /etc/kubernetes/admin.kubeconfig\n", 1)
	rules := regexp.MustCompile(`(?m)^    for: \d+m$`).ReplaceAllString(monitoring.Rules(), "    for: 3s")
	rules = strings.ReplaceAll(rules, "[3m]", "[5s]")
	for name, text := range map[string]string{
		"rules.yaml": rules,
		"prometheus.yaml": "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n" +
			"rule_files: [rules.yaml]\nscrape_configs:\n" + config,
	} {
		if err := shared.lab.WriteFile(prometheusFolder+"/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	cmd := lab.Command("prometheus", "--config.file="+prometheusFolder+"/prometheus.yaml", "--storage.tsdb.path="+prometheusFolder+"/data",
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
	var problems strings.Builder
	cmd.Stderr = &problems
	go func() { ended <- shared.lab.Run(ctx, cmd) }()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", problems.String())
		}
	})
	return prometheus{shared}
}

// sample is one of a query's answers.
type sample struct {
	labels map[string]string
	value  float64
}

// query asks Prometheus; what it cannot answer yet is nothing.
func (p prometheus) query(t *testing.T, expr string) []sample {
	t.Helper()
	body, err := p.c.get(t.Context(), "http://"+prometheusAddress+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return nil
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%s: %v\n%s", expr, err, body)
	}
	var out []sample
	for _, r := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if !math.IsNaN(value) {
			out = append(out, sample{r.Metric, value})
		}
	}
	return out
}

// alert is an alert as Prometheus would send it.
type alert struct {
	Labels, Annotations map[string]string
	State               string
	ActiveAt            time.Time
}

// firing are the alerts that fire, of the registry.
func (p prometheus) firing(t *testing.T, name, registry string) []alert {
	t.Helper()
	body, err := p.c.get(t.Context(), "http://"+prometheusAddress+"/api/v1/alerts")
	if err != nil {
		return nil
	}
	var answer struct{ Data struct{ Alerts []alert } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	var out []alert
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" && a.Labels["alertname"] == name && a.Labels["registry"] == registry {
			out = append(out, a)
		}
	}
	return out
}

// TestPrometheus runs alone, since it stops a registry.
func TestPrometheus(t *testing.T) {
	p := startPrometheus(t)
	shared.eventually(t.Context(), t, func() (string, bool) {
		up := p.query(t, `up{job="whypull-agent"} == 1`)
		return fmt.Sprint("the agent to be scraped: ", up), len(up) == 1 && up[0].labels["node"] == "lab-node"
	})
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

// alertFiresAndStops: a registry goes down, the alert of its cause fires while
// the kubelet goes back and forth between its two reasons, and stops when the
// registry is up again and the pod runs.
func (p prometheus) alertFiresAndStops(t *testing.T) {
	ctx := t.Context()
	image := registry.PlainHost + "/e2e/alerted:1.0"
	s := demo.Scenario{Name: "alerted", Images: []string{image}, Manifests: []string{demo.Pod("app", image, "", "")},
		Prepare: func(ctx context.Context, l *lab.Lab) error { return l.StopComponent(ctx, registry.Plain) }}
	defer func() { // also for the other tests
		if err := shared.lab.StartComponent(context.WithoutCancel(ctx), registry.Plain); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	var first alert
	shared.eventually(ctx, t, func() (string, bool) {
		all := p.firing(t, "WhypullPullFailing", registry.PlainHost)
		if len(all) == 1 {
			first = all[0]
		}
		return fmt.Sprint("the alert to fire: ", p.query(t, "ALERTS")), len(all) == 1
	})
	if first.Labels["cause"] != "ConnectionRefused" || first.Labels["severity"] != "warning" ||
		!strings.Contains(first.Annotations["description"], "What to do: ") || !strings.HasSuffix(first.Annotations["runbook_url"], "/ConnectionRefused.md") {
		t.Errorf("got %+v", first)
	}
	flaps(ctx, t, s.Name, "app")
	if now := p.firing(t, "WhypullPullFailing", registry.PlainHost); len(now) != 1 || !now[0].ActiveAt.Equal(first.ActiveAt) {
		t.Errorf("the alert has begun anew: %+v, then %+v", first, now)
	}
	if err := shared.lab.StartComponent(ctx, registry.Plain); err != nil {
		t.Fatal(err)
	}
	shared.waitRunning(ctx, t, s.Name, "app")
	shared.eventually(ctx, t, func() (string, bool) {
		all := p.firing(t, "WhypullPullFailing", registry.PlainHost)
		return fmt.Sprint("the alert to stop: ", all), len(all) == 0
	})
}

// flaps waits until the container's reason has gone from ImagePullBackOff back to
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

// panelsShowSomething: with pods that fail in a few ways, every panel of the
// dashboard has something to show.
func (p prometheus) panelsShowSomething(t *testing.T) {
	ctx := t.Context()
	inCluster := "registry.panels.svc.cluster.local:5000"
	s := demo.Scenario{Name: "panels", Images: []string{registry.HubHost + "/e2e/panels:1.0"}, Manifests: []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: registry}\nspec: {ports: [{port: 5000}]}\n",
		demo.Secret("regcred", registry.HubHost, registry.Alice, demo.WrongPassword()),
		strings.Join([]string{
			demo.Pod("password", registry.HubHost+"/e2e/panels:1.0", "", demo.PullSecrets("regcred")),
			demo.Pod("limit", registry.LimitedHost+"/e2e/panels:1.0", "", ""),
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
		if panel.Title == "Received" || panel.Title == "Stalled" {
			continue // TestStalledPull's
		}
		for _, q := range panel.Queries {
			expr := monitoring.Filled(q.Expr, "1m", "5m")
			counts := strings.HasSuffix(expr, " or vector(0)") && !strings.Contains(expr, "up{")
			shared.eventually(ctx, t, func() (string, bool) {
				got := p.query(t, expr)
				return fmt.Sprintf("something in panel %q: %v\n%s", panel.Title, got, expr), len(got) > 0 && (!counts || got[0].value > 0)
			})
		}
	}
	for expr, least := range map[string]float64{
		`max(whypull_dns_mismatch{registry="` + inCluster + `"})`:                                          1,
		`count(whypull_registry_ratelimit_remaining{registry="` + registry.LimitedHost + `"} == 0)`:        1,
		`min(whypull_registry_tls_expiry_timestamp_seconds{registry="` + registry.HubHost + `"}) - time()`: 1,
		`count(whypull_pod_failure_info{namespace="panels",node="lab-node"})`:                              3,
		`count(time() - whypull_pod_failure_start_timestamp_seconds{namespace="panels"} >= 0)`:             3,
	} {
		if got := p.query(t, expr); len(got) != 1 || got[0].value < least {
			t.Errorf("%s: %v, want at least %v", expr, got, least)
		}
	}
}
