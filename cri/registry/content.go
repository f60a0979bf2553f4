package registry

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/oci"
)

const (
	// maxManifest is the maximum size of a manifest and a config: containerd rejects larger
	// manifests (core/remotes/docker/resolver.go, MaxManifestSize).
	maxManifest = 4 << 20
	// maxDepth is the maximum depth of nested indexes.
	maxDepth = 4
	// maxPlatforms is the maximum number of Content.Platforms.
	maxPlatforms = 16
	// inspectTotal is the time limit of Inspect.
	inspectTotal = 9 * time.Second
)

// InspectOptions are the options of Inspect and Replay.
type InspectOptions struct {
	// Compatible: the runtime accepts images for compatible platforms, such as 386 on
	// amd64. containerd's transfer service, which pulls since 2.1, accepts only the
	// platform itself.
	Compatible bool
	// Blobs are digests to check first: those in the runtime's message. Digests that are
	// not in the manifest are ignored.
	Blobs []string
	// Thorough downloads up to 32 MiB of layers and verifies them.
	Thorough bool

	// Sources are the endpoints that the runtime takes content from, in its order;
	// none stands for the endpoint alone. With several, the reference is the first
	// one's, by digest.
	Sources []Source

	// Platform is the node's platform; nil: this process's, as determined by containerd.
	Platform *ocispec.Platform

	total time.Duration // time limit of the conversation; 0: inspectTotal
}

// Inspect checks the content of an image at the endpoint as the runtime would fetch it: the
// manifest by GET, from an index the one for the platform, its config, and the first byte
// of up to eight layers. Found means that all of that exists and is right. PhaseManifest is
// about manifests, PhaseBlob about config and layers.
//
// Call it after Probe has found the manifest. An open image with one manifest takes one
// request for the manifest, one for the config and one per checked layer; an index takes
// one more, a challenge as many as in Probe, Thorough one more per downloaded layer.
//
// Our own deadline is no fault of the registry: if it comes after the manifest, there is
// neither Found nor a Fault, Err is the context's error, and Looked is the number of blobs
// checked. No blob is started in the last eighth of the time.
func (e Endpoint) Inspect(ctx context.Context, ref reference.Named, cred *credential.Credential, want InspectOptions) Answer {
	ctx, cancel := context.WithTimeout(quiet(ctx), cmp.Or(want.total, inspectTotal))
	defer cancel()
	i := newInspection(newTurns(ctx, e, ref, cred, want), want)
	defer i.turns.close()
	i.ends, _ = ctx.Deadline()
	i.rest = time.Until(i.ends) / 8
	i.run(ctx, i.contents)
	return i.finish()
}

// inspection is one running Inspect.
type inspection struct {
	*conversation // the one that goes on
	turns         turns
	begun         *conversation // that has given what the reference names
	want          InspectOptions
	platform      ocispec.Platform
	match         platforms.MatchComparer
	// chosen is the entry of an index for the platform; nil without an index.
	chosen *ocispec.Descriptor
	looked map[digest.Digest]bool
	// unpacked are the digests of the unpacked layers in the config.
	unpacked map[digest.Digest]digest.Digest
	// ends is our deadline, rest the time that must be left to start a blob.
	ends time.Time
	rest time.Duration
	// received is the number of bytes of blobs received.
	received int64
	// unpackable is the number of bytes that layers may still be unpacked to, for all lanes.
	unpackable *atomic.Int64
}

func newInspection(t turns, want InspectOptions) *inspection {
	c := t.all[0].conversation
	i := &inspection{conversation: c, turns: t, want: want, looked: map[digest.Digest]bool{}, unpackable: new(atomic.Int64)}
	i.unpackable.Store(maxUnpacked)
	if i.platform = platforms.DefaultSpec(); want.Platform != nil {
		i.platform = platforms.Normalize(*want.Platform)
	}
	// core/transfer/image/imagestore.go, ImageFilter; client, platforms.Default.
	if i.match = platforms.Ordered(i.platform); want.Compatible {
		i.match = platforms.Only(i.platform)
	}
	c.answer.Content.Platform = platforms.Format(i.platform)
	return i
}

// flaw is what is wrong with content at the registry. The zero value: nothing.
type flaw struct {
	fault  Fault
	status int
	err    error
	form   Form
}

func (f flaw) found() bool { return f.fault != "" || f.err != nil }

// unfinished reports whether the check was ended by our deadline or the caller.
func (f flaw) unfinished() bool { return f.fault == "" && f.err != nil }

// late reports whether our deadline has passed, or will within moment, after the registry
// has answered.
func (i *inspection) late(moment time.Duration) bool {
	return i.answer.Content.Digest != "" && time.Until(i.ends) <= moment
}

// run runs the inspection; contents checks the blobs of the platform's manifest.
func (i *inspection) run(ctx context.Context, contents func(context.Context, ocispec.Manifest) flaw) {
	d, ok := i.top(ctx)
	if !ok {
		return
	}
	phase := PhaseManifest
	m, f := i.manifestOf(ctx, d)
	if !f.found() {
		phase = PhaseBlob
		i.measure(m)
		leave := i.notes.enter(phase, false)
		f = contents(ctx, m)
		leave()
	}
	i.verdict(phase, f)
}

