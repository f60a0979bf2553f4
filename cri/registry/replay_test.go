package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// patient is as long as a slow machine may need.
func patient() registry.InspectOptions {
	return registry.InspectOptions{}.On(amd64()).Within(5 * time.Minute)
}

func replay(t *testing.T, s *registrytest.Server, want registry.InspectOptions) registry.Transfer {
	t.Helper()
	a := endpoint(t, options(trusting(t, s)), s.Host).Replay(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil, want.On(amd64()))
	checkTransfer(t, a)
	return a
}

// sound reports whether a piece was checked, at least in part, and is right.
func sound(p registry.Piece) bool { return p.Seen != "" && p.Fault == "" }

// tally counts the pieces with a fault, those not received before our deadline, and those
// not requested, layers beyond the 200th among them.
func tally(a registry.Transfer) (failed, unfinished, unasked int) {
	for _, p := range a.Pieces {
		switch {
		case p.Fault != "":
			failed++
		case p == (registry.Piece{}):
			unasked++
		case p.Seen == "":
			unfinished++
		}
	}
	return failed, unfinished, unasked + max(a.Layers+1-len(a.Pieces), 0)
}

// checkTransfer asserts what holds for every transfer.
func checkTransfer(t *testing.T, a registry.Transfer) {
	t.Helper()
	checkErr(t, a.Answer)
	for n, p := range a.Pieces {
		if p.Seen != "" && p.Fault != "" {
			t.Errorf("piece %d: %+v", n, p)
		}
	}
	if failed, unfinished, unasked := tally(a); a.Found && failed+unfinished > 0 || a.Whole() != (a.Found && unasked == 0) {
		t.Errorf("found %t, whole %t, failed %d, unfinished %d, unasked %d of %+v", a.Found, a.Whole(), failed, unfinished, unasked, a.Pieces)
	}
}

// big is an unpacked layer of so many bytes, of which none has the content of
// another size.
func big(c *registrytest.Content, size int) ocispec.Descriptor {
	body := make([]byte, size)
	copy(body[size-100:], strconv.Itoa(size))
	return c.Blob(ocispec.MediaTypeImageLayer, body)
}

// Whatever Inspect finds at its most thorough, Replay finds, and of what is
// sound it finds that it is.
func TestReplayFindsWhatInspectFinds(t *testing.T) {
	noGoroutinesLeft(t)
	for group, cases := range map[string][]inspected{
		"sound": soundImages(), "manifest": unsoundManifests(), "child": unsoundChildren(), "blob": unsoundBlobs(t),
	} {
		for _, tc := range cases {
			t.Run(group+"/"+tc.name, func(t *testing.T) {
				s, _, _ := holding(t, tc.make)
				thorough := tc.opts
				thorough.Thorough = true
				want := inspect(t, s, ":1.0", thorough.Within(5*time.Minute))
				a := replay(t, s, tc.opts.Within(5*time.Minute))
				if a.Found != want.Found || a.Fault != want.Fault || a.Phase != want.Phase || a.Content.Blob != want.Content.Blob {
					t.Errorf("replay: found %t, %q in %q of %q; inspect: %t, %q in %q of %q", a.Found, a.Fault, a.Phase, a.Content.Blob, want.Found, want.Fault, want.Phase, want.Content.Blob)
				}
				if a.Content.Artifact != want.Content.Artifact || a.Content.OtherPlatform != want.Content.OtherPlatform || !slices.Equal(a.Content.Platforms, want.Content.Platforms) || a.Endpoint != "https://"+s.Host {
					t.Errorf("replay: %+v; inspect: %+v", a.Answer, want)
				}
			})
		}
	}
}

