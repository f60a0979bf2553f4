package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// roomy is how much memory one hostile answer may take beside what there was, with
// garbage: several times what is kept of it.
const roomy = 48 << 20

// peak is by how much the heap grows at most while something runs, garbage
// included.
func peak(t *testing.T, run func()) uint64 {
	t.Helper()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	runtime.GC()
	base := read()
	done := make(chan struct{})
	var wg sync.WaitGroup
	var most uint64
	wg.Go(func() {
		for {
			most = max(most, read())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	run()
	close(done)
	wg.Wait()
	grown := max(most, base) - base
	t.Logf("the heap grew by %d MiB", grown>>20)
	return grown
}

// stuffed is a JSON text of nearly 4 MiB: as many entries as there is room for.
func stuffed(before, entry, after string) []byte {
	n := (4<<20 - len(before) - len(after)) / (len(entry) + 1)
	var b bytes.Buffer
	b.WriteString(before)
	b.WriteString(strings.TrimSuffix(strings.Repeat(entry+",", n), ","))
	b.WriteString(after)
	return b.Bytes()
}

// A manifest, an index or a config of millions of nothings is not decoded into
// millions of somethings.
func TestStuffedContent(t *testing.T) {
	config := `{"schemaVersion":2,"config":{},`
	for name, tc := range map[string]struct {
		mediaType string
		body      []byte
	}{
		"layers":     {ocispec.MediaTypeImageManifest, stuffed(config+`"layers":[`, "{}", "]}")},
		"manifests":  {ocispec.MediaTypeImageIndex, stuffed(`{"schemaVersion":2,"manifests":[`, "{}", "]}")},
		"urls":       {ocispec.MediaTypeImageManifest, stuffed(config+`"layers":[{"urls":[`, `""`, "]}]}")},
		"both cases": {ocispec.MediaTypeImageManifest, stuffed(config+`"LAYERS":[`, "{}", "]}")},
		"a digest":   {ocispec.MediaTypeImageManifest, stuffed(config+`"layers":[{"digest":"`, `aaaaaaaaaaaaaaa`, `"}]}`)},
		"features":   {ocispec.MediaTypeImageIndex, stuffed(`{"manifests":[{"platform":{"os.features":[`, `""`, "]}}]}")},
		"notes":      {ocispec.MediaTypeImageManifest, stuffed(config+`"layers":[],"annotations":{`, `"":""`, "}}")},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := holding(t, func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
				top = c.Manifest(tc.mediaType, tc.body)
				return top, top
			})
			refusesCheaply(t, s)
		})
	}
}

// refusesCheaply asserts that the image is not found, and that looking at it takes little
// memory.
func refusesCheaply(t *testing.T, s *registrytest.Server) {
	t.Helper()
	var a registry.Answer
	if got := peak(t, func() { a = inspect(t, s, ":1.0", registry.InspectOptions{}.Within(time.Minute)) }); got > roomy {
		t.Errorf("%d MiB for one answer of 4", got>>20)
	}
	if a.Found {
		t.Errorf("answer %+v", a)
	}
}

