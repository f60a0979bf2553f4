package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
)

// PodRefusal and EventRefusal are the messages of the two admission policies
// that must be in effect.
const (
	PodRefusal   = "only whypull's own annotations may change"
	EventRefusal = "events must name whypull.dev/agent as their controller"
)

// StatusRefusal and ConditionRefusal are the messages of the policy on pods for another
// condition than whypull's: without and with the right to write whypull's own.
const (
	StatusRefusal    = "the status may not change"
	ConditionRefusal = "only whypull's own condition may change in the status"
)

// ErrUnguarded is returned for a write while it is not proved that admission
// policies limit the agent's token.
var ErrUnguarded = errors.New("admission policies do not limit the agent")

const (
	// proofTTL is how long a proof holds, and lastProof is the maximum
	// back-off after a failed one. With it, a fleet without policies costs its
	// API server at most one request per second for every hundred nodes.
	proofTTL   = time.Hour
	firstProof = time.Second
	lastProof  = 5 * time.Minute
	// proofTimeout limits one proof, which takes three or four requests.
	proofTimeout = 15 * time.Second
)

// Guard writes for a Client, but only while it is proved that the API server
// enforces the admission policies on the agent. RBAC alone would let the
// agent's token write the status of any pod. It is safe for concurrent use.
type Guard struct {
	client     *Client
	log        *slog.Logger
	report     func(guarded bool)
	proved     atomic.Bool
	condition  bool        // it is wanted
	conditions atomic.Bool // and the policies allow it, or have not been asked yet
}

// NewGuard returns a guard that refuses every write until Run has a proof. It
// calls report with false at once, and with the result of each proof. With condition,
// it also finds out whether the policies allow whypull's condition on pods.
func NewGuard(c *Client, log *slog.Logger, condition bool, report func(guarded bool)) *Guard {
	report(false)
	g := &Guard{client: c, log: log, condition: condition, report: report}
	g.conditions.Store(condition)
	return g
}

// MayWriteCondition reports whether whypull's condition on pods is wanted and, as far as
// is known, the policies allow it.
func (g *Guard) MayWriteCondition() bool { return g.conditions.Load() }

// PatchPod is Client.PatchPod, or fails with ErrUnguarded. A condition that the policy
// does not allow any more is not to be written again before the next proof.
func (g *Guard) PatchPod(ctx context.Context, namespace, pod, uid string, change PodChange) error {
	if !g.proved.Load() {
		return ErrUnguarded
	}
	err := g.client.PatchPod(ctx, namespace, pod, uid, change)
	if change.Condition != nil && err != nil && refusedFor(StatusRefusal, err) == nil { // the policy has changed since
		g.conditions.Store(false)
	}
	return err
}

// Event is Client.Event, or fails with ErrUnguarded.
func (g *Guard) Event(ctx context.Context, e *eventsv1.Event) error {
	if !g.proved.Load() {
		return ErrUnguarded
	}
	return g.client.Event(ctx, e)
}

// Run proves until the context ends: with back-off until it succeeds and a condition that
// is wanted is allowed, and then once an hour, because policies may be removed.
func (g *Guard) Run(ctx context.Context) {
	failed := firstProof
	for {
		wait := proofTTL
		if err := g.prove(ctx); err != nil || g.condition && !g.MayWriteCondition() { // policies take effect late
			wait, failed = failed, min(2*failed, lastProof)
		} else {
			failed = firstProof
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(wait/4)): //nolint:gosec // jitter, not a secret
		}
	}
}

// prove makes one attempt. An inconclusive result, such as a timeout, leaves an
// earlier proof in place.
func (g *Guard) prove(ctx context.Context) error {
	allowed, err := g.client.checkPolicies(ctx, g.condition)
	if ctx.Err() != nil {
		return err
	}
	g.allow(allowed, err)
	switch was := g.proved.Load(); {
	case err == nil:
		g.proved.Store(true)
		if !was {
			g.log.Info("admission policies limit the agent")
		}
	case errors.Is(err, ErrUnguarded):
		g.proved.Store(false)
		g.log.Warn("nothing is written", "err", err)
	case was:
		g.log.Warn("admission policies not checked", "err", err)
	default:
		g.log.Warn("nothing is written", "err", err)
	}
	g.report(g.proved.Load())
	return err
}