// What a replay costs: one request each for manifest, index and config, one for a
// small layer and two for a large one, of which a kilobyte comes.
func TestReplayCost(t *testing.T) {
	var small, large ocispec.Descriptor
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		small, large = big(c, 64<<10), big(c, 64<<10+1)
		return c.Index(c.Image(arm64(), c.Layer(1)), c.Image(amd64(), small, large, small)), b
	})
	a := replay(t, s, patient())
	requests := s.Requests()
	if !a.Found || a.Content.Looked != 3 || len(requests) != 6 {
		t.Fatalf("answer %+v, requests %q", a, s.Lines())
	}
	config := a.Content.Parts[0]
	if want := []registry.Part{config, {small.Digest.String(), small.Size}, {large.Digest.String(), large.Size}}; !slices.Equal(a.Content.Parts, want) {
		t.Errorf("parts %+v, want %+v", a.Content.Parts, want)
	}
	if a.Layers != 2 || a.Content.Compressed != small.Size+large.Size+config.Size || !a.Whole() {
		t.Errorf("%d layers, %d bytes", a.Layers, a.Content.Compressed)
	}
	var ranges []string
	for _, r := range requests[3:] {
		ranges = append(ranges, strings.TrimPrefix(r.Path, "/v2/team/app/blobs/")+" "+r.Header.Get("Range"))
	}
	slices.Sort(ranges)
	want := []string{small.Digest.String() + " ", large.Digest.String() + " bytes=0-511", large.Digest.String() + " bytes=65025-65536"}
	slices.Sort(want)
	if !slices.Equal(ranges, want) {
		t.Errorf("requests %q, want %q", ranges, want)
	}
	for n, want := range []registry.Piece{
		{Seen: registry.SeenWhole, Received: config.Size},
		{Seen: registry.SeenWhole, Received: small.Size},
		{Seen: registry.SeenEnds, Received: 1024},
	} {
		p := a.Pieces[n]
		if want.Took = p.Took; p != want || p.Took <= 0 {
			t.Errorf("piece %+v, want %+v", p, want)
		}
	}
	if a.Durations[registry.PhaseBlob] <= 0 || a.Durations[registry.PhaseManifest] <= 0 || a.TLS.Certificate == nil || len(a.Connection.Addresses) == 0 {
		t.Errorf("answer %+v", a.Answer)
	}
}

// sending is a way of sending a large layer.
type sending struct {
	name     string
	size     int // of the layer; 0 is 100 kB
	change   func(*registrytest.Object)
	fault    registry.Fault
	status   int
	seen     registry.Seen
	requests int // for the layer
}

// part answers with a part, whatever is asked for.
func part(contentRange string, body []byte) func(*registrytest.Object) {
	return func(o *registrytest.Object) {
		o.Handler = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
		}
	}
}

// ending answers requests for the end in another way.
func ending(answer func(w http.ResponseWriter, r *http.Request, body []byte)) func(*registrytest.Object) {
	return func(o *registrytest.Object) {
		o.Handler = func(w http.ResponseWriter, r *http.Request, body []byte) {
			if r.Header.Get("Range") != "bytes=0-511" {
				answer(w, r, body)
				return
			}
			part(fmt.Sprintf("bytes 0-511/%d", len(body)), body[:512])(o)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-511/%d", len(body)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body[:512])
		}
	}
}

