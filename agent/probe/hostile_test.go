package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// What a pod names beyond what is read is said in one piece of evidence.
func TestSecretsBeyondTheBound(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	n.secrets.byName["regcred"] = secretFor("hub.test")
	f := failure("hub.test/team/app:1", "regcred")
	f.MoreSecrets = 99_968
	evidence, creds := n.collector.checkCredentials(t.Context(), f)
	wantLines(t, "credentials", of(f, evidence, diagnosis.CheckCredentials),
		"Passed | secret regcred has credentials for hub.test (entry hub.test)",
		"NotRun | SecretUnreadable | the pod names 99968 more pull secrets, which whypull does not read")
	if len(creds) != 1 || len(n.secrets.reads) != 1 {
		t.Errorf("%d credentials of %d reads, want one", len(creds), len(n.secrets.reads))
	}
}

// Of a pod's secrets no more is decoded than its allowance, however little of it names a
// registry, and its containers share what is known of them.
func TestLargeSecrets(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	entries := make([]string, maxSecretColons)
	for i := range entries {
		entries[i] = fmt.Sprintf(`"h%d.test":{}`, i)
	}
	n.secrets.byName["entries"] = pullSecret(`{"auths":{` + strings.Join(entries, ",") + `}}`)
	n.secrets.byName["long"] = pullSecret(`{"auths":{"` + strings.Repeat("x", maxSecretData) + `":{}}}`)
	half := strings.Repeat(" ", maxSecretData/2-1000)
	n.secrets.byName["half"], n.secrets.byName["other"] = pullSecret(half+dockerConfig(user, password, "hub.test")), pullSecret(half+dockerConfig(user, password, "b.test", "c.test"))
	n.secrets.byName["third"] = pullSecret(half + dockerConfig(user, password, "d.test"))
	ctx := share.WithOnce(t.Context())
	f := failure("hub.test/team/app:1", "entries", "long", "half", "other", "third")
	const tooLarge = " is not examined: whypull reads at most 128 KiB of a pod's pull secrets"
	var hosts []*string
	for range 2 {
		evidence, creds := n.collector.checkCredentials(ctx, f)
		wantLines(t, "credentials", of(f, evidence, diagnosis.CheckCredentials),
			"NotRun | SecretUnreadable | secret entries"+tooLarge,
			"NotRun | SecretUnreadable | secret long"+tooLarge,
			"Passed | secret half has credentials for hub.test (entry hub.test)",
			"Failed | NoMatchingCredential | secret other has credentials for b.test, c.test, but the image is on hub.test",
			"NotRun | SecretUnreadable | secret third"+tooLarge)
		if len(creds) != 1 {
			t.Errorf("%d credentials, want one", len(creds))
		}
		hosts = append(hosts, &evidence[3].Credentials().Hosts[0])
	}
	if hosts[0] != hosts[1] {
		t.Error("each container has a list of hosts of its own")
	}
	if evidence, _ := n.collector.checkCredentials(t.Context(), failure("hub.test/team/app:1", "third")); evidence[0].Fault != diagnosis.FaultNoMatchingCredential {
		t.Errorf("another pod's secret: %+v", evidence[0])
	}
}

// That a pod's secrets are many makes it no more work to find the entry that was meant.
func TestManySecretsAreComparedOnce(t *testing.T) { // measures allocations, so not in parallel
	n := newNode(t, nil, nil)
	host := strings.Repeat("long.", 25) + "test"
	const entries = 6
	measure := func(secrets int) float64 {
		var names []string
		for i := range secrets {
			var keys []string
			for j := range entries {
				keys = append(keys, fmt.Sprintf("other-%d-%d.%s", i, j, host))
			}
			name := fmt.Sprint("pull-", i)
			n.secrets.byName[name], names = secretFor(keys...), append(names, name)
		}
		f := failure("hub."+host+"/team/app:1", names...)
		return testing.AllocsPerRun(1, func() { n.collector.checkCredentials(t.Context(), f) })
	}
	few, many := measure(4), measure(32)
	if many > 10*few {
		t.Errorf("%.0f allocations for 32 secrets, %.0f for 4", many, few)
	}
}

