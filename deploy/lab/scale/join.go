package scale

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab"
)

// Joined are simulated nodes in a running lab, each with a real agent.
type Joined struct{ s *simulation }

// Join adds n simulated nodes to a running lab in which whypull is installed, and runs an
// agent for each until ctx ends. It returns when all are ready. Nothing is scheduled on
// the nodes, because they have no capacity.
func Join(ctx context.Context, l *lab.Lab, source string, n int, progress io.Writer) (*Joined, error) {
	o := Options{Agents: n}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s, err := newSimulation(ctx, l, source, o, io.Discard, progress)
	if err != nil {
		return nil, err
	}
	if err := s.createNamespace(ctx); err != nil {
		return nil, err
	}
	if err := s.each(ctx, s.createNode); err != nil {
		return nil, err
	}
	return &Joined{s}, s.runAgents(ctx)
}

// Addresses returns the addresses of the agents' metrics, by node.
func (j *Joined) Addresses() map[string]string {
	out := map[string]string{}
	for i := range j.s.Agents {
		out[nodeName(i)] = agentAddress(i)
	}
	return out
}

// BadSecret lets a pod on the i-th node fail because of its pull secret.
func (j *Joined) BadSecret(ctx context.Context, i int) error { return j.fail(ctx, failures()[0], i) }

// BadImage lets a pod on the i-th node fail because its image does not exist.
func (j *Joined) BadImage(ctx context.Context, i int) error { return j.fail(ctx, failures()[1], i) }

// fail creates a pod on the i-th node, and gives it the status that its kubelet would
// give it.
func (j *Joined) fail(ctx context.Context, f failure, i int) error {
	if _, err := j.s.client.CoreV1().Pods(namespace).Create(ctx, newPod(f.pod(i), nodeName(i), "app", f.image, f.secret, ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	return j.s.setState(ctx, f.pod(i), corev1.PodPending, f.waiting())
}
