package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

// Names of components that tests stop and start.
const (
	APIServer        = "kube-apiserver"
	Containerd       = "containerd"
	Kubelet          = "kubelet"
	NodeDNS          = "dns-node"
	ClusterDNSServer = "dns-cluster"
)

// components returns all components of the lab.
func components(api *apiClient) []supervise.Component {
	return []supervise.Component{
		{Name: "etcd", Title: "etcd", Argv: etcdArgs(), Ready: listens("127.0.0.1:2379")},
		{Name: APIServer, Title: "the API server", Argv: apiServerArgs(), After: []string{"etcd"}, Ready: api.ready},
		{Name: "kube-controller-manager", Title: "controllers", Argv: controllerManagerArgs(), After: []string{APIServer}},
		{Name: "kube-scheduler", Title: "the scheduler", Argv: schedulerArgs(), After: []string{APIServer}},
		{Name: Containerd, Title: "the container runtime", Argv: []string{tool("containerd")}, Env: append(box.Environment(), registry.ProxyEnvironment()...), Ready: dials("/run/containerd/containerd.sock")},
		{Name: "sandbox-image", Title: "the sandbox image", After: []string{Containerd}, Task: importSandbox},
		{Name: Kubelet, Title: "the node", Argv: kubeletArgs(), After: []string{APIServer, "sandbox-image"}, Ready: api.nodeReady},
		{Name: NodeDNS, Title: "the node's DNS", Argv: dnsArgs("node"), Ready: listens(DNSAddress + ":53")},
		{Name: ClusterDNSServer, Title: "the cluster's DNS", Argv: dnsArgs("cluster"), After: []string{APIServer}, Ready: listens(ClusterDNS + ":53")},
		{Name: registry.NameServer, Title: "DNS names with different answers for each client", Argv: []string{"/proc/self/exe"}, Env: roleEnvironment(RoleNames), AccessLog: true, Ready: listens(registry.PodViewAddress + ":53")},
		registryComponent(registry.Hub, "the registry with passwords"),
		registryComponent(registry.Token, "the registry with tokens"),
		registryComponent(registry.Plain, "the registry without TLS"),
		{Name: registry.Auth, Title: "the token service", Argv: []string{"/proc/self/exe"}, Env: roleEnvironment(RoleTokens), AccessLog: true, Ready: listens(registry.Address(registry.Auth))},
		{Name: "registry-expired", Title: "the registry with expired certificates", Argv: []string{"/proc/self/exe"}, Env: roleEnvironment(RoleExpired), AccessLog: true},
		{Name: registry.Limited, Title: "the registry with a rate limit", Argv: []string{"/proc/self/exe"}, Env: roleEnvironment(RoleLimited), AccessLog: true, Ready: listens(registry.Address(registry.Limited))},
		{Name: "images", Title: "the registries' images", After: []string{registry.Hub, registry.Token, registry.Plain, registry.Auth}, Task: seed},
		{Name: "cluster", Title: "the cluster accepts pods", After: []string{Kubelet, "kube-controller-manager", "kube-scheduler"}, Task: api.waitSettled},
	}
}

func tool(name string) string { return ToolDir + "/" + name }

func etcdArgs() []string {
	return []string{
		tool("etcd"), "--name=lab", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=lab=http://127.0.0.1:2380",
	}
}

func apiServerArgs() []string {
	return []string{
		tool("kube-apiserver"), "--etcd-servers=" + etcd,
		"--advertise-address=" + Address, "--secure-port=" + apiPort, "--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + pkiDir + "/apiserver.crt", "--tls-private-key-file=" + pkiDir + "/apiserver.key",
		"--client-ca-file=" + pkiDir + "/ca.crt",
		"--service-account-issuer=https://kubernetes.default.svc." + clusterName,
		"--service-account-key-file=" + pkiDir + "/service-accounts.pub",
		"--service-account-signing-key-file=" + pkiDir + "/service-accounts.key",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--kubelet-certificate-authority=" + pkiDir + "/ca.crt",
		"--kubelet-client-certificate=" + pkiDir + "/apiserver-kubelet.crt", "--kubelet-client-key=" + pkiDir + "/apiserver-kubelet.key",
		"--kubelet-preferred-address-types=InternalIP", "--profiling=false",
	}
}

func controllerManagerArgs() []string {
	return []string{
		tool("kube-controller-manager"), "--kubeconfig=" + kubeDir + "/controller-manager.kubeconfig",
		"--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + pkiDir + "/service-accounts.key", "--root-ca-file=" + pkiDir + "/ca.crt",
	}
}

func schedulerArgs() []string {
	return []string{tool("kube-scheduler"), "--kubeconfig=" + kubeDir + "/scheduler.kubeconfig", "--leader-elect=false"}
}

func kubeletArgs() []string {
	return []string{
		tool("kubelet"), "--config=" + kubeDir + "/kubelet.yaml", "--kubeconfig=" + kubeDir + "/kubelet.kubeconfig",
		"--image-credential-provider-config=" + ProvidersFile, "--image-credential-provider-bin-dir=" + ProviderDir,
		"--hostname-override=" + Name, "--node-ip=" + Address, "--root-dir=/var/lib/kubelet",
	}
}

func dnsArgs(which string) []string {
	return []string{tool("coredns"), "-conf", "/etc/lab/dns/" + which + ".conf"}
}

func registryComponent(name, title string) supervise.Component {
	return supervise.Component{
		Name: name, Title: title, AccessLog: true,
		Argv:  []string{tool("registry"), "serve", registry.ConfigFile(name)},
		Env:   append(box.Environment(), "OTEL_TRACES_EXPORTER=none"),
		Ready: listens(registry.Address(name)),
	}
}

func roleEnvironment(role string) []string {
	return append(box.Environment(), box.RoleVariable+"="+role)
}

// listens returns a readiness check that passes when the address accepts connections.
func listens(address string) func(context.Context) error {
	return func(ctx context.Context) error { return dial(ctx, "tcp", address) }
}

func dials(socket string) func(context.Context) error {
	return func(ctx context.Context) error { return dial(ctx, "unix", socket) }
}

func dial(ctx context.Context, network, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func importSandbox(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, tool("ctr"), "--namespace=k8s.io", "images", "import", SandboxArchive) // #nosec G204 -- constants
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing the sandbox image: %w: %s", err, out)
	}
	return nil
}

func seed(ctx context.Context) error {
	authority, err := os.ReadFile(registry.AuthorityFile)
	if err != nil {
		return fmt.Errorf("registry authority: %w", err)
	}
	transport := registry.Transport((&net.Dialer{}).DialContext, authority)
	defer transport.CloseIdleConnections()
	return registry.Seed(ctx, transport, tool("pause"), tool("tools"))
}
