// Package peers measures whypull's agent beside other programs that people run on every
// node or in every cluster.
package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// Options are the size of a run.
type Options struct {
	// Pods is the number of running pods.
	Pods int
	// Idle is for how long the programs are measured.
	Idle time.Duration
}

// settle is how long the programs have after their start before they are measured, and
// patience how long pods may take to run.
const (
	settle   = 30 * time.Second
	patience = 15 * time.Minute
)

// peer is a program that runs as a pod beside the agent.
type peer struct {
	program string
	module  string // path and version
	main    string // path of its package in the module
	args    []string
	metrics string // address that is scraped
}

// peers returns the programs.
func peers() []peer {
	return []peer{
		{"node_exporter", "github.com/prometheus/node_exporter@v1.12.1", ".",
			[]string{"--path.rootfs=/host", "--web.listen-address=127.0.0.1:9100"}, "127.0.0.1:9100"},
		{"nodeproblemdetector", "k8s.io/node-problem-detector@v1.36.0", "./cmd/nodeproblemdetector",
			[]string{"--config.system-log-monitor=/config/kernel-monitor.json", "--prometheus-address=127.0.0.1", "--prometheus-port=20257", "--apiserver-override=https://127.0.0.1:6443?inClusterConfig=true"}, "127.0.0.1:20257"},
		{"kube-state-metrics", "k8s.io/kube-state-metrics/v2@v2.18.0", ".",
			[]string{"--host=127.0.0.1", "--port=8081", "--telemetry-host=127.0.0.1", "--telemetry-port=8082"}, "127.0.0.1:8081"},
		{"k8s-image-availability-exporter", "github.com/flant/k8s-image-availability-exporter@v0.9.0", ".",
			[]string{"--bind-address=127.0.0.1:8083"}, "127.0.0.1:8083"},
	}
}

// Run starts a new cluster in the lab with the agent, running pods and those peers that
// can be built, and writes a table of what each takes to out. What cannot be built, or
// does not run, is named there.
func Run(ctx context.Context, l *lab.Lab, source string, o Options, out, progress io.Writer) error {
	if err := l.Reset(ctx, progress); err != nil {
		return err
	}
	if err := demo.Install(ctx, l, source, demo.Options{}); err != nil {
		return err
	}
	if err := runPods(ctx, l, o.Pods); err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, strings.NewReader(rights), "apply", "-f", "-"); err != nil {
		return err
	}
	all := []program{{name: "whypull", metrics: "127.0.0.1:9779"}}
	for _, p := range peers() {
		fmt.Fprintf(progress, "building %s\n", p.program)
		version, err := p.start(ctx, l)
		if err != nil {
			fmt.Fprintf(out, "%s: %v\n", p.program, err)
			continue
		}
		all = append(all, program{name: p.program, version: version, metrics: p.metrics})
	}
	for _, name := range []string{"kubelet", "containerd"} {
		all = append(all, program{name: name})
	}
	if err := measure(ctx, l, all, o.Idle, progress); err != nil {
		return err
	}
	_, err := io.WriteString(out, table(all))
	return err
}

// rights are for the peers: kube-state-metrics and the exporter list everything.
const rights = `apiVersion: v1
kind: Namespace
metadata: {name: peers}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: peers, namespace: peers}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: peers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: peers, namespace: peers}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: peers}
data:
  kernel-monitor.json: |
    {"plugin": "kmsg", "logPath": "/dev/kmsg", "lookback": "5m", "bufferSize": 10, "source": "kernel-monitor", "conditions": [],
     "rules": [{"type": "temporary", "reason": "OOMKilling", "pattern": "Killed process \\d+ (.+) total-vm:.*"}]}
`

