package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/chart"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// The release that TestHelm installs.
const (
	release          = "explain"
	releaseNamespace = "platform-team"
	releaseAgent     = release + "-whypull-agent"
)

// dist selects a release instead of the source tree's chart and image.
var dist = flag.String("dist", "", "directory of a release, whose chart and image TestHelm installs")

// importRelease imports the image of the release into the node, and returns the path of
// its chart, which names the image.
func importRelease(t *testing.T) string {
	t.Helper()
	charts, err := filepath.Glob(filepath.Join(*dist, "whypull-*.tgz"))
	if err != nil || len(charts) != 1 {
		t.Fatalf("charts: %v, %v", charts, err)
	}
	if err := shared.lab.ImportImage(t.Context(), filepath.Join(*dist, "image.tar")); err != nil {
		t.Fatal(err)
	}
	return charts[0]
}

// helm runs the helm command and returns its output.
func helm(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	cache, err := binaries.OpenCache("", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	families := slices.DeleteFunc(binaries.ForTests(), func(f binaries.Family) bool { return f.Name != "helm" })
	paths, err := cache.Build(ctx, families)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, paths["helm"], args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.lab.KubeconfigPath(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestHelm is not parallel, because it replaces the agent that the tests share. The
// chart is installed under another name and namespace, explains a pod, is upgraded,
// rolled back and removed; then nothing of it is left.
func TestHelm(t *testing.T) {
	ctx := t.Context()
	source := filepath.Join(shared.root, "deploy", "chart")
	if *dist != "" {
		source = importRelease(t)
	}
	parkAgent(t)
	withoutSharedPolicies(t)
	before := inventory(t)

	notes := helm(ctx, t, "install", release, source, "-n", releaseNamespace, "--create-namespace", "--set", "podCondition=true", "--wait", "--timeout", "4m")
	if !strings.Contains(notes, "kubectl -n "+releaseNamespace+" rollout status daemonset/"+releaseAgent) {
		t.Errorf("the notes do not name the agent:\n%s", notes)
	}
	s := demo.Scenario{Name: "helm", Manifests: []string{
		demo.Pod("app", registry.PlainHost+"/e2e/helm:1.0", "", ""),
	}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	if got := shared.settled(ctx, t, s.Name, "app").Containers[0]; got.Cause != "RepositoryNotFound" {
		t.Errorf("the agent's verdict: %+v", got)
	}
	if c := conditionOf(getPod(t, s.Name, "app")); c == nil || c.Reason != "RepositoryNotFound" {
		t.Errorf("condition %+v", c)
	}
	elsewhere(t, s.Name)
	client := clientFrom(t, agentKubeconfig(ctx, t, releaseNamespace, releaseAgent))
	assertPodPolicy(t, client, s.Name, release+"-whypull-own-node-only")

	helm(ctx, t, "upgrade", release, source, "-n", releaseNamespace, "--reset-then-reuse-values", "--wait", "--timeout", "4m", "--set", "extraArgs={--log-level=debug}")
	assertAgentArgs(t, "--log-level=debug", true)
	helm(ctx, t, "rollback", release, "-n", releaseNamespace, "--wait", "--timeout", "4m")
	assertAgentArgs(t, "--log-level=debug", false)
	shared.settled(ctx, t, s.Name, "app")

	helm(ctx, t, "uninstall", release, "-n", releaseNamespace, "--wait", "--timeout", "4m")
	shared.eventually(ctx, t, func() (string, bool) { // pods take a moment to end
		after := inventory(t)
		return "the cluster had\n" + before + "\nand has\n" + after, after == before
	})
	if _, err := shared.lab.Kubectl(ctx, nil, "delete", "namespace", releaseNamespace, "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
	runUpgradePage(t, "<!-- tested: TestHelm in deploy/lab/e2e runs these lines -->\n")
	if said := shared.said(t, s.Name, "app"); said != "" {
		t.Errorf("the pod still has the report %s", said)
	}
	runUpgradePage(t, "<!-- tested: TestHelm in deploy/lab/e2e runs these lines too -->\n")
	if p := getPod(t, s.Name, "app"); conditionOf(p) != nil || len(p.Status.Conditions) < 3 {
		t.Errorf("the pod has the conditions %+v", p.Status.Conditions)
	}
}

// assertAgentArgs checks whether the release's agent has an argument.
func assertAgentArgs(t *testing.T, argument string, want bool) {
	t.Helper()
	set, err := shared.client.AppsV1().DaemonSets(releaseNamespace).Get(t.Context(), releaseAgent, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if args := set.Spec.Template.Spec.Containers[0].Args; slices.Contains(args, argument) != want {
		t.Errorf("the agent's arguments are %v", args)
	}
}

// inventory lists what a release could leave: objects with its name or whypull's, and
// all others in its namespace but those of the cluster itself.
func inventory(t *testing.T) string {
	t.Helper()
	var all []string
	for _, kinds := range []string{
		"clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings",
		"daemonsets,pods,serviceaccounts,secrets,services,configmaps,roles,rolebindings,resourcequotas",
	} {
		out, err := shared.lab.Kubectl(t.Context(), nil, "get", kinds, "-A", "-o", "custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name", "--no-headers")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			ofCluster := f[2] == "default" || f[2] == "kube-root-ca.crt"
			if strings.Contains(f[2], "whypull") || strings.Contains(f[2], release) || f[1] == releaseNamespace && !ofCluster {
				all = append(all, strings.Join(f, " "))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// runUpgradePage runs the lines of the documentation after a mark, which remove what
// agents that are gone have written.
func runUpgradePage(t *testing.T, mark string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(shared.root, "deploy", "docs", "upgrade.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), mark+"```sh\n")
	lines, _, found := strings.Cut(rest, "\n```")
	if !found || !strings.HasPrefix(lines, "kubectl get pods -A") {
		t.Fatalf("the page has no commands:\n%s", page)
	}
	if out, err := shared.shell(t.Context(), lines, false); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The API server accepts what the chart renders for each platform, for its own version of
// Kubernetes and for older ones, with all values that add objects, and each kustomize
// component.
func TestPlatformsAreAccepted(t *testing.T) {
	t.Parallel()
	deploy := filepath.Join(shared.root, "deploy")
	data, err := os.ReadFile(filepath.Join(deploy, "chart", "platforms.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rows map[string]struct{ Unsupported string }
	if err := yaml.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, c := range binaries.Clusters() {
		if versions = append(versions, "v"+c.Kubernetes+".0"); c.Kubernetes == shared.Kubernetes {
			break
		}
	}
	checked := map[string]bool{}
	accept := func(name string, objects map[string]chart.Object, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, o := range objects {
			if err := dryRun(t, o, checked); err != nil {
				t.Errorf("%s: %s: %v", name, o.Key(), err)
			}
		}
	}
	for name, row := range rows {
		if row.Unsupported != "" {
			continue
		}
		for _, version := range versions {
			objects, err := chart.Helm(deploy, version, "{platform: "+name+", nodeCredentials: true, systemdResolved: true, metrics: {auth: token}, dashboard: {enabled: true}}")
			accept(name+" on Kubernetes "+version, objects, err)
		}
	}
	components, err := filepath.Glob(filepath.Join(deploy, "components", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components {
		objects, err := chart.Kustomize(deploy, "", filepath.Join("components", filepath.Base(c)))
		accept(filepath.Base(c), objects, err)
	}
	if len(rows) < 15 || len(components) < 15 || len(checked) < 30 {
		t.Errorf("%d platforms, %d components and %d different objects", len(rows), len(components), len(checked))
	}
}

// dryRun applies an object on the server's side without storing it, unless an equal one
// is in checked already. Unknown fields are errors.
func dryRun(t *testing.T, o chart.Object, checked map[string]bool) error {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil || checked[string(data)] {
		return err
	}
	checked[string(data)] = true
	u := unstructured.Unstructured{Object: o}
	resource, _ := meta.UnsafeGuessKindToResource(u.GroupVersionKind())
	group := "/apis/" + resource.Group
	if resource.Group == "" {
		group = "/api"
	}
	request := shared.client.RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(group, resource.Version)
	if namespace := u.GetNamespace(); namespace != "" {
		request = request.Namespace(namespace)
	}
	return request.Resource(resource.Resource).Name(u.GetName()).
		Param("dryRun", "All").Param("force", "true").Param("fieldManager", "platforms").Param("fieldValidation", "Strict").
		Body(data).Do(t.Context()).Error()
}

// What k3s generates: its containerd has another socket, configuration and directory of
// hosts.toml files.
const (
	k3sDir    = "/var/lib/rancher/k3s/agent/etc/containerd"
	k3sConfig = k3sDir + "/config.toml"
	k3sSocket = "/run/k3s/containerd"
)

// TestK3sLayout is not parallel, because it restarts the runtime. The runtime runs with
// the files of k3s, in their places, and the agent with the preset. Only these files name
// the mirror that fails; those in /etc/containerd do not.
func TestK3sLayout(t *testing.T) {
	ctx := t.Context()
	parkAgent(t)
	withoutSharedPolicies(t)
	layOutAsK3s(t, registry.HubHost2, registry.PlainHost)
	helm(ctx, t, "install", release, filepath.Join(shared.root, "deploy", "chart"), "-n", releaseNamespace, "--create-namespace", "--wait", "--timeout", "4m", "--set", "platform=k3s")
	t.Cleanup(func() {
		helm(context.WithoutCancel(ctx), t, "uninstall", release, "-n", releaseNamespace, "--wait", "--timeout", "4m")
		remove(t, releaseNamespace)
	})
	s := demo.Scenario{Name: "k3s", Manifests: []string{demo.Pod("app", registry.HubHost2+"/e2e/k3s:1.0", "", "")}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	got := shared.settled(ctx, t, s.Name, "app").Containers[0]
	if got.Cause != "MirrorFailed" || !strings.Contains(got.Summary, registry.PlainHost) {
		t.Errorf("the agent's verdict: %+v", got)
	}
	assertEntries(t, got.Evidence, demo.Evidence{Check: "registry", Outcome: "Failed", Fault: "RepositoryNotFound", Detail: registry.PlainHost})
}

// layOutAsK3s gives the node the files of k3s, with a mirror for a host, and restarts the
// runtime with them. /etc/containerd stays as it is, although the runtime does not use it.
func layOutAsK3s(t *testing.T, host, mirror string) {
	t.Helper()
	const etc = "/etc/containerd/config.toml"
	ctx := context.WithoutCancel(t.Context())
	before, err := shared.lab.ReadFile(etc)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(before), "/etc/containerd/certs.d", k3sDir+"/certs.d", 1)
	if config == string(before) {
		t.Fatalf("the runtime's configuration: %s", before)
	}
	ca, _ := registry.HostsFile(host)
	ca = filepath.Join(filepath.Dir(ca), "ca.crt")
	hosts := "# File generated by k3s. DO NOT EDIT.\n\n\nserver = \"https://" + host + "/v2\"\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nca = [\"" + ca + "\"]\n\n\n" +
		"[host]\n[host.\"http://" + mirror + "/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	restart := func(content string) {
		t.Helper()
		// The runtime reads its file only when it starts; then it is put back.
		if err := errors.Join(shared.lab.StopComponent(ctx, node.Containerd), shared.lab.WriteFile(etc, []byte(content)),
			shared.lab.StartComponent(ctx, node.Containerd), shared.lab.WriteFile(etc, before)); err != nil {
			t.Error(err)
		}
	}
	onNode := func(line string) {
		t.Helper()
		if out, err := shared.shell(ctx, line, true); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	t.Cleanup(func() {
		onNode("umount " + k3sSocket + " && rmdir -p " + k3sSocket + " 2>/dev/null; rm -r /var/lib/rancher")
		restart(string(before))
	})
	if err := errors.Join(shared.lab.WriteFile(k3sConfig, []byte("# File generated by k3s. DO NOT EDIT.\n"+config)),
		shared.lab.WriteFile(k3sDir+"/certs.d/"+host+"/hosts.toml", []byte(hosts))); err != nil {
		t.Fatal(err)
	}
	restart(config)
	onNode("mkdir -p " + k3sSocket + " && mount --bind /run/containerd " + k3sSocket)
}
