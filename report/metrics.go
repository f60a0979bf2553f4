package report

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/whypull/whypull/agent/diagnosis"
)

// topRegistries is how many registries get a label value of their own; the
// rest are "other". failingSeries is how many series whypull_failing_containers
// may have.
const (
	topRegistries = 10
	failingSeries = 48
)

// Metrics are whypull's own. All labels are closed sets or bounded.
type Metrics struct {
	registry *prometheus.Registry

	diagnoses *prometheus.CounterVec
	time      prometheus.Histogram
	checks    *prometheus.HistogramVec
	phases    *prometheus.HistogramVec
	criUp     prometheus.Gauge
	writes    *prometheus.CounterVec
	secrets   *prometheus.CounterVec
	synced    prometheus.Gauge
	guarded   *prometheus.GaugeVec // without a series until Guarded is called

	mu      sync.Mutex
	failing map[string][]diagnosis.Verdict // by pod uid
	pulling map[string][]diagnosis.Progress
	counted map[causeAndConfidence]bool // by diagnoses

	certificates, limits *recent // by registry
}

// diagnosisSeries is how many series whypull_diagnoses_total has by cause. What
// comes to a node after as many different ones is counted as other.
const diagnosisSeries = 20

type causeAndConfidence struct {
	cause      string
	confidence diagnosis.Confidence
}

// NewMetrics returns the metrics of an agent of this version.
func NewMetrics(version string) *Metrics {
	m := NewMetricsWithoutPods(version)
	m.registry.MustRegister(progress{m}, podFailures{m})
	return m
}

// NewMetricsWithoutPods is NewMetrics without the metrics that name pods.
func NewMetricsWithoutPods(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), failing: map[string][]diagnosis.Verdict{}, pulling: map[string][]diagnosis.Progress{}, counted: map[causeAndConfidence]bool{},
		certificates: newRecent(certificateLife), limits: newRecent(limitLife)}
	m.diagnoses = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_diagnoses_total", Help: "Verdicts reached, by cause and confidence."}, []string{"cause", "confidence"})
	m.time = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "whypull_time_to_diagnosis_seconds", Help: "Time from the kubelet's failing status being seen to the annotation being written.",
		Buckets: []float64{.05, .1, .3, 1, 2, 5, 10}})
	m.checks = prometheus.NewHistogramVec(native("whypull_check_duration_seconds", "Duration of the checks that ran, by check and outcome."), []string{"check", "outcome"})
	m.phases = prometheus.NewHistogramVec(native("whypull_registry_probe_phase_seconds", "Duration of the phases of conversations with registries."), []string{"phase"})
	m.criUp = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "whypull_cri_up", Help: "1 if the container runtime answered the last time it was asked, else 0."})
	m.writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_api_writes_total", Help: "Requests to the API server that write, by result."}, []string{"result"})
	m.secrets = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_secret_reads_total", Help: "Pull secrets read, by result."}, []string{"result"})
	for _, result := range []string{"success", "error"} {
		m.writes.WithLabelValues(result) // so that a first error is an increase
	}
	for _, result := range []string{"found", "missing", "forbidden", "error"} {
		m.secrets.WithLabelValues(result)
	}
	m.synced = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "whypull_last_sync_timestamp_seconds", Help: "Unix time at which the watch on pods was last heard of."})
	m.guarded = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "whypull_admission_guarded", Help: "1 if the API server refuses the agent what the admission policies forbid, else 0; absent if they are not required."}, nil)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "whypull_build_info", Help: "1, labelled with the version of whypull and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	info.Set(1)
	m.registry.MustRegister(m.diagnoses, m.time, m.checks, m.phases, m.criUp, m.writes, m.secrets, m.synced, m.guarded, info, failing{m}, mismatch{m}, registries{m},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// native are the options of a native histogram without classic buckets. Who does
// not scrape native histograms gets three series of it, count, sum and the bucket
// of all, and so averages; who does gets one, and quantiles to within a half.
func native(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help, NativeHistogramBucketFactor: 1.5,
		NativeHistogramMaxBucketNumber: 40, NativeHistogramMinResetDuration: time.Hour}
}

// Gatherer gives the metrics to whoever exposes them.
func (m *Metrics) Gatherer() prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := m.registry.Gather()
		return slices.DeleteFunc(families, unwanted), err
	})
}

// unwanted tells of what the library knows of a process beside CPU time, memory,
// open files and start: limits, and what the network carries, which in the node's
// network is the node's.
func unwanted(f *dto.MetricFamily) bool {
	wanted := []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"}
	return strings.HasPrefix(f.GetName(), "process_") && !slices.Contains(wanted, f.GetName())
}

// Diagnosed counts a verdict.
func (m *Metrics) Diagnosed(v diagnosis.Verdict) {
	m.diagnoses.WithLabelValues(m.countedAs(causeAndConfidence{string(v.Cause), v.Confidence}), string(v.Confidence)).Inc()
}

// countedAs is the cause under which a verdict is counted.
func (m *Metrics) countedAs(k causeAndConfidence) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.counted[k] && len(m.counted) == diagnosisSeries {
		return otherCauses
	}
	m.counted[k] = true
	return k.cause
}

const otherCauses = "other"

// Told notes how long it took from seeing a failure to telling it.
func (m *Metrics) Told(d time.Duration) { m.time.Observe(d.Seconds()) }

