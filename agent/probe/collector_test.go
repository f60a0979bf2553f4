package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

const (
	manifest = "HEAD /v2/team/app/manifests/1.0"
	tagList  = "GET /v2/team/app/tags/list"
)

// open is a registry with hub.test's images, for everyone.
func open(t *testing.T) *registrytest.Server {
	t.Helper()
	return registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
}

// closed is one that requires a credential.
func closed(t *testing.T, auth registrytest.Auth) *registrytest.Server {
	t.Helper()
	return registrytest.New(t, registrytest.Config{
		Passwords:    map[string]string{user: password},
		Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: auth}},
	})
}

// replaced returns the lines with what differs between runs replaced.
func replaced(lines []string, names ...string) []string {
	return strings.Split(strings.NewReplacer(names...).Replace(strings.Join(lines, "\n")), "\n")
}

func TestCollect(t *testing.T) {
	noGoroutinesLeft(t)
	s := open(t)
	n := newNode(t, s.CA, nil)
	first, all := n.collector.Collect(t.Context(), failure(s.Host+"/team/app:1.0"), false)
	wellFormed(t, failure(s.Host+"/team/app:1.0"), first)
	for check, want := range map[diagnosis.Check]string{
		diagnosis.CheckMessage:     "Failed | TagNotFound | the kubelet reports: failed to resolve image: " + s.Host + "/team/app:1.0: not found",
		diagnosis.CheckImage:       "NotRun | whether the image is on the node is shown only to a pod that is known to be allowed to use it",
		diagnosis.CheckCredentials: "Failed | NoCredentials | the pod has no pull secret",
		diagnosis.CheckNodeDNS:     "NotRun | Pending | still running",
		diagnosis.CheckRegistry:    "NotRun | Pending | still running",
		diagnosis.CheckPodDNS:      "NotRun | Pending | still running", diagnosis.CheckPull: "NotRun | Pending | still running",
	} {
		wantLines(t, "first evidence", of(failure(s.Host+"/team/app:1.0"), first, check), want)
	}
	final := <-all
	wellFormed(t, failure(s.Host+"/team/app:1.0"), final)
	names := []string{s.Host, "HUB", n.dns.Address, "DNS"}
	for check, want := range map[diagnosis.Check]string{
		diagnosis.CheckMessage:     "Failed | TagNotFound | the kubelet reports: failed to resolve image: HUB/team/app:1.0: not found",
		diagnosis.CheckImage:       "Failed | ImageAbsent | the image is not on node worker-3",
		diagnosis.CheckCredentials: "Failed | NoCredentials | the pod has no pull secret",
		diagnosis.CheckNodeDNS:     "Passed | node worker-3 resolves registry.test to 127.0.0.1 (resolver DNS)",
		diagnosis.CheckRegistry:    "Passed | https://HUB serves the manifest without credentials",
		diagnosis.CheckPodDNS:      "NotRun | no container runtime socket is available to look up the pod's sandbox", diagnosis.CheckPull: "NotRun | pulls are not retried (--pull-retry=off)",
	} {
		wantLines(t, "evidence", replaced(of(failure(s.Host+"/team/app:1.0"), final, check), names...), want)
	}
	if len(final) != len(diagnosis.Checks()) {
		t.Errorf("%d pieces of evidence, want one of each check", len(final))
	}
	wantLines(t, "metrics", n.metrics.sorted(), "credentials Failed", "image Failed", "nodeDNS Passed", "registry Passed")
	slices.Sort(n.metrics.phases)
	if want := []diagnosis.Phase{diagnosis.PhaseConnect, diagnosis.PhaseDNS, diagnosis.PhasePing, diagnosis.PhaseTLS}; !slices.Equal(n.metrics.phases, want) {
		t.Errorf("phases %v, want %v", n.metrics.phases, want)
	}
	if at, ok := n.metrics.expires[s.Host]; !ok || time.Until(at) < time.Hour || time.Until(at) > 25*time.Hour {
		t.Errorf("certificates that expire: %v, want the registry's, in a day", n.metrics.expires)
	}
	wantLines(t, "limits", n.metrics.limits, s.Host+" 0 false")
	wantAsked(t, s, manifest)
	wantLines(t, "questions", n.dns.Queries(), "udp A registry.test.", "udp AAAA registry.test.")
	if _, more := <-all; more {
		t.Error("evidence was delivered twice")
	}
}

// Nobody needs to receive the evidence: the caller may be gone.
func TestCollectUnheard(t *testing.T) {
	noGoroutinesLeft(t)
	s := open(t)
	n := newNode(t, s.CA, nil)
	for range 3 {
		n.collector.Collect(t.Context(), failure(s.Host+"/team/app:1.0"), false)
	}
}

