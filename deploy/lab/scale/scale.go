// Package scale measures what many agents cost an API server: the real API server and
// etcd of a lab, simulated nodes whose kubelets it plays, and one real agent for each.
package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

const (
	// folder is the directory of the agents' program, kubeconfigs and logs on the node.
	folder = "/var/lib/scale"
	// parallel is how many requests of the simulation are in flight at the same time.
	parallel = 32
	// patience is how long anything may take before the run fails.
	patience = 15 * time.Minute
)

// Options are the size of a run.
type Options struct {
	// Agents is the number of simulated nodes, each with an agent.
	Agents int
	// Quiet is for how long a state without changes is measured.
	Quiet time.Duration
	// Outage is for how long the API server is stopped.
	Outage time.Duration
}

// Validate returns an error for a size that cannot be simulated.
func (o Options) Validate() error {
	if o.Agents < 1 || o.Agents > maxAgents {
		return fmt.Errorf("%d agents: want 1 to %d", o.Agents, maxAgents)
	}
	return nil
}

// Run starts a new cluster in the lab, and measures o.Agents agents in it: their start,
// at rest, with a failing pod on each node for three reasons, healing, and after an
// outage of the API server. It writes what it measures to out. The error says what did
// not happen; no figure is an error.
func Run(ctx context.Context, l *lab.Lab, source string, o Options, out, progress io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if err := l.Reset(ctx, progress); err != nil {
		return err
	}
	s, err := prepare(ctx, l, source, o, out, progress)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if s.others, err = s.newOthers(ctx); err != nil {
		return err
	}
	go s.others.work(ctx)
	if err := s.quiet(ctx, "no agent yet"); err != nil {
		return err
	}
	if err := s.startAgents(ctx); err != nil {
		return err
	}
	go s.clock.Follow(ctx, s.client)
	if err := s.quiet(ctx, "at rest"); err != nil {
		return err
	}
	for _, f := range failures() {
		if err := s.fail(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return s.outage(ctx)
}

// simulation is a running cluster with simulated nodes.
type simulation struct {
	Options
	lab      *lab.Lab
	client   *kubernetes.Clientset
	clock    *demo.Stopwatch
	others   *others
	statuses atomic.Int64 // that were written
	agents   *http.Client
	out      io.Writer
	progress io.Writer
}

// prepare deploys whypull's manifests without the DaemonSet, and creates the nodes and
// their agents' pods, tokens and kubeconfigs. Nothing else runs in the cluster then: a
// controller would find the simulated nodes dead.
func prepare(ctx context.Context, l *lab.Lab, source string, o Options, out, progress io.Writer) (*simulation, error) {
	s, err := newSimulation(ctx, l, source, o, out, progress)
	if err != nil {
		return nil, err
	}
	if _, err := l.Kubectl(ctx, nil, "apply", "-k", filepath.Join(source, "deploy")); err != nil {
		return nil, err
	}
	if _, err := l.Kubectl(ctx, nil, "-n", "whypull", "delete", "daemonset", "whypull-agent"); err != nil {
		return nil, err
	}
	if err := s.createNamespace(ctx); err != nil {
		return nil, err
	}
	for _, component := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := l.StopComponent(ctx, component); err != nil {
			return nil, err
		}
	}
	return s, s.each(ctx, s.createNode)
}

// newSimulation returns a simulation of a running cluster, without nodes, and builds
// their agents' program.
func newSimulation(ctx context.Context, l *lab.Lab, source string, o Options, out, progress io.Writer) (*simulation, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.KubeconfigPath())
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &simulation{Options: o, lab: l, client: client, clock: demo.NewStopwatch(), out: out, progress: progress, agents: &http.Client{
		Transport: &http.Transport{DialContext: l.Dial, DisableKeepAlives: true}, Timeout: 10 * time.Second,
	}}
	if err := os.MkdirAll(s.path(), 0o750); err != nil {
		return nil, fmt.Errorf("directory of the agents: %w", err)
	}
	return s, demo.Build(ctx, source, "whypull", s.path())
}

// path returns a path on this machine of a file in folder.
func (s *simulation) path(parts ...string) string {
	return filepath.Join(append([]string{s.lab.Dir(), folder}, parts...)...)
}

// each calls do for every node, some at the same time.
func (s *simulation) each(ctx context.Context, do func(context.Context, int) error) error {
	return each(ctx, s.Agents, do)
}

