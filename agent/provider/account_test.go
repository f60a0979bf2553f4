package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

// tokenRequest is what a token was requested for.
type tokenRequest struct{ namespace, account, accountUID, pod, podUID, audience string }

// fakeAccounts has service accounts by their names, and makes a token for each request.
type fakeAccounts struct {
	all                  map[string]kube.Account
	accountErr, tokenErr error
	now                  func() time.Time

	mu       sync.Mutex
	requests []tokenRequest
}

func (a *fakeAccounts) Account(_ context.Context, f diagnosis.Failure) (kube.Account, error) {
	account, ok := a.all[f.ServiceAccount]
	if a.accountErr == nil && !ok {
		return account, kube.ErrNotFound
	}
	return account, a.accountErr
}

func (a *fakeAccounts) Token(_ context.Context, f diagnosis.Failure, uid, audience string) (kube.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, tokenRequest{f.Namespace, f.ServiceAccount, uid, f.Pod, f.UID, audience})
	if a.tokenErr != nil {
		return kube.Token{}, a.tokenErr
	}
	return kube.Token{Value: credential.Redact(token(f.UID)), Expires: a.now().Add(10 * time.Minute)}, nil
}

func (a *fakeAccounts) asked() []tokenRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]tokenRequest(nil), a.requests...)
}

func token(podUID string) string { return "t0ken-of-" + podUID }

// withAccounts has a plugin that wants tokens, and the accounts builder and plain.
func withAccounts(t *testing.T, play string, attributes kubelet.TokenAttributes) (*fixture, *fakeAccounts) {
	t.Helper()
	f := newFixture(t, play)
	accounts := &fakeAccounts{now: f.clock.Now, all: map[string]kube.Account{
		"builder": {UID: "u1", Annotations: map[string]string{"corp/id": "7", "zone": "north", "other": "x"}},
		"plain":   {UID: "u2"},
	}}
	f.accounts = accounts
	attributes.Audience = "corp"
	f.plugin.Token = &attributes
	return f, accounts
}

func failureOf(pod, account string) diagnosis.Failure {
	f := failure("hub.test/team/app:1")
	f.Namespace, f.Pod, f.UID, f.ServiceAccount = "team", pod, "uid-"+pod, account
	return f
}

// A plugin gets a token that is bound to the pod, and those annotations of its service
// account that the configuration names (pluginProvider.provide).
func TestToken(t *testing.T) {
	t.Parallel()
	refused := errors.New("the API server answered 403 Forbidden")
	const mine = "mine-"
	for name, tc := range map[string]struct {
		play       string
		attributes kubelet.TokenAttributes
		account    string
		change     func(*fakeAccounts)
		want       diagnosis.ProviderRun
		annotation string
		user       string // what the plugin has got as annotations
		requests   int
	}{
		"annotations":             {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, Required: []string{"corp/id"}, Optional: []string{"zone", "absent"}}, "builder", nil, diagnosis.ProviderGave, "", `{"corp/id":"7","zone":"north"}`, 1},
		"none are named":          {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", nil, diagnosis.ProviderGave, "", "null", 1},
		"optional ones missing":   {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, Optional: []string{"zone"}}, "plain", nil, diagnosis.ProviderGave, "", "null", 1},
		"required ones missing":   {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, RequireAccount: new(true), Required: []string{"corp/id"}}, "plain", nil, diagnosis.ProviderNoAnnotation, "corp/id", "", 0},
		"a cache of no type":      {"account:" + mine, kubelet.TokenAttributes{}, "builder", nil, diagnosis.ProviderWantsToken, "", "", 0},
		"no such account":         {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "gone", nil, diagnosis.ProviderAccountMissing, "", "", 0},
		"account not allowed":     {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.accountErr = kube.ErrTokenAccess }, diagnosis.ProviderWantsToken, "", "", 0},
		"account refused":         {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.accountErr = refused }, diagnosis.ProviderNoToken, "", "", 0},
		"token not allowed":       {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.tokenErr = kube.ErrTokenAccess }, diagnosis.ProviderWantsToken, "", "", 1},
		"audience not permitted":  {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.tokenErr = kube.ErrAudience }, diagnosis.ProviderAudience, "", "", 1},
		"the pod is gone":         {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.tokenErr = kube.ErrNotFound }, diagnosis.ProviderNoToken, "", "", 1},
		"token refused":           {"account:" + mine, kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", func(a *fakeAccounts) { a.tokenErr = refused }, diagnosis.ProviderNoToken, "", "", 1},
		"the token as a password": {"account:", kubelet.TokenAttributes{CacheType: kubelet.CacheByToken}, "builder", nil, diagnosis.ProviderGave, "", "null", 1},
		"the same for an account": {"account:", kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", nil, diagnosis.ProviderInvalid, "", "", 1},
		"a failure":               {"exit", kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, "builder", nil, diagnosis.ProviderExited, "", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, accounts := withAccounts(t, tc.play, tc.attributes)
			if tc.change != nil {
				tc.change(accounts)
			}
			got := f.Run(t.Context(), "corp", failureOf("web", tc.account))
			user, secret := got.Credentials.Reveal()["hub.test"].Reveal()
			if got.Run != tc.want || got.Annotation != tc.annotation || user != tc.user {
				t.Errorf("%q, annotation %q, the plugin got %s", got.Run, got.Annotation, user)
			}
			if _, prefix, _ := strings.Cut(tc.play, ":"); tc.want == diagnosis.ProviderGave && secret != prefix+token("uid-web") {
				t.Error("the plugin got another token")
			}
			credentialtest.NeverShows(t, got, token("uid-web"))
			if strings.Contains(f.log.String(), token("uid-web")) {
				t.Errorf("logged: %s", f.log)
			}
			asked := accounts.asked()
			if len(asked) != tc.requests {
				t.Fatalf("requests %+v", asked)
			}
			want := tokenRequest{"team", tc.account, accounts.all[tc.account].UID, "web", "uid-web", "corp"}
			if len(asked) > 0 && asked[0] != want {
				t.Errorf("request %+v, want %+v", asked[0], want)
			}
		})
	}
}