// However many pulls of a namespace are looked for in the runtime's content store, that of
// another is at once.
func TestLooksAreShared(t *testing.T) {
	t.Parallel()
	n, f, _ := begun(t)
	for range maxLooksOf {
		leave, err := n.collector.store.Enter(inNamespace(t, "evil"), "")
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	if _, _, err := n.collector.Follow(t.Context(), []diagnosis.Failure{f}); err != nil {
		t.Error(err)
	}
	f.Namespace = "evil"
	ctx, cancel := context.WithCancel(t.Context())
	n.collector.Transfers = canceling{n.collector.Transfers, cancel}
	if _, _, err := n.collector.Follow(ctx, []diagnosis.Failure{f}); !errors.Is(err, context.Canceled) {
		t.Errorf("the same namespace: %v, want it to wait", err)
	}
}

// canceling is a runtime during whose first answer the caller gives up.
type canceling struct {
	Transfers
	cancel func()
}

func (c canceling) SandboxReady(context.Context, string) (bool, error) {
	c.cancel()
	return true, nil
}

// Of an image with many layers the largest are kept: they decide what space is needed.
func TestManyLayers(t *testing.T) {
	t.Parallel()
	s := holding(t, func(c *registrytest.Content) ocispec.Descriptor {
		layers := make([]ocispec.Descriptor, 2*maxParts)
		for i := range layers {
			layers[i] = c.Layer(10 + i)
		}
		return c.Image(here("s390x"), layers...)
	})
	n := newNode(t, s.CA, nil)
	f := failure(s.Host + "/team/app:1.0")
	f.Message = "context canceled"
	n.collect(f)
	longest := 0
	for _, k := range n.collector.asker.answers.Of("https://" + s.Host) {
		longest = max(longest, len(k.Value.answer.Content.Parts))
	}
	if longest != maxParts {
		t.Errorf("%d layers are kept, want the largest %d", longest, maxParts)
	}
	if got := largest([]registry.Part{31: {Size: 1}, 32: {Size: 3}, 40: {Size: 2}}); len(got) != maxParts || !slices.Contains(got, registry.Part{Size: 3}) || !slices.Contains(got, registry.Part{Size: 2}) || !slices.Contains(got, registry.Part{Size: 1}) {
		t.Errorf("kept %v", got)
	}
}

// inNamespace returns a context for the work of a namespace.
func inNamespace(t *testing.T, namespace string) context.Context {
	t.Helper()
	return share.WithTenant(t.Context(), namespace)
}

// Behind a shared mirror one tenant's upstream limits requests for a day; that is
// nothing to pods whose images are of another.
func TestLimitOfAnotherUpstreamBehindOneMirror(t *testing.T) {
	t.Parallel()
	mirror := registrytest.New(t, registrytest.Config{Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		if r.URL.Query().Get("ns") == "evil.test" {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", registrytest.Digest)
	}}})
	hosts := "[host.\"https://" + mirror.Host + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	n := newNode(t, mirror.CA, map[string]string{"certs.d/evil.test/hosts.toml": hosts, "certs.d/good.test/hosts.toml": hosts})
	attack, victim := failure("evil.test/app:1"), failure("good.test/app:1")
	attack.Namespace = "evil"
	if got := of(attack, n.collect(attack), diagnosis.CheckRegistry); len(got) == 0 || !strings.HasPrefix(got[0], "Failed | RateLimited") {
		t.Fatalf("the attack does not work: %q", got)
	}
	for range 2 {
		if got := of(victim, n.collect(victim), diagnosis.CheckRegistry); len(got) == 0 || !strings.HasPrefix(got[0], "Passed") {
			t.Errorf("the victim's evidence %q", got)
		}
	}
}

