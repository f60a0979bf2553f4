package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// podSeries is the maximum number of failing containers with series of their own,
// those that have failed longest: one of whypull_pod_failure_info and one of
// whypull_pod_failure_start_timestamp_seconds. whypull_failing_containers counts
// them all, whypull_pod_failure_info_dropped those beyond the limit.
const podSeries = 50

// podLabelNames are the labels that name a container, its cause and its registry. They
// are not namespace, pod and container, which scrape configurations set to those of the
// agent's own pod: with honor_labels off, or with a namespace that the Prometheus
// operator enforces, the failing pod's would be renamed or lost.
var podLabelNames = []string{"pod_namespace", "pod_name", "container_name", "cause", "registry"} //nolint:gochecknoglobals // never written

// podLabels are the values of podLabelNames for one failing container.
type podLabels struct{ namespace, pod, container, cause, registry string }

func (l podLabels) values() []string {
	return []string{l.namespace, l.pod, l.container, l.cause, l.registry}
}

func (l podLabels) compare(o podLabels) int { return slices.Compare(l.values(), o.values()) }

// podFailure is a failing container and the start of its failure.
type podFailure struct {
	labels podLabels
	since  time.Time
}

// podsCollector collects the metrics that name failing containers.
func (m *Agent) podsCollector() collector {
	labels := podLabelNames
	info := prometheus.NewDesc("whypull_pod_failure_info", "Always 1, for each container that currently cannot get its image, at most 50 per node.", labels, nil)
	start := prometheus.NewDesc("whypull_pod_failure_start_timestamp_seconds", "Unix time since which the container cannot get its image, with the labels of whypull_pod_failure_info.", labels, nil)
	dropped := prometheus.NewDesc("whypull_pod_failure_info_dropped", "Number of failing containers on this node without a whypull_pod_failure_info series because of its limit.", nil, nil)
	return collector{[]*prometheus.Desc{info, start, dropped}, func(ch chan<- prometheus.Metric) {
		all := m.podFailures()
		named := all[:min(len(all), podSeries)]
		for _, f := range named {
			ch <- gauge(info, 1, f.labels.values()...)
			ch <- gauge(start, float64(f.since.UnixMilli())/1000, f.labels.values()...)
		}
		ch <- gauge(dropped, float64(len(all)-len(named)))
	}}
}

// podFailures returns the failing containers, longest failing first. Those with
// the same labels are merged: a volume can have the name of a container, and a pod
// that of the pod it replaces.
func (m *Agent) podFailures() []podFailure {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := m.namedRegistries()
	since := make(map[podLabels]time.Time, len(m.failing))
	for _, all := range m.failing {
		for _, f := range all {
			l := f.labels
			l.registry = registryLabel(named, l.registry)
			if known, ok := since[l]; !ok || f.since.Before(known) {
				since[l] = f.since
			}
		}
	}
	all := make([]podFailure, 0, len(since))
	for l, at := range since {
		all = append(all, podFailure{l, at})
	}
	slices.SortFunc(all, func(a, b podFailure) int { return cmp.Or(a.since.Compare(b.since), a.labels.compare(b.labels)) })
	return all
}
