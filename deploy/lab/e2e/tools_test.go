package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/check"
	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// output holds what a command printed, and its exit status.
type output struct {
	out, problems string
	status        int
}

// programs are whypull's own, built as users build them.
type programs struct{ dir string }

func build(t *testing.T, program string) programs {
	t.Helper()
	p := programs{t.TempDir()}
	if err := demo.Build(t.Context(), shared.root, program, p.dir); err != nil {
		t.Fatal(err)
	}
	return p
}

// environment returns an environment with kubectl and its plugin in the PATH, and one
// kubeconfig.
func (p programs) environment(t *testing.T, kubeconfig string) []string {
	t.Helper()
	kubectl, err := shared.lab.KubectlPath()
	if err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+p.dir+":"+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
}

// whyPull runs the plugin through the real kubectl.
func (p programs) whyPull(t *testing.T, kubeconfig string, args ...string) output {
	t.Helper()
	return p.here(t, kubeconfig, "", "kubectl", append([]string{"why-pull"}, args...)...)
}

// here runs a program on this machine.
func (p programs) here(t *testing.T, kubeconfig, stdin, name string, args ...string) output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "env", append([]string{name}, args...)...) // env looks the name up in the new PATH
	cmd.Env = p.environment(t, kubeconfig)
	var s output
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err := cmd.Run()
	s.out, s.problems, s.status = out.String(), problems.String(), statusOf(t, err)
	return s
}

func statusOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode()
	}
	return 0
}

// wants fails the test unless the status is status and the output contains the words in
// this order.
func (s output) wants(t *testing.T, status int, words ...string) {
	t.Helper()
	if missing := inOrder(s.out, words); s.status != status || missing != "" {
		t.Errorf("exit status %d, want %d; the output lacks, in its order, %q:\n%s%s", s.status, status, missing, s.out, s.problems)
	}
}

const (
	toolsNamespace = "tools"
	toolsGroup     = "3 pods on node lab-node: CredentialsRejected, secret " + toolsNamespace + "/regcred for " + registry.HubHost + "\n"
	toolsTag       = "1 pod on node lab-node: TagNotFound, image " + registry.PlainHost + "/e2e/tools:1.1\n"
)

// TestKubectlWhyPull breaks several pods in a namespace. kubectl finds the plugin,
// which shows what they share and all about one of them. Its remedies fix them, which
// --watch shows. It needs only get, list and watch on pods.
func TestKubectlWhyPull(t *testing.T) {
	t.Parallel()
	p := build(t, "kubectl-why_pull")
	breakTools(t)
	reader := podReader(t)
	admin := shared.lab.KubeconfigPath()
	t.Run("table", func(t *testing.T) { p.groupsPods(t, admin) })
	t.Run("json", func(t *testing.T) { p.printsDocuments(t, admin) })
	t.Run("statuses", func(t *testing.T) { p.exits(t, admin) })
	t.Run("rights", func(t *testing.T) { p.needsOnlyPods(t, reader) })
	t.Run("check", func(t *testing.T) { p.asksAgents(t, admin) })
	t.Run("watch", func(t *testing.T) { p.watchesRemedies(t, reader) })
}

// breakTools creates three pods that share a wrong secret, one whose tag does not
// exist, and one that runs.
func breakTools(t *testing.T) {
	t.Helper()
	one, other := registry.HubHost+"/e2e/tools-one:1.0", registry.HubHost+"/e2e/tools-other:1.0"
	s := demo.Scenario{Name: toolsNamespace, Images: []string{one, other, registry.PlainHost + "/e2e/tools:1.0"}, Manifests: []string{
		demo.Secret("regcred", registry.HubHost, registry.Alice, demo.WrongPassword()),
		strings.Join([]string{
			demo.Pod("web-0", one, "", demo.PullSecrets("regcred")), demo.Pod("web-1", one, "", demo.PullSecrets("regcred")),
			demo.Pod("worker", other, "", demo.PullSecrets("regcred")),
			demo.Pod("tag", registry.PlainHost+"/e2e/tools:1.1", "", ""), demo.Pod("fine", registry.PlainHost+"/e2e/tools:1.0", "", ""),
		}, "---\n"),
	}}
	t.Cleanup(func() { remove(t, toolsNamespace) })
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []string{"web-0", "web-1", "worker", "tag"} {
		shared.settled(t.Context(), t, toolsNamespace, pod)
	}
	shared.waitRunning(t.Context(), t, toolsNamespace, "fine")
}