// Another's limit at the same upstream is neither a failure, nor does it keep one
// from asking for long.
func TestBorrowedLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		day := limited
		day.Response.RetryAfter = 24 * time.Hour
		asked := 0
		ask := func(namespace, image string, answer registry.Answer) origin {
			_, from := a.share(inNamespace(t, namespace), about(image), time.Time{}, func(context.Context) registry.Answer { asked++; return answer })
			return from
		}
		ask("evil", "theirs", day)
		if from := ask("evil", "theirs too", day); from.reason != "" || asked != 1 {
			t.Errorf("the limit does not count for its own namespace: %+v, asked %d times", from, asked)
		}
		if from := ask("good", "mine", found); from.reason != diagnosis.ReasonLimitedForOthers {
			t.Errorf("not marked as another's: %+v", from)
		}
		time.Sleep(borrowedLife)
		if from := ask("good", "mine", found); from.reason != "" || asked != 2 {
			t.Errorf("after %s: %+v, asked %d times, want to be asked", borrowedLife, from, asked)
		}
		ask("evil", "theirs again", day)
		if asked != 2 {
			t.Error("the limit was not obeyed where it is in force")
		}
	})
}

// The limit of another namespace's account keeps nobody else from asking, unless two others
// have met one: then it is the node's.
func TestLimitOfAnotherAccount(t *testing.T) {
	t.Parallel()
	sent := limited
	sent.Auth.CredentialSent = true
	a, asked := newAsker(), 0
	ask := func(namespace string, account byte, answer registry.Answer) origin {
		q := about(namespace)
		q.cred[0] = account
		_, from := a.share(inNamespace(t, namespace), q, time.Time{}, func(context.Context) registry.Answer { asked++; return answer })
		return from
	}
	ask("evil", 1, sent)
	if from := ask("friend", 1, sent); from.reason != diagnosis.ReasonLimitedForOthers || asked != 1 {
		t.Errorf("the same account: %+v, asked %d times", from, asked)
	}
	if from := ask("good", 2, found); from.reason != "" || asked != 2 {
		t.Errorf("another account: %+v, asked %d times", from, asked)
	}
	ask("fair", 3, sent)
	if from := ask("last", 4, found); from.reason != diagnosis.ReasonLimitedForOthers || asked != 3 {
		t.Errorf("limited for two namespaces: %+v, asked %d times", from, asked)
	}
}

// A mirror that lets one wait for its upstream's sake can be talked to all the
// same.
func TestHangingUpstreamBehindOneMirror(t *testing.T) {
	t.Parallel()
	for phase, want := range map[registry.Phase]bool{registry.PhaseManifest: true, registry.PhaseConnect: false} {
		a, asked := newAsker(), false
		hangs := registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: phase}
		theirs, mine := about("theirs"), about("mine")
		theirs.upstream, mine.upstream = "evil.test", "good.test"
		a.put(theirs, time.Time{}, func() registry.Answer { return hangs })
		a.put(mine, time.Time{}, func() registry.Answer { asked = true; return found })
		if asked != want {
			t.Errorf("%s: asked %t, want %t", phase, asked, want)
		}
	}
}

// One tenant's image makes a shared registry wait for what is behind it, which is nothing to
// another's; that it hangs for two others is.
func TestHangingRepositoryOfAnother(t *testing.T) {
	t.Parallel()
	a, asked := newAsker(), 0
	ask := func(namespace, image string, answer registry.Answer) registry.Answer {
		got, _ := a.share(inNamespace(t, namespace), about(image), time.Time{}, func(context.Context) registry.Answer { asked++; return answer })
		return got
	}
	hang := registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhasePing}
	ask("evil", "proxied", hang)
	ask("evil", "proxied too", hang)
	if asked != 1 {
		t.Errorf("asked %d times for one namespace, want 1", asked)
	}
	if got := ask("good", "mine", found); !got.Found {
		t.Errorf("the victim's answer %+v", got)
	}
	ask("fair", "theirs", hang)
	asked = 0
	if got := ask("last", "another", found); got.Found || asked != 0 {
		t.Errorf("a registry that hangs for two namespaces: asked %d times, %+v", asked, got)
	}
}

