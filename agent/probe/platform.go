package probe

import (
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/hostfs"
)

// PlatformOf returns the platform of the node whose root file system is mounted at
// root, by its runtime's socket and configuration file, and by directories that only
// the platform has.
func PlatformOf(root, socket, configFile string) diagnosis.Platform {
	fs := hostfs.New(root)
	switch {
	case strings.Contains(socket, "/k3s/"): // RKE2's too
		if strings.Contains(configFile, "/rke2/") || !strings.Contains(configFile, "/k3s/") && fs.IsDir("/etc/rancher/rke2") {
			return diagnosis.PlatformRKE2
		}
		return diagnosis.PlatformK3s
	case strings.Contains(socket, "/k0s/"):
		return diagnosis.PlatformK0s
	case strings.Contains(socket, "/microk8s/"):
		return diagnosis.PlatformMicroK8s
	case strings.Contains(socket, "/crio"):
		if fs.IsDir("/etc/machine-config-daemon") {
			return diagnosis.PlatformOpenShift
		}
		return ""
	case strings.HasPrefix(configFile, "/etc/cri/"), fs.IsDir("/etc/cri/conf.d"):
		return diagnosis.PlatformTalos
	case fs.IsFile("/etc/kubernetes/kubelet/kubeconfig"): // other images of EKS have it elsewhere
		return diagnosis.PlatformBottlerocket
	case fs.IsDir("/etc/srv/kubernetes"):
		return diagnosis.PlatformGKE
	}
	return ""
}
