// Package kube talks to the API server: it watches the pods of one node, reads
// the secrets that they name, and writes annotations and Events.
package kube

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
)

// Access is the identity with which secrets and pods are read.
type Access string

// The accesses. Impersonate reads as the node, by constrained impersonation
// (KEP-5284), so that the Node authorizer limits it to what the node's pods
// refer to. Kubelet reads secrets with the kubelet's own client certificate, to
// which the Node authorizer does the same in all versions of Kubernetes, and pods
// like Auto. Direct reads with the RBAC rights of the agent's own account. Auto
// reads secrets with the first of Impersonate, Kubelet and Direct that the API
// server accepts, and pods with the first of Impersonate and Direct. None reads no
// secrets at all, and pods like Auto. Refused is only reported, never chosen: no
// identity may read secrets, although the configuration or the cluster allows for one.
const (
	AccessAuto        Access = "auto"
	AccessImpersonate Access = "impersonate"
	AccessKubelet     Access = "kubelet"
	AccessDirect      Access = "direct"
	AccessNone        Access = "none"
	AccessRefused     Access = "refused"
)

// ParseAccess returns the access with the given name.
func ParseAccess(s string) (Access, error) {
	if a := Access(s); slices.Contains([]Access{AccessAuto, AccessImpersonate, AccessKubelet, AccessDirect, AccessNone}, a) {
		return a, nil
	}
	return "", fmt.Errorf("secret access %q: want auto, impersonate, kubelet, direct or none", s)
}

// ErrNoAccess is returned for a secret that the agent may not read.
var ErrNoAccess = errors.New("not allowed to read the secret")

// ErrNotFound is returned for an object that does not exist.
var ErrNotFound = errors.New("not found")

// Client talks to the API server for one node.
type Client struct {
	node         string
	access       Access
	core         rest.Interface // as the agent's own account
	events       rest.Interface
	tokens       rest.Interface // reviews of tokens
	rights       rest.Interface // reviews of users' rights
	asNode       rest.Interface // as the node, impersonated by the agent's account
	asKubelet    rest.Interface // as the node, with the kubelet's certificate; nil if kubelet is
	kubelet      *kubeletTransport
	choice       *choice
	reading      impersonation           // of reads, and of the watch on pods
	watching     impersonation           // of watches on secrets, which need rights of their own
	opening      flowcontrol.RateLimiter // of watches on secrets
	listRefusals refusals                // of listing secrets in all namespaces
	// of reading service accounts and requesting their tokens
	tokenRefusals refusals
	lag           time.Duration // authorizerLag
	reads         *share.Cache[types.NamespacedName, *Secret]
	inMemory      *share.Lanes // limits the secrets that are in memory as a whole
	liveness      *liveness
}

// Options are how a Client reads.
type Options struct {
	// Node is the name of the node.
	Node   string
	Access Access
	// Certificate returns the kubelet's current client certificate, or why there is
	// none. It may be nil unless Access is AccessKubelet.
	Certificate func() (tls.Certificate, error)
	// Log may be nil.
	Log *slog.Logger
	// Chosen is called with the access with which secrets are read, or AccessRefused
	// or AccessNone if they are refused, whenever it changes; may be nil.
	Chosen func(Access)
}

// New returns a client for the node. It makes no request yet.
func New(cfg *rest.Config, o Options) (*Client, error) {
	c := &Client{node: o.Node, access: o.Access, lag: authorizerLag,
		choice:       &choice{log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), report: o.Chosen},
		reading:      newImpersonation(),
		watching:     newImpersonation(),
		opening:      newFairLimiter(watchRate, watchBurst),
		reads:        share.New[types.NamespacedName](0, share.For[*Secret](0), time.Now), // concurrent reads are shared, nothing is kept
		inMemory:     share.NewLanes(maxReads, maxReadsWaiting),
		listRefusals: newRefusals(lastRetry, refusalTTL), tokenRefusals: newRefusals(lastRetry, refusalTTL),
		liveness: &liveness{now: time.Now}}
	cfg = rest.CopyConfig(cfg)
	cfg.DisableCompression = true // pods of one node are little to send: packing each event of a watch costs both sides more
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
	}
	codecs := serializer.NewCodecFactory(newScheme())
	// Before liveness listens: these connections carry no watch.
	if err := c.useCertificate(cfg, o, codecs); err != nil {
		return nil, err
	}
	cfg.Dial = c.liveness.listenOn(cfg.Dial)
	cfg.Impersonate = rest.ImpersonationConfig{}
	if file := cfg.BearerTokenFile; file != "" {
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return fileToken{file, next} })
		cfg.BearerToken, cfg.BearerTokenFile = "", ""
	}
	own, err := rest.TransportFor(cfg) // shared, so that all requests use the same connections
	if err != nil {
		return nil, fmt.Errorf("configure the connection to the API server: %w", err)
	}
	// No groups: they would require full impersonation.
	asNode := transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{UserName: "system:node:" + o.Node}, own)
	var failed error
	client := func(gv schema.GroupVersion, rt http.RoundTripper) rest.Interface {
		out, err := restClient(cfg, gv, codecs, &http.Client{Transport: rt, Timeout: cfg.Timeout})
		failed = cmp.Or(failed, err)
		return out
	}
	c.core, c.asNode = client(corev1.SchemeGroupVersion, own), client(corev1.SchemeGroupVersion, asNode)
	c.events = client(eventsv1.SchemeGroupVersion, own)
	cfg.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(reviewRate, reviewBurst)
	c.tokens, c.rights = client(authenticationv1.SchemeGroupVersion, own), client(authorizationv1.SchemeGroupVersion, own)
	return c, failed
}

