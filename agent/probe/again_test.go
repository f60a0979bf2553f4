package probe

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// running returns a running container with the image and the named pull secrets.
func running(image string, secrets ...string) diagnosis.Failure {
	f := failure(image, secrets...)
	f.Reason, f.Message = "", ""
	return f
}

// askedAgain asks again for a running container's image and returns the verdict.
func (n *node) askedAgain(f diagnosis.Failure) (diagnosis.Verdict, bool) {
	n.t.Helper()
	evidence, blind, err := n.collector.Again(n.t.Context(), f)
	if err != nil {
		n.t.Fatal(err)
	}
	wellFormed(n.t, f, evidence)
	return diagnosis.Diagnose(f, evidence), blind
}

func wantVerdict(t *testing.T, got diagnosis.Verdict, cause diagnosis.Cause) {
	t.Helper()
	if got.Cause != cause || cause != diagnosis.NotReproducible && got.Confidence != diagnosis.Confirmed {
		t.Errorf("verdict %s (%s): %s; want %s", got.Cause, got.Confidence, got.Summary, cause)
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	auth := func(a registrytest.Auth, edits ...func(*registrytest.Config)) registrytest.Config {
		c := registrytest.Config{Passwords: map[string]string{user: password}, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: a}}}
		for _, edit := range edits {
			edit(&c)
		}
		return c
	}
	status := func(status int) func(*registrytest.Config) {
		return func(c *registrytest.Config) { c.Repositories[0].Status = status }
	}
	for name, tc := range map[string]struct {
		config  registrytest.Config
		tag     string
		secrets []string
		want    diagnosis.Cause
		heads   int
	}{
		"public":                 {auth(registrytest.Open), "1.0", nil, diagnosis.NotReproducible, 1},
		"with credentials":       {auth(registrytest.Basic), "1.0", []string{"good"}, diagnosis.NotReproducible, 2},
		"with a token":           {auth(registrytest.Bearer), "1.0", []string{"good"}, diagnosis.NotReproducible, 2},
		"tag gone":               {auth(registrytest.Open), "9.9", nil, diagnosis.TagNotFound, 1},
		"password changed":       {auth(registrytest.Basic), "1.0", []string{"bad"}, diagnosis.CredentialsRejected, 3},
		"no longer public":       {auth(registrytest.Basic), "1.0", nil, diagnosis.AuthenticationRequired, 1},
		"secret gone":            {auth(registrytest.Basic), "1.0", []string{"missing"}, diagnosis.PullSecretMissing, 1},
		"secret of another host": {auth(registrytest.Basic), "1.0", []string{"other"}, diagnosis.PullSecretNoMatch, 1},
		"broken registry":        {auth(registrytest.Open, status(http.StatusBadGateway)), "1.0", nil, diagnosis.RegistryError, 1},
		"limit":                  {auth(registrytest.Open, status(http.StatusTooManyRequests)), "1.0", nil, diagnosis.RateLimited, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.New(t, tc.config)
			n := newNode(t, s.CA, nil)
			n.secrets.byName["good"], n.secrets.byName["other"] = secretFor(s.Host), secretFor("other.test")
			n.secrets.byName["bad"] = pullSecret(dockerConfig(user, "an old one", s.Host))
			got, _ := n.askedAgain(running(s.Host+"/team/app:"+tc.tag, tc.secrets...))
			wantVerdict(t, got, tc.want)
			if heads(s) > tc.heads {
				t.Errorf("%d requests for a manifest, want at most %d: %q", heads(s), tc.heads, s.Lines())
			}
			if tc.want == diagnosis.NotReproducible {
				for _, r := range s.Requests() {
					if r.Method != http.MethodHead && r.Path != "/token" {
						t.Errorf("asked for content: %s %s", r.Method, r.Path)
					}
				}
			}
		})
	}
}

// Pods that bring the same credentials for an image share one answer.
func TestAgainIsShared(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, nil)
	for _, namespace := range []string{"team", "other", "third"} {
		f := running(s.Host + "/team/app:1.0")
		f.Namespace = namespace
		got, _ := n.askedAgain(f)
		wantVerdict(t, got, diagnosis.NotReproducible)
	}
	wantAsked(t, s, "HEAD /v2/team/app/manifests/1.0")
}

// A rejected credential is not sent again, for this image or another, before the time that
// is valid for failing pods.
func TestAgainKeepsRejectedCredentials(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	clock := n.clocked()
	n.secrets.byName["bad"] = pullSecret(dockerConfig(user, "an old one", s.Host))
	sent := func() (with int) {
		for _, r := range s.Requests() {
			if r.Auth != "" {
				with++
			}
		}
		return with
	}
	_, _ = n.askedAgain(running(s.Host+"/team/app:1.0", "bad"))
	first := sent()
	clock.advance(firstRejection - time.Second)
	got, _ := n.askedAgain(running(s.Host+"/team/app:2.0", "bad"))
	wantVerdict(t, got, diagnosis.CredentialsRejected)
	if first == 0 || sent() != first {
		t.Errorf("the credential was sent %d times, then %d times", first, sent()-first)
	}
	clock.advance(2 * time.Second)
	if _, _ = n.askedAgain(running(s.Host+"/team/app:1.0", "bad")); sent() == first {
		t.Error("the credential is never sent again")
	}
}

