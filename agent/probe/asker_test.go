package probe

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
)

// hub returns the endpoint https://hub.test with default settings.
func hub() registry.Endpoint { return registry.Endpoint{Scheme: "https", Host: "hub.test"} }

func named(t *testing.T, s string) reference.Named {
	t.Helper()
	n, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return reference.TagNameOnly(n)
}

// put asks a question like ask, with a function as the registry.
func (a *asker) put(q question, since time.Time, probe func() registry.Answer) registry.Answer {
	answer, _ := a.share(context.Background(), q, since, func(context.Context) registry.Answer { return probe() })
	return answer
}

func about(image string) question { return question{endpoint: "https://hub.test", image: image} }

var (
	found       = registry.Answer{Found: true, Phase: registry.PhaseManifest, Status: 200}
	refused     = registry.Answer{Fault: registry.FaultConnectionRefused, Phase: registry.PhaseConnect}
	limited     = registry.Answer{Fault: registry.FaultRateLimited, Phase: registry.PhaseManifest, Status: 429}
	unavailable = registry.Answer{Fault: registry.FaultServerError, Phase: registry.PhaseManifest, Status: 503}
)

func TestLife(t *testing.T) {
	t.Parallel()
	with := func(a registry.Answer, d time.Duration) registry.Answer {
		a.Response.RetryAfter = d
		return a
	}
	for name, tc := range map[string]struct {
		answer registry.Answer
		want   time.Duration
	}{
		"found":                    {found, answerLife},
		"unauthorized":             {registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest}, answerLife},
		"missing":                  {registry.Answer{Fault: registry.FaultTagNotFound, Phase: registry.PhaseManifest}, answerLife},
		"refused":                  {refused, troubleLife},
		"name":                     {registry.Answer{Fault: registry.FaultDNSFailure, Phase: registry.PhaseDNS}, troubleLife},
		"certificate":              {registry.Answer{Fault: registry.FaultTLSUntrusted, Phase: registry.PhaseTLS}, troubleLife},
		"reset":                    {registry.Answer{Fault: registry.FaultNetworkUnreachable, Phase: registry.PhaseManifest}, troubleLife},
		"hangs":                    {registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhasePing}, troubleLife},
		"server error":             {unavailable, troubleLife},
		"server error with a wish": {with(unavailable, time.Minute), time.Minute},
		"server error, no hurry":   {with(unavailable, time.Second), troubleLife},
		"not held":                 {registry.Answer{Err: errors.New("given up")}, troubleLife},
		"rate limit":               {limited, answerLife},
		"rate limit, short":        {with(limited, time.Second), answerLife},
		"rate limit, long":         {with(limited, 6*time.Hour), 6 * time.Hour},
	} {
		if got := life(tc.answer); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestAnswersExpire(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer registry.Answer
		life   time.Duration
	}{"answer": {found, answerLife}, "trouble": {refused, troubleLife}, "rate limit": {limited, answerLife}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, asked := newAsker(), 0
				ask := func() {
					a.put(about("app"), time.Time{}, func() registry.Answer { asked++; return tc.answer })
				}
				ask()
				time.Sleep(tc.life - 1)
				ask()
				if asked != 1 {
					t.Fatalf("asked %d times within the answer's life, want 1", asked)
				}
				time.Sleep(time.Nanosecond)
				ask()
				if asked != 2 {
					t.Errorf("asked %d times after it, want 2", asked)
				}
			})
		})
	}
}

// A failure of an endpoint is reused for other images and expires, however many of
// them ask.
func TestTroubleIsShared(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]registry.Answer{"refused": refused, "limited": limited} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, asked := newAsker(), 0
				until := time.Now().Add(life(answer))
				for i := 0; time.Now().Before(until); i++ {
					got := a.put(about(strconv.Itoa(i)), time.Time{}, func() registry.Answer { asked++; return answer })
					if got.Fault != answer.Fault {
						t.Fatalf("answer %+v", got)
					}
					if n := a.answers.Len(); n != 1 {
						t.Errorf("%d answers are kept, want 1", n)
					}
					time.Sleep(life(answer) / 10)
				}
				if asked != 1 {
					t.Errorf("asked %d times while it lasted, want 1", asked)
				}
				a.put(about("last"), time.Time{}, func() registry.Answer { asked++; return found })
				if asked != 2 {
					t.Errorf("asked %d times once it was over, want 2", asked)
				}
			})
		})
	}
}

