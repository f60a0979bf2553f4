package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// kubeadmNode is a kubeadm node, as far as the default manifests mount it, with
// a docker configuration, a provider configuration, and an image that twenty
// secrets have pulled.
func kubeadmNode() map[string]string {
	return map[string]string{
		"etc/systemd/system/kubelet.service":                     "[Unit]\nDescription=kubelet\n[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\n",
		"etc/systemd/system/kubelet.service.d/10-kubeadm.conf":   "[Service]\nEnvironment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/default/kubelet\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_CONFIG_ARGS $KUBELET_EXTRA_ARGS\n",
		"etc/systemd/system/kubelet.service.d/20-providers.conf": "[Service]\nEnvironment=\"A=--image-credential-provider-config=/etc/kubernetes/providers.yaml\"\n",
		"etc/default/kubelet":                                    "KUBELET_EXTRA_ARGS=\n",
		"etc/kubernetes/providers.yaml":                          providerYAML("v1", ecr, "gcr gcr.io *.gcr.io *.pkg.dev", "acr *.azurecr.io *.azurecr.cn"),
		"var/lib/kubelet/config.json":                            `{"auths":{"r.io":{"username":"u","password":"p"},"https://index.docker.io/v1/":{"auth":"dTpw"}}}`,
		pulled(ref):                                              pulledRecord(`"nginx":` + many(20)),
		records + "pulling/":                                     "",
	}
}

// What one diagnosis reads on the node, alone and next to others.
func BenchmarkRead(b *testing.B) {
	q := Question{Image: imageOf("nginx:1.27"), ImageRef: ref, Secrets: []Secret{{UID: "u9", CredentialHash: "h9"}}}
	steps := map[string]func(*Kubelet){
		"DockerConfig": func(k *Kubelet) { k.DockerConfig() },
		"Providers":    func(k *Kubelet) { k.Providers(imageOf(ecrImage)) },
		"Use":          func(k *Kubelet) { k.Use(q) },
	}
	o := newNode(b, kubeadmNode()).options()
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		for _, shared := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/shared=%t", name, shared), func(b *testing.B) {
				b.ReportAllocs()
				k := New(o)
				for b.Loop() {
					if !shared {
						k = New(o)
					}
					steps[name](k)
				}
			})
		}
	}
}

func (k *Kubelet) options() Options {
	return Options{Root: k.host.Root(), Dir: k.dir, ProviderConfig: k.providerConfig}
}