func beginnings() []sending {
	corrupt, page := registry.FaultContentCorrupt, registry.FaultWebPage
	filled := func(text string) []byte { return []byte(text + strings.Repeat(".", 512-len(text))) }
	return []sending{
		{name: "as it should be", change: func(*registrytest.Object) {}, seen: registry.SeenEnds, requests: 2},
		{name: "ranges ignored, up to a megabyte", size: 1 << 20, change: func(o *registrytest.Object) { o.NoRange = true }, seen: registry.SeenWhole, requests: 1},
		{name: "ranges ignored, more", size: 5 << 20, change: func(o *registrytest.Object) { o.NoRange = true }, seen: registry.SeenFirst, requests: 1},
		{name: "ranges refused", size: 5 << 20, change: func(o *registrytest.Object) { o.Refuse = true }, seen: registry.SeenFirst, requests: 2},
		{name: "ranges ignored, other bytes", change: func(o *registrytest.Object) {
			o.NoRange, o.Sent = true, append([]byte("x"), o.Body[1:]...)
		}, fault: corrupt, status: 200, requests: 1},
		{name: "ranges ignored, cut off", change: func(o *registrytest.Object) { o.NoRange, o.Handler = true, cut }, fault: corrupt, status: 200, requests: 1},
		{name: "ranges ignored, another size", size: 5 << 20, change: func(o *registrytest.Object) { o.NoRange, o.Sent = true, o.Body[1:] }, fault: corrupt, status: 200, requests: 1},
		{name: "shorter", change: func(o *registrytest.Object) { o.Sent = o.Body[:len(o.Body)-1] }, fault: corrupt, status: 206, requests: 1},
		{name: "longer", change: func(o *registrytest.Object) { o.Sent = append(slices.Clone(o.Body), 0) }, fault: corrupt, status: 206, requests: 1},
		{name: "a page", change: part("bytes 0-511/102400", filled("<!doctype html><p>")), fault: page, status: 206, requests: 1},
		{name: "a page by its type", change: func(o *registrytest.Object) { o.Type = "text/html" }, fault: page, status: 206, requests: 1},
		{name: "the beginning breaks off", change: part("bytes 0-511/102400", filled("")[:100]), fault: corrupt, status: 206, requests: 1},
		{name: "fewer bytes than asked for", change: part("bytes 0-99/102400", make([]byte, 100)), seen: registry.SeenFirst, requests: 2},
		{name: "a part that is not said", change: func(o *registrytest.Object) {
			o.Handler = func(w http.ResponseWriter, r *http.Request, body []byte) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusPartialContent)
				}
				_, _ = w.Write(body)
			}
		}, seen: registry.SeenWhole, requests: 2},
		{name: "forbidden", change: func(o *registrytest.Object) { o.Status = 403 }, fault: registry.FaultForbidden, status: 403, requests: 1},
		{name: "missing", change: func(o *registrytest.Object) { o.Status = 404 }, fault: registry.FaultContentMissing, status: 404, requests: 1},
		{name: "broken", change: func(o *registrytest.Object) { o.Status = 500 }, fault: registry.FaultServerError, status: 500, requests: 1},
		{name: "limited", change: func(o *registrytest.Object) { o.Status = 429 }, fault: registry.FaultRateLimited, status: 429, requests: 1},
		{name: "an empty answer", change: func(o *registrytest.Object) { o.Status = 204 }, fault: registry.FaultUnexpectedAnswer, status: 204, requests: 1},
	}
}

func cut(w http.ResponseWriter, _ *http.Request, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body[:len(body)-1])
}

func endings() []sending {
	corrupt := registry.FaultContentCorrupt
	refused := func(contentRange string) func(*registrytest.Object) {
		return ending(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		})
	}
	status := func(code int) func(*registrytest.Object) {
		return ending(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(code) })
	}
	parted := func(contentRange string, size int) func(*registrytest.Object) {
		return ending(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, size))
		})
	}
	first := registry.SeenFirst
	return []sending{
		{name: "there is no such part, by the size", change: refused("bytes */51200"), fault: corrupt, status: 416, requests: 2},
		{name: "there is no such part, for no reason", change: refused(""), seen: first, requests: 2},
		{name: "there is no such part of this size", change: refused("bytes */102400"), seen: first, requests: 2},
		{name: "the whole", change: ending(func(w http.ResponseWriter, _ *http.Request, body []byte) { _, _ = w.Write(body) }), seen: first, requests: 2},
		{name: "the end breaks off", change: parted("bytes 101888-102399/102400", 511), fault: corrupt, status: 206, requests: 2},
		{name: "the end does not come", change: parted("bytes 101888-102399/102400", 0), fault: corrupt, status: 206, requests: 2},
		{name: "fewer bytes than asked for", change: parted("bytes 101888-101999/102400", 112), seen: first, requests: 2},
		{name: "another part", change: parted("bytes 0-511/102400", 512), seen: first, requests: 2},
		{name: "a part without bounds", change: parted("bytes", 512), seen: first, requests: 2},
		{name: "another size", change: parted("bytes 101888-102399/102401", 512), fault: corrupt, status: 206, requests: 2},
		{name: "forbidden", change: status(403), fault: registry.FaultForbidden, status: 403, requests: 2},
		{name: "missing", change: status(404), fault: registry.FaultContentMissing, status: 404, requests: 2},
		{name: "broken", change: status(503), fault: registry.FaultServerError, status: 503, requests: 2},
	}
}

