package kube

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/whypull/whypull/agent/kube/apitest"
)

const agentUser = `{"username":"system:serviceaccount:monitoring:team-agent","extra":{"authentication.kubernetes.io/pod-name":["agent-x7k2p"]}}`

// policies is an API server with or without the admission policies.
type policies struct {
	user        string
	pods        string // message of the pod policy; empty: no such policy
	conditions  string // its message for conditions; empty: it allows them
	events      string
	unavailable bool
}

func guardedServer() policies {
	return policies{user: agentUser, pods: PodRefusal, conditions: StatusRefusal, events: EventRefusal}
}

func (p policies) serve() func(http.ResponseWriter, request) {
	deny := func(w http.ResponseWriter, message string) {
		apitest.Fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
			`pods "agent-x7k2p" is forbidden: ValidatingAdmissionPolicy 'team-p' with binding 'team-p' denied request: `+message)
	}
	return func(w http.ResponseWriter, r request) {
		switch {
		case p.unavailable:
			apitest.Fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd is ill")
		case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
			w.Header().Set("Content-Type", runtime.ContentTypeJSON)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"status":{"userInfo":`+p.user+`}}`)
		case strings.Contains(r.Body, `"conditions"`) && p.conditions != "":
			deny(w, p.conditions)
		case strings.HasSuffix(r.URL.Path, "/status") && p.pods != "" && !strings.Contains(r.Body, `"conditions"`):
			deny(w, p.pods)
		case strings.HasSuffix(r.URL.Path, "/status"):
			apitest.Write(w, runtime.ContentTypeProtobuf, &corev1.Pod{})
		case p.events != "":
			deny(w, p.events)
		default:
			w.WriteHeader(http.StatusCreated)
			apitest.Write(w, runtime.ContentTypeProtobuf, event())
		}
	}
}

func newGuard(t *testing.T, s *apiServer) (*Guard, *atomic.Bool) {
	t.Helper()
	return newGuardFor(t, s, false)
}

func newGuardFor(t *testing.T, s *apiServer, condition bool) (*Guard, *atomic.Bool) {
	t.Helper()
	var guarded atomic.Bool
	guarded.Store(true) // NewGuard must report false
	return NewGuard(s.client(t, AccessAuto), slog.New(slog.DiscardHandler), condition, guarded.Store), &guarded
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change    func(*policies)
		unguarded bool   // else the response is inconclusive
		says      string // in the error; empty: guarded
	}{
		"both policies":       {func(*policies) {}, false, ""},
		"none on pods":        {func(p *policies) { p.pods = "" }, true, "foreign annotation on pod monitoring/agent-x7k2p"},
		"none on Events":      {func(p *policies) { p.events = "" }, true, "foreign Event on pod monitoring/agent-x7k2p"},
		"another refusal":     {func(p *policies) { p.pods = "token has no node binding" }, false, "token has no node binding"},
		"another on Events":   {func(p *policies) { p.events = PodRefusal }, false, PodRefusal},
		"no answer":           {func(p *policies) { p.unavailable = true }, false, "etcd is ill"},
		"a person":            {func(p *policies) { p.user = `{"username":"admin"}` }, false, `user "admin" is not a service account`},
		"a token of no pod":   {func(p *policies) { p.user = `{"username":"system:serviceaccount:a:b"}` }, false, "bound to a pod"},
		"no account's name":   {func(p *policies) { p.user = strings.ReplaceAll(agentUser, ":team-agent", "") }, false, "bound to a pod"},
		"not a user":          {func(p *policies) { p.user = `7` }, false, "cannot unmarshal number"},
		"a token of two pods": {func(p *policies) { p.user = strings.Replace(agentUser, `["`, `["another","`, 1) }, false, "bound to a pod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := guardedServer()
			tc.change(&p)
			g, guarded := newGuard(t, newAPIServer(t, p.serve()))
			if guarded.Load() {
				t.Error("reported as guarded before there is a proof")
			}
			err := g.prove(t.Context())
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %q", err, tc.says)
			}
			if errors.Is(err, ErrUnguarded) != tc.unguarded {
				t.Errorf("error %v is ErrUnguarded: %v, want %v", err, !tc.unguarded, tc.unguarded)
			}
			if guarded.Load() != (tc.says == "") {
				t.Errorf("reported as guarded: %v", guarded.Load())
			}
		})
	}
}

// The policy's words for a foreign condition tell whether it allows whypull's own. Without
// the right, everything else is written.
func TestGuardOfConditions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		message          string
		guarded, allowed bool
	}{
		"component":       {ConditionRefusal, true, true},
		"base":            {StatusRefusal, true, false},
		"no policy":       {"", false, false},
		"another refusal": {"token has no node binding", false, true}, // inconclusive: as before the first proof
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := guardedServer()
			p.conditions = tc.message
			s := newAPIServer(t, p.serve())
			g, guarded := newGuardFor(t, s, true)
			if !g.MayWriteCondition() {
				t.Error("ruled out before the policies were asked")
			}
			_ = g.prove(t.Context())
			if guarded.Load() != tc.guarded || g.MayWriteCondition() != tc.allowed {
				t.Errorf("guarded %v, condition %v; want %v and %v", guarded.Load(), g.MayWriteCondition(), tc.guarded, tc.allowed)
			}
			asked := s.All()[2]
			if asked.URL.Query().Get("dryRun") != "All" || asked.Body != `{"status":{"conditions":[{"type":"whypull.dev/guard","status":"True"}]}}` {
				t.Errorf("asked %s: %s", asked.URL, asked.Body)
			}
		})
	}
	g, _ := newGuard(t, newAPIServer(t, guardedServer().serve()))
	if g.MayWriteCondition() {
		t.Error("a condition that is not wanted is allowed")
	}
}

// After a policy has changed to one that does not allow the condition, the first write that
// is refused turns it off.
func TestGuardGivesTheConditionUp(t *testing.T) {
	t.Parallel()
	p := guardedServer()
	p.conditions = ConditionRefusal
	var now atomic.Pointer[policies]
	now.Store(&p)
	s := newAPIServer(t, func(w http.ResponseWriter, r request) { now.Load().serve()(w, r) })
	g, _ := newGuardFor(t, s, true)
	if err := g.prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	change := PodChange{Condition: &corev1.PodCondition{Type: "whypull.dev/ImagePullable", Status: corev1.ConditionFalse}}
	for _, c := range []struct {
		refusal string
		allowed bool
	}{{"labels may not change", true}, {StatusRefusal, false}} {
		now.Store(&policies{conditions: c.refusal})
		if err := g.PatchPod(t.Context(), "team", "web", "u-1", change); err == nil || g.MayWriteCondition() != c.allowed {
			t.Errorf("after %q: %v, condition %v", c.refusal, err, g.MayWriteCondition())
		}
	}
}

// The proof is harmless even without a policy: dry runs, on the agent's own
// pod, with the agent's own account.
func TestGuardAsksForDryRuns(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t, guardedServer().serve())
	g, _ := newGuard(t, s)
	if err := g.prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLines(t, "requests", s.Lines(),
		"POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
		"PATCH /api/v1/namespaces/monitoring/pods/agent-x7k2p/status",
		"POST /apis/events.k8s.io/v1/namespaces/monitoring/events")
	for _, r := range s.All()[1:] {
		if got := r.URL.Query().Get("dryRun"); got != "All" {
			t.Errorf("%s: dryRun is %q", r.Line(), got)
		}
	}
	if body := s.All()[1].Body; !strings.HasPrefix(body, `{"metadata":{"annotations":{"whypull.dev/guard":`) {
		t.Errorf("patch %s", body)
	}
	// The Event breaks one rule only, so that the policy names this rule.
	var e eventsv1.Event
	scheme := newScheme()
	if _, _, err := protobuf.NewSerializer(scheme, scheme).Decode([]byte(s.All()[2].Body), nil, &e); err != nil {
		t.Fatal(err)
	}
	if e.ReportingController == "whypull.dev/agent" || e.ReportingInstance != nodeName || e.Regarding.Kind != "Pod" || e.Regarding.Namespace != e.Namespace || e.Reason != "Unknown" || e.Type != "Warning" || e.EventTime.IsZero() {
		t.Errorf("event %+v", e)
	}
}

func TestGuardWrites(t *testing.T) {
	t.Parallel()
	accept := func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.URL.Path, "/status") {
			apitest.Write(w, runtime.ContentTypeProtobuf, &corev1.Pod{})
			return
		}
		w.WriteHeader(http.StatusCreated)
		apitest.Write(w, runtime.ContentTypeProtobuf, event())
	}
	var answer atomic.Value
	answer.Store(accept)
	s := newAPIServer(t, func(w http.ResponseWriter, r request) { answer.Load().(func(http.ResponseWriter, request))(w, r) })
	g, guarded := newGuard(t, s)
	both := func() [2]error {
		return [2]error{g.PatchPod(t.Context(), "team", "web", "u-1", PodChange{}), g.Event(t.Context(), event())}
	}
	if got := both(); got != [2]error{ErrUnguarded, ErrUnguarded} {
		t.Errorf("before a proof: %v", got)
	}
	wantLines(t, "requests before a proof", s.Lines())

	proof := func(p policies, want bool) {
		t.Helper()
		answer.Store(p.serve())
		_ = g.prove(t.Context()) // TestGuard covers the errors
		if guarded.Load() != want {
			t.Errorf("guarded is %v, want %v", guarded.Load(), want)
		}
		answer.Store(accept)
	}
	proof(guardedServer(), true)
	if got := both(); got != [2]error{} {
		t.Errorf("after a proof: %v", got)
	}
	proof(policies{unavailable: true}, true)
	if got := both(); got != [2]error{} {
		t.Errorf("after a proof that later gets no answer: %v", got)
	}
	proof(policies{user: agentUser, events: EventRefusal}, false)
	if got := both(); got != [2]error{ErrUnguarded, ErrUnguarded} {
		t.Errorf("after the policy is gone: %v", got)
	}
	proof(policies{unavailable: true}, false)
}

// Run tries again until there is a proof, and ends with the context.
func TestGuardRuns(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	without, with := (policies{user: agentUser}).serve(), guardedServer().serve()
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.URL.Path, "/status") && asked.Add(1) == 1 {
			without(w, r)
			return
		}
		with(w, r)
	})
	g, guarded := newGuard(t, s)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx)
	}()
	eventually(t, "a proof", guarded.Load)
	stop()
	<-ended
	if n := asked.Load(); n != 2 {
		t.Errorf("%d proofs, want one that fails and one that does not", n)
	}
}

// A condition that is wanted is asked for again until it is allowed: a policy takes effect
// later than it is stored.
func TestGuardRunsUntilTheConditionIsAllowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	base, component := guardedServer(), guardedServer()
	component.conditions = ConditionRefusal
	s := newAPIServer(t, func(w http.ResponseWriter, r request) {
		if strings.Contains(r.Body, `"conditions"`) && asked.Add(1) == 1 {
			base.serve()(w, r)
			return
		}
		component.serve()(w, r)
	})
	g, _ := newGuardFor(t, s, true)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx)
	}()
	eventually(t, "the condition to be allowed", func() bool { return asked.Load() == 2 && g.MayWriteCondition() })
	stop()
	<-ended
}
