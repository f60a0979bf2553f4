package cri_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/critest"
)

func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// fetched returns a blob with the label that containerd sets on fetched
// content.
func fetched(data string, registry, repositories string, minute int) critest.Blob {
	return critest.Blob{
		Data: []byte(data), Labels: map[string]string{"containerd.io/distribution.source." + registry: repositories},
		Fetched: noon().Add(time.Duration(minute) * time.Minute),
	}
}

// manifest returns a manifest with a config and layers, which are blobs or
// digests.
func manifest(t *testing.T, config critest.Blob, layers ...string) string {
	t.Helper()
	type descriptor struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	m := struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}{Config: descriptor{config.Digest(), int64(len(config.Data))}}
	for _, l := range layers {
		m.Layers = append(m.Layers, descriptor{l, 100})
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func digestOf(char string) string { return "sha256:" + strings.Repeat(char, 64) }

func TestSandboxReady(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	fake.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "uid-1"})
	for uid, want := range map[string]bool{"uid-1": true, "uid-2": false} {
		if got, err := r.SandboxReady(t.Context(), uid); got != want || err != nil {
			t.Errorf("%s: %t, %v", uid, got, err)
		}
	}
	fake.Set(critest.Fault{Code: codes.Unavailable})
	if _, err := r.SandboxReady(t.Context(), "uid-1"); kindOf(t, err) != cri.KindDown {
		t.Error(err)
	}
}

func TestPresent(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	here := critest.Blob{Data: []byte("here")}
	fake.Hold(here, critest.Blob{Data: []byte("another")})
	for name, digests := range map[string][]string{
		"one of two":   {digestOf("a"), here.Digest()},
		"and nonsense": {"", "sha256:short", "size>0", here.Digest()},
	} {
		if got, err := r.Present(t.Context(), digests); err != nil || len(got) != 1 || !got[here.Digest()] {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	calls := fake.Calls("List")
	for _, digests := range [][]string{nil, {""}, {"size>0"}} {
		if got, err := r.Present(t.Context(), digests); len(got) != 0 || err != nil {
			t.Errorf("%q: %v, %v", digests, got, err)
		}
	}
	if got := fake.Calls("List"); got != calls {
		t.Errorf("%d calls without a digest", got-calls)
	}
	fake.Name = "cri-o"
	if _, err := r.Present(t.Context(), []string{here.Digest()}); kindOf(t, err) != cri.KindUnimplemented {
		t.Error(err)
	}
}

func TestIngests(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	if got, err := r.Ingests(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("idle: %v, %v", got, err)
	}
	fake.Receive(
		critest.Ingest{Ref: "layer-" + digestOf("b"), Offset: 5, Total: 10, Started: noon().Add(time.Minute), Updated: noon().Add(2 * time.Minute)},
		critest.Ingest{Ref: "layer-" + digestOf("a"), Total: 10, Started: noon(), Updated: noon()},
		critest.Ingest{Ref: "something else", Started: noon()},
	)
	got, err := r.Ingests(t.Context())
	want := []cri.Ingest{
		{Started: noon(), Updated: time.Unix(-62135596800, 0).UTC()},
		{Digest: digestOf("a"), Started: noon(), Updated: noon()},
		{Digest: digestOf("b"), Offset: 5, Started: noon().Add(time.Minute), Updated: noon().Add(2 * time.Minute)},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	config := fetched(`{"os":"linux"}`, "hub.test", "team/app", 0)
	layer := fetched("\x1f\x8blayer", "hub.test", "team/app", 0)
	older := fetched(manifest(t, config, layer.Digest()), "hub.test", "team/other,team/app", 1)
	newer := fetched(manifest(t, config, layer.Digest(), digestOf("c"), digestOf("c")), "hub.test", "team/app", 2)
	fake.Hold(config, layer, older, newer,
		fetched(manifest(t, config, digestOf("d")), "hub.test", "team/application", 3),
		fetched(manifest(t, config, digestOf("e")), "other.test", "team/app", 3),
		fetched(`{"config":{"Cmd":["x"]},"os":"linux"}`, "hub.test", "team/app", 3),
		fetched(`{"manifests":[]}`, "hub.test", "team/app", 3),
		fetched(`{"not closed`, "hub.test", "team/app", 3),
		fetched("", "hub.test", "team/app", 3),
	)
	got, err := r.Stored(t.Context(), "hub.test", "team/app")
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if !got[0].Fetched.Equal(newer.Fetched) || !got[1].Fetched.Equal(older.Fetched) {
		t.Errorf("got %+v", got)
	}
	want := []cri.StoredBlob{
		{Digest: config.Digest(), Size: int64(len(config.Data)), Present: true}, {Digest: layer.Digest(), Size: 100, Present: true},
		{Digest: digestOf("c"), Size: 100},
	}
	if !slices.Equal(got[0].Blobs, want) {
		t.Errorf("got %+v\nwant %+v", got[0].Blobs, want)
	}
	if with, err := r.Stored(t.Context(), "hub.test:5000", "team/app"); err != nil || len(with) != 2 {
		t.Errorf("containerd's label has no port: %+v, %v", with, err)
	}
	if got, err := r.Stored(t.Context(), "hub.test", "nobody"); len(got) != 0 || err != nil {
		t.Errorf("nothing fetched: %+v, %v", got, err)
	}
}

// Of a repository with many tags, the newest are read.
func TestStoredIsBounded(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	r := dial(t, fake.Socket)
	config := fetched(`{}`, "hub.test", "team/app", 0)
	for i := range 40 {
		fake.Hold(fetched(manifest(t, config, digestOf("a"))+strings.Repeat(" ", i+1), "hub.test", "team/app", i+1))
	}
	fake.Hold(fetched("{"+strings.Repeat(" ", 5<<20), "hub.test", "team/app", 50))
	got, err := r.Stored(t.Context(), "hub.test", "team/app")
	if err != nil || len(got) != 32 || !got[0].Fetched.Equal(noon().Add(40*time.Minute)) {
		t.Errorf("%d manifests, %v", len(got), err)
	}
}

// CRI-O has no content service, which is reported as KindUnimplemented.
func TestNoContentService(t *testing.T) {
	t.Parallel()
	fake := critest.New(t)
	fake.Name = "cri-o"
	r := dial(t, fake.Socket)
	if _, err := r.Ingests(t.Context()); kindOf(t, err) != cri.KindUnimplemented {
		t.Error(err)
	}
	if _, err := r.Stored(t.Context(), "hub.test", "team/app"); kindOf(t, err) != cri.KindUnimplemented {
		t.Error(err)
	}
}