func TestReplayOfALargeLayer(t *testing.T) {
	noGoroutinesLeft(t)
	for group, cases := range map[string][]sending{"beginning": beginnings(), "ending": endings()} {
		for _, tc := range cases {
			t.Run(group+"/"+tc.name, func(t *testing.T) {
				if tc.size == 0 {
					tc.size = 100 << 10
				}
				s, _, layer := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
					b = big(c, tc.size)
					c.Break(b, tc.change)
					return c.Image(amd64(), b), b
				})
				a := replay(t, s, patient())
				p := a.Pieces[1]
				if p.Fault != tc.fault || p.Seen != tc.seen || a.Fault != tc.fault || a.Found != (tc.fault == "") {
					t.Errorf("fault %q, seen %q; want %+v; found %t with %q", p.Fault, p.Seen, tc, a.Found, a.Fault)
				}
				if requests := len(s.Requests()) - 2; requests != tc.requests {
					t.Errorf("%d requests for the layer, want %d", requests, tc.requests)
				}
				if tc.fault != "" && (a.Content.Blob != layer.Digest.String() || a.Status != tc.status || a.Content.Looked != 2) {
					t.Errorf("answer %+v", a.Answer)
				}
			})
		}
	}
}

// A type that says packed is held against the first bytes.
func TestReplayLooksAtTheMark(t *testing.T) {
	for text, want := range map[string]registry.Fault{"\x1f\x8b\x08": "", "\x28\xb5\x2f\xfd": "", "junk": registry.FaultContentCorrupt} {
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			return c.Image(amd64(), c.Blob(ocispec.MediaTypeImageLayerGzip, []byte(text+strings.Repeat("?", 100<<10)))), b
		})
		if a := replay(t, s, patient()); a.Fault != want {
			t.Errorf("%q: fault %q, want %q", text, a.Fault, want)
		}
	}
}

// Of several that fail the first of the manifest decides, the others count.
func TestReplayFirstFailureDecides(t *testing.T) {
	var blamed ocispec.Descriptor
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 9 {
			layers = append(layers, c.Layer(n))
		}
		blamed = layers[3]
		c.Break(layers[3], func(o *registrytest.Object) { o.Status = 403 })
		c.Break(layers[4], func(o *registrytest.Object) { o.Status = 500 })
		c.Break(layers[8], func(o *registrytest.Object) { o.Sent = []byte("x") })
		return c.Image(amd64(), layers...), b
	})
	a := replay(t, s, patient())
	check(t, a.Answer, registry.FaultForbidden, registry.PhaseBlob)
	if failed, _, unasked := tally(a); failed != 3 || unasked != 0 || a.Content.Looked != 10 || a.Content.Blob != blamed.Digest.String() || a.Status != 403 {
		t.Errorf("failed %d, answer %+v", failed, a.Answer)
	}
	for n, want := range map[int]registry.Fault{4: registry.FaultForbidden, 5: registry.FaultServerError, 9: registry.FaultContentCorrupt} {
		if a.Pieces[n].Fault != want {
			t.Errorf("piece %d: %+v, want %s", n, a.Pieces[n], want)
		}
	}
	named := patient()
	named.Blobs = []string{a.Content.Parts[5].Digest}
	if a := replay(t, s, named); a.Fault != registry.FaultServerError || a.Pieces[1].Fault != a.Fault {
		t.Errorf("with a named blob: %+v", a.Answer)
	}
}

