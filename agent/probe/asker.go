package probe

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/registry"
)

// How long an answer serves. What a registry says of an image and a login
// stands for longer than a failure on the way, which may pass.
const (
	answerLife  = 5 * time.Minute
	troubleLife = 20 * time.Second
)

// asker asks registries on behalf of all pods: one at a time per endpoint, and
// once for all who want the same answer.
type asker struct {
	salt [32]byte
	now  func() time.Time

	mu      sync.Mutex
	answers map[question]*pendingAnswer
	lanes   map[string]*lane // by endpoint; only those in use
	// heard is told what came of each conversation about a manifest.
	heard func(registry.Endpoint, reference.Named, registry.Answer)
}

// question is what makes two askings the same. A login is there as a digest
// under a key of this process.
type question struct {
	endpoint, source, image string
	login                   [sha256.Size]byte
	settle                  bool
	content                 string // "" for the manifest alone, else what is looked at
}

type pendingAnswer struct {
	done         chan struct{}
	answer       registry.Answer
	borrowed     bool      // the answer was to another login
	ended, until time.Time // set when done
	waiting      int       // who would hear it
}

// lane lets one conversation with an endpoint be held at a time.
type lane struct {
	turn  chan struct{}
	users int
}

func newAsker() *asker {
	a := &asker{now: time.Now, answers: map[question]*pendingAnswer{}, lanes: map[string]*lane{}, heard: func(registry.Endpoint, reference.Named, registry.Answer) {}}
	_, _ = rand.Read(a.salt[:]) // never fails, by its documentation
	return a
}

// ask returns the endpoint's answer, and none that was had before the given
// time, unless the endpoint wants to be left alone. settle allows it one question
// more where the endpoint refuses the repository without saying whether it
// exists. borrowed tells that the endpoint was not asked, since it wants to be
// left alone by somebody with another login.
func (a *asker) ask(ctx context.Context, e registry.Endpoint, ref reference.Named, login *keyring.Login, since time.Time, settle bool) (answer registry.Answer, borrowed bool) {
	q := a.question(e, ref, login)
	q.settle = settle
	return a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		answer := e.Probe(ctx, e.Reference(ref), reveal(login))
		a.heard(e, ref, answer)
		if settle && unsettled(answer) {
			answer.Exists = e.Control(ctx, e.Reference(ref), reveal(login))
		}
		return answer
	})
}

// inspect returns what the endpoint holds.
func (a *asker) inspect(ctx context.Context, e registry.Endpoint, ref reference.Named, login *keyring.Login, want registry.InspectOptions, since time.Time) (answer registry.Answer, borrowed bool) {
	q := a.question(e, ref, login)
	q.content = fmt.Sprint(want.Thorough, want.Blobs)
	return a.share(ctx, e, q, since, func(ctx context.Context) registry.Answer {
		return e.Inspect(ctx, e.Reference(ref), reveal(login), want)
	})
}

func (a *asker) question(e registry.Endpoint, ref reference.Named, login *keyring.Login) question {
	return question{endpoint: e.String(), source: e.Source, image: e.Key(ref), login: a.digest(login)}
}

// unsettled tells of a refusal that says nothing of the repository's existence.
func unsettled(answer registry.Answer) bool {
	return answer.Fault == registry.FaultInsufficientScope ||
		answer.Fault == registry.FaultForbidden && answer.Phase == registry.PhaseManifest
}

// share has a question asked once for all who want the same answer.
func (a *asker) share(ctx context.Context, e registry.Endpoint, q question, since time.Time, get func(context.Context) registry.Answer) (answer registry.Answer, borrowed bool) {
	if ctx.Err() != nil { // nobody would hear the answer
		return registry.Answer{Endpoint: e.String(), Err: ctx.Err()}, false
	}
	p, mine := a.claim(q, since)
	if mine {
		// Others wait for this answer, so the one who asked may not end it. The
		// conversation has a time limit of its own.
		ctx := context.WithoutCancel(ctx)
		go a.fulfil(q, p, since, func() registry.Answer { return get(ctx) })
	}
	select {
	case <-p.done:
		return p.answer, p.borrowed
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		p.waiting--
		return registry.Answer{Endpoint: e.String(), Err: ctx.Err()}, false
	}
}

