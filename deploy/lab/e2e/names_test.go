package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/nameserver"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// nameCase is a pod whose registry name resolves differently on the node and in the
// pod.
type nameCase struct {
	pod   string
	host  string
	extra string // additions to the pod's spec
	cause string
	// summary lists words of the summary, in this order.
	summary []string
	// evidence must be present. No detail may contain without.
	evidence []demo.Evidence
	without  string
	// askedFrom is the network from which the pod's own resolver is queried, "pod" or
	// "node", if no other pod queries it for that name.
	askedFrom string
}

const confirmed = "Confirmed"

// namesNamespace contains the pods of TestNames and a registry with the name of a
// Service.
const (
	namesNamespace = "names"
	serviceName    = "registry." + namesNamespace + ".svc.cluster.local"
)

// serviceManifest returns a Service for the registry without TLS, whose name only the
// cluster's DNS knows.
func serviceManifest() string {
	return `apiVersion: v1
kind: Service
metadata: {name: registry}
spec:
  clusterIP: None
  ports: [{name: http, port: 5000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: registry
  labels: {kubernetes.io/service-name: registry}
addressType: IPv4
ports: [{name: http, port: 5000, protocol: TCP}]
endpoints: [{addresses: [` + registry.PlainAddress + `], conditions: {ready: true}}]
---
`
}

// onNode, inPod and similar functions return the evidence of one lookup.
func onNode(host, address string) demo.Evidence {
	return demo.Evidence{Check: "nodeDNS", Outcome: "Passed", Detail: "resolves " + bare(host) + " to " + address}
}

func notOnNode(fault, words string) demo.Evidence {
	return demo.Evidence{Check: "nodeDNS", Outcome: "Failed", Fault: fault, Detail: words}
}

func inPod(host, address string) demo.Evidence {
	return demo.Evidence{Check: "podDNS", Outcome: "Passed", Detail: "the pod's DNS resolves " + bare(host) + " to " + address}
}

func notInPod(fault, words string) demo.Evidence {
	return demo.Evidence{Check: "podDNS", Outcome: "Failed", Fault: fault, Detail: words}
}

// inPodSays returns the evidence of a lookup that succeeded in the pod, with a detail.
func inPodSays(words string) demo.Evidence {
	return demo.Evidence{Check: "podDNS", Outcome: "Passed", Detail: words}
}

func reached() demo.Evidence {
	return inPodSays("a connection from the pod to " + registry.PlainAddress + ":5000 succeeds")
}

func notReached(address, words string) demo.Evidence {
	return demo.Evidence{Check: "podDNS", Outcome: "Inconclusive", Detail: "a connection from the pod to " + address + " fails (" + words + ")"}
}

func bare(host string) string { return strings.TrimSuffix(host, ":5000") }

// asks returns the part of a pod's spec that makes it use one resolver.
func asks(resolver, ndots string, searches ...string) string {
	return fmt.Sprintf("dnsPolicy: None\ndnsConfig:\n  nameservers: [%s]\n  searches: [%s]\n  options: [{name: ndots, value: %q}]",
		resolver, strings.Join(searches, ","), ndots)
}