// Who asks to be left alone is, and who fails for ever is not asked for ever.
func TestReplayStops(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter)
		most   int // requests for layers
		wait   time.Duration
	}{
		"a limit": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }, 3, 0},
		"a limit with a time": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 3, 30 * time.Second},
		"an error with a time": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 3, 7 * time.Second},
		"errors": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
				var layers []ocispec.Descriptor
				for n := range 40 {
					layers = append(layers, c.Layer(n))
					c.Break(layers[n], func(o *registrytest.Object) {
						o.Handler = func(w http.ResponseWriter, _ *http.Request, _ []byte) { tc.answer(w) }
					})
				}
				return c.Image(amd64(), layers...), b
			})
			a := replay(t, s, patient())
			asked := len(s.Requests()) - 2
			if failed, _, unasked := tally(a); asked > tc.most || failed != asked || unasked != 40-asked || a.Response.RetryAfter != tc.wait || a.Found {
				t.Errorf("%d requests, want at most %d; %d failed, %d unasked, to wait %s", asked, tc.most, failed, unasked, a.Response.RetryAfter)
			}
		})
	}
}

// No more than three are asked for at a time, and three are.
func TestReplaySideBySide(t *testing.T) {
	var now, most atomic.Int32
	all := make(chan struct{})
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 12 {
			layers = append(layers, c.Layer(n))
			c.Break(layers[n], func(o *registrytest.Object) {
				o.Handler = func(w http.ResponseWriter, _ *http.Request, body []byte) {
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
						if n == 3 {
							close(all)
						}
					}
					<-all // which hangs if there are never three
					now.Add(-1)
					_, _ = w.Write(body)
				}
			})
		}
		return c.Image(amd64(), layers...), b
	})
	if a := replay(t, s, patient()); !a.Found || most.Load() != 3 {
		t.Errorf("found %t, at most %d at a time", a.Found, most.Load())
	}
}

// An image with more layers than any runtime takes is looked at in part, and its
// size does not overflow.
func TestReplayBounds(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 230 {
			layers = append(layers, c.Layer(n))
		}
		return c.Image(amd64(), layers...), b
	})
	if a := replay(t, s, patient()); !a.Found || a.Layers != 230 || len(a.Pieces) != 201 || len(a.Content.Parts) != 201 || a.Whole() || len(s.Requests()) != 202 {
		t.Errorf("found %t, %d layers, %d pieces, whole %t, %d requests", a.Found, a.Layers, len(a.Pieces), a.Whole(), len(s.Requests()))
	}
	s, _, _ = holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		one, two := c.Layer(1), c.Layer(2)
		one.Size, two.Size = math.MaxInt64, math.MaxInt64
		return c.Image(amd64(), one, two), b
	})
	if a := replay(t, s, patient()); a.Fault != registry.FaultContentCorrupt || a.Content.Compressed != math.MaxInt64 {
		t.Errorf("answer %+v, %d bytes", a.Answer, a.Content.Compressed)
	}
	for name, change := range map[string]func(*ocispec.Descriptor){
		"digest": func(d *ocispec.Descriptor) { d.Digest = "sha256:../../etc" },
		"size":   func(d *ocispec.Descriptor) { d.Size = -1 },
	} {
		s, _, _ = holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			one, bad := c.Layer(1), c.Layer(2)
			change(&bad)
			return c.Artifact(c.Config(amd64(), one.Digest, bad.Digest), one, bad), b
		})
		if a := replay(t, s, patient()); a.Fault != registry.FaultUnsupportedFormat || len(s.Requests()) != 2 {
			t.Errorf("a wrong %s: fault %q, requests %q", name, a.Fault, s.Lines())
		}
	}
}

