package podwatch

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// Update is what a change of a pod means for whypull.
type Update struct {
	Namespace, Name, UID string
	// Created is when the API server created the pod.
	Created time.Time
	// Failures are the containers that fail now. Since is when the incident began;
	// it does not change while ErrImagePull and ImagePullBackOff alternate.
	Failures []diagnosis.Failure
	// Unexamined is the number of containers that fail beyond those in Failures.
	Unexamined int
	// Waiting are the containers that wait without a reason and may be pulling
	// their image. Since is when that was first seen.
	Waiting []diagnosis.Failure
	// Pulling is the progress of the pulls of some of Waiting. A Tracker leaves it
	// empty, since a pod's status does not show it.
	Pulling []diagnosis.Progress
	// Started are containers that were Waiting before and now have their image.
	Started []diagnosis.Failure
	// Recovered are the containers that failed before and now have their image.
	Recovered []diagnosis.Failure
	// Healthy are the containers, image volumes and the sandbox that have their image,
	// if the pod has annotations of whypull, or conditions that are not true, when a watch
	// begins: what they report may have ended while nobody watched. Since is zero.
	Healthy []diagnosis.Failure
	// Annotations are the pod's annotations that whypull writes.
	Annotations map[string]string
	// Conditions are the pod's conditions that belong to whypull, and ReadinessGates
	// those that decide whether the pod is ready.
	Conditions     []corev1.PodCondition
	ReadinessGates []corev1.PodConditionType
	// Deleting reports whether the pod is being deleted; Gone follows. Gone reports whether
	// it has been.
	Deleting, Gone bool
	// SeenAt is when the change came in.
	SeenAt time.Time
}

// Tracker is a Store that turns the states of pods into updates. It keeps no pods, only which of them
// have a condition that is not true, and their incidents: one per container, from the
// first failing status until the image is there, however often ErrImagePull and
// ImagePullBackOff alternate.
type Tracker struct {
	emit        func(Update)
	now         func() time.Time
	prefix      string
	annotations []string

	mu     sync.Mutex
	pods   map[cache.ObjectName]*tracked
	synced bool
	heard  time.Time
}

type tracked struct {
	uid       string
	incidents map[diagnosis.Subject]diagnosis.Failure
	waiting   []diagnosis.Failure
	tries     map[string]tries // by image
}

// NewTracker returns a tracker that passes each update to emit, one at a time and
// in order. The types of Update.Conditions and ReadinessGates begin with prefix;
// annotations are the keys of Update.Annotations.
func NewTracker(prefix string, now func() time.Time, emit func(Update), annotations ...string) *Tracker {
	return &Tracker{emit: emit, now: now, prefix: prefix, annotations: annotations, pods: map[cache.ObjectName]*tracked{}}
}

// Synced reports whether the watch has delivered the pods that existed at its
// start, and returns when the watch last delivered anything.
func (t *Tracker) Synced() (bool, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.synced, t.heard
}

// Update implements Store.
func (t *Tracker) Update(pod *corev1.Pod) { t.observe(newSeen(pod), false) }

// AddListed implements Store. Earlier states of the pod are unknown.
func (t *Tracker) AddListed(pod *corev1.Pod) { t.observe(newSeen(pod), true) }

// Delete implements Store.
func (t *Tracker) Delete(pod *corev1.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = t.now()
	t.forget(cache.MetaObjectToName(pod), string(pod.UID))
}

// Replace implements Store.
func (t *Tracker) Replace(present map[cache.ObjectName]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, p := range t.pods {
		if !present[name] {
			t.forget(name, p.uid)
		}
	}
	t.synced, t.heard = true, t.now()
}

// Bookmark implements Store.
func (t *Tracker) Bookmark() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = t.now()
}

// seen holds a pod and what its status shows, computed before the tracker is locked.
type seen struct {
	pod     *corev1.Pod
	all     []container
	failing []sighting
	more    int // containers that fail beyond those
	waiting []diagnosis.Failure
}

func newSeen(pod *corev1.Pod) seen {
	all := containers(pod)
	failing, more := sightings(pod, all, maxExamined)
	return seen{pod, all, failing, more, waiting(pod, all)}
}

func (t *Tracker) observe(s seen, listed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = t.now()
	pod, name := s.pod, cache.MetaObjectToName(s.pod)
	old, known := t.pods[name]
	if known && old.uid != string(pod.UID) { // deleted and created again between two watches
		t.forget(name, old.uid)
		known = false
	}
	if !known {
		old = &tracked{}
	}
	u := Update{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Created: pod.CreationTimestamp.Time, SeenAt: t.heard, Annotations: t.own(pod), Unexamined: s.more, Deleting: pod.DeletionTimestamp != nil}
	u.Conditions, u.ReadinessGates = t.conditions(pod)
	untrue := slices.ContainsFunc(u.Conditions, func(c corev1.PodCondition) bool { return c.Status != corev1.ConditionTrue })
	reported := untrue || len(u.Annotations) > 0
	incidents := old.advance(s, &u)
	if listed && !known && reported {
		u.Healthy = healthy(s, quoted(u.Annotations))
	}
	tries := old.count(u, incidents, listed)
	old.wait(s, incidents, &u)
	if len(incidents) > 0 || len(u.Waiting) > 0 || untrue || u.Deleting && reported {
		t.pods[name] = &tracked{uid: u.UID, incidents: incidents, waiting: u.Waiting, tries: tries}
	} else {
		delete(t.pods, name)
	}
	if known || len(u.Waiting) > 0 || len(u.Failures) > 0 || reported {
		t.emit(u)
	}
}

