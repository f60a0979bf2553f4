// Package metrics counts what the agent does and finds, for Prometheus.
package metrics

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
)

// topRegistries is the number of registries with a label value of their own, those with
// the most containers of each namespace; the
// rest are "other". failingSeries is the maximum number of series of
// whypull_failing_containers.
const (
	topRegistries = 10
	failingSeries = 47
)

// Agent holds the metrics of an agent. The values of all labels are closed sets or bounded. It is safe for concurrent use.
type Agent struct {
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
	info      *prometheus.GaugeVec // one series

	mu      sync.Mutex
	failing map[string][]failing // by pod uid
	pulling map[string][]diagnosis.Progress
	// unavailable are the containers of running pods whose image could not be pulled again.
	unavailable map[string][]failing
	counted     map[causeAndConfidence]bool // by diagnoses
	access      string                      // in info

	certificates, limits *recent // by registry
}

// diagnosisSeries is the number of pairs of cause and confidence that
// whypull_diagnoses_total counts separately. Verdicts with further pairs have the
// cause "other".
const diagnosisSeries = 20

type causeAndConfidence struct {
	cause      string
	confidence diagnosis.Confidence
}

// New returns the metrics of an agent; version is that of whypull_build_info.
func New(version string) *Agent {
	m := NewWithoutPods(version)
	m.registry.MustRegister(m.progressCollector(), m.podsCollector())
	return m
}

// NewWithoutPods is New without the metrics that name pods.
func NewWithoutPods(version string) *Agent {
	m := &Agent{registry: prometheus.NewRegistry(), failing: map[string][]failing{}, pulling: map[string][]diagnosis.Progress{}, unavailable: map[string][]failing{}, counted: map[causeAndConfidence]bool{},
		certificates: newRecent(certificateLife), limits: newRecent(limitLife)}
	m.diagnoses = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_diagnoses_total", Help: "Number of verdicts, by cause and confidence."}, []string{"cause", "confidence"})
	m.time = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "whypull_time_to_diagnosis_seconds", Help: "Time in seconds from seeing the kubelet's failed status to writing the pod's annotation.",
		Buckets: []float64{.05, .1, .3, 1, 2, 5, 10}})
	m.checks = prometheus.NewHistogramVec(native("whypull_check_duration_seconds", "Duration in seconds of the checks that ran, by check and outcome."), []string{"check", "outcome"})
	m.phases = prometheus.NewHistogramVec(native("whypull_registry_probe_phase_seconds", "Duration in seconds of the phases of registry probes, by phase."), []string{"phase"})
	m.criUp = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "whypull_cri_up", Help: "1 if the container runtime answered the last request, 0 if it did not."})
	m.writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_api_writes_total", Help: "Number of write requests to the API server, by result."}, []string{"result"})
	m.secrets = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "whypull_secret_reads_total", Help: "Number of pull secrets read, by result."}, []string{"result"})
	for _, result := range []string{"success", "error"} {
		m.writes.WithLabelValues(result) // so that a first error is an increase
	}
	for _, result := range []string{"found", "missing", "forbidden", "error"} {
		m.secrets.WithLabelValues(result)
	}
	m.synced = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "whypull_last_sync_timestamp_seconds", Help: "Unix time at which the watch on pods last received data."})
	m.guarded = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "whypull_admission_guarded", Help: "1 if the API server is known to enforce the admission policies on the agent, 0 if not; absent if they are not required."}, nil)
	m.info = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "whypull_build_info", Help: "Always 1; the labels are the versions of whypull and of Go, and how pull secrets are read: impersonate, kubelet, direct, none, refused or unknown.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}}, []string{"secret_access"})
	m.SecretAccess("unknown")
	m.registry.MustRegister(m.diagnoses, m.time, m.checks, m.phases, m.criUp, m.writes, m.secrets, m.synced, m.guarded, m.info, m.failingCollector(), m.mismatchCollector(), m.registriesCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// native returns the options of a native histogram without classic buckets. A
// server that does not scrape native histograms gets three series (count, sum and
// the +Inf bucket), enough for averages.
func native(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help, NativeHistogramBucketFactor: 1.5,
		NativeHistogramMaxBucketNumber: 40, NativeHistogramMinResetDuration: time.Hour}
}

