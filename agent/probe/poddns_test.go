package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/netns"
	"github.com/whypull/whypull/cri/registry"
)

// sandboxOf is the sandbox of the pod of failure(), whose resolv.conf has these
// settings.
func sandboxOf(servers []string, searches ...string) critest.Sandbox {
	info, err := json.Marshal(map[string]any{
		"config":      map[string]any{"dns_config": map[string]any{"servers": servers, "searches": searches, "options": []string{"ndots:5", "timeout:1", "attempts:1"}}},
		"runtimeSpec": map[string]any{"linux": map[string]any{"namespaces": []any{map[string]any{"type": "network", "path": "/var/run/netns/cni-1"}}}},
	})
	if err != nil {
		panic(err)
	}
	return critest.Sandbox{ID: "s-1", PodUID: "u-1", Info: string(info)}
}

// withPod makes a node that has the sandbox, and a name server of the pod's own
// on the address 127.0.0.2.
func withPod(t *testing.T, s critest.Sandbox) (*node, *dnstest.Server) {
	t.Helper()
	n := newNode(t, nil, nil)
	pods := dnstest.New(t, "127.0.0.2")
	n.runtime.AddSandbox(s)
	n.collector.Sandboxes, _ = n.collector.Images.(*cri.Runtime)
	n.collector.podPort = pods.Port
	return n, pods
}

func podFailure() diagnosis.Failure {
	f := failure("hub.test/team/app:v1")
	f.SandboxUID = "u-1"
	return f
}

// aside is what is said where the pod's network is not entered.
const aside = ", asked from the node's network"

func TestPodNames(t *testing.T) {
	t.Parallel()
	address := func(a ...string) dnstest.Zone { return dnstest.Zone{Addresses: a} }
	for name, tc := range map[string]struct {
		node, pod map[string]dnstest.Zone
		searches  []string
		want      string
		compared  diagnosis.Comparison
	}{
		"the same": {
			node: map[string]dnstest.Zone{"hub.test": address("10.0.0.1")}, pod: map[string]dnstest.Zone{"hub.test": address("10.0.0.1")},
			want: "Passed | the pod's DNS resolves hub.test to 10.0.0.1 (resolver SERVER)" + aside, compared: diagnosis.ComparedSame,
		},
		"one of several": {
			node: map[string]dnstest.Zone{"hub.test": address("10.0.0.1", "10.0.0.2")}, pod: map[string]dnstest.Zone{"hub.test": address("10.0.0.2", "10.0.0.3")},
			want: "Passed | the pod's DNS resolves hub.test to 10.0.0.2, 10.0.0.3 (resolver SERVER)" + aside, compared: diagnosis.ComparedSame,
		},
		"another of its network": {
			node: map[string]dnstest.Zone{"hub.test": address("10.0.0.1")}, pod: map[string]dnstest.Zone{"hub.test": address("10.0.0.2")},
			want: "Passed | the pod's DNS resolves hub.test to 10.0.0.2 (resolver SERVER)" + aside, compared: diagnosis.ComparedSame,
		},
		"an alias of nothing": {
			pod:  map[string]dnstest.Zone{"hub.test": {CNAME: "gone.test", Rcode: mdns.RcodeNameError}},
			want: "Inconclusive | NameNotFound | the pod's DNS cannot resolve hub.test: it is an alias of gone.test, which does not exist (resolver SERVER)" + aside, compared: diagnosis.ComparedNeither,
		},
		"other public ones": {
			node: map[string]dnstest.Zone{"hub.test": address("192.0.2.1")}, pod: map[string]dnstest.Zone{"hub.test": address("198.51.100.1")},
			want: "Passed | the pod's DNS resolves hub.test to 198.51.100.1 (resolver SERVER)" + aside, compared: diagnosis.ComparedSame,
		},
		"split horizon": {
			node: map[string]dnstest.Zone{"hub.test": address("192.0.2.1")}, pod: map[string]dnstest.Zone{"hub.test": address("10.96.0.7")},
			want: "Passed | the pod's DNS resolves hub.test to 10.96.0.7 (resolver SERVER)" + aside + "; the node resolves it to 192.0.2.1", compared: diagnosis.ComparedOther,
		},
		"only in the pod": {
			pod:  map[string]dnstest.Zone{"hub.test": address("10.96.0.7")},
			want: "Passed | the pod's DNS resolves hub.test to 10.96.0.7 (resolver SERVER)" + aside, compared: diagnosis.ComparedOnlyPod,
		},
		"only on the node": {
			node: map[string]dnstest.Zone{"hub.test": address("192.0.2.1")},
			want: "Inconclusive | NameNotFound | the pod's DNS cannot resolve hub.test: no such name (NXDOMAIN) from SERVER" + aside, compared: diagnosis.ComparedOnlyNode,
		},
		"nowhere": {
			want:     "Inconclusive | NameNotFound | the pod's DNS cannot resolve hub.test: no such name (NXDOMAIN) from SERVER" + aside,
			compared: diagnosis.ComparedNeither,
		},
		"its server fails": {
			pod:      map[string]dnstest.Zone{"hub.test": {Rcode: mdns.RcodeServerFailure}},
			want:     "Inconclusive | DNSFailure | the pod's DNS cannot resolve hub.test: resolver SERVER answered SERVFAIL" + aside,
			compared: diagnosis.ComparedNeither,
		},
		"a search list that answers": {
			node: map[string]dnstest.Zone{"hub.test": address("192.0.2.1")}, pod: map[string]dnstest.Zone{"hub.test.corp.test": address("10.0.0.9")}, searches: []string{"corp.test"},
			want: "Passed | the pod's DNS resolves hub.test to 10.0.0.9 (resolver SERVER, as hub.test.corp.test)" + aside + "; the node resolves it to 192.0.2.1", compared: diagnosis.ComparedOther,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, pods := withPod(t, sandboxOf([]string{"127.0.0.2"}, tc.searches...))
			for host, zone := range tc.node {
				n.dns.Set(host, zone)
			}
			for host, zone := range tc.pod {
				pods.Set(host, zone)
			}
			n.collector.Registries.Timeouts = quickly()
			all := n.collect(podFailure())
			wantLines(t, "pod", replaced(of(podFailure(), all, diagnosis.CheckPodDNS), fmt.Sprintf("127.0.0.2:%d", pods.Port), "SERVER"), tc.want)
			for _, e := range all {
				if e.Check == diagnosis.CheckPodDNS && (e.DNS().Compared != tc.compared || e.Endpoint.URL != "https://hub.test") {
					t.Errorf("%+v, want %s", e, tc.compared)
				}
			}
		})
	}
}

