package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	labnode "github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// fault breaks something and repairs it.
type fault struct {
	name string
	// strike returns when what it breaks is whole again.
	strike func(ctx context.Context) error
	// shakes means that pods fail for other reasons meanwhile.
	shakes bool
	// brings are the causes, besides those of each kind of pod, that a fault that shakes
	// may leave until the kubelet's next attempt.
	brings []string
	// after undoes, once whypull is right again, what is no fault; it may be nil.
	after func(ctx context.Context) error
	// long leaves the fault to make test-chaos.
	long bool
}

func faults() []fault {
	return []fault{
		{name: "the agent is killed", strike: times(3, 2*time.Second, killAgent)},
		{name: "the API server restarts", strike: stopped(labnode.APIServer, 2*time.Second)},
		{name: "the runtime restarts", strike: stopped(labnode.Containerd, time.Second), shakes: true},
		{name: "the kubelet restarts", strike: stopped(labnode.Kubelet, time.Second)},
		{name: "the registry is down", strike: stopped(registry.Hub, 10*time.Second), shakes: true},
		{name: "the node's DNS is silent", strike: frozen("coredns", 10*time.Second), shakes: true},
		{name: "rights are taken and given back", strike: withoutRights(15 * time.Second)},
		{name: "reports are edited and removed", strike: editReports},

		{name: "the agent is killed twenty times", strike: times(20, time.Second, killAgent), long: true},
		{name: "the API server is stopped", strike: stopped(labnode.APIServer, 90*time.Second, notReady), long: true},
		{name: "the API server hangs", strike: frozen("kube-apiserver", 75*time.Second, notReady), long: true},
		{name: "etcd hangs", strike: frozen("etcd", 30*time.Second), long: true},
		{name: "the API server restarts five times", strike: times(5, 10*time.Second, stopped(labnode.APIServer, time.Second)), long: true},
		{name: "the runtime is stopped", strike: stopped(labnode.Containerd, time.Minute), shakes: true, long: true},
		{name: "the runtime hangs", strike: frozen("containerd", time.Minute), shakes: true, long: true},
		{name: "the runtime restarts five times", strike: times(5, 5*time.Second, stopped(labnode.Containerd, time.Second)), shakes: true, long: true},
		{name: "the kubelet is stopped", strike: stopped(labnode.Kubelet, 30*time.Second), long: true},
		{name: "the registry hangs", strike: frozen("registry", 45*time.Second), shakes: true, long: true},
		{name: "the registry restarts ten times", strike: times(10, 2*time.Second, stopped(registry.Hub, time.Second)), shakes: true, long: true},
		{name: "the node's DNS is gone", strike: stopped(labnode.NodeDNS, 30*time.Second), shakes: true, long: true},
		{name: "the agent's token is void", strike: newServiceAccount, long: true},
		{name: "the policies are deleted and come back", strike: withoutPolicies(15 * time.Second), long: true},
		{name: "the DaemonSet rolls out", strike: rollout, long: true},
		{name: "the agent's clock jumps", strike: clockJumps(50*time.Minute, -50*time.Minute, 10*time.Minute), long: true, after: removeJumping},
		{name: "a hundred pods fail and vanish at once", strike: crowd(100), long: true},
		{name: "a pod with fifty containers", strike: manyContainers(50), long: true},
	}
}

func times(n int, interval time.Duration, strike func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for range n {
			if err := strike(ctx); err != nil {
				return err
			}
			if err := pause(ctx, interval); err != nil {
				return err
			}
		}
		return nil
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// stopped stops a component for a while, and then checks. Its start waits until it is
// ready.
func stopped(component string, d time.Duration, checks ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := node.lab.StopComponent(ctx, component); err != nil {
			return err
		}
		return errors.Join(pause(ctx, d), all(checks...)(ctx), node.lab.StartComponent(ctx, component))
	}
}

