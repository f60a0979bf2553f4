package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/imagecheck"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/agent/provider"
	"github.com/whypull/whypull/agent/recheck"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/metrics"
)

// agentOptions are the flags of whypull agent.
type agentOptions struct {
	node         string
	kubeconfig   string
	criSocket    string
	hostRoot     string
	registries   nodeconfig.Options
	kubelet      kubelet.Options
	runProviders bool
	secretAccess string
	policy       bool
	podCondition bool
	listen       string
	metricsAuth  string
	podLabels    bool
	stallAfter   time.Duration
	podNetwork   bool
	imageCheck   time.Duration
	pullRetry    string
	retryBytes   string
	logLevel     string
	logFormat    string
}

func agentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch the pods of one node and diagnose failed image pulls; runs as a DaemonSet",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.node, "node-name", "", "name of this node's Node object")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "path to a kubeconfig for the API server; the pod's service account when empty")
	f.StringVar(&o.criSocket, "cri-socket", "unix:///run/containerd/containerd.sock", "the container runtime's CRI socket")
	nodeFlags(f, &o.hostRoot, &o.registries.CertsDir, &o.registries.ConfigFile, &o.kubelet.ProviderConfig)
	f.StringVar(&o.kubelet.Dir, "kubelet-root-dir", "/var/lib/kubelet", "the kubelet's --root-dir, with its records of pulled images and its config.json, if mounted")
	f.BoolVar(&o.runProviders, "run-credential-providers", false, "run of the kubelet's credential provider plugins for failing images, as the kubelet runs them (requires SYS_CHROOT)")
	f.StringVar(&o.kubelet.PluginDir, "image-credential-provider-bin-dir", "", "path to the kubelet's directory of credential provider plugins; detected from the kubelet's unit when empty")
	f.StringVar(&o.secretAccess, "secret-access", "auto", "access to pull secrets: auto, impersonate, kubelet (with its client certificate), direct or none")
	f.StringVar(&o.kubelet.Kubeconfig, "kubelet-kubeconfig", "", "path to the kubelet's kubeconfig on the node, for its client certificate; detected when empty")
	f.BoolVar(&o.policy, "require-admission-policy", true, "write to the API server only after dry runs have proved that it enforces the admission policies")
	f.BoolVar(&o.podCondition, "pod-condition", false, "condition whypull.dev/ImagePullable on pods whose image could not be pulled (requires the component pod-condition)")
	f.StringVar(&o.listen, "listen-address", ":9779", "listen address for /metrics, /healthz and /readyz")
	f.StringVar(&o.metricsAuth, "metrics-auth", "none", "authentication for /metrics: none or token (bearer tokens whose user may get the nonResourceURL /metrics)")
	f.BoolVar(&o.podLabels, "metrics-pod-labels", true, "export of the metrics that name pods; counts are always exported")
	f.BoolVar(&o.podNetwork, "pod-network", false, "DNS lookups in the network namespaces of pods (requires SYS_ADMIN); from the node's network when false")
	f.StringVar(&o.pullRetry, "pull-retry", "", "method of the pull retry: isolated, replay or off; isolated with containerd and replay otherwise when empty")
	f.StringVar(&o.retryBytes, "pull-retry-max-bytes", "512Mi", "maximum compressed size of an image for an isolated pull retry; larger ones are replayed")
	f.DurationVar(&o.stallAfter, "pull-stall-after", probe.DefaultStallAfter, "time without a received byte after which a running pull counts as stalled")
	f.DurationVar(&o.imageCheck, "image-check-interval", 0, "interval at which it is checked whether the images of running pods could be pulled again, such as 24h; at least 1h, or 0 for no checks")
	f.StringVar(&o.logLevel, "log-level", "info", "log level: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "json", "log format: json or text")
	twins(f)
	return cmd
}