// Gatherer returns the gatherer to expose the metrics with.
func (m *Agent) Gatherer() prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := m.registry.Gather()
		return slices.DeleteFunc(families, unwanted), err
	})
}

// unwanted reports whether a metric of the process collector is dropped: all but
// CPU time, memory, open files and start time. Its network metrics would be those
// of the whole node, since the agent runs in the host network.
func unwanted(f *dto.MetricFamily) bool {
	wanted := []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"}
	return strings.HasPrefix(f.GetName(), "process_") && !slices.Contains(wanted, f.GetName())
}

// Diagnosed counts a verdict.
func (m *Agent) Diagnosed(v diagnosis.Verdict) {
	m.diagnoses.WithLabelValues(m.countedAs(causeAndConfidence{string(v.Cause), v.Confidence}), string(v.Confidence)).Inc()
}

// countedAs returns the cause label of a verdict: its cause or "other".
func (m *Agent) countedAs(k causeAndConfidence) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.counted[k] && len(m.counted) == diagnosisSeries {
		return otherCauses
	}
	m.counted[k] = true
	return k.cause
}

const otherCauses = "other"

// TimeToDiagnosis records the time from seeing a failure to writing its annotation.
func (m *Agent) TimeToDiagnosis(d time.Duration) { m.time.Observe(d.Seconds()) }

// Checked records how long a check took. It ignores checks that did not run.
func (m *Agent) Checked(check diagnosis.Check, outcome diagnosis.Outcome, d time.Duration) {
	if outcome == diagnosis.NotRun {
		return
	}
	m.checks.WithLabelValues(string(check), string(outcome)).Observe(d.Seconds())
}

// Phase records how long a phase of a registry probe took.
func (m *Agent) Phase(phase diagnosis.Phase, d time.Duration) {
	if phase != diagnosis.PhaseBlob { // which may be large
		m.phases.WithLabelValues(string(phase)).Observe(d.Seconds())
	}
}

// RuntimeUp records whether the runtime answers.
func (m *Agent) RuntimeUp(up bool) { m.criUp.Set(oneIf(up)) }

// Guarded records whether the admission policies are known to be enforced on the agent.
func (m *Agent) Guarded(guarded bool) { m.guarded.WithLabelValues().Set(oneIf(guarded)) }

// Wrote counts a write request to the API server with its error, if any.
func (m *Agent) Wrote(err error) { m.writes.WithLabelValues(result(err)).Inc() }

// SecretAccess records how pull secrets are read: impersonate, kubelet, direct, none or refused.
func (m *Agent) SecretAccess(mode string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.info.WithLabelValues(mode).Set(1) // before the old one goes, so that a scrape never sees none
	if m.access != mode {
		m.info.DeleteLabelValues(m.access)
	}
	m.access = mode
}

// SecretRead counts one read of a pull secret; result is found, missing, forbidden
// or error.
func (m *Agent) SecretRead(result string) { m.secrets.WithLabelValues(result).Inc() }

// Synced records when the watch last received data.
func (m *Agent) Synced(t time.Time) { m.synced.Set(float64(t.UnixMilli()) / 1000) }

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}

// failing is what the metrics say of one failing container, or of one that runs and whose
// image could not be pulled again. Its verdict may be large.
type failing struct {
	labels            podLabels // the registry whether or not it is named
	since             time.Time
	compared, differs bool // whether pod and node resolve the registry's name differently
	stalled           *pull
}

func newFailing(v diagnosis.Verdict) failing {
	out := failing{labels: labelsOf(v.Failure, v.Cause), since: v.Failure.Since, stalled: stalledPull(v)}
	for _, e := range v.Evidence {
		if compared := e.DNS().Compared; compared != "" {
			out.compared, out.differs = true, out.differs || compared.Differs()
		}
	}
	return out
}

// Failing sets the verdicts on a pod's failing containers; an empty slice removes
// the pod.
func (m *Agent) Failing(uid string, verdicts []diagnosis.Verdict) {
	m.replace(m.failing, uid, verdicts)
}

// Unavailable sets the verdicts on a running pod's containers whose image could not be
// pulled again; an empty slice removes the pod.
func (m *Agent) Unavailable(uid string, verdicts []diagnosis.Verdict) {
	m.replace(m.unavailable, uid, verdicts)
}