// Without a pod there is nothing that a token could be bound to.
func TestTokenNeedsPod(t *testing.T) {
	t.Parallel()
	f, accounts := withAccounts(t, "account:x", kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount})
	image := failure("hub.test/team/app:1")
	image.ServiceAccount = "builder"
	if got := f.Run(t.Context(), "corp", image); got.Run != diagnosis.ProviderWantsToken || len(accounts.asked()) != 0 {
		t.Errorf("%q, %+v", got.Run, accounts.asked())
	}
}

// An answer serves for an account or, with the cache type Token, for a pod, and then no
// longer than its token. Each run takes one token.
func TestTokenAnswersServe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		attributes kubelet.TokenAttributes
		pods       []diagnosis.Failure
		change     func(*fakeAccounts) // before the pods are asked for again
		later      time.Duration
		want       int // runs
		wantAll    int // after they were asked for again later
	}{
		"two pods of an account":      {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, []diagnosis.Failure{failureOf("one", "builder"), failureOf("two", "builder")}, nil, 29 * time.Minute, 1, 1},
		"two accounts":                {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, []diagnosis.Failure{failureOf("one", "builder"), failureOf("one", "plain")}, nil, 29 * time.Minute, 2, 2},
		"with and without an account": {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, []diagnosis.Failure{failureOf("one", "builder"), failureOf("one", "")}, nil, 29 * time.Minute, 2, 2},
		"another annotation": {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, Optional: []string{"zone"}}, []diagnosis.Failure{failureOf("one", "builder")},
			func(a *fakeAccounts) { a.all["builder"] = kube.Account{UID: "u1"} }, time.Second, 1, 2},
		"one that it does not get": {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount, Optional: []string{"zone"}}, []diagnosis.Failure{failureOf("one", "builder")},
			func(a *fakeAccounts) {
				a.all["builder"] = kube.Account{UID: "u1", Annotations: map[string]string{"zone": "north"}}
			}, time.Second, 1, 1},
		"created again":                {kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount}, []diagnosis.Failure{failureOf("one", "plain")}, func(a *fakeAccounts) { a.all["plain"] = kube.Account{UID: "u3"} }, time.Second, 1, 2},
		"for a token":                  {kubelet.TokenAttributes{CacheType: kubelet.CacheByToken}, []diagnosis.Failure{failureOf("one", "builder"), failureOf("two", "builder")}, nil, 9 * time.Minute, 2, 2},
		"for a token that has expired": {kubelet.TokenAttributes{CacheType: kubelet.CacheByToken}, []diagnosis.Failure{failureOf("one", "builder")}, nil, 11 * time.Minute, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, accounts := withAccounts(t, "account:mine-", tc.attributes)
			ask := func() int {
				for _, pod := range tc.pods {
					if got := f.Run(t.Context(), "corp", pod); got.Run != diagnosis.ProviderGave {
						t.Errorf("%q", got.Run)
					}
				}
				return f.runs()
			}
			if n := ask(); n != tc.want {
				t.Errorf("%d runs, want %d", n, tc.want)
			}
			f.clock.add(tc.later)
			if tc.change != nil {
				tc.change(accounts)
			}
			if n := ask(); n != tc.wantAll {
				t.Errorf("%d runs later, want %d", n, tc.wantAll)
			}
			withToken := 0
			for _, pod := range tc.pods {
				if pod.ServiceAccount != "" {
					withToken++
				}
			}
			if n := len(accounts.asked()); n > f.runs() || withToken == len(tc.pods) && n != f.runs() {
				t.Errorf("%d tokens for %d runs", n, f.runs())
			}
		})
	}
}

// A token that was refused is not requested again at once.
func TestRefusedTokensBackOff(t *testing.T) {
	t.Parallel()
	f, accounts := withAccounts(t, "account:x", kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount})
	accounts.tokenErr = kube.ErrAudience
	for _, wait := range []time.Duration{time.Second, 61 * time.Second, 61 * time.Second, 61 * time.Second} {
		f.Run(t.Context(), "corp", failureOf("web", "builder"))
		f.clock.add(wait)
	}
	if n := len(accounts.asked()); n != 2 || f.runs() != 0 {
		t.Errorf("%d requests, want 2 (at once, and after a minute)", n)
	}
	accounts.tokenErr = nil
	f.clock.add(2 * time.Minute)
	if got := f.Run(t.Context(), "corp", failureOf("web", "builder")); got.Run != diagnosis.ProviderGave {
		t.Errorf("%q", got.Run)
	}
}

// Pods of an account that fail together share a run and its token.
func TestSharedToken(t *testing.T) {
	t.Parallel()
	f, accounts := withAccounts(t, "account:mine-", kubelet.TokenAttributes{CacheType: kubelet.CacheByAccount})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if got := f.Run(t.Context(), "corp", failureOf(fmt.Sprint("web-", i), "builder")); got.Run != diagnosis.ProviderGave {
				t.Errorf("%q", got.Run)
			}
		})
	}
	wg.Wait()
	if n := len(accounts.asked()); n != 1 || f.runs() != 1 {
		t.Errorf("%d tokens, %d runs", n, f.runs())
	}
}