// If there is no reason to ask a registry, none is asked, and the first evidence is
// complete.
func TestNeedless(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy  string
		image   string
		secret  *kube.Secret
		prepare func(*critest.Runtime, string)
		why     string
		fault   diagnosis.Fault // of the image check
	}{
		"never, present": {policy: "Never", prepare: func(r *critest.Runtime, image string) { r.Add(critest.NewImage("sha256:1", []string{image}, nil)) },
			why: "the pull policy is Never, so the kubelet contacts no registry"},
		"never, absent": {policy: "Never", why: "the pull policy is Never, so the kubelet contacts no registry"},
		"never, runtime gone": {policy: "Never", prepare: func(r *critest.Runtime, _ string) { r.Stop() },
			why: "the pull policy is Never, so the kubelet contacts no registry", fault: diagnosis.FaultRuntimeUnready},
		"never, runtime fails": {policy: "Never", prepare: func(r *critest.Runtime, _ string) { r.Set(critest.Fault{Code: codes.Internal}) },
			why: "the pull policy is Never, so the kubelet contacts no registry"},
		"never, invalid name": {policy: "Never", image: "Hub/App", why: "the image reference does not parse, so there is no registry to check", fault: diagnosis.FaultNameInvalid},
		"invalid name":        {policy: "Always", image: "http://registry.test/app", why: "the image reference does not parse, so there is no registry to check", fault: diagnosis.FaultNameInvalid},
		"malformed secret": {policy: "IfNotPresent", secret: new(pullSecret("{" + password)),
			why: "the kubelet fails on the malformed secret before it contacts a registry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			n := newNode(t, s.CA, nil)
			f := failure(s.Host + "/team/app:1.0")
			if tc.image != "" {
				f = failure(tc.image)
			}
			f.PullPolicy = tc.policy
			if tc.secret != nil {
				f.PullSecrets, n.secrets.byName["pull"] = []string{"pull"}, *tc.secret
			}
			if tc.prepare != nil {
				tc.prepare(n.runtime, f.Image)
			}
			first, all := n.collector.Collect(t.Context(), f, true)
			wellFormed(t, f, first)
			wantLines(t, "DNS", of(f, first, diagnosis.CheckNodeDNS), "NotRun | "+tc.why)
			wantLines(t, "registry", of(f, first, diagnosis.CheckRegistry), "NotRun | "+tc.why)
			if got := <-all; fmt.Sprint(got) != fmt.Sprint(first) {
				t.Errorf("the final evidence differs:\n%+v\n%+v", got, first)
			}
			if e := first[1]; e.Check != diagnosis.CheckImage || e.Fault != tc.fault {
				t.Errorf("image check %+v, want fault %q", e, tc.fault)
			}
			wantAsked(t, s)
			wantLines(t, "questions", n.dns.Queries())
		})
	}
}

// With IfNotPresent and the image on the node the registry is still asked: the kubelet
// may require the pod to prove its credentials.
func TestPresentIsAsked(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	f := failure(s.Host + "/team/app:1.0")
	f.PullPolicy = "IfNotPresent"
	n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
	got := n.collect(f)
	wantLines(t, "image", of(f, got, diagnosis.CheckImage), "NotRun | whether the image is on the node is shown only to a pod that is known to be allowed to use it")
	wantLines(t, "registry", replaced(of(f, got, diagnosis.CheckRegistry), s.Host, "HUB"), "Failed | Unauthorized | https://HUB requires credentials: HTTP 401")
}

func TestCredentialsInOrder(t *testing.T) {
	t.Parallel()
	const refused = "Failed | Unauthorized | https://HUB rejects the credentials in secret %s (entry HUB): HTTP 401"
	const wants = "Failed | Unauthorized | https://HUB requires credentials: HTTP 401"
	body := "GET " + strings.TrimPrefix(manifest, "HEAD ") + " Basic" // for the error's code: HEAD has no body
	for name, tc := range map[string]struct {
		auth    registrytest.Auth
		secrets map[string]string // name to password
		named   []string
		want    []string
		asked   []string
	}{
		"none": {auth: registrytest.Basic, want: []string{wants}, asked: []string{manifest}},
		"good": {auth: registrytest.Basic, secrets: map[string]string{"a": password}, named: []string{"a"},
			want: []string{"Passed | https://HUB serves the manifest with the credentials in secret a (entry HUB)"}, asked: []string{manifest, manifest + " Basic"}},
		"good, token server": {auth: registrytest.Bearer, secrets: map[string]string{"a": password}, named: []string{"a"},
			want:  []string{"Passed | https://HUB serves the manifest with the credentials in secret a (entry HUB)"},
			asked: []string{manifest, "POST /token", manifest + " Bearer"}},
		"two that fail, in order": {auth: registrytest.Basic, secrets: map[string]string{"a": "x", "b": "y"}, named: []string{"b", "a"},
			want:  []string{fmt.Sprintf(refused, "b"), fmt.Sprintf(refused, "a"), wants},
			asked: []string{manifest, manifest + " Basic", body, manifest + " Basic", body}},
		"the second works": {auth: registrytest.Basic, secrets: map[string]string{"a": "x", "b": password, "c": "z"}, named: []string{"a", "b", "c"},
			want:  []string{fmt.Sprintf(refused, "a"), "Passed | https://HUB serves the manifest with the credentials in secret b (entry HUB)"},
			asked: []string{manifest, manifest + " Basic", body, manifest + " Basic"}},
		"twice the same": {auth: registrytest.Basic, secrets: map[string]string{"a": "x", "b": "x"}, named: []string{"a", "b"},
			want:  []string{fmt.Sprintf(refused, "a"), fmt.Sprintf(refused, "b"), wants},
			asked: []string{manifest, manifest + " Basic", body}},
		"unreadable and a good one": {auth: registrytest.Basic, secrets: map[string]string{"a": password}, named: []string{"gone", "a"},
			want: []string{"Passed | https://HUB serves the manifest with the credentials in secret a (entry HUB)"}, asked: []string{manifest, manifest + " Basic"}},
	} {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, fresh %t", name, fresh), func(t *testing.T) {
				t.Parallel()
				s := closed(t, tc.auth)
				n := newNode(t, s.CA, nil)
				for name, pw := range tc.secrets {
					n.secrets.byName[name] = pullSecret(dockerConfig(user, pw, s.Host))
				}
				got := n.collectFresh(failure(s.Host+"/team/app:1.0", tc.named...), fresh)
				wantLines(t, "evidence", replaced(of(failure(s.Host+"/team/app:1.0", tc.named...), got, diagnosis.CheckRegistry), s.Host, "HUB"), tc.want...)
				wantAsked(t, s, tc.asked...)
			})
		}
	}
}