func (m *Agent) replace(in map[string][]failing, uid string, verdicts []diagnosis.Verdict) {
	all := make([]failing, len(verdicts))
	for i, v := range verdicts {
		all[i] = newFailing(v)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(all) == 0 {
		delete(in, uid)
		return
	}
	in[uid] = all
}

// collector collects gauges that are computed for each scrape.
type collector struct {
	descs   []*prometheus.Desc
	collect func(ch chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) { c.collect(ch) }

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type causeAndRegistry struct{ cause, registry string }

// failingCollector collects whypull_failing_containers, for each scrape because the
// registries that are named depend on all current failures.
func (m *Agent) failingCollector() collector {
	desc := prometheus.NewDesc("whypull_failing_containers",
		"Number of containers on this node that cannot get their image, by cause and registry.", []string{"cause", "registry"}, nil)
	return collector{[]*prometheus.Desc{desc}, func(ch chan<- prometheus.Metric) {
		for k, n := range m.countFailing() {
			ch <- gauge(desc, float64(n), k.cause, k.registry)
		}
	}}
}

func (m *Agent) countFailing() map[causeAndRegistry]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := namedRegistries(m.failing)
	counts := map[causeAndRegistry]int{}
	for _, all := range m.failing {
		for _, f := range all {
			counts[causeAndRegistry{f.labels.cause, registryLabel(named, f.labels.registry)}]++
		}
	}
	return fold(counts, failingSeries)
}

const otherRegistries = "other"

// registryLabel returns the label value of a registry.
func registryLabel(named []string, registry string) string {
	if slices.Contains(named, registry) {
		return registry
	}
	return otherRegistries
}

// fold moves the smallest counts to the registry "other" of their cause until at
// most n counts are left or no registry is named.
func fold(counts map[causeAndRegistry]int, n int) map[causeAndRegistry]int {
	named := slices.DeleteFunc(slices.Collect(maps.Keys(counts)), func(k causeAndRegistry) bool { return k.registry == otherRegistries })
	sort.Slice(named, func(i, j int) bool {
		a, b := named[i], named[j]
		return cmp.Or(counts[a]-counts[b], cmp.Compare(a.cause, b.cause), cmp.Compare(a.registry, b.registry)) < 0
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

// namedRegistries returns topRegistries registries of failures, whose lock must be held: of
// each namespace in turn the one with the most containers.
func namedRegistries(failures map[string][]failing) []string {
	counts := map[podLabels]int{} // of which only the namespace and the registry are set
	for _, containers := range failures {
		for _, f := range containers {
			if f.labels.registry != "" {
				counts[podLabels{namespace: f.labels.namespace, registry: f.labels.registry}]++
			}
		}
	}
	var all []*podLabels // sorting pointers keeps the binary smaller
	for l := range counts {
		all = append(all, &l)
	}
	slices.SortFunc(all, func(a, b *podLabels) int {
		return cmp.Or(counts[*b]-counts[*a], cmp.Compare(a.registry, b.registry), cmp.Compare(a.namespace, b.namespace))
	})
	var out []string
	for _, i := range share.InTurn(len(all), len(all), func(i int) string { return all[i].namespace }) {
		if len(out) == topRegistries {
			break
		}
		if !slices.Contains(out, all[i].registry) {
			out = append(out, all[i].registry)
		}
	}
	return out
}

// mismatchCollector collects whypull_dns_mismatch.
func (m *Agent) mismatchCollector() collector {
	desc := prometheus.NewDesc("whypull_dns_mismatch",
		"1 if a failing pod and its node resolve the registry's name differently, 0 if they agree, by registry.", []string{"registry"}, nil)
	return collector{[]*prometheus.Desc{desc}, func(ch chan<- prometheus.Metric) {
		for registry, differs := range m.mismatches() {
			ch <- gauge(desc, oneIf(differs), registry)
		}
	}}
}

func (m *Agent) mismatches() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := namedRegistries(m.failing)
	out := map[string]bool{}
	for _, all := range m.failing {
		for _, f := range all {
			if registry := registryLabel(named, f.labels.registry); f.compared {
				out[registry] = out[registry] || f.differs
			}
		}
	}
	return out
}
