package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	watchtools "k8s.io/client-go/tools/watch"
)

// pageSize is the number of pods per request, like kubectl's.
const pageSize = 500

// Scope selects pods. The zero value selects all pods of the cluster.
type Scope struct {
	// Namespace is empty for all.
	Namespace string
	// Name is empty for all.
	Name string
	// Labels is a label selector, empty for all.
	Labels string
	// Node is the name of the pods' node, empty for all.
	Node string
}

func (s Scope) options() metav1.ListOptions {
	o := metav1.ListOptions{LabelSelector: s.Labels}
	set := fields.Set{}
	if s.Name != "" {
		set["metadata.name"] = s.Name
	}
	if s.Node != "" {
		set["spec.nodeName"] = s.Node
	}
	o.FieldSelector = set.AsSelector().String()
	return o
}

// Client reads pods.
type Client struct {
	core   rest.Interface
	config *rest.Config
	// pause is the time between two attempts after a temporary error.
	pause time.Duration
}

// New returns a client. It makes no request yet.
func New(cfg *rest.Config, userAgent string) (*Client, error) {
	// Only the types that are read; the whole clientset would be larger than
	// the rest of the binary.
	s := runtime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Pod{}, &corev1.PodList{}, &corev1.Secret{})
	s.AddKnownTypes(metav1.SchemeGroupVersion, &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{})
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)

	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/api", &corev1.SchemeGroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.UserAgent = userAgent
	cfg.QPS = -1                           // pages are requested one after the other
	cfg.WarningHandler = rest.NoWarnings{} // they would be written to the terminal as they arrive
	core, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	return &Client{core: core, config: cfg, pause: time.Second}, nil
}

// Get reads one pod.
func (c *Client) Get(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	return pod, c.core.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(pod)
}

// List calls each with every pod of a scope, page by page, so that only what
// each keeps stays in memory. It calls restart first, and again if it has to
// start over because the list expired (410 Gone). It returns the resource
// version of the list, from which Watch can continue.
func (c *Client) List(ctx context.Context, scope Scope, restart func(), each func(*corev1.Pod)) (string, error) {
	restart()
	version, err := c.list(ctx, scope, pageSize, each)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		restart()
		version, err = c.list(ctx, scope, 0, each)
	}
	return version, err
}

func (c *Client) list(ctx context.Context, scope Scope, limit int64, each func(*corev1.Pod)) (string, error) {
	version := ""
	p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		list := &corev1.PodList{}
		if err := c.core.Get().Namespace(scope.Namespace).Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(list); err != nil {
			return nil, err
		}
		version = cmp.Or(version, list.ResourceVersion)
		return list, nil
	})
	p.PageSize, p.PageBufferSize = limit, 1
	err := p.EachListItemWithAlloc(ctx, scope.options(), func(obj runtime.Object) error {
		if pod, ok := obj.(*corev1.Pod); ok {
			each(pod)
		}
		return nil
	})
	return version, err
}

// Handler receives what Follow finds. Its functions are called from one
// goroutine.
type Handler struct {
	// Restart is called before the pods are listed; all known pods are to be
	// forgotten.
	Restart func()
	// Put is called for a pod that exists, Delete for one that was deleted.
	Put, Delete func(*corev1.Pod)
	// Synced is called when the list is complete, and after each change.
	Synced func()
}

// Follow lists the pods of a scope and watches them until the context ends, and
// then returns nil. It reconnects broken connections, and lists again if the
// watch is too far behind. The error is that of the first list, or one that
// does not go away: no permission or no valid credentials.
func (c *Client) Follow(ctx context.Context, scope Scope, h Handler) error {
	for first := true; ; first = false {
		version, err := c.List(ctx, scope, h.Restart, h.Put)
		if err == nil {
			h.Synced()
			err = c.watch(ctx, scope, version, h)
		} else if first || refused(err) {
			return ended(ctx, err)
		}
		if ctx.Err() != nil || err != nil && refused(err) {
			return ended(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.pause):
		}
	}
}

// ended returns the error, or nil if the context has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// watch returns the reason when the watch cannot continue.
func (c *Client) watch(ctx context.Context, scope Scope, version string, h Handler) error {
	w, err := watchtools.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.open(ctx, scope, o)
		},
	})
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer func() {
		w.Stop()
		<-w.Done()
	}()
	for e := range w.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		switch {
		case e.Type == watch.Error:
			return apierrors.FromObject(e.Object)
		case !ok:
			continue
		case e.Type == watch.Deleted:
			h.Delete(pod)
		default:
			h.Put(pod)
		}
		h.Synced()
	}
	return errors.New("the watch has ended")
}

// open starts one watch. The RetryWatcher retries forever if the request fails
// because the version is too old, but stops on an error event for the same
// reason, so open returns the error as an event.
func (c *Client) open(ctx context.Context, scope Scope, o metav1.ListOptions) (watch.Interface, error) {
	selection := scope.options()
	o.FieldSelector, o.LabelSelector, o.Watch = selection.FieldSelector, selection.LabelSelector, true
	w, err := c.core.Get().Namespace(scope.Namespace).Resource("pods").VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return w, err
	}
	stale := make(chan watch.Event, 1)
	status := apierrors.NewResourceExpired("the list's version is too old").Status()
	stale <- watch.Event{Type: watch.Error, Object: &status}
	return watch.NewProxyWatcher(stale), nil
}
