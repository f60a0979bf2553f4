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
	// maxManifest bounds a manifest and a config: containerd refuses larger
	// manifests (core/remotes/docker/resolver.go, MaxManifestSize).
	maxManifest = 4 << 20
	// maxDepth bounds an index in an index.
	maxDepth = 4
	// maxPlatforms bounds the platforms that are handed on.
	maxPlatforms = 16
	// inspectTotal is how long Inspect takes at most.
	inspectTotal = 9 * time.Second
)

// InspectOptions says what Inspect looks at.
type InspectOptions struct {
	// Compatible: the runtime takes images for what the platform can run as
	// well, such as 386 on amd64. containerd's transfer service, its way to pull
	// since 2.1, takes only the platform itself; the way before it took others.
	Compatible bool
	// Blobs are digests of the image that are looked at first: those that the
	// runtime's text names. Digests that the manifest does not name are left
	// out.
	Blobs []string
	// Thorough downloads up to 32 MiB of layers and verifies them.
	Thorough bool

	// Sources are the endpoints that the runtime takes content from, in its order;
	// none stands for the endpoint alone. With several, the reference is the first
	// one's, by digest.
	Sources []Source

	// Platform is the node's; nil is that of this process, as containerd has it.
	Platform *ocispec.Platform

	total time.Duration // of the whole conversation; 0 is inspectTotal
}

// Inspect looks at what the endpoint holds for a reference, as the runtime
// would take it: the manifest by GET, of an index the one for the platform, its
// config, and up to eight layers by a GET of their first byte. Found means that
// all of that is there and is what it says it is. PhaseManifest is about
// manifests, PhaseBlob about config and layers.
//
// It is for after Probe has found the manifest's name. For an open image with
// one manifest it takes one request for the manifest, one for the config and
// one per layer looked at; an index takes one more, a challenge what it takes
// in Probe. Thorough takes one more per layer downloaded.
//
// The registry is not to blame for our own deadline: where that comes once the
// manifest was had, there is neither Found nor a Fault, Err is the context's
// error, and Looked tells how far it came. A blob is not begun in the last
// eighth of the time.
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

// inspection is one Inspect under way.
type inspection struct {
	*conversation // the one that goes on
	turns         turns
	begun         *conversation // that has given what the reference names
	want          InspectOptions
	platform      ocispec.Platform
	match         platforms.MatchComparer
	// chosen is what an index names for the platform; nil without an index.
	chosen *ocispec.Descriptor
	looked map[digest.Digest]bool
	// unpacked is what the config says of the layers' content.
	unpacked map[digest.Digest]digest.Digest
	// ends is when our own time is over, rest what it takes to begin a blob.
	ends time.Time
	rest time.Duration
	// received is how many bytes of blobs have come.
	received int64
}

func newInspection(t turns, want InspectOptions) *inspection {
	c := t.all[0].conversation
	i := &inspection{conversation: c, turns: t, want: want, looked: map[digest.Digest]bool{}}
	if i.platform = platforms.DefaultSpec(); want.Platform != nil {
		i.platform = platforms.Normalize(*want.Platform)
	}
	// core/transfer/image/imagestore.go, ImageFilter; client, platforms.Default.
	if i.match = platforms.Ordered(i.platform); want.Compatible {
		i.match = platforms.Only(i.platform)
	}
	c.answer.Platform = platforms.Format(i.platform)
	return i
}

// flaw is what is wrong with something that the registry holds. No fault is no
// flaw.
type flaw struct {
	fault  Fault
	status int
	err    error
}

func (f flaw) found() bool { return f.fault != "" || f.err != nil }

// unfinished tells a flaw that is ours alone: the time was over, or the caller
// gave up.
func (f flaw) unfinished() bool { return f.fault == "" && f.err != nil }

// late tells that our own time is over, or will be in a moment, after the
// registry has shown that it answers.
func (i *inspection) late(moment time.Duration) bool {
	return i.answer.Digest != "" && time.Until(i.ends) <= moment
}

// run is the inspection from the first request to the verdict; contents looks at
// the blobs of the manifest that it comes to.
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

// measure notes how large the image is.
func (i *inspection) measure(m ocispec.Manifest) {
	a := &i.answer
	all := append([]ocispec.Descriptor{m.Config}, i.order(m)...)
	for _, d := range all {
		a.Compressed += min(max(d.Size, 0), math.MaxInt64-a.Compressed)
	}
	for _, d := range all[:min(len(all), 1+maxLayers)] {
		p := Part{Size: max(d.Size, 0)}
		if d.Digest.Validate() == nil {
			p.Digest = d.Digest.String()
		}
		a.Parts = append(a.Parts, p)
	}
}

