package metrics

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

const podHeaders = `
# HELP whypull_pod_failure_info Always 1, for each container that currently cannot get its image, at most 50 per node.
# TYPE whypull_pod_failure_info gauge
%s# HELP whypull_pod_failure_info_dropped Number of failing containers on this node without a whypull_pod_failure_info series because of its limit.
# TYPE whypull_pod_failure_info_dropped gauge
whypull_pod_failure_info_dropped %d
# HELP whypull_pod_failure_start_timestamp_seconds Unix time since which the container cannot get its image, with the labels of whypull_pod_failure_info.
# TYPE whypull_pod_failure_start_timestamp_seconds gauge
%s`

func podMetrics() []string {
	return []string{"whypull_pod_failure_info", "whypull_pod_failure_info_dropped", "whypull_pod_failure_start_timestamp_seconds"}
}

// failingSince returns a verdict on a container of a pod.
func failingSince(pod, name string, c diagnosis.Cause, since time.Time) diagnosis.Verdict {
	return newVerdict(cause(c), container(name), func(v *diagnosis.Verdict) { v.Failure.Pod, v.Failure.Since = pod, since })
}

func TestPodFailures(t *testing.T) {
	t.Parallel()
	m := New("v1")
	wantMetrics(t, m, `
# HELP whypull_pod_failure_info_dropped Number of failing containers on this node without a whypull_pod_failure_info series because of its limit.
# TYPE whypull_pod_failure_info_dropped gauge
whypull_pod_failure_info_dropped 0
`, podMetrics()...)

	at := time.UnixMilli(1_700_000_000_500)
	m.Failing("1", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, at), failingSince("web", "side", diagnosis.DNSFailure, at.Add(time.Second))})
	m.Failing("2", []diagnosis.Verdict{newVerdict(func(v *diagnosis.Verdict) { v.Failure.Pod, v.Failure.Registry, v.Failure.Since = "odd", "", at })})
	app := `{cause="TagNotFound",container_name="app",pod_name="web",pod_namespace="shop",registry="hub.test2.company.com"}`
	side := `{cause="DNSFailure",container_name="side",pod_name="web",pod_namespace="shop",registry="hub.test2.company.com"}`
	odd := `{cause="PullSecretNoMatch",container_name="app",pod_name="odd",pod_namespace="shop",registry="other"}`
	wantMetrics(t, m, fmt.Sprintf(podHeaders,
		"whypull_pod_failure_info"+app+" 1\nwhypull_pod_failure_info"+side+" 1\nwhypull_pod_failure_info"+odd+" 1\n", 0,
		"whypull_pod_failure_start_timestamp_seconds"+app+" 1.7000000005e+09\nwhypull_pod_failure_start_timestamp_seconds"+side+" 1.7000000015e+09\n"+
			"whypull_pod_failure_start_timestamp_seconds"+odd+" 1.7000000005e+09\n"), podMetrics()...)

	m.Failing("1", nil)
	wantMetrics(t, m, fmt.Sprintf(podHeaders, "whypull_pod_failure_info"+odd+" 1\n", 0,
		"whypull_pod_failure_start_timestamp_seconds"+odd+" 1.7000000005e+09\n"), podMetrics()...)
}

// TestLongestFailuresAreNamed checks that of more than fifty failures the longest
// have series, the others are counted, and a new one replaces none.
func TestLongestFailuresAreNamed(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 55 {
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{failingSince(fmt.Sprintf("p%02d", i), "app", diagnosis.TagNotFound, since().Add(time.Duration(i)*time.Second))})
	}
	if first, last, n := namedPods(t, m); first != "p00" || last != "p49" || n != 50 {
		t.Errorf("%d are named, from %s to %s", n, first, last)
	}
	wantMetrics(t, m, `
# HELP whypull_pod_failure_info_dropped Number of failing containers on this node without a whypull_pod_failure_info series because of its limit.
# TYPE whypull_pod_failure_info_dropped gauge
whypull_pod_failure_info_dropped 5
`, "whypull_pod_failure_info_dropped")
	m.Failing("0", nil)
	if first, last, n := namedPods(t, m); first != "p01" || last != "p50" || n != 50 {
		t.Errorf("after one has gone %d are named, from %s to %s", n, first, last)
	}
}

// TestNamespacesShareSeries checks that a namespace with many containers that fail for long
// leaves room for another's.
func TestNamespacesShareSeries(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 2 * podSeries {
		v := failingSince(fmt.Sprint("p", i), "app", diagnosis.TagNotFound, since().Add(-time.Hour))
		v.Failure.Namespace = "evil"
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{v})
	}
	m.Failing("victim", []diagnosis.Verdict{failingSince("zz-victim", "app", diagnosis.TagNotFound, since())})
	if _, last, n := namedPods(t, m); last != "zz-victim" || n != podSeries {
		t.Errorf("%d are named, the last is %s", n, last)
	}
}

