package kubelet

import (
	"fmt"
	"testing"
)

func TestClusterDNS(t *testing.T) {
	t.Parallel()
	config := func(servers string) string {
		return `{"kind":"KubeletConfiguration","apiVersion":"kubelet.config.k8s.io/v1beta1","clusterDNS":[` + servers + `]}`
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":           {nil, "[]"},
		"kubeadm":        {map[string]string{"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\nclusterDNS:\n- 10.96.0.10\n- fd00::10\n"}, "[10.96.0.10 fd00::10]"},
		"OpenShift":      {map[string]string{"etc/kubernetes/kubelet.conf": config(`"172.30.0.10"`)}, "[172.30.0.10]"},
		"a kubeconfig":   {map[string]string{"etc/kubernetes/kubelet.conf": "kind: Config\nclusterDNS: [10.0.0.1]\n"}, "[]"},
		"node-local":     {map[string]string{"etc/kubernetes/kubelet/config.json": config(`"169.254.20.10","no address"`)}, "[169.254.20.10]"},
		"does not parse": {map[string]string{"etc/kubernetes/kubelet/config.json": "{"}, "[]"},
		"flags": {map[string]string{
			"etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --config=/etc/k.yaml --cluster-dns=10.0.0.11,10.0.0.10\n",
			"etc/k.yaml":                         config(`"10.0.0.12","10.0.0.10"`),
		}, "[10.0.0.10 10.0.0.11 10.0.0.12]"},
	} {
		if got := fmt.Sprint(newNode(t, tc.files).ClusterDNS()); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