// Layers with addresses of their own are counted, and not asked for.
func TestReplayForeignLayers(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		layer, foreign := c.Layer(1), c.Layer(2)
		foreign.URLs = []string{"https://169.254.169.254/"}
		return c.Image(amd64(), layer, foreign), b
	})
	if a := replay(t, s, patient()); !a.Found || a.Layers != 1 || len(s.Requests()) != 3 {
		t.Errorf("answer %+v", a)
	}
}

// Thorough verifies what the ends do not show.
func TestReplayThorough(t *testing.T) {
	s, _, layer := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		b = big(c, 100<<10)
		c.Break(b, func(o *registrytest.Object) { o.Sent = slices.Clone(o.Body); o.Sent[50<<10] = 1 })
		return c.Image(amd64(), c.Layer(1), b), b
	})
	if a := replay(t, s, patient()); !a.Found || a.Pieces[2].Seen != registry.SeenEnds {
		t.Errorf("by its ends: %+v", a)
	}
	before := len(s.Requests())
	thorough := patient()
	thorough.Thorough = true
	a := replay(t, s, thorough)
	check(t, a.Answer, registry.FaultContentCorrupt, registry.PhaseBlob)
	if failed, _, _ := tally(a); a.Content.Blob != layer.Digest.String() || failed != 1 || a.Pieces[2].Fault != a.Fault || len(s.Requests())-before != 6 {
		t.Errorf("thorough: %+v, requests %q", a, s.Lines()[before:])
	}
}

// Blobs that are elsewhere are asked for there, without the credential, and with
// one token for all lanes.
func TestReplayRedirected(t *testing.T) {
	ca := catest.New(t)
	there := registrytest.NewContent(t)
	cdn := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "cdn", Content: there}}})
	here := registrytest.NewContent(t)
	var layers []ocispec.Descriptor
	for n := range 6 {
		layers = append(layers, big(here, 100<<10+n))
		here.Break(layers[n], func(o *registrytest.Object) {
			there.Blob("", o.Body)
			o.Location = "https://" + cdn.Host + "/v2/cdn/blobs/" + layers[n].Digest.String() + "?signature=" + secret
		})
	}
	there.Break(layers[4], func(o *registrytest.Object) { o.Status = 403 })
	here.Tag("1.0", here.Image(amd64(), layers...))
	s := registrytest.New(t, registrytest.Config{CA: ca, Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Content: here, Auth: registrytest.Bearer},
	}})
	a := endpoint(t, options(trusting(t, s)), s.Host).Replay(t.Context(), ref(t, s.Host+"/team/app:1.0"), good(), patient())
	checkTransfer(t, a)
	check(t, a.Answer, registry.FaultForbidden, registry.PhaseBlob)
	if a.Endpoint != "https://"+cdn.Host || a.Redirects.Via != "https://"+s.Host || a.Content.Blob != layers[4].Digest.String() || !a.Auth.CredentialSent {
		t.Errorf("answer %+v", a.Answer)
	}
	for n, p := range a.Pieces[1:] {
		if sound(p) == (n == 4) {
			t.Errorf("piece %+v", p)
		}
	}
	for _, r := range cdn.Requests() {
		if r.Auth != "" {
			t.Errorf("the other place got a credential: %+v", r)
		}
	}
	if got := strings.Count(strings.Join(s.Lines(), "\n"), "POST /token"); got != 1 {
		t.Errorf("%d tokens were asked for: %q", got, s.Lines())
	}
}

// A place that we do not talk to is not talked to for a layer either.
func TestReplayRefusesMetadata(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		layers := []ocispec.Descriptor{c.Layer(1), c.Layer(2), c.Layer(3)}
		c.Break(layers[2], func(o *registrytest.Object) { o.Location = "http://169.254.169.254/latest" })
		return c.Image(amd64(), layers...), b
	})
	a := replay(t, s, patient())
	check(t, a.Answer, registry.FaultAddressForbidden, registry.PhaseBlob)
	if failed, _, _ := tally(a); !errors.Is(a.Err, registry.ErrAddressForbidden) || a.Endpoint != "http://169.254.169.254" || failed != 1 {
		t.Errorf("answer %+v, piece %+v", a.Answer, a.Pieces[3])
	}
}