// fileToken authenticates requests with the current token of a file, which the kubelet
// replaces. client-go would read it once a minute, also while the API server refuses it.
type fileToken struct {
	path string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t fileToken) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(t.path)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return t.next.RoundTrip(r)
}

// newScheme returns a scheme of the few types that whypull reads and writes.
// The whole clientset would be larger than the rest of the binary.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Pod{}, &corev1.PodList{}, &corev1.Secret{})
	s.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{})
	s.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenReview{}, &authenticationv1.SelfSubjectReview{})
	s.AddKnownTypes(authorizationv1.SchemeGroupVersion, &authorizationv1.SubjectAccessReview{})
	s.AddKnownTypes(metav1.SchemeGroupVersion, &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{})
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(s, eventsv1.SchemeGroupVersion)
	return s
}

// The client's own rate limit, in requests per second. It spreads the requests
// for 250 pods that fail at once over a few seconds. Namespaces take turns.
const (
	requestRate  = 50
	requestBurst = 300
)

// The limit on watches on secrets that are opened per second. The API server takes
// requests as the node for the kubelet's: its FlowSchemas see the impersonated user.
const (
	watchRate  = 10
	watchBurst = 50
)

// dialTimeout limits the TCP handshake, and is the keep-alive interval.
const dialTimeout = 30 * time.Second

// useCertificate lets the client read secrets with the kubelet's certificate, if the
// options want that.
func (c *Client) useCertificate(cfg *rest.Config, o Options, codecs serializer.CodecFactory) error {
	if o.Access != AccessKubelet && (o.Access != AccessAuto || o.Certificate == nil) {
		return nil
	}
	kubelet, err := newKubeletTransport(cfg, o.Certificate)
	if err != nil {
		return err
	}
	c.kubelet = kubelet
	c.asKubelet, err = restClient(cfg, corev1.SchemeGroupVersion, codecs, &http.Client{
		Transport: kubelet, Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return errNotOneSecret },
	})
	return err
}

func restClient(cfg *rest.Config, gv schema.GroupVersion, codecs serializer.CodecFactory, h *http.Client) (rest.Interface, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/apis", &gv
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.NegotiatedSerializer = slimSerializer{codecs.WithoutConversion()}
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if cfg.RateLimiter == nil {
		cfg.RateLimiter = newFairLimiter(requestRate, requestBurst)
	}
	client, err := rest.RESTClientForConfigAndClient(cfg, h)
	if err != nil {
		return nil, fmt.Errorf("create API client for %s: %w", gv, err)
	}
	return client, nil
}

// WatchBackoff returns how long a reflector waits between attempts to watch the
// pods: at most fifteen seconds, so that the agent recovers soon after its API
// server does.
func WatchBackoff() *wait.Backoff {
	return &wait.Backoff{Duration: 800 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 10 * time.Second}
}