// Rate limits of any number of hosts take a bounded part of the cache, and displace
// nobody else's answers.
func TestLimitsOfManyHostsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, asked := newAsker(), 0
		ask := func(namespace string, q question, answer registry.Answer) {
			a.share(inNamespace(t, namespace), q, time.Time{}, func(context.Context) registry.Answer { asked++; return answer })
		}
		ask("good", about("mine"), found)
		day := limited
		day.Response.RetryAfter = 24 * time.Hour
		for i := range maxAnswers + 100 {
			ask("evil", question{endpoint: fmt.Sprint("https://evil", i), image: "app"}, day)
		}
		if n := a.answers.Len(); n > maxAnswers {
			t.Errorf("%d answers are kept, want at most %d", n, maxAnswers)
		}
		asked = 0
		if ask("good", about("mine"), found); asked != 0 {
			t.Error("the attacker's answers took the place of the victim's")
		}
	})
}

// Of many questions of one namespace for one registry those beyond a bound are
// not asked, and another namespace's goes before all that wait.
func TestQuestionsOfOneNamespaceAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		release := make(chan struct{})
		var mu sync.Mutex
		var order []string
		refused := 0
		var wg sync.WaitGroup
		ask := func(namespace, image string) {
			wg.Go(func() {
				_, from := a.share(inNamespace(t, namespace), about(image), time.Time{}, func(context.Context) registry.Answer {
					<-release
					time.Sleep(time.Second)
					mu.Lock()
					defer mu.Unlock()
					order = append(order, namespace)
					return found
				})
				mu.Lock()
				defer mu.Unlock()
				if from.reason == diagnosis.ReasonQueueFull {
					refused++
				}
			})
		}
		for i := range 1 + maxWaiting + 10 {
			ask("evil", strconv.Itoa(i))
		}
		synctest.Wait()
		ask("good", "mine")
		synctest.Wait()
		close(release)
		wg.Wait()
		if refused != 10 {
			t.Errorf("%d questions were refused, want 10", refused)
		}
		if at := slices.Index(order, "good"); at < 0 || at > maxOpenAt { // the one before, and those beside it
			t.Errorf("the victim's question came after %d others", at)
		}
	})
}

// atOnce counts how many requests are made at a time.
type atOnce struct{ now, most atomic.Int32 }

// hold makes a request that takes so long.
func (o *atOnce) hold(d time.Duration) {
	o.most.Store(max(o.most.Load(), o.now.Add(1)))
	defer o.now.Add(-1)
	time.Sleep(d)
}

// However many registries hang, a conversation of another namespace begins at once.
func TestConversationsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		var open atOnce
		var wg sync.WaitGroup
		for i := range 4 * maxOpen {
			wg.Go(func() {
				a.share(inNamespace(t, "evil"), question{endpoint: fmt.Sprint("https://evil", i)}, time.Time{}, func(context.Context) registry.Answer {
					open.hold(9 * time.Second)
					return registry.Answer{Fault: registry.FaultConnectionTimeout, Phase: registry.PhasePing}
				})
			})
		}
		synctest.Wait()
		start := time.Now()
		a.share(inNamespace(t, "good"), about("mine"), time.Time{}, func(context.Context) registry.Answer { return found })
		if took := time.Since(start); took > 0 {
			t.Errorf("the victim waited %s for a place", took)
		}
		wg.Wait()
		if n := open.most.Load(); n != maxOpenOf {
			t.Errorf("%d conversations at once, want %d", n, maxOpenOf)
		}
	})
}

// A namespace that has all of its conversations open holds no registry with its next
// question: another's for that, even the same one, begins at once.
func TestEndpointIsNotHeldWithoutPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		ask := func(namespace string, q question, takes time.Duration) registry.Answer {
			answer, _ := a.share(inNamespace(t, namespace), q, time.Time{}, func(context.Context) registry.Answer {
				time.Sleep(takes)
				return found
			})
			return answer
		}
		var wg sync.WaitGroup
		for i := range maxOpenOf {
			wg.Go(func() { ask("evil", question{endpoint: fmt.Sprint("https://evil", i)}, 9*time.Second) })
		}
		synctest.Wait()
		for _, image := range []string{"one", "two"} {
			wg.Go(func() {
				if !ask("evil", about(image), 0).Found {
					t.Error("the question is lost that had to wait")
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if !ask("good", about("mine"), 0).Found || !ask("good", about("two"), 0).Found {
			t.Error("the victim's question is lost")
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the victim waited %s for the registry", took)
		}
		wg.Wait()
	})
}

// A conversation keeps its place until it ends, though nobody waits for it anymore.
func TestAbandonedConversationsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		var open atOnce
		var wg sync.WaitGroup
		ask := func(ctx context.Context, first int) {
			for i := range 3 * maxOpenOf {
				wg.Go(func() {
					a.share(ctx, question{endpoint: fmt.Sprint("https://evil", first+i)}, time.Time{}, func(context.Context) registry.Answer {
						open.hold(9 * time.Second)
						return found
					})
				})
			}
			synctest.Wait()
		}
		for i := range 5 {
			ctx, cancel := context.WithCancel(inNamespace(t, "evil"))
			ask(ctx, i*1000)
			time.Sleep(10 * time.Second) // by now those that had to wait are open
			cancel()
		}
		ask(inNamespace(t, "evil"), 5000)
		wg.Wait()
		if n := open.most.Load(); n != maxOpenOf {
			t.Errorf("%d conversations at once, want %d", n, maxOpenOf)
		}
	})
}