// each calls do for the numbers below n, some at the same time.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// until waits for done.
func until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, err := done(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// startAgents starts all agents at once and returns when all are ready.
func (s *simulation) startAgents(ctx context.Context) error {
	fmt.Fprintf(s.progress, "%d agents start\n", s.Agents)
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	stop := s.timeline(ctx, "start")
	err = s.runAgents(ctx)
	stop()
	if err != nil {
		return err
	}
	s.say("start", "all %d ready after %.1f s", s.Agents, time.Since(began).Seconds())
	return s.report(ctx, "start", before, 0)
}

// runAgents starts all agents, until ctx ends, and returns when all are ready.
func (s *simulation) runAgents(ctx context.Context) error {
	return s.runUntilReady(ctx, s.command(), s.Agents)
}

// runUntilReady runs a command inside the lab, until ctx ends, that starts the agents of
// the first n nodes, and returns when all are ready.
func (s *simulation) runUntilReady(ctx context.Context, command *exec.Cmd, n int) error {
	ended := make(chan error, 1)
	go func() { ended <- s.lab.Run(ctx, command) }()
	return until(ctx, "the agents", func(ctx context.Context) (bool, error) {
		select {
		case err := <-ended:
			return false, fmt.Errorf("the agents ended: %w", err)
		default:
		}
		return true, each(ctx, n, func(ctx context.Context, i int) error {
			return until(ctx, "agent "+nodeName(i), func(ctx context.Context) (bool, error) {
				return s.ready(ctx, i)
			})
		})
	})
}

// command returns the command that starts all agents and waits for them. When it is
// killed they run on, until the lab is stopped.
func (s *simulation) command() *exec.Cmd {
	script := fmt.Sprintf(`cd %s
for kubeconfig in agent-*.kubeconfig; do
	name=${kubeconfig%%.kubeconfig}
	GOMAXPROCS=1 ./whypull agent --kubeconfig="$kubeconfig" --node-name="$(cat "$name.node")" \
		--listen-address="$(cat "$name.address")" --pull-retry=off --log-level=warn 2>"$name.log" &
done
wait`, folder)
	return lab.Command("sh", "-c", script)
}

func (s *simulation) ready(ctx context.Context, i int) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+agentAddress(i)+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := s.agents.Do(request)
	if err != nil {
		return false, err
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK, fmt.Errorf("/readyz: %s", response.Status)
}

// quiet measures the cluster while nothing changes.
func (s *simulation) quiet(ctx context.Context, what string) error {
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, s.Quiet); err != nil {
		return err
	}
	return s.report(ctx, what, before, 0)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// outage stops the API server for a while, and measures how the agents come back.
func (s *simulation) outage(ctx context.Context) error {
	fmt.Fprintf(s.progress, "the API server is away for %s\n", s.Outage)
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	if err := s.lab.StopComponent(ctx, node.APIServer); err != nil {
		return err
	}
	if err := pause(ctx, s.Outage); err != nil {
		return err
	}
	if err := s.lab.StartComponent(ctx, node.APIServer); err != nil {
		return err
	}
	began := time.Now()
	stop := s.timeline(ctx, "after an outage")
	err = until(ctx, "the agents' watches", func(ctx context.Context) (bool, error) {
		now, err := s.sample(ctx)
		return err == nil && now.podWatches >= before.podWatches, err
	})
	stop()
	if err != nil {
		return err
	}
	s.say("after an outage", "all %d watches are back %.1f s after the API server was ready", before.podWatches, time.Since(began).Seconds())
	return s.report(ctx, "after an outage", sample{at: began, memory: before.memory}, 0)
}

func (s *simulation) say(what, format string, args ...any) {
	fmt.Fprintf(s.out, "%-18s %s\n", what, fmt.Sprintf(format, args...))
}

// failure is a reason for which a pod on each node fails.
type failure struct {
	name   string
	image  string
	secret string
	// cause is what each agent has to find.
	cause string
	// component of the lab is stopped meanwhile.
	component string
	message   string
}

func failures() []failure {
	const resolving = "failed to pull and unpack image %[1]q: failed to resolve reference %[1]q: "
	image := registry.Nginx112
	missing := registry.HubHost + "/nginx/nginx:no-such-tag"
	return []failure{
		{
			name: "bad secret", image: image, secret: wrongSecret, cause: "CredentialsRejected",
			message: fmt.Sprintf(resolving+"unexpected status from HEAD request to https://"+registry.HubHost+"/v2/nginx/nginx/manifests/1.12.1: 401 Unauthorized", image),
		},
		{
			name: "bad image", image: missing, secret: rightSecret, cause: "TagNotFound",
			message: fmt.Sprintf(resolving+"%[1]s: not found", missing),
		},
		{
			name: "registry down", image: image, secret: rightSecret, cause: "ConnectionRefused", component: registry.Hub,
			message: fmt.Sprintf(resolving+"failed to do request: Head \"https://"+registry.HubHost+"/v2/nginx/nginx/manifests/1.12.1\": dial tcp "+registry.Address(registry.Hub)+": connect: connection refused", image),
		},
	}
}