// PodWatch returns a reflector's source for the pods of the node. Where the API server
// has no watches that begin with the pods that exist, they come as a list, which has what
// listed returns for each. It calls failed with each error.
func (c *Client) PodWatch(listed func(*corev1.Pod) *metav1.PartialObjectMetadata, failed func(error)) cache.ListerWatcher {
	opts := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", c.node).String()
		return o
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return read(c, "", failed, func(r rest.Interface) (runtime.Object, error) {
				o = opts(o)
				body, err := r.Get().Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Stream(ctx)
				if err != nil {
					return nil, err
				}
				defer func() { _ = body.Close() }() // has been read
				return readList(body, listed)
			})
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return read(c, "", failed, func(r rest.Interface) (watch.Interface, error) {
				o = opts(o)
				o.Watch = true
				traced, pinged := pings(ctx)
				timeout := time.Duration(ptr.Deref(o.TimeoutSeconds, 0)) * time.Second
				w, err := r.Get().Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Timeout(timeout).Watch(traced)
				if _, stream := w.(*watch.StreamWatcher); err == nil && !stream {
					err = io.ErrUnexpectedEOF // of which client-go makes a watch that is empty
				}
				if err != nil {
					return nil, err
				}
				return c.liveness.watching(w, pinged(), timeout), nil
			})
		},
	}
}

// Secret is the part of a secret that image pulls need.
type Secret struct {
	Type, UID string
	// Version changes with each write, like the result of SecretVersion.
	Version string
	// Changed is the time of the last write according to the metadata; zero if
	// unknown.
	Changed time.Time
	// Manager is what the secret comes from.
	Manager diagnosis.Manager
	Data    credential.Redacted[map[string][]byte]
}

// The Node authorizer learns of a pod's secrets from its own watch, and may lag
// behind a pod that was just bound.
const authorizerLag = 400 * time.Millisecond

const (
	// secretTimeout limits the read of one secret.
	secretTimeout = 5 * time.Second
	// maxReads limits concurrent reads of secrets, of which each may have 1 MiB, and
	// maxReadsWaiting those of a namespace that wait. A pod reads one at a time.
	maxReads, maxReadsWaiting = 4, 1000
)

// Secret reads one secret. The error is ErrNotFound, ErrNoAccess, or the API
// server's; it never contains data of the secret.
func (c *Client) Secret(ctx context.Context, namespace, name string) (Secret, error) {
	if c.access == AccessNone {
		return Secret{}, ErrNoAccess
	}
	// Pods that fail together often name the same secret, so concurrent callers
	// share one read. Nothing is kept after that.
	s, err := c.reads.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, func(ctx context.Context) (*Secret, error) {
		ctx = share.WithTenant(ctx, namespace)
		leave, err := c.inMemory.Enter(ctx, "")
		if err != nil {
			return nil, err
		}
		defer leave()
		ctx, cancel := context.WithTimeout(ctx, secretTimeout)
		defer cancel()
		s, err := c.readSecret(ctx, namespace, name)
		return &s, err
	})
	if err != nil {
		return Secret{}, err
	}
	return *s, nil
}

func (c *Client) readSecret(ctx context.Context, namespace, name string) (Secret, error) {
	s, err := c.secret(ctx, namespace, name)
	if unrelatedToNode(err) {
		select {
		case <-ctx.Done():
			return Secret{}, ctx.Err()
		case <-time.After(c.lag):
		}
		s, err = c.secret(ctx, namespace, name)
	}
	if err != nil {
		return Secret{}, secretError(namespace, name, err)
	}
	maps.DeleteFunc(s.Data, func(key string, _ []byte) bool {
		return key != corev1.DockerConfigJsonKey && key != corev1.DockerConfigKey // the kubelet reads no other
	})
	return Secret{Type: string(s.Type), UID: string(s.UID), Version: version(s.ObjectMeta), Changed: Changed(s.ObjectMeta), Manager: secretManager(s.ObjectMeta), Data: credential.Redact(s.Data)}, nil
}

// secretManager returns what a secret comes from: the owner that writes it, else what
// its labels and annotations name.
func secretManager(m metav1.ObjectMeta) diagnosis.Manager {
	for _, o := range m.OwnerReferences {
		switch group, _, _ := strings.Cut(o.APIVersion, "/"); group + "/" + o.Kind {
		case "external-secrets.io/ExternalSecret":
			return diagnosis.NewManager(diagnosis.ToolExternalSecret, "", o.Name)
		case "bitnami.com/SealedSecret":
			return diagnosis.NewManager(diagnosis.ToolSealedSecret, "", o.Name)
		}
	}
	if m.Labels["reconcile.external-secrets.io/managed"] == "true" { // one that does not own it
		return diagnosis.Manager{Tool: diagnosis.ToolExternalSecret}
	}
	return diagnosis.ManagerOf(m.Labels, m.Annotations)
}