// Credentials of the failing registry do not go to the rules, to evidence, or
// into an error's text, and neither does what a registry says freely.
func TestNothingSecretInEvidence(t *testing.T) {
	t.Parallel()
	for _, auth := range []registrytest.Auth{registrytest.Basic, registrytest.Bearer} {
		s := closed(t, auth)
		n := newNode(t, s.CA, nil)
		n.secrets.byName["good"], n.secrets.byName["bad"] = secretFor("other.test"), pullSecret(dockerConfig(user, password+"x", s.Host))
		n.secrets.byName["broken"] = kube.Secret{Type: "Opaque", Data: credential.Redact(map[string][]byte{"x": []byte(password)})}
		f := failure(s.Host+"/team/app:1.0", "good", "bad", "broken", "gone")
		f.Message = "failed to resolve: https://" + user + ":" + password + "@hub.test/v2/: 401 Unauthorized"
		got := n.collect(f)
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		discreet(t, string(text))
		answers := 0
		for q, kept := range n.collector.asker.answers.Of("https://" + s.Host) {
			answers++
			discreet(t, fmt.Sprintf("%+v %#v %+v %#v %v", q, q, *kept.Value, *kept.Value, kept.Value.answer.Err))
		}
		if answers == 0 {
			t.Error("no answer is kept")
		}
	}
}

func TestOneConversationForMany(t *testing.T) {
	noGoroutinesLeft(t)
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	n.secrets.byName["pull"] = pullSecret(dockerConfig(user, password, s.Host))
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			f := failure(s.Host+"/team/app:1.0", "pull")
			f.Pod, f.UID = fmt.Sprint("web-", i), fmt.Sprint("u-", i)
			_, all := n.collector.Collect(t.Context(), f, i%2 == 0)
			if got := of(f, <-all, diagnosis.CheckRegistry); len(got) != 1 || !strings.HasPrefix(got[0], "Passed") {
				t.Errorf("evidence %q", got)
			}
		})
	}
	wg.Wait()
	if got := heads(s); got > 2*15+2 { // a fresh one that began after an answer asks again
		t.Errorf("%d requests", got)
	}
}

func TestOneConversationForManyAtOnce(t *testing.T) {
	noGoroutinesLeft(t)
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	n.secrets.byName["pull"] = pullSecret(dockerConfig(user, password, s.Host))
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			_, all := n.collector.Collect(t.Context(), failure(s.Host+"/team/app:1.0", "pull"), false)
			<-all
		})
	}
	wg.Wait()
	wantAsked(t, s, manifest, manifest+" Basic")
	if q := n.dns.Queries(); len(q) != 2 {
		t.Errorf("questions %q, want one lookup", q)
	}
}

// Another credential, another image, or the same credential of another secret's name.
func TestConversationsApart(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Passwords: map[string]string{user: password}, Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"1.0", "2.0"}, Auth: registrytest.Basic},
	}})
	n := newNode(t, s.CA, nil)
	n.secrets.byName["a"] = pullSecret(dockerConfig(user, password, s.Host))
	n.secrets.byName["same"] = n.secrets.byName["a"]
	n.secrets.byName["wrong"] = pullSecret(dockerConfig(user, "x", s.Host))
	for _, tc := range []struct {
		tag, secret string
		heads       int // all together
	}{{"1.0", "a", 2}, {"1.0", "a", 2}, {"1.0", "same", 2}, {"2.0", "a", 4}, {"1.0", "wrong", 6}, {"1.0", "wrong", 6}} {
		n.collect(failure(s.Host+"/team/app:"+tc.tag, tc.secret))
		if got := heads(s); got != tc.heads {
			t.Errorf("%s with %s: %d requests so far, want %d", tc.tag, tc.secret, got, tc.heads)
		}
	}
}

func TestFreshAsksAnew(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, nil)
	c := n.clocked()
	f := failure(s.Host + "/team/app:1.0")
	n.collect(f)
	c.advance(time.Second)
	n.collect(f)
	if got := heads(s); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	n.collectFresh(f, true)
	if got := heads(s); got != 2 {
		t.Errorf("%d requests after a fresh one, want 2", got)
	}
	c.advance(answerLife + 1)
	n.collect(f)
	if got := heads(s); got != 3 {
		t.Errorf("%d requests when the answer has expired, want 3", got)
	}
}

