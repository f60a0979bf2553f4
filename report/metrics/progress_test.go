package metrics

import (
	"fmt"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

// stalled returns a verdict on a stalled pull.
func stalled(pod string, done, total int64) diagnosis.Verdict {
	return newVerdict(cause(diagnosis.PullStalled), func(v *diagnosis.Verdict) {
		v.Failure.Pod = pod
		v.Evidence = []diagnosis.Finding{{Evidence: diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Fault: diagnosis.FaultStalled, Body: &diagnosis.PullFacts{Done: done, Total: total}}}}
	})
}

func going(pod string, done, total int64) diagnosis.Progress {
	p := diagnosis.Progress{Failure: newVerdict().Failure, Done: done, Total: total}
	p.Failure.Pod = pod
	return p
}

const (
	progressHead = `
# HELP whypull_pull_progress_bytes Compressed bytes received of the images being pulled, the largest 5 per node; cause is empty unless the pull has stalled.
# TYPE whypull_pull_progress_bytes gauge
`
	stalledHead = `# HELP whypull_pull_stalled 1 if a pull has stalled, 0 if it makes progress, at most 5 per node: stalled pulls first, then the largest images.
# TYPE whypull_pull_stalled gauge
`
)

func seriesOf(metric, pod, cause string, value int) string {
	return fmt.Sprintf("%s{cause=%q,container_name=\"app\",pod_name=%q,pod_namespace=\"shop\",registry=\"hub.test2.company.com\"} %d\n", metric, cause, pod, value)
}

func TestProgressMetrics(t *testing.T) {
	t.Parallel()
	names := []string{"whypull_pull_progress_bytes", "whypull_pull_stalled"}
	m := New("v1")
	wantMetrics(t, m, "", names...)
	m.Pulling("a", []diagnosis.Progress{going("a", 31, 46)})
	m.Failing("b", []diagnosis.Verdict{stalled("b", 5, 9), newVerdict()})
	wantMetrics(t, m, progressHead+seriesOf(names[0], "a", "", 31)+seriesOf(names[0], "b", "PullStalled", 5)+
		stalledHead+seriesOf(names[1], "a", "", 0)+seriesOf(names[1], "b", "PullStalled", 1), names...)
	m.Pulling("a", nil)
	m.Failing("b", nil)
	wantMetrics(t, m, "", names...)
}

// Of many pulls the largest and the stalled ones have series.
func TestProgressMetricsAreBounded(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 9 {
		pod := fmt.Sprint("p", i)
		m.Pulling(pod, []diagnosis.Progress{going(pod, int64(i), int64(100+i))})
	}
	m.Failing("s", []diagnosis.Verdict{stalled("s", 1, 2)})
	var bytes, stood string
	for i := 4; i < 9; i++ {
		bytes += seriesOf("whypull_pull_progress_bytes", fmt.Sprint("p", i), "", i)
	}
	for i := 5; i < 9; i++ {
		stood += seriesOf("whypull_pull_stalled", fmt.Sprint("p", i), "", 0)
	}
	stood += seriesOf("whypull_pull_stalled", "s", "PullStalled", 1)
	wantMetrics(t, m, progressHead+bytes, "whypull_pull_progress_bytes")
	wantMetrics(t, m, "\n"+stalledHead+stood, "whypull_pull_stalled")
}

// A namespace's large and stalled pulls leave room for another's.
func TestNamespacesShareProgress(t *testing.T) {
	t.Parallel()
	m := New("v1")
	for i := range 2 * progressSeries {
		v := stalled(fmt.Sprint("p", i), 1, int64(100+i))
		v.Failure.Namespace = "evil"
		m.Failing(fmt.Sprint(i), []diagnosis.Verdict{v})
	}
	m.Pulling("victim", []diagnosis.Progress{going("web", 1, 2)})
	all := m.pulls()
	if got := shown(all); len(got) != progressSeries || got[1].labels.pod != "web" {
		t.Errorf("%d are shown, the second is of pod %s", len(got), got[1].labels.pod)
	}
}

// A container and an image volume of a pod can have the same name: there must be
// one series, or the scrape would fail.
func TestProgressMetricsAreDistinct(t *testing.T) {
	t.Parallel()
	m := New("v1")
	volume := going("a", 7, 8)
	volume.Failure.Kind = diagnosis.KindImageVolume
	m.Pulling("a", []diagnosis.Progress{going("a", 1, 2), volume})
	wantMetrics(t, m, progressHead+seriesOf("whypull_pull_progress_bytes", "a", "", 7), "whypull_pull_progress_bytes")
}
