package registry

import (
	"cmp"
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/credential"
)

const (
	// maxLayers is the maximum number of layers that Replay checks. Docker creates at
	// most 127, and overlayfs supports 500.
	maxLayers = 200
	// lanes is the number of layers checked concurrently, as many as containerd fetches
	// (max_concurrent_downloads).
	lanes = 3
	// replayTotal is the time limit of Replay; one blob may take a third of it.
	replayTotal = 30 * time.Second
	// maxFailures is the number of failures after which a replay ends.
	maxFailures = 8
)

// Transfer is the result of Replay. Its Answer is about the whole: Found means that everything
// checked is right; otherwise it is the answer for the first failed blob in the order of Pieces,
// or that of our own deadline.
type Transfer struct {
	Answer
	// Layers is the number of distinct layers that the runtime would fetch from this
	// endpoint, which has none with their own URLs; 0 if the manifest is unknown.
	Layers int
	// Pieces say what was checked of the blobs in Content.Parts, in the same order: the
	// config, those in InspectOptions.Blobs, the others as in the manifest.
	Pieces []Piece
}

// Whole reports whether the whole image was checked, without a layer beyond the 200th, and
// is right.
func (t Transfer) Whole() bool { return t.Found && t.Layers < len(t.Pieces) }

// Seen is how much of a blob was checked.
type Seen string

// The amounts. "" is nothing or nothing conclusive.
const (
	// SeenFirst: the size, if the server sent it, and the first bytes; this is all for a
	// large blob at a server without ranges.
	SeenFirst Seen = "first"
	// SeenEnds: the first and the last bytes.
	SeenEnds Seen = "ends"
	// SeenWhole: all of it, with the right digest.
	SeenWhole Seen = "whole"
)

// Piece is what was checked of one blob of an image. The zero value is one that was not
// requested.
type Piece struct {
	Seen Seen
	// Fault is what is wrong; "" if nothing is or it is unknown.
	Fault Fault
	// Received is the number of bytes received, and Took the duration.
	Received int64
	Took     time.Duration
}

// Replay makes the requests of a pull without storing anything: the whole manifest and config,
// verified as in Inspect, and the first and the last bytes of up to 200 layers, three at a time.
// Call it for each endpoint and credential in the runtime's order, after Probe has found the
// manifest.
//
// It takes one request for the manifest, one more for an index, one for the config, two for each
// layer, or one for a layer of up to 64 KiB, which is verified; a challenge takes as many as in
// Probe. It downloads at most 1 KiB of a larger layer. A server that ignores ranges gets one
// request for each layer, of which up to 1 MiB is read: smaller layers are verified, up to 32
// MiB in total; of the others only the size and the first bytes are checked. Thorough adds the
// same as in Inspect.
//
// It stops when a server asks clients to wait (status 429 or Retry-After), after eight failures,
// and after 30 s, of which one blob takes at most ten. Pieces that were not requested prove
// nothing. As in Inspect, our own deadline is no fault of the registry.
func (e Endpoint) Replay(ctx context.Context, ref reference.Named, cred *credential.Credential, want InspectOptions) Transfer {
	total := cmp.Or(want.total, replayTotal)
	ctx, cancel := context.WithTimeout(quiet(ctx), total)
	defer cancel()
	r := &replay{inspection: newInspection(newTurns(ctx, e, ref, cred, want), want), left: maxDownload}
	defer r.turns.close()
	r.ends, _ = ctx.Deadline()
	r.rest = total / 16
	r.run(ctx, r.contents)
	r.transfer.Answer = r.finish()
	if r.blamed != nil {
		r.blamed.fill(&r.transfer.Answer)
	}
	return r.transfer
}

// replay is one running Replay.
type replay struct {
	*inspection
	transfer Transfer
	layers   []ocispec.Descriptor
	blamed   *verdict // the decisive one

	mu       sync.Mutex
	next     int  // of layers
	stopped  bool // no more requests
	failed   int
	left     int64     // bytes left for downloads from servers without ranges
	verdicts []verdict // by layer
}

// verdict is the result of checking one layer.
type verdict struct {
	flaw
	asked bool
	// answer, proxy and cert are of the lane that found the flaw.
	answer Answer
	source int
	missed []Missed
	proxy  string
	cert   *x509.Certificate
}

// fill copies what only the lane knows.
func (v *verdict) fill(a *Answer) {
	a.Proxy.Address = v.proxy
	switch {
	case v.fault == FaultProxyFailed:
		a.TLS.Certificate = nil
	case v.cert != nil:
		a.TLS.Certificate = describe(v.cert)
	}
}

// contents checks the blobs of a manifest.
func (r *replay) contents(ctx context.Context, m ocispec.Manifest) flaw {
	r.plan(m)
	if f := r.config(ctx, m); f.found() {
		return f
	}
	if slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return d.Digest.Validate() != nil || d.Size < 0 }) {
		return flaw{fault: FaultUnsupportedFormat, status: http.StatusOK}
	}
	r.lookAtLayers(ctx)
	if f := r.decide(); f.found() || !r.want.Thorough {
		return f
	}
	return r.verifyMore(ctx)
}

