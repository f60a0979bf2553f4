package kubelet

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/catest"
)

const (
	thisNode    = "worker-3"
	currentPair = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	rotatedPair = "/var/lib/kubelet/pki/kubelet-client-2026-01-02-03-04-05.pem"
	kubeadmConf = "/etc/kubernetes/kubelet.conf"
)

func ofNode(node string) catest.Request {
	return catest.Request{CommonName: "system:node:" + node, Organizations: []string{nodesGroup}}
}

// combined returns a certificate and its key in one file, as the kubelet rotates them.
func combined(p *catest.Pair) string { return string(p.PEM()) + string(p.KeyPEM()) }

// config returns a kubeconfig with the fields of its user.
func config(user string) string {
	return "apiVersion: v1\nkind: Config\ncurrent-context: kubelet\n" +
		"clusters: [{name: default, cluster: {server: 'https://127.0.0.1:6444', certificate-authority: /nowhere}}]\n" +
		"contexts: [{name: other, context: {cluster: default, user: other}}, {name: kubelet, context: {cluster: default, user: node}}]\n" +
		"users: [{name: other, user: {token: t0ken}}, {name: node, user: {" + user + "}}]\n"
}

func files(certificate, key string) string {
	return "client-certificate: " + certificate + ", client-key: " + key
}

func data(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// The certificate is found in the files of each distribution.
func TestClientCertificateOfDistributions(t *testing.T) {
	t.Parallel()
	pair := catest.New(t).Issue(ofNode(thisNode))
	cert, key := string(pair.PEM()), string(pair.KeyPEM())
	for name, node := range map[string]map[string]string{
		"kubeadm":               {kubeadmConf: config(files(currentPair, currentPair)), currentPair: "-> " + rotatedPair, rotatedPair: combined(pair)},
		"kubeadm, certificates": {currentPair: "-> " + rotatedPair, rotatedPair: combined(pair)}, // only /var/lib/kubelet/pki is mounted
		"kubeadm, relative":     {currentPair: "-> kubelet-client-2026-01-02-03-04-05.pem", rotatedPair: combined(pair)},
		"kubeadm, in the file":  {kubeadmConf: config("client-certificate-data: " + data(cert) + ", client-key-data: " + data(key))},
		"AKS":                   {"/var/lib/kubelet/kubeconfig": config(files(currentPair, currentPair)), currentPair: combined(pair)},
		"AKS, older":            {"/var/lib/kubelet/kubeconfig": config(files("/etc/kubernetes/certs/client.crt", "/etc/kubernetes/certs/client.key")), "/etc/kubernetes/certs/client.crt": cert, "/etc/kubernetes/certs/client.key": key},
		"OpenShift":             {"/etc/kubernetes/kubeconfig": config("token: bootstrap"), "/var/lib/kubelet/kubeconfig": config(files(currentPair, currentPair)), currentPair: combined(pair)},
		"Talos":                 {"/etc/kubernetes/kubeconfig-kubelet": config(files(currentPair, currentPair)), currentPair: combined(pair)},
		"k3s": {"/var/lib/rancher/k3s/agent/kubelet.kubeconfig": config(files("/var/lib/rancher/k3s/agent/client-kubelet.crt", "/var/lib/rancher/k3s/agent/client-kubelet.key")),
			"/var/lib/rancher/k3s/agent/client-kubelet.crt": cert, "/var/lib/rancher/k3s/agent/client-kubelet.key": key},
		"rke2": {"/var/lib/rancher/rke2/agent/kubelet.kubeconfig": config(files("client-kubelet.crt", "client-kubelet.key")),
			"/var/lib/rancher/rke2/agent/client-kubelet.crt": cert, "/var/lib/rancher/rke2/agent/client-kubelet.key": key},
		"k0s": {"/var/lib/k0s/kubelet.conf": config(files("/var/lib/k0s/kubelet/pki/kubelet-client-current.pem", "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem")), "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem": combined(pair)},
		"MicroK8s": {"/var/snap/microk8s/current": "-> 7180", "/var/snap/microk8s/7180/credentials/kubelet.config": config(files("/var/snap/microk8s/current/certs/kubelet.crt", "/var/snap/microk8s/current/certs/kubelet.key")),
			"/var/snap/microk8s/7180/certs/kubelet.crt": cert, "/var/snap/microk8s/7180/certs/kubelet.key": key},
		"a unit":                 {"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --bootstrap-kubeconfig=/b --kubeconfig=/etc/own/kubelet --v=2\n", "/etc/own/kubelet": config(files("c", "k")), "/etc/own/c": cert, "/etc/own/k": key},
		"the first that is good": {kubeadmConf: config("exec: {command: aws}"), "/etc/kubernetes/kubeconfig-kubelet": "{", currentPair: combined(pair)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newNode(t, node).ClientCertificate(thisNode)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Leaf.Equal(pair.Certificate) || got.PrivateKey == nil {
				t.Errorf("another certificate: %v", got.Leaf.Subject)
			}
		})
	}
}