func TestTroubleOfOthers(t *testing.T) {
	t.Parallel()
	elsewhere := question{endpoint: "https://other.test", image: "app"}
	otherConfig := question{endpoint: "https://hub.test", source: "/certs.d/x", image: "app"}
	for name, tc := range map[string]struct {
		other  question
		answer registry.Answer
		asked  bool
	}{
		"another endpoint":                      {elsewhere, refused, true},
		"another endpoint's limit":              {elsewhere, limited, true},
		"another configuration":                 {otherConfig, refused, true},
		"another configuration's limit":         {otherConfig, limited, false},
		"another image's answer":                {about("other"), found, true},
		"another image's refusal":               {about("other"), registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest}, true},
		"another image's server error":          {about("other"), unavailable, true},
		"server error that wants to be let be":  {about("other"), registry.Answer{Fault: registry.FaultServerError, Response: registry.Response{RetryAfter: time.Second}}, false},
		"a token server's refused connection":   {about("other"), registry.Answer{Fault: registry.FaultConnectionRefused, Phase: registry.PhaseToken}, true},
		"a token server's rate limit":           {about("other"), registry.Answer{Fault: registry.FaultRateLimited, Phase: registry.PhaseToken}, false},
		"another image that leaves one hanging": {about("other"), registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseManifest}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, asked := newAsker(), false
			a.put(tc.other, time.Time{}, func() registry.Answer { return tc.answer })
			a.put(about("app"), time.Time{}, func() registry.Answer { asked = true; return found })
			if asked != tc.asked {
				t.Errorf("asked %t, want %t", asked, tc.asked)
			}
		})
	}
}

// Of two failures the one that is valid for longer is returned, whatever the map's
// order.
func TestLongestTroubleCounts(t *testing.T) {
	t.Parallel()
	for range 20 {
		a := newAsker()
		later := a.now().Add(time.Hour) // as a fresh asking has it
		a.put(about("one"), time.Time{}, func() registry.Answer { return refused })
		a.put(about("two"), later, func() registry.Answer { return limited })
		if got := a.put(about("three"), time.Time{}, func() registry.Answer { return found }); got.Fault != registry.FaultRateLimited {
			t.Fatalf("answer %+v, want the rate limit", got)
		}
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first registry.Answer
		asked bool
	}{
		"answer": {found, true}, "trouble": {refused, true}, "server error": {unavailable, true},
		"rate limit":                  {limited, false},
		"server error that has asked": {registry.Answer{Fault: registry.FaultServerError, Response: registry.Response{RetryAfter: time.Hour}}, false},
	} {
		for _, image := range []string{"app", "other"} {
			t.Run(name+", "+image, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a, asked := newAsker(), false
					a.put(about("app"), time.Time{}, func() registry.Answer { return tc.first })
					time.Sleep(time.Second)
					a.put(about(image), a.now(), func() registry.Answer { asked = true; return found })
					if asked != tc.asked {
						t.Errorf("asked %t, want %t", asked, tc.asked)
					}
				})
			})
		}
	}
}

// Concurrent requests for a fresh answer are made once.
func TestFreshTogether(t *testing.T) {
	t.Parallel()
	for name, images := range map[string]func(i int) string{
		"one image":   func(int) string { return "app" },
		"many images": strconv.Itoa,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAsker()
				a.put(about("app"), time.Time{}, func() registry.Answer { return refused })
				time.Sleep(time.Second)
				var asked atomic.Int32
				var wg sync.WaitGroup
				since := a.now()
				for i := range 50 {
					wg.Go(func() {
						a.put(about(images(i)), since, func() registry.Answer {
							asked.Add(1)
							time.Sleep(5 * time.Second)
							return refused
						})
					})
				}
				wg.Wait()
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times, want 1", n)
				}
			})
		})
	}
}