// quickly are times for a registry that is not there.
func quickly() registry.Timeouts { return registry.Timeouts{Connect: 1, Total: 1} }

// Why the name was not asked for in the pod.
func TestPodNamesNotRun(t *testing.T) {
	t.Parallel()
	plain := sandboxOf([]string{"127.0.0.2"})
	files := map[string]string{"var/run/netns/cni-1": ""}
	for name, tc := range map[string]struct {
		sandbox critest.Sandbox
		change  func(*testing.T, *node)
		failure func(*diagnosis.Failure)
		want    string
	}{
		"no sandbox":         {plain, nil, func(f *diagnosis.Failure) { f.SandboxUID = "u-2" }, "the pod has no sandbox, so it has no network"},
		"the sandbox itself": {plain, nil, func(f *diagnosis.Failure) { f.Kind = diagnosis.KindSandbox }, "the pod has no sandbox, so it has no network"},
		"a sandbox that has ended": {critest.Sandbox{ID: "s-1", PodUID: "u-1", NotReady: true}, nil, nil,
			"the pod's sandbox is not running, so it has no network"},
		"settings unknown": {critest.Sandbox{ID: "s-1", PodUID: "u-1", Info: "{}"}, nil, nil, "the container runtime does not report the pod's DNS configuration"},
		"an address": {plain, nil, func(f *diagnosis.Failure) { f.Image, f.Registry = "192.0.2.1/team/app:v1", "192.0.2.1" },
			"192.0.2.1 is an IP address, not a name"},
		"the runtime is gone": {plain, func(_ *testing.T, n *node) { n.collector.Sandboxes = broken{} }, nil, "the runtime is gone"},
		"the namespace is gone": {plain, func(t *testing.T, n *node) {
			hostfstest.Add(t, n.options.Root, map[string]string{"var/run/netns/other": ""})
			n.collector.PodNetwork = true
		}, nil, "the pod's sandbox no longer exists"},
		"namespaces are not mounted": {plain, func(_ *testing.T, n *node) { n.collector.PodNetwork = true }, nil,
			"whypull cannot enter the pod's network namespace: the node's /var/run/netns is not mounted"},
		"no namespace": {plain, func(t *testing.T, n *node) {
			hostfstest.Add(t, n.options.Root, files)
			n.collector.PodNetwork = true
		}, nil, "whypull cannot enter the pod's network namespace: /var/run/netns is mounted without mountPropagation HostToContainer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, pods := withPod(t, tc.sandbox)
			if tc.change != nil {
				tc.change(t, n)
			}
			f := podFailure()
			if tc.failure != nil {
				tc.failure(&f)
			}
			n.collector.Registries.Timeouts = quickly()
			wantLines(t, "pod", of(f, n.collect(f), diagnosis.CheckPodDNS), "NotRun | "+tc.want)
			if q := pods.Queries(); len(q) > 0 {
				t.Errorf("asked %v", q)
			}
		})
	}
}