// An image that the kubelet would not pull is not asked for; one that is gone is.
func TestAgainByPolicy(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, nil)
	f := running(s.Host + "/team/app:9.9")
	f.PullPolicy = "IfNotPresent"
	n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
	if evidence, _, err := n.collector.Again(t.Context(), f); len(evidence) > 0 || err != nil {
		t.Errorf("image on the node: %v, %v", evidence, err)
	}
	wantAsked(t, s)
	f = running(s.Host + "/team/app:8.8")
	f.PullPolicy = "IfNotPresent"
	got, _ := n.askedAgain(f)
	wantVerdict(t, got, diagnosis.TagNotFound)
}

// A registry that limits requests, or has few left, is not asked.
func TestAgainIsPostponed(t *testing.T) {
	t.Parallel()
	header := func(remaining string) http.Header {
		return http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {remaining + ";w=21600"}}
	}
	for name, tc := range map[string]struct {
		repo registrytest.Repository
		want error
	}{
		"limited":     {registrytest.Repository{Status: http.StatusTooManyRequests}, ErrPostponed},
		"few left":    {registrytest.Repository{Header: header("20")}, ErrPostponed},
		"enough left": {registrytest.Repository{Header: header("21")}, nil},
		"no limit":    {registrytest.Repository{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.repo.Name, tc.repo.Tags = "team/app", []string{"1.0", "2.0"}
			s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{tc.repo}})
			n := newNode(t, s.CA, nil)
			clock := n.clocked()
			other := running(s.Host + "/team/app:1.0")
			other.Namespace = "other"
			_, _ = n.askedAgain(other)
			before := len(s.Lines())
			_, _, err := n.collector.Again(t.Context(), running(s.Host+"/team/app:2.0", "missing"))
			if !errors.Is(err, tc.want) || tc.want != nil && (len(s.Lines()) > before || len(n.secrets.reads) > 0) {
				t.Errorf("%v, asked %q, read %q; want %v", err, s.Lines()[before:], n.secrets.reads, tc.want)
			}
			clock.advance(nearFor)
			if _, _, err := n.collector.Again(t.Context(), running(s.Host+"/team/app:2.0")); err != nil {
				t.Errorf("an hour later: %v", err)
			}
		})
	}
}

func TestNearLimits(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c, ref := New(Options{}), named(t, "evil.test/app:1")
	c.asker.now = clock.Now
	note := func(host string, a registry.Answer) { c.noteLimit("shop", registry.Endpoint{Host: host}, ref, a) }
	note("short.test", registry.Answer{Response: registry.Response{RateLimit: &registry.RateLimit{Limit: 10, Remaining: 2, Window: time.Minute}}})
	note("unknown.test", registry.Answer{Fault: registry.FaultRateLimited})
	note("silent.test", registry.Answer{})
	near := func(host string, after time.Duration) bool {
		defer clock.advance(-after)
		clock.advance(after)
		return c.near.has(limitOf(registry.Endpoint{Host: host}, ref))
	}
	if !near("short.test", 0) || near("short.test", time.Minute) || !near("unknown.test", time.Minute) || near("silent.test", 0) || near("other.test", 0) {
		t.Errorf("%d are near their limit", c.near.notes.Len())
	}
	note("unknown.test", registry.Answer{Response: registry.Response{RateLimit: &registry.RateLimit{Limit: 10, Remaining: 9}}})
	if near("unknown.test", 0) {
		t.Error("there are enough left")
	}
}

// The limit of a namespace's own account, or of its own registry behind a shared mirror,
// postpones nothing of another's.
func TestLimitsOfOthersPostponeNothing(t *testing.T) {
	t.Parallel()
	direct, mirror := hub(), registry.Endpoint{Scheme: "https", Host: "mirror.test", Mirror: true}
	theirs, mine := named(t, "evil.test/app:1"), named(t, "hub.test/app:1")
	sent := limited
	sent.Auth.CredentialSent = true
	for name, tc := range map[string]struct {
		endpoint        registry.Endpoint
		ref             reference.Named
		answer          registry.Answer
		evils, goodsToo bool
	}{
		"everybody's":                  {direct, mine, limited, true, true},
		"an account's":                 {direct, mine, sent, true, false},
		"behind a mirror":              {mirror, theirs, limited, false, false},
		"the same one behind a mirror": {mirror, mine, limited, true, true},
	} {
		c := New(Options{Metrics: &fakeMetrics{}})
		q := c.asker.question(tc.endpoint, tc.ref, nil)
		if tc.answer.Auth.CredentialSent {
			q.cred[0] = 1
		}
		c.asker.share(inNamespace(t, "evil"), q, time.Time{}, func(context.Context) registry.Answer { return tc.answer })
		for _, when := range []string{"while the answer serves", "near the limit"} {
			if got := c.limited("evil", tc.endpoint, mine); got != tc.evils {
				t.Errorf("%s, %s: limited for its namespace: %t", name, when, got)
			}
			if got := c.limited("good", tc.endpoint, mine); got != tc.goodsToo {
				t.Errorf("%s, %s: limited for another: %t", name, when, got)
			}
			c.asker = newAsker()
			c.heard("evil", tc.endpoint, tc.ref, tc.answer)
		}
	}
}

