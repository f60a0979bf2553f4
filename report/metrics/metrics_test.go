package metrics

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/whypull/whypull/agent/diagnosis"
)

// wantMetrics compares the named metrics with their text form.
func wantMetrics(t *testing.T, m *Agent, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func failingAt(c diagnosis.Cause, registry string, compared ...diagnosis.Comparison) diagnosis.Verdict {
	return newVerdict(cause(c), func(v *diagnosis.Verdict) {
		v.Failure.Registry = registry
		for _, is := range compared {
			v.Evidence = append(v.Evidence, diagnosis.Finding{Evidence: diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Body: &diagnosis.DNSFacts{Compared: is}}})
		}
	})
}

// series returns the number of series that a scrape would store.
func series(t *testing.T, m *Agent) int {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			if h := metric.GetHistogram(); h != nil {
				n += len(h.GetBucket()) + len([]string{"+Inf", "sum", "count"})
				continue
			}
			n++
		}
	}
	return n
}

const failingHeader = `
# HELP whypull_failing_containers Number of containers on this node that cannot get their image, by cause and registry.
# TYPE whypull_failing_containers gauge
`

func TestFailingContainers(t *testing.T) {
	t.Parallel()
	m := New("v1")
	name := "whypull_failing_containers"
	wantMetrics(t, m, "", name)

	m.Failing("uid-1", []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, "hub.test"), failingAt(diagnosis.TagNotFound, "hub.test"), failingAt(diagnosis.InvalidImageName, "")})
	m.Failing("uid-2", []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, "b.test")})
	wantMetrics(t, m, failingHeader+`
whypull_failing_containers{cause="InvalidImageName",registry="other"} 1
whypull_failing_containers{cause="TagNotFound",registry="b.test"} 1
whypull_failing_containers{cause="TagNotFound",registry="hub.test"} 2
`, name)

	m.Failing("uid-1", []diagnosis.Verdict{failingAt(diagnosis.DNSFailure, "hub.test")}) // another verdict replaces it
	wantMetrics(t, m, failingHeader+`
whypull_failing_containers{cause="DNSFailure",registry="hub.test"} 1
whypull_failing_containers{cause="TagNotFound",registry="b.test"} 1
`, name)

	m.Failing("uid-1", nil)
	m.Failing("uid-2", []diagnosis.Verdict{})
	m.Failing("uid-3", nil) // never heard of
	wantMetrics(t, m, "", name)
	if len(m.failing) != 0 {
		t.Errorf("got %d pods in memory, want 0", len(m.failing))
	}
}

func TestTenRegistriesAreNamed(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 12 { // r00 fails once, r11 twelve times
		for j := range i + 1 {
			m.Failing(fmt.Sprint(i, "-", j), []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, fmt.Sprintf("r%02d.test", i))})
		}
	}
	want := failingHeader + `whypull_failing_containers{cause="TagNotFound",registry="other"} 3` + "\n"
	for i := 2; i < 12; i++ {
		want += fmt.Sprintf("whypull_failing_containers{cause=\"TagNotFound\",registry=\"r%02d.test\"} %d\n", i, i+1)
	}
	wantMetrics(t, m, want, "whypull_failing_containers")
}

func TestEqualRegistriesByName(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 11 {
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, fmt.Sprintf("r%02d.test", i))})
	}
	for range 5 { // not as a map happens to be ordered
		if got := namedRegistries(m.failing); len(got) != 10 || got[0] != "r00.test" || got[9] != "r09.test" {
			t.Fatalf("got %q, want r00 to r09", got)
		}
	}
}

