package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// The sizes of the benchmark.
const (
	runningPods = 100
	failingPods = 250
	idleTime    = 30 * time.Second
)

// binaryBudget is the size of the agent's binary in MB that it is to stay below.
const binaryBudget = 25

// Bench measures the agent on a lab, which it resets first, and prints the results. It
// asserts nothing.
func Bench(ctx context.Context, l *lab.Lab, source string, out, progress io.Writer) error {
	if err := l.Reset(ctx, progress); err != nil {
		return err
	}
	if err := Install(ctx, l, source, Options{}); err != nil {
		return err
	}
	clock, err := follow(ctx, l)
	if err != nil {
		return err
	}
	b := bench{lab: l, clock: clock, out: out, progress: progress}
	for _, measure := range []func(context.Context) error{b.size, b.idle, b.scenarios, b.storm} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

func follow(ctx context.Context, l *lab.Lab) (*Stopwatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.KubeconfigPath())
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	clock := NewStopwatch()
	go clock.Follow(ctx, client)
	return clock, nil
}

type bench struct {
	lab      *lab.Lab
	clock    *Stopwatch
	out      io.Writer
	progress io.Writer
}

func (b bench) say(what, format string, args ...any) {
	fmt.Fprintf(b.out, "%-48s %s\n", what, fmt.Sprintf(format, args...))
}

func (b bench) size(context.Context) error {
	info, err := os.Stat(filepath.Join(b.lab.Dir(), "images", "whypull"))
	if err != nil {
		return err
	}
	b.say("binary, stripped", "%.1f MB (budget %d)", float64(info.Size())/1e6, binaryBudget)
	return nil
}

// idle measures the agent while all pods run.
func (b bench) idle(ctx context.Context) error {
	fmt.Fprintf(b.progress, "%d running pods\n", runningPods)
	if err := b.deploy(ctx, "bench-running", registry.PlainApp, "", runningPods); err != nil {
		return err
	}
	if _, err := b.lab.Kubectl(ctx, nil, "-n", "bench-running", "rollout", "status", "deployment/app", "--timeout=15m"); err != nil {
		return err
	}
	if err := sleep(ctx, idleTime); err != nil {
		return err
	}
	before, err := b.metrics(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, idleTime); err != nil {
		return err
	}
	after, err := b.metrics(ctx)
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("resident memory, idle, %d running pods", runningPods), "%.1f MiB", after["process_resident_memory_bytes"]/(1<<20))
	workingSet, err := b.workingSet(ctx)
	if err != nil {
		return err
	}
	b.say("working set, idle", "%.1f MiB", workingSet/(1<<20))
	cpu := after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
	b.say("CPU, idle", "%.2f millicores", cpu*1000/idleTime.Seconds())
	_, err = b.lab.Kubectl(ctx, nil, "delete", "namespace", "bench-running", "--timeout=10m")
	return err
}

// workingSet returns the working set of the agent's container in bytes, as the kubelet
// reports it.
func (b bench) workingSet(ctx context.Context) (float64, error) {
	body, err := b.lab.Kubectl(ctx, nil, "get", "--raw", "/api/v1/nodes/lab-node/proxy/metrics/resource")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, "container_memory_working_set_bytes{") && strings.Contains(line, `namespace="whypull"`) {
			_, rest, _ := strings.Cut(line, "} ")
			value, _, _ := strings.Cut(rest, " ")
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("the kubelet reports no working set of the agent")
}

// scenarios measures each scenario, one at a time.
func (b bench) scenarios(ctx context.Context) error {
	for _, s := range Scenarios() {
		fmt.Fprintln(b.progress, s.Name)
		if err := s.Break(ctx, b.lab); err != nil {
			return err
		}
		if err := b.until(ctx, func() bool { return len(b.clock.Times(s.Name+"/"+s.Expect[0].Pod+"/")) > 0 }); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
	}
	if _, err := collect(ctx, b.lab); err != nil {
		return err
	}
	var all []time.Duration
	for _, s := range Scenarios() {
		times := b.clock.Times(s.Name + "/" + s.Expect[0].Pod + "/")
		all = append(all, times...)
		n, err := b.requests(s)
		if err != nil {
			return err
		}
		b.say("  "+s.Name, "%d ms, %d registry requests", times[0].Milliseconds(), n)
	}
	slices.Sort(all)
	b.say("status seen to annotation seen, scenarios", "%s", Spread(all))
	return nil
}

