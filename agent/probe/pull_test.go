package probe

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/asserttest"
	"github.com/whypull/whypull/cri/critest"
)

// noon is the moment at which the collector looks in these tests.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

func ago(d time.Duration) time.Time { return noon().Add(-d) }

func blobOf(char string) string { return "sha256:" + strings.Repeat(char, 64) }

// manifestOf has blobs of 100 bytes each; capitals are there.
func manifestOf(fetched time.Time, chars string) cri.Stored {
	s := cri.Stored{Fetched: fetched}
	for c := range strings.SplitSeq(chars, "") {
		s.Blobs = append(s.Blobs, cri.StoredBlob{Digest: blobOf(strings.ToLower(c)), Size: 100, Present: c != strings.ToLower(c)})
	}
	return s
}

func ingestOf(char string, offset int64, updated time.Time) cri.Ingest {
	return cri.Ingest{Digest: blobOf(char), Offset: offset, Started: ago(time.Hour), Updated: updated}
}

// layersOf are layers of 100 bytes: a letter, and how much there is of it.
func layersOf(pairs ...any) []diagnosis.Layer {
	var out []diagnosis.Layer
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, diagnosis.Layer{Digest: blobOf(strings.ToLower(pairs[i].(string))), Done: int64(pairs[i+1].(int)), Total: 100})
	}
	return out
}