// Checked notes how long a check took. One that did not run took no time.
func (m *Metrics) Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration) {
	if outcome == diagnosis.NotRun {
		return
	}
	m.checks.WithLabelValues(string(check), string(outcome)).Observe(d.Seconds())
}

// Phase notes how long a phase of a conversation with a registry took.
func (m *Metrics) Phase(phase diagnosis.Phase, d time.Duration) {
	if phase != diagnosis.PhaseBlob { // which may be large
		m.phases.WithLabelValues(string(phase)).Observe(d.Seconds())
	}
}

// RuntimeUp notes whether the runtime answers.
func (m *Metrics) RuntimeUp(up bool) {
	m.criUp.Set(0)
	if up {
		m.criUp.Set(1)
	}
}

// Guarded notes whether the admission policies are proved to limit the agent.
func (m *Metrics) Guarded(guarded bool) {
	value := 0.0
	if guarded {
		value = 1
	}
	m.guarded.WithLabelValues().Set(value)
}

// Wrote counts a write to the API server.
func (m *Metrics) Wrote(err error) { m.writes.WithLabelValues(result(err)).Inc() }

// SecretRead counts the reading of a secret; result is found, missing,
// forbidden or error.
func (m *Metrics) SecretRead(result string) { m.secrets.WithLabelValues(result).Inc() }

// Synced notes when the watch was last heard of.
func (m *Metrics) Synced(t time.Time) { m.synced.Set(float64(t.UnixMilli()) / 1000) }

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}

// Failing sets the verdicts of a pod's failing containers; none removes the
// pod.
func (m *Metrics) Failing(uid string, verdicts []diagnosis.Verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(verdicts) == 0 {
		delete(m.failing, uid)
		return
	}
	m.failing[uid] = verdicts
}

// failing is a collector, since which registries are named depends on all
// that fail at the time.
type failing struct{ m *Metrics }

type causeAndRegistry struct{ cause, registry string }

func (failing) desc() *prometheus.Desc {
	return prometheus.NewDesc("whypull_failing_containers",
		"Containers of this node that cannot get their image, by cause and registry.", []string{"cause", "registry"}, nil)
}

// Describe implements prometheus.Collector.
func (f failing) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc() }

// Collect implements prometheus.Collector.
func (f failing) Collect(ch chan<- prometheus.Metric) {
	for k, n := range f.m.countFailing() {
		ch <- prometheus.MustNewConstMetric(f.desc(), prometheus.GaugeValue, float64(n), k.cause, k.registry)
	}
}

func (m *Metrics) countFailing() map[causeAndRegistry]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := m.namedRegistries()
	counts := map[causeAndRegistry]int{}
	for _, verdicts := range m.failing {
		for _, v := range verdicts {
			registry := oneOf(named, v.Failure.Registry)
			counts[causeAndRegistry{string(v.Cause), registry}]++
		}
	}
	return fold(counts, failingSeries)
}

const otherRegistries = "other"

// oneOf is the label of a registry.
func oneOf(named []string, registry string) string {
	if slices.Contains(named, registry) {
		return registry
	}
	return otherRegistries
}

// fold adds the smallest counts to their cause's other registries, until at
// most n are left or no registry is named any more.
func fold(counts map[causeAndRegistry]int, n int) map[causeAndRegistry]int {
	named := slices.DeleteFunc(slices.Collect(maps.Keys(counts)), func(k causeAndRegistry) bool { return k.registry == otherRegistries })
	slices.SortFunc(named, func(a, b causeAndRegistry) int {
		return cmp.Or(counts[a]-counts[b], cmp.Compare(a.cause, b.cause), cmp.Compare(a.registry, b.registry))
	})
	for _, k := range named {
		if len(counts) <= n {
			break
		}
		counts[causeAndRegistry{k.cause, otherRegistries}] += counts[k]
		delete(counts, k)
	}
	return counts
}

// namedRegistries are the registries with the most failures.
func (m *Metrics) namedRegistries() []string {
	counts := map[string]int{}
	for _, verdicts := range m.failing {
		for _, v := range verdicts {
			if v.Failure.Registry != "" {
				counts[v.Failure.Registry]++
			}
		}
	}
	var all []string
	for r := range counts {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	return all[:min(len(all), topRegistries)]
}

// mismatch is a collector of how the names of failing registries fare in pods
// beside on the node.
type mismatch struct{ m *Metrics }

func (mismatch) desc() *prometheus.Desc {
	return prometheus.NewDesc("whypull_dns_mismatch",
		"1 if a failing pod and its node resolve the registry's name differently, 0 if they agree.", []string{"registry"}, nil)
}

// Describe implements prometheus.Collector.
func (c mismatch) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc() }

// Collect implements prometheus.Collector.
func (c mismatch) Collect(ch chan<- prometheus.Metric) {
	for registry, differs := range c.m.mismatches() {
		value := 0.0
		if differs {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(c.desc(), prometheus.GaugeValue, value, registry)
	}
}

func (m *Metrics) mismatches() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := m.namedRegistries()
	out := map[string]bool{}
	for _, verdicts := range m.failing {
		for _, v := range verdicts {
			registry := oneOf(named, v.Failure.Registry)
			for _, e := range v.Evidence {
				if e.DNS().Compared != "" {
					out[registry] = out[registry] || e.DNS().Compared.Differs()
				}
			}
		}
	}
	return out
}
