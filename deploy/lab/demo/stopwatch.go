package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Stopwatch notes, for every pod, when its first failing status and its first
// report were seen by one and the same watch.
type Stopwatch struct {
	mu     sync.Mutex
	failed map[string]time.Time
	told   map[string]time.Duration
}

// NewStopwatch returns one that has seen nothing.
func NewStopwatch() *Stopwatch {
	return &Stopwatch{failed: map[string]time.Time{}, told: map[string]time.Duration{}}
}

// Follow watches all pods until the context ends.
func (s *Stopwatch) Follow(ctx context.Context, client *kubernetes.Clientset) {
	for ctx.Err() == nil {
		w, err := client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		for event := range w.ResultChan() {
			if p, ok := event.Object.(*corev1.Pod); ok {
				s.note(p, time.Now())
			}
		}
	}
}

func (s *Stopwatch) note(p *corev1.Pod, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := p.Namespace + "/" + p.Name + "/" + string(p.UID)
	if _, seen := s.failed[key]; !seen && waits(p) {
		s.failed[key] = now
	}
	began, failed := s.failed[key]
	if _, told := s.told[key]; failed && !told && p.Annotations["whypull.dev/cause"] != "" {
		s.told[key] = now.Sub(began)
	}
}

// waits tells that a container of the pod waits for its image.
func waits(p *corev1.Pod) bool {
	all := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses)
	return slices.ContainsFunc(all, func(s corev1.ContainerStatus) bool {
		w := s.State.Waiting
		return w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing"
	})
}

// Times returns, sorted, how long each pod whose namespace/name begins with
// prefix waited for its first report.
func (s *Stopwatch) Times(prefix string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Duration
	for pod, d := range s.told {
		if strings.HasPrefix(pod, prefix) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// Spread says in a few words how sorted times lie.
func Spread(times []time.Duration) string {
	n := len(times)
	if n == 0 {
		return "none"
	}
	ms := func(i int) time.Duration { return times[i].Round(time.Millisecond) }
	return fmt.Sprintf("%d pods, median %v, p99 %v, worst %v", n, ms(n/2), ms(n*99/100), ms(n-1))
}
