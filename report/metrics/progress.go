package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
)

// progressSeries is the maximum number of pulls in each of the two metrics.
const progressSeries = 5

// Pulling sets the progress of a pod's running pulls; an empty slice removes the pod.
func (m *Agent) Pulling(uid string, pulls []diagnosis.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(pulls) == 0 {
		delete(m.pulling, uid)
		return
	}
	m.pulling[uid] = pulls
}

// pull is a running pull. It has a cause if it has stalled.
type pull struct {
	labels      podLabels
	done, total int64
}

func (p *pull) stalled() float64 { return oneIf(p.labels.cause != "") }

// progressCollector collects the metrics of running pulls.
func (m *Agent) progressCollector() collector {
	labels := podLabelNames
	bytes := prometheus.NewDesc("whypull_pull_progress_bytes",
		"Compressed bytes received of the images being pulled, the largest 5 per node; cause is empty unless the pull has stalled.", labels, nil)
	stalled := prometheus.NewDesc("whypull_pull_stalled",
		"1 if a pull has stalled, 0 if it makes progress, at most 5 per node: stalled pulls first, then the largest images.", labels, nil)
	return collector{[]*prometheus.Desc{bytes, stalled}, func(ch chan<- prometheus.Metric) {
		all := m.pulls()
		for _, p := range shown(all) {
			ch <- gauge(bytes, float64(p.done), p.labels.values()...)
		}
		slices.SortStableFunc(all, func(a, b *pull) int { return cmp.Compare(b.stalled(), a.stalled()) })
		for _, p := range shown(all) {
			ch <- gauge(stalled, p.stalled(), p.labels.values()...)
		}
	}}
}

// shown returns the pulls with a series: of each namespace in turn the first.
func shown(all []*pull) []*pull {
	var out []*pull
	for _, i := range share.InTurn(len(all), progressSeries, func(i int) string { return all[i].labels.namespace }) {
		out = append(out, all[i])
	}
	return out
}

// pulls returns the pulls that make progress and those that have stalled, largest
// first, with distinct labels.
func (m *Agent) pulls() []*pull {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := namedRegistries(m.failing)
	var all []*pull // sorting pointers keeps the binary smaller
	for _, pulls := range m.pulling {
		for _, p := range pulls {
			all = append(all, &pull{labelsOf(p.Failure, ""), p.Done, p.Total})
		}
	}
	for _, failing := range m.failing {
		for _, f := range failing {
			if f.stalled != nil {
				p := *f.stalled
				p.labels.registry = registryLabel(named, p.labels.registry)
				all = append(all, &p)
			}
		}
	}
	slices.SortFunc(all, func(a, b *pull) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(b.done, a.done), a.labels.compare(b.labels))
	})
	// A container and an image volume may have the same name.
	return distinct(all)
}

// stalledPull returns the pull that a verdict reports as stalled; nil if it reports
// none.
func stalledPull(v diagnosis.Verdict) *pull {
	for _, e := range v.Evidence {
		if v.Cause == diagnosis.PullStalled && e.Fault == diagnosis.FaultStalled {
			return &pull{labelsOf(v.Failure, v.Cause), e.Pull().Done, e.Pull().Total}
		}
	}
	return nil
}

// distinct removes pulls with the labels of an earlier one: with a duplicate
// series the whole scrape would fail.
func distinct(all []*pull) []*pull {
	seen := map[podLabels]bool{}
	return slices.DeleteFunc(all, func(p *pull) bool {
		again := seen[p.labels]
		seen[p.labels] = true
		return again
	})
}