// Layers that come too slowly for us are neither good nor bad, and do not keep us
// from the others, though there is one in each lane.
func TestReplayOfASlowLayer(t *testing.T) {
	noGoroutinesLeft(t)
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		slow := []ocispec.Descriptor{c.Layer(1000), c.Layer(1001), c.Layer(1002)}
		for _, d := range slow {
			c.Break(d, func(o *registrytest.Object) { o.Stall = true })
		}
		return c.Image(amd64(), append(slow, c.Layer(1), c.Layer(2), c.Layer(3))...), b
	})
	var a registry.Transfer
	// A slow machine needs longer to come to it.
	for total := 600 * time.Millisecond; a.Content.Looked != 4 && total < 2*time.Minute; total *= 2 {
		a = replay(t, s, registry.InspectOptions{}.Within(total))
	}
	if failed, unfinished, unasked := tally(a); a.Found || a.Fault != "" || unfinished != 3 || failed+unasked != 0 || a.Content.Looked != 4 || !errors.Is(a.Err, context.DeadlineExceeded) {
		t.Errorf("answer %+v", a)
	}
	if p := a.Pieces[1]; p.Received == 0 || p.Took <= 0 || p.Fault != "" || sound(p) {
		t.Errorf("piece %+v", p)
	}
}

// What there is no time for is not asked for, and that is no fault.
func TestReplayDeadline(t *testing.T) {
	noGoroutinesLeft(t)
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 30 {
			layers = append(layers, c.Layer(100+n))
			c.Break(layers[n], func(o *registrytest.Object) { o.Stall = true })
		}
		return c.Image(amd64(), layers...), b
	})
	var a registry.Transfer
	var failed, unfinished, unasked int
	for total := 600 * time.Millisecond; unfinished == 0 && total < 2*time.Minute; total *= 2 {
		a = replay(t, s, registry.InspectOptions{}.Within(total))
		failed, unfinished, unasked = tally(a)
	}
	if a.Found || a.Fault != "" || failed != 0 || unfinished+unasked != 30 || unasked == 0 || !errors.Is(a.Err, context.DeadlineExceeded) {
		t.Errorf("answer %+v, %d unfinished, %d unasked", a.Answer, unfinished, unasked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := endpoint(t, options(trusting(t, s)), s.Host).Replay(ctx, ref(t, s.Host+"/team/app:1.0"), nil, patient())
	if gone.Found || gone.Fault != "" || !errors.Is(gone.Err, context.Canceled) || len(gone.Pieces) != 0 {
		t.Errorf("given up: %+v", gone)
	}
}

// Where only our time keeps us from asking on, nothing is said to be found.
func TestReplayWithoutTimeForAll(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 200 {
			layers = append(layers, c.Layer(n))
			c.Break(layers[n], func(o *registrytest.Object) {
				o.Handler = func(w http.ResponseWriter, _ *http.Request, body []byte) {
					time.Sleep(50 * time.Millisecond) // 200 of them, three at a time, are more than 3 s
					_, _ = w.Write(body)
				}
			})
		}
		return c.Image(amd64(), layers...), b
	})
	var a registry.Transfer
	for total := 800 * time.Millisecond; a.Content.Looked < 2 && total < 3*time.Second; total *= 2 {
		a = replay(t, s, registry.InspectOptions{}.Within(total))
	}
	if _, unfinished, unasked := tally(a); a.Found || a.Fault != "" || !errors.Is(a.Err, context.DeadlineExceeded) || unasked+unfinished+a.Content.Looked != 201 && a.Layers > 0 && a.Content.Looked > 0 {
		t.Errorf("answer %+v, %d unasked, %d unfinished", a.Answer, unasked, unfinished)
	}
}