// A dead endpoint is tried once for all images.
func TestDeadEndpointTriedOnce(t *testing.T) {
	noGoroutinesLeft(t)
	d := newDead(t)
	n := newNode(t, nil, map[string]string{"etc/ssl/certs/ca-certificates.crt": ""})
	c := n.clocked()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, all := n.collector.Collect(t.Context(), failure(fmt.Sprintf("%s/team/app%d:1", d.host, i)), false)
			if got := of(failure(fmt.Sprintf("%s/team/app%d:1", d.host, i)), <-all, diagnosis.CheckRegistry); len(got) != 1 || !strings.HasPrefix(got[0], "Failed | NetworkUnreachable") {
				t.Errorf("evidence %q", got)
			}
		})
	}
	wg.Wait()
	c.advance(troubleLife - 1)
	n.collect(failure(d.host + "/team/late:1"))
	if got := d.connections(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	c.advance(1)
	n.collect(failure(d.host + "/team/later:1"))
	if got := d.connections(); got != 2 {
		t.Errorf("%d connections when the trouble is old, want 2", got)
	}
}

func TestRateLimitIsObeyed(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{
		{Name: "team/app", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}},
		{Name: "team/other", Tags: []string{"1.0"}},
	}})
	n := newNode(t, s.CA, nil)
	c := n.clocked()
	n.secrets.byName["pull"] = pullSecret(dockerConfig(user, password, s.Host))
	app, other := failure(s.Host+"/team/app:1.0"), failure(s.Host+"/team/other:1.0", "pull")
	own := "Failed | RateLimited | the rate limit of https://HUB is exceeded (HTTP 429); retry in 10m"
	theirs := "NotRun | RateLimited | https://HUB was not checked with the credentials in secret pull (entry HUB): its rate limit is exceeded by other pulls on this node"
	for i, f := range []diagnosis.Failure{app, other, app, other} {
		for _, fresh := range []bool{false, true} {
			got := n.collectFresh(f, fresh)
			want := own
			if len(f.PullSecrets) > 0 {
				want = theirs
			}
			wantLines(t, fmt.Sprint("evidence ", i), replaced(of(f, got, diagnosis.CheckRegistry), s.Host, "HUB"), want)
			c.advance(30 * time.Second)
		}
	}
	wantAsked(t, s, manifest)
	c.advance(borrowedLife - 4*time.Minute) // what others were told counts no longer than that
	got := n.collect(other)
	if lines := of(other, got, diagnosis.CheckRegistry); len(lines) != 1 || !strings.HasPrefix(lines[0], "Passed") {
		t.Errorf("evidence when others' limit counts no more: %q", lines)
	}
	got = n.collectFresh(app, true)
	wantLines(t, "evidence while the limit is in force", replaced(of(app, got, diagnosis.CheckRegistry), s.Host, "HUB"), own)
}

// A canceled examination does not affect the others and has no result.
func TestCancellation(t *testing.T) {
	noGoroutinesLeft(t)
	asked, release := make(chan struct{}), make(chan struct{})
	ca := catest.New(t)
	back := registrytest.New(t, registrytest.Config{CA: ca, Plain: true, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
	n := newNode(t, ca, map[string]string{"certs.d/_default/hosts.toml": "server = \"http://" + back.Host + "\"\n"})
	n.again(func(o *nodeconfig.Options) { o.Timeouts = registry.Timeouts{Total: long, DNS: long} })
	n.collector.Registries.Resolve = hold(asked, release, n.collector.Registries.Resolve)
	f := failure(back.Host + "/team/app:1.0")
	ctx, cancel := context.WithCancel(t.Context())
	_, gone := n.collector.Collect(ctx, f, false)
	<-asked
	_, there := n.collector.Collect(t.Context(), f, false)
	cancel()
	lost := <-gone
	wellFormed(t, f, lost)
	wantLines(t, "evidence of the one who gave up", replaced(of(f, lost, diagnosis.CheckRegistry), back.Host, "HUB"), "Inconclusive | the check of http://HUB was not completed")
	close(release)
	wantLines(t, "evidence of the other", replaced(of(f, <-there, diagnosis.CheckRegistry), back.Host, "HUB"), "Passed | http://HUB serves the manifest without credentials")
	if got := heads(back); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

// hold blocks the first lookup of a conversation.
func hold(asked, release chan struct{}, resolve registry.ResolveFunc) registry.ResolveFunc {
	var once sync.Once
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		once.Do(func() {
			close(asked)
			<-release
		})
		return resolve(ctx, host)
	}
}

// A Collect that is canceled before it begins asks nobody and has no fault.
func TestCancelledBefore(t *testing.T) {
	noGoroutinesLeft(t)
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	n.secrets.byName["pull"] = pullSecret(dockerConfig(user, password, s.Host))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, all := n.collector.Collect(ctx, failure(s.Host+"/team/app:1.0", "pull"), false)
	got := <-all
	wellFormed(t, failure(s.Host+"/team/app:1.0", "pull"), got)
	for _, e := range got {
		if e.Outcome == diagnosis.Failed && e.Check != diagnosis.CheckMessage {
			t.Errorf("a check that could not run has failed: %+v", e)
		}
	}
	wantAsked(t, s)
}

func TestNameTrouble(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		zone dnstest.Zone
		want string
	}{
		"nxdomain": {dnstest.Zone{Rcode: 3}, "Failed | NameNotFound | node worker-3 cannot resolve gone.test: no such name (NXDOMAIN) from DNS"},
		"servfail": {dnstest.Zone{Rcode: 2}, "Failed | DNSFailure | node worker-3 cannot resolve gone.test: resolver DNS answered SERVFAIL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil, nil)
			n.dns.Set("gone.test", tc.zone)
			got := n.collect(failure("gone.test:5000/team/app:1.0"))
			wantLines(t, "DNS", replaced(of(failure("gone.test:5000/team/app:1.0"), got, diagnosis.CheckNodeDNS), n.dns.Address, "DNS"), tc.want)
			wantLines(t, "registry", of(failure("gone.test:5000/team/app:1.0"), got, diagnosis.CheckRegistry), "NotRun | https://gone.test:5000 was not checked: its name does not resolve")
		})
	}
}