type broken struct{}

func (broken) Sandbox(context.Context, string) (cri.Sandbox, error) {
	return cri.Sandbox{}, errors.New("the runtime is gone")
}

// A pod with the node's network has settings of its own all the same, and what
// fails there fails in the pod.
func TestPodNamesHostNetwork(t *testing.T) {
	t.Parallel()
	s := sandboxOf([]string{"127.0.0.2"})
	s.HostNetwork = true
	n, pods := withPod(t, s)
	n.collector.PodNetwork = true
	n.collector.Registries.Timeouts = quickly()
	wantLines(t, "pod", replaced(of(podFailure(), n.collect(podFailure()), diagnosis.CheckPodDNS), fmt.Sprintf("127.0.0.2:%d", pods.Port), "SERVER"),
		"Failed | NameNotFound | the pod's DNS cannot resolve hub.test: no such name (NXDOMAIN) from SERVER, the pod uses the node's network")
}

// If the runtime reports no DNS configuration, its resolv.conf file is used.
func TestPodNamesFromFile(t *testing.T) {
	t.Parallel()
	const file = "/run/containers/storage/overlay-containers/s-1/userdata/resolv.conf"
	info, err := json.Marshal(map[string]any{"runtimeSpec": map[string]any{"mounts": []any{map[string]any{"destination": "/etc/resolv.conf", "source": file}}}})
	if err != nil {
		t.Fatal(err)
	}
	n, pods := withPod(t, critest.Sandbox{ID: "s-1", PodUID: "u-1", Info: string(info)})
	hostfstest.Add(t, n.options.Root, map[string]string{file: "nameserver 127.0.0.2\nsearch corp.test\n"})
	n.collector.Node = kubeletOf(t, map[string]string{"var/lib/kubelet/config.yaml": clusterDNS("127.0.0.2")})
	pods.Set("hub.test", dnstest.Zone{Addresses: []string{"10.0.0.1"}})
	n.collector.Registries.Timeouts = quickly()
	wantLines(t, "pod", replaced(of(podFailure(), n.collect(podFailure()), diagnosis.CheckPodDNS), fmt.Sprintf("127.0.0.2:%d", pods.Port), "SERVER"),
		"Passed | the pod's DNS resolves hub.test to 10.0.0.1 (resolver SERVER)"+aside)
	if err := os.Remove(filepath.Join(n.options.Root, file)); err != nil {
		t.Fatal(err)
	}
	another := podFailure() // whose answer is its own
	another.Namespace = "another"
	wantLines(t, "without it", of(another, n.collect(another), diagnosis.CheckPodDNS), "NotRun | the container runtime does not report the pod's DNS configuration")
}

// clusterDNS is a kubelet's configuration that gives pods this name server.
func clusterDNS(server string) string {
	return "kind: KubeletConfiguration\nclusterDNS: [\"" + server + "\"]\n"
}