// Whatever cannot be used is named, and nothing of a file's content is.
func TestNoClientCertificate(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	pair := ca.Issue(ofNode(thisNode))
	good := combined(pair)
	old := ofNode(thisNode)
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if !old.NotBefore.Before(old.NotAfter) {
		old.NotBefore = old.NotAfter.Add(-time.Hour)
	}
	young := ofNode(thisNode)
	young.NotBefore = time.Now().Add(time.Hour)
	admin := ca.Issue(catest.Request{CommonName: "admin", Organizations: []string{"system:masters"}})
	master := ca.Issue(catest.Request{CommonName: "system:node:" + thisNode, Organizations: []string{nodesGroup, "system:masters"}})
	const secret = "s3cret"
	const notOfNode = "its certificate is not one of a kubelet of node " + thisNode
	in := "kubelet's kubeconfig " + kubeadmConf + ": "
	for name, tc := range map[string]struct {
		node map[string]string
		want string
	}{
		"nothing":                       {map[string]string{"/etc/": ""}, "read " + currentPair + ": no such file or directory"},
		"EKS":                           {map[string]string{"/var/lib/kubelet/kubeconfig": config("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: /usr/bin/aws, args: [eks, get-token, " + secret + "]}")}, "kubelet's kubeconfig /var/lib/kubelet/kubeconfig: authenticates with the plugin aws, which whypull does not run"},
		"Bottlerocket":                  {map[string]string{"/etc/kubernetes/kubelet/kubeconfig": config("exec: {command: /usr/bin/aws-iam-authenticator}")}, "kubelet's kubeconfig /etc/kubernetes/kubelet/kubeconfig: authenticates with the plugin aws-iam-authenticator, which whypull does not run"},
		"GKE":                           {map[string]string{"/var/lib/kubelet/kubeconfig": config("exec: {command: /home/kubernetes/bin/gke-exec-auth-plugin}")}, "kubelet's kubeconfig /var/lib/kubelet/kubeconfig: authenticates with the plugin gke-exec-auth-plugin, which whypull does not run"},
		"a plugin with a strange name":  {map[string]string{kubeadmConf: config(`exec: {command: "a\nb \e[31m` + secret + `"}`)}, in + "authenticates with the plugin in its exec section, which whypull does not run"},
		"a token":                       {map[string]string{kubeadmConf: config("token: " + secret)}, in + "authenticates without a client certificate"},
		"a token's file":                {map[string]string{kubeadmConf: config("tokenFile: /etc/token"), "/etc/token": secret}, in + "authenticates without a client certificate"},
		"a provider":                    {map[string]string{kubeadmConf: config("auth-provider: {name: gcp, config: {cmd-path: /bin/sh}}")}, in + "authenticates without a client certificate"},
		"a password":                    {map[string]string{kubeadmConf: config("username: u, password: " + secret)}, in + "authenticates without a client certificate"},
		"certificate not mounted":       {map[string]string{kubeadmConf: config(files(currentPair, currentPair))}, in + "read " + currentPair + ": no such file or directory"},
		"link to what is not mounted":   {map[string]string{kubeadmConf: config(files(currentPair, currentPair)), currentPair: "-> " + rotatedPair}, in + "read " + currentPair + ": no such file or directory"},
		"key missing":                   {map[string]string{kubeadmConf: config("client-certificate: c"), "/etc/kubernetes/c": string(pair.PEM())}, in + "names no key"},
		"another key":                   {map[string]string{kubeadmConf: config(files("c", "k")), "/etc/kubernetes/c": string(pair.PEM()), "/etc/kubernetes/k": string(admin.KeyPEM())}, in + "its certificate and key are not a pair"},
		"not a certificate":             {map[string]string{kubeadmConf: config(files("c", "c")), "/etc/kubernetes/c": secret}, in + "its certificate and key are not a pair"},
		"no base64":                     {map[string]string{kubeadmConf: config("client-certificate-data: '*" + secret + "', client-key-data: x")}, in + "cannot be decoded"},
		"another node's":                {map[string]string{currentPair: combined(ca.Issue(ofNode("worker-4")))}, notOfNode},
		"an administrator's":            {map[string]string{kubeadmConf: config(files("c", "c")), "/etc/kubernetes/c": combined(admin)}, in + notOfNode},
		"a node's that is an admin's":   {map[string]string{currentPair: combined(master)}, notOfNode},
		"a node's without the group":    {map[string]string{currentPair: combined(ca.Issue(catest.Request{CommonName: "system:node:" + thisNode}))}, notOfNode},
		"expired":                       {map[string]string{currentPair: combined(ca.Issue(old))}, "its certificate has expired at 2026-01-02T03:04:05Z"},
		"not yet valid":                 {map[string]string{currentPair: combined(ca.Issue(young))}, "its certificate is valid from " + young.NotBefore.UTC().Format(time.RFC3339)},
		"not YAML":                      {map[string]string{kubeadmConf: "{\x00" + secret}, in + "cannot be decoded"},
		"another shape":                 {map[string]string{kubeadmConf: "users: " + secret}, in + "cannot be decoded"},
		"empty":                         {map[string]string{kubeadmConf: ""}, in + "has no user in its current context"},
		"no context":                    {map[string]string{kubeadmConf: strings.Replace(config(files(currentPair, currentPair)), "current-context: kubelet", "current-context: missing", 1)}, in + "has no user in its current context"},
		"no user":                       {map[string]string{kubeadmConf: strings.Replace(config(""), "user: node}}]", "user: nobody}}]", 1)}, in + "has no user in its current context"},
		"too large":                     {map[string]string{kubeadmConf: config(files(currentPair, currentPair)) + strings.Repeat("#", maxIdentity)}, in + "too large"},
		"certificate too large":         {map[string]string{currentPair: good + strings.Repeat("\n", maxIdentity)}, "read " + currentPair + ": too large"},
		"a directory":                   {map[string]string{kubeadmConf + "/": ""}, in + "not a regular file"},
		"aliases that grow":             {map[string]string{kubeadmConf: bomb()}, in + "cannot be decoded"},
		"certificate above the root":    {map[string]string{kubeadmConf: config(files("../../../../../../outside.pem", "../../../../../../outside.pem"))}, in + "read /outside.pem: no such file or directory"},
		"a link that leaves the root":   {map[string]string{currentPair: "-> ../../../../../../../../../../../../etc/hostname"}, "read " + currentPair + ": no such file or directory"},
		"a link to a process's secrets": {map[string]string{currentPair: "-> /proc/self/environ"}, "read " + currentPair + ": no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newNode(t, tc.node).ClientCertificate(thisNode)
			if err == nil || err.Error() != tc.want || got.PrivateKey != nil {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%v shows the file", err)
			}
		})
	}
}

