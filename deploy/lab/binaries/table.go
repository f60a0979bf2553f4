package binaries

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/whypull/whypull/deploy/lab/crio"
)

//go:embed modules
var modules embed.FS

// Family is a set of tools built from one module, with the dependency versions that the
// module's authors tested.
type Family struct {
	// Name is the name of the family's files in the modules directory.
	Name string
	// Version is the version of the main module. It is informational: the module file
	// decides.
	Version string
	// Tags and LDFlags are passed to the go command unchanged.
	Tags    string
	LDFlags string
	Tools   []Tool
	// Module holds the files of a module of our own. If nil, the module is in the
	// modules directory.
	Module fs.FS
}

// Tool is one program of a family.
type Tool struct {
	Name    string
	Package string
	// Source names a file in the modules directory that replaces the tool's main.go.
	Source string
}

// Cluster is a version of Kubernetes that a lab can run, with a containerd of its time.
type Cluster struct {
	// Kubernetes is the minor version.
	Kubernetes string
	// Containerd is the major version.
	Containerd int
	// Impersonation means that the API server has constrained impersonation, as Kubernetes
	// 1.36 and later have.
	Impersonation bool
	// versioned are the families that depend on the version.
	versioned []Family
}

// Families returns the families that the cluster runs, one row per family and version.
func (c Cluster) Families() []Family { return slices.Concat(c.versioned, common()) }

// Clusters returns all clusters, oldest first: the oldest Kubernetes that upstream
// supports, and the newest, which labs run unless another is chosen.
func Clusters() []Cluster {
	return []Cluster{
		{Kubernetes: "1.34", Containerd: 1, versioned: []Family{
			kubernetes("kubernetes-1.34", "v1.34.12"),
			containerd("containerd-1.7", "v1.7.35", "github.com/containerd/containerd/cmd/"),
		}},
		{Kubernetes: "1.37", Containerd: 2, Impersonation: true, versioned: []Family{
			kubernetes("kubernetes", "v1.37.2"),
			containerd("containerd", "v2.4.2", "github.com/containerd/containerd/v2/cmd/"),
		}},
	}
}

// Newest returns the cluster of the newest Kubernetes.
func Newest() Cluster {
	all := Clusters()
	return all[len(all)-1]
}

// FindCluster returns the cluster of a minor version of Kubernetes.
func FindCluster(kubernetes string) (Cluster, error) {
	var known []string
	for _, c := range Clusters() {
		if c.Kubernetes == kubernetes {
			return c, nil
		}
		known = append(known, c.Kubernetes)
	}
	return Cluster{}, fmt.Errorf("no cluster of Kubernetes %q: known are %s", kubernetes, strings.Join(known, " and "))
}

// Default returns the families of the newest cluster.
func Default() []Family { return Newest().Families() }

// Old returns the families of the other clusters that the newest one does not run. Their
// tools have the same names.
func Old() []Family {
	var old []Family
	all := Clusters()
	for _, c := range all[:len(all)-1] {
		old = append(old, c.versioned...)
	}
	return old
}

