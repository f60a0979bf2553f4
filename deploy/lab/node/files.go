package node

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// Names and addresses inside the lab.
const (
	// Name is the name of the only node.
	Name = "lab-node"
	// Address is the node's address.
	Address = "10.201.0.2"
	// DNSAddress is the resolver in the node's /etc/resolv.conf.
	DNSAddress = "10.201.0.53"
	// ClusterDNS is the resolver of pods.
	ClusterDNS = "10.96.0.10"
	// SilentAddress never answers.
	SilentAddress = registry.SilentAddress
	// ServiceAddress is the address of the API server's Service.
	ServiceAddress = "10.96.0.1"
	// PodNetwork is the pod network's CIDR.
	PodNetwork = "10.244.0.0/22"
	// StaticPods is the directory of the kubelet's own pods, which need not exist.
	StaticPods = kubeDir + "/manifests"
	// ZoneFile maps addresses to names in the format of /etc/hosts. The node's resolver
	// reloads it within a second after a change.
	ZoneFile = "/etc/lab/dns/hosts"
	// NamesFile is the DNS server's table, a nameserver.Table. The server reads it for
	// each query.
	NamesFile = "/etc/lab/dns/names.json"
	// SandboxImage is the sandbox (pause) image.
	SandboxImage = "pause.lab.example/pause:1.0"
	// SandboxArchive is the archive from which the lab loads that image at startup.
	SandboxArchive = "/var/lib/lab/pause.tar"
	// ToolDir contains all programs of the lab, by name.
	ToolDir = "/opt/lab/bin"
	// ProvidersFile is the kubelet's configuration of credential provider plugins, and
	// ProviderDir the directory of its two: Provider plays a fault for each image that
	// registry.ProviderImages covers, BearerProvider is the same program for
	// registry.BearerImages.
	ProvidersFile  = kubeDir + "/credential-providers.yaml"
	ProviderDir    = kubeDir + "/credential-providers"
	Provider       = "lab-provider"
	BearerProvider = "lab-bearer-provider" // #nosec G101 -- no credential
	// LogDir contains the log of each component.
	LogDir = "/var/log/lab"

	apiPort     = "6443"
	etcd        = "http://127.0.0.1:2379"
	clusterName = "cluster.local"
	pkiDir      = "/etc/kubernetes/pki"
	kubeDir     = "/etc/kubernetes"
)

// APIAddress is the API server's listen address.
const APIAddress = Address + ":" + apiPort

// Addresses returns the addresses of the lab's network device, with prefix lengths.
func Addresses() []string {
	all := []string{Address + "/24", DNSAddress + "/24", ServiceAddress + "/32", ClusterDNS + "/32"}
	for _, a := range registry.Addresses() {
		all = append(all, a+"/24")
	}
	return all
}

// Authorities holds the certificate authorities of a lab.
type Authorities struct {
	// Cluster signs the certificates of Kubernetes, Registry those of the registries.
	Cluster, Registry *catest.Pair
	// Public is the only CA in the node's trust store.
	Public *catest.Pair
	// ServiceAccounts holds the key that signs service account tokens.
	ServiceAccounts *catest.Pair
}

// OpenAuthorities reads a lab's CAs from dir and creates missing ones. Existing
// certificates therefore stay valid when the lab is started again.
func OpenAuthorities(dir string) (Authorities, error) {
	var a Authorities
	for name, target := range map[string]**catest.Pair{
		"cluster-ca": &a.Cluster, "registry-ca": &a.Registry, "public-ca": &a.Public, "service-accounts": &a.ServiceAccounts,
	} {
		base := filepath.Join(dir, name)
		pair, err := catest.Read(base)
		if err != nil {
			if pair, err = catest.NewAuthority(catest.Request{CommonName: "lab " + name}); err != nil {
				return a, err
			}
			if err = pair.Write(base); err != nil {
				return a, err
			}
		}
		*target = pair
	}
	return a, nil
}

// Write writes all files of the node except its programs below root, for a major version
// of containerd.
func Write(root string, a Authorities, containerd int) error {
	if err := writeCertificates(root, a); err != nil {
		return err
	}
	if err := registry.WriteConfig(root, a.Registry); err != nil {
		return err
	}
	files := systemFiles(a)
	maps.Copy(files, kubernetesFiles())
	maps.Copy(files, runtimeFiles(containerd))
	maps.Copy(files, dnsFiles())
	names, err := registry.NameTable().Write()
	if err != nil {
		return err
	}
	files[NamesFile] = string(names)
	return registry.WriteFiles(root, files)
}

