package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/registry"
)

// content looks at what the manifest holds where the runtime's text is about
// something that comes after it, or about nothing: that costs requests which
// count, and a download where the text speaks of corrupt content.
func (v visit) content(ctx context.Context, e registry.Endpoint, found registry.Answer, login *keyring.Login) []diagnosis.Evidence {
	if !v.laterStep(e) {
		return nil
	}
	start := time.Now()
	answer, borrowed := v.c.asker.inspect(ctx, e, resolved(v.ref, found), login, v.inspection(), v.since)
	if borrowed {
		return nil
	}
	evidence := v.mark(e, v.contentEvidence(answer, login))
	if slices.Contains(aboutDisk(), v.text.Cause) {
		evidence.Size, evidence.Missing = v.c.sizes(ctx, answer)
	}
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	return []diagnosis.Evidence{evidence}
}

// inspection returns what of the content is worth looking at, by the runtime's
// text.
func (v visit) inspection() registry.InspectOptions {
	want := registry.InspectOptions{
		Thorough: !v.c.Brief && slices.Contains(spoilt(), v.text.Cause), Compatible: v.config.PullsCompatible(), Platform: v.c.Platform,
	}
	if v.text.Blob != "" {
		want.Blobs = []string{v.text.Blob}
	}
	return want
}

// resolved is the reference that the runtime fetches after it has found the
// manifest: by the digest that it was told.
func resolved(ref reference.Named, found registry.Answer) reference.Named {
	if dgst := digest.Digest(found.Digest); dgst.Validate() == nil {
		if by, err := reference.WithDigest(reference.TrimNamed(ref), dgst); err == nil {
			return by
		}
	}
	return ref
}

// laterStep tells that the runtime's text is about what follows the question
// for the manifest: a blob, a host that the registry sends to, the content, how
// large it is.
func (v visit) laterStep(e registry.Endpoint) bool {
	t := v.text
	about := []diagnosis.Cause{diagnosis.DiskFull, diagnosis.PullTimeout, diagnosis.PlatformMismatch, diagnosis.UnsupportedFormat, diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt}
	elsewhere := t.Host != "" && t.Host != e.Host && t.Host != v.f.Registry && t.Cause != diagnosis.Unknown
	return t.Cause == diagnosis.Unknown || t.AfterManifest || t.Blob != "" || slices.Contains(about, t.Cause) || elsewhere
}

// spoilt are the causes for which blobs are worth downloading.
func spoilt() []diagnosis.Cause {
	return []diagnosis.Cause{diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt, diagnosis.UnsupportedFormat, diagnosis.Unknown}
}

// contentEvidence puts the answer of Inspect into the words of a report.
func (v visit) contentEvidence(a registry.Answer, login *keyring.Login) diagnosis.Evidence {
	e := typed(a, login)
	e.Content, e.Detail = true, v.contentSentence(a, login)
	switch {
	case a.Found && (a.OtherPlatform || a.Artifact):
		e.Outcome = diagnosis.Inconclusive
	case a.Found:
		e.Outcome = diagnosis.Passed
	case a.Fault == "":
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == registry.FaultAddressForbidden:
		e.Outcome = diagnosis.NotRun
	}
	return e
}

// contentSentence says in one sentence what came of looking at the content.
func (v visit) contentSentence(a registry.Answer, login *keyring.Login) string {
	what := "the manifest"
	if a.Blob != "" {
		what = short(a.Blob)
	}
	from := a.Endpoint
	if a.Via != "" && a.Via != a.Endpoint {
		from = fmt.Sprintf("%s, to which %s sends,", a.Endpoint, a.Via)
	}
	switch a.Fault { //nolint:exhaustive // what can be wrong with the way there has its own sentences
	case "":
		return v.sound(a)
	case registry.FaultPlatformMismatch:
		return fmt.Sprintf("%s is for %s; node %s is %s", v.f.Image, some(a.Platforms), v.f.Node, a.Platform)
	case registry.FaultUnsupportedFormat:
		return fmt.Sprintf("%s has %s in a format that the runtime does not unpack", a.Endpoint, v.f.Image)
	case registry.FaultContentCorrupt:
		return fmt.Sprintf("%s sends %s otherwise than the image says: its digest, size or compression is wrong, or it breaks off", from, what)
	case registry.FaultContentMissing:
		return fmt.Sprintf("%s does not have %s, which the image's own manifest names%s", from, what, status(a))
	case registry.FaultForbidden, registry.FaultUnauthorized, registry.FaultInsufficientScope:
		if from != a.Endpoint {
			return fmt.Sprintf("%s gives the manifest, and %s, to which it sends, refuses %s%s", a.Via, a.Endpoint, what, status(a))
		}
		return fmt.Sprintf("%s gives the manifest and refuses %s %s%s", from, what, with(login), status(a))
	case registry.FaultRateLimited, registry.FaultServerError:
		return fmt.Sprintf("%s fails for %s%s%s", from, what, status(a), retry(a))
	}
	if a.Via == "" || a.Via == a.Endpoint {
		return v.sentence(a, login)
	}
	a.Remote, a.Addresses = netip.AddrPort{}, nil // those of the registry
	return fmt.Sprintf("%s; %s sends there for the image's blobs", v.sentence(a, login), a.Via)
}

// sound says what was looked at and is in order.
func (v visit) sound(a registry.Answer) string {
	switch {
	case !a.Found:
		return fmt.Sprintf("%s was not asked to the end for the image's content", a.Endpoint)
	case a.OtherPlatform:
		return fmt.Sprintf("%s has one image, for %s; node %s is %s: the pull succeeds and the container cannot start", a.Endpoint, some(a.Platforms), v.f.Node, a.Platform)
	case a.Artifact:
		return fmt.Sprintf("%s has something else than an image under this name: the pull succeeds and the container cannot start", a.Endpoint)
	}
	return fmt.Sprintf("%s has the image's manifest and blobs (%d looked at), and they are in order", a.Endpoint, a.Looked)
}

// short is a digest as people write it to each other.
func short(digest string) string {
	const most = len("sha256:") + 12
	return digest[:min(len(digest), most)]
}
