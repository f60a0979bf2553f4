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
	// maxLayers bounds the layers that Replay looks at. Docker makes at most 127,
	// and overlayfs takes 500.
	maxLayers = 200
	// lanes is how many layers are looked at side by side: as many as containerd
	// fetches (max_concurrent_downloads).
	lanes = 3
	// replayTotal is how long Replay takes at most, and a third of it is how long
	// one blob may.
	replayTotal = 30 * time.Second
	// maxFailures ends a replay: what failed so often tells no more by failing
	// again.
	maxFailures = 8
)

// Transfer is what came of Replay. Its Answer is that of the whole: Found means
// that all that was looked at is fine, else it is the answer for the first blob,
// in the order of Pieces, that fails, or that of our own deadline.
type Transfer struct {
	Answer
	// Layers is how many layers the runtime would fetch from this endpoint: 0 as
	// long as the manifest is not known, and a layer that is there twice counts
	// once.
	Layers int
	// Foreign is how many layers have addresses of their own, at which nobody
	// was asked. They are not in Layers.
	Foreign int
	// Pieces are the config and the layers, in the order in which they were
	// looked at: the config, those that InspectOptions.Blobs names, the others as
	// in the manifest. At most 201.
	Pieces []Piece
	// Failed, Unfinished and Unasked count pieces: those with a fault, those
	// that did not come in our time, and those not asked for (layers beyond
	// the 200th are among them). What was asked for is in Looked.
	Failed, Unfinished, Unasked int
}

// Seen is how much of a blob was looked at.
type Seen string

// The amounts. "" is nothing, or nothing that says anything.
const (
	// SeenFirst: the size, if the server told it, and the first bytes. It stays
	// at that for a large blob at a server without ranges.
	SeenFirst Seen = "first"
	// SeenEnds: the first and the last bytes.
	SeenEnds Seen = "ends"
	// SeenWhole: all of it, and the digest is right.
	SeenWhole Seen = "whole"
)

// Piece is one blob of an image.
type Piece struct {
	// Digest is "" where the manifest has none that is valid.
	Digest string
	// Size in bytes, as the manifest has it.
	Size   int64
	Config bool
	Seen   Seen
	// Endpoint is the place that was asked, as scheme://host[:port], and Via is
	// the endpoint that redirected there, "" for none. Both are "" for a piece
	// that was not asked for.
	Endpoint, Via string
	// Fault is what is wrong, "" if nothing is or nothing is known; Status is the
	// HTTP status that came with it.
	Fault  Fault
	Status int
	// Err is the error behind Fault, as Answer has it. Without a Fault it is a
	// context's error: it took longer than we have.
	Err error
	// Received is how many bytes came, and Took how long it was.
	Received int64
	Took     time.Duration
}

// Sound tells that something of the piece was seen and nothing is wrong with it.
func (p Piece) Sound() bool { return p.Seen != "" && p.Fault == "" && p.Err == nil }

// Replay does what a pull does as far as it goes without storing anything: the
// manifest and the config in full and verified, as Inspect does, and the first
// and the last bytes of every layer, up to 200, three at a time. Nothing of it is
// written anywhere. Call it for each endpoint and credential in the runtime's order,
// after Probe has found the manifest.
//
// It takes one request for the manifest, one more for an index, one for the
// config, two for each layer, and one for each that has up to 64 KiB, which is
// verified; a challenge takes what it takes in Probe. It downloads at most 1 KiB of
// a larger layer. A server that ignores ranges gets one request for each layer,
// of which up to 1 MiB is read: smaller layers are verified then, 32 MiB of them
// at most, and of the others the size and the first bytes are known. Thorough
// adds what it adds in Inspect.
//
// It stops where anybody asks to be left alone (status 429, or Retry-After), after
// eight failures, and after 30 s, of which one blob takes no more than ten. What was
// not asked for then is counted in Unasked, and is neither good nor bad. As with
// Inspect, the registry is not to blame for our own deadline.
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

// replay is one Replay under way.
type replay struct {
	*inspection
	transfer Transfer
	layers   []ocispec.Descriptor
	blamed   *verdict // that decides

	mu       sync.Mutex
	next     int  // of layers
	stopped  bool // nothing more is to be asked for
	failed   int
	left     int64     // bytes that may be downloaded from servers without ranges
	verdicts []verdict // by layer
}

// verdict is what came of looking at one layer.
type verdict struct {
	flaw
	asked bool
	// answer, proxy and cert are of the lane that looked, for a flaw.
	answer Answer
	source int
	missed []Missed
	proxy  string
	cert   *x509.Certificate
}

// fill writes what only the lane knows.
func (v *verdict) fill(a *Answer) {
	a.Proxy = v.proxy
	switch {
	case v.fault == FaultProxyFailed:
		a.Certificate = nil
	case v.cert != nil:
		a.Certificate = describe(v.cert)
	}
}

