package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// The nodes of a storm.
const (
	explained = iota // by the agent
	patched          // by the bare client
)

// StormOptions are the size of a storm.
type StormOptions struct {
	// Pods is the number of pods that fail at once.
	Pods int
	// Rounds is how often they do, for each reason.
	Rounds int
	// Pause comes before each burst: the agent's limit on requests has refilled after it.
	Pause time.Duration
}

// Storm starts a new cluster in the lab, and measures what an agent takes to annotate
// pods that fail at once on a node whose kubelet is played, beside what a client takes
// that only patches as many pods of another node with the same annotations. Both have an
// agent's token, and run in turn. It writes what it measures to out; no figure is an
// error.
func Storm(ctx context.Context, l *lab.Lab, source string, o StormOptions, out, progress io.Writer) error {
	if o.Pods < 1 || o.Rounds < 1 {
		return fmt.Errorf("%d pods in %d rounds: want at least 1", o.Pods, o.Rounds)
	}
	if err := l.Reset(ctx, progress); err != nil {
		return err
	}
	s, err := prepare(ctx, l, source, Options{Agents: patched + 1}, out, progress)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	st := &storm{simulation: s, StormOptions: o}
	if st.agent, err = s.clientOf(patched); err != nil {
		return err
	}
	if err := st.runAgent(ctx); err != nil {
		return err
	}
	go s.clock.Follow(ctx, s.client)
	var all []round
	for _, f := range failures()[:2] {
		rounds, err := st.measure(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		all = append(all, rounds...)
	}
	st.say("both", "%s", compare(all))
	return nil
}

type storm struct {
	*simulation
	StormOptions
	agent *kubernetes.Clientset // with the token of the second node's agent
}

// clientOf returns a client with an agent's own token, and no limit of its own.
func (s *simulation) clientOf(i int) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.path(fmt.Sprintf("agent-%05d.kubeconfig", i)))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Dial = -1, s.lab.Dial
	return kubernetes.NewForConfig(config)
}

// runAgent starts the agent of the first node with its usual flags, until ctx ends, and
// returns when it is ready.
func (st *storm) runAgent(ctx context.Context) error {
	kubeconfig := path.Join(folder, fmt.Sprintf("agent-%05d.kubeconfig", explained))
	log, err := os.Create(st.path("agent.log"))
	if err != nil {
		return fmt.Errorf("log of the agent: %w", err)
	}
	defer func() { _ = log.Close() }() // the agent has its own
	command := lab.Command(path.Join(folder, "whypull"), "agent", "--kubeconfig="+kubeconfig,
		"--node-name="+nodeName(explained), "--listen-address="+agentAddress(explained), "--log-level=warn")
	command.Stderr = log
	return st.runUntilReady(ctx, command, 1)
}

// measure has pods fail in turn on both nodes, some times, for a reason that is new each
// time, so that the agent knows no answer yet. Either is first in every other round.
func (st *storm) measure(ctx context.Context, f failure) ([]round, error) {
	var rounds []round
	var annotations map[string]string
	var cpu float64
	for n := range st.Rounds {
		fmt.Fprintf(st.progress, "%s, round %d of %d\n", f.name, n+1, st.Rounds)
		f, err := st.renew(ctx, f, n)
		if err != nil {
			return nil, err
		}
		var r round
		steps := []func() error{
			func() (err error) {
				var seconds float64
				annotations, r.agent, seconds, err = st.explain(ctx, f)
				cpu += seconds
				return err
			},
			func() (err error) {
				r.bare, err = st.patch(ctx, f, annotations)
				return err
			},
		}
		if n%2 == 1 {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return nil, err
			}
		}
		rounds = append(rounds, r)
	}
	st.say(f.name, "%s", compare(rounds))
	st.say(f.name, "the agent's CPU: %.2f s a storm of %d pods, with its Events", cpu/float64(st.Rounds), st.Pods)
	return rounds, nil
}