// verdict writes the answer.
func (i *inspection) verdict(phase Phase, f flaw) {
	i.answer.Looked = len(i.looked)
	if f.fault == FaultContentCorrupt && i.late(0) {
		i.answer.Blob, f = "", flaw{err: context.DeadlineExceeded} // what comes when we hang up is no answer
	}
	if !f.found() {
		if i.begun != nil {
			i.turnTo(i.begun)
		}
		i.answer.Found = true
		i.answer.Blob = ""
		f.status = http.StatusOK
	}
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

// top fetches what the reference names. If that is not possible, the answer is
// written already.
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
		i.judge(ctx, r) // nothing is known of what a runtime makes of the first schema
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
		i.answer.Blob = i.blamed(d.digest)
		i.verdict(PhaseManifest, f)
		return d, false
	}
	i.answer.Digest, i.answer.MediaType = d.digest.String(), d.mediaType
	i.begun = i.conversation
	return d, true
}

// blamed is the digest of a manifest that is at fault: only one that somebody
// asked for.
func (i *inspection) blamed(d digest.Digest) string {
	if i.digested {
		return i.object
	}
	return d.String()
}

// verified checks a manifest as the runtime does: its digest against those
// wanted and the registry's own word, its form, its type (core/images,
// validateMediaType).
func (i *inspection) verified(r reply, want ...digest.Digest) (document, flaw) {
	d := document{mediaType: contentType(r.header)}
	if r.broken != nil {
		return d, i.brokenOff(r.status, r.broken)
	}
	if len(r.body) > maxManifest {
		return d, flaw{fault: FaultUnsupportedFormat, status: r.status}
	}
	if said, err := digest.Parse(r.header.Get("Docker-Content-Digest")); err == nil {
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

// brokenOff is the flaw of a body that did not come to its end. One that is
// shorter than announced is the registry's, other troubles are the network's.
func (i *inspection) brokenOff(status int, err error) flaw {
	switch {
	case noRoom(err) != nil:
		return flaw{err: ErrNoRoom}
	case errors.Is(err, ErrBodyTooLarge):
		return flaw{fault: FaultUnsupportedFormat, status: status, err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return flaw{fault: FaultContentCorrupt, status: status}
	case i.late(0):
		return flaw{err: context.DeadlineExceeded}
	default:
		return flaw{fault: faultOf(err, i.notes.step()), err: err}
	}
}

// formFlaw is what is wrong with the form of a manifest: not JSON, or of a
// type that the runtime does not take, or of another type than announced.
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
	if !ok {
		return flaw{fault: FaultUnsupportedFormat, status: r.status}
	}
	return flaw{}
}

// manifestOf returns the manifest of the platform, for which it goes down from an
// index.
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
		child, ok := i.choose(d.index)
		if !ok {
			return ocispec.Manifest{}, flaw{fault: FaultPlatformMismatch, status: http.StatusOK}
		}
		i.chosen = &child
		var f flaw
		if d, f = i.child(ctx, child); f.found() {
			if !f.unfinished() {
				i.answer.Blob = child.Digest.String()
				i.sentTo(i.notes.trail())
			}
			return ocispec.Manifest{}, f
		}
	}
	return ocispec.Manifest{}, i.unreadable(d)
}

func (i *inspection) unreadable(d document) flaw {
	i.answer.Blob = d.digest.String()
	return flaw{fault: FaultUnsupportedFormat, status: http.StatusOK}
}

// choose takes from an index what the runtime takes (core/images, Manifest, and
// FilterPlatforms): the best match, and after all matches one without a
// platform, whose config decides.
func (i *inspection) choose(list []ocispec.Descriptor) (ocispec.Descriptor, bool) {
	i.answer.Platforms = platformsOf(list)
	list = slices.DeleteFunc(slices.Clone(list), func(d ocispec.Descriptor) bool {
		return d.Digest.Validate() != nil || !isManifest(d.MediaType) || d.Platform != nil && !i.match.Match(*d.Platform)
	})
	slices.SortStableFunc(list, func(a, b ocispec.Descriptor) int {
		switch {
		case a.Platform == nil && b.Platform == nil:
			return 0
		case a.Platform == nil:
			return 1
		case b.Platform == nil, i.match.Less(*a.Platform, *b.Platform):
			return -1
		case i.match.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	if len(list) == 0 {
		return ocispec.Descriptor{}, false
	}
	return list[0], true
}

// platformsOf names the platforms of an index, without those of attestations.
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

// platformName is os/arch[/variant], "" for what is no name of a platform.
func platformName(p ocispec.Platform) string {
	p = platforms.Normalize(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	if p.OS == "unknown" || p.Architecture == "unknown" || !isWord(p.OS) || !isWord(p.Architecture) || p.Variant != "" && !isWord(p.Variant) {
		return ""
	}
	return platforms.Format(p)
}

// isWord tells what operating systems, architectures and variants look like.
func isWord(s string) bool {
	return s != "" && len(s) <= 24 && clean(s, len(s)) == s && !strings.ContainsAny(s, " :*[]()")
}

// child fetches what an index names.
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

// unanswered is the flaw of a request without an answer.
func (i *inspection) unanswered(err error) flaw {
	if i.late(0) {
		return flaw{err: context.DeadlineExceeded}
	}
	i.blame(err)
	return flaw{fault: i.orProxy(faultOf(err, i.notes.step())), status: proxyStatus(err), err: err}
}

// refusal is the flaw of an answer that is not the content that a manifest
// names.
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
