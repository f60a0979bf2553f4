package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// impersonation remembers where the API server refuses to let the agent impersonate
// the node.
type impersonation struct {
	refusals     refusals // where the agent's own account is allowed
	keptRefusals refusals // where the kubelet's certificate is accepted
	bothRefused  refusals // where all others are refused too
}

func newImpersonation() impersonation {
	return impersonation{
		refusals:     newRefusals(refusalTTL, refusalTTL),
		keptRefusals: newRefusals(lastRetry, refusalTTL),
		bothRefused:  newRefusals(firstRetry, lastRetry),
	}
}

// read makes a request with the first identity that the access allows and the API
// server accepts, and records which one that was.
func read[T any](c *Client, namespace string, failed func(error), ask func(rest.Interface) (T, error)) (T, error) {
	out, by, err := attempt(c, &c.reading, namespace, ask)
	if namespace == "" && by == AccessDirect && c.access != AccessDirect && apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w; impersonation of the node is refused too: apply the manifests deploy (Kubernetes 1.36 and later) or deploy/before-1.36", err)
	}
	if err != nil {
		failed(err)
	}
	c.choice.answered(c, namespace == "", by, err)
	return out, err
}

// attempt makes a request with the first identity that the access allows and the API
// server accepts. It returns who made the request.
func attempt[T any](c *Client, i *impersonation, namespace string, ask func(rest.Interface) (T, error)) (T, Access, error) {
	var out T
	var err error
	by := AccessImpersonate
	if i.allowed(c.access, namespace) {
		out, err = ask(c.asNode)
	} else if out, by, err = unimpersonated(c, namespace, ask); by == AccessDirect && c.access != AccessDirect && apierrors.IsForbidden(err) {
		i.refusals.Reset(namespace) // the agent's own account is refused too
		i.keptRefusals.Reset(namespace)
		by = AccessImpersonate
		out, err = ask(c.asNode)
	}
	// The pod watch may always be repeated with another identity: its reflector waits in between.
	if by == AccessImpersonate && c.access != AccessImpersonate && impersonationRefused(err) && (namespace == "" || !i.bothRefused.has(namespace)) {
		out, by, err = unimpersonated(c, namespace, ask)
		i.fellBack(by, err, namespace)
	}
	return out, by, err
}

// unimpersonated makes a request with the kubelet's certificate, if this is a read
// of one secret and the API server accepts the certificate, else with the agent's
// own account. It returns who made the request.
func unimpersonated[T any](c *Client, namespace string, ask func(rest.Interface) (T, error)) (T, Access, error) {
	if namespace != "" && c.kubelet != nil {
		out, err := ask(c.asKubelet)
		if !notAccepted(err) {
			return out, AccessKubelet, err
		}
		c.kubelet.refuse(err)
		if c.access == AccessKubelet {
			return out, AccessKubelet, fmt.Errorf("%w: %w", ErrNoAccess, err)
		}
	}
	out, err := ask(c.core)
	return out, AccessDirect, err
}

// allowed reports whether to read in a namespace as the node, impersonated by the
// agent's own account.
func (i *impersonation) allowed(access Access, namespace string) bool {
	switch {
	case access == AccessDirect, access == AccessKubelet && namespace != "":
		return false
	case access == AccessImpersonate:
		return true
	}
	return !i.refusals.has(namespace) && !i.keptRefusals.has(namespace)
}

// fellBack remembers that impersonation is refused if another identity is allowed.
// If all are refused, the API server may have just started and not loaded its roles
// yet, so impersonation is tried again soon. The Node authorizer needs no roles:
// that it answers the kubelet's certificate does not prove that they are loaded.
func (i *impersonation) fellBack(by Access, err error, namespace string) {
	switch {
	case by == AccessKubelet && worked(by, err):
		i.keptRefusals.add(namespace)
	case worked(by, err):
		i.refusals.add(namespace)
	case apierrors.IsForbidden(err):
		i.bothRefused.add(namespace)
	}
}

// impersonationRefused reports whether the API server refused the impersonation
// itself, and not the read as the node: the verb in the message is then
// "impersonate" or starts with it. An object's name may contain that word, but
// no space before it.
func impersonationRefused(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot impersonate")
}