// storm measures many pods that fail at once.
func (b bench) storm(ctx context.Context) error {
	fmt.Fprintf(b.progress, "%d failing pods\n", failingPods)
	image := registry.HubHost + "/bench/storm:1.0"
	s := Scenario{Name: "bench-storm", Images: []string{image}, Manifests: []string{Secret("regcred", registry.HubHost, registry.Alice, wrongPassword)}}
	if err := s.Break(ctx, b.lab); err != nil {
		return err
	}
	if err := b.deploy(ctx, s.Name, image, "regcred", failingPods); err != nil {
		return err
	}
	if err := b.until(ctx, func() bool { return len(b.clock.Times(s.Name+"/")) >= failingPods }); err != nil {
		return err
	}
	b.say(fmt.Sprintf("status seen to annotation seen, %d at once", failingPods), "%s", Spread(b.clock.Times(s.Name+"/")))
	m, err := b.metrics(ctx)
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("resident memory, %d failing pods", failingPods), "%.1f MiB", m["process_resident_memory_bytes"]/(1<<20))
	n, err := b.requests(s)
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("registry requests, %d pods, one secret", failingPods), "%d", n)
	return nil
}

func (b bench) deploy(ctx context.Context, namespace, image, secret string, replicas int) error {
	s := Scenario{Name: namespace}
	if err := s.namespace(ctx, b.lab); err != nil {
		return err
	}
	_, err := b.lab.Kubectl(ctx, strings.NewReader(Deployment("app", image, secret, replicas)), "-n", namespace, "apply", "-f", "-")
	return err
}

// Deployment returns a manifest of a Deployment whose pods have one container, app,
// with the image.
func Deployment(name, image, secret string, replicas int) string {
	if secret != "" {
		secret = "imagePullSecrets: [{name: " + secret + "}]"
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[4]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 0
      %[3]s
      containers: [{name: app, image: %[2]q}]
`, name, image, secret, replicas)
}

// requests returns the number of whypull's requests to registries and the token server
// for the scenario's images.
func (b bench) requests(s Scenario) (int, error) {
	n := 0
	for _, log := range []string{registry.Hub, registry.Token, registry.Plain, registry.Auth} {
		data, err := os.ReadFile(b.lab.RegistryLog(log))
		if err != nil {
			return 0, err
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			if strings.Contains(line, "whypull/lab") && s.concerns(line) {
				n++
			}
		}
	}
	return n, nil
}

// concerns reports whether a log line is about one of the scenario's repositories.
func (s Scenario) concerns(line string) bool {
	for _, image := range append(s.asked(), s.Images...) {
		_, repository, _ := strings.Cut(image[:strings.LastIndex(image, ":")], "/")
		if strings.Contains(line, repository+"/") || strings.Contains(line, strings.ReplaceAll(repository, "/", "%2F")+"%3A") {
			return true
		}
	}
	return false
}

// asked returns the images of the scenario's containers.
func (s Scenario) asked() []string {
	var out []string
	for line := range strings.SplitSeq(strings.Join(s.Manifests, "\n"), "\n") {
		if image, ok := strings.CutPrefix(strings.TrimSpace(line), "image: "); ok {
			out = append(out, strings.Trim(image, `"`))
		}
	}
	return out
}

func (b bench) until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for !done() {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// metrics returns the agent's metrics without labels.
func (b bench) metrics(ctx context.Context) (map[string]float64, error) {
	body, err := Get(ctx, b.lab, "http://127.0.0.1:9779/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.SplitSeq(body, "\n") {
		name, value, ok := strings.Cut(line, " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = v
		}
	}
	return out, nil
}

// Get sends a GET request to a server inside the lab and returns the body. It returns
// an error if the status is not 200.
func Get(ctx context.Context, l *lab.Lab, url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return l.Dial(ctx, network, address)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return string(body), nil
}