// contents looks at the blobs of a manifest.
func (r *replay) contents(ctx context.Context, m ocispec.Manifest) flaw {
	r.plan(m)
	defer r.count()
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

// verifyMore downloads layers of which not all was seen.
func (r *replay) verifyMore(ctx context.Context) flaw {
	f := r.download(ctx, r.unverified())
	for n, d := range r.layers {
		if p := &r.transfer.Pieces[n+1]; f.fault != "" && r.answer.Blob == d.Digest.String() {
			p.Seen, p.Fault, p.Status, p.Err = "", f.fault, f.status, r.harmless(f)
			p.Endpoint, p.Via = r.place()
		}
	}
	return f
}

// plan notes what is to be looked at.
func (r *replay) plan(m ocispec.Manifest) {
	t := &r.transfer
	r.layers = r.order(m)
	t.Layers = len(r.layers)
	for _, d := range m.Layers {
		if len(d.URLs) > 0 {
			t.Foreign++
		}
	}
	r.layers = r.layers[:min(len(r.layers), maxLayers)]
	t.Pieces = []Piece{pieceOf(m.Config)}
	t.Pieces[0].Config = true
	for _, d := range r.layers {
		t.Pieces = append(t.Pieces, pieceOf(d))
	}
	r.verdicts = make([]verdict, len(r.layers))
}

func pieceOf(d ocispec.Descriptor) Piece {
	p := Piece{Size: d.Size}
	if d.Digest.Validate() == nil {
		p.Digest = d.Digest.String()
	}
	return p
}

// config looks at the config.
func (r *replay) config(ctx context.Context, m ocispec.Manifest) flaw {
	p, start := &r.transfer.Pieces[0], time.Now()
	f := r.described(ctx, m)
	p.Took, p.Received = time.Since(start), r.received
	if r.looked[m.Config.Digest] {
		p.Endpoint, p.Via = r.place()
	}
	if r.blames(f, m.Config) {
		p.Fault, p.Status, p.Err = f.fault, f.status, r.harmless(f)
		return f
	}
	p.Seen = SeenWhole
	if m.Config.Size > maxManifest {
		p.Seen = SeenFirst
	}
	return f
}

// blames tells that a flaw is one of the config itself, and not of what it says.
func (r *replay) blames(f flaw, config ocispec.Descriptor) bool {
	return f.found() && (f.unfinished() || r.answer.Blob != "" || config.Digest.Validate() != nil || config.Size < 0)
}

// place is where the last request went.
func (i *inspection) place() (endpoint, via string) {
	endpoint = i.answer.Endpoint
	if i.answer.Via != "" { // at has put it there
		return endpoint, i.answer.Via
	}
	if place := i.notes.redirectedTo(); place != "" && place != endpoint {
		return place, endpoint
	}
	return endpoint, ""
}

// harmless is the error of a flaw as others may see it.
func (i *inspection) harmless(f flaw) error {
	if !f.found() {
		return nil
	}
	return &Error{Endpoint: i.answer.Endpoint, Phase: PhaseBlob, Fault: f.fault, Status: f.status, cause: harmless(f.err)}
}

// lookAtLayers looks at all layers, a few side by side. The first lane goes on
// with the connection that there is.
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
				r.done(k, l.lookAt(ctx, r.layers[k], &r.transfer.Pieces[k+1], r))
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

// lanes are inspections for one of several layers at a time.
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

// take returns the next layer to look at.
func (r *replay) take() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.next == len(r.layers) || time.Until(r.ends) <= r.rest {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// done notes what came of a layer, and stops where nothing more is to be asked.
func (r *replay) done(n int, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdicts[n] = v
	if v.found() {
		r.failed++
	}
	r.stopped = r.stopped || r.failed >= maxFailures || v.fault == FaultRateLimited || v.answer.RetryAfter > 0
}

// spend takes bytes from what may be downloaded from servers without ranges.
func (r *replay) spend(size int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size > r.left {
		return false
	}
	r.left -= size
	return true
}

// count adds up the pieces.
func (r *replay) count() {
	t := &r.transfer
	for _, p := range t.Pieces {
		switch {
		case p.Fault != "":
			t.Failed++
		case p.Err != nil:
			t.Unfinished++
		case p.Seen == "":
			t.Unasked++
		}
	}
	t.Unasked += t.Layers - len(r.layers)
}

// decide returns the flaw of the first layer that fails, whose answer becomes that
// of the whole; else that of our own time.
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

// unverified are the layers of which not all was seen.
func (r *replay) unverified() []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for n, d := range r.layers {
		if r.transfer.Pieces[n+1].Seen != SeenWhole {
			out = append(out, d)
		}
	}
	return out
}