func writeCertificates(root string, a Authorities) error {
	dir := filepath.Join(root, pkiDir)
	if err := a.Cluster.Write(filepath.Join(dir, "ca")); err != nil {
		return err
	}
	if err := a.ServiceAccounts.Write(filepath.Join(dir, "service-accounts")); err != nil {
		return err
	}
	for name, request := range certificates() {
		pair, err := a.Cluster.Issue(request)
		if err != nil {
			return err
		}
		if err := pair.Write(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for user := range clients() {
		content := kubeconfig("https://127.0.0.1:"+apiPort, fileReference("certificate-authority", pkiDir+"/ca.crt"),
			fileReference("client-certificate", pkiDir+"/"+user+".crt"), fileReference("client-key", pkiDir+"/"+user+".key"))
		if err := registry.WriteFiles(root, map[string]string{filepath.Join(kubeDir, user+".kubeconfig"): content}); err != nil {
			return err
		}
	}
	return nil
}

// clients returns the users that have a kubeconfig on the node.
func clients() map[string]catest.Request {
	return map[string]catest.Request{
		"admin":              {CommonName: "lab-admin", Organizations: []string{"system:masters"}},
		"controller-manager": {CommonName: "system:kube-controller-manager"},
		"scheduler":          {CommonName: "system:kube-scheduler"},
		"kubelet":            {CommonName: "system:node:" + Name, Organizations: []string{"system:nodes"}, Names: []string{Name, Address, "127.0.0.1"}},
		// CoreDNS reads services, endpoints and namespaces.
		"coredns": {CommonName: "lab-coredns", Organizations: []string{"system:masters"}},
	}
}

func certificates() map[string]catest.Request {
	all := clients()
	all["apiserver"] = catest.Request{CommonName: "kube-apiserver", Names: []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterName,
		"localhost", "127.0.0.1", Address, ServiceAddress,
	}}
	all["apiserver-kubelet"] = catest.Request{CommonName: "kube-apiserver", Organizations: []string{"system:masters"}}
	return all
}

// AdminKubeconfig returns a self-contained kubeconfig for use on the machine, where the
// API server is at url.
func AdminKubeconfig(a Authorities, url string) (string, error) {
	admin, err := a.Cluster.Issue(clients()["admin"])
	if err != nil {
		return "", err
	}
	return kubeconfig(url, inline("certificate-authority", a.Cluster.PEM()),
		inline("client-certificate", admin.PEM()), inline("client-key", admin.KeyPEM())), nil
}

func fileReference(field, path string) string { return field + ": " + path }

func inline(field string, data []byte) string {
	return field + "-data: " + base64.StdEncoding.EncodeToString(data)
}

func kubeconfig(url, authority, certificate, key string) string {
	return `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: ` + url + `
    ` + authority + `
users:
- name: lab
  user:
    ` + certificate + `
    ` + key + `
contexts:
- name: lab
  context: {cluster: lab, user: lab}
current-context: lab
`
}

// systemFiles returns the files that every machine has.
func systemFiles(a Authorities) map[string]string {
	return map[string]string{ // #nosec G101 -- not a secret
		"/etc/passwd":                        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":                         "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
		"/etc/nsswitch.conf":                 "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/hostname":                      Name + "\n",
		"/etc/hosts":                         "127.0.0.1 localhost\n" + Address + " " + Name + "\n",
		"/etc/resolv.conf":                   "nameserver " + DNSAddress + "\n",
		"/etc/machine-id":                    "77687970756c6c2d6c61622d6e6f6465\n",
		"/etc/os-release":                    "NAME=\"whypull lab\"\nID=lab\nPRETTY_NAME=\"whypull lab\"\n",
		"/etc/ssl/certs/ca-certificates.crt": string(a.Public.PEM()),
	}
}

// containerdConfig1 is the configuration of containerd 1.
const containerdConfig1 = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + SandboxImage + `"
  # The lab may lack the permission to lower a process's OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`

// containerdConfig2 is the configuration of containerd 2.
const containerdConfig2 = `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "` + SandboxImage + `"
  [plugins."io.containerd.cri.v1.images".registry]
    # A single directory: the transfer service does not support a list.
    config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  # The lab may lack the permission to lower a process's OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
`

func runtimeFiles(containerd int) map[string]string {
	config := containerdConfig2
	if containerd == 1 {
		config = containerdConfig1
	}
	return map[string]string{
		"/etc/containerd/config.toml": config,
		// The runtime's environment, where a node with systemd has it.
		"/etc/systemd/system/containerd.service.d/http-proxy.conf": "[Service]\nEnvironment=\"" +
			strings.Join(registry.ProxyEnvironment(), "\" \"") + "\"\n",
		"/etc/cni/net.d/10-lab.conflist": `{
  "cniVersion": "1.0.0",
  "name": "lab",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": "` + PodNetwork + `"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
`,
	}
}

// providersConfig is the kubelet's configuration of its credential provider plugins. The
// credentials are in their environment.
func providersConfig() string {
	var images strings.Builder
	for _, pattern := range registry.ProviderImages() {
		images.WriteString("  - \"" + pattern + "\"\n")
	}
	var env strings.Builder
	for _, v := range [][2]string{
		{"LAB_USER", registry.Alice}, {"LAB_PASSWORD", registry.AlicePassword}, {"LAB_NOTES", registry.PlainHost},
		{"LAB_READER", registry.Reader}, {"LAB_READER_PASSWORD", registry.ReaderPassword},
		{"LAB_AUDIENCE", registry.BearerAudience}, {"LAB_ANNOTATION", registry.BearerAnnotation},
	} {
		env.WriteString("  - {name: " + v[0] + ", value: \"" + v[1] + "\"}\n")
	}
	return `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: ` + Provider + `
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  defaultCacheDuration: 1m
  matchImages:
` + images.String() + "  env:\n" + env.String() + `- name: ` + BearerProvider + `
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  defaultCacheDuration: 1m
  matchImages: ["` + registry.BearerImages + `"]
  tokenAttributes:
    serviceAccountTokenAudience: ` + registry.BearerAudience + `
    cacheType: ServiceAccount
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: ["` + registry.BearerAnnotation + `"]
  env:
` + env.String()
}

func kubernetesFiles() map[string]string {
	return map[string]string{
		ProvidersFile: providersConfig(),
		kubeDir + "/kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: ` + pkiDir + `/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: ` + pkiDir + `/kubelet.crt
tlsPrivateKeyFile: ` + pkiDir + `/kubelet.key
clusterDomain: ` + clusterName + `
clusterDNS: [` + ClusterDNS + `]
resolvConf: /etc/resolv.conf
# Run on any Linux machine: cgroup v1 or v2, with swap, with a full disk.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
evictionHard: {}
imageGCHighThresholdPercent: 100
maxPods: 300
staticPodPath: ` + StaticPods + `
# Tests pull in parallel; some pulls hang, and others must not wait for them.
registryPullQPS: 0
serializeImagePulls: false
maxParallelImagePulls: 30
nodeStatusUpdateFrequency: 10s
syncFrequency: 10s
`,
	}
}

func dnsFiles() map[string]string {
	return map[string]string{
		ZoneFile: Zone(registry.Hosts()),
		// The node's resolver knows only the zone file, and rejects all other names at
		// once: below it is an empty root zone.
		"/etc/lab/dns/root": ". 1 IN SOA ns.lab.example. hostmaster.lab.example. 1 3600 600 86400 1\n. 1 IN NS ns.lab.example.\n",
		"/etc/lab/dns/node.conf": `. {
  bind ` + DNSAddress + `
  errors
  hosts ` + ZoneFile + ` {
    ttl 1
    reload 500ms
    no_reverse
    fallthrough
  }
  file /etc/lab/dns/root .
}
` + forwardZone(DNSAddress, registry.NodeViewAddress),
		"/etc/lab/dns/cluster.conf": `. {
  bind ` + ClusterDNS + `
  errors
  kubernetes ` + clusterName + ` in-addr.arpa ip6.arpa {
    kubeconfig ` + kubeDir + `/coredns.kubeconfig lab
    pods insecure
    ttl 1
    fallthrough in-addr.arpa ip6.arpa
  }
  forward . ` + DNSAddress + `
}
` + forwardZone(ClusterDNS, registry.ClusterViewAddress),
	}
}

// forwardZone returns the configuration that makes a resolver forward NameZone to the
// DNS server.
func forwardZone(resolver, server string) string {
	return registry.NameZone + ` {
  bind ` + resolver + `
  errors
  forward . ` + server + `
}
`
}

// Zone returns the content of the zone file for the given names and addresses.
func Zone(hosts map[string]string) string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprintf(&lines, "%s %s\n", hosts[name], name)
	}
	return lines.String()
}
