package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
)

// patience is how long a test waits for something that must happen. It is not a
// performance requirement, and longer than the kubelet's longest back-off.
const patience = 8 * time.Minute

// cluster is the lab with whypull installed, which all tests share.
type cluster struct {
	binaries.Cluster

	lab    *lab.Lab
	client *kubernetes.Clientset
	root   string // the source tree
	clock  *demo.Stopwatch
}

var shared *cluster // created in TestMain

func TestMain(m *testing.M) {
	if lab.Reexec() {
		return
	}
	os.Exit(run(m))
}

// smokeTests are the tests on a cluster of an old version of Kubernetes; TestScenarios
// runs only smokeScenarios there. The tests that begin with TestOld run on no other.
const smokeTests = "^(TestScenarios|TestLeastPower|TestKubeletIdentity|TestKubeletCertificateIsLimited|TestPlatformsAreAccepted|TestOld.*)$"

// chosen returns the cluster that the tests are to run on, and chooses them for it.
func chosen() (binaries.Cluster, error) {
	newest := binaries.Newest().Kubernetes
	version := flag.String("kubernetes", newest, "minor version of Kubernetes")
	flag.Parse()
	name, value := "test.skip", "^TestOld"
	if *version != newest {
		name, value = "test.run", smokeTests
	}
	if f := flag.Lookup(name); f.Value.String() == "" {
		if err := flag.Set(name, value); err != nil {
			return binaries.Cluster{}, err
		}
	}
	return binaries.FindCluster(*version)
}

func run(m *testing.M) int {
	ctx := context.Background()
	c, err := start(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the cluster for the tests:", err)
		return 1
	}
	shared = c
	code := m.Run()
	fmt.Println("status seen to annotation seen:", demo.Spread(c.clock.Times("")))
	if code != 0 {
		c.tellLogs(ctx)
	}
	if err := c.lab.Remove(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// start creates a separate cluster, so that a lab that a person runs is not touched.
func start(ctx context.Context) (*cluster, error) {
	version, err := chosen()
	if err != nil {
		return nil, err
	}
	dir, err := lab.DefaultDir()
	if err != nil {
		return nil, err
	}
	l, err := lab.Open(dir + "-e2e-" + version.Kubernetes)
	if err != nil {
		return nil, err
	}
	l.Kubernetes, l.Extra, l.Precedence = version.Kubernetes, binaries.Monitoring(), true
	if err := l.Reset(ctx, os.Stderr); err != nil {
		return nil, err
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return nil, err
	}
	if !version.Impersonation { // the agent needs the kubelet's certificate from the start
		if err := layOutAsKubeadm(ctx, l); err != nil {
			return nil, err
		}
	}
	if err := demo.Install(ctx, l, root, demo.Options{
		Components: []string{"node-credentials", "credential-providers", "credential-provider-tokens", "pod-condition"}, Flags: map[string]string{
			"pull-stall-after":                  "10s",
			"image-credential-provider-config":  node.ProvidersFile,
			"image-credential-provider-bin-dir": node.ProviderDir,
		},
	}); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.KubeconfigPath())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &cluster{Cluster: version, lab: l, client: client, root: root, clock: demo.NewStopwatch()}
	go c.clock.Follow(ctx, client)
	return c, nil
}

func (c *cluster) tellLogs(ctx context.Context) {
	logs, err := c.lab.Kubectl(ctx, nil, "-n", "whypull", "logs", "daemonset/whypull-agent", "--tail=300")
	fmt.Fprintln(os.Stderr, "--- the agent's log:", err)
	fmt.Fprintln(os.Stderr, logs)
}

// shell runs a shell command on the machine or on the node.
func (c *cluster) shell(ctx context.Context, line string, onNode bool) (string, error) {
	if onNode {
		out, problems, err := c.lab.Exec(ctx, nil, "sh", "-c", line)
		return out + problems, err
	}
	kubectl, err := c.lab.KubectlPath()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.lab.KubeconfigPath(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// metrics returns the agent's metrics, from inside the lab.
func (c *cluster) metrics(ctx context.Context, t *testing.T) string {
	t.Helper()
	body, err := c.get(ctx, "http://127.0.0.1:9779/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// agentRequests returns the lines of a registry's log that are whypull's requests and
// contain what.
func (c *cluster) agentRequests(t *testing.T, registry, what string) []string {
	t.Helper()
	data, err := os.ReadFile(c.lab.RegistryLog(registry))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(string(data), "\n") {
		if strings.Contains(line, "whypull/lab") && strings.Contains(line, what) {
			out = append(out, line)
		}
	}
	return out
}

// podReport holds whypull's annotations of a pod.
type podReport struct {
	Schema     string
	Node       string
	ObservedAt string
	Containers []containerReport
}

// containerReport is the report on one container.
type containerReport struct {
	Name, Kind, Image, PullPolicy, Cause, Confidence, Summary, Since string
	Remedy                                                           []string
	Evidence                                                         []demo.Evidence
}

// unsaid is in a report while the kubelet has not said how a pull ended: on a slow machine
// it has not begun.
var unsaid = regexp.MustCompile(`"the kubelet reports only the reason (ContainerCreating|PodInitializing)?"`)

// settled waits until a pod has a verdict on what the kubelet has said that waits for no
// further check, and returns its report. A report that only shows a pull's progress has no
// verdict.
func (c *cluster) settled(ctx context.Context, t *testing.T, namespace, pod string) podReport {
	t.Helper()
	return c.report(ctx, t, namespace, pod, unsaid.MatchString)
}

// stalled is settled for a pull on which the kubelet says nothing.
func (c *cluster) stalled(ctx context.Context, t *testing.T, namespace, pod string) podReport {
	t.Helper()
	return c.report(ctx, t, namespace, pod, func(string) bool { return false })
}

// report waits until a pod has a verdict that waits for no further check and is not open,
// and returns its report.
func (c *cluster) report(ctx context.Context, t *testing.T, namespace, pod string, open func(report string) bool) podReport {
	t.Helper()
	var report podReport
	var last string
	c.eventually(ctx, t, func() (string, bool) {
		p, err := c.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		last = p.Annotations["whypull.dev/report"]
		if last == "" {
			return fmt.Sprintf("no report on %s/%s, whose status is %s", namespace, pod, states(p)), false
		}
		report = podReport{}
		if err := json.Unmarshal([]byte(last), &report); err != nil {
			t.Fatalf("report of %s/%s: %v\n%s", namespace, pod, err, last)
		}
		return "checks are still running: " + last, len(report.Containers) > 0 && !strings.Contains(last, `"fault":"Pending"`) && !open(last)
	})
	c.assertValid(t, last)
	return report
}

// assertValid validates a report against whypull's schema.
func (c *cluster) assertValid(t *testing.T, report string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(c.root, "report", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%v\n%s", err, report)
	}
}

func states(p *corev1.Pod) string {
	out, err := json.Marshal(p.Status)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// eventually polls until done returns true. On timeout it reports what it was waiting
// for.
func (c *cluster) eventually(ctx context.Context, t *testing.T, done func() (waitingFor string, ok bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		what, ok := done()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("gave up waiting: %s", what)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