// renew returns a failure with pods and a secret or a tag of its own.
func (st *storm) renew(ctx context.Context, f failure, round int) (failure, error) {
	f.name = fmt.Sprintf("%s %d", f.name, round)
	if f.secret != wrongSecret {
		old := f.image
		f.image = fmt.Sprintf("%s-%d", old, round)
		f.message = strings.ReplaceAll(f.message, old, f.image)
		return f, nil
	}
	f.secret = fmt.Sprintf("%s-%d", wrongSecret, round)
	secret := demo.Secret(f.secret, registry.HubHost, registry.Alice, fmt.Sprintf("%s%d", demo.WrongPassword(), round))
	_, err := st.lab.Kubectl(ctx, strings.NewReader(secret), "-n", namespace, "apply", "-f", "-")
	return f, err
}

// explain has the agent explain a burst. It returns the annotations of one pod, how long
// each pod waited for the first, and the agent's processor time.
func (st *storm) explain(ctx context.Context, f failure) (annotations map[string]string, times []time.Duration, cpu float64, err error) {
	before, err := st.agentCPU(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	times, annotations, err = st.burst(ctx, f, explained, func(ctx context.Context) error { return errors.Join(st.right(ctx, f), st.events(ctx)) })
	if err != nil {
		return nil, nil, 0, err
	}
	after, err := st.agentCPU(ctx)
	return annotations, times, after - before, err
}

// patch has the bare client annotate a burst.
func (st *storm) patch(ctx context.Context, f failure, annotations map[string]string) (times []time.Duration, err error) {
	group, ctx := errgroup.WithContext(ctx)
	watching, stop := context.WithCancel(ctx)
	group.Go(func() error { return st.annotateAll(ctx, st.follow(watching, nodeName(patched)), annotations) })
	group.Go(func() (err error) {
		defer stop()
		times, _, err = st.burst(ctx, f, patched, func(context.Context) error { return nil })
		return err
	})
	return times, group.Wait()
}

// follow returns the pods of a node as they are and as they change, until ctx ends. The
// API server may end a watch on a busy machine.
func (st *storm) follow(ctx context.Context, node string) <-chan *corev1.Pod {
	out := make(chan *corev1.Pod)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			w, err := st.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{
				FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
			if err != nil {
				continue
			}
			for event := range w.ResultChan() {
				if pod, ok := event.Object.(*corev1.Pod); ok {
					out <- pod
				}
			}
		}
	}()
	return out
}

// patchers is how many patches of the bare client are in flight at the same time: as
// many as the agent has workers for one namespace.
const patchers = 64

// annotateAll patches each pod once, as soon as its image cannot be pulled, until there
// are no more.
func (st *storm) annotateAll(ctx context.Context, pods <-chan *corev1.Pod, annotations map[string]string) error {
	group, ctx := errgroup.WithContext(ctx)
	places := make(chan struct{}, patchers)
	done := map[types.UID]bool{}
	for pod := range pods { // without waiting for anything: the API server ends slow watches
		if done[pod.UID] || !demo.Waits(pod) {
			continue
		}
		done[pod.UID] = true
		group.Go(func() error {
			body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "annotations": annotations}})
			if err != nil {
				return err
			}
			places <- struct{}{}
			defer func() { <-places }()
			_, err = st.agent.CoreV1().Pods(namespace).Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
			return err
		})
	}
	return group.Wait()
}