// advance returns the incidents of a pod in its new state and sets the update's
// Failures and Recovered.
func (p *tracked) advance(s seen, u *Update) map[diagnosis.Subject]diagnosis.Failure {
	incidents := map[diagnosis.Subject]diagnosis.Failure{}
	open := func(k diagnosis.Subject) bool { return p.incidents[k].UID != "" }
	for _, f := range settle(s.failing, open) {
		f.Since = u.SeenAt
		was, ok := p.incidents[f.Subject()]
		if ok && outdated(was, f) {
			incidents[f.Subject()] = was
			u.Failures = append(u.Failures, was)
			continue
		}
		if ok && was.Image == f.Image {
			f.Since = was.Since
			// Before 1.32 it never says more; since then, not after a restart of the kubelet.
			if f.Reason == "ImagePullBackOff" && f.Message == "Back-off pulling image "+strconv.Quote(f.Image) {
				f.Message = was.Message
			}
		}
		incidents[f.Subject()] = f
		u.Failures = append(u.Failures, f)
	}
	p.end(s, incidents, u)
	sortByPod(u.Failures, s.all)
	return incidents
}

// end sets the update's Recovered, and keeps the incidents of which the status does not
// show whether they have ended.
func (p *tracked) end(s seen, incidents map[diagnosis.Subject]diagnosis.Failure, u *Update) {
	for _, was := range p.sorted() {
		if _, still := incidents[was.Subject()]; still {
			continue
		}
		switch outcomeOf(s, was) {
		case undetermined:
			if len(u.Failures) == maxExamined {
				continue
			}
			incidents[was.Subject()] = was
			u.Failures = append(u.Failures, was)
		case recovered:
			u.Recovered = append(u.Recovered, was)
		case withdrawn:
			if f, ok := replaced(s, was); ok {
				u.Recovered = append(u.Recovered, f)
			}
		}
	}
}

// replaced returns the failure of a container that was given another image, as one of
// that image, and reports whether the container has it.
func replaced(s seen, was diagnosis.Failure) (diagnosis.Failure, bool) {
	for _, c := range s.all {
		if c.Kind == was.Kind && c.Name == was.Container && !c.has(was.Image) {
			was.SetImage(ImageOf(c.Image))
			return was, s.pod.DeletionTimestamp == nil && stateOutcome(c) == recovered
		}
	}
	return was, false
}

// outdated reports whether the status of a container is still that of the image before:
// somebody has edited the pod, and the kubelet has not tried the new image yet, or is still
// pulling it. Until it has, nothing is known of the new one.
func outdated(was, f diagnosis.Failure) bool {
	if was.Image == f.Image {
		return false
	}
	text := message.RedactImages(f.Message) // as images are, if they do not parse
	return mentions(text, was.Ref()) && !mentions(text, f.Ref())
}

// wait sets the update's Waiting and Started. While the pull of an image volume
// fails, the kubelet does not get to the containers.
func (p *tracked) wait(s seen, incidents map[diagnosis.Subject]diagnosis.Failure, u *Update) {
	atVolumes := slices.ContainsFunc(u.Failures, func(f diagnosis.Failure) bool {
		return f.Kind == diagnosis.KindImageVolume && f.Reason != createContainerError
	})
	for _, f := range s.waiting {
		if _, failing := incidents[f.Subject()]; failing || atVolumes {
			continue
		}
		f.Since = u.SeenAt
		if was := p.waited(f); was != nil {
			f.Since = was.Since
		}
		u.Waiting = append(u.Waiting, f)
	}
	for _, was := range p.waiting {
		same := func(f diagnosis.Failure) bool { return f.Subject() == was.Subject() }
		if !slices.ContainsFunc(u.Waiting, same) && !slices.ContainsFunc(u.Failures, same) && outcomeOf(s, was) == recovered {
			u.Started = append(u.Started, was)
		}
	}
}

// waited returns the earlier record of a waiting container; nil if there is none.
func (p *tracked) waited(f diagnosis.Failure) *diagnosis.Failure {
	for i := range p.waiting {
		if was := &p.waiting[i]; was.Subject() == f.Subject() && was.Image == f.Image {
			return was
		}
	}
	return nil
}

