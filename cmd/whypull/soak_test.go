//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/report"
)

const (
	// memoryLimit is that of the manifest.
	memoryLimit = 96 << 20
	// mostMemory is the memory that the agent may have at any time, by each count.
	mostMemory = 80 << 20
	// attackers is the number of pods that most attacks have.
	attackers = 64
	// soakPatience is how long a verdict may take before a test gives up, and for how
	// long it attacks again.
	soakPatience = 2 * time.Minute
)

const soakNode = "worker-3"

// TestSoak has every attack of a hostile neighbor go on at once against one agent that
// has the manifest's memory limit. Meanwhile another tenant's pods start to fail: their
// verdicts are right, the agent stays within its memory, and the kernel kills nothing.
// Large pods come by themselves: with them, the others' pods would come again.
// How soon the verdicts come is BenchmarkSoak's to measure: a machine may be slow.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if busy() {
		t.Skip("this machine is so busy that time limits would pass without an attack")
	}
	t.Parallel()
	for name, of := range map[string][]attack{"all": attacks(), "large pods": {{"large pods", largePods, nil}}} {
		t.Run(name, func(t *testing.T) {
			f := runSoak(t, 2, of...)
			t.Log(f)
			if f.kills != 0 {
				t.Errorf("the kernel killed %d processes", f.kills)
			}
			for what, most := range map[string]int{"working set": f.workingSet, "resident memory": f.resident} {
				if most >= mostMemory {
					t.Errorf("%s: %d MiB, want less than %d", what, most>>20, mostMemory>>20)
				}
			}
		})
	}
}

// busy reports whether many more threads want to run than there are processors.
func busy() bool {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return false
	}
	var load float64
	_, err = fmt.Sscan(string(text), &load)
	return err == nil && load > float64(8*goruntime.NumCPU())
}

// BenchmarkSoak measures each attack by itself, and all at once.
func BenchmarkSoak(b *testing.B) {
	all := attacks()
	measure := func(name string, of ...attack) {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				f := runSoak(b, 3, of...)
				b.ReportMetric(float64(f.workingSet)/(1<<20), "MiB-working-set")
				b.ReportMetric(float64(f.resident)/(1<<20), "MiB-resident")
				b.ReportMetric(float64(f.anonymous)/(1<<20), "MiB-anonymous")
				b.ReportMetric(float64(slices.Max(f.before).Milliseconds()), "ms-before")
				b.ReportMetric(float64(median(f.during).Milliseconds()), "ms-median")
				b.ReportMetric(float64(slices.Max(f.during).Milliseconds()), "ms-slowest")
				b.ReportMetric(float64(slices.Max(f.first).Milliseconds()), "ms-slowest-first")
				b.ReportMetric(f.cpu.Seconds(), "s-CPU")
				b.ReportMetric(float64(f.kills), "kills")
				b.ReportMetric(0, "ns/op") // says nothing here
			}
		})
	}
	measure("none")
	for _, a := range all {
		measure(strings.ReplaceAll(a.name, " ", "-"), a)
	}
	measure("all", all...)
}

// figures are what a soak measured.
type figures struct {
	memory
	kills          int
	cpu            time.Duration   // the agent's
	first          []time.Duration // the victims' first verdicts during the attacks
	before, during []time.Duration // their right ones, before and during the attacks
}

func (f figures) String() string {
	return fmt.Sprintf("working set %d MiB, resident %d MiB, anonymous %d MiB, CPU %s; right verdicts before the attacks within %s; during them first ones within %s (median %s), right ones within %s (median %s)",
		f.workingSet>>20, f.resident>>20, f.anonymous>>20, f.cpu, slices.Max(f.before), slices.Max(f.first), median(f.first), slices.Max(f.during), median(f.during))
}