func TestJudgeTransfer(t *testing.T) {
	t.Parallel()
	const after = time.Minute
	long, short := ago(10*time.Minute), ago(10*time.Second)
	for name, tc := range map[string]struct {
		since     time.Time
		ingests   []cri.Ingest
		stored    []cri.Stored
		disturbed time.Time
		parallel  int // 0: 1
		want      pullState
	}{
		"waits for a moment": {since: short},
		"nothing has come":   {since: long, want: pullState{way: diagnosis.StallUnbegun, since: long}},
		"comes": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, short)}, stored: []cri.Stored{manifestOf(long, "Ab")},
			want: pullState{stage: receiving, alone: true, done: 101, total: 200, layers: layersOf("A", 100, "b", 1)}},
		"stands still": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, ago(after))}, stored: []cri.Stored{manifestOf(long, "Abc")},
			want: pullState{diagnosis.StallTransfer, ago(after), blobOf("b"), 101, 300, layersOf("A", 100, "b", 1, "c", 0), receiving, true}},
		"stands still, by a moment not": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, ago(after-time.Second))}, stored: []cri.Stored{manifestOf(long, "Abc")},
			want: pullState{stage: receiving, alone: true, done: 101, total: 300, layers: layersOf("A", 100, "b", 1, "c", 0)}},
		"one of two layers comes": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, long), ingestOf("c", 1, short)},
			stored: []cri.Stored{manifestOf(long, "Abc")},
			want:   pullState{stage: receiving, alone: true, done: 102, total: 300, layers: layersOf("A", 100, "b", 1, "c", 1)}},
		"another image comes, this one stands still": {since: long, ingests: []cri.Ingest{ingestOf("b", 7, long), ingestOf("d", 1, short)},
			stored: []cri.Stored{manifestOf(long, "Abc")}, want: pullState{diagnosis.StallTransfer, long, blobOf("b"), 107, 300, layersOf("A", 100, "b", 7, "c", 0), receiving, false}},
		"stands still, as the runtime did": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, long)}, stored: []cri.Stored{manifestOf(long, "Abc")}, disturbed: short,
			want: pullState{stage: receiving, alone: true, done: 101, total: 300, layers: layersOf("A", 100, "b", 1, "c", 0)}},
		"stands still since, long after the runtime did": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, long)}, stored: []cri.Stored{manifestOf(long, "Abc")}, disturbed: ago(after),
			want: pullState{diagnosis.StallTransfer, long, blobOf("b"), 101, 300, layersOf("A", 100, "b", 1, "c", 0), receiving, true}},
		"it waits behind one that stood still with the runtime": {since: long, ingests: []cri.Ingest{ingestOf("d", 1, long)}, disturbed: short, want: pullState{stage: queued}},
		"it could not begin while the runtime was frozen":       {since: long, disturbed: short, want: pullState{}},
		"it waits its turn": {since: long, ingests: []cri.Ingest{ingestOf("d", 1, short)}, want: pullState{stage: queued}},
		"it waits behind one that stands still": {since: long, ingests: []cri.Ingest{ingestOf("d", 1, long)},
			want: pullState{way: diagnosis.StallBehind, since: long, blob: blobOf("d"), stage: queued}},
		"it has just begun to wait behind one": {since: short, ingests: []cri.Ingest{ingestOf("d", 1, long)}, want: pullState{stage: queued}},
		"stands still since the clock was set back": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, ago(-2*time.Hour))}, stored: []cri.Stored{manifestOf(long, "Abc")},
			want: pullState{diagnosis.StallTransfer, long, blobOf("b"), 101, 300, layersOf("A", 100, "b", 1, "c", 0), receiving, true}},
		"comes since the clock was set back": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, ago(-2*time.Hour)), ingestOf("c", 1, short)}, stored: []cri.Stored{manifestOf(long, "Abc")},
			want: pullState{stage: receiving, alone: true, done: 102, total: 300, layers: layersOf("A", 100, "b", 1, "c", 1)}},
		"comes at the next moment": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, ago(-time.Second))}, stored: []cri.Stored{manifestOf(long, "Abc")},
			want: pullState{stage: receiving, alone: true, done: 101, total: 300, layers: layersOf("A", 100, "b", 1, "c", 0)}},
		"it does not wait for the other, which it need not": {since: long, ingests: []cri.Ingest{ingestOf("d", 1, long), ingestOf("e", 1, long)}, parallel: 3,
			want: pullState{way: diagnosis.StallUnbegun, since: long}},
		"it has just begun, beside one for which it need not wait": {since: short, ingests: []cri.Ingest{ingestOf("d", 1, long)}, parallel: 3},
		"it waits behind three that stand still": {since: long, ingests: []cri.Ingest{ingestOf("d", 1, long), ingestOf("e", 1, long), ingestOf("f", 1, long)}, parallel: 3,
			want: pullState{way: diagnosis.StallBehind, since: long, blob: blobOf("d"), stage: queued}},
		"it is unpacked": {since: long, stored: []cri.Stored{manifestOf(short, "ABC")},
			want: pullState{stage: unpacking, done: 300, total: 300, layers: layersOf("A", 100, "b", 100, "c", 100)}},
		"an older tag is complete, this one has not begun": {since: short.Add(-2 * after), stored: []cri.Stored{manifestOf(ago(time.Hour), "ABC")},
			want: pullState{way: diagnosis.StallUnbegun, since: short.Add(-2 * after)}},
		"the layer is there already, whoever still writes it": {since: long, ingests: []cri.Ingest{ingestOf("b", 1, long)}, stored: []cri.Stored{manifestOf(short, "AB")},
			want: pullState{stage: unpacking, done: 200, total: 200, layers: layersOf("a", 100, "b", 100)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := judgeTransfer(diagnosis.Failure{Since: tc.since}, tc.ingests, tc.stored, func() int { return max(tc.parallel, 1) }, noon(), after, tc.disturbed); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

// The runtime's times are compared with the start of the wait by the clock as it is now, also
// if that was set back since.
func TestTransferAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, ahead := range map[string]time.Duration{"10 minutes": 10 * time.Minute, "a day": 24 * time.Hour} {
		f := diagnosis.Failure{Since: asserttest.ByClock(now.Add(-5*time.Minute), ahead)}
		fetched := now.Add(-2 * time.Minute).Round(0)
		if got := judgeTransfer(f, nil, []cri.Stored{manifestOf(fetched, "ABC")}, nil, now, DefaultStallAfter, time.Time{}); got.stage != unpacking || got.way != "" {
			t.Errorf("%s: got %+v, want that it is unpacked", name, got)
		}
		got := judgeTransfer(f, nil, nil, nil, now, DefaultStallAfter, time.Time{})
		if got.way != diagnosis.StallUnbegun || !got.since.Round(0).Equal(now.Add(-5*time.Minute).Round(0)) {
			t.Errorf("%s: got %+v, want one that has not begun for 5 minutes", name, got)
		}
	}
}

// starting is a container whose pod has a sandbox, and that waits.
func starting(image string) diagnosis.Failure {
	f := failure(image)
	f.Reason, f.Message, f.PullPolicy, f.SandboxUID, f.Since = "ContainerCreating", "", "IfNotPresent", "u-1", time.Now().Add(-10*time.Minute)
	return f
}

// followed makes a node whose collector follows pulls.
func followed(t *testing.T) *node {
	t.Helper()
	n := newNode(t, nil, nil)
	n.follow()
	return n
}

func (n *node) follow() {
	n.t.Helper()
	r, err := cri.Dial(n.runtime.Socket)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = r.Close() })
	n.collector.Transfers = r
}