// Registries that send their answers slowly take not all of the room for answers.
func TestSlowBodiesOfAnother(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
	n := newNode(t, s.CA, nil)
	n.again(func(o *nodeconfig.Options) { o.Timeouts = registry.Timeouts{Total: time.Hour, Response: time.Hour} })
	begun, release := make(chan struct{}, 100*maxOpenOf), make(chan struct{})
	slow := registrytest.Repository{Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		w.WriteHeader(http.StatusForbidden) // so that a GET follows
		if r.Method == http.MethodGet {
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-release
		}
	}}
	var wg sync.WaitGroup
	for range maxOpenOf {
		evil := registrytest.New(t, registrytest.Config{CA: s.CA, Others: &slow})
		wg.Go(func() {
			f := failure(evil.Host + "/app:1")
			f.Namespace = "evil"
			_, all := n.collector.Collect(t.Context(), f, false)
			<-all
		})
	}
	for range maxOpenOf {
		<-begun
	}
	f := failure(s.Host + "/team/app:9.9")
	if got := diagnosis.Diagnose(f, n.collect(f)); got.Cause != diagnosis.TagNotFound || got.Confidence != diagnosis.Confirmed {
		t.Errorf("verdict %s, %s: %s", got.Cause, got.Confidence, got.Summary)
	}
	close(release)
	wg.Wait()
}

// What a conversation asks besides does not wait for a place: all may be taken by
// such conversations.
func TestOpenConversationsAskBesides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		var wg sync.WaitGroup
		for i := range 2 * maxOpen {
			wg.Go(func() {
				host := fmt.Sprint("https://evil", i)
				a.share(inNamespace(t, "evil"), question{endpoint: host}, time.Time{}, func(ctx context.Context) registry.Answer {
					time.Sleep(time.Second)
					answer, _ := a.share(ctx, question{endpoint: "besides " + host}, time.Time{}, func(context.Context) registry.Answer { return found })
					return answer
				})
			})
		}
		wg.Wait()
	})
}

// rejecting is a registry of many repositories that knows no such password, and of some
// that need none.
func rejecting(t *testing.T, auth registrytest.Auth) *registrytest.Server {
	t.Helper()
	config := registrytest.Config{Passwords: map[string]string{user: "another"}}
	for i := range 50 {
		config.Repositories = append(config.Repositories, registrytest.Repository{Name: fmt.Sprint("team/app", i), Tags: []string{"1"}, Auth: auth})
	}
	for i := range 10 {
		config.Repositories = append(config.Repositories, registrytest.Repository{Name: fmt.Sprint("team/open", i), Tags: []string{"1"}})
	}
	return registrytest.New(t, config)
}

// tries is how many requests a registry got with a credential for it.
func tries(s *registrytest.Server) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Auth == "Basic" || r.Method == http.MethodPost {
			n++
		}
	}
	return n
}

