package probe

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
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
	lanes   map[string]chan struct{} // one per endpoint
}

// question is what makes two askings the same. A login is there as a digest
// under a key of this process.
type question struct {
	endpoint, source, image string
	login                   [sha256.Size]byte
}

type pendingAnswer struct {
	done   chan struct{}
	answer registry.Answer
	until  time.Time // set when done
}

func newAsker() *asker {
	a := &asker{now: time.Now, answers: map[question]*pendingAnswer{}, lanes: map[string]chan struct{}{}}
	_, _ = rand.Read(a.salt[:]) // never fails, by its documentation
	return a
}

// ask returns the endpoint's answer. fresh does not take one that was had
// before.
func (a *asker) ask(ctx context.Context, e registry.Endpoint, ref reference.Named, login *keyring.Login, fresh bool) registry.Answer {
	q := question{endpoint: e.String(), source: e.Source, image: ref.String(), login: a.digest(login)}
	p, mine := a.claim(q, fresh)
	if mine {
		// Others wait for this answer, so the one who asked may not end it. The
		// conversation has a time limit of its own.
		go a.fulfil(context.WithoutCancel(ctx), q, p, e, ref, login)
	}
	select {
	case <-p.done:
		return p.answer
	case <-ctx.Done():
		return registry.Answer{Endpoint: e.String(), Err: ctx.Err()}
	}
}

// claim finds the answer to a question, or makes the caller the one to get it.
func (a *asker) claim(q question, fresh bool) (p *pendingAnswer, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	if p, ok := a.answers[q]; ok && (!fresh || p.until.IsZero()) {
		return p, false
	}
	p = &pendingAnswer{done: make(chan struct{})}
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

func (a *asker) fulfil(ctx context.Context, q question, p *pendingAnswer, e registry.Endpoint, ref reference.Named, login *keyring.Login) {
	lane := a.lane(q.endpoint)
	lane <- struct{}{}
	defer func() { <-lane }()
	answer, known := a.trouble(q)
	if !known {
		answer = e.Probe(ctx, ref, reveal(login))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.answer, p.until = answer, a.now().Add(life(answer))
	close(p.done)
}

func (a *asker) lane(endpoint string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lanes[endpoint]
	if l == nil {
		l = make(chan struct{}, 1)
		a.lanes[endpoint] = l
	}
	return l
}

// trouble returns an answer to another question about the same endpoint that
// serves for this one too: the endpoint could not be talked to, or wants to be
// left alone.
func (a *asker) trouble(q question) (registry.Answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for other, p := range a.answers {
		if other == q || other.endpoint != q.endpoint || other.source != q.source || p.until.IsZero() || now.After(p.until) {
			continue
		}
		if aboutEndpoint(p.answer) || p.answer.Fault == diagnosis.FaultRateLimited {
			return p.answer, true
		}
	}
	return registry.Answer{}, false
}

// life is how long an answer serves.
func life(answer registry.Answer) time.Duration {
	switch {
	case answer.Fault == diagnosis.FaultRateLimited:
		return max(answer.RetryAfter, answerLife)
	case aboutEndpoint(answer), answer.Fault == diagnosis.FaultServerError, answer.Err != nil && answer.Fault == "":
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