// bothSides returns names that fail on the node.
func bothSides() []nameCase {
	const nameNotFound, dnsFailure = "NameNotFound", "DNSFailure"
	yes, no := []string{"node " + node.Name + " cannot resolve", "but image pulls use the node's resolver"}, []string{"node " + node.Name + " cannot resolve", "does not resolve it either"}
	clusterOnly, failsOnNode := registry.NameHost("cluster-only"), registry.NameHost("servfail-node")
	return []nameCase{
		{pod: "nowhere", host: registry.NameHost("nowhere"), cause: "RegistryNameNotFound", summary: no, evidence: []demo.Evidence{
			notOnNode(nameNotFound, "NXDOMAIN"), notInPod(nameNotFound, "the pod's DNS cannot resolve nowhere.dns.lab.example: no such name (NXDOMAIN)")}},
		{pod: "service", host: serviceName + ":5000", cause: "RegistryNameNotFound", summary: yes, evidence: []demo.Evidence{
			notOnNode(nameNotFound, "NXDOMAIN"), inPod(serviceName, registry.PlainAddress), reached()}, without: ", as "},
		{pod: "service-short", host: "registry:5000", cause: "RegistryNameNotFound", summary: yes, evidence: []demo.Evidence{
			notOnNode(nameNotFound, "NXDOMAIN"), inPod("registry", registry.PlainAddress), inPodSays(", as " + serviceName), reached()}},
		{pod: "cluster-only", host: clusterOnly, cause: "RegistryNameNotFound", summary: yes, evidence: []demo.Evidence{
			notOnNode(nameNotFound, "NXDOMAIN"), inPod(clusterOnly, registry.PlainAddress), reached()}},
		{pod: "alias", host: registry.NameHost("alias"), cause: "RegistryNameNotFound", summary: no, evidence: []demo.Evidence{
			notOnNode(nameNotFound, ""), notInPod(nameNotFound, "")}},
		{pod: "servfail", host: registry.NameHost("servfail"), cause: dnsFailure, summary: no, evidence: []demo.Evidence{
			notOnNode(dnsFailure, " answered SERVFAIL"), notInPod(dnsFailure, "the pod's DNS cannot resolve servfail.dns.lab.example: resolver "+node.ClusterDNS+":53 answered SERVFAIL")}},
		{pod: "servfail-node", host: failsOnNode, cause: dnsFailure, summary: yes, evidence: []demo.Evidence{
			notOnNode(dnsFailure, " answered SERVFAIL"), inPod(failsOnNode, registry.PlainAddress), reached()}},
		{pod: "refused", host: registry.NameHost("refused"), cause: dnsFailure, summary: no, evidence: []demo.Evidence{
			notOnNode(dnsFailure, " answered REFUSED"), notInPod(dnsFailure, " answered REFUSED")}},
		// A host-network pod uses the node's resolver from the node's network, unless
		// its policy names the cluster's DNS.
		{pod: "host", host: clusterOnly, extra: "hostNetwork: true", cause: "RegistryNameNotFound", summary: no, evidence: []demo.Evidence{
			notOnNode(nameNotFound, "NXDOMAIN"), notInPod(nameNotFound, "the pod uses the node's network")}},
		{pod: "host-cluster", host: clusterOnly, extra: "hostNetwork: true\ndnsPolicy: ClusterFirstWithHostNet", cause: "RegistryNameNotFound", summary: yes,
			evidence: []demo.Evidence{notOnNode(nameNotFound, "NXDOMAIN"), inPod(clusterOnly, registry.PlainAddress), inPodSays("the pod uses the node's network")}},
	}
}

