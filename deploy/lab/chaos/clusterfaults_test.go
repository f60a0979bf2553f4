package chaos

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	labnode "github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// clusterFaults returns the faults of the cluster's side: what its owner and its users do.
func clusterFaults() []fault {
	return []fault{
		{name: "the key of service accounts is replaced", strike: newServiceAccountKey, long: true},
		{name: "the agent's token expires", strike: tokenExpires, long: true},
		{name: "the agent's token is replaced in time", strike: tokenReplaced, long: true},
		{name: "a policy refuses the agent's writes", strike: refused(refusalOf("pods/status", "events"), 30*time.Second), long: true},
		{name: "a policy refuses the agent's Events", strike: refused(refusalOf("events"), 30*time.Second), long: true},
		{name: "a webhook for the agent's writes is down", strike: refused(deadWebhook(), 30*time.Second), long: true},
		{name: "a namespace is deleted and comes back", strike: namespaceComesBack, long: true},
		{name: "pods come back under their names at once", strike: podsComeBack(10), long: true},
		{name: "images change in place", strike: imagesChange, long: true},
		{name: "a deletion is stuck", strike: stuckDeletion, long: true},
		{name: "jobs end", strike: jobsEnd, long: true},
		{name: "a pod is evicted and another is out of time", strike: evicted, long: true},
		{name: "static pods fail", strike: staticPods, long: true},
		{name: "250 pods fail and vanish at once", strike: crowd(250), long: true},
		{name: "the DaemonSet surges", strike: surge, long: true},
		{name: "two agents run on the node", strike: secondAgent, long: true},
		{name: "the agent is upgraded over older and newer reports", strike: upgrade, long: true},
		{name: "whypull is uninstalled and installed again", strike: reinstall, long: true},
	}
}

// The images that the faults of this file use.
const (
	noRepository = registry.PlainHost + "/chaos/no-such-repository:1.0"
	noTag        = registry.PlainApp + "-no-such-tag"
)

// inNamespace calls use with a new namespace, and deletes it with its pods afterwards.
func inNamespace(ctx context.Context, name string, use func(context.Context) error) error {
	if err := createNamespace(ctx, name); err != nil {
		return err
	}
	err := use(ctx)
	return errors.Join(err, deleteNamespace(context.WithoutCancel(ctx), name))
}

func createNamespace(ctx context.Context, name string) error {
	return demo.Scenario{Name: name, Manifests: []string{demo.Secret("unused", registry.HubHost, "a", "b")}}.Break(ctx, node.lab)
}

func deleteNamespace(ctx context.Context, name string) error {
	_, err := node.lab.Kubectl(ctx, nil, "delete", "namespace", name, "--timeout=4m")
	return err
}

// newPod creates a pod with one container, changed by the functions.
func newPod(ctx context.Context, ns, name, image string, change ...func(*corev1.Pod)) (*corev1.Pod, error) {
	now := int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &now, Containers: []corev1.Container{{Name: "app", Image: image}}},
	}
	for _, c := range change {
		c(pod)
	}
	return node.client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
}

func setImage(ctx context.Context, ns, pod, image string) error {
	patch := `{"spec":{"containers":[{"name":"app","image":"` + image + `"}]}}`
	_, err := node.client.CoreV1().Pods(ns).Patch(ctx, pod, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	return err
}

// until waits until check has nothing to complain about, and notes how long that took.
// what describes the truth that is waited for.
func until(ctx context.Context, what string, check func(context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wrong error
	for {
		err := check(ctx)
		if err == nil {
			node.note("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		if ctx.Err() == nil {
			wrong = err
		}
		if late := pause(ctx, 300*time.Millisecond); late != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(wrong, late))
		}
	}
}

// causes returns a check that the pods of a namespace have these causes, by name; an empty
// one for no report.
func causes(ns string, want map[string]string) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := node.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		has := map[string]string{}
		for i := range list.Items {
			p := &list.Items[i]
			has[p.Name] = p.Annotations["whypull.dev/cause"]
			if has[p.Name] == "" && p.Annotations["whypull.dev/report"] != "" {
				has[p.Name] = p.Annotations["whypull.dev/report"]
			}
		}
		if !maps.Equal(has, want) {
			return fmt.Errorf("in %s the causes are %v, want %v", ns, has, want)
		}
		return nil
	}
}