// forget drops the answers, also those that are yet to come, for all who ask
// from now on. What wants to be left alone still does.
func (a *asker) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.answers, func(_ question, p *pendingAnswer) bool { return p.until.IsZero() || !leaveAlone(p.answer) })
}

// claim finds the answer to a question, or makes the caller the one to get it.
func (a *asker) claim(q question, since time.Time) (p *pendingAnswer, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	if p, ok := a.answers[q]; ok && (p.until.IsZero() || !p.ended.Before(since) || leaveAlone(p.answer)) {
		p.waiting++
		return p, false
	}
	p = &pendingAnswer{done: make(chan struct{}), waiting: 1}
	a.answers[q] = p
	return p, true
}

func (a *asker) expire() {
	now := a.now()
	for q, p := range a.answers {
		if !p.until.IsZero() && now.After(p.until) {
			delete(a.answers, q)
		}
	}
}

// fulfil gets the answer to a question, from the trouble that another had with
// the endpoint or by asking. Trouble is not kept under the second question: it
// would last longer with each image that comes along. Where all have given up
// before the endpoint was free, it is not asked.
func (a *asker) fulfil(q question, p *pendingAnswer, since time.Time, probe func() registry.Answer) {
	defer a.enter(q.endpoint)()
	if a.abandoned(q, p) {
		return
	}
	answer, borrowed, known := a.trouble(q, since)
	if !known {
		answer = probe()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.answer, p.borrowed = answer, borrowed
	if known {
		if a.answers[q] == p {
			delete(a.answers, q)
		}
	} else {
		p.ended = a.now()
		p.until = p.ended.Add(life(answer))
	}
	close(p.done)
}

// abandoned gives a question up for which nobody waits any more.
func (a *asker) abandoned(q question, p *pendingAnswer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.waiting > 0 {
		return false
	}
	if a.answers[q] == p {
		delete(a.answers, q)
	}
	close(p.done)
	return true
}

// enter waits for the endpoint to be free.
func (a *asker) enter(endpoint string) (leave func()) {
	a.mu.Lock()
	l := a.lanes[endpoint]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		a.lanes[endpoint] = l
	}
	l.users++
	a.mu.Unlock()
	l.turn <- struct{}{}
	return func() {
		<-l.turn
		a.mu.Lock()
		defer a.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(a.lanes, endpoint)
		}
	}
}

// trouble returns an answer to another question about the same endpoint that
// serves for this one too: the endpoint wants to be left alone or, as was
// found since the given time, could not be talked to. The one that stands
// longest is taken. What is in it of another pod's image is left out.
func (a *asker) trouble(q question, since time.Time) (answer registry.Answer, borrowed, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	var by question
	var longest *pendingAnswer
	for other, p := range a.answers {
		if other.endpoint != q.endpoint || p.until.IsZero() || p.answer.Via != "" { // the last is another's trouble
			continue
		}
		unreachable := aboutEndpoint(p.answer) && other.source == q.source && !p.ended.Before(since)
		if (unreachable || leaveAlone(p.answer)) && (longest == nil || p.until.After(longest.until)) {
			by, longest = other, p
		}
	}
	if longest == nil {
		return registry.Answer{}, false, false
	}
	answer = longest.answer
	answer.Blob, answer.Digest, answer.MediaType, answer.Exists = "", "", "", ""
	answer.Tags, answer.Platforms, answer.Looked = nil, nil, 0
	answer.Parts, answer.Compressed = nil, 0
	return answer, by.login != q.login && !aboutEndpoint(answer), true
}

// leaveAlone tells that the endpoint wants not to be asked for a while,
// whatever it is about.
func leaveAlone(answer registry.Answer) bool {
	return answer.Fault == registry.FaultRateLimited || answer.Fault == registry.FaultServerError && answer.RetryAfter > 0
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

func (a *asker) digest(login *keyring.Login) (sum [sha256.Size]byte) {
	if login == nil {
		return sum
	}
	user, password := login.Reveal()
	mac := hmac.New(sha256.New, a.salt[:])
	mac.Write([]byte(user))
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	copy(sum[:], mac.Sum(nil))
	return sum
}

func reveal(login *keyring.Login) *registry.Login {
	if login == nil {
		return nil
	}
	user, password := login.Reveal()
	return &registry.Login{Username: user, Password: password}
}
