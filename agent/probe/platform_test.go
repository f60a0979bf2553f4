package probe

import (
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
)

func TestPlatformOf(t *testing.T) {
	t.Parallel()
	const containerd, config = "unix:///run/containerd/containerd.sock", "/etc/containerd/config.toml"
	const rancher = "unix:///run/k3s/containerd/containerd.sock"
	seen := map[diagnosis.Platform]bool{}
	for name, tt := range map[string]struct {
		socket, config string
		files          []string
		want           diagnosis.Platform
	}{
		"kubeadm":                     {containerd, config, []string{"etc/kubernetes/kubelet.conf"}, ""},
		"k3s":                         {rancher, "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", nil, diagnosis.PlatformK3s},
		"k3s, the file is found":      {rancher, config, []string{"etc/rancher/k3s/k3s.yaml"}, diagnosis.PlatformK3s},
		"k3s where RKE2 was":          {rancher, "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", []string{"etc/rancher/rke2/x"}, diagnosis.PlatformK3s},
		"RKE2":                        {rancher, "/var/lib/rancher/rke2/agent/etc/containerd/config.toml", nil, diagnosis.PlatformRKE2},
		"RKE2, the file is found":     {rancher, config, []string{"etc/rancher/rke2/rke2.yaml"}, diagnosis.PlatformRKE2},
		"k3s with another runtime":    {containerd, config, []string{"etc/rancher/k3s/k3s.yaml"}, ""},
		"k0s":                         {"unix:///run/k0s/containerd.sock", "/etc/k0s/containerd.toml", nil, diagnosis.PlatformK0s},
		"MicroK8s":                    {"unix:///var/snap/microk8s/common/run/containerd.sock", "/var/snap/microk8s/current/args/containerd.toml", nil, diagnosis.PlatformMicroK8s},
		"Talos":                       {containerd, "/etc/cri/containerd.toml", nil, diagnosis.PlatformTalos},
		"Talos, the flag is not set":  {containerd, config, []string{"etc/cri/conf.d/cri.toml"}, diagnosis.PlatformTalos},
		"Bottlerocket":                {containerd, config, []string{"etc/kubernetes/kubelet/kubeconfig"}, diagnosis.PlatformBottlerocket},
		"EKS":                         {containerd, config, []string{"etc/kubernetes/kubelet/config.json"}, ""},
		"GKE":                         {containerd, config, []string{"etc/srv/kubernetes/cri_auth_config.yaml"}, diagnosis.PlatformGKE},
		"OpenShift":                   {"unix:///var/run/crio/crio.sock", config, []string{"etc/machine-config-daemon/currentconfig"}, diagnosis.PlatformOpenShift},
		"CRI-O":                       {"unix:///var/run/crio/crio.sock", config, nil, ""},
		"nothing known, as in a test": {"", "", nil, ""},
	} {
		root := t.TempDir()
		for _, file := range tt.files {
			hostfstest.Add(t, root, map[string]string{file: ""})
		}
		if got := PlatformOf(root, tt.socket, tt.config); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		seen[tt.want] = true
	}
	for _, p := range constants(t, diagnosisDir, "Platform") {
		if !seen[diagnosis.Platform(p)] {
			t.Errorf("%s is not recognized in any case", p)
		}
	}
}