// An endpoint that answers well is asked several questions at a time, fewer for one
// namespace, and any other one by one. Different endpoints do not wait for each other.
func TestLanes(t *testing.T) {
	t.Parallel()
	slow := found
	slow.Durations = map[registry.Phase]time.Duration{registry.PhaseManifest: DefaultSlowAfter}
	for name, tc := range map[string]struct {
		answer           registry.Answer
		namespaces, most int
	}{
		"found":         {found, 3, maxOpenAt},
		"one namespace": {found, 1, maxOpenAtOf},
		"missing":       {registry.Answer{Fault: registry.FaultTagNotFound, Phase: registry.PhaseManifest, Status: 404}, 3, maxOpenAt},
		"slow":          {slow, 3, 1},
		"server error":  {unavailable, 3, 1},
		"ended early":   {registry.Answer{Err: errors.New("given up")}, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAsker()
				var mu sync.Mutex
				now, most := map[string]int{}, map[string]int{}
				enter := func(endpoint string, by int) {
					mu.Lock()
					defer mu.Unlock()
					now[endpoint] += by
					now["all"] += by
					most[endpoint], most["all"] = max(most[endpoint], now[endpoint]), max(most["all"], now["all"])
				}
				var wg sync.WaitGroup
				for i := range 36 {
					q := question{endpoint: "https://hub" + strconv.Itoa(i%2), image: strconv.Itoa(i)}
					wg.Go(func() {
						a.share(inNamespace(t, strconv.Itoa(i/2%tc.namespaces)), q, time.Time{}, func(context.Context) registry.Answer {
							enter(q.endpoint, 1)
							time.Sleep(time.Second)
							enter(q.endpoint, -1)
							return tc.answer
						})
					})
				}
				wg.Wait()
				for i := range 2 {
					if n := most["https://hub"+strconv.Itoa(i)]; n != tc.most {
						t.Errorf("%d conversations at once with endpoint %d, want %d", n, i, tc.most)
					}
				}
				if most["all"] != 2*tc.most {
					t.Errorf("%d conversations at once, want %d", most["all"], 2*tc.most)
				}
			})
		})
	}
}

// Trouble of an endpoint is noticed by one question, or by those that are under way if it
// has answered well before. A registry that hangs for one namespace is asked for another.
func TestTroubleOfManyImages(t *testing.T) {
	t.Parallel()
	hang := registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseManifest}
	for name, tc := range map[string]struct {
		answer                   registry.Answer
		namespaces, asked, after int // after it has answered well
	}{
		"hangs":                         {hang, 1, 1, maxOpenAtOf},
		"hangs for several":             {hang, 3, 2, maxOpenAt},
		"limits":                        {limited, 1, 1, maxOpenAtOf},
		"limits several":                {limited, 3, 1, maxOpenAt},
		"refuses connections":           {refused, 3, 1, maxOpenAt},
		"server error with Retry-After": {registry.Answer{Fault: registry.FaultServerError, Response: registry.Response{RetryAfter: time.Minute}}, 3, 1, maxOpenAt},
	} {
		for proven, want := range map[bool]int{false: tc.asked, true: tc.after} {
			t.Run(fmt.Sprint(name, ", proven ", proven), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := newAsker()
					var asked atomic.Int32
					var wg sync.WaitGroup
					ask := func(namespace int, image string, answer registry.Answer) {
						wg.Go(func() {
							a.share(inNamespace(t, strconv.Itoa(namespace)), about(image), time.Time{}, func(context.Context) registry.Answer {
								asked.Add(1)
								time.Sleep(5 * time.Second)
								return answer
							})
						})
						synctest.Wait()
					}
					if proven {
						ask(0, "well", found)
						want++
					}
					for i := range 50 {
						ask(i%tc.namespaces, strconv.Itoa(i), tc.answer)
					}
					wg.Wait()
					if n := int(asked.Load()); n != want {
						t.Errorf("asked %d times, want %d", n, want)
					}
				})
			})
		}
	}
}

