package podwatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
)

// watch is a tracker whose clock goes one second further with each look, and
// which records what it emits.
type watch struct {
	t       *testing.T
	tracker *Tracker
	at      time.Time
	got     []Update
}

func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC) }

func newWatch(t *testing.T) *watch {
	w := &watch{t: t, at: start()}
	w.tracker = NewTracker("whypull.dev/", func() time.Time { w.at = w.at.Add(time.Second); return w.at },
		func(u Update) { w.got = append(w.got, u) }, "whypull.dev/cause", "whypull.dev/summary", "whypull.dev/report")
	return w
}

// list has stores receive pods as those that exist when a watch begins.
func list(to Stores, pods ...*corev1.Pod) {
	var names []any
	for _, p := range pods {
		names = append(names, to.AddListed(p))
	}
	_ = to.Replace(names, "1") // never fails
}

// lists returns what pods that exist when a watch begins make the tracker emit.
func (w *watch) lists(pods ...*corev1.Pod) []Update {
	w.t.Helper()
	return w.updates(func() { list(Stores{w.tracker}, pods...) })
}

// sees passes a pod to the tracker and returns what comes of it: at most one
// update of the pod itself.
func (w *watch) sees(p *corev1.Pod) Update {
	w.t.Helper()
	all := w.updates(func() { w.tracker.Update(p) })
	if len(all) > 1 {
		w.t.Fatalf("got %d updates, want at most 1: %+v", len(all), all)
	}
	if len(all) == 0 {
		return Update{}
	}
	return all[0]
}

// updates returns what a call makes the tracker emit.
func (w *watch) updates(call func()) []Update {
	w.got = nil
	call()
	return w.got
}

// brief is an update in one line: what fails, what has recovered, what is gone.
func brief(u Update) string {
	var out []string
	for _, f := range u.Failures {
		out = append(out, "!"+f.Container)
	}
	for _, f := range u.Waiting {
		out = append(out, "?"+f.Container)
	}
	for _, f := range u.Recovered {
		out = append(out, "+"+f.Container)
	}
	for _, f := range u.Started {
		out = append(out, "*"+f.Container)
	}
	for _, k := range slices.Sorted(maps.Keys(u.Annotations)) {
		out = append(out, "@"+k)
	}
	if u.Gone {
		out = append(out, "gone")
	}
	if len(out) == 0 && u.UID != "" {
		return "none"
	}
	return strings.Join(out, " ")
}

func (w *watch) want(p *corev1.Pod, want string) Update {
	w.t.Helper()
	u := w.sees(p)
	if got := brief(u); got != want {
		w.t.Fatalf("got %q, want %q", got, want)
	}
	return u
}

func (w *watch) wantPods(n int) {
	w.t.Helper()
	if got := len(w.tracker.pods); got != n {
		w.t.Errorf("got %d pods in memory, want %d", got, n)
	}
}

const backOff = `Back-off pulling image "` + image + `"`