// memory is the most of it at any time, in bytes: as the kubelet counts it; all that
// is mapped, with the pages of the program's file, which the kernel can drop; and what
// belongs to no file.
type memory struct{ workingSet, resident, anonymous int }

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// runSoak starts an agent, attacks it some times in a row, has other tenants' pods fail
// before and during each, and measures.
func runSoak(tb testing.TB, rounds int, of ...attack) (f figures) {
	tb.Helper()
	w := newWorld(tb)
	a := startAgent(tb, w)
	_, f.before = w.fail(tb, "before")
	for start, round := time.Now(), 0; round < rounds && time.Since(start) < soakPatience; round++ { // fewer on a slow machine
		for _, attack := range of {
			attack.begin(tb, w, a, round)
		}
		first, right := w.fail(tb, fmt.Sprint("during", round))
		f.first, f.during = append(f.first, first...), append(f.during, right...)
	}
	for _, attack := range of {
		if attack.worked == nil {
			continue
		}
		for deadline := time.Now().Add(soakPatience); !attack.worked(w); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				tb.Errorf("the attack has not worked: %s", attack.name)
				break
			}
		}
	}
	var err error
	if f.kills, err = a.cgroup.kills(); err != nil {
		tb.Error(err)
	}
	f.memory, f.cpu = a.stop(tb)
	return f
}

// world is what surrounds the agent: an API server, a runtime, a node's files and
// registries.
type world struct {
	api     *apitest.Server
	runtime *critest.Runtime
	root    string

	hanging, stuffed, mirror, limiting, private, good *registrytest.Server

	mu      sync.Mutex
	secrets map[string]string      // contents of the secrets of every namespace, by name
	pods    map[string]*corev1.Pod // by namespace and name
	began   map[string]time.Time
	first   map[string]time.Duration // from a pod's failure to its first report
	changed chan struct{}            // closed, and replaced, with each write
}

// manyHosts is the number of hosts that limit requests.
const manyHosts = 2000

func newWorld(tb testing.TB) *world {
	tb.Helper()
	ca := catest.New(tb)
	w := &world{
		runtime: critest.New(tb), secrets: map[string]string{}, pods: map[string]*corev1.Pod{},
		began: map[string]time.Time{}, first: map[string]time.Duration{}, changed: make(chan struct{}),
	}
	w.hanging = registrytest.New(tb, registrytest.Config{CA: ca, Others: &registrytest.Repository{Behaviour: registrytest.Hang}})
	w.stuffed = registrytest.New(tb, registrytest.Config{CA: ca, Others: &registrytest.Repository{Content: stuffedContent(tb)}})
	image := registrytest.NewContent(tb)
	image.Tag("v1", image.Image(ocispec.Platform{OS: goruntime.GOOS, Architecture: goruntime.GOARCH}, image.Layer(1)))
	mirrored := &registrytest.Server{Config: registrytest.Config{Others: &registrytest.Repository{Content: image}}}
	w.mirror = registrytest.New(tb, registrytest.Config{CA: ca, Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
		if r.URL.Query().Get("ns") == "evil.test" {
			limit(w)
			return
		}
		mirrored.ServeHTTP(w, r)
	}}})
	w.limiting = registrytest.New(tb, registrytest.Config{CA: ca, Certificate: ca.Issue(catest.Request{Names: []string{"*.limits.test"}}),
		Others: &registrytest.Repository{Serve: func(w http.ResponseWriter, _ *http.Request, _, _ string) { limit(w) }}})
	w.private = registrytest.New(tb, registrytest.Config{CA: ca, Passwords: map[string]string{"robot": "new"}, Others: &registrytest.Repository{Tags: []string{"v1"}, Auth: registrytest.Basic}})
	w.good = registrytest.New(tb, registrytest.Config{CA: ca, Others: &registrytest.Repository{Tags: []string{"v1"}}})
	w.root = w.files(tb, ca)
	w.api = apitest.NewWith(tb, w.serve)
	return w
}

// limit answers that there were too many requests today.
func limit(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "86400")
	w.WriteHeader(http.StatusTooManyRequests)
}