// events returns a check that whypull's Events on a pod have these reasons, in the order of
// their times.
func events(p *corev1.Pod, want ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := node.client.EventsV1().Events(p.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		slices.SortFunc(list.Items, byTime)
		var has []string
		for i := range list.Items {
			if e := &list.Items[i]; e.ReportingController == "whypull.dev/agent" && e.Regarding.UID == p.UID {
				has = append(has, e.Reason)
			}
		}
		if !slices.Equal(has, want) {
			return fmt.Errorf("pod %s/%s (%s) has the Events %v, want %v", p.Namespace, p.Name, p.UID, has, want)
		}
		return nil
	}
}

// counted returns a check that the metrics name so many failing containers of a namespace.
func counted(ns string, want int) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9779/metrics")
		if err != nil {
			return err
		}
		has := 0
		for line := range strings.SplitSeq(body, "\n") {
			if strings.HasPrefix(line, "whypull_pod_failure_info{") && strings.Contains(line, `namespace="`+ns+`"`) {
				has++
			}
		}
		if has != want {
			return fmt.Errorf("the metrics name %d failing containers of %s, want %d", has, ns, want)
		}
		return nil
	}
}

func all(checks ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, check := range checks {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// newServiceAccountKey replaces the key that signs the tokens of service accounts, as after
// a leak: all tokens are void at once. The kubelet writes new ones when it is restarted,
// and the agent goes on with its own.
func newServiceAccountKey(ctx context.Context) error {
	was, err := agentContainer(ctx)
	if err != nil {
		return err
	}
	if err := replaceKey(); err != nil {
		return err
	}
	for _, component := range []string{labnode.APIServer, "kube-controller-manager"} {
		if err := stopped(component, 0)(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(pause(ctx, 30*time.Second), stopped(labnode.Kubelet, 0)(ctx)); err != nil {
		return err
	}
	if err := inNamespace(ctx, "key", func(ctx context.Context) error {
		if _, err := newPod(ctx, "key", "app", noRepository); err != nil {
			return err
		}
		return until(ctx, "a verdict after the kubelet's restart", causes("key", map[string]string{"app": "RepositoryNotFound"}))
	}); err != nil {
		return err
	}
	now, err := agentContainer(ctx)
	if err == nil && now.ContainerID != was.ContainerID {
		err = errors.New("the agent was restarted")
	}
	return err
}

func replaceKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	private := x509.MarshalPKCS1PrivateKey(key)
	return errors.Join(
		node.lab.WriteFile("/etc/kubernetes/pki/service-accounts.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: private})),
		node.lab.WriteFile("/etc/kubernetes/pki/service-accounts.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	)
}

// agentUser is the condition of a policy or webhook for the agent's requests.
const agentUser = `[{name: agent, expression: "request.userInfo.username == 'system:serviceaccount:whypull:whypull-agent'"}]`

func rules(resources ...string) string {
	known := map[string]string{
		"pods/status": `{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/status]}`,
		"events":      `{apiGroups: [events.k8s.io], apiVersions: [v1], operations: [CREATE], resources: [events]}`,
	}
	var out []string
	for _, r := range resources {
		out = append(out, known[r])
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// refusalOf returns a policy of the cluster's owner that refuses the agent's writes of
// the resources.
func refusalOf(resources ...string) string {
	return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: owner}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: %s}
  matchConditions: %s
  validations: [{expression: "false", message: the cluster's owner refuses this}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: owner}
spec: {policyName: owner, validationActions: [Deny]}
`, rules(resources...), agentUser)
}

// deadWebhook returns a webhook that nobody serves, without which the agent writes nothing.
func deadWebhook() string {
	return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: owner}
webhooks:
- name: owner.lab.example
  clientConfig: {url: "https://127.0.0.1:1/review"}
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
  rules: %s
  matchConditions: %s
`, rules("pods/status", "events"), agentUser)
}

// refused lets the API server refuse what the agent writes for a while.
func refused(manifest string, d time.Duration) func(context.Context) error {
	apply := func(ctx context.Context, verb string) error {
		_, err := node.lab.Kubectl(ctx, strings.NewReader(manifest), verb, "-f", "-")
		return err
	}
	return func(ctx context.Context) error {
		return saidAfterward(ctx, "refused", func(ctx context.Context) error {
			return errors.Join(apply(ctx, "apply"), pause(ctx, 3*time.Second)) // in effect by then
		}, func(ctx context.Context, failed *corev1.Pod) error {
			return errors.Join(pause(ctx, d), events(failed)(ctx), apply(context.WithoutCancel(ctx), "delete"))
		})
	}
}

// saidAfterward keeps the agent from writing Events from begin to end, to which it gives a
// pod that failed meanwhile. Afterwards everything is said once: also of that pod, of one
// that failed before and got its image meanwhile, and of one that got its image afterwards.
func saidAfterward(ctx context.Context, ns string, begin func(context.Context) error, end func(ctx context.Context, failed *corev1.Pod) error) error {
	return inNamespace(ctx, ns, func(ctx context.Context) error {
		healed, err := newPod(ctx, ns, "healed", noRepository)
		if err != nil {
			return err
		}
		stays, err := newPod(ctx, ns, "stays", noRepository)
		if err != nil {
			return err
		}
		if err := until(ctx, "before", all(events(healed, "RepositoryNotFound"), events(stays, "RepositoryNotFound"))); err != nil {
			return err
		}
		if err := begin(ctx); err != nil {
			return err
		}
		failed, err := newPod(ctx, ns, "failed", noTag)
		if err == nil {
			err = setImage(ctx, ns, "healed", registry.PlainApp)
		}
		if err := errors.Join(err, end(ctx, failed)); err != nil {
			return err
		}
		if err := until(ctx, "everything is said", all(
			causes(ns, map[string]string{"healed": "", "stays": "RepositoryNotFound", "failed": "TagNotFound"}),
			events(healed, "RepositoryNotFound", "ImagePullRecovered"), events(stays, "RepositoryNotFound"), events(failed, "TagNotFound"),
		)); err != nil {
			return err
		}
		if err := setImage(ctx, ns, "failed", registry.PlainApp); err != nil {
			return err
		}
		return until(ctx, "and the recovery", events(failed, "TagNotFound", "ImagePullRecovered"))
	})
}

// namespaceComesBack deletes a namespace whose pods fail, and creates it and its pods,
// which fail for another reason, twice.
func namespaceComesBack(ctx context.Context) error {
	for _, kind := range []struct{ image, cause string }{{noRepository, "RepositoryNotFound"}, {noTag, "TagNotFound"}, {noRepository, "RepositoryNotFound"}} {
		if err := createNamespace(ctx, "again"); err != nil {
			return err
		}
		want, checks := map[string]string{}, []func(context.Context) error{}
		for i := range 5 {
			name := fmt.Sprintf("app-%d", i)
			pod, err := newPod(ctx, "again", name, kind.image)
			if err != nil {
				return err
			}
			want[name], checks = kind.cause, append(checks, events(pod, kind.cause))
		}
		if err := until(ctx, "five pods of the namespace", all(causes("again", want), counted("again", 5), all(checks...))); err != nil {
			return err
		}
		if err := deleteNamespace(ctx, "again"); err != nil {
			return err
		}
		if err := until(ctx, "the namespace is gone from the metrics", counted("again", 0)); err != nil {
			return err
		}
	}
	return nil
}

// podsComeBack replaces pods by others of the same name, five times without a pause.
func podsComeBack(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		return inNamespace(ctx, "back", func(ctx context.Context) error {
			want, checks := map[string]string{}, []func(context.Context) error{}
			for round := range 5 {
				for i := range n {
					name := fmt.Sprintf("app-%d", i)
					image, cause := noRepository, "RepositoryNotFound"
					if (i+round)%2 == 1 {
						image, cause = noTag, "TagNotFound"
					}
					pod, err := replacePod(ctx, "back", name, image)
					if err != nil {
						return err
					}
					if want[name] = cause; round == 4 {
						checks = append(checks, events(pod, cause))
					}
				}
				if err := pause(ctx, time.Duration(round)*time.Second); err != nil {
					return err
				}
			}
			return until(ctx, "the pods that stayed", all(causes("back", want), counted("back", n), all(checks...)))
		})
	}
}

func replacePod(ctx context.Context, ns, name, image string) (*corev1.Pod, error) {
	now := int64(0)
	err := node.client.CoreV1().Pods(ns).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	return newPod(ctx, ns, name, image)
}

// imagesChange gives pods another image that cannot be pulled, then one that can.
func imagesChange(ctx context.Context) error {
	return inNamespace(ctx, "changes", func(ctx context.Context) error {
		var pods []*corev1.Pod
		for i := range 5 {
			pod, err := newPod(ctx, "changes", fmt.Sprintf("app-%d", i), noRepository)
			if err != nil {
				return err
			}
			pods = append(pods, pod)
		}
		var reasons []string
		for _, step := range []struct{ image, cause, reason string }{
			{"", "RepositoryNotFound", "RepositoryNotFound"},
			{noTag, "TagNotFound", "TagNotFound"},
			{registry.PlainHost + "/chaos/no-such-either:1.0", "RepositoryNotFound", "RepositoryNotFound"},
			{registry.PlainApp, "", "ImagePullRecovered"},
		} {
			reasons = append(reasons, step.reason)
			want, checks := map[string]string{}, []func(context.Context) error{}
			for _, p := range pods {
				if step.image != "" {
					if err := setImage(ctx, p.Namespace, p.Name, step.image); err != nil {
						return err
					}
				}
				want[p.Name], checks = step.cause, append(checks, events(p, reasons...))
			}
			if err := until(ctx, "five pods: "+step.reason, all(causes("changes", want), all(checks...))); err != nil {
				return err
			}
		}
		return nil
	})
}

// stuckDeletion deletes a pod that fails and keeps it with a finalizer: nobody pulls for
// it any more, so nothing is reported of it, and it has not recovered.
func stuckDeletion(ctx context.Context) error {
	return inNamespace(ctx, "stuck", func(ctx context.Context) error {
		pods := node.client.CoreV1().Pods("stuck")
		pod, err := newPod(ctx, "stuck", "app", noRepository, func(p *corev1.Pod) { p.Finalizers = []string{"lab.example/stuck"} })
		if err != nil {
			return err
		}
		if err := until(ctx, "before", all(causes("stuck", map[string]string{"app": "RepositoryNotFound"}), events(pod, "RepositoryNotFound"), counted("stuck", 1))); err != nil {
			return err
		}
		err = pods.Delete(ctx, "app", metav1.DeleteOptions{})
		gone := all(causes("stuck", map[string]string{"app": ""}), events(pod, "RepositoryNotFound"), counted("stuck", 0))
		if err == nil {
			err = until(ctx, "the stuck pod is no longer reported", gone)
		}
		err = errors.Join(err, pause(ctx, 10*time.Second))
		if err == nil {
			err = gone(ctx)
		}
		_, freed := pods.Patch(context.WithoutCancel(ctx), "app", "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		return errors.Join(err, freed)
	})
}

// agentImage is an image on the node whose program ends.
const agentImage = "ghcr.io/whypull/whypull:v0.1.0"

// jobsEnd lets pods fail, then get an image whose program ends well or badly, and lets a
// Job give up on pods that fail.
func jobsEnd(ctx context.Context) error {
	return inNamespace(ctx, "jobs", func(ctx context.Context) error {
		once := func(args ...string) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Spec.RestartPolicy, p.Spec.Containers[0].Args = corev1.RestartPolicyNever, args
				p.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
			}
		}
		well, err := newPod(ctx, "jobs", "well", noRepository, once("--version"))
		if err != nil {
			return err
		}
		badly, err := newPod(ctx, "jobs", "badly", noTag, once("--no-such-flag"))
		if err != nil {
			return err
		}
		if err := until(ctx, "before", all(events(well, "RepositoryNotFound"), events(badly, "TagNotFound"))); err != nil {
			return err
		}
		if err := errors.Join(setImage(ctx, "jobs", "well", agentImage), setImage(ctx, "jobs", "badly", agentImage)); err != nil {
			return err
		}
		if err := until(ctx, "both have ended", all(
			phases("jobs", map[string]corev1.PodPhase{"well": corev1.PodSucceeded, "badly": corev1.PodFailed}),
			causes("jobs", map[string]string{"well": "", "badly": ""}), counted("jobs", 0),
			events(well, "RepositoryNotFound", "ImagePullRecovered"), events(badly, "TagNotFound", "ImagePullRecovered"),
		)); err != nil {
			return err
		}
		job := `apiVersion: batch/v1
kind: Job
metadata: {name: late}
spec:
  activeDeadlineSeconds: 10
  template:
    spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: "` + noRepository + `"}]}
`
		if _, err := node.lab.Kubectl(ctx, strings.NewReader(job), "-n", "jobs", "apply", "-f", "-"); err != nil {
			return err
		}
		if _, err := node.lab.Kubectl(ctx, nil, "-n", "jobs", "wait", "--for=condition=Failed", "job/late", "--timeout=2m"); err != nil {
			return err
		}
		return until(ctx, "the Job that gave up", all(causes("jobs", map[string]string{"well": "", "badly": ""}), counted("jobs", 0)))
	})
}

// phases returns a check that the pods of a namespace have these phases.
func phases(ns string, want map[string]corev1.PodPhase) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := node.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		has := map[string]corev1.PodPhase{}
		for i := range list.Items {
			has[list.Items[i].Name] = list.Items[i].Status.Phase
		}
		if !maps.Equal(has, want) {
			return fmt.Errorf("in %s the phases are %v, want %v", ns, has, want)
		}
		return nil
	}
}

// evicted lets the kubelet evict a pod that fills its volume, and end one whose time is
// over, while they fail. Neither has recovered.
func evicted(ctx context.Context) error {
	return inNamespace(ctx, "evicted", func(ctx context.Context) error {
		small := resource.MustParse("1Ki")
		full, err := newPod(ctx, "evicted", "full", noRepository, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &small}}}}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: registry.PlainApp}) // without one that runs, it is not measured
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
		})
		if err != nil {
			return err
		}
		late, err := newPod(ctx, "evicted", "late", noTag, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(25)) })
		if err != nil {
			return err
		}
		if err := until(ctx, "before", all(events(full, "RepositoryNotFound"), events(late, "TagNotFound"))); err != nil {
			return err
		}
		if err := node.lab.WriteFile("/var/lib/kubelet/pods/"+string(full.UID)+"/volumes/kubernetes.io~empty-dir/scratch/file", make([]byte, 1<<20)); err != nil {
			return err
		}
		return until(ctx, "both are over", all(
			phases("evicted", map[string]corev1.PodPhase{"full": corev1.PodFailed, "late": corev1.PodFailed}),
			causes("evicted", map[string]string{"full": "", "late": ""}), counted("evicted", 0),
			events(full, "RepositoryNotFound"), events(late, "TagNotFound"),
		))
	})
}