func TestRegistryTrouble(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	expired := ca.Issue(catest.Request{NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	otherName := ca.Issue(catest.Request{Names: []string{"other.test"}})
	repos := []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}
	for name, tc := range map[string]struct {
		config registrytest.Config
		image  string
		want   string
	}{
		"healthy":       {registrytest.Config{Repositories: repos}, "team/app:1.0", "Passed | https://HUB serves the manifest without credentials"},
		"digest":        {registrytest.Config{Repositories: repos}, "team/app@" + registrytest.Digest, "Passed | https://HUB serves the manifest without credentials"},
		"other tag":     {registrytest.Config{Repositories: repos}, "team/app:1.1", "Failed | TagNotFound | https://HUB has repository team/app, but not tag 1.1: HTTP 404"},
		"no repository": {registrytest.Config{Repositories: repos}, "team/none:1.0", "Failed | RepositoryNotFound | https://HUB has no repository team/none: HTTP 404"},
		"forbidden":     {registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Status: 403}}}, "team/app:1.0", "Failed | Forbidden | https://HUB denies pull access to team/app without credentials: HTTP 403"},
		"server error":  {registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Status: 502}}}, "team/app:1.0", "Failed | ServerError | https://HUB returned a server error: HTTP 502"},
		"expired":       {registrytest.Config{Certificate: expired, Repositories: repos}, "team/app:1.0", "Failed | TLSExpired | the certificate of https://HUB (ADDR) has expired or is not yet valid"},
		"other name":    {registrytest.Config{Certificate: otherName, Repositories: repos}, "team/app:1.0", "Failed | TLSHostnameMismatch | the certificate of https://HUB (ADDR) is for other.test, not for this name"},
		"plain":         {registrytest.Config{Plain: true, Repositories: repos}, "team/app:1.0", "Failed | HTTPSMismatch | https://HUB (ADDR) speaks plain HTTP, but the node is configured to use HTTPS"},
		"reset":         {registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Behaviour: registrytest.Reset}}}, "team/app:1.0", "Failed | NetworkUnreachable | the request to https://HUB (ADDR) failed: it closed or reset the connection without an answer"},
		"token server": {registrytest.Config{TokenStatus: 503, Repositories: []registrytest.Repository{{Name: "team/app", Auth: registrytest.Bearer}}}, "team/app:1.0",
			"Failed | ServerError | token server HUB returned a server error: HTTP 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.config.CA = ca
			s := registrytest.New(t, tc.config)
			n := newNode(t, ca, nil)
			got := replaced(of(failure(s.Host+"/"+tc.image), n.collect(failure(s.Host+"/"+tc.image)), diagnosis.CheckRegistry), s.Host, "HUB", s.Address, "ADDR")
			if name == "expired" { // the times differ
				got[0], _, _ = strings.Cut(got[0], " (valid from ")
			}
			if len(got) != 1 || got[0] != tc.want {
				t.Errorf("evidence %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTagCandidates(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"0.1", "latest", "1.12.1", "1.12.3", "1.13", "2.0", "nightly"}},
	}})
	n := newNode(t, s.CA, nil)
	for object, want := range map[string][]string{
		":1.12.2":                            {"1.12.3", "1.12.1", "1.13", "2.0", "0.1"},
		"@sha256:" + strings.Repeat("b", 64): nil, ":1@sha256:" + strings.Repeat("b", 64): nil,
	} {
		var e diagnosis.Evidence
		for _, e = range n.collect(failure(s.Host + "/team/app" + object)) {
			if e.Check == diagnosis.CheckRegistry {
				break
			}
		}
		if e.Fault != diagnosis.FaultTagNotFound {
			t.Errorf("%s: evidence %+v", object, e)
		}
		wantLines(t, "candidates for "+object, e.Registry().Candidates, want...)
	}
}

