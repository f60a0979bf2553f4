package chaos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
)

// due is how soon after a fault everything is to be right again. Slower is reported;
// only what is not right after patience fails the test.
const (
	due      = 30 * time.Second
	patience = 4 * time.Minute
)

// settles waits until whypull says the truth about every pod, and nothing else, and
// says how long that took whypull: what only the kubelet has to do yet is not late.
func (w *world) settles(ctx context.Context, t *testing.T) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	took, late := time.Duration(0), false
	for {
		wrong := slices.DeleteFunc(w.wrong(ctx), func(what string) bool { return w.reported[what] })
		if len(wrong) == 0 {
			t.Logf("whypull is right about %d pods %s after the fault", len(w.pods), took.Round(100*time.Millisecond))
			return
		}
		if ours := slices.DeleteFunc(slices.Clone(wrong), func(what string) bool { return strings.Contains(what, waitsForKubelet) }); len(ours) > 0 {
			took = time.Since(began)
			if !late && took > due {
				late = true
				t.Logf("SLOW, after %s:\n%s", due, strings.Join(ours, "\n"))
			}
		}
		select {
		case <-ctx.Done():
			t.Errorf("after %s:\n%s", patience, strings.Join(wrong, "\n"))
			node.tell(t)
			for _, what := range wrong {
				w.reported[what] = true
			}
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// waitsForKubelet begins what is not whypull's.
const waitsForKubelet = "the kubelet has not tried "

// wrong returns what differs from the truth now.
func (w *world) wrong(ctx context.Context) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, err := node.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	events, err := node.client.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	seen, causes := map[string]bool{}, map[string]int{}
	for i := range list.Items {
		p := &list.Items[i]
		seen[p.Name] = true
		known, ours := w.pods[p.Name]
		if !ours || p.DeletionTimestamp != nil {
			wrong = append(wrong, p.Name+" is still being deleted")
			continue
		}
		if cause := p.Annotations["whypull.dev/cause"]; cause != "" {
			causes[cause]++
		}
		for _, what := range slices.Concat(judge(p, known), judgeEvents(p, known, events.Items)) {
			wrong = append(wrong, p.Name+": "+what)
		}
	}
	for name := range w.pods {
		if !seen[name] { // the API server died before it was created, or a fault removed it
			delete(w.pods, name)
		}
	}
	return append(wrong, judgeMetrics(ctx, causes)...)
}

// judge returns what is wrong with the annotations of a pod.
func judge(p *corev1.Pod, known truth) []string {
	cause := p.Annotations["whypull.dev/cause"]
	if running(p) {
		if cause != "" || p.Annotations["whypull.dev/report"] != "" {
			return []string{"it runs, and still has the report " + cause}
		}
		return nil
	}
	if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil ||
		p.Status.ContainerStatuses[0].State.Waiting.Reason == "ContainerCreating" {
		return []string{waitsForKubelet + "the image"}
	}
	want := []string{known.kind.cause}
	if p.Spec.Containers[0].Image != known.kind.image {
		return []string{waitsForKubelet + "the new image: " + p.Status.ContainerStatuses[0].State.Waiting.Reason + " " + cause}
	}
	if known.shaken {
		want = slices.Concat(want, known.kind.also, known.brought)
	}
	var wrong []string
	if !slices.Contains(want, cause) && (cause != "NotReproducible" || !known.shaken) {
		wrong = append(wrong, fmt.Sprintf("cause %q, want one of %v; kubelet: %s", cause, want, p.Status.ContainerStatuses[0].State.Waiting.Message))
	}
	return wrong
}

func running(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Running != nil
}

// judgeEvents returns what is wrong with the Events of a pod: one for each change of the
// verdict, also for the one that it has, and a recovery after the last if the pod runs. A pod that was given another
// image may have failed with that for the same reason.
func judgeEvents(p *corev1.Pod, known truth, all []eventsv1.Event) []string {
	var ours []eventsv1.Event
	for i := range all {
		if e := &all[i]; e.ReportingController == "whypull.dev/agent" && e.Regarding.UID == p.UID {
			ours = append(ours, *e)
		}
	}
	slices.SortFunc(ours, byTime)
	var wrong []string
	for i := 1; i < len(ours) && p.Spec.Containers[0].Image == known.kind.image; i++ {
		if ours[i].Reason == ours[i-1].Reason && ours[i].Note == ours[i-1].Note {
			wrong = append(wrong, fmt.Sprintf("the Event %s twice: %s, %s: %s", ours[i].Reason, ours[i-1].EventTime, ours[i].EventTime, ours[i].Note))
		}
	}
	if running(p) && len(ours) > 0 && ours[len(ours)-1].Reason != "ImagePullRecovered" {
		wrong = append(wrong, "it runs, and its last Event is "+ours[len(ours)-1].Reason)
	}
	cause := p.Annotations["whypull.dev/cause"]
	if cause != "" && time.Since(p.CreationTimestamp.Time) < eventLife && !slices.ContainsFunc(ours, func(e eventsv1.Event) bool { return e.Reason == cause }) {
		wrong = append(wrong, "no Event for "+cause)
	}
	return wrong
}

// eventLife is how long the API server keeps an Event at least.
const eventLife = time.Hour

func byTime(a, b eventsv1.Event) int {
	// The agent's clock may have jumped, the API server's has not.
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), a.EventTime.Compare(b.EventTime.Time), strings.Compare(a.Name, b.Name))
}

// judgeMetrics compares the agent's metrics with the causes on the pods.
func judgeMetrics(ctx context.Context, causes map[string]int) []string {
	body, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9779/metrics")
	if err != nil {
		return []string{"metrics: " + err.Error()}
	}
	counted := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^whypull_failing_containers\{cause="([A-Za-z]*)",[^}]*\} (\d+)`).FindAllStringSubmatch(body, -1) {
		n, _ := strconv.Atoi(m[2])
		counted[m[1]] += n
	}
	maps.DeleteFunc(counted, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(counted, causes) {
		return []string{fmt.Sprintf("metrics count %v, the pods have %v", counted, causes)}
	}
	if _, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9779/readyz"); err != nil {
		return []string{"not ready: " + err.Error()}
	}
	return nil
}

// footprint is what the agent uses and has left behind.
type footprint struct {
	resident, threads, files float64
	leftovers                string
}

func (f footprint) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.0f threads, %.0f files, in containerd: %q", f.resident, f.threads, f.files, f.leftovers)
}

func measure(ctx context.Context) (footprint, error) {
	// The agent's process is the one of that name; the box has its own processes.
	out, problems, err := node.lab.Exec(ctx, nil, "sh", "-c", `for p in /proc/[0-9]*; do
	[ "$(cat $p/comm 2>/dev/null)" = whypull ] && echo $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' $p/status) $(ls $p/task | wc -l) $(ls $p/fd | wc -l)
done
true`)
	if err != nil {
		return footprint{}, err
	}
	var f footprint
	if _, err := fmt.Sscan(out, &f.resident, &f.threads, &f.files); err != nil {
		return f, fmt.Errorf("the agent's process: %w: %s%s", err, out, problems)
	}
	f.resident /= 1 << 10
	f.leftovers, _, err = node.lab.Exec(ctx, nil, "sh", "-c", `for what in leases content images; do ctr --namespace=whypull.dev $what ls -q; done`)
	return f, err
}
