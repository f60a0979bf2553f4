package kubelet

import (
	"math"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strings"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// configuration is what is used of a KubeletConfiguration.
type configuration struct {
	Kind                  string   `json:"kind"`
	ClusterDNS            []string `json:"clusterDNS"`
	SerializeImagePulls   *bool    `json:"serializeImagePulls"`
	MaxParallelImagePulls *int32   `json:"maxParallelImagePulls"`
}

// settings are the kubelet's flags and configuration, as far as these are visible.
type settings struct {
	texts []string // with flags
	files []configuration
}

func (k *Kubelet) settings() settings {
	return readCached(k.plugins, "settings", k.readSettings)
}

func (k *Kubelet) readSettings() settings {
	s := settings{texts: slices.Clone(k.service().texts)} // which are cached
	if line, running := k.commandLine(); running {
		s.texts = append(s.texts, line)
	}
	files := []string{ // those of OpenShift and EKS are below /etc, which the agent sees
		path.Join(k.dir, "config.yaml"), "/etc/kubernetes/kubelet.conf",
		"/etc/kubernetes/kubelet/config.json", "/etc/kubernetes/kubelet/kubelet-config.json",
	}
	for _, text := range s.texts {
		if name := flag(text, "config"); path.IsAbs(name) && !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	for _, name := range files {
		var c configuration
		if f, presence, err := k.read(name); presence == Present && err == nil && yaml.Unmarshal(f.Data, &c) == nil && c.Kind == "KubeletConfiguration" {
			s.files = append(s.files, c)
		}
	}
	return s
}

// ClusterDNS returns the name servers that the kubelet gives to the pods of the
// node by its own flag and configuration, as far as these are visible; sorted.
func (k *Kubelet) ClusterDNS() []netip.Addr {
	var out []netip.Addr
	s := k.settings()
	for _, text := range s.texts {
		out = appendAddresses(out, strings.Split(flag(text, "cluster-dns"), ","))
	}
	for _, c := range s.files {
		out = appendAddresses(out, c.ClusterDNS)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return slices.Compact(out)
}

// ParallelPulls returns how many images the kubelet pulls at the same time by its
// configuration, as far as that is visible: 1 by default, math.MaxInt32 without a limit.
// The rule is that of SetDefaults_KubeletConfiguration and of KEP-3673.
func (k *Kubelet) ParallelPulls() int {
	most := 1
	s := k.settings()
	for _, c := range s.files {
		limit, limited := ptr.Deref(c.MaxParallelImagePulls, math.MaxInt32), c.MaxParallelImagePulls != nil
		if !ptr.Deref(c.SerializeImagePulls, !limited) {
			most = max(most, int(limit))
		}
	}
	if slices.ContainsFunc(s.texts, func(text string) bool { return flag(text, "serialize-image-pulls") == "false" }) && most == 1 {
		return math.MaxInt32
	}
	return most
}

func appendAddresses(all []netip.Addr, texts []string) []netip.Addr {
	for _, t := range texts {
		if a, err := netip.ParseAddr(strings.TrimSpace(t)); err == nil {
			all = append(all, a)
		}
	}
	return all
}