// After an answer that shows trouble the endpoint is asked one question at a time until it
// answers well again.
func TestTroubleNarrowsTheLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		var asked atomic.Int32
		var wg sync.WaitGroup
		start := time.Now()
		const well, again, all = 1 + 2*maxOpenAt, 2 + 3*maxOpenAt, 3 + 5*maxOpenAt
		for i := range all {
			wg.Go(func() {
				a.share(inNamespace(t, strconv.Itoa(i%maxOpenAt)), about(strconv.Itoa(i)), time.Time{}, func(context.Context) registry.Answer {
					n := asked.Add(1)
					time.Sleep(time.Second)
					if n > well && n <= again {
						return unavailable
					}
					return found
				})
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 8*time.Second { // 1, 4, 4, 4 in trouble, 1 in trouble, 1, 4, 4
			t.Errorf("it took %s, want 8s", took)
		}
	})
}

// However many images need it, a credential that the endpoint has not accepted is sent
// once at a time, also while the endpoint answers others well.
func TestUnprovenCredential(t *testing.T) {
	t.Parallel()
	with := func(a registry.Answer) registry.Answer {
		a.Auth.CredentialSent = true
		return a
	}
	rejected := registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest, Status: 401}
	for name, tc := range map[string]struct {
		answer      registry.Answer
		asked, most int
	}{
		"rejected":         {with(rejected), 1, 1},
		"accepted":         {with(found), 50, maxOpenAt},
		"image is missing": {with(registry.Answer{Fault: registry.FaultTagNotFound, Phase: registry.PhaseManifest, Status: 404}), 50, maxOpenAt},
		"token issued":     {with(registry.Answer{Fault: registry.FaultInsufficientScope, Phase: registry.PhaseManifest, Status: 401, Auth: registry.Auth{TokenIssued: true}}), 50, maxOpenAt},
		"forbidden":        {with(registry.Answer{Fault: registry.FaultForbidden, Phase: registry.PhaseManifest, Status: 403}), 50, 1},
		"not asked for":    {found, 50, 1},
		"hangs":            {with(registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhaseManifest}), 2, 1}, // for two namespaces
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAsker()
				var asked atomic.Int32
				var open atOnce
				var wg sync.WaitGroup
				ask := func(i int, q question, get func() registry.Answer) {
					wg.Go(func() {
						a.share(inNamespace(t, strconv.Itoa(i%3)), q, time.Time{}, func(context.Context) registry.Answer { return get() })
					})
					synctest.Wait()
				}
				for i := range 5 {
					ask(i, about("open "+strconv.Itoa(i)), func() registry.Answer { time.Sleep(time.Second / 2); return found })
				}
				for i := range 50 {
					q := about(strconv.Itoa(i))
					q.cred[0] = 1
					ask(i, q, func() registry.Answer {
						asked.Add(1)
						open.hold(time.Second)
						return tc.answer
					})
				}
				wg.Wait()
				if int(asked.Load()) != tc.asked || int(open.most.Load()) != tc.most {
					t.Errorf("sent %d times, %d at once; want %d and %d", asked.Load(), open.most.Load(), tc.asked, tc.most)
				}
			})
		})
	}
}

func TestAskerBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		for i := range 2000 {
			q := question{endpoint: "https://hub" + strconv.Itoa(i), image: "app"}
			a.put(q, time.Time{}, func() registry.Answer { return found })
			time.Sleep(answerLife / 10)
		}
		synctest.Wait()
		if a.answers.Len() > 12 {
			t.Errorf("%d answers are kept", a.answers.Len())
		}
	})
}