func (o agentOptions) run(ctx context.Context) error {
	log, err := o.logger()
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log.With("from", "client-go"))
	takeStandardLog(log)
	if o.node == "" {
		return wrong("node-name", errors.New("missing; want the name of this node, such as worker-3"))
	}
	if o.listen == "" { // package net would listen on any port
		return wrong("listen-address", errors.New("empty; want an address, such as :9779"))
	}
	if o.stallAfter <= 0 {
		return wrong("pull-stall-after", errors.New("want a positive duration, such as 1m"))
	}
	if o.imageCheck != 0 && o.imageCheck < imagecheck.MinInterval {
		return wrong("image-check-interval", fmt.Errorf("%s: want at least 1h, such as 24h, or 0 for no checks", o.imageCheck))
	}
	o.registries.Root, o.registries.Version, o.kubelet.Root = o.hostRoot, version, o.hostRoot
	metrics, node := o.newMetrics(), kubelet.New(o.kubelet)
	client, err := o.client(log, node, metrics)
	if err != nil {
		return err
	}
	runtime, err := cri.Dial(o.criSocket)
	if err != nil {
		return wrong("cri-socket", err)
	}
	defer runtime.Close() //nolint:errcheck // at the end of the process
	return o.serve(ctx, log, client, runtime, node, metrics)
}

func (o agentOptions) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, wrong("log-level", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	}
	return nil, wrong("log-format", fmt.Errorf("log format %q: want json or text", o.logFormat))
}

func (o agentOptions) client(log *slog.Logger, node *kubelet.Kubelet, metrics *metrics.Agent) (*kube.Client, error) {
	access, err := kube.ParseAccess(o.secretAccess)
	if err != nil {
		return nil, wrong("secret-access", err)
	}
	cfg, err := o.restConfig()
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = "whypull/" + version
	return kube.New(cfg, kube.Options{
		Node: o.node, Access: access, Log: log,
		Certificate: func() (tls.Certificate, error) { return node.ClientCertificate(o.node) },
		Chosen:      func(a kube.Access) { metrics.SecretAccess(string(a)) },
	})
}

func (o agentOptions) restConfig() (*rest.Config, error) {
	if o.kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, wrong("kubeconfig", fmt.Errorf("is missing, and this is not a pod: %w", err))
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, wrong("kubeconfig", err)
	}
	return cfg, nil
}

// serve runs the agent's components until the context ends or the listener fails.
func (o agentOptions) serve(ctx context.Context, log *slog.Logger, client *kube.Client, runtime *cri.Runtime, node *kubelet.Kubelet, metrics *metrics.Agent) error {
	limitProcessors(os.LookupEnv, goruntime.GOMAXPROCS)
	protect, err := protection(o.metricsAuth, client, log)
	if err != nil {
		return wrong("metrics-auth", err)
	}
	pods, changes := agent.NewPods(), recheck.New(client, o.hostRoot)
	retry, stopRetry, err := o.retry(log, pods)
	if err != nil {
		return err
	}
	defer stopRetry()
	collector := probe.New(probe.Options{
		Images: runtime, Secrets: client, Metrics: metrics, Basis: changes,
		Node: node, Providers: o.credentialProviders(node, client, log),
		Registries: o.registries, Resolver: probe.NodeResolver{Root: o.hostRoot},
		Transfers: runtime, StallAfter: o.stallAfter, Filesystems: runtime,
		Sandboxes: runtime, PodNetwork: o.podNetwork, Spread: spreadWithin, Retry: retry,
	})
	writer, guard, conditions := o.writer(client, metrics, log)
	publisher := report.NewPublisher(writer, pods, metrics, log, o.node, conditions)
	platform := probe.PlatformOf(o.hostRoot, o.criSocket, o.registries.ConfigFile)
	loop := agent.New(pods, platform, collector, publisher, log)
	images := imagecheck.New(imagecheck.Options{Node: o.node, Platform: platform, Interval: o.imageCheck, Busy: pods.Fails, Log: log},
		collector, report.NewUnavailablePublisher(writer, metrics, log, o.node))
	tracker := podwatch.NewTracker(report.Prefix, time.Now, pods.Observe, report.Annotations()...)
	running := podwatch.NewRunning(report.UnavailableAnnotation, o.imageCheck > 0, images.Observe)
	stores := podwatch.Stores{tracker, running}
	source := client.PodWatch(stores.AddListed, func(err error) {
		if ctx.Err() == nil { // the reflector does not wait for a list that it gives up
			log.Warn("watch on pods failed", "err", err)
		}
	})
	reflector := cache.NewReflectorWithOptions(source, &corev1.Pod{}, stores, cache.ReflectorOptions{Name: "pods", Backoff: kube.WatchBackoff()})

	watch := podWatch{tracker: tracker, lastHeard: client.LastHeard, now: time.Now}
	server := newServer(o.listen, handler(metrics, watch, newRuntimeHealth(runtime, log, time.Now), protect), log)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		defer stop()
		failed = listen(ctx, server)
	})
	if o.kubeconfig == "" { // in a pod
		defer awaitTurn(ctx, log, turnPrefix+o.node)()
	}
	spread := rand.N(startWithin) //nolint:gosec // jitter, not a secret
	wg.Go(func() { after(ctx, spread, guard) })
	wg.Go(func() { after(ctx, spread, reflector.RunWithContext) })
	wg.Go(func() { loop.Run(ctx) })
	wg.Go(func() { keepSmall(ctx, pods) })
	wg.Go(func() { images.Run(ctx) })
	wg.Go(func() { changes.Run(ctx, examined{pods, images}, collector.NodeChanged) })
	log.Info("started", "version", version, "node", o.node, "memory_limit", limitOwnMemory())
	<-ctx.Done()
	wg.Wait()
	log.Info("stopped")
	return failed
}

