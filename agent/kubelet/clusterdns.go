package kubelet

import (
	"net/netip"
	"path"
	"slices"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// ClusterDNS returns the name servers that the kubelet gives to the pods of the
// node by its own flag and configuration, as far as these are visible; sorted.
func (k *Kubelet) ClusterDNS() []netip.Addr {
	return readCached(k.plugins, "cluster-dns", k.readClusterDNS)
}

func (k *Kubelet) readClusterDNS() []netip.Addr {
	texts := k.service().texts
	if line, running := k.commandLine(); running {
		texts = append(texts, line)
	}
	var out []netip.Addr
	files := []string{ // those of OpenShift and EKS are below /etc, which the agent sees
		path.Join(k.dir, "config.yaml"), "/etc/kubernetes/kubelet.conf",
		"/etc/kubernetes/kubelet/config.json", "/etc/kubernetes/kubelet/kubelet-config.json",
	}
	for _, text := range texts {
		out = appendAddresses(out, strings.Split(flag(text, "cluster-dns"), ","))
		if name := flag(text, "config"); path.IsAbs(name) && !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	for _, name := range files {
		f, presence, err := k.read(name)
		var c struct {
			Kind       string   `json:"kind"`
			ClusterDNS []string `json:"clusterDNS"`
		}
		if presence == Present && err == nil && yaml.Unmarshal(f.Data, &c) == nil && c.Kind == "KubeletConfiguration" {
			out = appendAddresses(out, c.ClusterDNS)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return slices.Compact(out)
}

func appendAddresses(all []netip.Addr, texts []string) []netip.Addr {
	for _, t := range texts {
		if a, err := netip.ParseAddr(strings.TrimSpace(t)); err == nil {
			all = append(all, a)
		}
	}
	return all
}