// Fifty images of three namespaces and one wrong password are one try, though the registry
// answers well for other images, and until the secret changes there are few more: they
// back off to one an hour.
func TestRejectedCredentialIsTriedOnce(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]registrytest.Auth{"basic": registrytest.Basic, "bearer": registrytest.Bearer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rejecting(t, auth)
			n := newNode(t, s.CA, nil)
			c := n.clocked()
			n.secrets.byName["robot"] = pullSecret(dockerConfig(user, password, s.Host))
			image := func(i int) diagnosis.Failure { return failure(fmt.Sprintf("%s/team/app%d:1", s.Host, i), "robot") }
			var wg sync.WaitGroup
			collect := func(i int, f diagnosis.Failure) {
				f.Namespace = fmt.Sprint("team", i%3)
				wg.Go(func() {
					_, all := n.collector.Collect(t.Context(), f, false)
					<-all
				})
			}
			for i := range 50 {
				collect(i, image(i))
				collect(i, failure(fmt.Sprintf("%s/team/open%d:1", s.Host, i%10)))
			}
			wg.Wait()
			one := tries(s)
			if one == 0 || one > 2 { // a HEAD and, for the registry's words, a GET; or a POST and a GET of the token server
				t.Fatalf("%d requests with the wrong password for 50 images, want those of one try", one)
			}
			examined := func(d time.Duration) (more int) {
				before := tries(s)
				for range d / (5 * time.Minute) {
					c.advance(5 * time.Minute)
					for i := range 10 {
						n.collectFresh(image(i), true)
					}
				}
				return tries(s) - before
			}
			for _, step := range []struct {
				d    time.Duration
				want int
			}{{10 * time.Minute, 0}, {5 * time.Minute, 1}, {25 * time.Minute, 0}, {5 * time.Minute, 1}, {55 * time.Minute, 0}, {5 * time.Minute, 1}, {2 * time.Hour, 2}} {
				if got := examined(step.d); got != step.want*one {
					t.Errorf("%d requests with it in %s more, want those of %d tries", got, step.d, step.want)
				}
			}
			c.advance(10 * time.Minute)
			got := of(image(3), n.collect(image(3)), diagnosis.CheckRegistry)
			if len(got) == 0 || !strings.HasPrefix(got[0], "Failed | Unauthorized") ||
				!strings.HasSuffix(got[0], "; rejected at 2026-01-02 06:49 UTC, not tried again before 2026-01-02 07:49 UTC or a change of the secret") {
				t.Errorf("evidence %q", got)
			}
			n.secrets.byName["robot"] = pullSecret(dockerConfig(user, "another", s.Host))
			if got := of(image(3), n.collect(image(3)), diagnosis.CheckRegistry); len(got) != 1 || !strings.HasPrefix(got[0], "Passed") {
				t.Errorf("evidence once the secret has changed: %q", got)
			}
			n.secrets.byName["robot"] = pullSecret(dockerConfig(user, password, s.Host))
			if got := examined(time.Hour - 10*time.Minute); got != one {
				t.Errorf("%d requests with it after an hour, want %d", got, one)
			}
		})
	}
}

// That a repository is refused says nothing of the credential.
func TestRefusedRepositoryIsNoRejection(t *testing.T) {
	t.Parallel()
	sent := func(a registry.Answer) registry.Answer {
		a.Auth.CredentialSent = true
		return a
	}
	for name, tc := range map[string]struct {
		answer registry.Answer
		want   bool
	}{
		"password":                {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest, Status: 401}), true},
		"password, at the ping":   {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhasePing, Status: 401}), true},
		"token server":            {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseToken, Status: 401}), true},
		"token server forbids":    {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseToken, Status: 403}), false},
		"token server refuses it": {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseToken, Status: 403, Auth: registry.Auth{Standing: registry.StandingRefused}}), true},
		"not sent":                {registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest, Status: 401}, false},
		"scope":                   {sent(registry.Answer{Fault: registry.FaultInsufficientScope, Phase: registry.PhaseManifest, Status: 401}), false},
		"forbidden":               {sent(registry.Answer{Fault: registry.FaultForbidden, Phase: registry.PhaseManifest, Status: 403}), false},
		"where it redirects to":   {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest, Status: 401, Redirects: registry.Redirects{Via: "https://hub.test"}}), false},
		"a blob":                  {sent(registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseBlob, Status: 401}), false},
		"found":                   {sent(found), false},
		"limited at token server": {sent(registry.Answer{Fault: registry.FaultRateLimited, Phase: registry.PhaseToken, Status: 429}), false},
	} {
		if got := rejects(tc.answer); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

// A credential that was accepted meanwhile starts over: its next rejection is the
// first.
func TestRejectionAfterAcceptance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		q := about("mine")
		q.cred[0] = 1
		waits := func(answer registry.Answer) time.Duration {
			answer.Auth.CredentialSent = true
			a.share(t.Context(), q, time.Now(), func(context.Context) registry.Answer { return answer })
			var wait time.Duration
			if last := a.rejection(q.rejection()); last != nil {
				wait = last.wait
			}
			time.Sleep(wait + 1) // else the answer still serves
			return wait
		}
		rejected := registry.Answer{Fault: registry.FaultUnauthorized, Phase: registry.PhaseManifest, Status: http.StatusUnauthorized}
		for i, step := range []struct {
			answer registry.Answer
			want   time.Duration
		}{{rejected, firstRejection}, {rejected, 2 * firstRejection}, {rejected, maxRejection}, {rejected, maxRejection}, {found, 0}, {rejected, firstRejection}} {
			if got := waits(step.answer); got != step.want {
				t.Errorf("step %d: not tried again for %s, want %s", i, got, step.want)
			}
		}
	})
}

