package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// remedied is a pod that fails until something outside it is fixed.
type remedied struct {
	scenario demo.Scenario
	before   string // the cause before the fix
	remedy   func(context.Context) error
	log      string // access log of the registry
	path     string // path of the image in the log
	most     int    // maximum number of whypull's requests for both verdicts

	start time.Time // time of the fix
	reads string    // number of secret reads at that time
}

// waitThirdAttempt waits until the kubelet has tried three times: its next back-off is
// then at least 40 s. Attempts are counted by Events, of which the kubelet drops those of a
// pod that has many, and by what the status shows after the first, which is not all.
func (c *cluster) waitThirdAttempt(ctx context.Context, t *testing.T, namespace, pod string) {
	t.Helper()
	seen, reason := 1, ""
	c.eventually(ctx, t, func() (string, bool) {
		attempts := 0
		list, err := c.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Pulling,involvedObject.name=" + pod})
		if err != nil {
			return err.Error(), false
		}
		for _, e := range list.Items {
			attempts += int(max(e.Count, 1))
		}
		p, err := c.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil || len(p.Status.ContainerStatuses) == 0 {
			return fmt.Sprint("the pod: ", err), false
		}
		w := p.Status.ContainerStatuses[0].State.Waiting
		if w == nil {
			return "a container that waits", false
		}
		if w.Reason == "ErrImagePull" && reason == "ImagePullBackOff" {
			seen++
		}
		reason = w.Reason
		return fmt.Sprint("a third attempt; there were ", max(attempts, seen)), max(attempts, seen) >= 3 && reason == "ImagePullBackOff"
	})
}

// nextVerdict waits for the verdict that the cause is gone, and returns the report. It
// fails if the pod gets its image first.
func (c *cluster) nextVerdict(ctx context.Context, t *testing.T, namespace, pod, before string) podReport {
	t.Helper()
	var report podReport
	c.eventually(ctx, t, func() (string, bool) {
		p, err := c.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		if p.Status.Phase == corev1.PodRunning {
			t.Fatal("the pod runs, and no verdict announced it")
		}
		cause := p.Annotations["whypull.dev/cause"]
		if cause == "" || cause == before {
			return "another cause than " + before, false
		}
		if err := json.Unmarshal([]byte(p.Annotations["whypull.dev/report"]), &report); err != nil {
			t.Fatal(err)
		}
		return "", true
	})
	return report
}

// Once the cause is gone, whypull reports that, and the time of the kubelet's next
// attempt, before that attempt.
func TestRecheck(t *testing.T) {
	t.Parallel()
	address := registry.Resolve(registry.PlainHost)
	hosts := "/etc/containerd/certs.d/" + address + "/hosts.toml"
	image := func(name string) string { return registry.HubHost + "/e2e/" + name + ":1.0" }
	apply := func(namespace, manifest string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := shared.lab.Kubectl(ctx, strings.NewReader(manifest), "-n", namespace, "apply", "-f", "-")
			return err
		}
	}
	good := demo.Secret("regcred", registry.HubHost, registry.Alice, registry.AlicePassword)
	all := []*remedied{
		{
			scenario: demo.Scenario{Name: "notice-replaced", Images: []string{image("notice-replaced")}, Manifests: []string{
				demo.Secret("regcred", registry.HubHost, registry.Alice, demo.WrongPassword()),
				demo.Pod("app", image("notice-replaced"), "", demo.PullSecrets("regcred"))}},
			before: "CredentialsRejected", remedy: apply("notice-replaced", good), log: registry.Hub, path: "/v2/e2e/notice-replaced/", most: 12,
		},
		{
			scenario: demo.Scenario{Name: "notice-made", Images: []string{image("notice-made")}, Manifests: []string{
				demo.Pod("app", image("notice-made"), "", demo.PullSecrets("regcred"))}},
			before: "PullSecretMissing", remedy: apply("notice-made", good), log: registry.Hub, path: "/v2/e2e/notice-made/", most: 12,
		},
		{
			scenario: demo.Scenario{Name: "notice-hosts", Images: []string{registry.PlainHost + "/e2e/notice-hosts:1.0"}, Manifests: []string{
				demo.Pod("app", address+"/e2e/notice-hosts:1.0", "", "")}},
			before: "HTTPSMismatch", remedy: func(context.Context) error {
				return shared.lab.WriteFile(hosts, fmt.Appendf(nil, "server = %q\n\n[host.%q]\n", "http://"+address, "http://"+address))
			}, log: registry.Plain, path: "/v2/e2e/notice-hosts/", most: 12,
		},
	}
	for _, r := range all { // at the same time: each is remedied when the kubelet has just begun to wait
		t.Run(r.scenario.Name, func(t *testing.T) {
			t.Parallel()
			if err := r.scenario.Break(t.Context(), shared.lab); err != nil {
				t.Fatal(err)
			}
			r.fails(t)
			r.isRemedied(t)
			r.isNoticed(t)
			r.recovers(t)
		})
	}
}

// fails waits for the first verdict and a long back-off of the kubelet.
func (r *remedied) fails(t *testing.T) {
	t.Helper()
	if got := shared.settled(t.Context(), t, r.scenario.Name, "app").Containers[0]; got.Cause != r.before {
		t.Fatalf("cause %s, want %s: %+v", got.Cause, r.before, got)
	}
	shared.waitThirdAttempt(t.Context(), t, r.scenario.Name, "app")
}

func (r *remedied) isRemedied(t *testing.T) {
	t.Helper()
	r.reads, r.start = secretReads(t.Context(), t), time.Now()
	if err := r.remedy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *remedied) isNoticed(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	report := shared.nextVerdict(ctx, t, r.scenario.Name, "app", r.before)
	c := report.Containers[0]
	if c.Cause != "NotReproducible" || !regexp.MustCompile(`the kubelet (retries between about \d\d:\d\d:\d\d and \d\d:\d\d:\d\d UTC|retries within five minutes)$`).MatchString(c.Summary) {
		t.Errorf("got %s: %s", c.Cause, c.Summary)
	}
	asked := shared.agentRequests(t, r.log, r.path)
	t.Logf("put right at %s, new verdict of %s: %s; %d requests to the registry; the API server's reads of secrets: %s, then %s",
		r.start.UTC().Format(time.TimeOnly), report.ObservedAt, c.Summary, len(asked), r.reads, secretReads(ctx, t))
	if len(asked) > r.most {
		t.Errorf("%d requests of whypull for two verdicts, want at most %d:\n%s", len(asked), r.most, strings.Join(asked, "\n"))
	}
}

func (r *remedied) recovers(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	shared.waitRunning(ctx, t, r.scenario.Name, "app")
	t.Logf("%s runs at %s", r.scenario.Name, time.Now().UTC().Format(time.TimeOnly))
	waitUnmarked(ctx, t, r.scenario.Name, "app")
}

// secretReads returns how many reads of single secrets the API server has counted, from
// all clients.
func secretReads(ctx context.Context, t *testing.T) string {
	t.Helper()
	out, err := shared.lab.Kubectl(ctx, nil, "get", "--raw", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "apiserver_request_total{") && strings.Contains(line, `resource="secrets"`) && strings.Contains(line, `verb="GET"`) {
			all = append(all, regexp.MustCompile(`code="(\d+)".* (\S+)$`).ReplaceAllString(line[strings.Index(line, `code=`):], "$1: $2"))
		}
	}
	return strings.Join(all, ", ")
}