// stuffedContent has manifests of nearly 4 MiB: two of as many entries as there is room
// for, and one that is harmless.
func stuffedContent(tb testing.TB) *registrytest.Content {
	c := registrytest.NewContent(tb)
	fill := func(before, entry, after string) []byte {
		n := (4<<20 - len(before) - len(after)) / (len(entry) + 1)
		return []byte(before + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + after)
	}
	c.Tag("layers", c.Manifest(ocispec.MediaTypeImageManifest, fill(`{"schemaVersion":2,"config":{},"layers":[`, "{}", "]}")))
	c.Tag("manifests", c.Manifest(ocispec.MediaTypeImageIndex, fill(`{"schemaVersion":2,"manifests":[`, "{}", "]}")))
	plain := strings.TrimSuffix(string(c.Body(c.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, c.Layer(1)))), "}")
	c.Tag("large", c.Manifest(ocispec.MediaTypeImageManifest, []byte(plain+`,"annotations":{"note":"`+strings.Repeat("x", 4<<20-len(plain)-100)+`"}}`)))
	return c
}

// files writes the files of a node, on which all registries' names are addresses of
// this machine.
func (w *world) files(tb testing.TB, ca *catest.CA) string {
	tb.Helper()
	mirror := "[host.\"https://" + w.mirror.Host + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	return hostfstest.New(tb, map[string]string{
		"etc/hosts": "127.0.0.1 " + registrytest.Name + "\n", "etc/resolv.conf": "nameserver " + nameServer(tb) + "\n", "etc/ssl/certs/ca-certificates.crt": string(ca.PEM()),
		"certs.d/evil.test/hosts.toml": mirror, "certs.d/good.test/hosts.toml": mirror,
	})
}

// nameServer starts a server to whom thousands of hosts are this machine, and returns
// its address.
func nameServer(tb testing.TB) string {
	tb.Helper()
	const address = "127.79.9.7"
	s, err := dnstest.Listen(net.JoinHostPort(address, "53"), func(name string) (dnstest.Zone, bool) {
		return dnstest.Zone{Addresses: []string{"127.0.0.1"}}, strings.HasSuffix(name, ".limits.test.")
	})
	if err != nil {
		tb.Skip(err)
	}
	tb.Cleanup(s.Close)
	return address
}

// serve answers the requests to the API server that are not about reading pods.
func (w *world) serve(out http.ResponseWriter, r apitest.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPatch && len(parts) == 7: // api/v1/namespaces/NAMESPACE/pods/NAME/status
		w.annotate(out, r, parts[3]+"/"+parts[5])
	case r.Method == http.MethodPost:
		apitest.Write(out, runtime.ContentTypeJSON, &metav1.Status{Status: metav1.StatusSuccess})
	case len(parts) == 6 && parts[4] == "secrets":
		w.secret(out, r, parts[3], parts[5])
	default:
		apitest.Fail(out, http.StatusForbidden, metav1.StatusReasonForbidden, r.Line()+" is forbidden")
	}
}

func (w *world) secret(out http.ResponseWriter, r apitest.Request, namespace, name string) {
	w.mu.Lock()
	content, ok := w.secrets[name]
	w.mu.Unlock()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), ResourceVersion: "1"}
	switch {
	case !ok:
		apitest.Fail(out, http.StatusNotFound, metav1.StatusReasonNotFound, "secrets not found")
	case strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata"):
		apitest.Write(out, runtime.ContentTypeJSON, &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: meta})
	default:
		apitest.Write(out, runtime.ContentTypeJSON, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
			Type: keyring.TypeDockerConfigJSON, Data: map[string][]byte{keyring.DataDockerConfigJSON: []byte(content)}})
	}
}

