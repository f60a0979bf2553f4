package monitoring

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/deploy/lab/chart"
	"github.com/whypull/whypull/deploy/monitoring"
)

// operatorValues are the chart's values with everything for the Prometheus operator.
const operatorValues = `{podMonitor: {enabled: true, interval: 30s}, serviceMonitor: {enabled: true, interval: 1m30s}, prometheusRule: {enabled: true}}`

// strict returns a decoder into the types of Kubernetes and of the Prometheus operator
// that refuses unknown, misspelled and duplicate fields.
func strict(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{monitoringv1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
}

// typed returns the objects of these kinds in the operator's and Kubernetes' types.
func typed(t *testing.T, all map[string]chart.Object, kinds ...string) map[string]runtime.Object {
	t.Helper()
	decoder, out := strict(t), map[string]runtime.Object{}
	for key, o := range all {
		kind, _, _ := strings.Cut(key, "/")
		if !slices.Contains(kinds, kind) {
			continue
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", key, err, text)
		}
		out[kind] = object
	}
	if len(out) != len(kinds) {
		t.Fatalf("got %v, want %v", slices.Sorted(maps.Keys(out)), kinds)
	}
	return out
}

// The chart's and the kustomization's objects are what the Prometheus operator knows:
// every field exists, the selectors match the agents' pods, and Prometheus accepts the
// relabelings.
func TestOperatorTypes(t *testing.T) {
	const deploy = "../.."
	fromChart, err := chart.Helm(deploy, "v1.37.2", operatorValues)
	if err != nil {
		t.Fatal(err)
	}
	fromKustomize, err := chart.Kustomize(deploy, "", "monitoring")
	if err != nil {
		t.Fatal(err)
	}
	c := typed(t, fromChart, "PodMonitor", "ServiceMonitor", "PrometheusRule", "DaemonSet", "Service")
	k := typed(t, fromKustomize, "PodMonitor", "PrometheusRule", "DaemonSet")
	for name, all := range map[string]map[string]runtime.Object{"chart": c, "kustomization": k} {
		pods := as[*appsv1.DaemonSet](t, all, "DaemonSet").Spec.Template
		monitor := as[*monitoringv1.PodMonitor](t, all, "PodMonitor")
		wantSelected(t, name, monitor.Spec.Selector, pods.Labels)
		if len(monitor.Spec.PodMetricsEndpoints) != 1 {
			t.Fatalf("%s: %d endpoints", name, len(monitor.Spec.PodMetricsEndpoints))
		}
		e := monitor.Spec.PodMetricsEndpoints[0]
		if e.Port == nil || !slices.ContainsFunc(pods.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == *e.Port }) {
			t.Errorf("%s: the agents have no port %v", name, e.Port)
		}
		wantAccepted(t, e.RelabelConfigs)
		rules := as[*monitoringv1.PrometheusRule](t, all, "PrometheusRule").Spec.Groups
		n := 0
		for _, g := range rules {
			n += len(g.Rules)
		}
		if want := strings.Count(monitoring.Rules(), "- alert: "); n != want || n == 0 {
			t.Errorf("%s: %d rules, want %d", name, n, want)
		}
	}
	service, monitor := as[*corev1.Service](t, c, "Service"), as[*monitoringv1.ServiceMonitor](t, c, "ServiceMonitor")
	wantSelected(t, "ServiceMonitor", monitor.Spec.Selector, service.Labels)
	if e := monitor.Spec.Endpoints; len(e) != 1 || len(service.Spec.Ports) != 1 || e[0].Port != service.Spec.Ports[0].Name || e[0].Interval != "1m30s" {
		t.Errorf("the ServiceMonitor's endpoint is %+v, the Service's ports %+v", e, service.Spec.Ports)
	} else {
		wantAccepted(t, e[0].RelabelConfigs)
	}
}

// as returns an object of the given kind in its type.
func as[T runtime.Object](t *testing.T, all map[string]runtime.Object, kind string) T {
	t.Helper()
	out, ok := all[kind].(T)
	if !ok {
		t.Fatalf("%s is a %T", kind, all[kind])
	}
	return out
}

func wantSelected(t *testing.T, name string, s metav1.LabelSelector, of map[string]string) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		t.Fatal(err)
	}
	if selector.Empty() || !selector.Matches(labels.Set(of)) {
		t.Errorf("%s: %v does not select %v", name, selector, of)
	}
}

// wantAccepted checks the relabelings as the operator writes them into Prometheus's
// configuration.
func wantAccepted(t *testing.T, all []monitoringv1.RelabelConfig) {
	t.Helper()
	var relabelings []map[string]any
	for _, r := range all {
		out := map[string]any{}
		if len(r.SourceLabels) > 0 {
			out["source_labels"] = r.SourceLabels
		}
		if r.Replacement != nil {
			out["replacement"] = *r.Replacement
		}
		for key, value := range map[string]string{"target_label": r.TargetLabel, "regex": r.Regex, "action": r.Action} {
			if value != "" {
				out[key] = value
			}
		}
		relabelings = append(relabelings, out)
	}
	text, err := yaml.Marshal(map[string]any{"scrape_configs": []any{map[string]any{"job_name": "a", "relabel_configs": relabelings}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	write(t, file, string(text))
	mustPass(t, nil, "check", "config", file)
	for _, want := range []string{"whypull-agent", "node", "pod|container"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// The decoder refuses what the operator does not know.
func TestOperatorTypesRefuse(t *testing.T) {
	for _, field := range []string{"relabellings: []", "honorlabels: true", "port: 9779"} {
		text := fmt.Sprintf("apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: a}\nspec:\n  selector: {}\n  podMetricsEndpoints:\n  - %s\n", field)
		if _, _, err := strict(t).Decode([]byte(text), nil, nil); err == nil {
			t.Errorf("%s is accepted", field)
		}
	}
}