// staticPods lets the kubelet run a pod of a file, which fails: its mirror has the report
// and keeps it. With another image in the file it is another pod, which runs.
func staticPods(ctx context.Context) error {
	file := labnode.StaticPods + "/app.yaml"
	write := func(image string) error {
		return node.lab.WriteFile(file, []byte(strings.Replace(demo.Pod("app", image, "", ""), "name: app", "name: app\n  namespace: static", 1)))
	}
	return inNamespace(ctx, "static", func(ctx context.Context) error {
		err := func() error {
			if err := write(noRepository); err != nil {
				return err
			}
			mirror := "app-" + labnode.Name
			if err := until(ctx, "the mirror pod", all(causes("static", map[string]string{mirror: "RepositoryNotFound"}), counted("static", 1))); err != nil {
				return err
			}
			was, err := node.client.CoreV1().Pods("static").Get(ctx, mirror, metav1.GetOptions{})
			if err := errors.Join(err, pause(ctx, 25*time.Second)); err != nil {
				return err
			}
			if err := all(causes("static", map[string]string{mirror: "RepositoryNotFound"}), events(was, "RepositoryNotFound"))(ctx); err != nil {
				return fmt.Errorf("later: %w", err)
			}
			if err := write(registry.PlainApp); err != nil {
				return err
			}
			return until(ctx, "the mirror pod of another file", all(
				phases("static", map[string]corev1.PodPhase{mirror: corev1.PodRunning}),
				causes("static", map[string]string{mirror: ""}), counted("static", 0)))
		}()
		err = errors.Join(err, node.lab.RemoveFile(file))
		return errors.Join(err, until(ctx, "the mirror pod is gone", causes("static", map[string]string{})))
	})
}

