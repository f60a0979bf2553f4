package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/imagecheck"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/report"
)

// doomed is a running pod whose image cannot be pulled again.
type doomed struct {
	namespace, pod, image, path, cause, confidence string
}

// TestImageCheck starts two pods, deletes the tag of one in the registry and breaks the
// pull secret of the other. Before anything restarts them, the agent reports both, with
// few requests and no pull, and takes it back when the secret is replaced and when the
// pod is gone. Not parallel, because it restarts the agent, and no image is checked while
// a pod of the node fails; the file's name makes it the first test, so that none does.
func TestImageCheck(t *testing.T) {
	p := build(t, "kubectl-why_pull")
	checkEvery(t, "1h")
	gone, revoked := breakRunning(t)
	for _, d := range []doomed{gone, revoked} {
		d.isReported(t)
	}
	admin := shared.lab.KubeconfigPath()
	p.whyPull(t, admin, "--preflight", "-n", gone.namespace).wants(t, 1, "TagNotFound", gone.image, "2 running pods in namespace "+gone.namespace+" could not pull their images again, for 2 reasons.")
	p.whyPull(t, admin, "--preflight", "-n", gone.namespace, revoked.pod).wants(t, 1, "CredentialsRejected", "Evidence", "Remedy")
	p.whyPull(t, admin, "-n", gone.namespace).wants(t, 0, "No pod in namespace "+gone.namespace+" fails to pull an image.")

	apply(t, revoked.namespace, secretWith(registry.AlicePassword))
	revoked.isTakenBack(t, true)
	if _, err := shared.lab.Kubectl(t.Context(), nil, "-n", gone.namespace, "delete", "pod", gone.pod, "--wait=true"); err != nil {
		t.Fatal(err)
	}
	gone.isTakenBack(t, false)
	if _, err := shared.lab.Kubectl(t.Context(), nil, "delete", "namespace", gone.namespace, "--wait=false"); err != nil {
		t.Error(err)
	}
}

// secretWith returns the pull secret of a pod with a password.
func secretWith(password string) string {
	return demo.Secret("regcred", registry.HubHost, registry.Alice, password)
}

func apply(t *testing.T, namespace, manifest string) {
	t.Helper()
	if _, err := shared.lab.Kubectl(t.Context(), strings.NewReader(manifest), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// checkEvery restarts the agent with an interval, until the test ends.
func checkEvery(t *testing.T, interval string) {
	t.Helper()
	set := func(ctx context.Context, setting string) {
		if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "set", "env", "daemonset/whypull-agent", setting); err != nil {
			t.Fatal(err)
		}
		if _, err := shared.lab.Kubectl(ctx, nil, "-n", "whypull", "rollout", "status", "daemonset/whypull-agent", "--timeout=4m"); err != nil {
			t.Fatal(err)
		}
	}
	set(t.Context(), "WHYPULL_IMAGE_CHECK_INTERVAL="+interval)
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), "WHYPULL_IMAGE_CHECK_INTERVAL-") })
}