// examined are the pods with a verdict: those that fail and those that run.
type examined struct {
	failing *agent.Pods
	running *imagecheck.Checker
}

// Failing implements recheck.Pods.
func (e examined) Failing() []diagnosis.Failure {
	return append(e.failing.Failing(), e.running.Failing()...)
}

// Reexamine implements recheck.Pods.
func (e examined) Reexamine(uid string, fresh bool) {
	e.failing.Reexamine(uid, fresh)
	e.running.Reexamine(uid, fresh)
}

// startWithin is the maximum random delay of the first request to the API server, so that
// the agents of a cluster that starts do not ask at the same time.
const startWithin = time.Second

// spreadWithin is the maximum random delay before a registry is asked for a pod that has
// just failed. It is short, because all pods that fail at once wait for the first answer,
// and the kubelets' pulls, which come before, spread the nodes by more.
const spreadWithin = 25 * time.Millisecond

// after runs a function after a delay, unless the context ends first.
func after(ctx context.Context, delay time.Duration, run func(context.Context)) {
	select {
	case <-ctx.Done():
	case <-time.After(delay):
		run(ctx)
	}
}

// credentialProviders returns what runs the kubelet's plugins; nil if they are not run.
func (o agentOptions) credentialProviders(node *kubelet.Kubelet, client *kube.Client, log *slog.Logger) probe.Providers {
	if !o.runProviders {
		return nil
	}
	return provider.New(provider.Options{Root: o.hostRoot, Plugins: node, Accounts: client, Log: log})
}

// newMetrics returns the metrics that --metrics-pod-labels allows.
func (o agentOptions) newMetrics() *metrics.Agent {
	if o.podLabels {
		return metrics.New(version)
	}
	return metrics.NewWithoutPods(version)
}

// writer returns the writer to the API server, a function to run with the agent, and one
// that reports whether conditions of pods are written.
func (o agentOptions) writer(client *kube.Client, metrics *metrics.Agent, log *slog.Logger) (report.Writer, func(context.Context), func() bool) {
	if !o.policy {
		log.Warn("admission policies are not required")
		return client, func(context.Context) {}, func() bool { return o.podCondition }
	}
	guard := kube.NewGuard(client, log, o.podCondition, metrics.Guarded)
	return guard, guard.Run, guard.MayWriteCondition
}

// listen serves on the server's address until the context ends; see serve.
func listen(ctx context.Context, s *http.Server) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		if ctx.Err() != nil { // asked to stop before it began
			return nil
		}
		return wrong("listen-address", err)
	}
	return serve(ctx, s, newFairListener(l))
}

// serve serves until the context ends, then finishes the requests in flight within
// a few seconds.
func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	closed := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(closed)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if s.Shutdown(grace) != nil { // close the remaining connections
			_ = s.Close()
		}
	})
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-closed
		return nil
	}
	unregister()
	return wrong("listen-address", err)
}