func TestIncidents(t *testing.T) {
	t.Parallel()
	pulling, failed := waits("ContainerCreating", ""), waits("ErrImagePull", "not found")
	old := waits("ImagePullBackOff", backOff+": ErrImagePull: not found")
	type step struct {
		pod  *corev1.Pod
		want string
	}
	tests := map[string][]step{
		"healthy": {
			{newPod(), ""}, {newPod(app(pulling)), "?app"}, {newPod(app(pulling)), "?app"}, {newPod(app(runs())), "*app"}, {newPod(app(ends("Completed"))), ""},
			{newPod(app(waits("CrashLoopBackOff", "x"))), ""}, {newPod(deleted), ""},
		},
		"runs in the end": {
			{newPod(app(failed)), "!app"}, {newPod(app(runs())), "+app"}, {newPod(app(runs())), ""},
		},
		"has run and ended": {
			{newPod(app(failed)), "!app"}, {newPod(app(ends("Error"))), "+app"},
		},
		"has ended and the pod with it": {
			{newPod(app(failed)), "!app"}, {newPod(app(ends("Completed")), phase(corev1.PodSucceeded)), "+app"},
		},
		"crashes": {
			{newPod(app(failed)), "!app"}, {newPod(app(waits("CrashLoopBackOff", "x"))), "+app"},
		},
		"cannot be created": {
			{newPod(app(failed)), "!app"}, {newPod(app(waits("CreateContainerConfigError", "x"))), "+app"},
		},
		"undecided between": {
			{newPod(app(failed)), "!app"}, {newPod(app(pulling)), "!app"}, {newPod(app(waits("PodInitializing", ""))), "!app"},
			{newPod(app(waits("", ""))), "!app"}, {newPod(), "!app"}, {newPod(app(failed)), "!app"}, {newPod(app(runs())), "+app"},
		},
		"image edited, undecided": {
			{newPod(app(failed)), "!app"}, {newPod(wanting("hub.test/b"), app(pulling)), "?app"}, {newPod(wanting("hub.test/b"), app(runs())), "*app"},
		},
		"image edited, runs at once": {
			{newPod(app(failed)), "!app"}, {newPod(wanting("hub.test/b"), app(runs())), "+app"},
		},
		"image edited, not tried yet, then fails": {
			{newPod(app(old)), "!app"}, {newPod(wanting("hub.test/b"), app(old)), "!app"}, {newPod(wanting("hub.test/c"), app(old)), "!app"},
			{newPod(wanting("hub.test/c"), app(waits("ErrImagePull", `pull "hub.test/c"`))), "!app"}, {newPod(wanting("hub.test/c"), app(runs())), "+app"},
		},
		"image edited, not tried yet, then pulled": {
			{newPod(app(old)), "!app"}, {newPod(wanting("hub.test/b"), app(old)), "!app"},
			{newPod(wanting("hub.test/b"), app(pulling)), "?app"}, {newPod(wanting("hub.test/b"), app(runs())), "*app"},
		},
		"image edited, not tried yet, then runs": {
			{newPod(app(old)), "!app"}, {newPod(wanting("hub.test/b"), app(old)), "!app"}, {newPod(wanting("hub.test/b"), app(runs())), "+app"},
		},
		"image edited, deleted": {
			{newPod(app(failed)), "!app"}, {newPod(wanting("hub.test/b"), app(runs()), deleted), "none"},
		},
		"image edited, not tried yet, and back": {
			{newPod(app(old)), "!app"}, {newPod(wanting("hub.test/b"), app(old)), "!app"}, {newPod(app(old)), "!app"},
		},
		"deleted, with a grace period": {
			{newPod(app(failed)), "!app"}, {newPod(app(failed), deleted), "none"}, {newPod(app(failed), deleted), ""},
		},
		"deleted while it runs": {
			{newPod(app(failed)), "!app"}, {newPod(app(runs()), deleted), "none"},
		},
		"given up by the kubelet": {
			{newPod(app(failed)), "!app"}, {newPod(app(ends("ContainerStatusUnknown")), phase(corev1.PodFailed)), "none"},
		},
		"evicted while it waits": {
			{newPod(app(failed)), "!app"}, {newPod(app(failed), phase(corev1.PodFailed)), "none"},
		},
		"evicted, undecided": {
			{newPod(app(failed)), "!app"}, {newPod(app(pulling), phase(corev1.PodFailed)), "none"},
		},
		"waits, then fails": {
			{newPod(app(pulling)), "?app"}, {newPod(app(failed)), "!app"}, {newPod(app(pulling)), "!app"}, {newPod(app(runs())), "+app"},
		},
		"waits for another image": {
			{newPod(app(pulling)), "?app"}, {newPod(wanting("hub.test/b"), app(pulling)), "?app"}, {newPod(wanting("hub.test/b"), app(runs())), "*app"},
		},
		"is deleted while it waits": {
			{newPod(app(pulling)), "?app"}, {newPod(app(pulling), deleted), "none"}, {newPod(app(pulling), deleted), ""},
		},
		"one runs, one waits": {
			{newPod(app(pulling), withContainer("side", "hub.test/s", pulling)), "?app ?side"},
			{newPod(app(runs()), withContainer("side", "hub.test/s", pulling)), "?side *app"},
		},
		"one recovers, one fails on": {
			{newPod(app(failed), withContainer("side", "hub.test/s", failed)), "!app !side"},
			{newPod(app(runs()), withContainer("side", "hub.test/s", failed)), "!side +app"},
			{newPod(app(runs()), withContainer("side", "hub.test/s", runs())), "+side"},
		},
		"the order is the spec's, whatever is known of each": {
			{newPod(app(failed), withContainer("side", "hub.test/s", failed)), "!app !side"},
			{newPod(app(pulling), withContainer("side", "hub.test/s", failed)), "!app !side"},
			{newPod(app(failed), withContainer("side", "hub.test/s", pulling)), "!app !side"},
			{newPod(app(pulling), withContainer("side", "hub.test/s", pulling)), "!app !side"},
		},
		"init container, then the app": {
			{newPod(withInit("setup", "hub.test/i", failed), app(waits("PodInitializing", ""))), "!setup"},
			{newPod(withInit("setup", "hub.test/i", ends("Completed")), app(failed)), "!app +setup"},
			{newPod(withInit("setup", "hub.test/i", ends("Completed")), app(runs())), "+app"},
		},
		"ephemeral container that is added": {
			{newPod(app(runs())), ""}, {newPod(app(runs()), withEphemeral("debug", "x", failed)), "!debug"},
			{newPod(app(runs()), withEphemeral("debug", "x", runs())), "+debug"},
		},
		"restarted agent, pod has recovered meanwhile": {
			{newPod(app(runs()), annotated("whypull.dev/cause", "x", "other/key", "y")), "@whypull.dev/cause"},
			{newPod(app(runs()), annotated("other/key", "y")), ""},
		},
		"restarted agent, pod still fails": {
			{newPod(app(failed), annotated("whypull.dev/cause", "x", "whypull.dev/report", "{}", "whypull.devil/x", "")), "!app @whypull.dev/cause @whypull.dev/report"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t)
			for i, s := range steps {
				if got := brief(w.sees(s.pod)); got != s.want {
					t.Fatalf("step %d: got %q, want %q", i+1, got, s.want)
				}
			}
			kept := 0
			if strings.ContainsAny(steps[len(steps)-1].want, "!?") {
				kept = 1
			}
			w.wantPods(kept)
		})
	}
}

