package probe

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// How long an answer is reused. What a registry says about an image and a
// credential is valid for longer than a failure on the way, which may be transient.
const (
	answerLife  = 5 * time.Minute
	troubleLife = 20 * time.Second
)

// borrowedLife is how long a rate limit that was returned to another namespace, or
// for another credential, keeps the endpoint from being asked.
const borrowedLife = 5 * time.Minute

// Limits of the asker, over all registries.
const (
	maxAnswers = 2000 // cached answers
	maxWaiting = 512  // questions of one namespace that wait for one endpoint
	maxOpen    = 64   // concurrent conversations
	maxOpenOf  = 8    // of one namespace: with the retries, less than what registry.Room has for small responses

	// Concurrent conversations with an endpoint that has just answered well, and those
	// of one namespace. With any other endpoint there is one.
	maxOpenAt   = 4
	maxOpenAtOf = 3
)

// asker sends the requests of all pods to registries, once for all pods that need the
// same answer, and one at a time per endpoint: what hangs or limits requests is noticed
// by one. While an endpoint answers well it is asked up to maxOpenAt questions at a time.
// A credential that it has not accepted lately still goes alone, so that a wrong password
// is not sent again before its rejection is known. Namespaces take turns.
type asker struct {
	salt     [32]byte
	now      func() time.Time
	answers  *share.Cache[question, *reply]
	open     *share.Lanes // limits concurrent conversations
	rejected *share.Cache[question, *rejection]
	// heard is called with the answer to each manifest request.
	heard func(tenant string, e registry.Endpoint, ref reference.Named, a registry.Answer)
}

// question is the cache key of an answer. It has a keyed digest of the credential,
// with a random key of this process.
type question struct {
	endpoint, source, image string
	manner                  string // how the endpoint is asked
	upstream                string // behind a mirror
	cred                    [sha256.Size]byte
	settle                  bool
	content                 string // "" for the manifest only, else the options of Inspect
}

// rejection returns the question whether the endpoint rejects the credential, whatever the
// image.
func (q question) rejection() question {
	return question{endpoint: q.endpoint, upstream: q.upstream, cred: q.cred}
}

// reply is the answer to a question.
type reply struct {
	answer   registry.Answer
	tenant   string     // namespace of the pod that asked
	borrowed bool       // it is from a request with another credential, or of another namespace
	trouble  bool       // it is the answer to another question
	rejected *rejection // of the credential, for which it was not sent again; else nil
}

// origin is how an answer was obtained.
type origin struct {
	// reason is why the endpoint was not asked; "" if it was, or if its answer to
	// another question holds.
	reason diagnosis.Reason
	// rejected is that of the credential, if it was not sent again; else nil.
	rejected *rejection
}

func newAsker() *asker {
	a := &asker{now: time.Now, open: share.NewSharedLanes(maxOpen, maxOpenOf, maxWaiting), heard: func(string, registry.Endpoint, reference.Named, registry.Answer) {}}
	a.answers = share.NewInTurn(maxAnswers, (*reply).life, func() time.Time { return a.now() }, share.Turns[question, *reply]{
		Group: func(q question) string { return q.endpoint }, Waiting: maxWaiting,
		Width: (*reply).width, Each: maxOpenAtOf, Alone: a.unproven,
	})
	a.rejected = share.New[question](maxRejections, (*rejection).life, func() time.Time { return a.now() })
	_, _ = rand.Read(a.salt[:]) // never fails, by its documentation
	return a
}

// ask returns the endpoint's answer to a manifest request, not older than since
// unless the endpoint limits requests (see leaveAlone). settle allows one more
// request if the endpoint refuses the repository without saying whether it exists.
// required is its answer without credentials; nil if that is not known.
func (a *asker) ask(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, since time.Time, settle bool, required *registry.AuthRequired) (registry.Answer, origin) {
	q := a.question(e, ref, cred)
	q.settle = settle
	return a.share(ctx, q, since, func(ctx context.Context) registry.Answer {
		answer := e.ProbeAfter(ctx, required, e.Reference(ref), sent(cred))
		answer.Content.Tags = nearest(answer.Content.Tags, tagOf(ref)) // a hundred of each image would be megabytes
		a.heard(share.Tenant(ctx), e, ref, answer)
		if settle && unsettled(answer) {
			answer.Auth.Exists = e.Control(ctx, e.Reference(ref), sent(cred))
		}
		if tokenForbidden(answer) {
			answer.Auth.Standing = a.standing(ctx, e, ref, cred, since)
		}
		return answer
	})
}

