package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// expectedAlert is an alert that must fire.
type expectedAlert struct {
	name   string
	labels map[string]string
	// summary lists words of the summary, in this order.
	summary []string
}

// TestAlerts is not parallel, because it fills containerd's disk. The alerts that warn
// before pulls fail, and those that are not about a registry that is down, fire on the
// real agent's metrics, with the labels and texts that users see.
func TestAlerts(t *testing.T) {
	const namespace = "alerts"
	inCluster := "registry." + namespace + ".svc.cluster.local:5000"
	p := startPrometheus(t)
	t.Cleanup(func() { remove(t, namespace) })
	fillDisk(t)
	breakAlerts(t, namespace, inCluster)
	for _, want := range []expectedAlert{
		{"WhypullRateLimitNear", map[string]string{"registry": registry.NearHost, "severity": "info", "cause": "RateLimited"},
			[]string{registry.NearHost, fmt.Sprintf("after %d more requests", registry.NearLeft)}},
		{"WhypullCertificateExpiring", map[string]string{"registry": registry.ExpiringHost, "severity": "warning", "cause": "TLSExpired"},
			[]string{"certificate of " + registry.ExpiringHost + " expires in 9d "}},
		{"WhypullCertificateExpiryImminent", map[string]string{"registry": registry.EndingHost, "severity": "critical", "cause": "TLSExpired"},
			[]string{"certificate of " + registry.EndingHost + " expires in 1d "}},
		{"WhypullDNSSplit", map[string]string{"registry": inCluster, "severity": "warning"}, []string{inCluster, "resolves differently on 1 node(s)"}},
		{"WhypullPullFailingApplication", map[string]string{"registry": inCluster, "severity": "warning", "owner": "application", "namespace": namespace, "pod_namespace": namespace},
			[]string{"1 container(s) in namespace " + namespace + " cannot pull", inCluster}},
		{"WhypullDiskFull", map[string]string{"node": "lab-node", "severity": "critical", "cause": "DiskFull"}, []string{"no disk space for images on node lab-node"}},
	} {
		shared.eventually(t.Context(), t, func() (string, bool) {
			got, all := p.firing(t, want)
			if got != nil && (inOrder(got.Annotations["summary"], want.summary) != "" || !strings.Contains(got.Annotations["description"], "What to do: ")) {
				t.Errorf("%s: %+v", want.name, got.Annotations)
			}
			return fmt.Sprintf("%s %v to fire: %v\n%v", want.name, want.labels, all, p.query(t, "ALERTS")), got != nil
		})
	}
	p.assertNoOtherAlerts(t)
}

// assertNoOtherAlerts checks that a certificate valid for a year, and a registry that resolves
// alike on both sides, cause no alert.
func (p prometheus) assertNoOtherAlerts(t *testing.T) {
	t.Helper()
	all, err := p.Alerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if hub := p.query(t, `min(whypull_registry_tls_expiry_timestamp_seconds{registry="`+registry.HubHost+`"}) - time()`); len(hub) != 1 {
		t.Errorf("nothing is known of the certificate of %s: %v", registry.HubHost, hub)
	}
	for _, a := range all {
		name, host := a.Labels["alertname"], a.Labels["registry"]
		if strings.HasPrefix(name, "WhypullCertificateExp") && host == registry.HubHost || name == "WhypullDNSSplit" && host == registry.NearHost || name == "WhypullRateLimitNear" && host != registry.NearHost {
			t.Errorf("an alert that should not be: %+v", a)
		}
	}
}

// firing returns the firing alert that matches want, and all alerts with its labels.
func (p prometheus) firing(t *testing.T, want expectedAlert) (*demo.Alert, []demo.Alert) {
	t.Helper()
	all, err := p.Alerts(t.Context())
	if err != nil {
		t.Log(err)
	}
	all = slices.DeleteFunc(all, func(a demo.Alert) bool { return a.Labels["alertname"] != want.name })
	for _, a := range all {
		fits := a.State == "firing"
		for name, value := range want.labels {
			fits = fits && a.Labels[name] == value
		}
		if fits {
			return &a, all
		}
	}
	return nil, all
}

// breakAlerts creates a failing pod for each alert.
func breakAlerts(t *testing.T, namespace, inCluster string) {
	t.Helper()
	large := registry.PlainHost + "/e2e/alerts-large:1.0"
	program, err := shared.lab.ToolPath("pause")
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.Build(image.Options{Name: large, Program: program, Padding: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(t.Context(), large, i); err != nil {
		t.Fatal(err)
	}
	pods := []string{demo.Pod("disk", large, "", ""), demo.Pod("name", inCluster+"/e2e/alerts:1.0", "", "")}
	for pod, host := range map[string]string{"near": registry.NearHost, "expiring": registry.ExpiringHost, "ending": registry.EndingHost, "hub": registry.HubHost} {
		pods = append(pods, demo.Pod(pod, host+"/e2e/alerts:1.0", "", ""))
	}
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: registry}\nspec: {ports: [{port: 5000}]}\n"
	if err := (demo.Scenario{Name: namespace, Manifests: []string{service, strings.Join(pods, "---\n")}}).Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
}

// fillDisk moves containerd's content to a file system with one megabyte free, less
// than a layer needs, until the test ends.
func fillDisk(t *testing.T) {
	t.Helper()
	const content, full = "/var/lib/containerd/io.containerd.content.v1.content", "/run/full"
	onNode := func(ctx context.Context, line string) {
		t.Helper()
		if out, err := shared.shell(ctx, "set -e; "+line, true); err != nil {
			t.Fatal(err, out)
		}
	}
	t.Cleanup(func() { // content that containerd records must still exist afterward
		onNode(context.WithoutCancel(t.Context()), "umount -l "+content+"; cp -au "+full+"/blobs "+content+"; umount "+full)
	})
	onNode(t.Context(), "mkdir -p "+full+"; mount -t tmpfs -o size=$(($(du -sk "+content+" | cut -f1) + 1024))k full "+full+
		"; cp -a "+content+"/. "+full+"; mount --bind "+full+" "+content)
}