// A namespace whose images are of many registries leaves a name for another's.
func TestNamespacesShareRegistries(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 2 * topRegistries {
		v := failingAt(diagnosis.TagNotFound, fmt.Sprintf("evil%02d.test", i))
		v.Failure.Namespace = "evil"
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{v, v})
	}
	m.Failing("victim", []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, "hub.test")})
	if got := namedRegistries(m.failing); len(got) != topRegistries || !slices.Contains(got, "hub.test") {
		t.Errorf("got %q", got)
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	pair := func(c, r string) causeAndRegistry { return causeAndRegistry{c, r} }
	tests := map[string]struct {
		n          int
		have, want map[causeAndRegistry]int
	}{
		"none":   {3, map[causeAndRegistry]int{}, map[causeAndRegistry]int{}},
		"enough": {2, map[causeAndRegistry]int{pair("a", "x"): 1, pair("b", "x"): 1}, map[causeAndRegistry]int{pair("a", "x"): 1, pair("b", "x"): 1}},
		"the smallest first": {2,
			map[causeAndRegistry]int{pair("a", "x"): 9, pair("a", "y"): 1, pair("a", "z"): 2},
			map[causeAndRegistry]int{pair("a", "x"): 9, pair("a", "other"): 3}},
		"into others there are": {2,
			map[causeAndRegistry]int{pair("a", "x"): 9, pair("a", "y"): 1, pair("a", "other"): 5},
			map[causeAndRegistry]int{pair("a", "x"): 9, pair("a", "other"): 6}},
		"equal ones by name": {2,
			map[causeAndRegistry]int{pair("a", "x"): 1, pair("a", "y"): 1, pair("a", "z"): 1},
			map[causeAndRegistry]int{pair("a", "other"): 2, pair("a", "z"): 1}},
		"not below the causes": {1,
			map[causeAndRegistry]int{pair("a", "x"): 1, pair("b", "x"): 1},
			map[causeAndRegistry]int{pair("a", "other"): 1, pair("b", "other"): 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fold(tt.have, tt.n); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDiagnosesTotal(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.Diagnosed(newVerdict())
	m.Diagnosed(newVerdict())
	m.Diagnosed(newVerdict(func(v *diagnosis.Verdict) { v.Confidence = diagnosis.Suspected }))
	wantMetrics(t, m, `
# HELP whypull_diagnoses_total Number of verdicts, by cause and confidence.
# TYPE whypull_diagnoses_total counter
whypull_diagnoses_total{cause="PullSecretNoMatch",confidence="Confirmed"} 2
whypull_diagnoses_total{cause="PullSecretNoMatch",confidence="Suspected"} 1
`, "whypull_diagnoses_total")
}

// TestDiagnosesAreBounded checks that after twenty pairs further verdicts are
// counted as other, by confidence.
func TestDiagnosesAreBounded(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for _, e := range diagnosis.Catalogue() {
		m.Diagnosed(newVerdict(cause(e.Cause)))
		m.Diagnosed(newVerdict(cause(e.Cause)))
	}
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var total, others, n float64
	for _, f := range families {
		if f.GetName() != "whypull_diagnoses_total" {
			continue
		}
		for _, c := range f.GetMetric() {
			n++
			total += c.GetCounter().GetValue()
			if c.GetLabel()[0].GetValue() == "other" {
				others = c.GetCounter().GetValue()
			}
		}
	}
	if causes := len(diagnosis.Catalogue()); int(total) != 2*causes || n != diagnosisSeries+1 || int(others) != 2*(causes-diagnosisSeries) {
		t.Errorf("%v verdicts in %v series, %v of others", total, n, others)
	}
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.Failing("a", []diagnosis.Verdict{failingAt(diagnosis.DNSFailure, "split.test", diagnosis.ComparedSame, diagnosis.ComparedOnlyPod)})
	m.Failing("b", []diagnosis.Verdict{failingAt(diagnosis.DNSFailure, "split.test", diagnosis.ComparedSame)})
	m.Failing("c", []diagnosis.Verdict{failingAt(diagnosis.DNSFailure, "agreed.test", diagnosis.ComparedNeither)})
	m.Failing("d", []diagnosis.Verdict{failingAt(diagnosis.DNSFailure, "unknown.test")})
	wantMetrics(t, m, `
# HELP whypull_dns_mismatch 1 if a failing pod and its node resolve the registry's name differently, 0 if they agree, by registry.
# TYPE whypull_dns_mismatch gauge
whypull_dns_mismatch{registry="agreed.test"} 0
whypull_dns_mismatch{registry="split.test"} 1
`, "whypull_dns_mismatch")
	m.Failing("a", nil)
	m.Failing("c", nil)
	wantMetrics(t, m, `
# HELP whypull_dns_mismatch 1 if a failing pod and its node resolve the registry's name differently, 0 if they agree, by registry.
# TYPE whypull_dns_mismatch gauge
whypull_dns_mismatch{registry="split.test"} 0
`, "whypull_dns_mismatch")
}

func TestPhases(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.Phase(diagnosis.PhaseTLS, 100*time.Millisecond)
	m.Phase(diagnosis.PhaseBlob, time.Hour)
	wantMetrics(t, m, `
# HELP whypull_registry_probe_phase_seconds Duration in seconds of the phases of registry probes, by phase.
# TYPE whypull_registry_probe_phase_seconds histogram
whypull_registry_probe_phase_seconds_bucket{phase="tls",le="+Inf"} 1
whypull_registry_probe_phase_seconds_sum{phase="tls"} 0.1
whypull_registry_probe_phase_seconds_count{phase="tls"} 1
`, "whypull_registry_probe_phase_seconds")
}

func TestTimeToDiagnosis(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.TimeToDiagnosis(250 * time.Millisecond)
	m.TimeToDiagnosis(20 * time.Second)
	wantMetrics(t, m, `
# HELP whypull_time_to_diagnosis_seconds Time in seconds from seeing the kubelet's failed status to writing the pod's annotation.
# TYPE whypull_time_to_diagnosis_seconds histogram
whypull_time_to_diagnosis_seconds_bucket{le="0.05"} 0
whypull_time_to_diagnosis_seconds_bucket{le="0.1"} 0
whypull_time_to_diagnosis_seconds_bucket{le="0.3"} 1
whypull_time_to_diagnosis_seconds_bucket{le="1"} 1
whypull_time_to_diagnosis_seconds_bucket{le="2"} 1
whypull_time_to_diagnosis_seconds_bucket{le="5"} 1
whypull_time_to_diagnosis_seconds_bucket{le="10"} 1
whypull_time_to_diagnosis_seconds_bucket{le="+Inf"} 2
whypull_time_to_diagnosis_seconds_sum 20.25
whypull_time_to_diagnosis_seconds_count 2
`, "whypull_time_to_diagnosis_seconds")
}

func TestChecks(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.Checked(diagnosis.CheckRegistry, diagnosis.Failed, 2*time.Second)
	m.Checked(diagnosis.CheckPodDNS, diagnosis.NotRun, 0) // took no time
	wantMetrics(t, m, `
# HELP whypull_check_duration_seconds Duration in seconds of the checks that ran, by check and outcome.
# TYPE whypull_check_duration_seconds histogram
whypull_check_duration_seconds_bucket{check="registry",outcome="Failed",le="+Inf"} 1
whypull_check_duration_seconds_sum{check="registry",outcome="Failed"} 2
whypull_check_duration_seconds_count{check="registry",outcome="Failed"} 1
`, "whypull_check_duration_seconds")
}

// TestDurationsAreNative checks that native histograms have buckets and the text
// format has count and sum.
func TestDurationsAreNative(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for range 9 {
		m.Checked(diagnosis.CheckRegistry, diagnosis.Failed, 20*time.Millisecond)
		m.Phase(diagnosis.PhaseTLS, 20*time.Millisecond)
	}
	m.Checked(diagnosis.CheckRegistry, diagnosis.Failed, 7*time.Second)
	m.Phase(diagnosis.PhaseTLS, 7*time.Second)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range families {
		if f.GetName() != "whypull_check_duration_seconds" && f.GetName() != "whypull_registry_probe_phase_seconds" {
			continue
		}
		found++
		h := f.GetMetric()[0].GetHistogram()
		// Deltas between buckets: nine in the first, eight fewer in the other.
		if d := h.GetPositiveDelta(); len(d) != 2 || d[0] != 9 || d[1] != -8 || h.GetSchema() != 1 || h.GetSampleCount() != 10 || len(h.GetBucket()) != 0 {
			t.Errorf("%s: %v", f.GetName(), h)
		}
	}
	if found != 2 {
		t.Errorf("%d histograms", found)
	}
}

// TestProcess checks that the useful process metrics are exposed, and none of the
// node's network.
func TestProcess(t *testing.T) {
	t.Parallel()
	families, err := New("v1").Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "process_") {
			got = append(got, f.GetName())
		}
	}
	if want := "process_cpu_seconds_total process_open_fds process_resident_memory_bytes process_start_time_seconds"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// An agent that requires no admission policy has no series that would fire the
// alert on a missing one.
func TestGuarded(t *testing.T) {
	t.Parallel()
	m := New("v1")
	const name = "whypull_admission_guarded"
	wantMetrics(t, m, "", name)
	for _, guarded := range []bool{false, true, false} {
		m.Guarded(guarded)
		value := 0
		if guarded {
			value = 1
		}
		wantMetrics(t, m, fmt.Sprintf(`
# HELP whypull_admission_guarded 1 if the API server is known to enforce the admission policies on the agent, 0 if not; absent if they are not required.
# TYPE whypull_admission_guarded gauge
whypull_admission_guarded %d
`, value), name)
	}
}

// There is one series, with the access in use.
func TestSecretAccess(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for _, mode := range []string{"unknown", "impersonate", "kubelet", "none", "none"} {
		if mode != "unknown" {
			m.SecretAccess(mode)
		}
		wantMetrics(t, m, fmt.Sprintf(`
# HELP whypull_build_info Always 1; the labels are the versions of whypull and of Go, and how pull secrets are read: impersonate, kubelet, direct, none, refused or unknown.
# TYPE whypull_build_info gauge
whypull_build_info{goversion=%q,secret_access=%q,version="v1"} 1
`, runtime.Version(), mode), "whypull_build_info")
	}
}

func TestCountersStartAtZero(t *testing.T) {
	t.Parallel()
	m := New("v1")
	names := []string{"whypull_api_writes_total", "whypull_secret_reads_total", "whypull_cri_up"}
	const text = `
# HELP whypull_api_writes_total Number of write requests to the API server, by result.
# TYPE whypull_api_writes_total counter
whypull_api_writes_total{result="error"} %d
whypull_api_writes_total{result="success"} %d
# HELP whypull_cri_up 1 if the container runtime answered the last request, 0 if it did not.
# TYPE whypull_cri_up gauge
whypull_cri_up %d
# HELP whypull_secret_reads_total Number of pull secrets read, by result.
# TYPE whypull_secret_reads_total counter
whypull_secret_reads_total{result="error"} %d
whypull_secret_reads_total{result="forbidden"} %d
whypull_secret_reads_total{result="found"} %d
whypull_secret_reads_total{result="missing"} %d
`
	wantMetrics(t, m, fmt.Sprintf(text, 0, 0, 0, 0, 0, 0, 0), names...)
	m.Wrote(nil)
	m.Wrote(nil)
	m.Wrote(errors.New("conflict"))
	m.RuntimeUp(true)
	for i, result := range []string{"error", "forbidden", "found", "missing"} {
		for range i + 1 {
			m.SecretRead(result)
		}
	}
	wantMetrics(t, m, fmt.Sprintf(text, 1, 2, 1, 1, 2, 3, 4), names...)
	m.RuntimeUp(false)
	wantMetrics(t, m, fmt.Sprintf(text, 1, 2, 0, 1, 2, 3, 4), names...)
}

func TestSelf(t *testing.T) {
	t.Parallel()
	m := New("v1.2.3")
	m.Synced(time.UnixMilli(1_700_000_000_250))
	wantMetrics(t, m, `
# HELP whypull_build_info Always 1; the labels are the versions of whypull and of Go, and how pull secrets are read: impersonate, kubelet, direct, none, refused or unknown.
# TYPE whypull_build_info gauge
whypull_build_info{goversion="`+runtime.Version()+`",secret_access="unknown",version="v1.2.3"} 1
# HELP whypull_last_sync_timestamp_seconds Unix time at which the watch on pods last received data.
# TYPE whypull_last_sync_timestamp_seconds gauge
whypull_last_sync_timestamp_seconds 1.70000000025e+09
`, "whypull_build_info", "whypull_last_sync_timestamp_seconds")
}

// worst is the worst case of a node: 250 failing pods over 40 registries,
// 100 running pulls, every cause, confidence, check and outcome of a check that runs today.
func worst() *Agent {
	m := New("v1")
	all := diagnosis.Catalogue()
	for i := range 250 {
		first := failingAt(all[i%len(all)].Cause, fmt.Sprintf("r%d.test", i%40), diagnosis.ComparedOther)
		second := failingAt(all[i*7%len(all)].Cause, fmt.Sprintf("r%d.test", i%7), diagnosis.ComparedOther)
		first.Failure.Pod, second.Failure.Pod, second.Failure.Container = fmt.Sprint("pod-", i), fmt.Sprint("pod-", i), "second"
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{first, second})
		m.Unavailable(fmt.Sprint("r", i), []diagnosis.Verdict{first, second})
		m.CertificateExpires(fmt.Sprintf("r%d.test", i%40), since())
		m.RateLimit(fmt.Sprintf("r%d.test", i%40), i, true)
	}
	for i := range int64(50) {
		pod := fmt.Sprint("p", i)
		m.Pulling(pod, []diagnosis.Progress{going(pod, i, 100)})
		stood := stalled("s"+pod, i, 100)
		stood.Evidence = append(stood.Evidence, diagnosis.Finding{Evidence: diagnosis.Evidence{Check: diagnosis.CheckPodDNS, Outcome: diagnosis.Passed, Body: &diagnosis.DNSFacts{Compared: diagnosis.ComparedOther}}})
		m.Failing("s"+pod, []diagnosis.Verdict{stood})
	}
	for _, e := range all {
		for _, c := range confidences() {
			m.Diagnosed(newVerdict(cause(e.Cause), func(v *diagnosis.Verdict) { v.Confidence = c }))
		}
	}
	m.SecretAccess("kubelet")
	for _, phase := range diagnosis.Phases() {
		m.Phase(phase, time.Second)
	}
	for _, check := range []diagnosis.Check{diagnosis.CheckImage, diagnosis.CheckCredentials, diagnosis.CheckNodeDNS, diagnosis.CheckPodDNS, diagnosis.CheckRegistry, diagnosis.CheckPull} {
		for _, o := range outcomes() {
			m.Checked(check, o, time.Second)
		}
	}
	return m
}

func TestSeries(t *testing.T) {
	t.Parallel()
	idle := series(t, New("v1"))
	if idle > 150 {
		t.Errorf("idle: got %d series, want at most 150", idle)
	}
	m := worst()
	most := series(t, m)
	if most > 300 {
		t.Errorf("at worst: got %d series, want at most 300", most)
	}
	t.Logf("%d series idle, %d at worst", idle, most)
	if n, err := testutil.GatherAndCount(m.Gatherer(), "whypull_pod_failure_info"); err != nil || n != 50 {
		t.Errorf("%d failing containers are named (%v), want 50", n, err)
	}
	if n := len(m.countFailing()); n > failingSeries {
		t.Errorf("got %d series of whypull_failing_containers, want at most %d", n, failingSeries)
	}
	total := 0
	for _, n := range m.countFailing() {
		total += n
	}
	if total != 550 {
		t.Errorf("got %d failing containers, want all 550", total)
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*Agent{"idle": New("v1"), "worst": worst()} {
		problems, err := testutil.GatherAndLint(m.Gatherer())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

func TestScrapesWhileVerdictsChange(t *testing.T) {
	t.Parallel()
	m := New("v1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			uid := fmt.Sprint(i)
			for range 50 {
				m.Failing(uid, []diagnosis.Verdict{failingAt(diagnosis.TagNotFound, uid+".test")})
				m.Diagnosed(newVerdict())
				if _, err := m.Gatherer().Gather(); err != nil {
					t.Errorf("got error %v, want none", err)
				}
				m.Failing(uid, nil)
			}
		})
	}
	wg.Wait()
	wantMetrics(t, m, "", "whypull_failing_containers")
}