// annotate applies a patch of a pod's annotations.
func (w *world) annotate(out http.ResponseWriter, r apitest.Request, name string) {
	var patch struct {
		Metadata struct {
			UID         types.UID
			Annotations map[string]*string
		}
	}
	if err := json.Unmarshal([]byte(r.Body), &patch); err != nil {
		apitest.Fail(out, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old, ok := w.pods[name]
	if !ok || old.UID != patch.Metadata.UID {
		apitest.Fail(out, http.StatusNotFound, metav1.StatusReasonNotFound, "pods not found")
		return
	}
	pod := old.DeepCopy()
	for key, value := range patch.Metadata.Annotations {
		if value == nil {
			delete(pod.Annotations, key)
			continue
		}
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, *value)
	}
	w.put(pod)
	if _, reported := w.first[name]; !reported {
		w.first[name] = time.Since(w.began[name])
	}
	close(w.changed)
	w.changed = make(chan struct{})
	apitest.Write(out, runtime.ContentTypeJSON, &metav1.Status{Status: metav1.StatusSuccess})
}

// put creates or updates a pod. The caller holds the lock.
func (w *world) put(pod *corev1.Pod) {
	w.pods[pod.Namespace+"/"+pod.Name] = pod
	w.api.Put(pod)
}

// begin creates pods that fail, or replaces those of the same names.
func (w *world) begin(pods ...*corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pod := range pods {
		name := pod.Namespace + "/" + pod.Name
		if old, ok := w.pods[name]; ok {
			w.api.Delete(old)
		}
		delete(w.first, name)
		w.began[name] = time.Now()
		w.put(pod)
	}
}

// keep creates or replaces a secret with a credential, in every namespace.
func (w *world) keep(name, user, password, host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[name] = fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)
}

// failing returns a pod whose containers cannot get their images.
func failing(namespace, name, message string, secrets []string, images ...string) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))},
		Spec:       corev1.PodSpec{NodeName: soakNode},
	}
	for i, image := range images {
		container := fmt.Sprint("c", i)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: container, Image: image, ImagePullPolicy: corev1.PullAlways})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: container, Image: image, State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: fmt.Sprintf("failed to pull and unpack image %q: %s", image, message)}}})
	}
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// What runtimes say.
const (
	refused  = "failed to resolve image: unexpected status from HEAD request: 401 Unauthorized"
	notFound = "failed to resolve image: not found"
	limited  = "failed to resolve image: unexpected status from HEAD request: 429 Too Many Requests"
	unclear  = "something went wrong"
)

// victim is a pod that fails for a reason of its own, and the cause that a right
// verdict has.
type victim struct {
	pod  *corev1.Pod
	want diagnosis.Cause
}

// victims returns pods that fail, each in another way, with images and credentials that
// no earlier ones had.
func (w *world) victims(when string) []victim {
	w.keep("wrong-"+when, "robot-"+when, "old", w.private.Host)
	w.keep("other-"+when, "robot", "new", "other.test")
	image := func(s *registrytest.Server, tag string) string { return s.Host + "/shop/" + when + ":" + tag }
	return []victim{
		{failing("shop", "tag-"+when, notFound, nil, image(w.good, "v2")), diagnosis.TagNotFound},
		{failing("shop", "password-"+when, refused, []string{"wrong-" + when}, image(w.private, "v1")), diagnosis.CredentialsRejected},
		{failing("shop", "secret-"+when, refused, []string{"other-" + when}, image(w.private, "v1")), diagnosis.PullSecretNoMatch},
		{failing("shop", "missing-"+when, refused, []string{"missing-" + when}, image(w.private, "v1")), diagnosis.PullSecretMissing},
		{failing("shop", "mirror-"+when, "connection reset by peer", nil, "good.test/shop/"+when+":v1"), diagnosis.NotReproducible},
	}
}

// fail has pods fail one after another. It returns how long the first and the right
// verdict of each took.
func (w *world) fail(tb testing.TB, when string) (first, right []time.Duration) {
	tb.Helper()
	for _, v := range w.victims(when) {
		name, start, timeout := v.pod.Namespace+"/"+v.pod.Name, time.Now(), time.After(soakPatience)
		w.begin(v.pod)
		for !w.await(tb, name, v.want, timeout) {
			w.begin(v.pod)
		}
		right = append(right, time.Since(start))
		w.mu.Lock()
		first = append(first, w.first[name])
		w.mu.Unlock()
	}
	return first, right
}

