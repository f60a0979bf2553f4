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

// Stopwatch records, for every pod, when one watch saw its first failing status and its
// first report.
type Stopwatch struct {
	mu       sync.Mutex
	failed   map[string]time.Time
	reported map[string]time.Duration
}

// NewStopwatch returns an empty Stopwatch.
func NewStopwatch() *Stopwatch {
	return &Stopwatch{failed: map[string]time.Time{}, reported: map[string]time.Duration{}}
}

// Follow watches all pods until ctx is done.
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
	if _, seen := s.failed[key]; !seen && Waits(p) {
		s.failed[key] = now
	}
	began, failed := s.failed[key]
	if _, reported := s.reported[key]; failed && !reported && p.Annotations["whypull.dev/cause"] != "" {
		s.reported[key] = now.Sub(began)
	}
}

// Waits reports whether a container of the pod waits for its image.
func Waits(p *corev1.Pod) bool {
	all := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses)
	return slices.ContainsFunc(all, func(s corev1.ContainerStatus) bool {
		w := s.State.Waiting
		return w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing"
	})
}

// Times returns, sorted, how long each pod whose namespace/name starts with prefix
// waited for its first report.
func (s *Stopwatch) Times(prefix string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Duration
	for pod, d := range s.reported {
		if strings.HasPrefix(pod, prefix) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// Spread returns a short summary of sorted durations.
func Spread(times []time.Duration) string {
	n := len(times)
	if n == 0 {
		return "none"
	}
	ms := func(i int) time.Duration { return times[i].Round(time.Millisecond) }
	return fmt.Sprintf("%d pods, median %v, p99 %v, worst %v", n, ms(n/2), ms(n*99/100), ms(n-1))
}