// frozen stops the processes of a name with SIGSTOP for a while, and then checks: they
// accept connections and do not answer.
func frozen(program string, d time.Duration, checks ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := signalAll(ctx, program, "STOP"); err != nil {
			return err
		}
		return errors.Join(pause(ctx, d), all(checks...)(ctx), signalAll(context.WithoutCancel(ctx), program, "CONT"))
	}
}

// signalAll sends a signal to the processes of a name.
func signalAll(ctx context.Context, program, name string) error {
	_, _, err := node.lab.Exec(ctx, nil, "sh", "-c", fmt.Sprintf(`n=0
for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = %s ] && kill -%s ${p#/proc/} && n=$((n + 1)); done
[ $n -gt 0 ]`, program, name))
	return err
}

// killAgent kills the agent's process, and waits until the kubelet has started another.
func killAgent(ctx context.Context) error {
	was, err := agentContainer(ctx)
	if err != nil {
		return err
	}
	if err := kill(ctx, was.ContainerID); err != nil {
		return err
	}
	return waitAgent(ctx, was.ContainerID)
}

func kill(ctx context.Context, container string) error {
	_, _, err := node.lab.Exec(ctx, nil, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", strings.TrimPrefix(container, "containerd://"))
	return err
}

// waitAgent waits until an agent is ready in another container. The kubelet waits longer
// and longer before it starts one again, so the pod is replaced then.
func waitAgent(ctx context.Context, was string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now, err := agentContainer(ctx)
		if err == nil && now.ContainerID != was && now.Ready {
			return nil
		}
		if err == nil && now.State.Waiting != nil && now.State.Waiting.Reason == "CrashLoopBackOff" {
			_, err = node.lab.Kubectl(ctx, nil, "-n", "whypull", "delete", "pods", "--all", "--wait=true")
		}
		if late := pause(ctx, 200*time.Millisecond); late != nil {
			return errors.Join(late, err)
		}
	}
}

func agentContainer(ctx context.Context) (corev1.ContainerStatus, error) {
	p, err := agentPod(ctx)
	if err != nil {
		return corev1.ContainerStatus{}, err
	}
	return p.Status.ContainerStatuses[0], nil
}

// agentPod returns the agent's pod, with the status of its container.
func agentPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := node.client.CoreV1().Pods("whypull").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=whypull"})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil && len(p.Status.ContainerStatuses) == 1 {
			return p, nil
		}
	}
	return nil, errors.New("no pod of the agent")
}

// withoutRights takes the agent's rights for a while.
func withoutRights(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		roles := node.client.RbacV1().ClusterRoleBindings()
		binding, err := roles.Get(ctx, "whypull-agent", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := roles.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		late := pause(ctx, d)
		binding.ResourceVersion, binding.UID = "", ""
		_, err = roles.Create(context.WithoutCancel(ctx), binding, metav1.CreateOptions{})
		return errors.Join(late, err)
	}
}

// withoutPolicies deletes the bindings of the admission policies for a while.
func withoutPolicies(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		bindings := node.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
		all, err := bindings.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range all.Items {
			if err := bindings.Delete(ctx, all.Items[i].Name, metav1.DeleteOptions{}); err != nil {
				return err
			}
		}
		err = pause(ctx, d)
		for i := range all.Items {
			b := &all.Items[i]
			b.ResourceVersion, b.UID = "", ""
			_, again := bindings.Create(context.WithoutCancel(ctx), b, metav1.CreateOptions{})
			err = errors.Join(err, again)
		}
		return err
	}
}