// burst creates pods on a node, has them fail at once, waits until all are annotated and
// more is done, and deletes them. It returns how long each waited, and the annotations of
// one.
func (st *storm) burst(ctx context.Context, f failure, node int, more func(context.Context) error) ([]time.Duration, map[string]string, error) {
	name := func(i int) string { return fmt.Sprintf("%s-%03d", f.pod(node), i) }
	pods := st.client.CoreV1().Pods(namespace)
	err := each(ctx, st.Pods, func(ctx context.Context, i int) error {
		_, err := pods.Create(ctx, newPod(name(i), nodeName(node), "app", f.image, f.secret, ""), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if err := pause(ctx, st.Pause); err != nil {
		return nil, nil, err
	}
	err = each(ctx, st.Pods, func(ctx context.Context, i int) error {
		return st.setState(ctx, name(i), corev1.PodPending, f.waiting())
	})
	if err != nil {
		return nil, nil, err
	}
	prefix := namespace + "/" + f.pod(node) + "-"
	if err := st.annotated(ctx, prefix, st.Pods); err != nil {
		return nil, nil, err
	}
	if err := more(ctx); err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(st.progress, "%s: %s\n", nodeName(node), demo.Spread(st.clock.Times(prefix)))
	pod, err := pods.Get(ctx, name(0), metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	return st.clock.Times(prefix), pod.Annotations, st.deletePods(ctx)
}

// events waits until there is an Event of each pod, and deletes them.
func (st *storm) events(ctx context.Context) error {
	events := st.client.EventsV1().Events(namespace)
	err := until(ctx, "the Events", func(ctx context.Context) (bool, error) {
		list, err := events.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		pods := map[types.UID]bool{}
		for i := range list.Items {
			pods[list.Items[i].Regarding.UID] = true
		}
		return len(pods) >= st.Pods, fmt.Errorf("%d pods have one", len(pods))
	})
	if err != nil {
		return err
	}
	return events.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

// agentCPU returns the agent's processor time in seconds.
func (st *storm) agentCPU(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+agentAddress(explained)+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := st.agents.Do(request)
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, fmt.Errorf("the agent's metrics: %w", err)
	}
	for _, m := range families["process_cpu_seconds_total"].GetMetric() {
		return m.GetCounter().GetValue(), nil
	}
	return 0, errors.New("the agent's metrics have no processor time")
}

// round is how long each pod of two bursts waited, of which one came right after the other.
type round struct{ agent, bare []time.Duration }

// compare returns a table of how long the agent and the bare client took in a burst, by
// geometric means, and the ratios. The interval is that of the mean ratio with 95%
// confidence: what single bursts take varies by more than the two differ.
func compare(rounds []round) string {
	var text strings.Builder
	fmt.Fprintf(&text, "status seen to annotation seen, means of %d bursts\n  %-13s %-24s %s", len(rounds), "", "median", "p99")
	row := func(what string, cell func(at float64) string) {
		fmt.Fprintf(&text, "\n  %-13s %-24s %s", what, cell(0.5), cell(0.99))
	}
	mean := func(of func(r round, at float64) float64) func(at float64) string {
		return func(at float64) string {
			low, middle, high := meanOf(rounds, func(r round) float64 { return of(r, at) })
			return fmt.Sprintf("%.3f (%.3f to %.3f)", middle, low, high)
		}
	}
	row("agent, s", mean(func(r round, at float64) float64 { return quantile(r.agent, at).Seconds() }))
	row("bare patch, s", mean(func(r round, at float64) float64 { return quantile(r.bare, at).Seconds() }))
	row("ratio", mean(func(r round, at float64) float64 {
		return quantile(r.agent, at).Seconds() / quantile(r.bare, at).Seconds()
	}))
	return text.String()
}

// meanOf returns the geometric mean of a figure of each round, which is above 0, and
// between which bounds 95% of the means are of as many rounds drawn from these, at random
// and with repeats (percentile bootstrap).
func meanOf(rounds []round, figure func(round) float64) (low, mean, high float64) {
	logs := make([]float64, len(rounds))
	sum := 0.0
	for i, r := range rounds {
		logs[i] = math.Log(figure(r))
		sum += logs[i]
	}
	draw := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // statistics
	means := make([]float64, 10000)
	for i := range means {
		for range logs {
			means[i] += logs[draw.IntN(len(logs))] / float64(len(logs))
		}
	}
	slices.Sort(means)
	return math.Exp(means[250]), math.Exp(sum / float64(len(logs))), math.Exp(means[9749])
}

// quantile returns the time within which a part of all was, 0 if there are none.
func quantile(times []time.Duration, part float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	return times[min(int(part*float64(len(times))), len(times)-1)]
}