// tokenForbidden reports whether a token server refuses a token without saying
// whether it is over the credential.
func tokenForbidden(answer registry.Answer) bool {
	return answer.Phase == registry.PhaseToken && answer.Status == http.StatusForbidden && answer.Fault == registry.FaultUnauthorized
}

// standing returns what the token server of an endpoint says of a credential, for
// whatever image.
func (a *asker) standing(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, since time.Time) registry.Standing {
	q := question{endpoint: "token server of " + e.String(), source: e.Source, cred: a.digest(cred)}
	answer, _ := a.share(ctx, q, since, func(ctx context.Context) registry.Answer {
		return registry.Answer{Auth: registry.Auth{Standing: e.Standing(ctx, e.Reference(ref), sent(cred))}}
	})
	return answer.Auth.Standing
}

// inspect is ask for the content of the image.
func (a *asker) inspect(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, want registry.InspectOptions, since time.Time) (registry.Answer, origin) {
	q := a.question(e, ref, cred)
	q.content = fmt.Sprint(want.Thorough, want.Blobs)
	for _, s := range want.Sources {
		q.content += " " + s.Endpoint.Key(s.Reference)
	}
	return a.share(ctx, q, since, func(ctx context.Context) registry.Answer {
		answer := e.Inspect(ctx, e.Reference(ref), sent(cred), want)
		answer.Content.Parts = largest(answer.Content.Parts)
		return answer
	})
}

// maxParts is how many blobs of an image are kept. All of each of maxAnswers would be megabytes.
const maxParts = 32

// largest returns those of the blobs that matter for the space that an image needs.
func largest(parts []registry.Part) []registry.Part {
	sort.Slice(parts, func(i, j int) bool { return parts[i].Size > parts[j].Size })
	return slices.Clone(parts[:min(len(parts), maxParts)])
}

func (a *asker) question(e registry.Endpoint, ref reference.Named, cred *keyring.Credential) question {
	return question{endpoint: e.String(), source: e.Source, manner: e.Manner(), image: e.Key(ref), upstream: upstream(e, ref), cred: a.digest(cred)}
}

// upstream returns the registry behind a mirror; "" if the endpoint is none.
func upstream(e registry.Endpoint, ref reference.Named) string {
	if !e.Mirror {
		return ""
	}
	return cmp.Or(e.Settings.Namespace, reference.Domain(ref))
}

// unsettled reports whether an answer is a refusal that does not say whether the repository exists.
func unsettled(answer registry.Answer) bool {
	return answer.Fault == registry.FaultInsufficientScope ||
		answer.Fault == registry.FaultForbidden && answer.Phase == registry.PhaseManifest
}

// share returns the cached answer to a question or gets it, once for all callers.
func (a *asker) share(ctx context.Context, q question, since time.Time, get func(context.Context) registry.Answer) (registry.Answer, origin) {
	doubt := doubtIn(ctx)
	serves := func(k share.Kept[*reply]) bool {
		return leaveAlone(k.Value.answer) || !k.Fetched.Before(since) && doubt.allows(k.Fetched, reachOf(k.Value.answer))
	}
	ask := func(enter enterFunc) (*reply, error) {
		return a.answers.GetIf(ctx, q, serves, func(ctx context.Context) (*reply, error) { return a.fulfil(ctx, q, since, get, enter) })
	}
	r, err := ask(func(ctx context.Context) (func(), bool) { return a.open.TryEnter(ctx, "") })
	if errors.Is(err, errNoPlace) {
		r, err = a.askLater(ctx, ask)
	}
	if err != nil {
		return registry.Answer{Endpoint: q.endpoint, Err: err}, origin{reason: notAsked(ctx, err)}
	}
	from := origin{rejected: r.rejected}
	if r.borrowed {
		from.reason = diagnosis.ReasonLimitedForOthers
	}
	return r.answer, from
}

// errNoPlace is the error for a question whose tenant has enough open conversations. It
// does not wait for their end while it holds its endpoint: another tenant's question for
// that would wait with it.
var errNoPlace = errors.New("too many open conversations")