// asksAgents has the agent of the node check images, with the namespace's pull secret
// and without.
func (p programs) asksAgents(t *testing.T, kubeconfig string) {
	t.Helper()
	works, rejected := registry.PlainHost+"/e2e/tools:1.0", registry.HubHost+"/e2e/tools-one:1.0"
	p.whyPull(t, kubeconfig, "check", works, "--all-nodes").wants(t, 0, works+" works on 1 of 1 node\n")
	for _, how := range [][]string{{"--secret", "regcred", "--node", "lab-node"}, {"--as-pod", "web-0"}} {
		args := append([]string{"-n", toolsNamespace, "check", rejected}, how...)
		p.whyPull(t, kubeconfig, args...).wants(t, 1, rejected+" works on 0 of 1 node\n", "lab-node: CredentialsRejected\n")
	}
	p.whyPull(t, kubeconfig, "check", registry.PlainHost+"/e2e/tools:1.1", "--all-nodes", "-o", "json").wants(t, 1, `"cause": "TagNotFound"`)
}

// podReader returns the kubeconfig of a service account that may only get, list and
// watch the pods of the namespace.
func podReader(t *testing.T) string {
	t.Helper()
	kubectl := func(args ...string) string {
		out, err := shared.lab.Kubectl(t.Context(), nil, append([]string{"-n", toolsNamespace}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	kubectl("create", "serviceaccount", "reader")
	kubectl("create", "role", "pods", "--verb=get,list,watch", "--resource=pods")
	kubectl("create", "rolebinding", "pods", "--role=pods", "--serviceaccount="+toolsNamespace+":reader")
	token := strings.TrimSpace(kubectl("create", "token", "reader", "--duration=1h"))
	config, err := clientcmd.LoadFromFile(shared.lab.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	current := config.Contexts[config.CurrentContext]
	current.Namespace, current.AuthInfo = toolsNamespace, "reader"
	config.AuthInfos = map[string]*api.AuthInfo{"reader": {Token: token}}
	path := filepath.Join(t.TempDir(), "reader.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p programs) groupsPods(t *testing.T, kubeconfig string) {
	s := p.whyPull(t, kubeconfig, "-n", toolsNamespace)
	s.wants(t, 1, toolsGroup, "rejects the credentials in pull secret regcred", "\n  web-0 ", "\n  web-1 ", "\n  worker ", toolsTag, "\n  tag ",
		"4 pods in namespace tools cannot pull their images, for 2 reasons.")
	if strings.Contains(s.out, "fine") {
		t.Errorf("the output mentions the running pod:\n%s", s.out)
	}
	p.whyPull(t, kubeconfig, "-n", toolsNamespace, "-o", "wide").wants(t, 1, "CONFIDENCE", "\n  web-0 ", "Confirmed")
	p.whyPull(t, kubeconfig, "-n", toolsNamespace, "pod/web-0").wants(t, 1, "pod tools/web-0 on node lab-node", "container app: CredentialsRejected (Confirmed",
		"Evidence", "- image ", "shown only to a pod", "✓ credentials  secret regcred has credentials", "✗ registry ", "rejects the credentials in secret regcred", "[Unauthorized]",
		"The kubelet says (", "401 Unauthorized", "Remedy", "kubectl -n tools create secret docker-registry regcred --dry-run=client",
		"kubectl why-pull explain CredentialsRejected")
	p.whyPull(t, kubeconfig, "-A").wants(t, 1, toolsGroup, "\n  tools/web-0 ", "in all namespaces cannot pull their images")
}

func (p programs) printsDocuments(t *testing.T, kubeconfig string) {
	var fromJSON, fromYAML fleet.Overview
	s := p.whyPull(t, kubeconfig, "-n", toolsNamespace, "-o", "json")
	s.wants(t, 1)
	strictly(t, s.out, &fromJSON)
	if err := yaml.UnmarshalStrict([]byte(p.whyPull(t, kubeconfig, "-n", toolsNamespace, "-o", "yaml").out), &fromYAML); err != nil {
		t.Error(err)
	}
	for form, o := range map[string]fleet.Overview{"json": fromJSON, "yaml": fromYAML} {
		if o.Schema != fleet.Schema || len(o.Groups) != 2 || len(o.Pods) != 4 {
			t.Fatalf("%s: schema %q, %d groups of %d pods:\n%s", form, o.Schema, len(o.Groups), len(o.Pods), s.out)
		}
		if g := o.Groups[0]; g.Cause != "CredentialsRejected" || g.Registry != registry.HubHost || !slices.Equal(g.Secrets, []string{"tools/regcred"}) ||
			!slices.Equal(g.Pods, []string{"tools/web-0", "tools/web-1", "tools/worker"}) {
			t.Errorf("%s: %+v", form, g)
		}
		for _, pod := range o.Pods {
			text, err := json.Marshal(pod.Report)
			if err != nil {
				t.Fatal(err)
			}
			shared.assertValid(t, string(text))
		}
	}
	if strings.Contains(s.out, demo.WrongPassword()) {
		t.Errorf("the password is shown:\n%s", s.out)
	}
}

// strictly decodes a document and rejects unknown fields.
func strictly(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func (p programs) exits(t *testing.T, kubeconfig string) {
	p.whyPull(t, kubeconfig, "-n", toolsNamespace, "fine").wants(t, 0, "No container of pod tools/fine fails")
	p.whyPull(t, kubeconfig, "-n", "kube-node-lease").wants(t, 0, "No pod in namespace kube-node-lease fails")
	p.whyPull(t, "/none", "explain", "TagNotFound").wants(t, 0, "TagNotFound") // works without a cluster
	for _, args := range [][]string{
		{"-n", toolsNamespace, "no-such-pod"}, {"-n", toolsNamespace, "-o", "xml"}, {"-A", "fine"}, {"explain", "NoSuchCause"}, {"--context", "none"},
	} {
		if s := p.whyPull(t, kubeconfig, args...); s.status != 2 || s.out != "" || !strings.HasPrefix(s.problems, "kubectl why-pull: ") {
			t.Errorf("%v: exit status %d, want 2 and an error:\n%s%s", args, s.status, s.out, s.problems)
		}
	}
}

func (p programs) needsOnlyPods(t *testing.T, reader string) {
	for _, right := range []string{"get secrets", "list events", "patch pods", "list pods -A", "get nodes"} {
		if s := p.here(t, reader, "", "kubectl", append([]string{"auth", "can-i"}, strings.Fields(right)...)...); s.status == 0 {
			t.Fatalf("the reader may %s, so the test proves nothing", right)
		}
	}
	p.whyPull(t, reader).wants(t, 1, toolsGroup, toolsTag, "4 pods in namespace tools cannot pull their images, for 2 reasons.")
	p.whyPull(t, reader, "tag").wants(t, 1, "container app: TagNotFound (Confirmed", "Remedy", "kubectl -n tools ")
	if s := p.whyPull(t, reader, "-A"); s.status != 2 || !strings.Contains(s.problems, "forbidden") {
		t.Errorf("exit status %d, want 2:\n%s%s", s.status, s.out, s.problems)
	}
}

// watchesRemedies follows the printed remedies while --watch runs.
func (p programs) watchesRemedies(t *testing.T, reader string) {
	ctx := t.Context()
	cmd := exec.CommandContext(ctx, "env", "kubectl", "why-pull", "--watch")
	cmd.Env = p.environment(t, reader)
	var out, problems safeBuffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	shows := func(what string) {
		t.Helper()
		shared.eventually(ctx, t, func() (string, bool) {
			return fmt.Sprintf("--watch to show %q:\n%s%s", what, out.String(), problems.String()), strings.Contains(out.String(), what)
		})
	}
	shows("tools/web-0")
	p.follow(t, "web-0", map[string]string{demo.ConfigFile: demo.Config(registry.Alice, registry.AlicePassword)})
	for _, pod := range []string{"web-0", "web-1", "worker"} { // the one secret fixes all three
		shared.waitRunning(ctx, t, toolsNamespace, pod)
		shows("tools/" + pod + ": no longer failing\n")
	}
	p.whyPull(t, reader).wants(t, 1, toolsTag, "1 pod in namespace tools cannot pull its image, for 1 reason.")
	p.follow(t, "tag", nil)
	shared.waitRunning(ctx, t, toolsNamespace, "tag")
	shows("tools/tag: no longer failing\n")
	p.whyPull(t, reader).wants(t, 0, "No pod in namespace tools fails")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if status := statusOf(t, <-ended); status != 0 {
		t.Errorf("--watch exits with %d when nothing fails any more:\n%s%s", status, out.String(), problems.String())
	}
}

// safeBuffer is a buffer that can be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// follow runs the commands of a pod's remedy with the placeholders filled in, as an
// administrator.
func (p programs) follow(t *testing.T, pod string, fill map[string]string) {
	t.Helper()
	story := p.whyPull(t, shared.lab.KubeconfigPath(), "-n", toolsNamespace, pod).out
	_, remedy, found := strings.Cut(story, "\n  Remedy\n")
	remedy, _, _ = strings.Cut(remedy, "\n\n")
	if !found {
		t.Fatalf("no remedy:\n%s", story)
	}
	for line := range strings.Lines(remedy) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = filled(t, line, fill)
		if out, err := shared.shell(t.Context(), line, false); err != nil {
			t.Fatalf("remedy %q: %v\n%s", line, err, out)
		}
	}
}

// parkAgent removes the agent from the node, until the returned function is called or
// the test ends.
func parkAgent(t *testing.T) (back func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	patch := func(where string) {
		t.Helper()
		selector := `{"spec":{"template":{"spec":{"nodeSelector":{"whypull.dev/lab":` + where + `}}}}}`
		if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "patch", "daemonset", "whypull-agent", "--type=merge", "-p", selector); err != nil {
			t.Fatal(err)
		}
	}
	back = func() {
		patch("null")
		if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(back)
	patch(`"nowhere"`)
	shared.eventually(t.Context(), t, func() (string, bool) {
		all, err := shared.client.CoreV1().Pods("whypull").List(t.Context(), metav1.ListOptions{})
		return fmt.Sprint("the agent to go: ", err), err == nil && len(all.Items) == 0
	})
	return back
}

// TestNoAgentNoReport is not parallel, because it removes the agent from the node: for
// a pod that fails there, the plugin says that there is no report, and why.
func TestNoAgentNoReport(t *testing.T) {
	ctx := t.Context()
	p := build(t, "kubectl-why_pull")
	back := parkAgent(t)
	s := demo.Scenario{Name: "no-agent", Manifests: []string{demo.Pod("app", registry.PlainHost+"/e2e/no-agent:1.0", "", "")}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	var got output
	shared.eventually(ctx, t, func() (string, bool) {
		got = p.whyPull(t, shared.lab.KubeconfigPath(), "-n", s.Name)
		return "the pod to fail: " + got.out + got.problems, got.status != 0
	})
	got.wants(t, 1, "1 pod on node lab-node: no report, ", "\n  app ")
	// Which it is depends on whether other pods of the node still have reports, and
	// on the pod's age.
	if !regexp.MustCompile(`no report, (no whypull agent runs |pending: |the whypull agent on node lab-node has not reported)`).MatchString(got.out) {
		t.Errorf("it does not say why:\n%s", got.out)
	}
	p.whyPull(t, shared.lab.KubeconfigPath(), "-n", s.Name, "app").wants(t, 1, "container app: no report", "The kubelet says (", "not found")
	back()
	shared.settled(ctx, t, s.Name, "app")
	p.whyPull(t, shared.lab.KubeconfigPath(), "-n", s.Name).wants(t, 1, "1 pod on node lab-node: RepositoryNotFound, repository "+registry.PlainHost+"/e2e/no-agent")
}

// checkOnNode is the path of the program on the lab's node.
const checkOnNode = "/opt/whypull/whypull"

// whypull check gives the agent's verdicts before there is a pod, both on the node,
// with its runtime, and on a machine without a runtime.
func TestCheck(t *testing.T) {
	t.Parallel()
	p := build(t, "whypull")
	program, err := os.ReadFile(filepath.Join(p.dir, "whypull"))
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.WriteFile(checkOnNode, program); err != nil {
		t.Fatal(err)
	}
	if out, err := shared.shell(t.Context(), "chmod +x "+checkOnNode, true); err != nil {
		t.Fatal(err, out)
	}
	push(t, registry.PlainHost+"/e2e/check:1.0", registry.HubHost+"/e2e/check:1.0")
	t.Run("image", checksImages)
	t.Run("manifests", checksManifests)
	t.Run("without a runtime", p.checksElsewhere)
}

// checkThere runs whypull check on the lab's node.
func checkThere(t *testing.T, stdin string, args ...string) output {
	t.Helper()
	cmd := lab.Command(append([]string{checkOnNode, "check"}, args...)...)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err := shared.lab.Run(t.Context(), cmd)
	s := output{out: out.String(), problems: problems.String(), status: statusOf(t, err)}
	for _, password := range []string{demo.WrongPassword(), registry.AlicePassword, registry.BobPassword, registry.ReaderPassword} {
		if strings.Contains(s.out+s.problems, password) {
			t.Errorf("whypull check %v shows a password:\n%s%s", args, s.out, s.problems)
		}
	}
	return s
}

func checksImages(t *testing.T) {
	good, absent := registry.PlainHost+"/e2e/check:1.0", registry.PlainHost+"/e2e/check:1.1"
	const runtime = " at /run/containerd/containerd.sock"
	checkThere(t, "", good).wants(t, 0, "containerd 2.", runtime, "– image ", "not on node lab-node", "✓ nodeDNS ", "✓ registry ", "✓ "+good+" can be pulled")
	checkThere(t, "", absent).wants(t, 1, "containerd 2.", runtime, "✗ registry ", "✗ TagNotFound (Confirmed): ", "tag 1.1 does not exist", "closest tags: 1.0", "# Put image "+good+" into the manifest")
	checkThere(t, "", registry.HubHost+"/e2e/check:1.0").wants(t, 1, "✗ AuthenticationRequired (Confirmed): ")
	// The kubelet's credentials on the node are wrong.
	checkThere(t, "", registry.NodeLoginHost+"/e2e/check:1.0").wants(t, 1, "/var/lib/kubelet/config.json has credentials for", "✗ CredentialsRejected (Confirmed): ")
	var d check.Document[report.Document]
	s := checkThere(t, "", "-o", "json", absent)
	s.wants(t, 1)
	strictly(t, s.out, &d)
	if d.Schema != check.Schema || d.Pullable || !strings.HasSuffix(d.Runtime, runtime) || len(d.Pods) != 1 || d.Pods[0].Report.Containers[0].Cause != "TagNotFound" {
		t.Errorf("%+v", d)
	}
	if s := checkThere(t, "", "--cri-socket=/none.sock", good); s.status != 2 || s.out != "" || !strings.Contains(s.problems, "--cri-socket") {
		t.Errorf("exit status %d:\n%s%s", s.status, s.out, s.problems)
	}
}

// checksManifests runs whypull check on the manifests of the demo's pods: it must give
// the agent's verdict for each before there is a pod.
func checksManifests(t *testing.T) {
	checked := 0
	for _, s := range demo.All() {
		if s.Prepare != nil || s.Fix != nil || s.Debug != "" || len(s.Manifests) != 1 || notByFiles(s.Name) {
			continue
		}
		checked++
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for _, image := range s.Images {
				push(t, renamed(image))
			}
			manifest := renamed(s.Manifests[0])
			var d check.Document[report.Document]
			got := checkThere(t, manifest, "-n", s.Name, "-o", "json", "-f", "-")
			got.wants(t, 1)
			strictly(t, got.out, &d)
			for _, want := range s.Expect {
				var words []string
				for _, w := range want.Summary {
					words = append(words, renamed(w))
				}
				if len(d.Pods) != 1 || d.Pods[0].Name != want.Pod || !slices.ContainsFunc(d.Pods[0].Report.Containers, func(c report.Container) bool {
					return c.Name == want.Container && c.Kind == want.Kind && c.Cause == want.Cause && inOrder(c.Summary, words) == ""
				}) {
					t.Errorf("want %+v:\n%s", want, got.out)
				}
			}
			checkThere(t, manifest, "-f", "-").wants(t, 1, "✗ "+s.Expect[0].Cause)
		})
	}
	if checked < 20 {
		t.Errorf("%d scenarios", checked)
	}
	t.Run("service account", checksServiceAccount)
}

// renamed replaces the images in a scenario's text with others that the node never
// gets.
func renamed(text string) string {
	return strings.NewReplacer("/demo/", "/checked/", "/Demo/", "/Checked/", "demo/", "checked/", "team-a/", "team-a/checked-", "team-b/", "team-b/checked-").Replace(text)
}

// notByFiles reports whether files and node do not suffice for a scenario: a secret may
// be in the cluster, a mirror's answer shows only in the runtime's message, and
// TestScenarios has fixed two on the node.
func notByFiles(scenario string) bool {
	return slices.Contains([]string{"secret-missing", "mirror-hides-upstream", "ca-unknown", "plain-http"}, scenario)
}

func push(t *testing.T, images ...string) {
	t.Helper()
	for _, reference := range images {
		i, err := shared.lab.PauseImage(reference)
		if err != nil {
			t.Fatal(err)
		}
		if err := shared.lab.Push(t.Context(), reference, i); err != nil {
			t.Fatal(err)
		}
	}
}

// A pod without pull secrets gets those of its service account, from any file.
func checksServiceAccount(t *testing.T) {
	image := registry.HubHost + "/e2e/check:1.0"
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: puller}\nimagePullSecrets: [{name: regcred}]\n---\n"
	pod := demo.Pod("app", image, "", "serviceAccountName: puller")
	for password, want := range map[string]struct {
		status int
		words  []string
	}{
		registry.AlicePassword: {0, []string{"✓ credentials secret regcred", "✓ registry ", "✓ " + image + " can be pulled"}},
		demo.WrongPassword():   {1, []string{"✓ credentials secret regcred", "✗ CredentialsRejected (Confirmed): ", "secret regcred"}},
	} {
		secret := "/opt/whypull/secret.yaml"
		if err := shared.lab.WriteFile(secret, []byte(demo.Secret("regcred", registry.HubHost, registry.Alice, password))); err != nil {
			t.Fatal(err)
		}
		checkThere(t, account+pod, "-f", "-", "-f", secret).wants(t, want.status, want.words...)
	}
}

// checksElsewhere runs whypull check on this machine, without a runtime, against the
// registry behind a forwarded port.
func (p programs) checksElsewhere(t *testing.T) {
	address, err := shared.lab.Forward(t.Context(), registry.PlainHost)
	if err != nil {
		t.Fatal(err)
	}
	none, runtime := []string{"check", "--host-root=" + t.TempDir(), "-o", "json"}, "no container runtime socket at "
	if _, err := os.Stat("/run/containerd/containerd.sock"); err == nil { // this machine has a runtime that is not the lab's
		none, runtime = append(none, "--cri-socket="), "no container runtime used"
	}
	for tag, want := range map[string]struct {
		status int
		cause  string
	}{"1.0": {0, "NotReproducible"}, "1.1": {1, "TagNotFound"}} {
		s := p.here(t, "", "", "whypull", append(slices.Clone(none), address+"/e2e/check:"+tag)...)
		s.wants(t, want.status)
		var d check.Document[report.Document]
		strictly(t, s.out, &d)
		if d.Pullable != (want.status == 0) || !strings.HasPrefix(d.Runtime, runtime) || d.Pods[0].Report.Containers[0].Cause != want.cause {
			t.Errorf("%s: %+v", tag, d)
		}
	}
	for format, contains := range map[string]string{"junit": `<failure type="TagNotFound"`, "sarif": `"ruleId": "TagNotFound"`} {
		s := p.here(t, "", "", "whypull", append(slices.Clone(none), "-o", format, address+"/e2e/check:1.1")...)
		if s.wants(t, 1); !strings.Contains(s.out, contains) {
			t.Errorf("%s: %s", format, s.out)
		}
	}
}