// nodeResolves returns names that the node resolves: whatever the pod resolves them to,
// the pull fails for another reason.
func nodeResolves() []nameCase {
	const absent, dnsFailure = "RepositoryNotFound", "DNSFailure"
	everywhere, truncated := registry.NameHost("everywhere"), registry.NameHost("truncated")
	fine := onNode(everywhere, registry.PlainAddress)
	wild := bare(everywhere) + "." + registry.WildDomain
	return []nameCase{
		{pod: "node-only", host: registry.NameHost("node-only"), cause: absent, evidence: []demo.Evidence{
			onNode(registry.NameHost("node-only"), registry.PlainAddress), notInPod("NameNotFound", "the pod's DNS cannot resolve node-only.dns.lab.example")}},
		{pod: "servfail-pod", host: registry.NameHost("servfail-pod"), cause: absent, evidence: []demo.Evidence{
			onNode(registry.NameHost("servfail-pod"), registry.PlainAddress), notInPod(dnsFailure, " answered SERVFAIL")}},
		{pod: "closed-pod", host: everywhere, extra: asks(registry.ClosedAddress, "1"), cause: absent, evidence: []demo.Evidence{
			fine, notInPod(dnsFailure, "resolver "+registry.ClosedAddress+":53: its port is closed")}},
		{pod: "black-hole", host: everywhere, extra: asks(registry.SilentAddress, "1"), cause: absent, evidence: []demo.Evidence{
			fine, notInPod(dnsFailure, "resolver "+registry.SilentAddress+":53 did not answer in time")}},
		{pod: "silent-pod", host: registry.NameHost("silent-pod"), extra: asks(registry.PodViewAddress, "1"), cause: absent, evidence: []demo.Evidence{
			onNode(registry.NameHost("silent-pod"), registry.PlainAddress), notInPod(dnsFailure, "resolver "+registry.PodViewAddress+":53 did not answer in time")}, askedFrom: "pod"},
		// A search domain answers for every name.
		{pod: "surprise", host: everywhere, extra: asks(registry.PodViewAddress, "5", registry.WildDomain), cause: absent, evidence: []demo.Evidence{
			fine, inPod(everywhere, registry.SilentAddress), inPodSays(", as " + wild), inPodSays("; the node resolves it to "),
			notReached(registry.SilentAddress+":5000", "no answer")}},
		{pod: "ndots", host: everywhere, extra: asks(registry.PodViewAddress, "1", registry.WildDomain), cause: absent, evidence: []demo.Evidence{
			fine, inPod(everywhere, registry.PlainAddress), reached()}, without: ", as "},
		{pod: "truncated", host: truncated, cause: absent, evidence: []demo.Evidence{
			onNode(truncated, registry.PlainAddress), inPod(truncated, registry.PlainAddress), reached()}, without: "the node resolves it to"},
		// The node resolves it to an external address, pods to an internal one.
		{pod: "split", host: registry.NameHost("split"), cause: "NetworkUnreachable", summary: []string{registry.OutsideAddress}, evidence: []demo.Evidence{
			onNode(registry.NameHost("split"), registry.OutsideAddress), inPod(registry.NameHost("split"), registry.PlainAddress),
			inPodSays("; the node resolves it to "), reached()}},
		{pod: "six", host: registry.NameHost("six"), cause: "NetworkUnreachable", evidence: []demo.Evidence{
			onNode(registry.NameHost("six"), registry.OutsideAddress6), inPod(registry.NameHost("six"), registry.OutsideAddress6),
			notReached("["+registry.OutsideAddress6+"]:5000", "no route")}, without: "the node resolves it to"},
	}
}

// The result on the node decides the cause; the result in the pod is reported with it.
func TestNames(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(bothSides(), nodeResolves())
	breakNames(t, namesNamespace, serviceManifest(), cases...)
	for _, c := range cases {
		t.Run(c.pod, func(t *testing.T) {
			t.Parallel()
			c.assert(t, namesNamespace)
		})
	}
}

// breakNames creates the pods of the cases, in a namespace that is deleted with the
// test.
func breakNames(t *testing.T, namespace, first string, cases ...nameCase) {
	t.Helper()
	var all []string
	for _, c := range cases {
		all = append(all, demo.Pod(c.pod, c.host+"/e2e/absent:1.0", "", c.extra))
	}
	s := demo.Scenario{Name: namespace, Manifests: []string{first + strings.Join(all, "---\n")}}
	t.Cleanup(func() { remove(t, namespace) })
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, namespace string) {
	t.Helper()
	if _, err := shared.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "delete", "namespace", namespace, "--wait=false"); err != nil {
		t.Error(err)
	}
}

// assert waits for the report and checks it.
func (c nameCase) assert(t *testing.T, namespace string) {
	t.Helper()
	got := shared.settled(t.Context(), t, namespace, c.pod).Containers[0]
	t.Logf("%+v", got)
	if got.Cause != c.cause || got.Confidence != confirmed {
		t.Errorf("cause %s (%s), want %s\n%+v", got.Cause, got.Confidence, c.cause, got)
	}
	if missing := inOrder(got.Summary, c.summary); missing != "" {
		t.Errorf("summary %q lacks %q", got.Summary, missing)
	}
	if c.cause == "RepositoryNotFound" && strings.Contains(got.Summary, "resolve") {
		t.Errorf("the summary blames the pod's DNS: %s", got.Summary)
	}
	for _, want := range c.evidence {
		assertEntries(t, got.Evidence, want)
	}
	for _, e := range got.Evidence {
		if c.without != "" && strings.Contains(e.Detail, c.without) {
			t.Errorf("a detail has %q: %+v", c.without, e)
		}
	}
	if c.askedFrom != "" {
		c.assertAskedFrom(t, namespace)
	}
}

