package probe

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/critest"
)

// begun is a node on which a pod's image is received, and a clock.
func begun(t *testing.T) (*node, diagnosis.Failure, *clock) {
	t.Helper()
	n := followed(t)
	now := n.clocked()
	n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
	f := starting("registry.test/team/app:v1")
	f.Since = now.Now().Add(-40 * time.Second)
	return n, f, now
}

// going are the pulls that go on, a line each.
func (n *node) going(waiting ...diagnosis.Failure) []string {
	hanging, going, err := n.collector.Follow(n.t.Context(), waiting)
	if err != nil {
		n.t.Error(err)
	}
	var out []string
	for _, f := range hanging {
		out = append(out, fmt.Sprintf("%s hangs: %s", f.Container, f.Stall))
	}
	for _, g := range going {
		out = append(out, g.Failure.Container+": "+g.Detail())
	}
	return out
}

// TestFollow checks that there is a rate from the second check on, over the last minute.
func TestFollow(t *testing.T) {
	t.Parallel()
	n, f, now := begun(t)
	layer := receives(n, f, now.Now())
	comes := func(offset int64) {
		n.runtime.Receive(critest.Ingest{Ref: "layer-" + layer, Offset: offset, Total: 200, Started: noon(), Updated: now.Now()})
	}
	comes(20)
	wantLines(t, "first", n.going(f), "app: pulling 120 of 300 B")
	_, going, _ := n.collector.Follow(t.Context(), []diagnosis.Failure{f})
	if l := going[0].Layers; len(l) != 2 || l[0].Done != 100 || l[0].Total != 100 || l[1] != (diagnosis.Layer{Digest: layer, Done: 20, Total: 200}) {
		t.Errorf("layers %+v", l)
	}
	now.advance(time.Second)
	comes(21)
	wantLines(t, "too soon", n.going(f), "app: pulling 121 of 300 B")
	now.advance(9 * time.Second)
	comes(40)
	wantLines(t, "second", n.going(f), "app: pulling 140 of 300 B at 2 B/s, about a minute left")
	now.advance(10 * time.Second)
	wantLines(t, "no byte since", n.going(f), "app: pulling 140 of 300 B at 1 B/s, about 3 minutes left")
	now.advance(50 * time.Second)
	comes(40)
	wantLines(t, "no byte for a minute", n.going(f), "app: pulling 140 of 300 B")
	now.advance(10 * time.Second)
	comes(10)
	wantLines(t, "started over", n.going(f), "app: pulling 110 of 300 B")
	now.advance(10 * time.Second)
	comes(110)
	wantLines(t, "started over, second", n.going(f), "app: pulling 210 of 300 B at 10 B/s, less than a minute left")
	now.advance(2 * time.Minute)
	wantLines(t, "stalled", n.going(f), "app hangs: transfer")
}

// TestFollowUnpacking: what has come is unpacked, unless it had come for another
// pod before.
func TestFollowUnpacking(t *testing.T) {
	t.Parallel()
	n, f, now := begun(t)
	receives(n, f, now.Now())
	n.runtime.Receive()
	n.runtime.Hold(critest.Blob{Data: []byte(f.Image)})
	wantLines(t, "unpacked", n.going(f), "app: all of 300 B has come, and is being unpacked")
	n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
	f.PullPolicy = "Always"
	wantLines(t, "there", n.going(f))
}

// TestFollowListsOnce checks that the content store is listed once for two containers with one image.
func TestFollowListsOnce(t *testing.T) {
	t.Parallel()
	n, f, now := begun(t)
	receives(n, f, now.Now())
	side := f
	side.Container = "side"
	wantLines(t, "both", n.going(f, side), "app: pulling 250 of 300 B", "side: pulling 250 of 300 B")
	if calls := n.runtime.Calls("ListStatuses"); calls != 1 {
		t.Errorf("%d calls of ListStatuses", calls)
	}
	if calls := n.runtime.Calls("List"); calls != 2 { // the manifests, and which of their blobs are there
		t.Errorf("%d calls of List", calls)
	}
}