// surge rolls the agent out so that a second one is to start before the first has
// stopped. The node's port keeps it from that: the first goes on, and nothing else happens.
func surge(ctx context.Context) error {
	daemons := node.client.AppsV1().DaemonSets("whypull")
	was, err := daemons.Get(ctx, "whypull-agent", metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch := `{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},"template":{"metadata":{"labels":{"surge":"yes"}}}}}`
	if _, err := daemons.Patch(ctx, was.Name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	err = pause(ctx, 20*time.Second)
	_, busy := demo.Get(ctx, node.lab, "http://127.0.0.1:9779/readyz")
	node.note("while the DaemonSet surges, the agent that was there: %v", busy)
	patch = `{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":"10%"}},"template":{"metadata":{"labels":{"surge":null}}}}}`
	_, back := daemons.Patch(context.WithoutCancel(ctx), was.Name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err := errors.Join(err, busy, back); err != nil {
		return err
	}
	_, err = node.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m")
	return err
}

// secondAgent runs a second agent on the node for a while, with the same rights and another
// port, as a careless copy of the DaemonSet has. It waits, until the first is killed: then
// one of them goes on.
func secondAgent(ctx context.Context) error {
	daemons := node.client.AppsV1().DaemonSets("whypull")
	of, err := daemons.Get(ctx, "whypull-agent", metav1.GetOptions{})
	if err != nil {
		return err
	}
	labels := map[string]string{"app": "second"}
	second := of.DeepCopy()
	second.ObjectMeta = metav1.ObjectMeta{Name: "second", Labels: labels}
	second.Spec.Selector.MatchLabels, second.Spec.Template.Labels = labels, labels
	c := &second.Spec.Template.Spec.Containers[0]
	c.Args = append(c.Args, "--listen-address=:9780")
	c.Ports[0].ContainerPort, c.Ports[0].HostPort = 9780, 9780
	if _, err := daemons.Create(ctx, second, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err = node.lab.Kubectl(ctx, nil, "-n", "whypull", "wait", "--for=jsonpath={.status.phase}=Running", "pods", "-l", "app=second", "--timeout=2m")
	err = errors.Join(err, pause(ctx, 20*time.Second))
	if err == nil {
		err = waits(ctx)
	}
	if err == nil {
		var first corev1.ContainerStatus
		if first, err = agentContainer(ctx); err == nil {
			err = errors.Join(kill(ctx, first.ContainerID), pause(ctx, 30*time.Second))
		}
	}
	_, gone := node.lab.Kubectl(context.WithoutCancel(ctx), nil, "-n", "whypull", "delete", "daemonset", "second", "--cascade=foreground", "--timeout=2m")
	return errors.Join(err, gone, waitAgent(ctx, ""))
}

// waits returns an error if the second agent does anything.
func waits(ctx context.Context) error {
	if _, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9780/readyz"); err == nil {
		return errors.New("two agents are ready on one node")
	}
	body, err := demo.Get(ctx, node.lab, "http://127.0.0.1:9780/metrics")
	if err == nil && strings.Contains(body, "whypull_pod_failure_info{") {
		err = errors.New("two agents have metrics of the node's pods")
	}
	return err
}

// withoutAgent calls meanwhile while no agent runs, and returns when one is ready again.
func withoutAgent(ctx context.Context, meanwhile func(context.Context) error) error {
	daemons := node.client.AppsV1().DaemonSets("whypull")
	selector := func(ctx context.Context, value string) error {
		patch := `{"spec":{"template":{"spec":{"nodeSelector":{"lab.example/no-such-node":` + value + `}}}}}`
		_, err := daemons.Patch(ctx, "whypull-agent", "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
		return err
	}
	if err := selector(ctx, `"yes"`); err != nil {
		return err
	}
	_, err := node.lab.Kubectl(ctx, nil, "-n", "whypull", "wait", "--for=delete", "pods", "--all", "--timeout=2m")
	if err == nil {
		err = meanwhile(ctx)
	}
	if err := errors.Join(err, selector(context.WithoutCancel(ctx), "null")); err != nil {
		return err
	}
	return waitAgent(ctx, "")
}

// upgrade replaces the agent by one that finds the reports of an older version, which
// lack a field, of a newer one, which have more, and of a newer schema.
func upgrade(ctx context.Context) error {
	return withoutAgent(ctx, func(ctx context.Context) error {
		pods := node.client.CoreV1().Pods(namespace)
		list, err := pods.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		n := 0
		for i := range list.Items {
			text := list.Items[i].Annotations["whypull.dev/report"]
			if text == "" {
				continue
			}
			text, err := otherVersion(text, n)
			if err != nil {
				return err
			}
			n++
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"whypull.dev/report": text}}})
			if err != nil {
				return err
			}
			_, err = pods.Patch(ctx, list.Items[i].Name, "application/merge-patch+json", patch, metav1.PatchOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		node.note("%d reports are of other versions", n)
		return nil
	})
}

// otherVersion returns a report as another version of whypull writes it: the older v1, a
// newer v1, and v2.
func otherVersion(text string, n int) (string, error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	containers, _ := doc["containers"].([]any)
	for _, c := range containers {
		c, ok := c.(map[string]any)
		if !ok {
			return "", fmt.Errorf("a container of a report: %v", c)
		}
		if n%3 == 0 {
			delete(c, "hosts")
		} else {
			c["new"] = map[string]any{"field": 1}
		}
	}
	if n%3 == 2 {
		doc["schema"] = "whypull.dev/v2"
	}
	out, err := json.Marshal(doc)
	return string(out), err
}

// reinstall removes whypull with its namespace, rights and policies, and applies the
// manifests again. Meanwhile the reports stay on the pods.
func reinstall(ctx context.Context) error {
	manifests := "../../../deploy"
	if cluster, err := node.lab.Cluster(); err != nil || !cluster.Impersonation {
		manifests += "/before-1.36"
	}
	if _, err := node.lab.Kubectl(ctx, nil, "delete", "-k", manifests, "--timeout=4m"); err != nil {
		return err
	}
	if err := pause(ctx, 15*time.Second); err != nil {
		return err
	}
	if _, err := node.lab.Kubectl(ctx, nil, "apply", "-k", manifests); err != nil {
		return err
	}
	return waitAgent(ctx, "")
}