// assertAskedFrom checks from which network the pod's own resolver was queried.
func (c nameCase) assertAskedFrom(t *testing.T, namespace string) {
	t.Helper()
	pod, err := shared.client.CoreV1().Pods(namespace).Get(t.Context(), c.pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	label, _, _ := strings.Cut(c.host, ".")
	all := shared.questions(t, registry.PodView, label)
	if len(all) == 0 {
		t.Errorf("nobody has asked for %s", c.host)
	}
	for _, q := range all {
		if from := q.client.Addr().String(); (from == pod.Status.PodIP) != (c.askedFrom == "pod") {
			t.Errorf("%s was asked for from %s, and the pod is %s; want it asked from the %s's network", c.host, from, pod.Status.PodIP, c.askedFrom)
		}
	}
}

// question is a query that the DNS server received.
type question struct {
	kind   string
	client netip.AddrPort
}

// ofType returns the number of queries of a type.
func ofType(all []question, kind string) int {
	n := 0
	for _, q := range all {
		if q.kind == kind {
			n++
		}
	}
	return n
}

// questions returns the queries that the DNS server received for a label in a view.
func (c *cluster) questions(t *testing.T, view, label string) []question {
	t.Helper()
	data, err := os.ReadFile(c.lab.RegistryLog(registry.NameServer))
	if err != nil {
		t.Fatal(err)
	}
	var all []question
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(line) // view, transport, type, name, client
		if len(f) == 5 && f[0] == view && f[3] == label+"."+registry.NameZone+"." {
			all = append(all, question{kind: f[2], client: netip.MustParseAddrPort(f[4])})
		}
	}
	return all
}

// 20 pods of a workload query their own resolver once.
func TestManyPodsOneLookup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const pods = 20
	const life = 5 * time.Second // lifetime of an answer, see probe.lookupLife
	start := time.Now()
	s := demo.Scenario{Name: "many-names", Manifests: []string{demo.Deployment("app", registry.NameHost("many")+"/e2e/absent:1.0", "none", pods)}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	shared.eventually(ctx, t, func() (string, bool) {
		list, err := shared.client.CoreV1().Pods(s.Name).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error(), false
		}
		diagnosed := 0
		for _, p := range list.Items {
			report := p.Annotations["whypull.dev/report"]
			if strings.Contains(report, "but image pulls use the node's resolver") && !strings.Contains(report, `"Pending"`) {
				diagnosed++
			}
		}
		return fmt.Sprintf("%d of %d pods diagnosed", diagnosed, pods), diagnosed == pods
	})
	got, most := shared.questions(t, registry.ClusterView, "many"), int(time.Since(start)/life)+1
	for _, kind := range []string{"A", "AAAA"} {
		if n := ofType(got, kind); n < 1 || n > most {
			t.Errorf("%d questions of type %s for %d pods, want at most one in %s: %d", n, kind, pods, life, most)
		}
	}
}