func TestOneIncidentWhileReasonsAlternate(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	since := w.want(newPod(app(waits("ErrImagePull", "no such host"))), "!app").Failures[0].Since
	if want := start().Add(time.Second); !since.Equal(want) {
		t.Fatalf("since: got %v, want %v", since, want)
	}
	for _, s := range []corev1.ContainerState{
		waits("ImagePullBackOff", backOff+": ErrImagePull: no such host"), waits("ErrImagePull", "no such host"),
		waits("ContainerCreating", ""), waits("ImagePullBackOff", backOff), waits("ErrImagePull", "something else"),
		waits("RegistryUnavailable", "x"), waits("ImageInspectError", "y"),
	} {
		u := w.want(newPod(app(s)), "!app")
		if got := u.Failures[0].Since; !got.Equal(since) {
			t.Errorf("%s: since: got %v, want %v", s.Waiting.Reason, got, since)
		}
		if !u.SeenAt.After(since) {
			t.Errorf("seen at: got %v, want after %v", u.SeenAt, since)
		}
	}
}

func TestNewIncidents(t *testing.T) {
	t.Parallel()
	failed := waits("ErrImagePull", "x")
	tests := map[string][]*corev1.Pod{
		"image edited":             {newPod(wanting("hub.test/b"), app(failed))},
		"image edited, back-off":   {newPod(wanting("hub.test/b"), app(waits("ImagePullBackOff", `Back-off pulling image "hub.test/b"`)))},
		"recovered between":        {newPod(app(runs())), newPod(app(failed))},
		"edited to and fro":        {newPod(wanting("hub.test/b"), app(failed)), newPod(app(failed))},
		"edited to and fro, undec": {newPod(wanting("hub.test/b"), app(waits("", ""))), newPod(app(failed))},
		"another pod of this name": {newPod(uid("uid-2"), app(failed))},
	}
	for name, pods := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t)
			since := w.want(newPod(app(failed)), "!app").Failures[0].Since
			for _, p := range pods {
				w.tracker.Update(p)
			}
			f := w.got[len(w.got)-1].Failures[0]
			if !f.Since.After(since) {
				t.Errorf("since: got %v, want after %v", f.Since, since)
			}
			if want := pods[len(pods)-1].Status.ContainerStatuses[0].State.Waiting.Message; f.Message != want {
				t.Errorf("message: got %q, want %q, nothing of the old incident", f.Message, want)
			}
		})
	}
}