// bomb returns a document that is large only once it is decoded.
func bomb() string {
	var text strings.Builder
	text.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c < 'p'; c++ {
		fmt.Fprintf(&text, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	return text.String()
}

// A file that never ends, or that the agent may not read, does not keep it waiting.
func TestUnreadableClientCertificate(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := filepath.Join(root, currentPair)
	check(t, os.MkdirAll(filepath.Dir(at), 0o700))
	check(t, syscall.Mkfifo(at, 0o600))
	if _, err := New(Options{Root: root}).ClientCertificate(thisNode); err == nil || err.Error() != "read "+currentPair+": not a regular file" {
		t.Errorf("a pipe: %v", err)
	}
	if got := reason(&fs.PathError{Op: "open", Path: "/host/etc/x", Err: syscall.EACCES}); !errors.Is(got, syscall.EACCES) || strings.Contains(got.Error(), "/host") {
		t.Errorf("reason %v", got)
	}
}

// A kubeconfig that is named is the only one.
func TestNamedKubeconfig(t *testing.T) {
	t.Parallel()
	pair := catest.New(t).Issue(ofNode(thisNode))
	k := newNode(t, map[string]string{currentPair: combined(pair), "/opt/kubelet.conf": config(files(currentPair, currentPair)), "/opt/exec.conf": config("exec: {command: aws}")})
	for name, want := range map[string]string{
		"/opt/kubelet.conf": "",
		"/opt/exec.conf":    "kubelet's kubeconfig /opt/exec.conf: authenticates with the plugin aws, which whypull does not run",
		"/opt/missing.conf": "kubelet's kubeconfig /opt/missing.conf: not found",
	} {
		k.kubeconfig = name
		if _, err := k.ClientCertificate(thisNode); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// The kubelet writes a new file and moves its link; the next call sees that.
func TestRotatedClientCertificate(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	first, second := ca.Issue(ofNode(thisNode)), ca.Issue(ofNode(thisNode))
	k := newNode(t, map[string]string{kubeadmConf: config(files(currentPair, currentPair)), currentPair: "-> " + rotatedPair, rotatedPair: combined(first), rotatedPair + ".new": combined(second)})
	got, err := k.ClientCertificate(thisNode)
	if err != nil || !got.Leaf.Equal(first.Certificate) {
		t.Fatalf("%v, %v", got.Leaf, err)
	}
	link, err := k.host.Resolve("/var/lib/kubelet/pki")
	check(t, err)
	check(t, os.Symlink(rotatedPair+".new", filepath.Join(link, "next")))
	check(t, os.Rename(filepath.Join(link, "next"), filepath.Join(link, filepath.Base(currentPair))))
	if got, err = k.ClientCertificate(thisNode); err != nil || !got.Leaf.Equal(second.Certificate) {
		t.Errorf("after the rotation: %v", err)
	}
	block, _ := pem.Decode(second.PEM())
	if string(got.Certificate[0]) != string(block.Bytes) {
		t.Error("the old certificate is sent")
	}
}