// One namespace's rejected credentials push none of another's out.
func TestRejectionsAreBounded(t *testing.T) {
	t.Parallel()
	a, now := newAsker(), newClock()
	a.now = now.Now
	key := func(i int) question {
		k := question{endpoint: "https://hub.test"}
		binary.BigEndian.PutUint32(k.cred[:], uint32(i))
		return k
	}
	good, evil := inNamespace(t, "good"), inNamespace(t, "evil")
	a.noteRejection(good, key(0), registry.Answer{})
	now.advance(time.Second)
	for i := 1; i < maxRejections+100; i++ {
		a.noteRejection(evil, key(i), registry.Answer{})
	}
	if n := a.rejected.Len(); a.rejection(key(0)) == nil || n != maxRejections {
		t.Errorf("%+v; %d rejections, want %d", a.rejection(key(0)), n, maxRejections)
	}
	now.advance(2 * maxRejection)
	a.noteRejection(evil, key(1), registry.Answer{})
	if n := a.rejected.Len(); n != 1 {
		t.Errorf("%d rejections are kept once they are over, want the new one", n)
	}
}

// Pulls are tried again for each namespace in turn, and for none without bound.
func TestRetriesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRetries()
		release := make(chan struct{})
		var mu sync.Mutex
		var order []string
		begin := func(namespace, image string) {
			r.get(retryKey{tenant: namespace, image: image}, image, func() []diagnosis.Evidence {
				<-release
				mu.Lock()
				defer mu.Unlock()
				order = append(order, namespace)
				return skipped(diagnosis.ReasonPullGoesOn, diagnosis.CheckPull)
			}, func(string) {})
			synctest.Wait()
		}
		for i := range 1 + maxRetriesWaiting + 5 {
			begin("evil", strconv.Itoa(i))
		}
		begin("good", "mine")
		close(release)
		synctest.Wait()
		if at := slices.Index(order, "good"); at < 0 || at > 2 || len(order) != 2+maxRetriesWaiting {
			t.Errorf("the victim's came after %d others, of %d", at, len(order))
		}
		full := 0
		for i := range 1 + maxRetriesWaiting + 5 {
			e := r.get(retryKey{tenant: "evil", image: strconv.Itoa(i)}, "", nil, nil)
			if len(e) == 1 && e[0].Reason == diagnosis.ReasonRetryQueueFull {
				full++
			}
		}
		if full != 5 {
			t.Errorf("%d were told that there are too many, want 5", full)
		}
	})
}

