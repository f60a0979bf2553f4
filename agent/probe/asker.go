package probe

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/distribution/reference"

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

// maxAnswers is the maximum number of cached answers, over all registries.
const maxAnswers = 2000

// asker sends the requests of all pods to registries: one at a time per endpoint,
// and once for all pods that need the same answer.
type asker struct {
	salt    [32]byte
	now     func() time.Time
	answers *share.Cache[question, *reply]
	// heard is called with the answer to each manifest request.
	heard func(registry.Endpoint, reference.Named, registry.Answer)
}

// question is the cache key of an answer. It has a keyed digest of the credential,
// with a random key of this process.
type question struct {
	endpoint, source, image string
	cred                    [sha256.Size]byte
	settle                  bool
	content                 string // "" for the manifest only, else the options of Inspect
}

// reply is the answer to a question.
type reply struct {
	answer   registry.Answer
	borrowed bool // it is from a request with another credential
	trouble  bool // it is the answer to another question
}

func newAsker() *asker {
	a := &asker{now: time.Now, heard: func(registry.Endpoint, reference.Named, registry.Answer) {}}
	endpoint := func(q question) string { return q.endpoint }
	a.answers = share.NewInTurn(maxAnswers, (*reply).life, func() time.Time { return a.now() }, endpoint)
	_, _ = rand.Read(a.salt[:]) // never fails, by its documentation
	return a
}

// ask returns the endpoint's answer to a manifest request, not older than since
// unless the endpoint limits requests (see leaveAlone). settle allows one more
// request if the endpoint refuses the repository without saying whether it exists.
// borrowed reports that the endpoint was not asked because it limits requests with
// another credential.
func (a *asker) ask(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, since time.Time, settle bool) (answer registry.Answer, borrowed bool) {
	q := a.question(e, ref, cred)
	q.settle = settle
	return a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		answer := e.Probe(ctx, e.Reference(ref), sent(cred))
		a.heard(e, ref, answer)
		if settle && unsettled(answer) {
			answer.Exists = e.Control(ctx, e.Reference(ref), sent(cred))
		}
		if tokenForbidden(answer) {
			answer.Standing = a.standing(ctx, e, ref, cred, since)
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
	answer, _ := a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		return registry.Answer{Standing: e.Standing(ctx, e.Reference(ref), sent(cred))}
	})
	return answer.Standing
}

// inspect is ask for the content of the image.
func (a *asker) inspect(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, want registry.InspectOptions, since time.Time) (answer registry.Answer, borrowed bool) {
	q := a.question(e, ref, cred)
	q.content = fmt.Sprint(want.Thorough, want.Blobs)
	for _, s := range want.Sources {
		q.content += " " + s.Endpoint.Key(s.Reference)
	}
	return a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		return e.Inspect(ctx, e.Reference(ref), sent(cred), want)
	})
}

func (a *asker) question(e registry.Endpoint, ref reference.Named, cred *keyring.Credential) question {
	return question{endpoint: e.String(), source: e.Source, image: e.Key(ref), cred: a.digest(cred)}
}

// unsettled reports whether an answer is a refusal that does not say whether the repository exists.
func unsettled(answer registry.Answer) bool {
	return answer.Fault == registry.FaultInsufficientScope ||
		answer.Fault == registry.FaultForbidden && answer.Phase == registry.PhaseManifest
}

// share returns the cached answer to a question or gets it, once for all callers.
func (a *asker) share(ctx context.Context, e registry.Endpoint, q question, since time.Time, get func(context.Context) registry.Answer) (answer registry.Answer, borrowed bool) {
	serves := func(k share.Kept[*reply]) bool { return !k.Fetched.Before(since) || leaveAlone(k.Value.answer) }
	r, err := a.answers.GetIf(ctx, q, serves, func(ctx context.Context) (*reply, error) { return a.fulfil(ctx, q, since, get), nil })
	if err != nil {
		return registry.Answer{Endpoint: e.String(), Err: err}, false
	}
	return r.answer, r.borrowed
}

// forget drops all answers, including those of running requests, for later callers.
// Answers of endpoints that limit requests are kept.
func (a *asker) forget() {
	a.answers.Forget(func(r *reply) bool { return leaveAlone(r.answer) })
}

// fulfil returns the answer to a question: that of another question with the same
// failure of the endpoint, or a new one. A request is not canceled with ctx, since
// other pods may need its answer; it has its own timeouts.
func (a *asker) fulfil(ctx context.Context, q question, since time.Time, get func(context.Context) registry.Answer) *reply {
	if r, known := a.trouble(q, since); known {
		return r
	}
	return &reply{answer: get(context.WithoutCancel(ctx))}
}

// trouble returns the answer to another question at the same endpoint that also
// holds for this one: the endpoint limits requests or was unreachable at or after
// since. If there are several, it returns the one that is valid for longest. Details
// of the other image are removed.
func (a *asker) trouble(q question, since time.Time) (r *reply, found bool) {
	var by question
	var longest share.Kept[*reply]
	for other, k := range a.answers.All() {
		answer := k.Value.answer
		if other.endpoint != q.endpoint || answer.Via != "" || answer.Source > 0 { // the failure is of another host
			continue
		}
		unreachable := aboutEndpoint(answer) && other.source == q.source && !k.Fetched.Before(since)
		if (unreachable || leaveAlone(answer)) && k.Until.After(longest.Until) {
			by, longest, found = other, k, true
		}
	}
	if !found {
		return nil, false
	}
	answer := longest.Value.answer
	answer.Blob, answer.Digest, answer.MediaType, answer.Exists = "", "", "", ""
	answer.Tags, answer.Platforms, answer.Looked = nil, nil, 0
	answer.Parts, answer.Compressed = nil, 0
	return &reply{answer: answer, borrowed: by.cred != q.cred && !aboutEndpoint(answer), trouble: true}, true
}

// leaveAlone reports whether the endpoint must not be asked for a while, whatever
// the question.
func leaveAlone(answer registry.Answer) bool {
	return answer.Fault == registry.FaultRateLimited || answer.Fault == registry.FaultServerError && answer.RetryAfter > 0
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
		return max(answer.RetryAfter, answerLife)
	case answer.Fault == registry.FaultServerError:
		return max(answer.RetryAfter, troubleLife)
	case aboutEndpoint(answer), answer.Err != nil && answer.Fault == "":
		return troubleLife
	}
	return answerLife
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