// await waits for the verdict that a pod must get. It returns false if the machine is
// so slow that the checks ran into their time limits.
func (w *world) await(tb testing.TB, name string, want diagnosis.Cause, timeout <-chan time.Time) bool {
	tb.Helper()
	for {
		w.mu.Lock()
		text, changed := w.pods[name].Annotations[report.Prefix+"report"], w.changed
		w.mu.Unlock()
		var d report.Document
		if text != "" && json.Unmarshal([]byte(text), &d) == nil && len(d.Containers) == 1 {
			c := d.Containers[0]
			final := !slices.ContainsFunc(c.Evidence, func(e report.Entry) bool { // but for a pull retry, which takes its turn
				return e.Fault == string(diagnosis.FaultPending) && e.Check != string(diagnosis.CheckPull)
			})
			sure := c.Confidence == string(diagnosis.Confirmed) || want == diagnosis.NotReproducible
			switch {
			case !final:
			case c.Cause == string(want) && sure:
				return true
			case timedOut(c):
				tb.Logf("%s: %s (%s): %s", name, c.Cause, c.Confidence, c.Summary)
				return false
			default:
				tb.Fatalf("%s: %s (%s), want %s: %s", name, c.Cause, c.Confidence, want, text)
			}
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("%s: no verdict in %s: %s", name, soakPatience, text)
		}
	}
}

// timedOut reports whether a verdict is that of checks that ran into a time limit.
func timedOut(c report.Container) bool {
	return c.Confidence == string(diagnosis.Suspected) || c.Cause == string(diagnosis.ConnectionTimeout) || c.Cause == string(diagnosis.DNSFailure)
}

// soakAgent is an agent in a cgroup of its own.
type soakAgent struct {
	cmd     *exec.Cmd
	cgroup  memoryCgroup
	address string // of its metrics, from elsewhere if possible
	log     string
	ended   chan struct{} // closed when it has ended
	err     error         // with which it has
	most    chan memory
}

// startAgent builds the agent and starts it, and waits until it watches pods.
func startAgent(tb testing.TB, w *world) *soakAgent {
	tb.Helper()
	return startProgram(tb, w, buildAgent(tb))
}

// buildAgent builds the agent, with further flags of the go command, and returns its path.
func buildAgent(tb testing.TB, flags ...string) string {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), "whypull")
	build := exec.CommandContext(tb.Context(), "go", slices.Concat([]string{"build", "-tags", "grpcnotrace,nethttpomithttp2", "-trimpath", "-o", program}, flags, []string{"."})...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		tb.Skip("there is no go command")
	} else if err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return program
}

// startProgram starts a built agent, with further variables in its environment, and waits
// until it watches pods.
func startProgram(tb testing.TB, w *world, program string, environment ...string) *soakAgent {
	tb.Helper()
	g := newMemoryCgroup(tb, memoryLimit)
	dir := filepath.Dir(program)
	a := &soakAgent{cgroup: g, log: filepath.Join(dir, "log"), ended: make(chan struct{}), most: make(chan memory, 1)}
	uncache(tb, program)
	_, port, err := net.SplitHostPort(freeAddress(tb))
	if err != nil {
		tb.Fatal(err)
	}
	a.address = net.JoinHostPort(addressOfMachine(), port)
	log, err := os.Create(a.log)
	if err != nil {
		tb.Fatal(err)
	}
	a.cmd = g.command(program, "agent", "--node-name", soakNode, "--kubeconfig", apitest.Kubeconfig(tb, w.api.URL, w.api.CA()),
		"--cri-socket", "unix://"+w.runtime.Socket, "--host-root", w.root, "--registry-config-path", "/certs.d", "--kubelet-root-dir", "/none",
		"--secret-access", "direct", "--require-admission-policy=false", "--pull-retry", "replay", "--listen-address", ":"+port)
	a.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}, environment...)
	a.cmd.Stderr, a.cmd.Stdout = log, log
	if err := a.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	_ = log.Close() // the agent has its own
	go func() {
		defer close(a.ended)
		a.err = a.cmd.Wait()
	}()
	tb.Cleanup(func() {
		_ = a.cmd.Process.Kill() // it may have ended
		<-a.ended
		if tb.Failed() {
			tb.Log(a.logged(tb))
		}
	})
	w.api.AwaitWatch(tb)
	go a.sample()
	if text := a.logged(tb); !strings.Contains(text, fmt.Sprintf(`"memory_limit":%d`, memoryLimit/100*memoryShare)) {
		tb.Error("the agent does not know its memory limit")
	}
	return a
}