// Without the node's CA certificates an untrusted certificate proves nothing; with the
// host's own it is trusted.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	s := open(t)
	const (
		unknown   = `the certificate of https://HUB (ADDR) is not trusted by the node (issued by "Test Authority")`
		untrusted = `the certificate of https://HUB (ADDR) is not trusted by the node (issued by "Test Authority"; the node trusts an authority of this name, but with another key)`
	)
	for name, tc := range map[string]struct {
		ca    *catest.CA
		files map[string]string
		want  []string
	}{
		"the node's": {ca: s.CA, want: []string{"Passed | https://HUB serves the manifest without credentials"}},
		"another":    {ca: catest.New(t), want: []string{"Failed | TLSUntrusted | " + untrusted}},
		"none":       {want: []string{"Inconclusive | " + unknown + "; but whypull did not find the node's CA certificates, so this is uncertain"}},
		"the host's": {ca: catest.New(t), files: map[string]string{
			"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"ca.pem\"\n", "certs.d/" + s.Host + "/ca.pem": string(s.CA.PEM()),
		}, want: []string{"Passed | https://HUB serves the manifest without credentials"}},
		"hosts.toml misnamed": {ca: catest.New(t), files: map[string]string{"certs.d/" + s.Host + "/host.toml": "ca = \"ca.pem\"\n"}, want: []string{
			"Inconclusive | RegistryConfigInvalid | /certs.d/HUB/host.toml is ignored: the file must be named hosts.toml", "Failed | TLSUntrusted | " + untrusted}},
		"hosts.toml invalid": {ca: catest.New(t), files: map[string]string{"certs.d/" + s.Host + "/hosts.toml": "\n\nca = " + password + "\n"}, want: []string{
			"Inconclusive | RegistryConfigInvalid | /certs.d/HUB/hosts.toml does not parse (line 3); containerd ignores it", "Failed | TLSUntrusted | " + untrusted}},
		"a file is missing": {ca: s.CA, files: map[string]string{"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"/etc/" + password + ".pem\"\n"}, want: []string{
			"Failed | RegistryConfigInvalid | /certs.d/HUB/hosts.toml names a certificate or key that cannot be read or is not valid, so the runtime refuses the pull"}},
		"a file is none": {ca: s.CA, files: map[string]string{"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"/etc/none.pem\"\n", "etc/none.pem": password}, want: []string{
			"Failed | RegistryConfigInvalid | /certs.d/HUB/hosts.toml names a certificate or key that cannot be read or is not valid, so the runtime refuses the pull"}},
		"a file is not mounted": {ca: s.CA, files: map[string]string{"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"/usr/ca.pem\"\n"}, want: []string{
			"Inconclusive | /usr/ca.pem, which the node's configuration names, is not mounted into whypull; the runtime may read it",
			"Passed | https://HUB serves the manifest without credentials"}},
		"a file is not mounted, and would be needed": {ca: catest.New(t), files: map[string]string{"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"/usr/ca.pem\"\n"}, want: []string{
			"Inconclusive | /usr/ca.pem, which the node's configuration names, is not mounted into whypull; the runtime may read it",
			"Inconclusive | " + untrusted + "; but whypull cannot read the certificate that the node's configuration names for it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tc.ca, tc.files)
			got := n.collect(failure(s.Host + "/team/app:1.0"))
			wantLines(t, "evidence", replaced(of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckRegistry), s.Host, "HUB", s.Address, "ADDR"), tc.want...)
			if len(of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckNodeDNS)) == 0 {
				t.Error("nothing is said of the name")
			}
		})
	}
}

// What whypull itself cannot do is not a fault of the node's configuration.
func TestOwnTrouble(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, map[string]string{
		"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\nca = \"/ca.pem\"\n", "ca.pem": string(s.CA.PEM()),
	})
	n.again(func(o *nodeconfig.Options) { o.TempDir = filepath.Join(o.TempDir, "none") })
	got := n.collect(failure(s.Host + "/team/app:1.0"))
	wantLines(t, "registry", of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckRegistry), "NotRun | whypull could not use the node's registry configuration")
	wantLines(t, "DNS", of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckNodeDNS), "NotRun | the node's registry configuration names no endpoint")
}

// toml returns a hosts.toml with mirrors before the server.
func toml(server string, mirrors ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server = %q\n", server)
	for _, m := range mirrors {
		fmt.Fprintf(&b, "[host.%q]\n", m)
	}
	return b.String()
}

func TestMirrors(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	start := func(tags ...string) *registrytest.Server {
		return registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Tags: tags}}})
	}
	origin, full, empty := start("1.0"), start("1.0"), start("other")
	page := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		w.Header().Set("Content-Type", "text/html")
		if r.Method != http.MethodHead {
			w.WriteHeader(http.StatusBadGateway)
		}
	}}}})
	names := []string{origin.Host, "ORIGIN", full.Host, "FULL", empty.Host, "EMPTY", page.Host, "PAGE"}
	for name, tc := range map[string]struct {
		config string
		want   []string
		dns    int
	}{
		"mirror serves": {toml("https://"+origin.Host, "https://"+full.Host), []string{"Passed | https://FULL serves the manifest without credentials"}, 1},
		"mirror lacks it": {toml("https://"+origin.Host, "https://"+empty.Host), []string{
			"Failed | TagNotFound | https://EMPTY has repository team/app, but not tag 1.0: HTTP 404",
			"Passed | https://ORIGIN serves the manifest without credentials"}, 2},
		"in order": {toml("https://"+origin.Host, "https://"+empty.Host, "https://"+full.Host), []string{
			"Failed | TagNotFound | https://EMPTY has repository team/app, but not tag 1.0: HTTP 404",
			"Passed | https://FULL serves the manifest without credentials"}, 2},
		"page, and then nothing": {toml("https://"+origin.Host, "https://"+page.Host), []string{
			"Failed | ServerError | https://PAGE returned a server error: HTTP 502"}, 1},
		"stands twice": {toml("https://"+empty.Host, "https://"+empty.Host), []string{
			"Failed | TagNotFound | https://EMPTY has repository team/app, but not tag 1.0: HTTP 404"}, 1},
		"mirror's name is gone": {toml("https://"+origin.Host, "https://gone.test"), []string{
			"NotRun | https://gone.test was not checked: its name does not resolve",
			"Passed | https://ORIGIN serves the manifest without credentials"}, 2},
		"mirror of digests only": {toml("https://"+origin.Host, "https://"+empty.Host) + "capabilities = [\"pull\"]\n", []string{
			"Passed | https://ORIGIN serves the manifest without credentials"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, ca, map[string]string{"certs.d/" + origin.Host + "/hosts.toml": tc.config})
			got := n.collect(failure(origin.Host + "/team/app:1.0"))
			wantLines(t, "evidence", replaced(of(failure(origin.Host+"/team/app:1.0"), got, diagnosis.CheckRegistry), names...), tc.want...)
			if l := of(failure(origin.Host+"/team/app:1.0"), got, diagnosis.CheckNodeDNS); len(l) != tc.dns {
				t.Errorf("names looked up: %q, want %d", l, tc.dns)
			}
			for _, e := range got {
				if e.Check == diagnosis.CheckRegistry && (e.Endpoint.Mirror == strings.HasSuffix(e.Endpoint.URL, origin.Host) || e.Endpoint.ConfigDir != "/certs.d") {
					t.Errorf("evidence %+v", e)
				}
			}
		})
	}
}

