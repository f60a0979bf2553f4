package registry

import (
	"context"
	"net/http"
	"slices"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/whypull/whypull/cri/credential"
)

// Source is an endpoint from which the runtime fetches content.
type Source struct {
	Endpoint Endpoint
	// Reference is the reference to request, by digest.
	Reference reference.Named
	// Credential is what the runtime sends; nil for none.
	Credential *credential.Credential
	// Accepted is true if the endpoint is known to take the credential.
	Accepted bool
}

// Missed is a source that could not provide a piece of content, so that the next one was
// asked for it.
type Missed struct {
	// Source is the index among the sources.
	Source int
	// Endpoint is the host that failed, and Via the endpoint that redirected to it; ""
	// for none.
	Endpoint, Via string
	Fault         Fault
	Status        int
}

// Pulls reports whether the endpoint has the capability pull. Without any that has
// it the runtime fetches no content (core/remotes/docker/fetcher.go, Fetch).
func (e Endpoint) Pulls() bool {
	return e.Settings.Capabilities.Has(docker.HostCapabilityPull)
}

// turns are the conversations with the sources of an inspection, in the runtime's order. If
// one cannot open a piece, the next is asked. Wrong bytes, or an HTML page with status 200,
// end the pull instead (core/remotes/docker/fetcher.go, Fetch; content.Copy).
type turns struct {
	all []*turn
	// missed are the sources that could not provide the last piece.
	missed []Missed
}

// turn is the conversation with one source.
type turn struct {
	*conversation
	// down is why the source is no longer asked; zero while it is. refused counts the
	// requests that it has broken off or refused until then.
	down    flaw
	refused int
	// accepted: the source takes the credential, so that a refusal is about the piece.
	accepted bool
}

// newTurns returns the conversations of an inspection: with the sources in the options, or
// else with the one endpoint.
func newTurns(ctx context.Context, e Endpoint, ref reference.Named, cred *credential.Credential, want InspectOptions) turns {
	sources := want.Sources
	if len(sources) == 0 {
		sources = []Source{{Endpoint: e, Reference: ref, Credential: cred}}
	}
	var t turns
	for _, s := range sources {
		t.all = append(t.all, &turn{conversation: newConversation(ctx, s.Endpoint, s.Reference, s.Credential), accepted: s.Accepted})
	}
	return t
}

// fork returns turns with a new conversation for each source.
func (t turns) fork(ctx context.Context) turns {
	var out turns
	for _, one := range t.all {
		out.all = append(out.all, &turn{one.fork(ctx), one.down, one.refused, one.accepted})
	}
	return out
}

func (t turns) close() {
	for _, one := range t.all {
		one.close()
	}
}

// index returns the index of a conversation's source.
func (t turns) index(c *conversation) int {
	return slices.IndexFunc(t.all, func(one *turn) bool { return one.conversation == c })
}

// inTurn opens a piece at one source after another until one provides it or ends the pull, and
// continues with that one's conversation; if none provides it, with the first one's, whose
// error the runtime reports.
func (i *inspection) inTurn(open func() flaw) flaw {
	if len(i.turns.all) == 1 {
		return open()
	}
	i.turns.missed = nil
	var first flaw
	for k, one := range i.turns.all {
		f := one.down
		i.turnTo(one.conversation)
		if !f.found() {
			one.renew()
			f = open()
		}
		if !f.found() || !goesOn(f) {
			one.accepted = one.accepted || !f.found()
			return f
		}
		i.turns.miss(k, one, f)
		if k == 0 {
			first = f
		}
	}
	i.turnTo(i.turns.all[0].conversation)
	return first
}

// renew resets what the answer has from an earlier piece.
func (c *conversation) renew() {
	a := &c.answer
	if a.Redirects.Via != "" {
		a.Endpoint = a.Redirects.Via
	}
	a.Redirects.Via, a.Redirects.Hops, a.Fault, a.Status, a.Err = "", nil, "", 0, nil
	a.Response.RetryAfter, a.Response.HTML, a.Auth.SaysExpired = 0, false, false
}

// goesOn reports whether the runtime asks the next source after a flaw.
func goesOn(f flaw) bool {
	return !f.unfinished() && f.status != http.StatusOK && f.status != http.StatusPartialContent
}

