package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// outage breaks something until whypull has told the truth about pods that fail for it,
// and then expects that it takes that back.
type outage struct {
	name    string
	begin   begin
	victims []victim
	// least is how long it lasts at least.
	least time.Duration
}

// begin breaks something. It returns what repairs it, also with an error, if there is
// something to repair.
type begin func(ctx context.Context) (end, error)

type end func(ctx context.Context) error

// victim is a pod whose image can be pulled, if not for the outage.
type victim struct {
	image string
	// causes are the truths that whypull may tell about it during the outage. If there
	// are none, it runs.
	causes []string
}

// victims is the namespace of the victims.
const victims = "victims"

func (o outage) strike(ctx context.Context) error {
	for _, v := range o.victims {
		if strings.Contains(v.image, "/large-") {
			if err := pushLarge(ctx, v.image); err != nil {
				return err
			}
		}
	}
	if err := prepareVictims(ctx); err != nil {
		return err
	}
	started := time.Now()
	repair, err := o.begin(ctx)
	if err == nil {
		err = o.tells(ctx)
	}
	if err == nil {
		err = pause(ctx, time.Until(started.Add(o.least)))
	}
	if repair != nil {
		err = errors.Join(err, repair(context.WithoutCancel(ctx)))
	}
	for _, v := range o.victims {
		if err == nil {
			err = v.recovers(ctx, o.name)
		}
	}
	return errors.Join(err, removeVictims(context.WithoutCancel(ctx)))
}

// tells creates the victims, and waits until whypull tells the truth about each.
func (o outage) tells(ctx context.Context) error {
	for _, v := range o.victims {
		if err := v.create(ctx); err != nil {
			return err
		}
	}
	created := time.Now()
	for _, v := range o.victims {
		if err := v.told(ctx, o.name, created); err != nil {
			return err
		}
	}
	return nil
}

// name returns the name of the victim's pod.
func (v victim) name() string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, v.image), "-")
}

func (v victim) create(ctx context.Context) error {
	if err := prepareVictims(ctx); err != nil {
		return err
	}
	now := int64(0)
	_, err := node.client.CoreV1().Pods(victims).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: v.name()},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &now,
			ImagePullSecrets:              []corev1.LocalObjectReference{{Name: "right"}},
			Containers:                    []corev1.Container{{Name: "app", Image: v.image, ImagePullPolicy: corev1.PullAlways}},
		},
	}, metav1.CreateOptions{})
	return err
}

// told waits until whypull tells the truth about the victim, and says how long that took.
func (v victim) told(ctx context.Context, outage string, since time.Time) error {
	late, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := ""
	for {
		p, err := node.client.CoreV1().Pods(victims).Get(late, v.name(), metav1.GetOptions{})
		if err == nil {
			cause, summary := p.Annotations["whypull.dev/cause"], p.Annotations["whypull.dev/summary"]
			if cause+summary != last {
				last = cause + summary
				node.note("%s: %s: %s after its creation, %q: %s", outage, v.image, time.Since(since).Round(time.Second/10), cause, summary)
				if cause != "" && !slices.Contains(v.causes, cause) {
					node.note("not the truth%s %s", kubeletSays(p), p.Annotations["whypull.dev/report"])
				}
			}
			if slices.Contains(v.causes, cause) || len(v.causes) == 0 && cause == "" && running(p) {
				return nil
			}
		}
		if over := pause(late, 200*time.Millisecond); over != nil {
			return fmt.Errorf("whypull says of %s %q, want one of %q: %w%s", v.image, last, v.causes, errors.Join(over, err), kubeletSays(p))
		}
	}
}

// recovers waits until the victim runs and whypull says nothing of it, or until whypull
// tells the truth about one that cannot run, and says how long that took.
func (v victim) recovers(ctx context.Context, outage string) error {
	if strings.Contains(v.image, "no-such-tag") || strings.HasPrefix(v.image, registry.MissingHost) {
		return v.told(ctx, outage+", over", time.Now())
	}
	began, last := time.Now(), "-"
	late, cancel := context.WithTimeout(ctx, patience+4*time.Minute) // the kubelet's longest back-off
	defer cancel()
	for {
		p, err := node.client.CoreV1().Pods(victims).Get(late, v.name(), metav1.GetOptions{})
		if err == nil {
			cause := p.Annotations["whypull.dev/cause"]
			if now := fmt.Sprintf("running %t, %q: %s", running(p), cause, p.Annotations["whypull.dev/summary"]); now != last {
				last = now
				node.note("%s, over: %s: after %s, %s", outage, v.image, time.Since(began).Round(time.Second/10), now)
			}
			if running(p) && cause == "" {
				return nil
			}
		}
		if over := pause(late, 200*time.Millisecond); over != nil {
			return fmt.Errorf("%s does not recover: %s: %w%s", v.image, last, errors.Join(over, err), kubeletSays(p))
		}
	}
}

// kubeletSays returns what the kubelet says of a pod that waits.
func kubeletSays(p *corev1.Pod) string {
	if p == nil || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
		return ""
	}
	w := p.Status.ContainerStatuses[0].State.Waiting
	return "; kubelet: " + w.Reason + " " + w.Message
}

// prepareVictims creates the namespace of the victims and their pull secret.
func prepareVictims(ctx context.Context) error {
	if _, err := node.client.CoreV1().Secrets(victims).Get(ctx, "right", metav1.GetOptions{}); err == nil {
		return nil
	}
	config := demo.Config(registry.Alice, registry.AlicePassword)
	return demo.Scenario{Name: victims, Manifests: []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: right}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '" + config + "'}\n",
	}}.Break(ctx, node.lab)
}

// removeVictims deletes all victims and waits until they are gone.
func removeVictims(ctx context.Context) error {
	late, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := int64(0)
	for {
		list, err := node.client.CoreV1().Pods(victims).List(late, metav1.ListOptions{})
		if err == nil && len(list.Items) == 0 {
			return nil
		}
		if err == nil {
			for i := range list.Items {
				gone := node.client.CoreV1().Pods(victims).Delete(late, list.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
				if !apierrors.IsNotFound(gone) {
					err = errors.Join(err, gone)
				}
			}
		}
		if over := pause(late, 500*time.Millisecond); over != nil {
			return errors.Join(over, err)
		}
	}
}