// A canceled caller gets nothing; the others get the answer.
func TestWaiterGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		cred := keyring.NewCredential("pull", "hub.test", 1, credential.New(user, password))
		ref := named(t, "hub.test/app:1")
		q := a.question(hub(), ref, &cred)
		release := make(chan struct{})
		go a.put(q, time.Time{}, func() registry.Answer {
			<-release
			return found
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var gone, there registry.Answer
		var wg sync.WaitGroup
		wg.Go(func() { gone, _ = a.ask(ctx, hub(), ref, &cred, time.Time{}, false, nil) })
		wg.Go(func() { there, _ = a.ask(t.Context(), hub(), ref, &cred, time.Time{}, false, nil) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wg.Wait()
		if gone.Found || gone.Fault != "" || !errors.Is(gone.Err, context.Canceled) || gone.Endpoint != "https://hub.test" {
			t.Errorf("answer %+v to the one who gave up", gone)
		}
		if !there.Found {
			t.Errorf("answer %+v to the other", there)
		}
	})
}

// For a caller that is already canceled, no registry is asked.
func TestAskTooLate(t *testing.T) {
	t.Parallel()
	a := newAsker()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, _ := a.ask(ctx, hub(), named(t, "hub.test/app:1"), nil, time.Time{}, false, nil) // hub() would crash if it were asked
	if got.Found || got.Fault != "" || !errors.Is(got.Err, context.Canceled) || a.answers.Len() != 0 {
		t.Errorf("answer %+v, %d questions", got, a.answers.Len())
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	a, b := newAsker(), newAsker()
	cred := func(user, password string) *keyring.Credential {
		l := keyring.NewCredential("pull", "hub.test", 1, credential.New(user, password))
		return &l
	}
	if a.digest(nil) != [32]byte{} {
		t.Error("no credential has a digest")
	}
	if one, same := a.digest(cred("u", "p")), a.digest(cred("u", "p")); one != same {
		t.Error("one credential has two digests")
	}
	seen := map[[32]byte]string{a.digest(nil): "none"}
	for _, l := range [][2]string{{"u", "p"}, {"u", "q"}, {"v", "p"}, {"up", ""}, {"", "up"}} {
		d := a.digest(cred(l[0], l[1]))
		if other, dup := seen[d]; dup {
			t.Errorf("%q and %s have one digest", l, other)
		}
		seen[d] = fmt.Sprintf("%q", l)
	}
	if a.digest(cred("u", "p")) == b.digest(cred("u", "p")) {
		t.Error("two processes have the same digest: it could be looked up")
	}
}

func TestSent(t *testing.T) {
	t.Parallel()
	if sent(nil) != nil {
		t.Error("a credential was made of none")
	}
	l := keyring.NewCredential("pull", "hub.test", 1, credential.New(user, password))
	got := sent(&l)
	if got.Username.Reveal() != user || got.Password.Reveal() != password {
		t.Error("got another credential")
	}
	discreet(t, fmt.Sprintf("%v %+v %#v %v", got, *got, got, l))
}

// If all callers are canceled before the endpoint is free, it is not asked.
func TestAbandonedQuestionIsNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		release := make(chan struct{})
		go a.put(about("other"), time.Time{}, func() registry.Answer {
			<-release
			return registry.Answer{Err: errors.New("given up")}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan registry.Answer)
		go func() {
			got, _ := a.ask(ctx, hub(), named(t, "hub.test/app:1"), nil, time.Time{}, false, nil)
			done <- got
		}()
		synctest.Wait()
		cancel()
		if got := <-done; !errors.Is(got.Err, context.Canceled) {
			t.Errorf("answer %+v", got)
		}
		close(release)
		synctest.Wait() // hub() would crash if it were asked
		if n := a.answers.Len(); n != 1 {
			t.Errorf("%d questions are left, want the other one", n)
		}
	})
}

// Details of another pod's image are not returned.
func TestTroubleTellsNothingOfOthers(t *testing.T) {
	t.Parallel()
	a := newAsker()
	theirs := question{endpoint: "https://hub.test", image: "hub.test/private:1", content: "x", cred: [32]byte{1}}
	a.put(theirs, time.Time{}, func() registry.Answer {
		return registry.Answer{
			Fault: registry.FaultRateLimited, Phase: registry.PhaseBlob, Response: registry.Response{RetryAfter: time.Minute}, Content: registry.Content{Blob: "sha256:1", Tags: []string{"v1"}, Platforms: []string{"linux/arm64"}, Digest: "sha256:2", Looked: 3}, Auth: registry.Auth{Exists: true},
		}
	})
	r, found := a.trouble("", question{endpoint: "https://hub.test", image: "hub.test/mine:1"}, time.Time{}, doubt{})
	got, borrowed := r.answer, r.borrowed
	if !found || !borrowed || got.Fault != registry.FaultRateLimited || got.Response.RetryAfter != time.Minute {
		t.Errorf("answer %+v, borrowed %v, found %v", got, borrowed, found)
	}
	if got.Content.Blob != "" || got.Content.Digest != "" || got.Content.Tags != nil || got.Content.Platforms != nil || got.Auth.Exists || got.Content.Looked != 0 {
		t.Errorf("answer %+v", got)
	}
}