// breakRunning starts the pods and breaks what they would be started with. An agent checks
// each image at one time of its interval, so the images' names are chosen for that to be
// soon; if the machine is too slow for it, others are, for later.
func breakRunning(t *testing.T) (gone, revoked doomed) {
	t.Helper()
	for try := range 10 {
		ahead := 20 * time.Second << min(try, 2)
		namespace := fmt.Sprint("image-check-", try)
		due := time.Now().Add(ahead)
		gone = doomed{namespace: namespace, pod: "gone", cause: "TagNotFound", confidence: "Likely"} // it was the repository's only tag
		revoked = doomed{namespace: namespace, pod: "revoked", cause: "CredentialsRejected", confidence: confirmed}
		gone.path, revoked.path = pathAt(due, "gone"), pathAt(due, "revoked")
		gone.image, revoked.image = registry.HubHost+"/"+gone.path+":1.0", registry.HubHost+"/"+revoked.path+":1.0"
		pod := func(d doomed, secret string) string {
			return demo.Pod(d.pod, d.image, "Always", demo.PullSecrets(secret))
		}
		s := demo.Scenario{Name: namespace, Images: []string{gone.image, revoked.image}, Manifests: []string{
			secretWith(registry.AlicePassword) + "---\n" + demo.Secret("other", registry.HubHost, registry.Bob, registry.BobPassword), pod(gone, "other") + "---\n" + pod(revoked, "regcred"),
		}}
		if err := s.Break(t.Context(), shared.lab); err != nil {
			t.Fatal(err)
		}
		shared.waitRunning(t.Context(), t, namespace, gone.pod)
		shared.waitRunning(t.Context(), t, namespace, revoked.pod)
		tag := "/var/lib/lab/" + registry.Hub + "/docker/registry/v2/repositories/" + gone.path + "/_manifests/tags/1.0"
		if _, problems, err := shared.lab.Exec(t.Context(), nil, "rm", "-r", tag); err != nil {
			t.Fatal(err, problems)
		}
		apply(t, namespace, secretWith(demo.WrongPassword()))
		if time.Now().Before(due) {
			return gone, revoked
		}
		if _, err := shared.lab.Kubectl(t.Context(), nil, "delete", "namespace", namespace); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the pods do not start within two minutes")
	return gone, revoked
}

// pathAt returns the path of an image that is checked within seconds after a time.
func pathAt(due time.Time, name string) string {
	for i := 0; ; i++ {
		path := fmt.Sprintf("e2e/check-%s-%d-%d", name, due.Unix(), i)
		if at := imagecheck.Slot(node.Name, registry.HubHost+"/"+path+":1.0", time.Hour, due); at.Before(due.Add(10 * time.Second)) {
			return path
		}
	}
}

// isReported waits for the report on the pod, and checks what else there is.
func (d doomed) isReported(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	var text string
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(d.namespace).Get(ctx, d.pod, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		if p.Annotations["whypull.dev/report"] != "" || p.Status.Phase != corev1.PodRunning {
			t.Fatalf("the pod fails: %v, %s", p.Annotations, states(p))
		}
		text = p.Annotations[report.UnavailableAnnotation]
		return "the report on " + d.pod, text != ""
	})
	shared.assertValid(t, text)
	var got podReport
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Containers) != 1 || got.Containers[0].Cause != d.cause || got.Containers[0].Confidence != d.confidence || len(got.Containers[0].Remedy) == 0 {
		t.Errorf("%s: %s", d.pod, text)
	}
	shared.eventually(ctx, t, func() (string, bool) {
		all := events(ctx, t, d.namespace, d.pod, report.UnavailableReason, corev1.EventTypeWarning)
		if len(all) > 1 || len(all) == 1 && !strings.Contains(all[0].Message, "could not be pulled again ("+d.cause+")") {
			t.Fatalf("Events %+v", all)
		}
		return "the Event on " + d.pod, len(all) == 1
	})
	shared.eventually(ctx, t, func() (string, bool) {
		return "the series of " + d.pod, strings.Contains(shared.metrics(ctx, t), d.series())
	})
	asked := shared.agentRequests(t, registry.Hub, "/v2/"+d.path+"/")
	t.Logf("%s: %d requests:\n%s", d.pod, len(asked), strings.Join(asked, "\n"))
	if len(asked) == 0 || len(asked) > 6 || strings.Contains(strings.Join(asked, "\n"), "/blobs/") {
		t.Errorf("%d requests for one check, want at most 6, and none for content", len(asked))
	}
}

// series is the beginning of the pod's series.
func (d doomed) series() string {
	return fmt.Sprintf(`whypull_image_unavailable{cause=%q,container_name="app",pod_name=%q,pod_namespace=%q`, d.cause, d.pod, d.namespace)
}

// isTakenBack waits until nothing is left of the report.
func (d doomed) isTakenBack(t *testing.T, runs bool) {
	t.Helper()
	ctx := t.Context()
	shared.eventually(ctx, t, func() (string, bool) {
		return "the series of " + d.pod + " to end", !strings.Contains(shared.metrics(ctx, t), d.series())
	})
	if !runs {
		return
	}
	shared.eventually(ctx, t, func() (string, bool) {
		p, err := shared.client.CoreV1().Pods(d.namespace).Get(ctx, d.pod, metav1.GetOptions{})
		return "the report on " + d.pod + " to be removed", err == nil && p.Annotations[report.UnavailableAnnotation] == ""
	})
}