// miss records the failure of a source.
func (t *turns) miss(k int, one *turn, f flaw) {
	m := Missed{Source: k, Endpoint: one.answer.Endpoint, Via: one.answer.Redirects.Via, Fault: f.fault, Status: f.status}
	if hops := one.notes.now().hops; m.Via == "" && len(hops) > 0 && hops[len(hops)-1] != m.Endpoint {
		m.Via, m.Endpoint = m.Endpoint, hops[len(hops)-1]
	}
	t.missed = append(t.missed, m)
	if one.isDown(f, m.Via != "") {
		one.down = f
	}
}

// isDown reports whether a source that has failed is not to be asked again: it cannot be
// reached, rejects the credential or limits requests. One that has broken off a request, or
// refused it for want of a credential, may still answer another, as it does to the runtime.
func (t *turn) isDown(f flaw, elsewhere bool) bool {
	a := &t.answer
	switch {
	case f.status == http.StatusTooManyRequests, a.Response.RetryAfter > 0:
		return true
	case elsewhere, f.status != 0 && f.status != http.StatusUnauthorized:
		return false
	case !t.notes.now().reached(), f.status == 0 && f.fault != FaultNetworkUnreachable:
		return true
	case f.status == http.StatusUnauthorized && a.Auth.CredentialSent && !a.Auth.TokenIssued && !t.accepted:
		return true
	}
	t.refused++
	return t.refused >= maxFailures
}

// turnTo continues with another conversation, which takes over what is known about the image.
func (i *inspection) turnTo(c *conversation) {
	if c == i.conversation {
		return
	}
	own, known := &c.answer.Content, i.answer.Content
	known.Tags, known.Source, known.Missed, known.Blob = own.Tags, own.Source, own.Missed, ""
	*own, c.answer.Found = known, false
	c.notes.setPhase(i.notes.now().phase)
	i.conversation = c
}

// topOfTurns fetches the manifest of a digest from one source after another. If it returns
// false, the answer is already filled in.
func (i *inspection) topOfTurns(ctx context.Context) (document, bool) {
	var r reply
	f := i.inTurn(func() (f flaw) {
		r, f = i.asked(ctx)
		return f
	})
	switch {
	case f.found() && f.err != nil && i.answer.Fault == f.fault: // filled in by ask
		return document{}, false
	case f.found():
		i.answer.Content.Blob = i.object
		i.sentTo(i.notes.now().hops)
		i.verdict(PhaseManifest, f)
		return document{}, false
	}
	defer r.release()
	if isSchema1(contentType(r.header)) {
		i.judge(ctx, r)
		return document{}, false
	}
	return i.topOf(r)
}

// asked requests the manifest from a source, as the first request of a conversation.
func (i *inspection) asked(ctx context.Context) (reply, flaw) {
	r, err := i.ask(withLimit(ctx, maxManifest+1), http.MethodGet, PhaseManifest)
	if err != nil {
		return r, flaw{fault: i.answer.Fault, status: i.answer.Status, err: err}
	}
	f := i.refusal(r)
	if f.found() {
		r.release()
	}
	return r, f
}

// childInTurn fetches a manifest in an index.
func (i *inspection) childInTurn(ctx context.Context, want digest.Digest) (reply, flaw) {
	var r reply
	f := i.inTurn(func() (f flaw) {
		if len(i.turns.all) > 1 { // it may be the first request to this source
			i.object, i.digested = want.String(), true
			r, f = i.asked(ctx)
			return f
		}
		var err error
		if r, err = i.send(withLimit(ctx, maxManifest+1), http.MethodGet, PhaseManifest, "", "manifests", want.String()); err != nil {
			return i.unanswered(err)
		}
		if f = i.refusal(r); f.found() {
			r.release()
		}
		return f
	})
	return r, f
}

// finish returns the answer of the decisive conversation.
func (i *inspection) finish() Answer {
	i.answer.Content.Source = i.turns.index(i.conversation)
	if i.answer.Fault != "" {
		i.answer.Content.Missed = i.turns.missed
	}
	for _, one := range i.turns.all {
		if one.conversation != i.conversation {
			i.notes.joins(one.notes)
		}
	}
	return i.conversation.finish()
}