// TestServersOfThePodsChoice: whoever may create a pod must not have the node ask
// servers of the pod's choice, and read in the report what they answer.
func TestServersOfThePodsChoice(t *testing.T) {
	t.Parallel()
	const refused = "NotRun | the pod has its own resolvers, which whypull queries only from the network of the pod, and never at a link-local or metadata address"
	const asked = "Passed | the pod's DNS resolves hub.test to 10.0.0.9 (resolver SERVER)"
	file := "/run/containers/storage/overlay-containers/s-1/userdata/resolv.conf"
	info, err := json.Marshal(map[string]any{"runtimeSpec": map[string]any{"mounts": []any{map[string]any{"destination": "/etc/resolv.conf", "source": file}}}})
	if err != nil {
		t.Fatal(err)
	}
	written := critest.Sandbox{ID: "s-1", PodUID: "u-1", Info: string(info)}
	shared := sandboxOf([]string{"127.0.0.2"})
	shared.HostNetwork = true
	for name, tc := range map[string]struct {
		sandbox critest.Sandbox
		chosen  []string          // by the pod's spec
		files   map[string]string // of the node
		want    string
	}{
		"the kubelet's":                       {sandboxOf([]string{"127.0.0.2"}), nil, nil, asked + aside},
		"the kubelet's, and another":          {sandboxOf([]string{"127.0.0.2", "127.0.0.3"}), []string{"127.0.0.3"}, nil, asked + aside},
		"chosen":                              {sandboxOf([]string{"127.0.0.2"}), []string{"127.0.0.2"}, nil, refused},
		"chosen, in another form":             {sandboxOf([]string{"::ffff:127.0.0.2"}), []string{"::ffff:127.0.0.2"}, nil, refused},
		"chosen, with the node's network":     {shared, []string{"127.0.0.2"}, nil, refused},
		"chosen, and the cluster's":           {sandboxOf([]string{"127.0.0.2"}), []string{"127.0.0.2"}, map[string]string{"var/lib/kubelet/config.yaml": clusterDNS("127.0.0.2")}, asked + aside},
		"chosen, and not the cluster's":       {sandboxOf([]string{"127.0.0.2"}), []string{"127.0.0.2"}, map[string]string{"var/lib/kubelet/config.yaml": clusterDNS("127.0.0.3")}, refused},
		"by a file that containers may write": {written, nil, map[string]string{file: "nameserver 127.0.0.2\n"}, refused},
		"by a file, and none":                 {written, nil, map[string]string{file: "search corp.test\n"}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, pods := withPod(t, tc.sandbox)
			hostfstest.Add(t, n.options.Root, tc.files)
			n.collector.Node = kubeletOf(t, tc.files)
			pods.Set("hub.test", dnstest.Zone{Addresses: []string{"10.0.0.9"}})
			n.collector.Registries.Timeouts = quickly()
			f := podFailure()
			f.NameServers = tc.chosen
			wantLines(t, "pod", replaced(of(f, n.collect(f), diagnosis.CheckPodDNS), fmt.Sprintf("127.0.0.2:%d", pods.Port), "SERVER"), tc.want)
			if q := pods.Queries(); len(q) > 0 && tc.want == refused {
				t.Errorf("asked %v", q)
			}
		})
	}
}

// In the pod's own network its servers are asked, but not where something answers
// to the node.
func TestServersInThePodsNetwork(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ servers, chosen, cluster, want string }{
		"the pod's own":             {"10.1.2.3 127.0.0.1", "10.1.2.3 127.0.0.1", "", "10.1.2.3 127.0.0.1"},
		"metadata":                  {"169.254.169.254", "169.254.169.254", "", ""},
		"metadata, embedded":        {"64:ff9b::a9fe:a9fe", "64:ff9b::a9fe:a9fe", "", ""},
		"metadata, second":          {"10.1.2.3 fd00:ec2::253", "10.1.2.3 fd00:ec2::253", "", "10.1.2.3"},
		"node-local, chosen":        {"169.254.20.10", "169.254.20.10", "", ""},
		"node-local, the kubelet's": {"169.254.20.10", "", "", "169.254.20.10"},
		"node-local, by its file":   {"169.254.20.10", "169.254.20.10", "169.254.20.10", "169.254.20.10"},
		"metadata beside it":        {"169.254.169.254", "169.254.169.254", "169.254.20.10", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil, nil)
			if tc.cluster != "" {
				n.collector.Node = kubeletOf(t, map[string]string{"var/lib/kubelet/config.yaml": clusterDNS(tc.cluster)})
			}
			f := podFailure()
			f.NameServers = strings.Fields(tc.chosen)
			got, ok := n.collector.allowed(podView{netns: "/var/run/netns/cni-1", config: dns.NewConfig(strings.Fields(tc.servers), nil, nil)}, f, false)
			if text := strings.Join(addressTexts(got), " "); text != tc.want || ok != (tc.want != "") {
				t.Errorf("%q, %t, want %q", text, ok, tc.want)
			}
		})
	}
}