// askLater asks when there is a place for the conversation. Once that has begun it keeps
// the place, even if this caller gives up.
func (a *asker) askLater(ctx context.Context, ask func(enterFunc) (*reply, error)) (*reply, error) {
	leave, err := a.open.Enter(ctx, "")
	if err != nil {
		return nil, err
	}
	var used atomic.Bool
	enter := func(context.Context) (func(), bool) { return leave, used.CompareAndSwap(false, true) }
	r, err := ask(enter)
	for errors.Is(err, errNoPlace) { // another caller's question, which was the same
		r, err = ask(enter)
	}
	if used.CompareAndSwap(false, true) {
		leave()
	}
	return r, err
}

// notAsked is why an endpoint was not asked; "" where the whole check was given up.
func notAsked(ctx context.Context, err error) diagnosis.Reason {
	switch {
	case errors.Is(err, share.ErrBusy):
		return diagnosis.ReasonQueueFull
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return diagnosis.ReasonOutOfTime
	}
	return ""
}

// forget drops all answers, including those of running requests, for later callers.
// Answers of endpoints that limit requests are kept.
func (a *asker) forget() {
	a.answers.Forget(func(r *reply) bool { return leaveAlone(r.answer) })
}

// enterFunc takes a place for a conversation, if there is one; leave gives it back.
type enterFunc func(ctx context.Context) (leave func(), entered bool)

// fulfil returns the answer to a question: that of another question, if it holds for
// this one, or a new one. A request is not canceled with ctx, since other pods may
// need its answer; it has its own timeouts. The error is errNoPlace.
func (a *asker) fulfil(ctx context.Context, q question, since time.Time, get func(context.Context) registry.Answer, enter enterFunc) (*reply, error) {
	if r, known := a.known(ctx, q, since); known {
		return r, nil
	}
	if ctx.Value(openKey{}) == nil { // else this is part of an open conversation
		leave, entered := enter(ctx)
		if !entered {
			return nil, errNoPlace
		}
		defer leave()
		ctx = context.WithValue(ctx, openKey{}, true)
	}
	r := &reply{answer: get(context.WithoutCancel(ctx)), tenant: share.Tenant(ctx)}
	switch {
	case q.content != "" || q.cred == [sha256.Size]byte{}:
	case rejects(r.answer):
		a.noteRejection(ctx, q.rejection(), r.answer)
	case accepts(&r.answer):
		a.rejected.Put(ctx, q.rejection(), &rejection{})
	}
	return r, nil
}

// openKey marks the context of an open conversation: what it asks besides must not
// wait until there may be another one.
type openKey struct{}

// known returns what was said to another question, where that answers this one.
func (a *asker) known(ctx context.Context, q question, since time.Time) (*reply, bool) {
	if r, known := a.trouble(share.Tenant(ctx), q, since, doubtIn(ctx)); known {
		return r, true
	}
	if last := a.rejection(q.rejection()); last != nil {
		return &reply{answer: last.answer, rejected: last, trouble: true}, true
	}
	return nil, false
}

// unproven reports whether a question has a credential that its endpoint is not known to
// accept.
func (a *asker) unproven(q question) bool {
	if q.cred == [sha256.Size]byte{} {
		return false
	}
	for other, k := range a.answers.Of(q.endpoint) {
		if other.cred == q.cred && other.upstream == q.upstream && accepts(&k.Value.answer) {
			return false
		}
	}
	return true
}

// rejects reports whether an endpoint has rejected a credential, so that it is not
// sent there for now.
func (a *asker) rejects(e registry.Endpoint, ref reference.Named, cred *keyring.Credential) bool {
	return a.rejection(a.question(e, ref, cred).rejection()) != nil
}