// unrelatedToNode reports whether the Node authorizer refused to read a secret that
// no pod of the node names. Nothing else answers like this.
func unrelatedToNode(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "no relationship found")
}

// worked reports whether the API server let an identity read, even if what it asked
// for does not exist or is not its own.
func worked(by Access, err error) bool {
	return err == nil || apierrors.IsNotFound(err) || by != AccessDirect && unrelatedToNode(err)
}

// choice keeps and reports the identities with which pods and secrets are read.
// It is safe for concurrent use.
type choice struct {
	log    *slog.Logger
	report func(secrets Access) // may be nil

	mu            sync.Mutex
	pods, secrets Access
	read          bool // a secret has been read or refused
	problem       string
}

// answered records how the API server answered a read.
func (ch *choice) answered(c *Client, pods bool, by Access, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case pods && worked(by, err):
		ch.watchedPods(c, by)
	case pods:
	case worked(by, err):
		ch.readSecrets(by)
	case apierrors.IsForbidden(err), errors.Is(err, ErrNoAccess):
		if ch.secrets != AccessDirect || !ch.read { // roles may grant secrets in some namespaces only
			ch.readSecrets(ch.refused(c))
		}
	}
	ch.explain(c)
}

// watchedPods records the identity of the watch on pods. Until a secret is read, it
// shows which identity will be tried first.
func (ch *choice) watchedPods(c *Client, by Access) {
	if ch.pods != by {
		ch.pods = by
		ch.log.Info("pods are watched", "mode", string(by))
	}
	if ch.read {
		return
	}
	switch {
	case c.access == AccessNone, c.access == AccessDirect:
		ch.set(c.access)
	case c.access != AccessKubelet && by == AccessImpersonate:
		ch.set(AccessImpersonate)
	case c.kubelet.check() == nil:
		ch.set(AccessKubelet)
	case c.access == AccessAuto:
		ch.set(AccessDirect)
	default:
		ch.set(ch.refused(c))
	}
}

// refused returns what to report when no identity may read secrets: AccessRefused if
// the flag names an identity that must work, or if the API server grants constrained
// impersonation, as the watch on pods shows. Elsewhere there may be nothing to grant.
func (ch *choice) refused(c *Client) Access {
	if c.access == AccessImpersonate || c.access == AccessKubelet || c.access == AccessAuto && ch.pods == AccessImpersonate {
		return AccessRefused
	}
	return AccessNone
}

func (ch *choice) readSecrets(by Access) {
	ch.read = true
	ch.set(by)
}

func (ch *choice) set(secrets Access) {
	if ch.secrets == secrets {
		return
	}
	ch.secrets = secrets
	ch.log.Info("secret access", "mode", string(secrets))
	if ch.report != nil {
		ch.report(secrets)
	}
}

// explain logs why the kubelet's certificate is not used, if it would be.
func (ch *choice) explain(c *Client) {
	problem := ""
	if c.kubelet != nil && slices.Contains([]Access{AccessDirect, AccessNone, AccessRefused}, ch.secrets) {
		if err := c.kubelet.check(); err != nil {
			problem = err.Error()
		}
	}
	if problem != "" && problem != ch.problem {
		ch.log.Warn("kubelet's client certificate is not used", "err", problem)
	}
	ch.problem = problem
}

const (
	// refusalTTL is how long to remember a refusal that an API server that has
	// just started would not give.
	refusalTTL = 10 * time.Minute
	// firstRetry and lastRetry are how long to remember any other refusal,
	// which may be temporary.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
)

// refusals remembers what the API server refuses, by namespace because roles
// may grant it in some only; "" stands for the pod watch in all namespaces. A
// refusal holds for the first duration, and twice as long each time it is
// repeated, up to limit; Reset forgets it. It is safe for concurrent use.
type refusals struct{ *flowcontrol.Backoff }

func newRefusals(first, limit time.Duration) refusals {
	return refusals{flowcontrol.NewBackOff(first, limit)}
}

func (r refusals) add(namespace string) {
	r.GC()
	r.Next(namespace, r.Clock.Now())
}

func (r refusals) has(namespace string) bool {
	return r.IsInBackOffSinceUpdate(namespace, r.Clock.Now())
}