// A mirror that only serves digests is asked for one.
func TestMirrorOfDigests(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	repos := []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}
	origin, mirror := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repos}), registrytest.New(t, registrytest.Config{CA: ca, Repositories: repos})
	n := newNode(t, ca, map[string]string{"certs.d/" + origin.Host + "/hosts.toml": toml("https://"+origin.Host, "https://"+mirror.Host) + "capabilities = [\"pull\"]\n"})
	n.collect(failure(origin.Host + "/team/app:1.0@" + registrytest.Digest))
	wantAsked(t, origin)
	wantAsked(t, mirror, "HEAD /v2/team/app/manifests/"+registrytest.Digest)
}

// The kubelet makes no anonymous attempt after one with a credential, so an anonymous
// success at a mirror does not end the checks.
func TestAnonymousSuccessEndsNothing(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	creds := map[string]string{user: password}
	mirror := registrytest.New(t, registrytest.Config{CA: ca, Passwords: creds, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Basic}}})
	origin := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
	n := newNode(t, ca, map[string]string{"certs.d/" + origin.Host + "/hosts.toml": toml("https://"+origin.Host, "https://"+mirror.Host)})
	n.secrets.byName["pull"] = pullSecret(dockerConfig(user, "x", origin.Host))
	got := replaced(of(failure(origin.Host+"/team/app:1.0", "pull"), n.collect(failure(origin.Host+"/team/app:1.0", "pull")), diagnosis.CheckRegistry), origin.Host, "ORIGIN", mirror.Host, "MIRROR")
	wantLines(t, "evidence", got,
		"Failed | Unauthorized | https://MIRROR rejects the credentials in secret pull (entry ORIGIN): HTTP 401",
		"Failed | Unauthorized | https://MIRROR requires credentials: HTTP 401",
		"Passed | https://ORIGIN serves the manifest with the credentials in secret pull (entry ORIGIN)")
}

func TestLiteralAddress(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, nil)
	// containerd verifies no certificate of a loopback address.
	got := n.collect(failure(s.Address + "/team/app:1.0"))
	wantLines(t, "DNS", of(failure(s.Address+"/team/app:1.0"), got, diagnosis.CheckNodeDNS), "NotRun | 127.0.0.1 is an IP address, not a name")
	wantLines(t, "registry", replaced(of(failure(s.Address+"/team/app:1.0"), got, diagnosis.CheckRegistry), s.Address, "ADDR"), "Passed | https://ADDR serves the manifest without credentials")
	wantLines(t, "questions", n.dns.Queries())
}

// Behind a proxy the node need not be able to resolve the registry's name.
func TestProxy(t *testing.T) {
	t.Parallel()
	proxy := "127.0.0.1:" + sockettest.ClosedPort(t)
	n := newNode(t, nil, nil)
	n.again(func(o *nodeconfig.Options) {
		o.Proxy = func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "http", Host: proxy, User: url.UserPassword(user, password)}, nil
		}
	})
	got := n.collect(failure("gone.test/team/app:1.0"))
	wantLines(t, "DNS", replaced(of(failure("gone.test/team/app:1.0"), got, diagnosis.CheckNodeDNS), proxy, "PROXY"), "NotRun | requests to https://gone.test go through proxy PROXY, which resolves the name")
	wantLines(t, "registry", replaced(of(failure("gone.test/team/app:1.0"), got, diagnosis.CheckRegistry), proxy, "PROXY"), "Failed | ProxyFailed | proxy PROXY fails for https://gone.test: it refuses connections")
	wantLines(t, "questions", n.dns.Queries())
}

func TestMetadataAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	n.dns.Set("metadata.test", dnstest.Zone{Addresses: []string{"169.254.169.254"}})
	got := n.collect(failure("metadata.test/team/app:1.0"))
	wantLines(t, "registry", of(failure("metadata.test/team/app:1.0"), got, diagnosis.CheckRegistry), "NotRun | AddressForbidden | https://metadata.test (169.254.169.254) has a link-local or metadata address, which whypull does not connect to")
}

// The same facts give the same evidence, except for measurements.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Bearer)
	var texts []string
	for range 3 {
		n := newNode(t, s.CA, nil)
		n.secrets.byName["a"] = pullSecret(dockerConfig(user, "x", s.Host, "https://"+s.Host, "z.test", "y.test"))
		got := n.collect(failure(s.Host+"/team/app:1.0", "a", "gone"))
		texts = append(texts, replaced([]string{fmt.Sprintf("%+v", withoutPointers(got))}, n.dns.Address, "DNS")[0])
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("evidence differs:\n%s", strings.Join(texts, "\n"))
	}
}

