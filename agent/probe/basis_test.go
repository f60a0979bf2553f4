package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/dns"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// notes records the calls of a Basis, one line each.
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

// The basis of a verdict is recorded: for each secret the version that was read, or the
// error.
func TestSecretsAreNoted(t *testing.T) {
	t.Parallel()
	broken := errors.New("503")
	good := secretFor("hub.test")
	good.Version = "uid/7"
	n := &notes{}
	c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Basis: n, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"good": good}, errs: map[string]error{"broken": broken}}}}
	c.checkCredentials(t.Context(), diagnosis.Failure{Namespace: "team", Image: "hub.test/app:1", Registry: "hub.test", Repository: "app",
		PullSecrets: []string{"good", "gone", "broken", "good"}})
	want := []string{"team/good uid/7 <nil>", "team/gone  " + kube.ErrNotFound.Error(), "team/broken  503"}
	if !slices.Equal(n.lines, want) {
		t.Errorf("got %q, want %q", n.lines, want)
	}
}

func TestFilesAreNoted(t *testing.T) {
	t.Parallel()
	n := &notes{}
	c := New(Options{Basis: n, Node: kubeletOf(t, nil), Registries: nodeconfig.Options{Root: t.TempDir(), CertsDir: "/certs.d"}})
	c.noteFiles(t.Context(), diagnosis.Failure{Registry: "hub.test"})
	for _, want := range []string{"/etc/containerd/config.toml", "/certs.d/hub.test", "/etc/resolv.conf", "/etc/hosts", "/var/lib/kubelet/config.json"} {
		if !slices.Contains(n.files, want) {
			t.Errorf("%s is not among %q", want, n.files)
		}
	}
	(&Collector{}).noteFiles(t.Context(), diagnosis.Failure{}) // nobody wants to know
}

// After a change of the node no answer is reused, unless the registry limits requests.
func TestNodeChanged(t *testing.T) {
	t.Parallel()
	c := New(Options{Metrics: &fakeMetrics{}, Registries: nodeconfig.Options{Root: t.TempDir()}})
	asked := map[string]int{}
	ask := func(image string, fault registry.Fault) {
		q := question{endpoint: "https://" + image, image: image}
		c.asker.put(q, time.Time{}, func() registry.Answer { asked[image]++; return registry.Answer{Fault: fault} })
	}
	lookups := 0
	lookUp := func() {
		_, _ = c.dns.answers.Get(t.Context(), "hub.test", func(context.Context) (*dns.Answer, error) { lookups++; return &dns.Answer{}, nil })
	}
	config := c.config(t.Context())
	for range 2 {
		ask("plain", registry.FaultUnauthorized)
		ask("limited", registry.FaultRateLimited)
		lookUp()
	}
	if c.config(t.Context()) != config || asked["plain"] != 1 || lookups != 1 {
		t.Errorf("nothing is shared: asked %v, %d lookups", asked, lookups)
	}
	c.NodeChanged()
	ask("plain", registry.FaultUnauthorized)
	ask("limited", registry.FaultRateLimited)
	if asked["plain"] != 2 || asked["limited"] != 1 {
		t.Errorf("asked %v", asked)
	}
	if lookUp(); lookups != 2 || c.config(t.Context()) == config {
		t.Error("names or configuration are kept")
	}
}

// An answer that arrives after it was forgotten is returned to its callers but does not
// replace the new one.
func TestForgottenAnswerComesLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		q := question{endpoint: "https://hub.test"}
		ask := func(status int) {
			got := a.put(q, time.Time{}, func() registry.Answer {
				time.Sleep(time.Second)
				return registry.Answer{Status: status}
			})
			if got.Status != status {
				t.Errorf("answer %d, want %d", got.Status, status)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { ask(401) })
		synctest.Wait()
		a.forget()
		wg.Go(func() { ask(404) })
		wg.Wait()
		kept := a.put(q, time.Time{}, func() registry.Answer { return registry.Answer{Status: 500} })
		if kept.Status != 404 {
			t.Errorf("answer %d is kept, want the new one", kept.Status)
		}
	})
}

// A changed service account changes nothing for a pod that is there, and that is
// said where somebody may wait for it.
func TestServiceAccountIsForNewPods(t *testing.T) {
	t.Parallel()
	for account, want := range map[string]string{
		"":        "the pod has no pull secret",
		"builder": "the pod has no pull secret; one that is added to service account builder applies to new pods only",
	} {
		if got := namesNone(); detail(diagnosis.Failure{ServiceAccount: account}, got) != want || got.Fault != diagnosis.FaultNoCredentials {
			t.Errorf("%q: got %+v", account, got)
		}
	}
}