// verifyMore downloads layers that were not completely checked.
func (r *replay) verifyMore(ctx context.Context) flaw {
	f := r.download(ctx, r.unverified())
	for n, d := range r.layers {
		if p := &r.transfer.Pieces[n+1]; f.fault != "" && r.answer.Content.Blob == d.Digest.String() {
			p.Seen, p.Fault = "", f.fault
		}
	}
	return f
}

// plan lists the pieces to check.
func (r *replay) plan(m ocispec.Manifest) {
	t := &r.transfer
	r.layers = r.order(m)
	t.Layers = len(r.layers)
	r.layers = r.layers[:min(len(r.layers), maxLayers)]
	t.Pieces = make([]Piece, 1+len(r.layers))
	r.verdicts = make([]verdict, len(r.layers))
}

// config checks the config.
func (r *replay) config(ctx context.Context, m ocispec.Manifest) flaw {
	p, start := &r.transfer.Pieces[0], time.Now()
	f := r.described(ctx, m)
	p.Took, p.Received = time.Since(start), r.received
	if r.blames(f, m.Config) {
		p.Fault = f.fault
		return f
	}
	p.Seen = SeenWhole
	if m.Config.Size > maxManifest {
		p.Seen = SeenFirst
	}
	return f
}

// blames reports whether a flaw is one of the config blob, not of its content.
func (r *replay) blames(f flaw, config ocispec.Descriptor) bool {
	return f.found() && (f.unfinished() || r.answer.Content.Blob != "" || config.Digest.Validate() != nil || config.Size < 0)
}

// lookAtLayers checks all layers, a few concurrently. The first lane reuses the existing
// connection.
func (r *replay) lookAtLayers(ctx context.Context) {
	base := r.answers()
	var wg sync.WaitGroup
	for n, l := range r.lanes(ctx, min(lanes, len(r.layers))) {
		wg.Go(func() {
			if n > 0 {
				defer func() {
					l.turns.close()
					for _, one := range l.turns.all {
						r.notes.joins(one.notes)
					}
				}()
			}
			for k, ok := r.take(); ok; k, ok = r.take() {
				l.restore(base)
				r.done(k, l.lookAt(ctx, r.layers[k], &r.transfer.Pieces[k+1], r.spend))
			}
		})
	}
	wg.Wait()
	r.restore(base)
	for k, v := range r.verdicts {
		if v.asked && !v.unfinished() {
			r.looked[r.layers[k].Digest] = true
		}
	}
}

// answers are those of all sources, with what is known of the image.
func (i *inspection) answers() []Answer {
	out := make([]Answer, len(i.turns.all))
	here := i.conversation
	for k, one := range i.turns.all {
		i.turnTo(one.conversation)
		out[k] = one.answer
	}
	i.turnTo(here)
	return out
}

// restore takes back what the answers have of a layer.
func (i *inspection) restore(base []Answer) {
	for k, one := range i.turns.all {
		one.answer = base[k]
	}
}

// lanes returns inspections for concurrent checks of layers.
func (r *replay) lanes(ctx context.Context, count int) []*inspection {
	out := make([]*inspection, count)
	for n := range out {
		l := *r.inspection
		l.looked = map[digest.Digest]bool{}
		if n > 0 {
			l.turns = r.turns.fork(ctx)
			l.conversation = l.turns.all[r.turns.index(r.conversation)].conversation
		}
		out[n] = &l
	}
	return out
}

// take returns the next layer to check.
func (r *replay) take() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.next == len(r.layers) || time.Until(r.ends) <= r.rest {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// done records the result for a layer and decides whether to stop.
func (r *replay) done(n int, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdicts[n] = v
	if v.found() {
		r.failed++
	}
	r.stopped = r.stopped || r.failed >= maxFailures || v.fault == FaultRateLimited || v.answer.Response.RetryAfter > 0
}

// spend reserves bytes for downloads from servers without ranges, if enough are left.
func (r *replay) spend(size int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size > r.left {
		return false
	}
	r.left -= size
	return true
}

// decide returns the flaw of the first failed layer, whose answer becomes that of the whole;
// else that of our own deadline.
func (r *replay) decide() flaw {
	for _, v := range r.verdicts {
		if v.fault != "" {
			r.conversation = r.turns.all[v.source].conversation
			r.answer, r.blamed, r.turns.missed = v.answer, &v, v.missed
			return v.flaw
		}
	}
	for _, v := range r.verdicts {
		if v.unfinished() {
			return v.flaw
		}
	}
	if r.next < len(r.layers) {
		return flaw{err: context.DeadlineExceeded}
	}
	return flaw{}
}

// unverified returns the layers that were not completely checked.
func (r *replay) unverified() []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for n, d := range r.layers {
		if r.transfer.Pieces[n+1].Seen != SeenWhole {
			out = append(out, d)
		}
	}
	return out
}