// uncache has the kernel drop a file's pages, so that they count for the cgroup that
// reads them next, as in a container that has been started on a new node.
func uncache(tb testing.TB, file string) {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		tb.Logf("the program's pages may count for others: %v", err)
	}
}

// sample finds out the most memory until the agent is stopped.
func (a *soakAgent) sample() {
	var most memory
	defer func() { a.most <- most }()
	for {
		select {
		case <-a.ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
		anonymous, err := a.cgroup.anonymous()
		workingSet, err2 := a.cgroup.workingSet()
		if err != nil || err2 != nil {
			return // it is being removed
		}
		most.anonymous, most.workingSet = max(most.anonymous, anonymous), max(most.workingSet, workingSet)
	}
}

func (a *soakAgent) logged(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(a.log)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// stop ends the agent, which must still run, and returns the most memory that it has
// had, and its processor time.
func (a *soakAgent) stop(tb testing.TB) (most memory, cpu time.Duration) {
	tb.Helper()
	resident := 0
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &resident); err == nil {
			break
		}
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
	if <-a.ended; a.err != nil {
		tb.Errorf("the agent ended: %v", a.err)
	}
	most = <-a.most
	most.resident = resident << 10
	return most, a.cmd.ProcessState.UserTime() + a.cmd.ProcessState.SystemTime()
}

// freeAddress returns a loopback address on which nothing listens.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	return l.Addr().String()
}

// addressOfMachine returns an address of this machine that is no loopback address, if
// it has one.
func addressOfMachine() string {
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); err == nil && ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// attack is one way of a hostile neighbor.
type attack struct {
	name string
	// begin begins it, again in each round.
	begin func(tb testing.TB, w *world, a *soakAgent, round int)
	// worked reports whether it has reached its aim's door; nil: that does not show.
	worked func(*world) bool
}

// attacks returns those of an audit, each with the figures that it had.
func attacks() []attack {
	return []attack{
		{"stuffed manifests", stuffedManifests, func(w *world) bool { return fetched(w.stuffed) > 0 }},
		{"names", manySecrets, nil},
		{"slow registry", slowRegistry, func(w *world) bool { return len(w.hanging.Requests()) > 0 }},
		{"scrapes", scrapes, nil},
		{"limits", limits, func(w *world) bool { return len(w.mirror.Requests()) > 0 && len(w.limiting.Requests()) > attackers }},
		{"wrong password", wrongPassword, func(w *world) bool { return triedPassword(w.private) }},
		{"texts", hostileTexts, nil},
	}
}

// fetched returns how many manifests a registry was asked for.
func fetched(s *registrytest.Server) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/manifests/") {
			n++
		}
	}
	return n
}

// triedPassword reports whether the wrong password of one robot was tried, and not more
// often than for one image.
func triedPassword(s *registrytest.Server) bool {
	n := 0
	for _, r := range s.Requests() {
		if r.Auth != "" && strings.Contains(r.Path, "/evil/") {
			n++
		}
	}
	return n > 0 && n <= 2 // a HEAD and, for the registry's words, a GET
}

// stuffedManifests: manifests of 4 MiB of 1.4 million layers or entries, and as many
// that are only large.
func stuffedManifests(_ testing.TB, w *world, _ *soakAgent, round int) {
	for i := range attackers {
		tag := []string{"layers", "manifests"}[i%2]
		w.begin(failing("evil", fmt.Sprint("stuffed", i), unclear, nil, fmt.Sprintf("%s/evil/stuffed%d-%d:%s", w.stuffed.Host, i, round, tag)),
			failing("evil", fmt.Sprint("large", i), unclear, nil, fmt.Sprintf("%s/evil/large%d-%d:large", w.stuffed.Host, i, round)))
	}
}

// manySecrets: a pod that names one secret 100,000 times, one that names 60,000, and
// one of 200 containers.
func manySecrets(_ testing.TB, w *world, _ *soakAgent, round int) {
	w.keep("evil0", "evil", "x", w.hanging.Host)
	var names, images []string
	for i := range 60_000 {
		names = append(names, fmt.Sprint("none", i))
	}
	for i := range 200 {
		images = append(images, fmt.Sprintf("%s/evil/names%d-%d:1", w.hanging.Host, i, round))
	}
	w.begin(failing("evil", "one-name", refused, slices.Repeat([]string{"evil0"}, 100_000), images[0]),
		failing("evil", "many-names", refused, names, images[1]),
		failing("evil", "many-containers", refused, names[:1000], images...))
}

