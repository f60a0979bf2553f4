package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
)

// podSeries is the maximum number of containers with series of their own, of each namespace
// those that have failed longest, then those whose image could not be pulled again: one of
// whypull_pod_failure_info and one of whypull_pod_failure_start_timestamp_seconds, or one of
// whypull_image_unavailable. whypull_failing_containers counts all that fail,
// whypull_pod_failure_info_dropped and whypull_image_unavailable_dropped those beyond the limit.
const podSeries = 50

// podLabelNames are the labels that name a container, its cause and its registry. They
// are not namespace, pod and container, which scrape configurations set to those of the
// agent's own pod: with honor_labels off, or with a namespace that the Prometheus
// operator enforces, the failing pod's would be renamed or lost.
var podLabelNames = []string{"pod_namespace", "pod_name", "container_name", "cause", "registry"} //nolint:gochecknoglobals // never written

// podLabels are the values of podLabelNames for one failing container.
type podLabels struct{ namespace, pod, container, cause, registry string }

func labelsOf(f diagnosis.Failure, cause diagnosis.Cause) podLabels {
	return podLabels{f.Namespace, f.Pod, f.Container, string(cause), f.Registry}
}

func (l podLabels) values() []string {
	return []string{l.namespace, l.pod, l.container, l.cause, l.registry}
}

func (l podLabels) compare(o podLabels) int { return slices.Compare(l.values(), o.values()) }

// podFailure is a container and the start of its failure, or since when its image could
// not be pulled again, if it runs.
type podFailure struct {
	labels podLabels
	since  time.Time
	runs   bool
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
		all := append(m.podFailures(m.failing, false), m.podFailures(m.unavailable, true)...)
		unnamed := map[bool]int{} // by runs
		for _, f := range all {
			unnamed[f.runs]++
		}
		for _, i := range share.InTurn(len(all), podSeries, func(i int) string { return all[i].labels.namespace }) {
			f := all[i]
			unnamed[f.runs]--
			if f.runs {
				ch <- gauge(unavailable, 1, f.labels.values()...)
				continue
			}
			ch <- gauge(info, 1, f.labels.values()...)
			ch <- gauge(start, float64(f.since.UnixMilli())/1000, f.labels.values()...)
		}
		ch <- gauge(dropped, float64(unnamed[false]))
		ch <- gauge(omitted, float64(unnamed[true]))
	}}
}

// podFailures returns the containers, those with the earliest start first. Those with
// the same labels are merged: a volume can have the name of a container, and a pod
// that of the pod it replaces.
func (m *Agent) podFailures(failures map[string][]failing, run bool) []*podFailure {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := namedRegistries(failures)
	since := make(map[podLabels]time.Time, len(failures))
	for _, containers := range failures {
		for _, f := range containers {
			f.labels.registry = registryLabel(named, f.labels.registry)
			if known, ok := since[f.labels]; !ok || f.since.Before(known) {
				since[f.labels] = f.since
			}
		}
	}
	all := make([]*podFailure, 0, len(since))
	for l, at := range since {
		all = append(all, &podFailure{l, at, run})
	}
	slices.SortFunc(all, func(a, b *podFailure) int { return cmp.Or(a.since.Compare(b.since), a.labels.compare(b.labels)) })
	return all
}