// A namespace with many containers of both kinds leaves room for another's of either.
func TestNamespacesShareUnavailableImages(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range podSeries {
		v := failingSince(fmt.Sprint("p", i), "app", diagnosis.TagNotFound, since().Add(-time.Hour))
		v.Failure.Namespace = "evil"
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{v})
		m.Unavailable(fmt.Sprint("r", i), []diagnosis.Verdict{v})
	}
	m.Unavailable("victim", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, since())})
	if _, _, n := namedPods(t, m); n != podSeries-1 {
		t.Errorf("%d failing ones are named, want all but one", n)
	}
	wantMetrics(t, m, `
# HELP whypull_image_unavailable Always 1, for each container of a running pod whose image could not be pulled again, at most 50 per node together with whypull_pod_failure_info.
# TYPE whypull_image_unavailable gauge
whypull_image_unavailable{cause="TagNotFound",container_name="app",pod_name="web",pod_namespace="shop",registry="hub.test2.company.com"} 1
# HELP whypull_image_unavailable_dropped Number of containers on this node without a whypull_image_unavailable series because of its limit.
# TYPE whypull_image_unavailable_dropped gauge
whypull_image_unavailable_dropped 50
# HELP whypull_pod_failure_info_dropped Number of failing containers on this node without a whypull_pod_failure_info series because of its limit.
# TYPE whypull_pod_failure_info_dropped gauge
whypull_pod_failure_info_dropped 1
`, "whypull_image_unavailable", "whypull_image_unavailable_dropped", "whypull_pod_failure_info_dropped")
}

// namedPods returns the number of pods with series of their own, and the first and
// the last of them.
func namedPods(t *testing.T, m *Agent) (first, last string, n int) {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var pods []string
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if f.GetName() == "whypull_pod_failure_info" && l.GetName() == "pod_name" {
					pods = append(pods, l.GetValue())
				}
			}
		}
	}
	slices.Sort(pods)
	if len(pods) == 0 {
		return "", "", 0
	}
	return pods[0], pods[len(pods)-1], len(pods)
}

// TestEqualLabelsAreOne checks that there are no duplicate series, with which the
// whole scrape would fail.
func TestEqualLabelsAreOne(t *testing.T) {
	t.Parallel()
	m := New("v1")
	volume := failingSince("web", "app", diagnosis.TagNotFound, since().Add(-time.Hour))
	volume.Failure.Kind = diagnosis.KindImageVolume
	m.Failing("1", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, since()), volume})
	m.Failing("2", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, since())}) // the next of a StatefulSet
	all := m.podFailures(m.failing, false)
	if len(all) != 1 || !all[0].since.Equal(since().Add(-time.Hour)) {
		t.Errorf("got %v, want one, since the earliest", all)
	}
	if _, err := m.Gatherer().Gather(); err != nil {
		t.Error(err)
	}
}

// Without the metrics that name pods, no label has a pod's name, namespace or
// container, and the counts are the same.
func TestMetricsWithoutPods(t *testing.T) {
	t.Parallel()
	labels := func(m *Agent) (values []string, failing float64) {
		m.Failing("1", []diagnosis.Verdict{failingSince("web", "side", diagnosis.TagNotFound, time.Unix(1, 0)), stalled("db", 5, 9)})
		m.Pulling("2", []diagnosis.Progress{going("mq", 31, 46)})
		families, err := m.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, series := range f.GetMetric() {
				for _, l := range series.GetLabel() {
					values = append(values, l.GetValue())
				}
				if f.GetName() == "whypull_failing_containers" {
					failing += series.GetGauge().GetValue()
				}
			}
		}
		return values, failing
	}
	with, want := labels(New("v1"))
	without, got := labels(NewWithoutPods("v1"))
	for _, name := range []string{"web", "db", "mq", "side", "shop"} {
		if !slices.Contains(with, name) || slices.Contains(without, name) {
			t.Errorf("%s is named in %q, and without pods in %q", name, with, without)
		}
	}
	if got != want || got != 2 {
		t.Errorf("%g containers fail, and without pods %g", want, got)
	}
}

func TestUnavailableImages(t *testing.T) {
	t.Parallel()
	names := []string{"whypull_image_unavailable", "whypull_image_unavailable_dropped"}
	const headers = `
# HELP whypull_image_unavailable Always 1, for each container of a running pod whose image could not be pulled again, at most 50 per node together with whypull_pod_failure_info.
# TYPE whypull_image_unavailable gauge
%s# HELP whypull_image_unavailable_dropped Number of containers on this node without a whypull_image_unavailable series because of its limit.
# TYPE whypull_image_unavailable_dropped gauge
whypull_image_unavailable_dropped %d
`
	m := New("v1")
	at := time.UnixMilli(1_700_000_000_500)
	m.Unavailable("1", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, at), failingSince("web", "side", diagnosis.DNSFailure, at)})
	app := `whypull_image_unavailable{cause="TagNotFound",container_name="app",pod_name="web",pod_namespace="shop",registry="hub.test2.company.com"} 1` + "\n"
	side := `whypull_image_unavailable{cause="DNSFailure",container_name="side",pod_name="web",pod_namespace="shop",registry="hub.test2.company.com"} 1` + "\n"
	wantMetrics(t, m, fmt.Sprintf(headers, app+side, 0), names...)
	if len(m.countFailing()) > 0 || len(m.podFailures(m.failing, false)) > 0 {
		t.Error("a running pod counts as failing")
	}
	m.Unavailable("1", []diagnosis.Verdict{failingSince("web", "app", diagnosis.TagNotFound, at)})
	for i := range podSeries {
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{failingSince(fmt.Sprint("pod-", i), "app", diagnosis.TagNotFound, at)})
	}
	wantMetrics(t, m, fmt.Sprintf(`
# HELP whypull_image_unavailable_dropped Number of containers on this node without a whypull_image_unavailable series because of its limit.
# TYPE whypull_image_unavailable_dropped gauge
whypull_image_unavailable_dropped %d
`, 1), names...)
	for i := range podSeries {
		m.Failing(fmt.Sprint(i), nil)
	}
	wantMetrics(t, m, fmt.Sprintf(headers, app, 0), names...)
	m.Unavailable("1", nil)
	if n := len(m.podFailures(m.unavailable, true)); n != 0 {
		t.Errorf("%d are left", n)
	}
}
