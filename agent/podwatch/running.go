package podwatch

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/whypull/whypull/agent/diagnosis"
)

// RunningPod is a running pod with the images that it needs to be started again.
type RunningPod struct {
	Namespace, Name, UID string
	// Created is when the API server created the pod.
	Created time.Time
	// Images are the containers and image volumes that have their image and whose pull
	// policy lets the kubelet pull it again, at most maxExamined, in the order of the
	// spec. Ephemeral containers, which are never started again, are not among them.
	// Since, Reason and Message are empty.
	Images []diagnosis.Failure
	// Annotation is the value of the annotation given to NewRunning.
	Annotation string
	// Gone reports whether the pod has been deleted or is being deleted.
	Gone bool
}

// Running is a Store that passes each change of a running pod on. It keeps only the pods'
// names.
type Running struct {
	annotation string
	images     bool
	emit       func(RunningPod)

	mu   sync.Mutex
	pods map[cache.ObjectName]string // uid by name
}

// NewRunning returns a Running that passes each pod to emit, one at a time and in order.
// RunningPod.Annotation is the annotation with the key. Without images it passes on only
// pods that have the annotation, and RunningPod.Images is empty.
func NewRunning(annotation string, images bool, emit func(RunningPod)) *Running {
	return &Running{annotation: annotation, images: images, emit: emit, pods: map[cache.ObjectName]string{}}
}

// AddListed implements Store.
func (r *Running) AddListed(pod *corev1.Pod) { r.Update(pod) }

// Update implements Store.
func (r *Running) Update(pod *corev1.Pod) {
	u := r.newRunningPod(pod)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observe(u)
}

// Delete implements Store.
func (r *Running) Delete(pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(cache.MetaObjectToName(pod))
}

// Replace implements Store.
func (r *Running) Replace(present map[cache.ObjectName]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.pods {
		if !present[name] {
			r.forget(name)
		}
	}
}

// Bookmark implements Store. It does nothing.
func (r *Running) Bookmark() {}

// observe passes a pod on if it has images, or a report, or had been passed on.
func (r *Running) observe(u RunningPod) {
	name := cache.NewObjectName(u.Namespace, u.Name)
	if was, known := r.pods[name]; known && (was != u.UID || u.Gone) {
		r.forget(name)
	}
	_, known := r.pods[name]
	if u.Gone || !known && len(u.Images) == 0 && u.Annotation == "" {
		return
	}
	r.pods[name] = u.UID
	r.emit(u)
}

func (r *Running) forget(name cache.ObjectName) {
	uid, known := r.pods[name]
	if !known {
		return
	}
	delete(r.pods, name)
	r.emit(RunningPod{Namespace: name.Namespace, Name: name.Name, UID: uid, Gone: true})
}

func (r *Running) newRunningPod(pod *corev1.Pod) RunningPod {
	u := RunningPod{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Created: pod.CreationTimestamp.Time, Annotation: diagnosis.Clip(pod.Annotations[r.annotation], maxAnnotation),
		Gone: pod.DeletionTimestamp != nil,
	}
	if r.images {
		u.Images = startable(pod)
	}
	return u
}

// startable returns the images that a running pod needs to be started again.
func startable(pod *corev1.Pod) []diagnosis.Failure {
	if Over(pod) || pod.Status.Phase != corev1.PodRunning {
		return nil
	}
	base := newFailure(pod)
	all := containers(pod)
	var out []diagnosis.Failure
	add := func(f diagnosis.Failure) {
		if f.PullPolicy != string(corev1.PullNever) && f.Ref().Valid() && len(out) < maxExamined {
			out = append(out, f)
		}
	}
	for _, c := range all {
		if c.Kind == diagnosis.KindEphemeralContainer || c.failing() || stateOutcome(c) != recovered {
			continue
		}
		add(ofContainer(*base, c))
	}
	s := seen{pod: pod, all: all}
	volumes := imageVolumes(pod)
	for i := range pod.Spec.Volumes {
		v := volumes[pod.Spec.Volumes[i].Name]
		if v == nil {
			continue
		}
		f := ofVolume(*base, v.Volume, v.image)
		fails := func(c container) bool { return concerns(c, f) && c.failing() }
		if !slices.ContainsFunc(all, fails) && outcomeOf(s, f) == recovered {
			add(f)
		}
	}
	return out
}

// Store receives pods. It keeps none of them.
type Store interface {
	// AddListed receives a pod that exists when a watch begins. When all have come, Replace
	// receives their names.
	AddListed(pod *corev1.Pod)
	Replace(present map[cache.ObjectName]bool)
	// Update receives a pod that is new or has changed.
	Update(pod *corev1.Pod)
	Delete(pod *corev1.Pod)
	// Bookmark is called when the watch shows that it is alive.
	Bookmark()
}

// Stores is a cache.ReflectorStore that passes what a reflector delivers to several
// stores, in their order.
type Stores []Store

// AddListed passes on a pod that exists when a watch begins, and returns its name.
func (s Stores) AddListed(pod *corev1.Pod) *metav1.PartialObjectMetadata {
	for _, store := range s {
		store.AddListed(pod)
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
}

// Transformer implements cache.TransformingStore: the reflector keeps what it returns
// until all pods have come that exist when a watch begins. It passes each on as it comes,
// and keeps the names: the pods may be larger than the agent's memory.
func (s Stores) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if pod, ok := obj.(*corev1.Pod); ok {
			return s.AddListed(pod), nil
		}
		return obj, nil
	}
}

// Add implements cache.ReflectorStore.
func (s Stores) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s Stores) Update(obj any) error { return s.pass(obj, Store.Update) }

// Delete implements cache.ReflectorStore.
func (s Stores) Delete(obj any) error { return s.pass(obj, Store.Delete) }

// pass passes a pod on. It returns no error.
func (s Stores) pass(obj any, to func(Store, *corev1.Pod)) error {
	if pod, ok := obj.(*corev1.Pod); ok {
		for _, store := range s {
			to(store, pod)
		}
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s Stores) Replace(objs []any, _ string) error {
	present := map[cache.ObjectName]bool{}
	for _, obj := range objs {
		if o, ok := obj.(metav1.Object); ok {
			present[cache.MetaObjectToName(o)] = true
		}
	}
	for _, store := range s {
		store.Replace(present)
	}
	return nil
}

// Resync implements cache.ReflectorStore. It does nothing.
func (s Stores) Resync() error { return nil }

// Bookmark implements cache.ReflectorBookmarkStore.
func (s Stores) Bookmark(string) error {
	for _, store := range s {
		store.Bookmark()
	}
	return nil
}
