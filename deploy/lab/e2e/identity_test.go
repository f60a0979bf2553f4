package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// The kubelet's files, as kubeadm's kubelet has them.
const (
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	kubeletPKI  = "/var/lib/kubelet/pki/"
	currentPair = kubeletPKI + "kubelet-client-current.pem"
)

// TestKubeletIdentity is not parallel, because it changes the rights of the agent that
// the tests share. Without constrained impersonation, as on Kubernetes before 1.36, the
// manifests before-1.36 give the README's first verdict: pods are watched directly, and
// the pull secret is read with the kubelet's client certificate, also after that was
// rotated.
func TestKubeletIdentity(t *testing.T) {
	ctx := t.Context()
	if shared.Impersonation {
		if err := layOutAsKubeadm(ctx, shared.lab); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for _, name := range []string{kubeletConf, currentPair} {
				if err := shared.lab.RemoveFile(name); err != nil {
					t.Error(err)
				}
			}
		})
		withoutImpersonation(t)
	}
	assertIdentity(t, "identity")

	if err := rotate(ctx, shared.lab, "2"); err != nil {
		t.Fatal(err)
	}
	if err := shared.lab.RemoveFile(kubeletPKI + "kubelet-client-1.pem"); err != nil {
		t.Fatal(err)
	}
	assertIdentity(t, "identity-rotated")
	if m := shared.metrics(ctx, t); !strings.Contains(m, `secret_access="kubelet"`) || strings.Contains(m, `whypull_secret_reads_total{result="forbidden"} 1`) {
		t.Errorf("metrics:\n%s", m)
	}
	log, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "logs", "daemonset/whypull-agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`"msg":"secret access","mode":"kubelet"`, `"msg":"pods are watched","mode":"direct"`} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %s:\n%s", line, log)
		}
	}
}

const kubeadmConf = `apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://10.201.0.2:6443", certificate-authority: /etc/kubernetes/pki/ca.crt}
  name: kubernetes
contexts:
- context: {cluster: kubernetes, user: system:node:lab-node}
  name: system:node:lab-node@kubernetes
current-context: system:node:lab-node@kubernetes
users:
- name: system:node:lab-node
  user: {client-certificate: FILE, client-key: FILE}
`

// layOutAsKubeadm gives the node the kubelet's kubeconfig and client certificate where
// kubeadm has them.
func layOutAsKubeadm(ctx context.Context, l *lab.Lab) error {
	return errors.Join(rotate(ctx, l, "1"), l.WriteFile(kubeletConf, []byte(strings.ReplaceAll(kubeadmConf, "FILE", currentPair))))
}

// rotate issues a client certificate for the kubelet, and moves the link to it, as the
// kubelet does.
func rotate(ctx context.Context, l *lab.Lab, number string) error {
	authority, err := catest.Read(filepath.Join(l.Dir(), "pki", "cluster-ca"))
	if err != nil {
		return err
	}
	pair, err := authority.Issue(catest.Request{CommonName: "system:node:" + node.Name, Organizations: []string{"system:nodes"}})
	if err != nil {
		return err
	}
	file := kubeletPKI + "kubelet-client-" + number + ".pem"
	if err := l.WriteFile(file, slices.Concat(pair.PEM(), pair.KeyPEM())); err != nil {
		return err
	}
	_, _, err = l.Exec(ctx, nil, "sh", "-c", "chmod 600 "+file+" && ln -s "+file+" "+currentPair+".new && mv "+currentPair+".new "+currentPair)
	return err
}

// withoutImpersonation installs the manifests for older clusters and removes the rights
// of newer ones, until the test ends.
func withoutImpersonation(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	replaceAgent(t, "resources: [DEPLOY/before-1.36]\npatches:\n- target: {kind: ClusterRole, name: whypull-agent}\n  patch: |\n"+
		strings.Repeat("    - {op: remove, path: /rules/0}\n", 3))
	awaitAgent(t)
	// The API server keeps allowing an impersonation for ten seconds, also to a new pod.
	shared.eventually(ctx, t, func() (string, bool) {
		log, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "logs", "daemonset/whypull-agent")
		if err == nil && strings.Contains(log, `"msg":"pods are watched","mode":"direct"`) {
			return "", true
		}
		if strings.Contains(log, `"mode":"impersonate"`) {
			if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "delete", "pods", "--all"); err != nil {
				t.Fatal(err)
			}
			awaitAgent(t)
		}
		return "impersonation to be refused:\n" + log, false
	})
}

// replaceAgent applies a kustomization instead of the shared agent's, until the test ends.
// DEPLOY in the text stands for the directory deploy.
func replaceAgent(t *testing.T, text string) {
	t.Helper()
	apply := func(dir string) {
		t.Helper()
		if out, err := shared.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "apply", "-k", dir); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	dir := t.TempDir()
	deploy, err := filepath.Rel(dir, filepath.Join(shared.root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + strings.ReplaceAll(text, "DEPLOY", deploy)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		apply(installed())
		awaitAgent(t)
	})
	apply(dir)
}

