package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whypull/whypull/agent/diagnosis"
)

// podSeries is the maximum number of failing containers with series of their own, of each
// namespace those that have failed longest: one of whypull_pod_failure_info and one of
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

// podFailure is a container and the start of its failure, or since when its image could
// not be pulled again.
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
	unavailable := prometheus.NewDesc("whypull_image_unavailable", "Always 1, for each container of a running pod whose image could not be pulled again, at most 50 per node together with whypull_pod_failure_info.", labels, nil)
	omitted := prometheus.NewDesc("whypull_image_unavailable_dropped", "Number of containers on this node without a whypull_image_unavailable series because of its limit.", nil, nil)
	return collector{[]*prometheus.Desc{info, start, dropped, unavailable, omitted}, func(ch chan<- prometheus.Metric) {
		all := m.podFailures()
		named := all[:min(len(all), podSeries)]
		for _, f := range named {
			ch <- gauge(info, 1, f.labels.values()...)
			ch <- gauge(start, float64(f.since.UnixMilli())/1000, f.labels.values()...)
		}
		ch <- gauge(dropped, float64(len(all)-len(named)))
		running := m.podsUnavailable()
		shown := running[:min(len(running), podSeries-len(named))]
		for _, f := range shown {
			ch <- gauge(unavailable, 1, f.labels.values()...)
		}
		ch <- gauge(omitted, float64(len(running)-len(shown)))
	}}
}

// Unavailable sets the verdicts on a running pod's containers whose image could not be
// pulled again; an empty slice removes the pod.
func (m *Agent) Unavailable(uid string, verdicts []diagnosis.Verdict) {
	all := make([]podFailure, len(verdicts))
	for i, v := range verdicts {
		f := v.Failure
		all[i] = podFailure{podLabels{f.Namespace, f.Pod, f.Container, string(v.Cause), f.Registry}, f.Since}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(all) == 0 {
		delete(m.unavailable, uid)
		return
	}
	m.unavailable[uid] = all
}

// podsUnavailable returns the containers whose image could not be pulled again, longest
// unavailable first.
func (m *Agent) podsUnavailable() []*podFailure {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := map[string]int{}
	for _, all := range m.unavailable {
		for _, f := range all {
			counts[f.labels.registry]++
		}
	}
	named := mostFrequent(counts)
	since := map[podLabels]time.Time{}
	for _, all := range m.unavailable {
		for _, f := range all {
			note(since, f.labels, f.since, named)
		}
	}
	return longest(since)
}

// podFailures returns the failing containers, longest failing first. Those with
// the same labels are merged: a volume can have the name of a container, and a pod
// that of the pod it replaces.
func (m *Agent) podFailures() []*podFailure {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := m.namedRegistries()
	since := make(map[podLabels]time.Time, len(m.failing))
	for _, all := range m.failing {
		for _, f := range all {
			note(since, f.labels, f.since, named)
		}
	}
	return longest(since)
}

// note adds a container under the label of its registry.
func note(all map[podLabels]time.Time, l podLabels, since time.Time, named []string) {
	l.registry = registryLabel(named, l.registry)
	if known, ok := all[l]; !ok || since.Before(known) {
		all[l] = since
	}
}

// longest returns the containers, those with the earliest start first. Namespaces take
// turns: one with many that fail for long leaves room for the others.
func longest(since map[podLabels]time.Time) []*podFailure {
	all := make([]*podFailure, 0, len(since))
	for l, at := range since {
		all = append(all, &podFailure{l, at})
	}
	turns, place := map[string]int{}, map[podLabels]int{} // place is empty at first
	order := func(a, b *podFailure) int {
		return cmp.Or(place[a.labels]-place[b.labels], a.since.Compare(b.since), a.labels.compare(b.labels))
	}
	slices.SortFunc(all, order)
	for _, f := range all {
		place[f.labels] = turns[f.labels.namespace]
		turns[f.labels.namespace]++
	}
	slices.SortFunc(all, order)
	return all
}