// trouble returns the answer to another question at the same endpoint that also
// holds for this one: the endpoint limits requests or was unreachable at or after
// since. If there are several, it returns one of the tenant's own if there is any,
// and of these the one that is valid for longest. That the endpoint takes connections and
// does not answer counts for a tenant once it does so for two others: one's image may make
// it wait for what is behind it, as with a proxy for other registries. The same holds for
// limits that other tenants' credentials have met: each account has its own. Details of
// the other image are removed.
func (a *asker) trouble(tenant string, q question, since time.Time, doubt doubt) (r *reply, found bool) {
	var best share.Kept[*reply]
	borrowed := false
	hanging, accounts := map[string]bool{}, map[string]bool{} // other tenants for whom the endpoint hangs, or limits requests
	for other, k := range a.answers.Of(q.endpoint) {
		answer := &k.Value.answer
		if answer.Redirects.Via != "" || answer.Content.Source > 0 { // the failure is of another host
			continue
		}
		unreachable := unreachable(*answer, other.upstream == q.upstream) && other.source == q.source && other.manner == q.manner && !k.Fetched.Before(since) && doubt.allows(k.Fetched, reachOf(*answer))
		if unreachable && hangs(*answer) && k.Value.tenant != tenant {
			hanging[k.Value.tenant] = true
			unreachable = len(hanging) > 1
		}
		limited := leaveAlone(*answer) && other.upstream == q.upstream
		if limited && answer.Auth.CredentialSent && other.cred != q.cred && k.Value.tenant != tenant {
			accounts[k.Value.tenant] = true
			limited = len(accounts) > 1
		}
		lends := !unreachable && (other.cred != q.cred || k.Value.tenant != tenant)
		if lends {
			k.Until = slices.MinFunc([]time.Time{k.Until, k.Fetched.Add(borrowedLife)}, time.Time.Compare)
			limited = limited && a.now().Before(k.Until)
		}
		switch {
		case !unreachable && !limited, found && lends && !borrowed:
		case !found || borrowed && !lends || k.Until.After(best.Until):
			best, borrowed, found = k, lends, true
		}
	}
	if !found {
		return nil, false
	}
	return &reply{answer: general(best.Value.answer), borrowed: borrowed, trouble: true}, true
}

// unreachable reports whether an answer shows that the endpoint is unreachable. A
// mirror's timeout may be that of its upstream registry.
func unreachable(answer registry.Answer, sameUpstream bool) bool {
	return aboutEndpoint(answer) && (sameUpstream || !connected(answer))
}

// hangs reports whether an answer is of an endpoint that took the connection and did not
// respond.
func hangs(answer registry.Answer) bool {
	return connected(answer) && answer.Fault == registry.FaultConnectionTimeout
}

// leaveAlone reports whether the endpoint must not be asked for a while, whatever
// the question.
func leaveAlone(answer registry.Answer) bool {
	return answer.Fault == registry.FaultRateLimited || answer.Fault == registry.FaultServerError && answer.Response.RetryAfter > 0
}

// limits reports whether an endpoint, or a registry behind it, must not be asked for a
// while. What another tenant was told counts as in trouble.
func (a *asker) limits(tenant string, e registry.Endpoint, ref reference.Named) bool {
	_, limits := a.trouble(tenant, a.question(e, ref, nil), a.now().Add(time.Hour), doubt{}) // of what is to come nothing is unreachable
	return limits
}

// life returns how long a reply is reused. The answer to another question is not
// cached again: it would live longer with each new image.
func (r *reply) life() time.Duration {
	if r.trouble {
		return 0
	}
	return life(r.answer)
}

// life returns how long an answer is reused.
func life(answer registry.Answer) time.Duration {
	switch {
	case answer.Fault == registry.FaultRateLimited:
		return max(answer.Response.RetryAfter, answerLife)
	case answer.Fault == registry.FaultServerError:
		return max(answer.Response.RetryAfter, troubleLife)
	case reachOf(answer) != reached, answer.Err != nil && answer.Fault == "":
		return troubleLife
	}
	return answerLife
}

// width returns how many questions the endpoint may be asked at a time after a reply; 0 if
// it was not asked for this one.
func (r *reply) width() int {
	if r.trouble {
		return 0
	}
	if leaveAlone(r.answer) || life(r.answer) < answerLife {
		return 1
	}
	for _, took := range r.answer.Durations {
		if took >= DefaultSlowAfter {
			return 1
		}
	}
	return maxOpenAt
}

func (a *asker) digest(cred *keyring.Credential) (sum [sha256.Size]byte) {
	if cred == nil {
		return sum
	}
	user, password := cred.Reveal()
	mac := hmac.New(sha256.New, a.salt[:])
	mac.Write([]byte(user))
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	copy(sum[:], mac.Sum(nil))
	return sum
}

// sent returns the credential to send to the registry; nil for an anonymous request.
func sent(cred *keyring.Credential) *credential.Credential {
	if cred == nil {
		return nil
	}
	return &cred.Credential
}