func withoutPointers(all []diagnosis.Evidence) []string {
	var out []string
	for _, e := range all {
		if r, ok := e.Body.(*diagnosis.RegistryFacts); ok {
			facts := *r
			facts.Timings = nil
			e.Body = &facts
		}
		out = append(out, whole(e))
	}
	return out
}

func TestWorst(t *testing.T) {
	t.Parallel()
	p, f, i, n := diagnosis.Passed, diagnosis.Failed, diagnosis.Inconclusive, diagnosis.NotRun
	for _, tc := range []struct {
		outcomes []diagnosis.Outcome
		want     diagnosis.Outcome
	}{
		{nil, n}, {[]diagnosis.Outcome{n, n}, n}, {[]diagnosis.Outcome{n, p}, p}, {[]diagnosis.Outcome{p, i, p}, i},
		{[]diagnosis.Outcome{i, n, p}, i}, {[]diagnosis.Outcome{p, f, i}, f},
	} {
		var all []diagnosis.Evidence
		for _, o := range tc.outcomes {
			all = append(all, diagnosis.Evidence{Outcome: o})
		}
		if got := worst(all); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.outcomes, got, tc.want)
		}
	}
}

// For a reference that does not parse, the network is never used.
func TestNetworkWithoutName(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	if got := n.collector.network(t.Context(), failure("Hub/App"), diagnosis.Evidence{}, nil, time.Time{}); slices.ContainsFunc(got, func(e diagnosis.Evidence) bool {
		return e.Outcome == diagnosis.Passed || e.Outcome == diagnosis.Failed
	}) {
		t.Errorf("evidence %+v", got)
	}
}

// Copies of the node's files are removed.
func TestNothingLeftInTempDir(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, map[string]string{"certs.d/" + s.Host + "/hosts.toml": toml("https://" + s.Host)})
	n.collect(failure(s.Host + "/team/app:1.0"))
	left, err := os.ReadDir(n.options.TempDir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if slices.Contains(s.Lines(), tagList) {
		t.Error("tags were asked for without need")
	}
}

// A configuration in which nobody serves tags leaves the checks undone, and
// says so.
func TestNobodyServes(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, map[string]string{"certs.d/" + s.Host + "/hosts.toml": "server = \"https://" + s.Host + "\"\ncapabilities = [\"pull\"]\n"})
	got := n.collect(failure(s.Host + "/team/app:1.0"))
	const want = "NotRun | the node's configuration has no endpoint for this image"
	wantLines(t, "registry", replaced(of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckRegistry), s.Host, "HUB"), "Inconclusive | RegistryConfigInvalid | /certs.d/HUB/hosts.toml has no effect: none of its hosts has the capabilities that the image needs (pull, and resolve for a tag)", want)
	wantLines(t, "DNS", of(failure(s.Host+"/team/app:1.0"), got, diagnosis.CheckNodeDNS), want)
	wantAsked(t, s)
}

// The duration of each check is recorded once, whatever its result.
func TestMetricsOfChecks(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	n.secrets.byName["a"], n.secrets.byName["b"] = pullSecret(dockerConfig(user, "x", s.Host)), secretFor("other.test")
	n.collect(failure(s.Host+"/team/app:1.0", "a", "b"))
	wantLines(t, "checks", n.metrics.sorted(), "credentials Failed", "image Failed", "nodeDNS Passed", "registry Failed", "registry Failed")
	wantLines(t, "secrets", n.metrics.secrets, "found", "found")
	if !slices.Equal(n.metrics.up, []bool{true}) {
		t.Errorf("runtime up %v", n.metrics.up)
	}
}

// The order of the evidence is that of the pod's secrets and the runtime's
// endpoints, whichever check is quicker.
func TestOrderOfEvidence(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	n.runtime.Set(critest.Fault{Delay: time.Millisecond})
	got := n.collect(failure(s.Host+"/team/app:1.0", "gone", "lost"))
	var checks []string
	for _, e := range got {
		checks = append(checks, strings.TrimSpace(string(e.Check)+" "+e.Credentials().Secret))
	}
	wantLines(t, "checks", checks, "message", "image", "credentials gone", "credentials lost", "nodeDNS", "registry", "podDNS", "pull")
}

// TestStartsAreSpread: the first failure at a registry waits for a moment within Spread,
// and those that follow it begin with it or at once.
func TestStartsAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const spread = 100 * time.Millisecond
		starts := map[time.Duration]int{}
		for range 50 { // nodes
			c := New(Options{Spread: spread})
			begun := time.Now()
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					c.awaitStart(t.Context(), "hub.test", time.Now())
				})
			}
			wg.Wait()
			took := time.Since(begun)
			if took > spread+20*time.Microsecond {
				t.Errorf("the failures began after %s, want %s at most", took, spread)
			}
			starts[took.Round(10*time.Millisecond)]++

			again := time.Now()
			if c.awaitStart(t.Context(), "hub.test", time.Now()); time.Since(again) != 0 {
				t.Errorf("one more failure waited %s", time.Since(again))
			}
		}
		if len(starts) < 5 {
			t.Errorf("50 nodes began together: %v", starts)
		}
	})
}