// Of servers without ranges no more than 32 MiB are downloaded.
func TestReplayDownloadsLittle(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		var layers []ocispec.Descriptor
		for n := range 40 {
			layers = append(layers, big(c, 1<<20-n))
			c.Break(layers[n], func(o *registrytest.Object) { o.NoRange = true })
		}
		return c.Image(amd64(), layers...), b
	})
	a := replay(t, s, patient())
	seen := map[registry.Seen]int{}
	for _, p := range a.Pieces[1:] {
		seen[p.Seen]++
	}
	if !a.Found || seen[registry.SeenWhole] != 32 || seen[registry.SeenFirst] != 8 || len(s.Requests()) != 42 {
		t.Errorf("found %t, seen %v, %d requests", a.Found, seen, len(s.Requests()))
	}
}

// The certificate is that of the place that is to blame, whichever lane was there.
func TestReplayBlamesTheCertificate(t *testing.T) {
	stranger := catest.New(t)
	leaf := stranger.Issue(catest.Request{Names: []string{"stranger.test", registrytest.Name}})
	cdn := registrytest.New(t, registrytest.Config{CA: stranger, Certificate: leaf})
	for n := range 3 { // of which each meets another lane, mostly
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			layers := []ocispec.Descriptor{c.Layer(1), c.Layer(2), c.Layer(3)}
			c.Break(layers[n], func(o *registrytest.Object) { o.Location = "https://" + cdn.Host + "/v2/cdn/blobs/x" })
			return c.Image(amd64(), layers...), b
		})
		a := replay(t, s, patient())
		check(t, a.Answer, registry.FaultTLSUntrusted, registry.PhaseBlob)
		if a.TLS.Certificate == nil || !slices.Contains(a.TLS.Certificate.Names, "stranger.test") || a.Endpoint != "https://"+cdn.Host || a.Content.Blob != a.Content.Parts[n+1].Digest {
			t.Errorf("certificate %+v, piece %+v", a.TLS.Certificate, a.Pieces[n+1])
		}
	}
}

// What is wrong with the config ends the replay; what it says is no fault of the
// config.
func TestReplayConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*registrytest.Object)
		want   registry.Fault
	}{
		"missing":     {func(o *registrytest.Object) { o.Status = 404 }, registry.FaultContentMissing},
		"other bytes": {func(o *registrytest.Object) { o.Sent = []byte("{}") }, registry.FaultContentCorrupt},
		"limited":     {func(o *registrytest.Object) { o.Status = 429 }, registry.FaultRateLimited},
	} {
		s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
			layer := c.Layer(1)
			a = c.Image(amd64(), layer)
			c.Break(c.Config(amd64(), c.Unpacked(layer)), tc.change)
			return a, b
		})
		a := replay(t, s, patient())
		if failed, _, unasked := tally(a); a.Fault != tc.want || a.Pieces[0].Fault != tc.want || failed != 1 || unasked != 1 || a.Layers != 1 || a.Content.Compressed == 0 || len(s.Requests()) != 2 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		d := c.Image(arm64(), c.Layer(1))
		d.Platform = nil
		return c.Index(d), b
	})
	a := replay(t, s, patient())
	if failed, _, unasked := tally(a); a.Fault != registry.FaultPlatformMismatch || failed != 0 || !sound(a.Pieces[0]) || unasked != 1 {
		t.Errorf("another platform: %+v", a)
	}
}

// Two replays of one endpoint do not come into each other's way.
func TestReplaysAtATime(t *testing.T) {
	s, _, _ := holding(t, func(c *registrytest.Content) (a, b ocispec.Descriptor) {
		return c.Image(amd64(), c.Layer(1), c.Layer(2), big(c, 100<<10)), b
	})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if a := e.Replay(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil, patient()); !a.Found {
				t.Errorf("answer %+v", a)
			}
		})
	}
	wg.Wait()
}