// secretError returns the error for a secret that could not be read.
func secretError(namespace, name string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return ErrNotFound
	case apierrors.IsForbidden(err), errors.Is(err, ErrNoAccess):
		return ErrNoAccess
	}
	return fmt.Errorf("secret %s/%s: %w", namespace, name, withoutContent(err))
}

// Changed returns the newest of an object's timestamps: when it was last written;
// zero for one that is not from a cluster. Later writes are possible only for clients
// that clear managedFields.
func Changed(m metav1.ObjectMeta) time.Time {
	newest := m.CreationTimestamp.Time
	for _, f := range m.ManagedFields {
		if f.Time != nil && f.Time.After(newest) {
			newest = f.Time.Time
		}
	}
	return newest.UTC()
}

// withoutContent reduces an error to a form that cannot quote the response
// body.
func withoutContent(err error) error {
	var status apierrors.APIStatus
	var network *url.Error
	switch {
	case errors.As(err, &status):
		return fmt.Errorf("the API server answered %d %s", status.Status().Code, status.Status().Reason)
	case errors.As(err, &network):
		return network
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return errUndecodable
}

func (c *Client) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read(c, namespace, func(error) {}, func(r rest.Interface) (*corev1.Secret, error) {
		s := &corev1.Secret{}
		return s, r.Get().Namespace(namespace).Resource("secrets").Name(name).MaxRetries(1).Do(ctx).Into(s)
	})
}

// PodChange is what is written to a pod.
type PodChange struct {
	// Annotations are set; those whose value is nil are removed.
	Annotations map[string]*string
	// Condition replaces the pod's condition of its type, or is added; nil for none.
	Condition *corev1.PodCondition
}

// patch returns the change as a patch. With a condition it is a strategic merge patch,
// which merges conditions by their type; a merge patch would replace them all.
func (p PodChange) patch(uid string) (types.PatchType, []byte, error) {
	kind, patch := types.MergePatchType, map[string]any{"metadata": map[string]any{"uid": uid, "annotations": p.Annotations}}
	if p.Condition != nil {
		kind = types.StrategicMergePatchType
		patch["status"] = map[string]any{"conditions": []*corev1.PodCondition{p.Condition}}
	}
	text, err := json.Marshal(patch)
	return kind, text, err
}

// PatchPod changes a pod through its status, in one request. It returns ErrNotFound if
// the pod is gone, also if another one of its name has taken its place.
func (c *Client) PatchPod(ctx context.Context, namespace, pod, uid string, change PodChange) error {
	kind, patch, err := change.patch(uid)
	if err != nil {
		return fmt.Errorf("encode the patch of pod %s/%s: %w", namespace, pod, err)
	}
	ctx = share.WithTenant(ctx, namespace)
	err = c.core.Patch(kind).Namespace(namespace).Resource("pods").Name(pod).
		SubResource("status").Body(patch).Do(ctx).Error()
	if apierrors.IsNotFound(err) || uidDiffers(err) {
		return ErrNotFound
	}
	return err
}

// uidDiffers reports whether the API server refused a write because the object has
// another UID: it validates a patch against the object (ValidateObjectMetaUpdate), and
// answers 409 where the UID is a precondition.
func uidDiffers(err error) bool {
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status):
		return false
	case apierrors.IsConflict(err):
		return strings.Contains(err.Error(), "UID in precondition")
	case !apierrors.IsInvalid(err) || status.Status().Details == nil:
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// Event creates an Event. It returns nil if one of that name already exists,
// and leaves that one unchanged.
func (c *Client) Event(ctx context.Context, e *eventsv1.Event) error {
	ctx = share.WithTenant(ctx, e.Namespace)
	err := c.events.Post().Namespace(e.Namespace).Resource("events").Body(e).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// fairLimiter is a rate limiter for which namespaces take turns: however many requests
// for the pods of one wait, one for another's is next but one. The context's tenant is
// the namespace.
type fairLimiter struct {
	flowcontrol.RateLimiter
	turns *share.Lanes
}

// newFairLimiter returns a limiter of rate requests per second, and burst at once.
func newFairLimiter(rate float32, burst int) *fairLimiter {
	return &fairLimiter{flowcontrol.NewTokenBucketRateLimiter(rate, burst), share.NewLanes(1, math.MaxInt)}
}

// Wait implements flowcontrol.RateLimiter.
func (l *fairLimiter) Wait(ctx context.Context) error {
	leave, err := l.turns.Enter(ctx, "")
	if err != nil {
		return err
	}
	defer leave()
	return l.RateLimiter.Wait(ctx)
}