// Pods of one workload that fail together share the answer; those of another
// namespace do not.
func TestPodNamesShared(t *testing.T) {
	t.Parallel()
	n, pods := withPod(t, sandboxOf([]string{"127.0.0.2"}))
	n.collector.Registries.Timeouts = quickly()
	var wg sync.WaitGroup
	for i := range 20 {
		uid := fmt.Sprintf("pod-%d", i)
		s := sandboxOf([]string{"127.0.0.2"})
		s.ID, s.PodUID = "s-"+uid, uid
		n.runtime.AddSandbox(s)
		f := podFailure()
		f.UID, f.SandboxUID, f.Pod, f.Owner = uid, uid, uid, diagnosis.Owner{Kind: "Deployment", Name: "web"}
		wg.Go(func() { n.collect(f) })
	}
	wg.Wait()
	wantLines(t, "questions", pods.Queries(), "udp A hub.test.", "udp AAAA hub.test.")
	f := podFailure()
	f.Namespace = "another"
	n.collect(f)
	if q := pods.Queries(); len(q) != 4 {
		t.Errorf("%d questions", len(q))
	}
}

func TestConnectionEvidence(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"Passed a connection from the pod to 10.0.0.1:443 succeeds":                                                      nil,
		"Inconclusive a connection from the pod to 10.0.0.1:443 fails (refused), but images are pulled from the node":    refused,
		"Inconclusive a connection from the pod to 10.0.0.1:443 fails (no answer), but images are pulled from the node":  context.DeadlineExceeded,
		"Inconclusive a connection from the pod to 10.0.0.1:443 fails (no route), but images are pulled from the node":   syscall.EHOSTUNREACH,
		"Inconclusive a connection from the pod to 10.0.0.1:443 fails (broken off), but images are pulled from the node": errors.New("x"),
	} {
		if e := connectionEvidence(podAnswer{tried: "10.0.0.1:443", err: err}); string(e.Outcome)+" "+detail(podFailure(), e) != want || e.Fault != "" {
			t.Errorf("%v: %+v", err, e)
		}
	}
}

func TestBarredBy(t *testing.T) {
	t.Parallel()
	for _, err := range []error{netns.ErrGone, netns.ErrNotMounted, netns.ErrNotNamespace, netns.ErrNotPermitted, errors.New("x")} {
		if s := detail(podFailure(), diagnosis.Evidence{Reason: barredBy(fmt.Errorf("namespace: %w", err))}); s == "" || strings.Contains(s, "\n") {
			t.Errorf("%v: %q", err, s)
		}
	}
	if s := detail(podFailure(), diagnosis.Evidence{Reason: barredBy(netns.ErrNotPermitted)}); !strings.Contains(s, "SYS_ADMIN") {
		t.Errorf("%q", s)
	}
}

func TestCompareUnknown(t *testing.T) {
	t.Parallel()
	known := dns.Answer{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	if c := compare(dns.Answer{Unknown: true}, known); c != "" {
		t.Errorf("%q", c)
	}
}

func TestPortOf(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]registry.Endpoint{
		"443": {Scheme: "https", Host: "hub.test"}, "80": {Scheme: "http", Host: "hub.test"}, "5000": {Scheme: "http", Host: "[::1]:5000"},
	} {
		if got := portOf(e); got != want {
			t.Errorf("%s: %s, want %s", e, got, want)
		}
	}
}
