package kubelet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// maxIdentity limits the size of a kubeconfig, and of a certificate with its key. A
// kubeconfig with everything in it has about 10 KiB.
const maxIdentity = 64 << 10

// nodesGroup is the only group in a certificate that the Node authorizer recognizes.
const nodesGroup = "system:nodes"

// ClientCertificate returns the certificate with which the kubelet of the named node
// authenticates to the API server, in its current rotation. It reads the files of the
// kubeconfig that Options name or, without one, of the first usual one that has a
// certificate of this node. Nothing is executed, and no other credential is used. No
// error contains anything from the files but the name of a plugin.
func (k *Kubelet) ClientCertificate(node string) (tls.Certificate, error) {
	var problem error
	for _, name := range k.kubeconfigPaths() {
		certificate, err := k.certificateOf(name, node)
		switch {
		case err == nil:
			return certificate, nil
		case k.kubeconfig != "" || problem == nil && !errors.Is(err, errNoKubeconfig):
			problem = fmt.Errorf("kubelet's kubeconfig %s: %w", name, err)
		}
	}
	if k.kubeconfig == "" {
		certificate, err := k.rotated(node)
		if err == nil || problem == nil {
			return certificate, err
		}
	}
	return tls.Certificate{}, problem
}

// errNoKubeconfig is returned for a kubeconfig that is not there.
var errNoKubeconfig = errors.New("not found")

// kubeconfigPaths returns where the kubelet's kubeconfig may be.
func (k *Kubelet) kubeconfigPaths() []string {
	if k.kubeconfig != "" {
		return []string{k.kubeconfig}
	}
	var all []string
	for _, text := range k.service().texts {
		all = append(all, flag(text, "kubeconfig"))
	}
	all = slices.DeleteFunc(all, func(name string) bool { return !path.IsAbs(name) })
	return append(all,
		"/etc/kubernetes/kubelet.conf",                          // kubeadm, kind, minikube
		"/etc/kubernetes/kubeconfig-kubelet",                    // Talos
		"/etc/kubernetes/kubelet/kubeconfig",                    // Bottlerocket
		path.Join(k.dir, "kubeconfig"),                          // AKS, EKS, GKE, OpenShift, kOps
		"/var/lib/rancher/k3s/agent/kubelet.kubeconfig",         // k3s
		"/var/lib/rancher/rke2/agent/kubelet.kubeconfig",        // rke2
		"/var/lib/k0s/kubelet.conf",                             // k0s
		"/var/snap/microk8s/current/credentials/kubelet.config", // MicroK8s
	)
}

func (k *Kubelet) certificateOf(name, node string) (tls.Certificate, error) {
	data, err := k.host.ReadFile(name, maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, errNoKubeconfig
	}
	if err != nil {
		return tls.Certificate{}, reason(err)
	}
	user, err := currentUser(data)
	if err != nil {
		return tls.Certificate{}, err
	}
	certificate, err := k.dataOrFile(user.ClientCertificateData, absolute(name, user.ClientCertificate))
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := k.dataOrFile(user.ClientKeyData, absolute(name, user.ClientKey))
	if err != nil {
		return tls.Certificate{}, err
	}
	return pairOf(certificate, key, node)
}

// currentUser returns the user of a kubeconfig's current context, if it authenticates
// with a certificate.
func currentUser(data []byte) (*clientcmdapi.AuthInfo, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, errors.New("cannot be decoded")
	}
	var user *clientcmdapi.AuthInfo
	if current := config.Contexts[config.CurrentContext]; current != nil {
		user = config.AuthInfos[current.AuthInfo]
	}
	switch {
	case user == nil:
		return nil, errors.New("has no user in its current context")
	case len(user.ClientCertificateData) > 0, user.ClientCertificate != "":
		return user, nil
	case user.Exec != nil:
		return nil, fmt.Errorf("authenticates with the plugin %s, which whypull does not run", pluginName(user.Exec.Command))
	}
	return nil, errors.New("authenticates without a client certificate")
}

// pluginName returns a plugin's file name, if it is safe to show.
func pluginName(command string) string {
	name := path.Base(command)
	if len(name) > 64 || !onlyAlphanumericOr(name, "-_.") {
		return "in its exec section"
	}
	return name
}

// absolute resolves a file name in a kubeconfig.
func absolute(kubeconfig, name string) string {
	if name == "" || path.IsAbs(name) {
		return name
	}
	return path.Join(path.Dir(kubeconfig), name)
}

// dataOrFile returns the data that a kubeconfig has, which takes precedence, or names.
func (k *Kubelet) dataOrFile(data []byte, name string) ([]byte, error) {
	if len(data) > 0 {
		return data, nil
	}
	return k.pem(name)
}

// rotated reads the certificate and key in the file in which the kubelet rotates them,
// wherever its kubeconfig is (k8s.io/client-go/util/certificate).
func (k *Kubelet) rotated(node string) (tls.Certificate, error) {
	data, err := k.pem(path.Join(k.dir, "pki", "kubelet-client-current.pem"))
	if err != nil {
		return tls.Certificate{}, err
	}
	return pairOf(data, data, node)
}

func (k *Kubelet) pem(name string) ([]byte, error) {
	if name == "" {
		return nil, errors.New("names no key")
	}
	data, err := k.host.ReadFile(name, maxIdentity)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, reason(err))
	}
	return data, nil
}

// reason returns an error without the path below which the node is mounted.
func reason(err error) error {
	for at := (*fs.PathError)(nil); errors.As(err, &at); {
		err = at.Err
	}
	return err
}

// pairOf returns a certificate with its key, if it is a valid one of the node.
func pairOf(certificate, key []byte, node string) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return tls.Certificate{}, errors.New("its certificate and key are not a pair")
	}
	if err := isOfNode(pair.Leaf, node, time.Now()); err != nil {
		return tls.Certificate{}, err
	}
	return pair, nil
}

// isOfNode returns nil if the certificate is one that the Node authorizer limits to
// the node, and valid. With any other, such as an administrator's, whypull could read
// more than it should.
func isOfNode(certificate *x509.Certificate, node string, now time.Time) error {
	subject := certificate.Subject
	switch {
	case subject.CommonName != "system:node:"+node || !slices.Equal(subject.Organization, []string{nodesGroup}):
		return fmt.Errorf("its certificate is not one of a kubelet of node %s", node)
	case now.Before(certificate.NotBefore):
		return errors.New("its certificate is valid from " + certificate.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(certificate.NotAfter):
		return errors.New("its certificate has expired at " + certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
