package scale

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

const (
	namespace   = "scale"
	wrongSecret = "wrong"
	rightSecret = "right"
	agentUser   = "whypull-agent"
	// causeAnnotation has a verdict's cause.
	causeAnnotation = "whypull.dev/cause"
	// perNet is the number of agents whose addresses have the same second and third
	// byte, and maxAgents what the addresses are enough for.
	perNet    = 250
	maxAgents = 250 * perNet
)

func nodeName(i int) string { return fmt.Sprintf("simulated-%05d", i) }

// agentAddress returns the address of an agent's metrics. All of 127.0.0.0/8 is this
// machine. The port is not the agents' usual one, which the agent of the lab's own node
// has on all addresses.
func agentAddress(i int) string { return fmt.Sprintf("127.1.%d.%d:9778", i/perNet, i%perNet+1) }

// createNamespace creates the failing pods' namespace, with a pull secret that the
// registry rejects and one that it accepts.
func (s *simulation) createNamespace(ctx context.Context) error {
	manifests := []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n",
		demo.Secret(wrongSecret, registry.HubHost, registry.Alice, demo.WrongPassword()),
		demo.Secret(rightSecret, registry.HubHost, registry.Alice, registry.AlicePassword),
	}
	if _, err := s.lab.Kubectl(ctx, strings.NewReader(manifests[0]), "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := s.lab.Kubectl(ctx, strings.NewReader(strings.Join(manifests[1:], "---\n")), "-n", namespace, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, ns := range []string{namespace, "whypull"} {
		err := until(ctx, "the service account of "+ns, func(ctx context.Context) (bool, error) {
			_, err := s.client.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// createNode creates a node, its agent's pod, and what its agent is started with. The
// token is bound to the pod, as the kubelet's would be.
func (s *simulation) createNode(ctx context.Context, i int) error {
	name := nodeName(i)
	if _, err := s.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	pod, err := s.client.CoreV1().Pods("whypull").Create(ctx, newPod("agent-"+name, name, "agent", registry.PlainApp, "", agentUser), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	expires := int64((24 * time.Hour).Seconds())
	token, err := s.client.CoreV1().ServiceAccounts("whypull").CreateToken(ctx, agentUser, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &expires,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.writeAgent(i, token.Status.Token)
}

// writeAgent writes the files that an agent is started with.
func (s *simulation) writeAgent(i int, token string) error {
	authority, err := s.lab.ReadFile("/etc/kubernetes/pki/ca.crt")
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: "https://" + node.APIAddress, CertificateAuthorityData: authority}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["agent"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "agent"}
	config.CurrentContext = "agent"
	kubeconfig, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	files := map[string]string{"kubeconfig": string(kubeconfig), "node": nodeName(i), "address": agentAddress(i)}
	for _, suffix := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(s.path(fmt.Sprintf("agent-%05d.%s", i, suffix)), []byte(files[suffix]), 0o600); err != nil {
			return fmt.Errorf("file of an agent: %w", err)
		}
	}
	return nil
}

// newPod returns a pod that is on a node already.
func newPod(name, on, container, image, secret, account string) *corev1.Pod {
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: on, ServiceAccountName: account, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: container, Image: image}},
		},
	}
	if secret != "" {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	}
	return pod
}

// waiting returns the state of a container that fails.
func (f failure) waiting() corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: f.message}}
}

func (f failure) pod(i int) string {
	return strings.ReplaceAll(f.name, " ", "-") + "-" + nodeName(i)
}

// fail lets one pod on each node fail, waits for all verdicts, measures the time after
// them, heals the pods and waits until all reports are gone.
func (s *simulation) fail(ctx context.Context, f failure) error {
	fmt.Fprintf(s.progress, "%s on %d nodes\n", f.name, s.Agents)
	if f.component != "" {
		if err := s.lab.StopComponent(ctx, f.component); err != nil {
			return err
		}
	}
	pods := make([]*corev1.Pod, s.Agents)
	err := s.each(ctx, func(ctx context.Context, i int) (err error) {
		pods[i], err = s.client.CoreV1().Pods(namespace).Create(ctx, newPod(f.pod(i), nodeName(i), "app", f.image, f.secret, ""), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	if err := s.each(ctx, func(ctx context.Context, i int) error {
		return s.setState(ctx, f.pod(i), corev1.PodPending, f.waiting())
	}); err != nil {
		return err
	}
	if err := s.verdicts(ctx, f); err != nil {
		return err
	}
	if err := s.report(ctx, f.name, before, s.Agents); err != nil {
		return err
	}
	if err := s.quiet(ctx, f.name+", after"); err != nil {
		return err
	}
	if f.component != "" {
		if err := s.lab.StartComponent(ctx, f.component); err != nil {
			return err
		}
	}
	return s.heal(ctx, f)
}

// setState writes the status of a pod of newPod, as its kubelet would.
func (s *simulation) setState(ctx context.Context, name string, phase corev1.PodPhase, state corev1.ContainerState) error {
	pod, err := s.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pod.Status.Phase = phase
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Image: pod.Spec.Containers[0].Image, State: state, Ready: state.Running != nil}}
	s.statuses.Add(1)
	pod.ResourceVersion = "" // the agent's annotation in between is no conflict
	_, err = s.client.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// verdicts waits until each pod has its verdict.
func (s *simulation) verdicts(ctx context.Context, f failure) error {
	prefix := namespace + "/" + strings.ReplaceAll(f.name, " ", "-") + "-"
	if err := s.annotated(ctx, prefix, s.Agents); err != nil {
		return err
	}
	s.say(f.name, "status seen to annotation seen: %s", demo.Spread(s.clock.Times(prefix)))
	return s.right(ctx, f)
}

// annotated waits until n pods whose namespace/name starts with prefix have been
// annotated.
func (s *simulation) annotated(ctx context.Context, prefix string, n int) error {
	return until(ctx, "the annotations", func(context.Context) (bool, error) {
		have := len(s.clock.Times(prefix))
		return have >= n, fmt.Errorf("%d of %d", have, n)
	})
}

// right waits until all pods have the verdict of a failure.
func (s *simulation) right(ctx context.Context, f failure) error {
	return until(ctx, "the right verdict", func(ctx context.Context) (bool, error) {
		list, err := s.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		wrong := map[string]int{}
		for i := range list.Items {
			if cause := list.Items[i].Annotations[causeAnnotation]; cause != f.cause {
				wrong[cause]++
			}
		}
		return len(wrong) == 0, fmt.Errorf("verdicts other than %s: %v", f.cause, wrong)
	})
}

// heal lets the pods run, waits until their reports are gone, and deletes the pods.
func (s *simulation) heal(ctx context.Context, f failure) error {
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	if err := s.each(ctx, func(ctx context.Context, i int) error { return s.setState(ctx, f.pod(i), corev1.PodRunning, running) }); err != nil {
		return err
	}
	err = until(ctx, "the reports to go", func(ctx context.Context) (bool, error) {
		list, err := s.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		left := 0
		for i := range list.Items {
			if list.Items[i].Annotations["whypull.dev/report"] != "" {
				left++
			}
		}
		return left == 0, fmt.Errorf("%d reports are left", left)
	})
	if err != nil {
		return err
	}
	s.say(f.name+", healed", "all reports gone %.1f s after the first pod ran", time.Since(began).Seconds())
	if err := s.report(ctx, f.name+", healed", before, s.Agents); err != nil {
		return err
	}
	return s.deletePods(ctx)
}

// deletePods deletes the failing pods, or those that ran after it.
func (s *simulation) deletePods(ctx context.Context) error {
	now := int64(0)
	return s.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
}