// installed returns where demo.Install has the manifests.
func installed() string { return filepath.Join(shared.lab.Dir(), "images", "manifests") }

// awaitAgent waits until the agent is ready.
func awaitAgent(t *testing.T) {
	t.Helper()
	if _, err := shared.lab.Kubectl(context.WithoutCancel(t.Context()), nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
}

// assertIdentity breaks the pod of the README and checks its verdict. The manifests are
// applied before the pod's.
func assertIdentity(t *testing.T, namespace string, manifests ...string) {
	t.Helper()
	got := breakReadme(t, namespace, manifests...)
	if got.Cause != "PullSecretNoMatch" || got.Confidence != confirmed || !strings.Contains(got.Summary, registry.HubHost) {
		t.Errorf("verdict %+v", got)
	}
}

// breakReadme breaks the pod of the README and returns the report on its container.
func breakReadme(t *testing.T, namespace string, manifests ...string) containerReport {
	t.Helper()
	image := registry.HubHost2 + "/e2e/" + namespace + ":1.0"
	s := demo.Scenario{Name: namespace, Images: []string{image}, Manifests: append(manifests,
		demo.Secret("regcred", registry.HubHost, registry.Alice, registry.AlicePassword),
		demo.Pod("app", image, "", demo.PullSecrets("regcred")))}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(t.Context(), shared.lab); err != nil {
		t.Fatal(err)
	}
	return shared.settled(t.Context(), t, s.Name, "app").Containers[0]
}

// TestKubeletCertificateIsLimited reads with the kubelet's certificate through the
// agent's client: the secrets that pods of this node name, and no others. What the API
// server would let the kubelet do besides never leaves the client.
func TestKubeletCertificateIsLimited(t *testing.T) {
	ctx := t.Context()
	s := demo.Scenario{Name: "kubelet-power", Images: []string{registry.PlainHost + "/e2e/kubelet-power:1.0"}, Manifests: []string{
		demo.Secret("named", registry.HubHost, "u", "p"),
		demo.Secret("unnamed", registry.HubHost, "u", "p"),
		demo.Pod("app", registry.PlainHost+"/e2e/kubelet-power:1.0", "", demo.PullSecrets("named")),
		demo.Pod("far", registry.PlainHost+"/e2e/kubelet-power:1.0", "", "nodeName: another-node\n"+demo.PullSecrets("unnamed")),
	}}
	t.Cleanup(func() { remove(t, s.Name) })
	if err := s.Break(ctx, shared.lab); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range []string{"kubelet.kubeconfig", "pki/kubelet.crt", "pki/kubelet.key"} {
		data, err := shared.lab.ReadFile("/etc/kubernetes/" + file)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, "etc/kubernetes", file)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := kubelet.New(kubelet.Options{Root: dir, Kubeconfig: "/etc/kubernetes/kubelet.kubeconfig"})
	certificate, err := files.ClientCertificate(node.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.ClientCertificate("another-node"); err == nil {
		t.Error("the certificate is taken for another node's")
	}
	admin, err := clientcmd.BuildConfigFromFlags("", shared.lab.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(rest.AnonymousClientConfig(admin), kube.Options{Node: node.Name, Access: kube.AccessKubelet,
		Certificate: func() (tls.Certificate, error) { return certificate, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Secret(ctx, s.Name, "named"); err != nil || len(got.Data.Reveal()) == 0 {
		t.Errorf("the secret that a pod of the node names: %v", err)
	}
	if _, err := client.SecretVersion(ctx, s.Name, "named"); err != nil {
		t.Errorf("its version: %v", err)
	}
	watchCtx, stop := context.WithCancel(ctx)
	seen := ""
	err = client.WatchSecret(watchCtx, s.Name, "named", func(version string, _ error) {
		seen = version
		stop()
	})
	if seen == "" || !errors.Is(err, context.Canceled) {
		t.Errorf("a watch on it: version %q, %v", seen, err)
	}
	for _, name := range []string{"unnamed", "missing", "../secrets", ""} {
		if err := client.WatchSecret(ctx, s.Name, name, func(string, error) {}); err == nil {
			t.Errorf("secret %q was watched", name)
		}
	}
	for _, name := range []string{"unnamed", "missing"} {
		if _, err := client.Secret(ctx, s.Name, name); !errors.Is(err, kube.ErrNoAccess) {
			t.Errorf("secret %s, which no pod of the node names: %v", name, err)
		}
	}
	for _, name := range []string{"../secrets", "named/status", "", "*"} {
		if _, err := client.Secret(ctx, s.Name, name); err == nil {
			t.Errorf("secret %q was read", name)
		}
	}
	if _, err := client.ExistsElsewhere(ctx, s.Name, "named"); !errors.Is(err, kube.ErrNoAccess) {
		t.Errorf("a list of secrets: %v", err)
	}
	if err := client.PatchPod(ctx, s.Name, "app", "", kube.PodChange{}); err == nil {
		t.Error("the pod was patched with the kubelet's certificate")
	}
}
