package probe

import (
	"context"
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
func (v visit) content(ctx context.Context, e registry.Endpoint, found registry.Answer, cred *keyring.Credential) []diagnosis.Evidence {
	if !v.laterStep(e) {
		return nil
	}
	start := time.Now()
	answer, borrowed := v.c.asker.inspect(ctx, e, resolved(v.ref, found), cred, v.inspection(), v.since)
	if borrowed {
		return nil
	}
	evidence, facts := contentEvidence(answer, cred)
	if slices.Contains(aboutDisk, v.text.Message().Cause) {
		facts.Size, facts.Missing = v.c.sizes(ctx, answer)
	}
	evidence = v.mark(e, evidence)
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	return []diagnosis.Evidence{evidence}
}

// inspection returns what of the content is worth looking at, by the runtime's
// text.
func (v visit) inspection() registry.InspectOptions {
	want := registry.InspectOptions{
		Thorough: !v.c.Brief && slices.Contains(worthDownloading, v.text.Message().Cause), Compatible: v.config.PullsCompatible(), Platform: v.c.Platform,
	}
	if v.text.Message().Blob != "" {
		want.Blobs = []string{v.text.Message().Blob}
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

// laterStep reports whether the runtime's text is about what follows the question
// for the manifest: a blob, a host that the registry sends to, the content, how
// large it is.
func (v visit) laterStep(e registry.Endpoint) bool {
	t := v.text.Message()
	elsewhere := t.Host != "" && t.Host != e.Host && t.Host != v.f.Registry && t.Cause != diagnosis.Unknown
	return t.Cause == diagnosis.Unknown || t.AfterManifest || t.Blob != "" || slices.Contains(ofLaterSteps, t.Cause) || elsewhere
}

// worthDownloading are the causes for which blobs are downloaded whole.
var worthDownloading = []diagnosis.Cause{ //nolint:gochecknoglobals // never written
	diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt, diagnosis.UnsupportedFormat, diagnosis.Unknown,
}

// ofLaterSteps are the causes of what follows the question for the manifest.
var ofLaterSteps = []diagnosis.Cause{ //nolint:gochecknoglobals // never written
	diagnosis.DiskFull, diagnosis.PullTimeout, diagnosis.PlatformMismatch, diagnosis.UnsupportedFormat, diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt,
}

// contentEvidence is the answer of Inspect or of Replay.
func contentEvidence(a registry.Answer, cred *keyring.Credential) (diagnosis.Evidence, *diagnosis.RegistryFacts) {
	e, facts := typed(a, cred)
	facts.Content = true
	switch {
	case a.Found && (a.OtherPlatform || a.Artifact):
		e.Outcome = diagnosis.Inconclusive
	case a.Found:
		e.Outcome = diagnosis.Passed
	case a.Fault == "":
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == registry.FaultAddressForbidden, a.Fault == registry.FaultAddressUnspecified:
		e.Outcome = diagnosis.NotRun
	}
	return e, facts
}