// hanging are those of the waiting containers whose pull hangs.
func (n *node) hanging(waiting []diagnosis.Failure) []diagnosis.Failure {
	hanging, _, _ := n.collector.Follow(n.t.Context(), waiting)
	return hanging
}

// receives makes the runtime receive a layer of an image, of whose 300 bytes
// it has 250; it returns the layer's digest.
func receives(n *node, f diagnosis.Failure, updated time.Time) string {
	layer := critest.Blob{Data: []byte(f.Image)}.Digest()
	source := map[string]string{"containerd.io/distribution.source." + f.Registry: f.Repository}
	config := critest.Blob{Data: []byte(strings.Repeat("c", 100)), Labels: source}
	manifest := fmt.Sprintf(`{"config":{"digest":%q,"size":100},"layers":[{"digest":%q,"size":200}]}`, config.Digest(), layer)
	n.runtime.Hold(config, critest.Blob{Data: []byte(manifest), Labels: source, Fetched: updated})
	n.runtime.Receive(critest.Ingest{Ref: "layer-" + layer, Offset: 150, Total: 200, Started: updated, Updated: updated})
	return layer
}

func TestHanging(t *testing.T) {
	t.Parallel()
	app := starting("registry.test/team/app:v1")
	long := time.Now().Add(-5 * time.Minute)
	for name, tc := range map[string]struct {
		change func(*node)
		want   diagnosis.Stall
	}{
		"the runtime is down": {func(n *node) { n.runtime.Set(critest.Fault{Code: codes.Unavailable}) }, ""},
		"it stands still": {func(n *node) {
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
			receives(n, app, long)
		}, diagnosis.StallTransfer},
		"it goes on": {func(n *node) {
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
			receives(n, app, time.Now())
		}, ""},
		"nothing has come": {func(n *node) { n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"}) }, diagnosis.StallUnbegun},
		"the image is there": {func(n *node) {
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
			n.runtime.Add(critest.NewImage("sha256:1", []string{app.Image}, nil))
		}, ""},
		"another runtime": {func(n *node) {
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
			n.runtime.Name = "frakti"
		}, ""},
		"CRI-O, which keeps no books": {func(n *node) {
			n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
			n.runtime.Name = "cri-o"
		}, diagnosis.StallUnbegun},
		"no sandbox and no image": {func(*node) {}, diagnosis.StallSandbox},
		"no sandbox, but an image": {func(n *node) {
			n.runtime.Add(critest.NewImage("sha256:1", []string{"registry.k8s.io/pause:3.10.2"}, nil))
		}, ""},
		"nobody to ask": {func(n *node) { n.collector.Transfers = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := followed(t)
			tc.change(n)
			got := n.hanging([]diagnosis.Failure{app})
			if tc.want == "" {
				if len(got) > 0 {
					t.Errorf("got %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Stall != tc.want {
				t.Fatalf("got %+v", got)
			}
			if s := got[0]; tc.want == diagnosis.StallSandbox &&
				(s.Kind != diagnosis.KindSandbox || s.Image != "registry.k8s.io/pause:3.10.2" || s.Registry != "registry.k8s.io" || s.Repository != "pause" || s.PullSecrets != nil) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAlwaysIsPulledThoughPresent: with the policy Always an image that is there
// is pulled all the same.
func TestAlwaysIsPulledThoughPresent(t *testing.T) {
	t.Parallel()
	n := followed(t)
	f := starting("registry.test/team/app:v1")
	f.PullPolicy = "Always"
	n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
	n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
	receives(n, f, time.Now().Add(-5*time.Minute))
	if got := n.hanging([]diagnosis.Failure{f}); len(got) != 1 || got[0].Stall != diagnosis.StallTransfer {
		t.Errorf("got %+v", got)
	}
}

// TestPullEvidence checks that the state of the content store is in the evidence and that the
// sentence stays the same while nothing happens.
func TestPullEvidence(t *testing.T) {
	t.Parallel()
	n := followed(t)
	n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
	f := starting("registry.test/team/app:v1")
	digest := receives(n, f, ago(0))
	f.Stall = diagnosis.StallTransfer
	want := "Failed | PullStalled | the pull of registry.test/team/app:v1 from registry.test has stalled: less than 1 MiB received since 12:00:00 UTC; it has 250 B of 300 B, and blob " + digest[:len("sha256:")+12] + " is incomplete"
	for range 2 {
		wantLines(t, "pull", of(f, n.collect(f), diagnosis.CheckPull), want)
	}
	n.runtime.Receive(critest.Ingest{Ref: "layer-" + digest, Offset: 160, Total: 200, Started: ago(0), Updated: time.Now()})
	wantLines(t, "goes on", of(f, n.collect(f), diagnosis.CheckPull), "Passed | the pull is in progress")
	n.runtime.Receive(critest.Ingest{Ref: "layer-" + blobOf("9"), Started: ago(0), Updated: ago(0)})
	wantLines(t, "behind", of(f, n.collect(f), diagnosis.CheckPull),
		"Failed | PullWaits | the pull of registry.test/team/app:v1 has not started: the node waits for the pull of another image, which has received less than 1 MiB since 12:00:00 UTC")
	n.runtime.Name = "cri-o"
	wantLines(t, "another runtime", of(f, n.collect(f), diagnosis.CheckPull), "NotRun | the container runtime does not report its transfers")
}

// TestSandboxEvidence: no pull secret is read for a sandbox's image.
func TestSandboxEvidence(t *testing.T) {
	t.Parallel()
	n := followed(t)
	n.secrets.byName["regcred"] = secretFor("registry.k8s.io")
	f := starting("registry.test/team/app:v1")
	f.PullSecrets, f.Since = []string{"regcred"}, noon()
	hanging := n.hanging([]diagnosis.Failure{f})
	if len(hanging) != 1 {
		t.Fatalf("got %+v", hanging)
	}
	f = hanging[0]
	all := n.collect(f)
	wantLines(t, "pull", of(f, all, diagnosis.CheckPull), "Failed | SandboxMissing | the pod has had no sandbox since 12:00:00 UTC or earlier, and the sandbox image is not on node worker-3")
	wantLines(t, "credentials", of(f, all, diagnosis.CheckCredentials), "Failed | NoCredentials | the runtime pulls the sandbox image without pull secrets or other credentials of the kubelet")
	if len(n.secrets.reads) > 0 {
		t.Errorf("read %v", n.secrets.reads)
	}
	if i := slices.IndexFunc(all, func(e diagnosis.Evidence) bool { return e.Credential() != nil }); i >= 0 {
		t.Errorf("%+v", all[i])
	}
}