// TestImageThatWasNotTried checks that a status that names the image before is not taken
// for one of the new image.
func TestImageThatWasNotTried(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	old := waits("ImagePullBackOff", backOff+": ErrImagePull: not found")
	was := w.want(newPod(app(old)), "!app").Failures[0]
	if f := w.want(newPod(wanting("hub.test/b"), app(old)), "!app").Failures[0]; f.Image != image || !f.Since.Equal(was.Since) {
		t.Errorf("not tried yet: image %s since %v, want %s since %v", f.Image, f.Since, image, was.Since)
	}
	if f := w.want(newPod(wanting("hub.test/b"), app(waits("ErrImagePull", `pull "hub.test/b"`))), "!app").Failures[0]; f.Image != "hub.test/b" || !f.Since.After(was.Since) {
		t.Errorf("tried: image %s since %v, want hub.test/b after %v", f.Image, f.Since, was.Since)
	}
	if f := w.want(newPod(wanting("hub.test/c"), app(runs())), "+app").Recovered[0]; f.Image != "hub.test/c" {
		t.Errorf("recovered with image %s, want hub.test/c", f.Image)
	}
}

// TestLoginInImage checks that credentials in an image name go no further, and that the
// container is found again by what is left of the name.
func TestLoginInImage(t *testing.T) {
	t.Parallel()
	const written, kept = "joe:hunter2@hub.test/a", "REDACTED@hub.test/a"
	invalid := waits("InvalidImageName", `Failed to apply default image tag "`+written+`": couldn't parse image name "`+written+`": invalid reference format`)
	w := newWatch(t)
	was := w.want(newPod(wanting(written), app(invalid)), "!app").Failures[0]
	if was.Image != kept {
		t.Fatalf("image %s, want %s", was.Image, kept)
	}
	if f := w.want(newPod(wanting(written), app(waits("", ""))), "!app").Failures[0]; f.Image != kept || !f.Since.Equal(was.Since) {
		t.Errorf("undecided: image %s since %v, want %s since %v", f.Image, f.Since, kept, was.Since)
	}
	if f := w.want(newPod(wanting("hub.test/a"), app(invalid)), "!app").Failures[0]; f.Image != kept || !f.Since.Equal(was.Since) {
		t.Errorf("corrected, not tried yet: image %s since %v, want %s since %v", f.Image, f.Since, kept, was.Since)
	}
	if f := w.want(newPod(wanting("hub.test/a"), app(runs())), "+app").Recovered[0]; f.Image != "hub.test/a" {
		t.Errorf("recovered with image %s, want hub.test/a", f.Image)
	}
}

