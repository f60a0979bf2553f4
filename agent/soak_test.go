package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// patient is how long a test waits for what must happen, on a machine however
// slow; nothing waits that long when all is well.
const patient = time.Minute

// verdicts are what was published: the last verdict of each pod, and whether it
// was final.
type verdicts struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, with each verdict
	last    map[string]diagnosis.Verdict
	final   map[string]bool
}

func (v *verdicts) Pod(uid string) agent.PodPublisher { return podVerdicts{v, uid} }

func (*verdicts) Reported(map[string]string) bool { return false }

type podVerdicts struct {
	*verdicts
	uid string
}

func (v podVerdicts) Verdicts(_ context.Context, _ podwatch.Update, all []diagnosis.Verdict, final bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(all) > 0 {
		v.last[v.uid], v.final[v.uid] = all[0], final
	}
	close(v.changed)
	v.changed = make(chan struct{})
	return nil
}

func (podVerdicts) Recovered(context.Context, podwatch.Update, diagnosis.Failure) error { return nil }

func (podVerdicts) Forget() {}

// wait waits for something that verdicts bring about.
func (v *verdicts) wait(t *testing.T, what string, happened func() bool) {
	t.Helper()
	timeout := time.After(patient)
	for {
		v.mu.Lock()
		done, changed := happened(), v.changed
		v.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// secrets are those of every namespace, by name.
type secrets map[string]string // the contents

func (s secrets) Secret(_ context.Context, _, name string) (kube.Secret, error) {
	content, ok := s[name]
	if !ok {
		return kube.Secret{}, kube.ErrNotFound
	}
	return kube.Secret{
		Type: keyring.TypeDockerConfigJSON,
		Data: credential.Redact(map[string][]byte{keyring.DataDockerConfigJSON: []byte(content)}),
	}, nil
}

type noMetrics struct{}

func (noMetrics) Checked(diagnosis.Check, diagnosis.Outcome, time.Duration) {}
func (noMetrics) Phase(diagnosis.Phase, time.Duration)                      {}
func (noMetrics) RuntimeUp(bool)                                            {}
func (noMetrics) SecretRead(string)                                         {}
func (noMetrics) CertificateExpires(string, time.Time)                      {}
func (noMetrics) RateLimit(string, int, bool)                               {}

func loginOf(user, password string, hosts ...string) string {
	var entries []string
	for _, h := range hosts {
		entries = append(entries, fmt.Sprintf("%q:{%q:%q,%q:%q}", h, "username", user, "password", password))
	}
	return `{"auths":{` + strings.Join(entries, ",") + `}}`
}

// failing is a pod whose container cannot get its image.
func failing(namespace, uid, image, message string, pullSecrets ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: uid, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{NodeName: "worker-3", Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullAlways}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: fmt.Sprintf("failed to pull and unpack image %q: %s", image, message)}}}}},
	}
	for _, s := range pullSecrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// root is a node's file system, on which all registries' names are addresses of
// this machine.
func root(t *testing.T, ca *catest.CA, hosts map[string]string) string {
	t.Helper()
	files := map[string]string{
		"etc/hosts": "127.0.0.1 " + registrytest.Name + "\n", "etc/resolv.conf": "nameserver 127.0.0.1\n",
		"etc/ssl/certs/ca-certificates.crt": string(ca.PEM()),
	}
	for host, server := range hosts {
		files["certs.d/"+host+"/hosts.toml"] = "[host.\"https://" + server + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	}
	return hostfstest.New(t, files)
}