// slowRegistry: pods at a registry that answers nothing, with eight secrets each.
func slowRegistry(_ testing.TB, w *world, _ *soakAgent, round int) {
	var secrets []string
	for i := range 8 {
		name := fmt.Sprint("evil", i)
		w.keep(name, name, "x", w.hanging.Host)
		secrets = append(secrets, name)
	}
	for i := range attackers {
		w.begin(failing("evil", fmt.Sprint("slow", i), refused, secrets, fmt.Sprintf("%s/evil/slow%d-%d:1", w.hanging.Host, i, round)))
	}
}

// largePods: as many pods as a node has, as large as the API server takes, which all come
// at once when the watch begins again.
func largePods(_ testing.TB, w *world, _ *soakAgent, round int) {
	large := []string{strings.Repeat("x", 3<<19)}
	for i := range 110 * max(1-round, 0) {
		p := failing("evil", fmt.Sprint("heavy", i), "", nil, "hub.test/heavy:1")
		p.Spec.Containers[0].Args, p.Status = large, corev1.PodStatus{}
		w.begin(p)
	}
	w.api.EndWatches(true)
}

// scrapes: thousands of idle connections, and scrapes all the time.
func scrapes(tb testing.TB, _ *world, a *soakAgent, round int) {
	if round > 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var conns []net.Conn
	tb.Cleanup(func() {
		stop()
		wg.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	dialer := net.Dialer{Timeout: soakPatience}
	for i := range 4000 {
		c, err := dialer.DialContext(ctx, "tcp", a.address)
		if err != nil {
			tb.Logf("%d idle connections: %v", i, err) // this process may have no more
			break
		}
		conns = append(conns, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: a\r\n") // the agent may have closed it
		}
	}
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				scrape(ctx, a.address)
			}
		})
	}
}

func scrape(ctx context.Context, address string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // whatever comes
		_ = resp.Body.Close()
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// limits: an upstream registry behind the shared mirror allows no more requests today,
// and so do thousands of hosts.
func limits(_ testing.TB, w *world, _ *soakAgent, round int) {
	w.begin(failing("evil", "limited", limited, nil, fmt.Sprintf("evil.test/app%d:1", round)))
	_, port, _ := net.SplitHostPort(w.limiting.Address)
	for i := range attackers {
		var images []string
		for j := range manyHosts / attackers {
			images = append(images, fmt.Sprintf("h%d.limits.test:%s/app%d:1", i*manyHosts/attackers+j, port, round))
		}
		w.begin(failing("evil", fmt.Sprint("limits", i), limited, nil, images...))
	}
}

// wrongPassword: ten images and one robot account, in a namespace in which nothing
// else keeps it from being tried.
func wrongPassword(_ testing.TB, w *world, _ *soakAgent, round int) {
	w.keep("robot", "robot", "old", w.private.Host)
	for i := range 10 {
		w.begin(failing("evil-robot", fmt.Sprint("robot", i), refused, []string{"robot"}, fmt.Sprintf("%s/evil/app%d-%d:v1", w.private.Host, i, round)))
	}
}

// hostileTexts: images and messages that are long, or mean something to a terminal, a
// shell or a parser.
func hostileTexts(_ testing.TB, w *world, _ *soakAgent, round int) {
	for i, text := range []string{"$(touch x)", "`id`", "\x1b[2J\x1b]0;x\x07", "\u202eevil\u2066", "a\r\nb\n\n", strings.Repeat("\\\"{[(<", 5000), strings.Repeat("x", 32<<10), "\xff\xfe", "%s%d%!"} {
		pod := failing("evil", fmt.Sprint("text", i), text+": "+refused+text, nil, w.good.Host+"/evil/text"+strconv.Itoa(i)+"-"+strconv.Itoa(round)+":v1", text)
		w.begin(pod)
	}
}
