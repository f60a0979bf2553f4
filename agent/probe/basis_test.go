package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/registry"
)

// notes is what a Basis was told, a line each.
type notes struct {
	mu    sync.Mutex
	lines []string
	files []string
}

func (n *notes) Secret(f diagnosis.Failure, name, version string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprint(f.Namespace, "/", name, " ", version, " ", err))
}

func (n *notes) Files(_ diagnosis.Failure, paths []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.files = paths
}

// What a verdict rests on is noted: of each secret the version that was read, or
// why none was.
func TestSecretsAreNoted(t *testing.T) {
	t.Parallel()
	broken := errors.New("503")
	good := loginFor("hub.test")
	good.Version = "uid/7"
	n := &notes{}
	c := &Collector{Metrics: &fakeMetrics{}, Basis: n, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"good": good}, errs: map[string]error{"broken": broken}}}
	c.checkCredentials(t.Context(), diagnosis.Failure{Namespace: "team", Image: "hub.test/app:1", Registry: "hub.test",
		PullSecrets: []string{"good", "gone", "broken", "good"}})
	want := []string{"team/good uid/7 <nil>", "team/gone  " + kube.ErrNotFound.Error(), "team/broken  503"}
	if !slices.Equal(n.lines, want) {
		t.Errorf("got %q, want %q", n.lines, want)
	}
}

func TestFilesAreNoted(t *testing.T) {
	t.Parallel()
	n := &notes{}
	c := &Collector{Basis: n, Node: kubeletOf(t, nil)}
	c.noteFiles(diagnosis.Failure{Registry: "hub.test"}, registry.Load(registry.Options{Root: t.TempDir(), CertsDir: "/certs.d"}))
	for _, want := range []string{"/etc/containerd/config.toml", "/certs.d/hub.test", "/etc/resolv.conf", "/etc/hosts", "/var/lib/kubelet/config.json"} {
		if !slices.Contains(n.files, want) {
			t.Errorf("%s is not among %q", want, n.files)
		}
	}
	(&Collector{}).noteFiles(diagnosis.Failure{}, nil) // nobody wants to know
}

// After a change of the node an answer serves nobody any more, unless the
// registry wants to be left alone.
func TestNodeChanged(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := &Collector{asker: clockAt(now), dns: newLookups(NodeResolver{}), pods: newSharing[podAnswer](lookupLife), retries: newRetries()}
	answered := func(image string, fault registry.Fault) question {
		q := question{endpoint: "https://hub.test", image: image}
		done := make(chan struct{})
		close(done)
		c.asker.answers[q] = &pendingAnswer{done: done, answer: registry.Answer{Fault: fault}, ended: now, until: now.Add(answerLife)}
		return q
	}
	plain, limited := answered("a", registry.FaultUnauthorized), answered("b", registry.FaultRateLimited)
	pending := question{endpoint: "https://hub.test", image: "c"}
	c.asker.answers[pending] = &pendingAnswer{done: make(chan struct{}), waiting: 1}
	c.dns.answers[shareKey{"node", "hub.test"}] = &shared[dns.Answer]{until: time.Now().Add(time.Hour)}
	c.configs.loaded, c.configs.until = &registry.Config{}, time.Now().Add(time.Hour)
	c.NodeChanged()
	for q, mine := range map[question]bool{plain: true, limited: false, pending: true} {
		if _, got := c.asker.claim(q, time.Time{}); got != mine {
			t.Errorf("%s is asked again: %v, want %v", q.image, got, mine)
		}
	}
	if len(c.dns.answers) > 0 || c.configs.loaded != nil {
		t.Error("names or configuration are kept")
	}
}

// An answer that comes after it was forgotten goes to those who waited for it,
// and does not take the place of the new one.
func TestForgottenAnswerComesLate(t *testing.T) {
	t.Parallel()
	a := newAsker()
	q := question{endpoint: "https://hub.test"}
	old, _ := a.claim(q, time.Time{})
	a.forget()
	fresh, mine := a.claim(q, time.Time{})
	if !mine {
		t.Fatal("the old answer is waited for")
	}
	a.fulfil(q, old, time.Time{}, func() registry.Answer { return registry.Answer{Status: 401} })
	if <-old.done; old.answer.Status != 401 || a.answers[q] != fresh {
		t.Errorf("the old answer is %+v; kept: %v", old.answer, a.answers[q] == old)
	}
	if strings.Contains(fmt.Sprint(fresh.answer.Status), "401") {
		t.Error("the new answer is the old one")
	}
}

// A changed service account changes nothing for a pod that is there, and that is
// said where somebody may wait for it.
func TestServiceAccountIsForNewPods(t *testing.T) {
	t.Parallel()
	for account, want := range map[string]string{
		"":        "the pod names no pull secret",
		"builder": "the pod names no pull secret; one that is added to service account builder counts for new pods only",
	} {
		if got := namesNone(diagnosis.Failure{ServiceAccount: account}); got.Detail != want || got.Fault != diagnosis.FaultNoCredentials {
			t.Errorf("%q: got %+v", account, got)
		}
	}
}