func TestBareBackOffKeepsTheMessage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ image, reason, message, want string }{
		"before 1.32":                     {image, "ImagePullBackOff", backOff, "no such host"},
		"short name":                      {"nginx", "ImagePullBackOff", `Back-off pulling image "nginx"`, "no such host"},
		"quoted":                          {"a\"b", "ImagePullBackOff", `Back-off pulling image "a\"b"`, "no such host"},
		"since 1.32":                      {image, "ImagePullBackOff", backOff + ": ErrImagePull: refused", backOff + ": ErrImagePull: refused"},
		"not a back-off":                  {image, "ErrImagePull", backOff, backOff},
		"back-off that says another name": {image, "ImagePullBackOff", `Back-off pulling image "x"`, `Back-off pulling image "x"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t)
			w.want(newPod(wanting(tt.image), app(waits("ErrImagePull", "no such host"))), "!app")
			for range 2 { // the kept message is kept again
				u := w.want(newPod(wanting(tt.image), app(waits(tt.reason, tt.message))), "!app")
				if got := u.Failures[0].Message; got != tt.want {
					t.Errorf("message: got %q, want %q", got, tt.want)
				}
				if got := u.Failures[0].Reason; got != tt.reason {
					t.Errorf("reason: got %q, want %q", got, tt.reason)
				}
			}
		})
	}
}

func TestBareBackOffWithoutAnEarlierMessage(t *testing.T) {
	t.Parallel()
	u := newWatch(t).want(newPod(app(waits("ImagePullBackOff", backOff))), "!app")
	if got := u.Failures[0].Message; got != backOff {
		t.Errorf("message: got %q, want %q", got, backOff)
	}
}

// The pull of an image volume shows in every container that mounts it, and a
// message that names no image could be about either.
func TestVolumeIncidents(t *testing.T) {
	t.Parallel()
	const models = "hub.test/models:1"
	named := waits("ImagePullBackOff", `Back-off pulling image "`+models+`": ErrImagePull: pull QPS exceeded`)
	nameless, pulling := waits("ErrImagePull", "pull QPS exceeded"), waits("ContainerCreating", "")
	own, unmounted := waits("ErrImagePull", `failed to pull and unpack image "`+image+`": x`), waits("CreateContainerError", unmountable)
	one := func(s corev1.ContainerState) *corev1.Pod { return newPod(withVolume("data", models), app(s)) }
	two := func(a, b corev1.ContainerState) *corev1.Pod {
		return newPod(withVolume("data", models), app(a), withContainer("side", "hub.test/s", b, "data"))
	}
	type step struct {
		pod  *corev1.Pod
		want string
	}
	tests := map[string][]step{
		"named, then not":               {{one(named), "!data"}, {one(nameless), "!data"}, {one(named), "!data"}, {one(runs()), "+data"}},
		"not named at first":            {{one(nameless), "!app"}, {one(named), "!data"}, {one(nameless), "!data"}},
		"then the container's own":      {{one(named), "!data"}, {one(own), "!app"}, {one(nameless), "!app"}, {one(runs()), "+app"}},
		"undecided":                     {{one(named), "!data"}, {one(pulling), "!data"}, {one(runs()), "+data"}},
		"one of two undecided":          {{two(named, named), "!data"}, {two(runs(), pulling), "!data"}, {two(runs(), runs()), "+data"}},
		"one of two still fails":        {{two(named, named), "!data"}, {two(pulling, named), "!data"}, {two(runs(), named), "!data"}},
		"the other fails without names": {{two(named, pulling), "!data"}, {two(pulling, nameless), "!data"}},
		"pulled, and not mounted":       {{one(named), "!data"}, {one(unmounted), "!data"}, {one(pulling), "!data ?app"}, {one(unmounted), "!data *app"}, {one(runs()), "+data"}},
		"the container's own, pulled":   {{one(own), "!app"}, {one(unmounted), "!data +app"}, {one(runs()), "+data"}},
		"not mounted, the other pulls":  {{newPod(withVolume("data", models), app(unmounted), withContainer("side", "hub.test/s", pulling)), "!data ?side"}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t)
			var since time.Time
			for i, s := range steps {
				u := w.sees(s.pod)
				if got := brief(u); got != s.want {
					t.Fatalf("step %d: got %q, want %q", i+1, got, s.want)
				}
				if i > 0 && s.want == steps[i-1].want && !u.Failures[0].Since.Equal(since) {
					t.Errorf("step %d: since: got %v, want %v", i+1, u.Failures[0].Since, since)
				}
				if len(u.Failures) > 0 {
					since = u.Failures[0].Since
				}
			}
		})
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	failed := newPod(app(waits("ErrImagePull", "x")))
	tests := map[string]struct {
		before []*corev1.Pod
		delete *corev1.Pod
		want   string
	}{
		"failing":                          {[]*corev1.Pod{failed}, failed, "gone"},
		"healthy":                          {[]*corev1.Pod{newPod(app(runs()))}, newPod(), ""},
		"never seen":                       {nil, newPod(), ""},
		"an earlier pod's":                 {[]*corev1.Pod{failed}, newPod(uid("uid-0")), ""},
		"failing when its deletion began":  {[]*corev1.Pod{failed, newPod(deleted)}, newPod(), ""},
		"reported when its deletion began": {[]*corev1.Pod{failed, newPod(deleted, annotated("whypull.dev/cause", "a"))}, newPod(), "gone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(t)
			for _, p := range tt.before {
				w.sees(p)
			}
			got := ""
			for _, u := range w.updates(func() { w.tracker.Delete(tt.delete) }) {
				got += brief(u)
				if u.UID != "uid-1" || u.Namespace != "shop" || u.Name != "web" || u.SeenAt.IsZero() {
					t.Errorf("got %+v, want shop/web, uid-1 and a time", u)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDeletedPodIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	failed := newPod(app(waits("ErrImagePull", "x")))
	w.want(failed, "!app")
	w.wantPods(1)
	w.updates(func() { w.tracker.Delete(failed) })
	w.wantPods(0)
	if again := w.updates(func() { w.tracker.Delete(failed) }); len(again) != 0 {
		t.Errorf("got %+v, want nothing the second time", again)
	}
}

// A StatefulSet's pod comes back under its name; the deletion may be missed.
func TestPodOfTheSameName(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	w.want(newPod(app(waits("ErrImagePull", "x"))), "!app")
	all := w.updates(func() { w.tracker.Update(newPod(uid("uid-2"), app(waits("ErrImagePull", "y")))) })
	var got []string
	for _, u := range all {
		got = append(got, u.UID+" "+brief(u))
	}
	if want := []string{"uid-1 gone", "uid-2 !app"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if late := w.updates(func() { w.tracker.Delete(newPod()) }); len(late) != 0 {
		t.Errorf("late deletion of the first: got %+v, want nothing", late)
	}
	w.wantPods(1)
	all = w.updates(func() { w.tracker.Update(newPod(uid("uid-3"), app(runs()))) })
	if len(all) != 1 || !all[0].Gone || all[0].UID != "uid-2" {
		t.Errorf("got %+v, want uid-2 gone", all)
	}
	w.wantPods(0)
}

func TestReplace(t *testing.T) {
	t.Parallel()
	named := func(name string, s corev1.ContainerState) *corev1.Pod {
		return newPod(app(s), uid("uid-"+name), func(p *corev1.Pod) { p.Name = name })
	}
	failed := waits("ErrImagePull", "x")
	w := newWatch(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.sees(named(name, failed))
	}
	var got []string
	for _, u := range w.lists(named("a", failed), named("b", runs()), named("e", runs()), named("f", failed)) {
		got = append(got, u.UID+" "+brief(u))
	}
	slices.Sort(got)
	want := []string{"uid-a !app", "uid-b +app", "uid-c gone", "uid-d gone", "uid-f !app"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.wantPods(2)
	if rest := w.lists(); len(rest) != 2 {
		t.Errorf("empty list: got %d updates, want 2", len(rest))
	}
	w.wantPods(0)
}

func TestReplaceKeepsIncidents(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	failed := newPod(app(waits("ErrImagePull", "x")))
	since := w.want(failed, "!app").Failures[0].Since
	all := w.lists(failed)
	if len(all) != 1 || !all[0].Failures[0].Since.Equal(since) {
		t.Errorf("got %+v, want one update since %v", all, since)
	}
}

func TestSynced(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	check := func(what string, want bool, wantHeard time.Time) {
		t.Helper()
		if synced, heard := w.tracker.Synced(); synced != want || !heard.Equal(wantHeard) {
			t.Errorf("%s: got %v, %v, want %v, %v", what, synced, heard, want, wantHeard)
		}
	}
	check("at first", false, time.Time{})
	w.sees(newPod())
	check("a pod is not the list", false, w.at)
	calls := map[string]func(){
		"a list":   func() { w.tracker.Replace(nil) },
		"bookmark": w.tracker.Bookmark,
		"pod":      func() { w.tracker.Update(newPod()) },
		"deletion": func() { w.tracker.Delete(newPod()) },
	}
	for _, what := range slices.Sorted(maps.Keys(calls)) {
		before := w.at
		if all := w.updates(calls[what]); len(all) != 0 {
			t.Errorf("%s: got %+v, want no update", what, all)
		}
		if !w.at.After(before) {
			t.Fatalf("%s: the clock was not asked", what)
		}
		check(what, true, w.at)
	}
}

func TestHealthyPodsCostNothing(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	for i := range 110 {
		p := newPod(app(runs()), uid(fmt.Sprint("uid-", i)), func(p *corev1.Pod) { p.Name = fmt.Sprint("web-", i) })
		if all := w.updates(func() { w.tracker.Update(p) }); len(all) != 0 {
			t.Fatalf("got %+v, want no update", all)
		}
	}
	w.wantPods(0)
}

func TestUpdateNamesThePod(t *testing.T) {
	t.Parallel()
	u := newWatch(t).want(newPod(app(waits("ErrImagePull", "x"))), "!app")
	if u.Namespace != "shop" || u.Name != "web" || u.UID != "uid-1" || u.Gone {
		t.Errorf("got %+v, want shop/web, uid-1", u)
	}
	if f := u.Failures[0]; f.Namespace != u.Namespace || f.Pod != u.Name || f.UID != u.UID {
		t.Errorf("got %s/%s %s in the failure, want the update's", f.Namespace, f.Pod, f.UID)
	}
}

// Recovered carries what was wrong, for the Event that ends the incident.
func TestRecoveredIsTheIncident(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	was := w.want(newPod(app(waits("ErrImagePull", "x"))), "!app").Failures[0]
	got := w.want(newPod(app(runs())), "+app").Recovered[0]
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", was) {
		t.Errorf("got  %+v\nwant %+v", got, was)
	}
}

// Of a pod with a report, a watch that begins names what has its image: the report may
// be of an earlier run of the agent.
func TestHealthyWhenTheWatchBegins(t *testing.T) {
	t.Parallel()
	reported := annotated("whypull.dev/cause", "a")
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: start()} }
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"runs":             {newPod(app(runs()), reported), "POD app"},
		"has ended":        {newPod(app(ends("Error")), reported), "POD app"},
		"crashes":          {newPod(app(waits("CrashLoopBackOff", "")), reported), "POD app"},
		"still fails":      {newPod(app(waits("ErrImagePull", "x")), reported), ""},
		"may be pulling":   {newPod(app(waits("ContainerCreating", "")), reported), ""},
		"without report":   {newPod(app(runs())), ""},
		"is being deleted": {newPod(app(runs()), reported, deleted), ""},
	} {
		w := newWatch(t)
		var got []string
		for _, u := range w.lists(tt.pod) {
			for _, f := range u.Healthy {
				if f.Image == "" && f.Kind != diagnosis.KindSandbox || f.UID != u.UID || !f.Since.IsZero() {
					t.Errorf("%s: %+v", name, f)
				}
				got = append(got, f.Container)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		for _, u := range w.updates(func() { w.tracker.Update(tt.pod) }) {
			if len(u.Healthy) > 0 {
				t.Errorf("%s, later: %+v", name, u.Healthy)
			}
		}
	}
	w := newWatch(t)
	failed, running := newPod(app(waits("ErrImagePull", "x")), reported), newPod(app(runs()), reported)
	w.updates(func() { w.tracker.Update(failed) })
	all := w.lists(running)
	if len(all) != 1 || len(all[0].Recovered) != 1 || len(all[0].Healthy) > 0 {
		t.Errorf("a pod that was watched before: %+v", all)
	}
}

func TestAnnotationsAreACopy(t *testing.T) {
	t.Parallel()
	pod := newPod(app(waits("ErrImagePull", "x")), annotated("whypull.dev/cause", "a"))
	u := newWatch(t).want(pod, "!app @whypull.dev/cause")
	pod.Annotations["whypull.dev/cause"] = "b"
	if got := u.Annotations["whypull.dev/cause"]; got != "a" {
		t.Errorf("got %q, want %q", got, "a")
	}
}

func TestEmitsOneAtATime(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{}, 1)
	seen := map[string]int{}
	tracker := NewTracker("whypull.dev/", time.Now, func(u Update) {
		select {
		case inside <- struct{}{}:
		default:
			t.Error("two updates at a time")
		}
		seen[u.UID]++
		<-inside
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := newPod(app(waits("ErrImagePull", "x")), uid(fmt.Sprint(i)), func(p *corev1.Pod) { p.Name = fmt.Sprint(i) })
			for range 20 {
				tracker.Update(p)
				tracker.Synced()
			}
			tracker.Delete(p)
		})
	}
	wg.Wait()
	for i := range 8 {
		if got := seen[fmt.Sprint(i)]; got != 21 {
			t.Errorf("pod %d: got %d updates, want 21", i, got)
		}
	}
}

// After any sequence of states the tracker holds what fails or waits, and nothing
// else.
func FuzzTracker(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{1, 7, 1, 6, 9, 1})
	states := []corev1.ContainerState{
		{}, waits("ErrImagePull", "x"), waits("ImagePullBackOff", backOff), waits("ContainerCreating", ""),
		runs(), ends("Error"), waits("CrashLoopBackOff", ""), waits("InvalidImageName", ""),
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		failing, waiting := map[string]bool{}, map[string]bool{}
		tracker := NewTracker("whypull.dev/", start, func(u Update) {
			for _, r := range u.Recovered {
				if !failing[u.UID] {
					t.Errorf("%s has recovered without an incident", r.Container)
				}
			}
			for _, s := range u.Started {
				if !waiting[u.UID] {
					t.Errorf("%s has started and did not wait", s.Container)
				}
			}
			failing[u.UID], waiting[u.UID] = len(u.Failures) > 0, len(u.Waiting) > 0
		})
		for i, b := range script {
			p := newPod(app(states[int(b)%len(states)]))
			if b&64 != 0 {
				p.UID = "uid-2"
			}
			if b&128 != 0 {
				deleted(p)
			}
			if i%7 == 6 {
				tracker.Delete(p)
			} else {
				tracker.Update(p)
			}
		}
		for _, p := range tracker.pods {
			if failing[p.uid] != (len(p.incidents) > 0) || waiting[p.uid] != (len(p.waiting) > 0) || len(p.incidents)+len(p.waiting) == 0 {
				t.Errorf("got %+v in memory without an update for it", p)
			}
		}
		tracker.Replace(nil)
		if len(tracker.pods) != 0 {
			t.Errorf("got %d pods in memory after an empty list, want 0", len(tracker.pods))
		}
		for uid := range failing {
			if failing[uid] || waiting[uid] {
				t.Errorf("%s: no update says that it is gone", uid)
			}
		}
	})
}

func TestSortByPodPutsVolumesWhereTheyAreMounted(t *testing.T) {
	t.Parallel()
	pod := newPod(withContainer("side", "x", runs(), "data"), unmounted("data", "m"), withVolume("more", "n"))
	got := []diagnosis.Failure{
		{Kind: diagnosis.KindImageVolume, Container: "data"},
		{Kind: diagnosis.KindContainer, Container: "side", Image: "x"},
		{Kind: diagnosis.KindImageVolume, Container: "more"},
		{Kind: diagnosis.KindContainer, Container: "app", Image: image},
	}
	sortByPod(got, containers(pod))
	if s := brief(Update{Failures: got}); s != "!app !more !side !data" {
		t.Errorf("got %q, want %q", s, "!app !more !side !data")
	}
}

func withCondition(kind corev1.PodConditionType, status corev1.ConditionStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status})
	}
}

// An update has whypull's conditions and the readiness gates that are for them, and no
// others.
func TestConditionsAndReadinessGates(t *testing.T) {
	t.Parallel()
	w := newWatch(t)
	p := newPod(app(waits("ErrImagePull", "x")), withCondition("Ready", "False"), withCondition("whypull.dev/ImagePullable", "False"))
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/x"}, {ConditionType: "whypull.dev/ImagePullable"}}
	u := w.want(p, "!app")
	if len(u.Conditions) != 1 || u.Conditions[0].Type != "whypull.dev/ImagePullable" || !slices.Equal(u.ReadinessGates, []corev1.PodConditionType{"whypull.dev/ImagePullable"}) {
		t.Errorf("conditions %v, gates %v", u.Conditions, u.ReadinessGates)
	}
}

// A pod that does not fail is reported while its condition is not true, and once more
// when it is. When a watch begins, its containers with their image are too.
func TestConditionOfAPodThatDoesNotFail(t *testing.T) {
	t.Parallel()
	const own = "whypull.dev/ImagePullable"
	w := newWatch(t)
	w.want(newPod(app(runs()), withCondition("Ready", "False")), "")
	w.want(newPod(app(runs()), withCondition(own, "True")), "")
	w.want(newPod(app(runs()), withCondition(own, "False")), "none")
	w.want(newPod(app(runs()), withCondition(own, "Unknown")), "none")
	w.wantPods(1)
	w.want(newPod(app(runs()), withCondition(own, "True")), "none")
	w.wantPods(0)
	w.want(newPod(app(runs()), withCondition(own, "True")), "")

	for status, want := range map[corev1.ConditionStatus]int{"False": 2, "Unknown": 2, "True": 0} { // app and the sandbox
		w := newWatch(t)
		healthy := 0
		for _, u := range w.lists(newPod(app(runs()), withCondition(own, status))) {
			healthy += len(u.Healthy)
		}
		if healthy != want {
			t.Errorf("%s: %d healthy, want %d", status, healthy, want)
		}
	}
}