// newServiceAccount replaces the agent's service account, so that its token is void
// until its pod is replaced, as an administrator would then do.
func newServiceAccount(ctx context.Context) error {
	accounts := node.client.CoreV1().ServiceAccounts("whypull")
	account, err := accounts.Get(ctx, "whypull-agent", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := accounts.Delete(ctx, account.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	account.ResourceVersion, account.UID = "", ""
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := pause(ctx, 20*time.Second); err != nil {
		return err
	}
	return rollout(ctx)
}

func rollout(ctx context.Context) error { return changeAgent(ctx, "rollout", "restart") }

// changeAgent runs a kubectl command on the agent's DaemonSet, and waits for its rollout.
func changeAgent(ctx context.Context, command, subcommand string, args ...string) error {
	line := append([]string{"-n", "whypull", command, subcommand, "daemonset/whypull-agent"}, args...)
	if _, err := node.lab.Kubectl(ctx, nil, line...); err != nil {
		return err
	}
	_, err := node.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m")
	return err
}

// editReports changes, forges and removes the annotations of pods, as a user may.
func editReports(ctx context.Context) error {
	pods := node.client.CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		patch := []string{
			`{"metadata":{"annotations":{"whypull.dev/cause":null,"whypull.dev/summary":null,"whypull.dev/report":null}}}`,
			`{"metadata":{"annotations":{"whypull.dev/cause":"DiskFull","whypull.dev/summary":"run this","whypull.dev/report":"{}"}}}`,
			`{"metadata":{"annotations":{"whypull.dev/report":"{\"schema\":\"whypull.dev/v9\",\"containers\":7}"}}}`,
			`{"metadata":{"annotations":{"whypull.dev/report":"{\"schema\":\"whypull.dev/v0\",\"containers\":[]}"}}}`,
			`{"metadata":{"annotations":{"whypull.dev/cause":"","whypull.dev/report":"not JSON"}}}`,
			`{"metadata":{"annotations":{"whypull.dev/report":"` + strings.Repeat("[", 100_000) + `"}}}`,
		}[i%6]
		_, err := pods.Patch(ctx, list.Items[i].Name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// crowd lets n pods fail at once, and deletes their namespace once some have a verdict.
// All of their kubelet's and runtime's work is done on this machine.
func crowd(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		s := demo.Scenario{Name: "crowd", Manifests: []string{demo.Deployment("app", registry.PlainHost+"/chaos/crowd:1.0", "", n)}}
		if err := s.Break(ctx, node.lab); err != nil {
			return err
		}
		limit := patience + time.Duration(n)*2*time.Second
		late, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		err := verdicts(late, s.Name, n/2)
		_, gone := node.lab.Kubectl(context.WithoutCancel(ctx), nil, "delete", "namespace", s.Name, "--timeout="+limit.String())
		return errors.Join(err, gone)
	}
}

// verdicts waits until so many pods of a namespace have one.
func verdicts(ctx context.Context, ns string, n int) error {
	for {
		list, err := node.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if late := pause(ctx, time.Second); late != nil {
			return errors.Join(err, late)
		}
		if err != nil { // an API server with much to do
			continue
		}
		has := 0
		for i := range list.Items {
			if list.Items[i].Annotations["whypull.dev/cause"] != "" {
				has++
			}
		}
		if has >= n {
			return nil
		}
	}
}

// manyContainers creates one pod of which each container fails, and deletes it once it
// has a report.
func manyContainers(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "many", Namespace: "many"}}
		for i := range n {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
				Name: fmt.Sprintf("c%d", i), Image: fmt.Sprintf("%s/chaos/many-%d:1.0", registry.PlainHost, i),
			})
		}
		if err := (demo.Scenario{Name: "many", Manifests: []string{demo.Secret("unused", registry.HubHost, "a", "b")}}).Break(ctx, node.lab); err != nil {
			return err
		}
		if _, err := node.client.CoreV1().Pods("many").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
		late, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		for {
			p, err := node.client.CoreV1().Pods("many").Get(late, "many", metav1.GetOptions{})
			if err := errors.Join(err, pause(late, time.Second)); err != nil {
				return err
			}
			if p.Annotations["whypull.dev/cause"] == "RepositoryNotFound" {
				break
			}
		}
		_, err := node.lab.Kubectl(ctx, nil, "delete", "namespace", "many", "--timeout=4m")
		return err
	}
}