// measure records the size of the image.
func (i *inspection) measure(m ocispec.Manifest) {
	a := &i.answer
	a.Content.Outside = slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return len(d.URLs) > 0 })
	a.Content.Encrypted = slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return strings.HasSuffix(d.MediaType, "+encrypted") })
	all := append([]ocispec.Descriptor{m.Config}, i.order(m)...)
	for _, d := range all {
		a.Content.Compressed += min(max(d.Size, 0), math.MaxInt64-a.Content.Compressed)
	}
	for _, d := range all[:min(len(all), 1+maxLayers)] {
		p := Part{Size: max(d.Size, 0)}
		if d.Digest.Validate() == nil {
			p.Digest = d.Digest.String()
		}
		a.Content.Parts = append(a.Content.Parts, p)
	}
}

// verdict fills in the answer.
func (i *inspection) verdict(phase Phase, f flaw) {
	i.answer.Content.Looked = len(i.looked)
	if f.fault == FaultContentCorrupt && i.late(0) {
		i.answer.Content.Blob, f = "", flaw{err: context.DeadlineExceeded} // a failure after our deadline proves nothing
	}
	if !f.found() {
		if i.begun != nil {
			i.turnTo(i.begun)
		}
		i.answer.Found = true
		i.answer.Content.Blob = ""
		f.status = http.StatusOK
	}
	i.answer.Content.Form = cmp.Or(f.form, i.answer.Content.Form)
	i.conclude(phase, f.fault, f.status, f.err)
}

// document is a manifest or an index that was fetched and verified.
type document struct {
	mediaType string
	digest    digest.Digest
	manifest  ocispec.Manifest
	index     []ocispec.Descriptor
	unread    error // that kept it from being decoded
}

// top fetches the manifest or index of the reference. If it returns false, the answer is
// already filled in.
func (i *inspection) top(ctx context.Context) (document, bool) {
	if len(i.turns.all) > 1 {
		return i.topOfTurns(ctx)
	}
	r, err := i.ask(withLimit(ctx, maxManifest+1), http.MethodGet, PhaseManifest)
	if err != nil {
		return document{}, false
	}
	defer r.release()
	if !r.good() || i.meaning(r) != "" || isSchema1(contentType(r.header)) {
		i.judge(ctx, r) // it is unknown how the runtime reads the first schema
		return document{}, false
	}
	return i.topOf(r)
}

// topOf reads what the reference names.
func (i *inspection) topOf(r reply) (document, bool) {
	var want []digest.Digest
	if i.digested {
		want = append(want, digest.Digest(i.object))
	}
	d, f := i.verified(r, want...)
	if f.found() {
		i.answer.Content.Blob = d.digest.String()
		if i.digested {
			i.answer.Content.Blob = i.object
		}
		i.verdict(PhaseManifest, f)
		return d, false
	}
	i.answer.Content.Digest = d.digest.String()
	i.begun = i.conversation
	return d, true
}

// verified checks a manifest as the runtime does: its digest against those wanted and the
// registry's header, its form, its type (core/images, validateMediaType).
func (i *inspection) verified(r reply, want ...digest.Digest) (document, flaw) {
	d := document{mediaType: contentType(r.header)}
	if r.broken != nil {
		return d, i.brokenOff(r.status, r.broken)
	}
	if len(r.body) > maxManifest {
		return d, flaw{fault: FaultUnsupportedFormat, status: r.status, form: FormTooLarge}
	}
	// CRI-O trusts the body that it gets for a tag.
	if said, err := digest.Parse(r.header.Get("Docker-Content-Digest")); err == nil && !i.endpoint.Settings.Pings {
		want = append(want, said)
	}
	d.digest = digest.FromBytes(r.body)
	for _, w := range want {
		if w.Validate() == nil && w != w.Algorithm().FromBytes(r.body) {
			d.digest = w
			return d, flaw{fault: FaultContentCorrupt, status: r.status}
		}
	}
	if f := formFlaw(d.mediaType, r); f.found() {
		return d, f
	}
	if images.IsManifestType(d.mediaType) {
		d.manifest, d.unread = oci.ReadManifest(r.body)
	} else {
		d.index, d.unread = oci.ReadIndex(r.body)
	}
	return d, flaw{}
}

// brokenOff returns the flaw of a truncated body: the registry's if it is shorter than
// announced, else the network's.
func (i *inspection) brokenOff(status int, err error) flaw {
	switch {
	case noRoom(err) != nil:
		return flaw{err: ErrNoRoom}
	case errors.Is(err, ErrBodyTooLarge):
		return flaw{fault: FaultUnsupportedFormat, status: status, err: err, form: FormTooLarge}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return flaw{fault: FaultContentCorrupt, status: status}
	case i.late(0):
		return flaw{err: context.DeadlineExceeded}
	default:
		return flaw{fault: faultOf(err, i.notes.now().step()), err: err}
	}
}