// A retry that there was no room for is tried again as soon as any, and counts as none.
func TestFullQueueDoublesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRetries()
		get := func() []diagnosis.Evidence {
			defer synctest.Wait()
			return r.get(retryKey{tenant: "team", image: "mine"}, "uid", func() []diagnosis.Evidence {
				return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Passed}}
			}, func(string) {})
		}
		serves := func(what string, outcome diagnosis.Outcome, life time.Duration) {
			t.Helper()
			time.Sleep(life - 1)
			if e := get(); len(e) != 1 || e[0].Outcome != outcome {
				t.Errorf("%s: %+v", what, e)
			}
			time.Sleep(time.Nanosecond)
			if get() != nil {
				t.Errorf("%s: it serves for longer than %s", what, life)
			}
		}
		ctx, cancel := context.WithCancel(inNamespace(t, "team"))
		for range 1 + maxRetriesWaiting {
			go func() {
				if leave, err := r.one.Enter(ctx, ""); err == nil {
					<-ctx.Done()
					leave()
				}
			}()
		}
		synctest.Wait()
		get()
		for range 3 {
			serves("full", diagnosis.NotRun, retryLife)
		}
		cancel()
		synctest.Wait()
		time.Sleep(retryLife)
		get()
		serves("a first retry", diagnosis.Passed, retryLife)
		serves("a second one", diagnosis.Passed, 2*retryLife)
	})
}

// For an image that waits in another namespace's queue, one does not wait there.
func TestRetriesOfOneImage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRetries()
		release := make(chan struct{})
		var order []string // one runs at a time
		begin := func(namespace, image string) {
			r.get(retryKey{tenant: namespace, image: image}, image, func() []diagnosis.Evidence {
				<-release
				order = append(order, namespace)
				return skipped(diagnosis.ReasonPullGoesOn, diagnosis.CheckPull)
			}, func(string) {})
			synctest.Wait()
		}
		for i := range 10 {
			begin("evil", strconv.Itoa(i))
		}
		begin("good", "9")
		close(release)
		synctest.Wait()
		if at := slices.Index(order, "good"); at < 0 || at > 2 {
			t.Errorf("the victim's came after %d others", at)
		}
	})
}

// The slow checks end, whatever the registry does; what was not asked by then has
// not run.
func TestExaminationEnds(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Others: &registrytest.Repository{Behaviour: registrytest.Hang}})
	n := newNode(t, s.CA, nil)
	n.again(func(o *nodeconfig.Options) { o.Timeouts = registry.Timeouts{Total: time.Hour, Response: time.Hour} })
	n.collector.patience = time.Millisecond
	f := failure(s.Host + "/team/app:1")
	got := of(f, n.collect(f), diagnosis.CheckRegistry)
	if len(got) != 1 || !strings.HasPrefix(got[0], "NotRun") {
		t.Errorf("evidence %q", got)
	}
}

// A namespace whose failures' registries are all being asked waits, no longer than the
// slow checks may take; another does not wait for it.
func TestAskingIsShared(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Others: &registrytest.Repository{Tags: []string{"1"}}})
	n := newNode(t, s.CA, nil)
	for range maxAskingOf {
		leave, err := n.collector.asking.Enter(share.WithTenant(t.Context(), "team"), "")
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	f := failure(s.Host + "/team/app:1")
	f.Namespace = "other"
	if got := of(f, n.collect(f), diagnosis.CheckRegistry); len(got) != 1 || !strings.HasPrefix(got[0], "Passed") {
		t.Errorf("another namespace: %q", got)
	}
	f.Namespace, n.collector.patience = "team", time.Millisecond
	wantLines(t, "the same namespace", of(f, n.collect(f), diagnosis.CheckRegistry), "NotRun | too many containers of this namespace are being examined")
}

// Beyond a number of failures of one namespace the slow checks are not begun.
func TestExaminationsAreBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	for range maxUnderWay {
		if _, entered := n.collector.begun.TryEnter(share.WithTenant(t.Context(), "team"), ""); !entered {
			t.Fatal("too few are begun")
		}
	}
	f := failure("hub.test/team/app:1")
	first, all := n.collector.Collect(t.Context(), f, false)
	wantLines(t, "evidence", of(f, first, diagnosis.CheckRegistry), "NotRun | too many containers of this namespace are being examined")
	if got := <-all; len(got) != len(first) {
		t.Errorf("more came: %+v", got)
	}
	if _, entered := n.collector.begun.TryEnter(share.WithTenant(t.Context(), "other"), ""); !entered {
		t.Error("another namespace waits")
	}
}