// The same of a config, which is only looked into where the manifest is fine.
func TestStuffedConfig(t *testing.T) {
	for name, body := range map[string][]byte{
		"diff_ids": stuffed(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[`, `""`, "]}}"),
		"history":  stuffed(`{"os":"linux","architecture":"amd64","history":[`, "{}", "]}"),
		"env":      stuffed(`{"os":"linux","architecture":"amd64","config":{"Env":[`, `""`, "]}}"),
		"labels":   stuffed(`{"os":"linux","architecture":"amd64","config":{"Labels":{`, `"":""`, "}}}"),
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := holding(t, func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
				top = c.Artifact(c.Blob(ocispec.MediaTypeImageConfig, body), c.Layer(1))
				return top, top
			})
			refusesCheaply(t, s)
		})
	}
}

// Many manifests at once wait for each other, and not one is blamed for it.
func TestManyLargeManifests(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
		top = c.Image(amd64(), c.Layer(1))
		body := strings.TrimSuffix(string(c.Body(top)), "}")
		var notes []string
		for n := range 1000 {
			notes = append(notes, fmt.Sprintf(`"note.%d":%q`, n, strings.Repeat("x", 4000)))
		}
		top = c.Manifest(ocispec.MediaTypeImageManifest, []byte(body+`,"annotations":{`+strings.Join(notes, ",")+"}}"))
		return top, top
	})
	opts := options(trusting(t, s))
	opts.Room = registry.NewRoom(nil)
	const patience = 5 * time.Minute
	opts.Timeouts = registry.Timeouts{DNS: patience, Connect: patience, TLS: patience, Response: patience, Total: patience}
	e := endpoint(t, opts, s.Host)
	name := ref(t, s.Host+"/team/app:1.0")
	answers := make([]registry.Answer, 24) // 64 take half a minute with the race detector
	if got := peak(t, func() {
		var wg sync.WaitGroup
		for n := range answers {
			wg.Go(func() {
				answers[n] = e.Inspect(t.Context(), name, nil, registry.InspectOptions{}.On(amd64()).Within(patience))
			})
		}
		wg.Wait()
	}); got > roomy {
		t.Errorf("%d MiB for %d answers of 4", got>>20, len(answers))
	}
	for _, a := range answers {
		if !a.Found {
			t.Errorf("answer %+v", a)
		}
	}
}

// tenantKey is the context key of a tenant.
type tenantKey struct{}

// oneEach lets one larger response of each tenant be read at a time.
type oneEach map[string]chan struct{}

// Enter implements registry.Turns.
func (o oneEach) Enter(ctx context.Context, _ string) (leave func(), err error) {
	turn := o[ctx.Value(tenantKey{}).(string)]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A tenant whose registries send large manifests slowly takes not all of the room for them.
func TestSlowLargeManifestsOfAnother(t *testing.T) {
	begun := make(chan struct{}, 2)
	s, _, _ := holding(t, func(c *registrytest.Content) (top, blamed ocispec.Descriptor) {
		top = c.Image(amd64(), c.Layer(1))
		for _, tag := range []string{"slow", "large"} {
			body := strings.TrimSuffix(string(c.Body(top)), "}") + `,"annotations":{"` + tag + `":"` + strings.Repeat("x", 4_000_000) + `"}}`
			d := c.Manifest(ocispec.MediaTypeImageManifest, []byte(body))
			c.Tag(tag, d)
			if tag == "slow" {
				c.Break(d, func(o *registrytest.Object) {
					o.Handler = func(w http.ResponseWriter, r *http.Request, body []byte) {
						w.Header().Set("Content-Length", strconv.Itoa(len(body)))
						_, _ = w.Write(body[:1])
						_ = http.NewResponseController(w).Flush()
						begun <- struct{}{}
						<-r.Context().Done()
					}
				})
			}
		}
		return top, top
	})
	const patience = 5 * time.Minute
	opts := options(trusting(t, s))
	opts.Room = registry.NewRoom(oneEach{"evil": make(chan struct{}, 1), "shop": make(chan struct{}, 1)})
	opts.Timeouts.Response = patience
	e := endpoint(t, opts, s.Host)
	ask := func(ctx context.Context, tenant, tag string) registry.Answer {
		ctx = context.WithValue(ctx, tenantKey{}, tenant)
		return e.Inspect(ctx, ref(t, s.Host+"/team/app:"+tag), nil, registry.InspectOptions{}.On(amd64()).Within(patience))
	}
	ctx, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range cap(begun) {
		wg.Go(func() { ask(ctx, "evil", "slow") })
		<-begun
	}
	if a := ask(t.Context(), "shop", "large"); !a.Found {
		t.Errorf("answer %+v", a)
	}
	giveUp()
	wg.Wait()
	if a := ask(t.Context(), "evil", "large"); !a.Found { // nothing is held anymore
		t.Errorf("answer %+v", a)
	}
	opts.Room.Fill()()
}

// Who comes after the deadline does not learn whether there is room.
func TestTooLateForRoom(t *testing.T) {
	room := registry.NewRoom(nil)
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for _, size := range []int64{1, 1 << 20} {
		if err := room.Take(late, size); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes of an empty room after the deadline: %v", size, err)
		}
	}
}

// An answer for which there is no room in time says nothing: neither that the
// image is there nor that anything is wrong. With room, the same questions are
// answered, and nothing is left of the answers.
func TestNoRoom(t *testing.T) {
	content := registrytest.NewContent(t)
	content.Tag("1.0", content.Image(amd64(), content.Layer(1)))
	s := registrytest.New(t, registrytest.Config{Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Content: content},
		{Name: "team/token", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
		{Name: "team/words", Tags: []string{"1.0"}, Status: 403, ErrorBody: `{"errors":[{"code":"PROJECTPOLICYVIOLATION"}]}`},
		{Name: "team/missing", Tags: []string{"other"}},
	}})
	opts := options(trusting(t, s))
	opts.Room = registry.NewRoom(nil)
	e := endpoint(t, opts, s.Host)
	inspected := registry.InspectOptions{}.On(amd64())
	probe := func(name string) func(context.Context, time.Duration) registry.Answer {
		return func(ctx context.Context, _ time.Duration) registry.Answer {
			return e.Probe(ctx, ref(t, s.Host+"/team/"+name+":1.0"), good())
		}
	}
	for name, tc := range map[string]struct {
		ask  func(context.Context, time.Duration) registry.Answer
		want registry.Fault // with room
	}{
		"manifest": {func(ctx context.Context, total time.Duration) registry.Answer {
			return e.Inspect(ctx, ref(t, s.Host+"/team/app:1.0"), nil, inspected.Within(total))
		}, ""},
		"replay": {func(ctx context.Context, total time.Duration) registry.Answer {
			return e.Replay(ctx, ref(t, s.Host+"/team/app:1.0"), nil, inspected.Within(total)).Answer
		}, ""},
		"token":   {probe("token"), ""},
		"words":   {probe("words"), registry.FaultPolicyBlocked},
		"missing": {probe("missing"), registry.FaultTagNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			free := opts.Room.Fill()
			var a registry.Answer
			for total := 200 * time.Millisecond; !errors.Is(a.Err, registry.ErrNoRoom); total *= 2 {
				if total > time.Minute { // less may not be enough to get to the answer
					t.Fatalf("answer %+v", a)
				}
				ctx, cancel := context.WithTimeout(t.Context(), total)
				a = tc.ask(ctx, total)
				cancel()
			}
			if checkErr(t, a); a.Found || a.Fault != "" {
				t.Errorf("without room: found %t, %q", a.Found, a.Fault)
			}
			free()
			if a = tc.ask(t.Context(), time.Minute); a.Found != (tc.want == "") || a.Fault != tc.want {
				t.Errorf("with room: %+v", a)
			}
		})
	}
	opts.Room.Fill()() // panics if anything is held
}