// Once the node resolves the name too, the pod gets its image, and the report is
// removed.
func TestNameAppears(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const repository = "/e2e/name-appears:1.0"
	host := registry.NameHost("late")
	i, err := shared.lab.PauseImage(host + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.Push(ctx, registry.PlainHost+repository, i); err != nil {
		t.Fatal(err)
	}
	s := demo.Scenario{Name: "name-appears", Manifests: []string{demo.Pod("app", host+repository, "", "")}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	got := shared.settled(ctx, t, s.Name, "app").Containers[0]
	if got.Cause != "RegistryNameNotFound" {
		t.Errorf("cause %s: %s", got.Cause, got.Summary)
	}
	addRecord(t, nameserver.Record{Name: bare(host), View: registry.NodeView,
		Answer: nameserver.Answer{Addresses: []netip.Addr{netip.MustParseAddr(registry.PlainAddress)}}})
	shared.waitRunning(ctx, t, s.Name, "app")
	waitUnmarked(ctx, t, s.Name, "app")
}

// addRecord adds a record to the DNS server's table.
func addRecord(t *testing.T, r nameserver.Record) {
	t.Helper()
	data, err := shared.lab.ReadFile(node.NamesFile)
	if err != nil {
		t.Fatal(err)
	}
	var table nameserver.Table
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if data, err = append(table, r).Write(); err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.WriteFile(node.NamesFile, data); err != nil {
		t.Fatal(err)
	}
}

// TestNodeResolverDown is not parallel, because nothing resolves on the node meanwhile.
func TestNodeResolverDown(t *testing.T) {
	ctx := t.Context()
	host := registry.NameHost("cluster-only")
	c := nameCase{pod: "app", host: host, cause: "DNSFailure", summary: []string{"node " + node.Name + " cannot resolve", "but image pulls use the node's resolver"}, evidence: []demo.Evidence{
		notOnNode("DNSFailure", "resolver "+node.DNSAddress+":53: its port is closed"), inPod(host, registry.PlainAddress), reached()}}
	if err := shared.lab.StopComponent(ctx, node.NodeDNS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shared.lab.StartComponent(context.WithoutCancel(ctx), node.NodeDNS); err != nil {
			t.Error(err)
		}
	})
	breakNames(t, "resolver-down", "", c)
	c.assert(t, "resolver-down")
	assertMismatch(ctx, t, host, 1)
}

// assertMismatch checks the metric that reports whether node and pod disagree.
func assertMismatch(ctx context.Context, t *testing.T, host string, want int) {
	t.Helper()
	series := fmt.Sprintf("whypull_dns_mismatch{registry=%q} %d\n", host, want)
	shared.eventually(ctx, t, func() (string, bool) {
		m := shared.metrics(ctx, t)
		return series + "in the metrics:\n" + m, strings.Contains(m, series)
	})
}

// TestNodeResolverSilent is not parallel, because it gives the node another resolver,
// which leaves some queries unanswered.
func TestNodeResolverSilent(t *testing.T) {
	ctx := t.Context()
	swapResolver(t, "nameserver "+registry.NodeViewAddress+"\noptions timeout:1 attempts:1\n")
	silence := notOnNode("DNSFailure", "resolver "+registry.NodeViewAddress+":53 did not answer in time")
	onlyNode, both := registry.NameHost("silent-node"), registry.NameHost("silent")
	cases := []nameCase{
		{pod: "node", host: onlyNode, cause: "DNSFailure", summary: []string{"node " + node.Name + " cannot resolve", "but image pulls use the node's resolver"},
			evidence: []demo.Evidence{silence, inPod(onlyNode, registry.PlainAddress), reached()}},
		{pod: "both", host: both, extra: asks(registry.PodViewAddress, "1"), cause: "DNSFailure", summary: []string{"node " + node.Name + " cannot resolve", "does not resolve it either"},
			evidence: []demo.Evidence{silence, notInPod("DNSFailure", "resolver "+registry.PodViewAddress+":53 did not answer in time")}},
	}
	breakNames(t, "resolver-silent", "", cases...)
	for _, c := range cases {
		c.assert(t, "resolver-silent")
	}
	assertMismatch(ctx, t, onlyNode, 1)
	assertMismatch(ctx, t, both, 0)
}

// swapResolver replaces the node's resolv.conf until the test ends, and waits until it
// takes effect: the runtime checks for changes at most every five seconds
// (net.resolverConfig.tryUpdate).
func swapResolver(t *testing.T, content string) {
	t.Helper()
	const file, reread = "/etc/resolv.conf", 5*time.Second + 100*time.Millisecond
	before, err := shared.lab.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		if err := shared.lab.WriteFile(file, content); err != nil {
			t.Error(err)
		}
		time.Sleep(reread)
	}
	t.Cleanup(func() { write(before) })
	write([]byte(content))
}