// TestFollowedIsBounded: looks are forgotten after a minute, and there are never
// more than so many.
func TestFollowedIsBounded(t *testing.T) {
	t.Parallel()
	var l follower
	f := starting("registry.test/team/app:v1")
	for i := range maxFollowed + 10 {
		f.UID = fmt.Sprint(i)
		l.record(f, pullState{stage: receiving}, noon())
	}
	f.Namespace, f.UID = "other", "uid-other"
	l.record(f, pullState{stage: receiving}, noon())
	if len(l.followed) != maxFollowed+1 || l.followed[f.Subject()] == nil {
		t.Errorf("%d are remembered, another namespace's: %t", len(l.followed), l.followed[f.Subject()] != nil)
	}
	for i := range maxSamples + 10 {
		l.record(starting(f.Image), pullState{stage: receiving}, noon().Add(2*time.Minute+time.Duration(i)*time.Millisecond))
	}
	if len(l.followed) != 1 {
		t.Errorf("%d are remembered after two minutes", len(l.followed))
	}
	for _, w := range l.followed {
		if len(w.samples) != maxSamples {
			t.Errorf("%d samples", len(w.samples))
		}
	}
}

// TestAnotherImageIsAnotherPull checks that the rate starts over.
func TestAnotherImageIsAnotherPull(t *testing.T) {
	t.Parallel()
	var l follower
	f := starting("registry.test/team/app:v1")
	l.record(f, pullState{stage: receiving, done: 10}, noon())
	f.SetImage(parsed("registry.test/team/app:v2"))
	if p := l.record(f, pullState{stage: receiving, done: 1000}, noon().Add(10*time.Second)); p.Rate != 0 {
		t.Errorf("rate %v", p.Rate)
	}
}