// allow records whether the policies allow whypull's condition, as a proof that ended
// with err has found.
func (g *Guard) allow(allowed bool, err error) {
	if err != nil && !errors.Is(err, ErrUnguarded) { // inconclusive
		return
	}
	was := g.conditions.Swap(allowed)
	switch {
	case !g.condition || err != nil:
	case !allowed:
		g.log.Warn("pod condition is not written", "err", errConditionRefused)
	case !was || !g.proved.Load():
		g.log.Info("pod condition is written")
	}
}

// errConditionRefused is why the agent writes no condition although it is wanted.
var errConditionRefused = errors.New("the admission policy does not allow it: add the component pod-condition")

// checkPolicies returns no error if the API server refuses the dry runs that the
// policies forbid, ErrUnguarded if it accepts one, and another error otherwise.
// They target the agent's own pod and would be harmless even if they were not
// dry runs. With condition, it also returns whether the policies allow whypull's
// condition on pods.
func (c *Client) checkPolicies(ctx context.Context, condition bool) (allowed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	namespace, pod, err := c.ownPod(ctx)
	if err != nil {
		return false, fmt.Errorf("look up the agent's own pod: %w", err)
	}
	const foreign = `{"metadata":{"annotations":{"whypull.dev/guard":"a dry run that an admission policy refuses"}}}`
	if err := refusedFor(PodRefusal, c.dryRun(ctx, namespace, pod, types.MergePatchType, foreign)); err != nil {
		return false, fmt.Errorf("dry run of a foreign annotation on pod %s/%s: %w", namespace, pod, err)
	}
	if condition {
		if allowed, err = c.allowsCondition(ctx, namespace, pod); err != nil {
			return false, fmt.Errorf("dry run of a foreign condition on pod %s/%s: %w", namespace, pod, err)
		}
	}
	err = c.events.Post().Namespace(namespace).Resource("events").
		VersionedParams(&metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ParameterCodec).
		Body(c.foreignEvent(namespace, pod)).Do(ctx).Error()
	if err := refusedFor(EventRefusal, err); err != nil {
		return false, fmt.Errorf("dry run of a foreign Event on pod %s/%s: %w", namespace, pod, err)
	}
	return allowed, nil
}

// allowsCondition reports, by how the API server refuses a foreign condition on the
// agent's own pod, whether the policy allows whypull's.
func (c *Client) allowsCondition(ctx context.Context, namespace, pod string) (bool, error) {
	const foreign = `{"status":{"conditions":[{"type":"whypull.dev/guard","status":"True"}]}}`
	err := c.dryRun(ctx, namespace, pod, types.StrategicMergePatchType, foreign)
	if refusedFor(ConditionRefusal, err) == nil {
		return true, nil
	}
	return false, refusedFor(StatusRefusal, err)
}

// dryRun patches a pod's status without storing it.
func (c *Client) dryRun(ctx context.Context, namespace, pod string, kind types.PatchType, patch string) error {
	return c.core.Patch(kind).Namespace(namespace).Resource("pods").Name(pod).SubResource("status").
		VersionedParams(&metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ParameterCodec).
		Body([]byte(patch)).Do(ctx).Error()
}

// refusedFor returns nil if err is an admission policy's refusal with this
// message.
func refusedFor(message string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%w: the API server accepts it", ErrUnguarded)
	case strings.Contains(err.Error(), " denied request: "+message):
		return nil
	}
	return err
}

// foreignEvent returns an Event that the API server would accept, with another
// controller's name.
func (c *Client) foreignEvent(namespace, pod string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: "whypull-guard"},
		EventTime:           metav1.NowMicro(),
		ReportingController: "whypull.dev/guard",
		ReportingInstance:   c.node,
		Action:              "Diagnose",
		Reason:              string(diagnosis.Unknown),
		Type:                corev1.EventTypeWarning,
		Note:                "a dry run that an admission policy refuses",
		Regarding:           corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: pod},
	}
}

// ownPod returns the pod that the agent's token is bound to, according to the
// API server.
func (c *Client) ownPod(ctx context.Context) (namespace, name string, err error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.tokens.Post().Resource("selfsubjectreviews").Body(review).Do(ctx).Into(review); err != nil {
		return "", "", err
	}
	user := review.Status.UserInfo
	account, _ := strings.CutPrefix(user.Username, "system:serviceaccount:")
	namespace, _, ok := strings.Cut(account, ":")
	pods := user.Extra["authentication.kubernetes.io/pod-name"]
	if account == user.Username || !ok || len(pods) != 1 {
		return "", "", fmt.Errorf("user %q is not a service account whose token is bound to a pod", user.Username)
	}
	return namespace, pods[0], nil
}