// TestPodNetworkRights is not parallel, because it changes the agent. Without the
// capability, the agent enters no pod's network and says why; without the flag, it
// queries the pods' servers from the node's network and says so.
func TestPodNetworkRights(t *testing.T) {
	const container = "/spec/template/spec/containers/0"
	fails := registry.NameHost("servfail-pod")
	restoreAgent(t)
	patchAgent(t, `{"op":"remove","path":"`+container+`/securityContext/capabilities/add"}`)
	breakNames(t, "no-capability", "", nameCase{pod: "app", host: fails})
	got := shared.settled(t.Context(), t, "no-capability", "app").Containers[0]
	assertEntries(t, got.Evidence, demo.Evidence{Check: "podDNS", Outcome: "NotRun", Detail: "whypull cannot enter the pod's network namespace: the capability SYS_ADMIN is missing"})
	if n := len(slices.DeleteFunc(got.Evidence, func(e demo.Evidence) bool { return e.Check != "podDNS" })); n != 1 {
		t.Errorf("%d entries of the pod's DNS", n)
	}

	patchAgent(t, environmentOff(t, "WHYPULL_POD_NETWORK"))
	host := registry.NameHost("cluster-only")
	const aside = "asked from the node's network"
	cases := []nameCase{
		{pod: "works", host: host, cause: "RegistryNameNotFound", summary: []string{"but image pulls use the node's resolver"}, without: "a connection",
			evidence: []demo.Evidence{inPod(host, registry.PlainAddress), inPodSays(aside)}},
		{pod: "fails", host: fails, extra: asks(registry.PodViewAddress, "1"), cause: "RepositoryNotFound", without: "a connection",
			evidence: []demo.Evidence{{Check: "podDNS", Outcome: "NotRun", Detail: "the pod has its own resolvers, which whypull queries only from the network of the pod"}}},
	}
	breakNames(t, "no-flag", "", cases...)
	for _, c := range cases {
		c.assert(t, "no-flag")
	}
}

// environmentOff returns the patch that removes a variable from the agent.
func environmentOff(t *testing.T, name string) string {
	t.Helper()
	set, err := shared.client.AppsV1().DaemonSets("whypull").Get(t.Context(), "whypull-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(set.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == name })
	if i < 0 {
		t.Fatalf("the agent has no %s", name)
	}
	return fmt.Sprintf(`{"op":"remove","path":"/spec/template/spec/containers/0/env/%d"}`, i)
}

func patchAgent(t *testing.T, operation string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	_, err := shared.client.AppsV1().DaemonSets("whypull").Patch(ctx, "whypull-agent", types.JSONPatchType, []byte("["+operation+"]"), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
}

// restoreAgent restores the current agent when the test ends.
func restoreAgent(t *testing.T) {
	t.Helper()
	set, err := shared.client.AppsV1().DaemonSets("whypull").Get(t.Context(), "whypull-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(set.Spec.Template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { patchAgent(t, `{"op":"replace","path":"/spec/template/spec","value":`+string(spec)+`}`) })
}

// TestSandboxVanishes ends a pod's sandbox while the pod's resolver has not answered
// yet. The report then has no result for the pod's DNS, or that of the next sandbox:
// never a failure.
func TestSandboxVanishes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const namespace = "sandbox-vanishes"
	breakNames(t, namespace, "", nameCase{pod: "app", host: registry.NameHost("slow"), extra: asks(registry.PodViewAddress, "1")})
	shared.eventually(ctx, t, func() (string, bool) {
		return "a question of the pod's network", len(shared.questions(t, registry.PodView, "slow")) > 0
	})
	stopSandbox(t, namespace, "app")
	got := shared.settled(ctx, t, namespace, "app").Containers[0]
	if got.Cause != "RepositoryNotFound" || strings.Contains(got.Summary, "resolve") {
		t.Errorf("cause %s: %s", got.Cause, got.Summary)
	}
	asked := slices.DeleteFunc(got.Evidence, func(e demo.Evidence) bool { return e.Check != "podDNS" })
	if len(asked) == 0 || asked[0].Outcome != "NotRun" && asked[0].Outcome != "Passed" {
		t.Errorf("report about a deleted sandbox: %+v", asked)
	}
}

// stopSandbox ends a pod's sandbox and removes its network, as crictl stopp does. The
// kubelet creates another one.
func stopSandbox(t *testing.T, namespace, pod string) {
	t.Helper()
	socket, err := shared.lab.Socket("/run/containerd/containerd.sock")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	list, err := client.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": pod}}})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("the pod's sandboxes: %v, %v", list, err)
	}
	for _, s := range list.Items {
		if _, err := client.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.Id}); err != nil {
			t.Fatal(err)
		}
	}
}