// common returns the families of every cluster.
func common() []Family {
	return []Family{
		{Name: "etcd", Version: "v3.7.3", LDFlags: "-s -w", Tools: []Tool{
			{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"},
		}},
		{Name: "registry", Version: "v3.1.2", LDFlags: "-s -w", Tools: []Tool{
			{Name: "registry", Package: "github.com/distribution/distribution/v3/cmd/registry"},
		}},
		{Name: "cni", Version: "v1.9.1", LDFlags: "-s -w", Tools: []Tool{
			{Name: "bridge", Package: "github.com/containernetworking/plugins/plugins/main/bridge"},
			{Name: "loopback", Package: "github.com/containernetworking/plugins/plugins/main/loopback"},
			{Name: "host-local", Package: "github.com/containernetworking/plugins/plugins/ipam/host-local"},
		}},
		{Name: "coredns", Version: "v1.14.7", LDFlags: "-s -w", Tools: []Tool{
			{Name: "coredns", Package: "./coredns", Source: "coredns.go.txt"},
		}},
		{Name: "guest", Version: "v1", LDFlags: "-s -w", Tools: []Tool{
			{Name: "pause", Package: "./pause", Source: "pause.go.txt"},
			{Name: "tools", Package: "./tools", Source: "tools.go.txt"},
			{Name: "provider", Package: "./provider", Source: "provider.go.txt"},
		}},
	}
}

// Monitoring returns Prometheus, which runs on a lab's node, with only the service
// discovery that the lab uses.
func Monitoring() []Family {
	return []Family{
		{Name: "prometheus", Version: "v0.316.0", LDFlags: "-s -w", Tags: "remove_all_sd enable_kubernetes_sd", Tools: []Tool{
			{Name: "prometheus", Package: "github.com/prometheus/prometheus/cmd/prometheus"},
			{Name: "promtool", Package: "github.com/prometheus/prometheus/cmd/promtool"},
		}},
	}
}

// Runtimes returns the container runtimes that only pull images, for tests.
func Runtimes() []Family {
	return []Family{
		oldContainerd("containerd-1.7", "v1.7.35"),
		oldContainerd("containerd-1.6", "v1.6.36"),
		{Name: "crio", Version: "v1.37.0", LDFlags: "-s -w", Tags: "containers_image_openpgp exclude_graphdriver_btrfs", Tools: []Tool{
			{Name: "crio", Package: "./cmd/crio"},
		}, Module: crio.Source()},
	}
}

// ForTests returns the families that only tests need and that run outside of a lab. The
// first test that asks for them builds them. The inhibited program uses Alertmanager's
// own configuration and inhibition code: Alertmanager itself cannot be built from its
// module, which lacks the files of its web UI.
func ForTests() []Family {
	return []Family{
		{Name: "alertmanager", Version: "v0.34.1", LDFlags: "-s -w", Tools: []Tool{
			{Name: "amtool", Package: "github.com/prometheus/alertmanager/cmd/amtool"},
			{Name: "inhibited", Package: "./inhibited", Source: "inhibited.go.txt"},
		}},
		{Name: "helm", Version: "v4.3.0", LDFlags: "-s -w", Tools: []Tool{
			{Name: "helm", Package: "helm.sh/helm/v4/cmd/helm"},
		}},
	}
}

// All returns all families but the old clusters', whose tools have the same names.
func All() []Family { return slices.Concat(Default(), Monitoring(), Runtimes(), ForTests()) }

func kubernetes(name, version string) Family {
	f := Family{
		Name:    name,
		Version: version,
		LDFlags: "-s -w -X k8s.io/component-base/version.gitVersion=" + version,
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"} {
		f.Tools = append(f.Tools, Tool{Name: name, Package: "k8s.io/kubernetes/cmd/" + name})
	}
	return f
}

// containerdTags exclude snapshotters that need more than a directory.
const containerdTags = "no_btrfs no_devmapper no_zfs"

// containerd returns the family of a containerd whose programs are below a package path.
func containerd(name, version, packages string) Family {
	f := Family{Name: name, Version: version, LDFlags: "-s -w", Tags: containerdTags}
	for _, tool := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		f.Tools = append(f.Tools, Tool{Name: tool, Package: packages + tool})
	}
	return f
}

// oldContainerd returns the family of an older containerd that only pulls images and
// runs no containers, so it needs no shim. Its program has the family's name.
func oldContainerd(name, version string) Family {
	return Family{Name: name, Version: version, LDFlags: "-s -w", Tags: containerdTags, Tools: []Tool{
		{Name: name, Package: "github.com/containerd/containerd/cmd/containerd"},
	}}
}

// file reads an embedded file of the family.
func (f Family) file(name string) ([]byte, error) {
	read := func() ([]byte, error) { return modules.ReadFile("modules/" + name) }
	if f.Module != nil {
		read = func() ([]byte, error) { return fs.ReadFile(f.Module, name) }
	}
	data, err := read()
	if err != nil {
		return nil, fmt.Errorf("embedded module file %s: %w", name, err)
	}
	return data, nil
}
