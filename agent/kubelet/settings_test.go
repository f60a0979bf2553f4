package kubelet

import (
	"fmt"
	"math"
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

func TestParallelPulls(t *testing.T) {
	t.Parallel()
	const kind = "kind: KubeletConfiguration\n"
	unit := func(flags string) map[string]string {
		return map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet " + flags + "\n"}
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  int
	}{
		"nothing visible": {nil, 1},
		"not said":        {map[string]string{"var/lib/kubelet/config.yaml": kind}, 1},
		"one at a time":   {map[string]string{"var/lib/kubelet/config.yaml": kind + "serializeImagePulls: true\n"}, 1},
		"all at once":     {map[string]string{"var/lib/kubelet/config.yaml": kind + "serializeImagePulls: false\n"}, math.MaxInt32},
		"five, said both": {map[string]string{"var/lib/kubelet/config.yaml": kind + "serializeImagePulls: false\nmaxParallelImagePulls: 5\n"}, 5},
		"five, implied":   {map[string]string{"var/lib/kubelet/config.yaml": kind + "maxParallelImagePulls: 5\n"}, 5},
		"EKS":             {map[string]string{"etc/kubernetes/kubelet/config.json": `{"kind":"KubeletConfiguration","serializeImagePulls":false}`}, math.MaxInt32},
		"a flag":          {unit("--serialize-image-pulls=false"), math.MaxInt32},
		"another flag":    {unit("--serialize-image-pulls=true"), 1},
		"does not parse":  {map[string]string{"var/lib/kubelet/config.yaml": kind + "maxParallelImagePulls: many\n"}, 1},
	} {
		if got := newNode(t, tc.files).ParallelPulls(); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