// formFlaw returns what is wrong with the form of a manifest: it is not JSON, of a type
// that the runtime does not accept, or of another type than announced.
func formFlaw(mediaType string, r reply) flaw {
	form, err := oci.ReadForm(r.body)
	switch {
	case errors.Is(err, oci.ErrTooLarge):
		return flaw{err: ErrTooManyParts}
	case err != nil:
		return flaw{fault: FaultContentCorrupt, status: r.status}
	}
	var ok bool
	switch {
	case form.FSLayers > 0:
	case images.IsManifestType(mediaType):
		ok = form.Manifests == 0 && !images.IsIndexType(form.MediaType)
	case images.IsIndexType(mediaType):
		ok = !form.Config && form.Layers == 0 && !images.IsManifestType(form.MediaType)
	}
	switch {
	case ok:
		return flaw{}
	case !isManifest(mediaType):
		return flaw{fault: FaultUnsupportedFormat, status: r.status, form: FormMediaType}
	}
	return flaw{fault: FaultUnsupportedFormat, status: r.status}
}

// manifestOf returns the manifest of the platform, following indexes.
func (i *inspection) manifestOf(ctx context.Context, d document) (ocispec.Manifest, flaw) {
	for range maxDepth {
		switch {
		case errors.Is(d.unread, oci.ErrTooLarge):
			return ocispec.Manifest{}, flaw{err: ErrTooManyParts}
		case d.unread != nil:
			return ocispec.Manifest{}, i.unreadable(d)
		case images.IsManifestType(d.mediaType):
			return d.manifest, flaw{}
		}
		if i.chosen = i.choose(d.index); i.chosen == nil {
			return ocispec.Manifest{}, flaw{fault: FaultPlatformMismatch, status: http.StatusOK}
		}
		var f flaw
		if d, f = i.child(ctx, *i.chosen); f.found() {
			if !f.unfinished() {
				i.answer.Content.Blob = i.chosen.Digest.String()
				i.sentTo(i.notes.now().hops)
			}
			return ocispec.Manifest{}, f
		}
	}
	return ocispec.Manifest{}, i.unreadable(d)
}

func (i *inspection) unreadable(d document) flaw {
	i.answer.Content.Blob = d.digest.String()
	return flaw{fault: FaultUnsupportedFormat, status: http.StatusOK}
}

// choose returns the entry of an index that the runtime uses (core/images, Manifest, and
// FilterPlatforms): the best match, or else one without a platform, whose config decides;
// nil if there is none.
func (i *inspection) choose(list []ocispec.Descriptor) *ocispec.Descriptor {
	i.answer.Content.Platforms = platformsOf(list)
	var best *ocispec.Descriptor
	for _, d := range list { // copies, so that the list is not kept
		if d.Digest.Validate() != nil || !isManifest(d.MediaType) || d.Platform != nil && !i.match.Match(*d.Platform) {
			continue
		}
		if best == nil || d.Platform != nil && (best.Platform == nil || i.match.Less(*d.Platform, *best.Platform)) {
			best = &d
		}
	}
	return best
}

// platformsOf returns the platforms of an index, without those of attestations.
func platformsOf(list []ocispec.Descriptor) []string {
	var names []string
	for _, d := range list {
		if d.Platform != nil {
			names = append(names, platformName(*d.Platform))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxPlatforms)]
}

// platformName returns os/arch[/variant]; "" if it is not a valid platform.
func platformName(p ocispec.Platform) string {
	p = platforms.Normalize(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	if p.OS == "unknown" || p.Architecture == "unknown" || !isWord(p.OS) || !isWord(p.Architecture) || p.Variant != "" && !isWord(p.Variant) {
		return ""
	}
	return platforms.Format(p)
}

// isWord reports whether s looks like an operating system, architecture or variant.
func isWord(s string) bool {
	return s != "" && len(s) <= 24 && clean(s, len(s)) == s && !strings.ContainsAny(s, " :*[]()")
}

// child fetches a manifest or index in an index.
func (i *inspection) child(ctx context.Context, want ocispec.Descriptor) (document, flaw) {
	r, f := i.childInTurn(ctx, want.Digest)
	if f.found() {
		return document{}, f
	}
	defer r.release()
	d, f := i.verified(r, want.Digest)
	if !f.found() && want.Size != int64(len(r.body)) {
		f = flaw{fault: FaultContentCorrupt, status: r.status}
	}
	return d, f
}

// unanswered returns the flaw of a request without a response.
func (i *inspection) unanswered(err error) flaw {
	if i.late(0) {
		return flaw{err: context.DeadlineExceeded}
	}
	i.notes.blame(err)
	return flaw{fault: i.orProxy(faultOf(err, i.notes.now().step())), status: proxyStatus(err), err: err}
}

// refusal returns the flaw of a response that is not the content in a manifest.
func (i *inspection) refusal(r reply) flaw {
	if err := noRoom(r.broken); err != nil {
		return flaw{err: err}
	}
	i.read(r)
	fault := i.meaning(r)
	if fault == FaultNotFound {
		fault = FaultContentMissing
	}
	return flaw{fault: fault, status: r.status}
}