// Without all of the kubelet's credentials a refusal proves nothing.
func TestAgainBlind(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	for name, tc := range map[string]struct {
		node    NodeCredentials
		err     error
		secrets []string
		want    bool
	}{
		"everything is visible":              {&fakeNode{presence: kubelet.Absent}, nil, nil, false},
		"the node's file is hidden":          {&fakeNode{presence: kubelet.NotVisible}, nil, nil, true},
		"hidden, and the secret is missing":  {&fakeNode{presence: kubelet.NotVisible}, nil, []string{"missing"}, false},
		"hidden, and the secret matches":     {&fakeNode{presence: kubelet.NotVisible}, nil, []string{"bad"}, false},
		"hidden, and the secret is another":  {&fakeNode{presence: kubelet.NotVisible}, nil, []string{"other"}, true},
		"a plugin":                           {&fakeNode{presence: kubelet.Absent, providers: []kubelet.Provider{{Name: "ecr"}}}, nil, []string{"bad"}, true},
		"the secret may not be read":         {&fakeNode{presence: kubelet.Absent}, errors.New("503"), []string{"unread"}, true},
		"the files of the node are not read": {nil, nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s.CA, nil)
			n.collector.Node = tc.node
			n.secrets.byName["bad"], n.secrets.byName["other"] = pullSecret(dockerConfig(user, "old", s.Host)), secretFor("other.test")
			n.secrets.errs["unread"] = tc.err
			if _, blind := n.askedAgain(running(s.Host+"/team/app:1.0", tc.secrets...)); blind != tc.want {
				t.Errorf("blind: %v, want %v", blind, tc.want)
			}
		})
	}
}

// fakeNode is what is visible of the kubelet's files.
type fakeNode struct {
	presence  kubelet.Presence
	providers []kubelet.Provider
}

func (n *fakeNode) DockerConfig() (keyring.NodeFile, kubelet.Presence) {
	return keyring.NodeFile{}, n.presence
}

func (n *fakeNode) Providers(diagnosis.Image) []kubelet.Provider { return n.providers }

func (n *fakeNode) Use(kubelet.Question) diagnosis.ImageFacts { return diagnosis.ImageFacts{} }

func (n *fakeNode) ClusterDNS() []netip.Addr { return nil }

func (n *fakeNode) ParallelPulls() int { return 1 }

func (n *fakeNode) NearProviders(diagnosis.Image) []kubelet.Provider { return nil }

// While a registry hangs at the check of a running pod, a failing pod of another
// namespace is examined, at another registry and for another image.
func TestAgainDelaysNoFailingPod(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1), make(chan struct{})
	hanging := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Serve: func(http.ResponseWriter, *http.Request, string, string) {
		asked <- struct{}{}
		<-release
	}}}})
	s := registrytest.New(t, registrytest.Config{CA: hanging.CA, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}})
	n := newNode(t, s.CA, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f := running(hanging.Host + "/team/app:1.0")
		f.Namespace = "evil"
		_, _, _ = n.collector.Again(t.Context(), f)
	}()
	<-asked
	got := diagnosis.Diagnose(failure(s.Host+"/team/app:9.9"), n.collect(failure(s.Host+"/team/app:9.9")))
	if got.Cause != diagnosis.TagNotFound {
		t.Errorf("verdict %s: %s", got.Cause, got.Summary)
	}
	select {
	case <-done:
		t.Error("the registry does not hang")
	default:
	}
	close(release)
	<-done
}

// A registry that answers HEAD with a body without end is read no further.
func TestAgainIgnoresBodies(t *testing.T) {
	t.Parallel()
	written := make(chan int, 1)
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Serve: func(w http.ResponseWriter, _ *http.Request, _, _ string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			written <- -1
			return
		}
		defer conn.Close() //nolint:errcheck // a test
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: sha256:" + strings.Repeat("0", 64) + "\r\nContent-Length: 100000000\r\n\r\n"))
		n, piece := 0, make([]byte, 1<<16)
		for n < 100_000_000 {
			more, err := conn.Write(piece)
			if n += more; err != nil {
				break
			}
		}
		written <- n
	}}}})
	n := newNode(t, s.CA, nil)
	got, _ := n.askedAgain(running(s.Host + "/team/app:1.0"))
	wantVerdict(t, got, diagnosis.NotReproducible)
	if sent := <-written; sent < 0 || sent >= 100_000_000 {
		t.Errorf("the registry has sent %d bytes of a body", sent)
	}
}