// All attacks of a hostile neighbor at once, on real sockets, keep no verdict from
// a victim: it comes, and is right, while the attackers' registry still answers
// nothing.
func TestHostileNeighbors(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hanging := registrytest.New(t, registrytest.Config{CA: ca, Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, _ *http.Request, _, _ string) {
		once.Do(func() { close(blocked) })
		<-release
		w.WriteHeader(http.StatusNotFound)
	}}})
	mirror := registrytest.New(t, registrytest.Config{CA: ca, Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		if r.URL.Query().Get("ns") == "evil.test" {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", registrytest.Digest)
	}}})
	var repositories []registrytest.Repository
	for i := range 10 {
		repositories = append(repositories, registrytest.Repository{Name: fmt.Sprint("app", i), Tags: []string{"1"}, Auth: registrytest.Basic})
	}
	locking := registrytest.New(t, registrytest.Config{CA: ca, Passwords: map[string]string{"robot": "new"}, Repositories: repositories})
	good := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Tags: []string{"v1"}}}})

	all := secrets{"robot": loginOf("robot", "old", locking.Host)}
	var eight []string
	for i := range 8 {
		name := fmt.Sprint("evil", i)
		all[name] = loginOf(name, "x", hanging.Host)
		eight = append(eight, name)
	}
	dir := root(t, ca, map[string]string{"evil.test": mirror.Host, "good.test": mirror.Host})
	collector := probe.New(probe.Options{
		Secrets: all, Metrics: noMetrics{}, Resolver: probe.NodeResolver{Root: dir},
		Registries: nodeconfig.Options{
			Root: dir, CertsDir: "/certs.d", TempDir: t.TempDir(), Version: "test",
			Proxy:    func(*http.Request) (*url.URL, error) { return nil, nil },
			Timeouts: registry.Timeouts{DNS: patient, Connect: patient, TLS: patient, Response: time.Hour, Total: time.Hour},
		},
	})
	published := &verdicts{changed: make(chan struct{}), last: map[string]diagnosis.Verdict{}, final: map[string]bool{}}
	pods := agent.NewPods()
	loop := agent.New(pods, "", collector, published, slog.New(slog.DiscardHandler))
	tracker := podwatch.NewTracker("whypull.dev/", time.Now, pods.Observe)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		loop.Run(ctx)
	}()
	defer func() {
		close(release)
		cancel()
		<-stopped
	}()
	watch := tracker.Update

	const refused = "failed to resolve image: unexpected status from HEAD request: 401 Unauthorized"
	watch(failing("evil", "names", hanging.Host+"/names:1", refused, slices.Repeat([]string{"evil0"}, 100_000)...))
	var many []string
	for i := range 60_000 {
		many = append(many, fmt.Sprint("none", i))
	}
	watch(failing("evil", "many-names", hanging.Host+"/many:1", refused, many...))
	for i := range 64 {
		watch(failing("evil", fmt.Sprint("slow", i), fmt.Sprintf("%s/slow%d:1", hanging.Host, i), refused, eight...))
	}
	watch(failing("evil", "limited", "evil.test/app:1", "unexpected status: 429 Too Many Requests"))
	for i := range 10 {
		watch(failing("robots", fmt.Sprint("robot", i), fmt.Sprintf("%s/app%d:1", locking.Host, i), refused, "robot"))
	}
	<-blocked
	published.wait(t, "the mirror's limit, and what is rejected", func() bool {
		done := published.final["limited"]
		for i := range 10 {
			done = done && published.final[fmt.Sprint("robot", i)]
		}
		return done
	})
	watch(failing("good", "victim", good.Host+"/team/app:v2", "failed to resolve image: "+good.Host+"/team/app:v2: not found"))
	watch(failing("good", "mirrored", "good.test/app:1", "failed to resolve image: connection reset by peer"))
	watch(failing("good", "neighbor", hanging.Host+"/good/app:1", refused, "missing"))
	published.wait(t, "the victims' verdicts", func() bool {
		_, first := published.last["neighbor"]
		return published.final["victim"] && published.final["mirrored"] && first
	})

	published.mu.Lock()
	defer published.mu.Unlock()
	if v := published.last["victim"]; v.Cause != diagnosis.TagNotFound || v.Confidence != diagnosis.Confirmed {
		t.Errorf("the victim: %s, %s: %s", v.Cause, v.Confidence, v.Summary)
	}
	for _, e := range published.last["mirrored"].Evidence {
		if e.Fault == diagnosis.FaultRateLimited || e.Check == diagnosis.CheckRegistry && e.Endpoint.Mirror && e.Outcome != diagnosis.Passed {
			t.Errorf("behind the mirror: %s, %s: %s", e.Check, e.Outcome, e.Detail)
		}
	}
	if v := published.last["limited"]; !slices.ContainsFunc(v.Evidence, func(e diagnosis.Finding) bool { return e.Fault == diagnosis.FaultRateLimited }) {
		t.Errorf("the attack on the mirror does not work: %s: %s", v.Cause, v.Summary)
	}
	if v := published.last["neighbor"]; published.final["neighbor"] || v.Cause == diagnosis.ConnectionTimeout {
		t.Errorf("the pod at the attackers' registry: %s: %s", v.Cause, v.Summary)
	}
	for i := range 10 {
		if v := published.last[fmt.Sprint("robot", i)]; v.Cause != diagnosis.CredentialsRejected {
			t.Errorf("robot %d: %s: %s", i, v.Cause, v.Summary)
		}
	}
	sent := 0
	for _, r := range locking.Requests() {
		if r.Auth != "" {
			sent++
		}
	}
	if sent == 0 || sent > 2 { // a HEAD and, for the registry's words, a GET
		t.Errorf("the wrong password was sent %d times for ten images", sent)
	}
	for uid := range published.final {
		if strings.HasPrefix(uid, "slow") && published.final[uid] {
			t.Errorf("%s has a final verdict of a registry that answers nothing", uid)
		}
	}
	if n := len(hanging.Requests()); n != 1 {
		t.Errorf("the hanging registry has %d requests at once, want 1", n)
	}
}