func runPods(ctx context.Context, l *lab.Lab, n int) error {
	for _, manifest := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: running}\n",
		strings.Replace(demo.Deployment("app", registry.PlainApp, "", n), "metadata: {name: app}", "metadata: {name: app, namespace: running}", 1),
	} {
		if _, err := l.Kubectl(ctx, strings.NewReader(manifest), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	_, err := l.Kubectl(ctx, nil, "-n", "running", "rollout", "status", "deployment/app", "--timeout="+patience.String())
	return err
}

// start builds a peer and runs it as a pod. It returns its version.
func (p peer) start(ctx context.Context, l *lab.Lab) (version string, err error) {
	file := filepath.Join(l.Dir(), "peers", p.program)
	if err := p.build(ctx, file); err != nil {
		return "", fmt.Errorf("cannot be built here: %w", err)
	}
	reference := "peers.lab.example/" + p.program + ":1"
	archive, err := l.BuildImage(reference, file, image.Options{})
	if err != nil {
		return "", err
	}
	if err := l.ImportImage(ctx, archive); err != nil {
		return "", err
	}
	if _, err := l.Kubectl(ctx, strings.NewReader(p.pod(reference)), "apply", "-f", "-"); err != nil {
		return "", err
	}
	if _, err := l.Kubectl(ctx, nil, "-n", "peers", "wait", "pod/"+p.podName(), "--for=condition=Ready", "--timeout=2m"); err != nil {
		return "", fmt.Errorf("does not run: %w", err)
	}
	_, version, _ = strings.Cut(p.module, "@")
	return version, nil
}

// build builds the program, without C. go install would ask the module proxy for a list of
// the versions too, which some do not serve.
func (p peer) build(ctx context.Context, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	var module struct{ Dir, Error string }
	text, failed := run(ctx, "", "mod", "download", "-json", p.module)
	switch err := json.Unmarshal(text, &module); {
	case module.Error != "":
		return errors.New(lastLine(module.Error))
	case failed != nil:
		return failed
	case err != nil:
		return fmt.Errorf("go mod download: %w", err)
	}
	_, err := run(ctx, module.Dir, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", to, p.main)
	return err
}

// run returns what a command of go writes; its error has the last line of why it failed.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...) // #nosec G204 -- the table is ours
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("go %s: %w: %s", args[0], err, lastLine(string(failed.Stderr)))
	}
	return out, err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func (p peer) podName() string { return strings.ReplaceAll(p.program, "_", "-") }

// pod returns the manifest of a peer's pod.
func (p peer) pod(reference string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: peers}
spec:
  hostNetwork: true
  serviceAccountName: peers
  containers:
  - name: peer
    image: %s
    imagePullPolicy: Never
    securityContext: {privileged: true} # for /dev/kmsg
    args: ["%s"]
    env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    volumeMounts:
    - {name: host, mountPath: /host, readOnly: true}
    - {name: config, mountPath: /config}
  volumes:
  - {name: host, hostPath: {path: /}}
  - {name: config, configMap: {name: config}}
`, p.podName(), reference, strings.Join(p.args, `", "`))
}

// program is one row of the table.
type program struct {
	name, version, metrics string
	use
	workingSet float64       // bytes; 0 if it is no pod
	idle       time.Duration // processor time while nobody asked for metrics
	scraped    time.Duration // and while they were asked for every 15 s
	span       time.Duration // that either lasted
}

// use is what a process takes.
type use struct {
	resident, anonymous int // bytes
	cpu                 time.Duration
}

// scrapeEvery is a usual interval of Prometheus.
const scrapeEvery = 15 * time.Second

// measure fills in the rows.
func measure(ctx context.Context, l *lab.Lab, all []program, idle time.Duration, progress io.Writer) error {
	fmt.Fprintf(progress, "measuring for %s\n", settle+2*idle)
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	pids := make([]string, len(all))
	look := func(note func(*program, use)) error {
		for i := range all {
			u, err := read("/proc/" + pids[i])
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			note(&all[i], u)
		}
		return nil
	}
	for i, p := range all {
		var err error
		if pids[i], err = find(l, p.name); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := look(func(p *program, u use) { p.use = u }); err != nil {
		return err
	}
	if err := sleep(ctx, idle); err != nil {
		return err
	}
	if err := look(func(p *program, u use) { p.idle, p.use, p.span = u.cpu-p.cpu, u, time.Since(began) }); err != nil {
		return err
	}
	for range int(idle / scrapeEvery) {
		for _, p := range all {
			if p.metrics == "" {
				continue
			}
			if _, err := demo.Get(ctx, l, "http://"+p.metrics+"/metrics"); err != nil {
				return err
			}
		}
		if err := sleep(ctx, scrapeEvery); err != nil {
			return err
		}
	}
	if err := look(func(p *program, u use) { p.scraped, p.use = u.cpu-p.cpu, u }); err != nil {
		return err
	}
	text, err := l.Kubectl(ctx, nil, "get", "--raw", "/api/v1/nodes/lab-node/proxy/metrics/resource")
	for i := range all {
		all[i].workingSet = workingSet(text, all[i].name)
	}
	return err
}

// find returns the process of a program in the lab. Other labs may run on this machine.
func find(l *lab.Lab, name string) (pid string, err error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, dir := range all {
		program, err := os.ReadFile(filepath.Join(dir, "cmdline")) // #nosec G304 -- below /proc
		if err != nil {
			continue // it has ended
		}
		argv, _, _ := strings.Cut(string(program), "\x00")
		group, err := os.ReadFile(filepath.Join(dir, "cgroup")) // #nosec G304 -- below /proc
		if err == nil && path.Base(argv) == name && strings.Contains(string(group), l.Cgroup()) {
			return filepath.Base(dir), nil
		}
	}
	return "", fmt.Errorf("no process %s in the lab", name)
}

// tick is the unit of times in /proc (USER_HZ).
const tick = time.Second / 100

// read returns what a process takes, from its directory in /proc.
func read(dir string) (use, error) {
	var u use
	status, err := os.ReadFile(filepath.Join(dir, "status")) // #nosec G304 -- below /proc
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &u.resident); err == nil {
			u.resident <<= 10
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &u.anonymous); err == nil {
			u.anonymous <<= 10
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat")) // #nosec G304 -- below /proc
	if err != nil {
		return u, err
	}
	after := string(stat[bytes.LastIndexByte(stat, 0x29)+1:]) // the name may have spaces and parentheses
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return u, errors.New("stat has too few fields")
	}
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * tick
	}
	return u, nil
}

// workingSet returns the working set of a program's container, as the kubelet reports it;
// 0 if it has none.
func workingSet(metrics, name string) float64 {
	label := `pod="` + strings.ReplaceAll(name, "_", "-")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "container_memory_working_set_bytes{") && strings.Contains(line, label) {
			_, rest, _ := strings.Cut(line, "} ")
			value, _, _ := strings.Cut(rest, " ")
			bytes, err := strconv.ParseFloat(value, 64)
			if err == nil {
				return bytes
			}
		}
	}
	return 0
}

// table returns the rows as text.
func table(all []program) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "program\tresident\tanonymous\tworking set\tCPU idle\tCPU scraped\t")
	for _, p := range all {
		set, scraped := "-", "-"
		if p.workingSet > 0 {
			set = mib(p.workingSet)
		}
		if p.metrics != "" {
			scraped = millicores(p.scraped, p.span)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", strings.TrimSpace(p.name+" "+p.version),
			mib(float64(p.resident)), mib(float64(p.anonymous)), set, millicores(p.idle, p.span), scraped)
	}
	_ = w.Flush() // into memory
	return text.String()
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

// millicores returns processor time as a part of a span.
func millicores(cpu, span time.Duration) string {
	if span == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fm", cpu.Seconds()/span.Seconds()*1000)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
