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

// content checks the manifest and what it refers to, if the runtime's message is about a
// step after the manifest or unclear: this costs requests that count for rate
// limits, and a download if the message is about corrupt content.
func (v visit) content(ctx context.Context, e registry.Endpoint, found registry.Answer, cred *keyring.Credential) (registry.Answer, []diagnosis.Evidence) {
	if !v.laterStep(e) {
		return registry.Answer{}, nil
	}
	start := time.Now()
	want, ref := v.inspection(), v.ref
	if !e.Settings.Pings { // CRI-O fetches the manifest of the tag
		ref = resolved(ref, found)
	}
	want.Sources = v.sources(e, ref, cred)
	answer, from := v.c.asker.inspect(ctx, e, ref, cred, want, v.since)
	if from.reason == diagnosis.ReasonLimitedForOthers {
		return registry.Answer{}, nil
	}
	if missing := []registry.Fault{registry.FaultTagNotFound, registry.FaultRepositoryNotFound, registry.FaultNotFound}; ref != v.ref && slices.Contains(missing, answer.Fault) {
		answer.Fault, answer.Content.Blob = registry.FaultContentMissing, found.Content.Digest // the tag is there
	}
	evidence, facts := contentEvidence(answer, cred)
	if from.reason != "" {
		evidence.Outcome, evidence.Reason = diagnosis.NotRun, from.reason
	}
	if slices.Contains(aboutDisk, v.text.Message().Cause) {
		facts.Size, facts.Missing = v.c.sizes(ctx, answer)
	}
	out := []diagnosis.Evidence{v.mark(at(e, want.Sources, answer.Content.Source), evidence)}
	v.c.Metrics.Checked(evidence.Check, evidence.Outcome, time.Since(start))
	for _, m := range answer.Content.Missed {
		if m.Source != answer.Content.Source && m.Status != 0 { // the others were not reached
			out = append(out, v.mark(at(e, want.Sources, m.Source), missedEvidence(m, answer, cred)))
		}
	}
	return answer, out
}

// at is the endpoint of a source; without sources there is the one that was asked.
func at(e registry.Endpoint, sources []registry.Source, n int) registry.Endpoint {
	if len(sources) == 0 {
		return e
	}
	return sources[n].Endpoint
}

// missedEvidence is about one more source that could not give the piece that no
// source gave.
func missedEvidence(m registry.Missed, a registry.Answer, cred *keyring.Credential) diagnosis.Evidence {
	e, _ := contentEvidence(registry.Answer{
		Endpoint: m.Endpoint, Redirects: registry.Redirects{Via: m.Via}, Fault: m.Fault, Status: m.Status, Phase: a.Phase,
		Content: registry.Content{Blob: a.Content.Blob},
	}, cred)
	return e
}

// sources are the endpoints that containerd takes the content from once a tag has
// been resolved, in its order: all of them, whatever their capabilities, if one has
// the capability pull (core/remotes/docker/fetcher.go, Fetch, which filters the
// hosts only to count them). None where there is but one, where no digest is known,
// and for CRI-O, which stays with the mirror that has the manifest.
func (v visit) sources(e registry.Endpoint, ref reference.Named, cred *keyring.Credential) []registry.Source {
	if _, digested := ref.(reference.Digested); !digested || e.Settings.Pings || !slices.ContainsFunc(v.all, registry.Endpoint.Pulls) {
		return nil
	}
	var out []registry.Source
	seen := map[string]bool{}
	for _, o := range v.all {
		key := o.Key(v.ref)
		own := v.credentialFor(o, e, cred)
		if seen[key] || v.cut[key] || v.c.asker.rejects(o, v.ref, own) {
			continue
		}
		seen[key] = true
		out = append(out, registry.Source{Endpoint: o, Reference: o.Reference(ref), Credential: sent(own), Accepted: key == e.Key(v.ref)})
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// credentialFor is what the runtime sends to an endpoint in a pull for which
// another endpoint gets a credential: the same, or the node's own for each.
func (v visit) credentialFor(o, e registry.Endpoint, cred *keyring.Credential) *keyring.Credential {
	if o.Key(v.ref) == e.Key(v.ref) || cred != nil && !cred.OfNode {
		return cred
	}
	return v.attempts(o)[0]
}

// inspection returns which content to check, depending on the runtime's message.
func (v visit) inspection() registry.InspectOptions {
	want := registry.InspectOptions{
		Thorough: !v.c.Brief && slices.Contains(worthDownloading, v.text.Message().Cause), Compatible: v.config.PullsCompatible(), Platform: v.c.Platform,
	}
	if v.text.Message().Blob != "" {
		want.Blobs = []string{v.text.Message().Blob}
	}
	return want
}

// resolved returns the reference that the runtime fetches after the manifest
// request: by the digest in its answer.
func resolved(ref reference.Named, found registry.Answer) reference.Named {
	if dgst := digest.Digest(found.Content.Digest); dgst.Validate() == nil {
		if by, err := reference.WithDigest(reference.TrimNamed(ref), dgst); err == nil {
			return by
		}
	}
	return ref
}

// laterStep reports whether the runtime's message is about a step after the
// manifest request: a blob, a host of a redirect, the content, its size.
func (v visit) laterStep(e registry.Endpoint) bool {
	t := v.text.Message()
	elsewhere := t.Host != "" && t.Host != e.Host && t.Host != v.f.Registry && t.Cause != diagnosis.Unknown
	return t.Cause == diagnosis.Unknown || t.AfterManifest || t.Blob != "" || slices.Contains(ofLaterSteps, t.Cause) || elsewhere
}

// worthDownloading are the causes for which whole blobs are downloaded.
var worthDownloading = []diagnosis.Cause{ //nolint:gochecknoglobals // never written
	diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt, diagnosis.UnsupportedFormat, diagnosis.Unknown,
}

// ofLaterSteps are the causes of failures after the manifest request.
var ofLaterSteps = []diagnosis.Cause{ //nolint:gochecknoglobals // never written
	diagnosis.DiskFull, diagnosis.PullTimeout, diagnosis.PlatformMismatch, diagnosis.UnsupportedFormat, diagnosis.ContentCorrupt, diagnosis.ImageStoreCorrupt,
}

// contentEvidence returns the evidence from an answer of Inspect or Replay.
func contentEvidence(a registry.Answer, cred *keyring.Credential) (diagnosis.Evidence, *diagnosis.RegistryFacts) {
	e, facts := typed(a, cred)
	facts.Content = true
	switch {
	case a.Found && (a.Content.OtherPlatform || a.Content.Artifact):
		e.Outcome = diagnosis.Inconclusive
	case a.Found:
		e.Outcome = diagnosis.Passed
	case a.Fault == "":
		e.Outcome = diagnosis.Inconclusive
	case a.Fault == registry.FaultAddressForbidden:
		e.Outcome = diagnosis.NotRun
	}
	return e, facts
}