// sortByPod sorts failures in the order of the pod's spec; a volume comes with
// the first container that mounts it.
func sortByPod(failures []diagnosis.Failure, all []container) {
	place := func(f diagnosis.Failure) int {
		return slices.IndexFunc(all, func(c container) bool { return concerns(c, f) })
	}
	sort.Slice(failures, func(i, j int) bool { // see diagnosis.SortFailures
		a, b := failures[i], failures[j]
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Container, b.Container)) < 0
	})
}

type incidentOutcome int

const (
	undetermined incidentOutcome = iota
	recovered
	withdrawn
)

// outcomeOf returns how an incident ended whose container no longer has a
// failing reason.
func outcomeOf(s seen, was diagnosis.Failure) incidentOutcome {
	if s.pod.DeletionTimestamp != nil {
		return withdrawn
	}
	var seen []incidentOutcome // one per container whose status would show the incident
	for _, c := range s.all {
		if concerns(c, was) {
			seen = append(seen, stateOutcome(c))
		}
	}
	switch {
	case slices.Contains(seen, undetermined) && !Over(s.pod):
		return undetermined
	case slices.Contains(seen, recovered):
		return recovered
	}
	return withdrawn
}

// healthy returns the containers, image volumes and the sandbox of a pod that have their
// image: at most maxExamined containers, those first whose names a report has. The image of
// a sandbox is unknown.
func healthy(s seen, reported map[string]bool) []diagnosis.Failure {
	if s.pod.DeletionTimestamp != nil {
		return nil
	}
	base := newFailure(s.pod)
	var out []diagnosis.Failure
	for _, named := range []bool{true, false} {
		for _, c := range s.all {
			if len(out) < maxExamined && reported[c.Name] == named && stateOutcome(c) == recovered {
				out = append(out, ofContainer(*base, c))
			}
		}
	}
	if len(out) > 0 {
		f := *base
		f.Kind, f.Container = diagnosis.KindSandbox, diagnosis.SandboxName
		out = append(out, f)
	}
	for _, v := range imageVolumes(s.pod) {
		if f := ofVolume(*base, v.Volume, v.image); outcomeOf(s, f) == recovered {
			out = append(out, f)
		}
	}
	sortByPod(out, s.all)
	return out
}

// concerns reports whether an incident would show in this container's status.
func concerns(c container, was diagnosis.Failure) bool {
	if was.Kind != diagnosis.KindImageVolume {
		return c.Kind == was.Kind && c.Name == was.Container && c.has(was.Image)
	}
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == was.Container })
}

// stateOutcome returns recovered if a container's state shows that it has its
// image: it runs, has ended, or waits for something that comes after the pull
// (kuberuntime startContainer pulls first). Waiting for another image says nothing
// about this one, nor does ContainerStatusUnknown, which the kubelet sets for
// containers that were never created.
func stateOutcome(c container) incidentOutcome {
	if c.Status == nil || idle(c) {
		return undetermined
	}
	if end := c.Status.State.Terminated; c.failing() && !c.cannotMount() || end != nil && end.Reason == "ContainerStatusUnknown" {
		return withdrawn
	}
	return recovered
}

func (t *Tracker) forget(name cache.ObjectName, uid string) {
	if p := t.pods[name]; p == nil || p.uid != uid {
		return
	}
	delete(t.pods, name)
	t.emit(Update{Namespace: name.Namespace, Name: name.Name, UID: uid, Gone: true, SeenAt: t.now()})
}

// own returns the annotations that whypull writes. A long value, which is somebody else's,
// is cut.
func (t *Tracker) own(pod *corev1.Pod) map[string]string {
	var own map[string]string
	for _, key := range t.annotations {
		if v, there := pod.Annotations[key]; there {
			if own == nil {
				own = map[string]string{}
			}
			own[key] = diagnosis.Clip(v, maxAnnotation)
		}
	}
	return own
}

// quoted returns what stands between two quotation marks in annotations: the names in a
// report are among it.
func quoted(annotations map[string]string) map[string]bool {
	out := map[string]bool{}
	for _, text := range annotations {
		for part := range strings.SplitSeq(text, `"`) {
			out[part] = true
		}
	}
	return out
}

// conditions returns the conditions and the readiness gates that belong to whypull, of
// many only the first.
func (t *Tracker) conditions(pod *corev1.Pod) (own []corev1.PodCondition, gates []corev1.PodConditionType) {
	for _, c := range pod.Status.Conditions {
		if strings.HasPrefix(string(c.Type), t.prefix) && len(own) < maxExamined {
			own = append(own, c)
		}
	}
	for _, g := range pod.Spec.ReadinessGates {
		if strings.HasPrefix(string(g.ConditionType), t.prefix) && len(gates) < maxExamined {
			gates = append(gates, g.ConditionType)
		}
	}
	return own, gates
}

// sorted returns the incidents in a fixed order.
func (p *tracked) sorted() []diagnosis.Failure {
	out := slices.Collect(maps.Values(p.incidents))
	diagnosis.SortFailures(out)
	return out
}