// TestBehind: of the pods that wait behind a stalled pull those of its own
// namespace are named, and the others are counted.
func TestBehind(t *testing.T) {
	t.Parallel()
	f := starting("registry.test/team/app:v1")
	const head = "Inconclusive | node worker-3 receives no other image meanwhile, as if the kubelet pulled one at a time; pods that wait for theirs: "
	type pod struct {
		namespace, name string
		stage           stage
		ago             time.Duration
	}
	for name, tc := range map[string]struct {
		pods []pod
		want string
	}{
		"nobody":                 {nil, ""},
		"one":                    {[]pod{{"team", "b", queued, 0}}, "b"},
		"one of another":         {[]pod{{"hidden", "h", queued, 0}}, "1 in other namespaces"},
		"not one that is pulled": {[]pod{{"team", "b", receiving, 0}, {"team", "c", "", 0}, {"team", "d", unpacking, 0}}, ""},
		"not one of long ago":    {[]pod{{"team", "b", queued, lately + time.Second}}, ""},
		"itself":                 {[]pod{{"team", "web", queued, 0}}, ""},
		"many": {[]pod{{"team", "e", queued, 0}, {"hidden", "h", queued, 0}, {"team", "d", queued, 0}, {"team", "c", queued, 0}, {"team", "b", queued, 0}, {"team", "a", queued, 0}, {"hidden", "i", queued, 0}},
			"a, b, c; 2 more in namespace team; 2 in other namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l follower
			for _, p := range tc.pods {
				w := f
				w.Namespace, w.Pod = p.namespace, p.name
				if p.name != f.Pod {
					w.UID = p.namespace + p.name
				}
				for _, w.Container = range []string{"app", "side"} {
					l.record(w, pullState{stage: p.stage}, noon().Add(-p.ago))
				}
			}
			var got []string
			if behind := l.behind(f, noon()); behind != nil {
				got = of(f, []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Inconclusive, Body: &diagnosis.PullFacts{Behind: behind}}}, diagnosis.CheckPull)
			}
			if tc.want == "" && len(got) > 0 || tc.want != "" && !slices.Equal(got, []string{head + tc.want}) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestBehindIsEvidence: the evidence of a stalled pull says who waits behind it,
// as long as nothing else is received.
func TestBehindIsEvidence(t *testing.T) {
	t.Parallel()
	n, f, now := begun(t)
	layer := receives(n, f, now.Now().Add(-5*time.Minute))
	other := starting("registry.test/team/other:v1")
	other.Pod, other.UID, other.SandboxUID, other.Since = "second", "u-2", "u-2", f.Since
	n.runtime.AddSandbox(critest.Sandbox{ID: "s-2", PodUID: "u-2"})
	wantLines(t, "looked at", n.going(other))
	f.Stall = diagnosis.StallTransfer
	if got := of(f, n.collect(f), diagnosis.CheckPull); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	n.runtime.Receive(critest.Ingest{Ref: "layer-" + layer, Offset: 150, Total: 200, Started: noon(), Updated: now.Now().Add(-5 * time.Minute)},
		critest.Ingest{Ref: "layer-" + blobOf("9"), Started: noon(), Updated: now.Now()})
	if got := of(f, n.collect(f), diagnosis.CheckPull); len(got) != 1 {
		t.Errorf("with another image on its way: got %q", got)
	}
}

// TestQueue checks that a hanging pull and its evidence name the pods that wait for it and
// the pod it waits for, but no pod of another namespace.
func TestQueue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ namespace, ahead, behind string }{
		"of one namespace": {"team", "the image of pod web from registry.test", "second"},
		"of two":           {"hidden", "another image, for a pod in another namespace", "1 in other namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, f, now := begun(t)
			f.Since = now.Now().Add(-5 * time.Minute)
			receives(n, f, f.Since)
			second := starting("elsewhere.test/team/other:v1")
			second.Namespace, second.Pod, second.UID, second.SandboxUID, second.Since = tc.namespace, "second", "u-2", "u-2", f.Since
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-2", PodUID: "u-2"})
			queue := func(f diagnosis.Failure) string {
				t.Helper()
				got := n.hanging([]diagnosis.Failure{f})
				if len(got) != 1 {
					t.Fatalf("%s: %+v", f.Pod, got)
				}
				return got[0].Queue
			}
			if got := queue(second); got != "another image" {
				t.Errorf("before the other was looked at it waits for %q", got)
			}
			if got := queue(f); got != tc.behind {
				t.Errorf("behind it is %q, want %q", got, tc.behind)
			}
			if got := queue(second); got != tc.ahead {
				t.Errorf("it waits for %q, want %q", got, tc.ahead)
			}
			second.Stall = diagnosis.StallBehind
			wantLines(t, "behind", of(second, n.collect(second), diagnosis.CheckPull), "Failed | PullWaits | the pull of elsewhere.test/team/other:v1 has not started: the node waits for the pull of "+
				tc.ahead+", which has received less than 1 MiB since "+f.Since.UTC().Format("15:04:05 UTC"))
			now.advance(lately + time.Second)
			if got := queue(second); got != "another image" {
				t.Errorf("of a pull that is looked at no more: %q", got)
			}
		})
	}
}

// TestSources: the hosts are those of the node's configuration.
func TestSources(t *testing.T) {
	t.Parallel()
	const one = "server = \"https://registry.test\"\n[host.\"https://near.test\"]\n"
	for name, tc := range map[string]struct{ image, config, want string }{
		"its own":        {"registry.test/team/app:v1", "", "registry.test"},
		"Docker Hub":     {"nginx", "", "registry-1.docker.io"},
		"a mirror":       {"registry.test/team/app:v1", one, "near.test (fallback: registry.test)"},
		"two":            {"registry.test/team/app:v1", one + "[host.\"https://far.test\"]\n", "near.test (fallback: far.test, registry.test)"},
		"what is broken": {"registry.test/team/app:v1", "server = [", "registry.test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			if tc.config != "" {
				files["certs.d/registry.test/hosts.toml"] = tc.config
			}
			n := newNode(t, nil, files)
			e := diagnosis.Evidence{Check: diagnosis.CheckPull, Fault: diagnosis.FaultStalled, Body: &diagnosis.PullFacts{Sources: n.collector.sources(t.Context(), failure(tc.image))}}
			if got := detail(failure(tc.image), e); !strings.Contains(got, " from "+tc.want+" has stalled") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
