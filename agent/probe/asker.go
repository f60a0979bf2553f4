package probe

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// How long an answer serves. What a registry says of an image and a credential
// stands for longer than a failure on the way, which may pass.
const (
	answerLife  = 5 * time.Minute
	troubleLife = 20 * time.Second
)

// maxAnswers bounds the answers that are kept, of all registries together.
const maxAnswers = 2000

// asker asks registries on behalf of all pods: one at a time per endpoint, and
// once for all who want the same answer.
type asker struct {
	salt    [32]byte
	now     func() time.Time
	answers *share.Cache[question, *reply]
	// heard is told what came of each conversation about a manifest.
	heard func(registry.Endpoint, reference.Named, registry.Answer)
}

// question is what makes two askings the same. A credential is there as a digest
// under a key of this process.
type question struct {
	endpoint, source, image string
	cred                    [sha256.Size]byte
	settle                  bool
	content                 string // "" for the manifest alone, else what is looked at
}

// reply is the answer to a question.
type reply struct {
	answer   registry.Answer
	borrowed bool // it was to another credential
	trouble  bool // it was to another question
}

func newAsker() *asker {
	a := &asker{now: time.Now, heard: func(registry.Endpoint, reference.Named, registry.Answer) {}}
	endpoint := func(q question) string { return q.endpoint }
	a.answers = share.NewInTurn(maxAnswers, (*reply).life, func() time.Time { return a.now() }, endpoint)
	_, _ = rand.Read(a.salt[:]) // never fails, by its documentation
	return a
}

// ask returns the endpoint's answer, and none that was had before the given
// time, unless the endpoint wants to be left alone. settle allows it one question
// more where the endpoint refuses the repository without saying whether it
// exists. borrowed tells that the endpoint was not asked, since it wants to be
// left alone by somebody with another credential.
func (a *asker) ask(ctx context.Context, e registry.Endpoint, ref reference.Named, cred *keyring.Credential, since time.Time, settle bool) (answer registry.Answer, borrowed bool) {
	q := a.question(e, ref, cred)
	q.settle = settle
	return a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		answer := e.Probe(ctx, e.Reference(ref), sent(cred))
		a.heard(e, ref, answer)
		if settle && unsettled(answer) {
			answer.Exists = e.Control(ctx, e.Reference(ref), sent(cred))
		}
		return answer
	})
}

// inspect returns what the endpoint holds.
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

// unsettled tells of a refusal that says nothing of the repository's existence.
func unsettled(answer registry.Answer) bool {
	return answer.Fault == registry.FaultInsufficientScope ||
		answer.Fault == registry.FaultForbidden && answer.Phase == registry.PhaseManifest
}

// share has a question asked once for all who want the same answer.
func (a *asker) share(ctx context.Context, e registry.Endpoint, q question, since time.Time, get func(context.Context) registry.Answer) (answer registry.Answer, borrowed bool) {
	serves := func(k share.Kept[*reply]) bool { return !k.Fetched.Before(since) || leaveAlone(k.Value.answer) }
	r, err := a.answers.GetIf(ctx, q, serves, func(ctx context.Context) (*reply, error) { return a.fulfil(ctx, q, since, get), nil })
	if err != nil {
		return registry.Answer{Endpoint: e.String(), Err: err}, false
	}
	return r.answer, r.borrowed
}

// forget drops the answers, also those that are yet to come, for all who ask
// from now on. What wants to be left alone still does.
func (a *asker) forget() {
	a.answers.Forget(func(r *reply) bool { return leaveAlone(r.answer) })
}

// fulfil gets the answer to a question, from the trouble that another had with
// the endpoint or by asking. A conversation that has begun goes on to its end,
// for those who come next: it has time limits of its own.
func (a *asker) fulfil(ctx context.Context, q question, since time.Time, get func(context.Context) registry.Answer) *reply {
	if r, known := a.trouble(q, since); known {
		return r
	}
	return &reply{answer: get(context.WithoutCancel(ctx))}
}

// trouble returns an answer to another question about the same endpoint that
// serves for this one too: the endpoint wants to be left alone or, as was
// found since the given time, could not be talked to. The one that stands
// longest is taken. What is in it of another pod's image is left out.
func (a *asker) trouble(q question, since time.Time) (r *reply, found bool) {
	var by question
	var longest share.Kept[*reply]
	for other, k := range a.answers.All() {
		answer := k.Value.answer
		if other.endpoint != q.endpoint || answer.Via != "" || answer.Source > 0 { // the others are another's trouble
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

// leaveAlone tells that the endpoint wants not to be asked for a while,
// whatever it is about.
func leaveAlone(answer registry.Answer) bool {
	return answer.Fault == registry.FaultRateLimited || answer.Fault == registry.FaultServerError && answer.RetryAfter > 0
}

// life is how long a reply serves. Trouble is not kept under the second question:
// it would last longer with each image that comes along.
func (r *reply) life() time.Duration {
	if r.trouble {
		return 0
	}
	return life(r.answer)
}

// life is how long an answer serves.
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

// sent returns what goes to the registry; nil for an anonymous request.
func sent(cred *keyring.Credential) *credential.Credential {
	if cred == nil {
		return nil
	}
	return &cred.Credential
}
