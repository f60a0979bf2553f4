package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/node"
	"github.com/whypull/whypull/deploy/lab/registry"
)

func TestMain(m *testing.M) {
	if lab.Reexec() {
		return
	}
	os.Exit(m.Run())
}

// TestLifecycle runs two labs side by side through their whole life cycle.
func TestLifecycle(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root, and takes minutes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	before := machineState(ctx, t)
	first, second := startLab(ctx, t), startLab(ctx, t)

	t.Run("up twice is harmless", func(t *testing.T) { upTwice(ctx, t, first) })
	t.Run("the labs do not share anything", func(t *testing.T) { sideBySide(ctx, t, first, second) })
	t.Run("pods", func(t *testing.T) { pods(ctx, t, first) })
	t.Run("registries from outside", func(t *testing.T) { pushAndCount(ctx, t, first) })
	t.Run("the node's files and names", func(t *testing.T) { nodeFiles(ctx, t, first) })
	t.Run("names with different answers for each client", func(t *testing.T) { namesToEachAsker(ctx, t, first) })
	t.Run("components stop and start", func(t *testing.T) { stopAndStart(ctx, t, first) })
	t.Run("images from an archive", func(t *testing.T) { importImage(ctx, t, first) })

	url := apiURL(ctx, t, first)
	traces := []traces{tracesOf(t, first), tracesOf(t, second)}
	t.Run("down leaves nothing", func(t *testing.T) {
		down(ctx, t, first)
		traces[0].assertGone(ctx, t)
	})
	t.Run("down after the first process was killed", func(t *testing.T) {
		kill(ctx, t, second)
		down(ctx, t, second)
		traces[1].assertGone(ctx, t)
	})
	t.Run("down twice is harmless", func(t *testing.T) { down(ctx, t, first) })
	t.Run("the machine is unchanged", func(t *testing.T) {
		if after := machineState(ctx, t); after != before {
			t.Errorf("the machine's network or firewall changed\nbefore:\n%s\nafter:\n%s", before, after)
		}
	})
	t.Run("the cluster is kept", func(t *testing.T) { keepsCluster(ctx, t, first, url) })
	t.Run("reset makes a new cluster", func(t *testing.T) { resets(ctx, t, first) })
}

func startLab(ctx context.Context, t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Open(filepath.Join(t.TempDir(), "lab"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := l.Up(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	return l
}

func upTwice(ctx context.Context, t *testing.T, l *lab.Lab) {
	before := find(t, l).PID
	if err := l.Up(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	if after := find(t, l).PID; after != before {
		t.Errorf("a second up started another box: PID %d, then %d", before, after)
	}
}

func find(t *testing.T, l *lab.Lab) *box.Box {
	t.Helper()
	b, err := box.Find(l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sideBySide(ctx context.Context, t *testing.T, first, second *lab.Lab) {
	if first.Cgroup() == second.Cgroup() {
		t.Errorf("both labs use the cgroup %s", first.Cgroup())
	}
	kubectl(ctx, t, first, "", "create", "namespace", "only-in-the-first")
	if out := kubectl(ctx, t, second, "", "get", "namespaces", "-o", "name"); strings.Contains(out, "only-in-the-first") {
		t.Error("the labs share a cluster")
	}
	if err := second.WriteFile("/etc/marker", []byte("second")); err != nil {
		t.Fatal(err)
	}
	if _, err := first.ReadFile("/etc/marker"); !os.IsNotExist(err) {
		t.Errorf("the labs share files: %v", err)
	}
	if _, err := os.Stat("/etc/marker"); !os.IsNotExist(err) {
		t.Errorf("a file of the lab is on the machine: %v", err)
	}
}

func pods(ctx context.Context, t *testing.T, l *lab.Lab) {
	kubectl(ctx, t, l, podManifest("tools", registry.PlainTools, ""), "apply", "-f", "-")
	kubectl(ctx, t, l, podManifest("nobody", registry.Nginx112, ""), "apply", "-f", "-")
	kubectl(ctx, t, l, fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"hub"},"type":"kubernetes.io/dockerconfigjson",
		"stringData":{".dockerconfigjson":"{\"auths\":{\"%s\":{\"username\":\"%s\",\"password\":\"%s\"}}}"}}`,
		registry.HubHost, registry.Alice, registry.AlicePassword), "apply", "-f", "-")
	kubectl(ctx, t, l, podManifest("alice", registry.Nginx113, "hub"), "apply", "-f", "-")

	kubectl(ctx, t, l, "", "wait", "--for=condition=Ready", "pod/tools", "pod/alice", "--timeout=10m")
	kubectl(ctx, t, l, "", "wait", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff", "pod/nobody", "--timeout=10m")
	for _, question := range []struct {
		args []string
		want string
	}{
		{[]string{"resolve", "kubernetes.default"}, node.ServiceAddress},
		{[]string{"resolve", registry.HubHost}, registry.Hosts()[registry.HubHost]},
		{[]string{"get", "https://kubernetes.default/version"}, "200 OK"},
		{[]string{"get", "https://" + node.ServiceAddress + "/healthz"}, "200 OK"},
		{[]string{"cat", "/etc/resolv.conf"}, node.ClusterDNS},
	} {
		out := kubectl(ctx, t, l, "", append([]string{"exec", "tools", "--", "/tools"}, question.args...)...)
		if !strings.Contains(out, question.want) {
			t.Errorf("%v in a pod: got %q, want %q", question.args, out, question.want)
		}
	}
	kubectl(ctx, t, l, "", "delete", "pod", "--all", "--grace-period=1")
}

func podManifest(name, image, secret string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q}, "spec": {
		"imagePullSecrets": [{"name": %q}],
		"containers": [{"name": "a", "image": %q, "args": ["wait"]}]}}`, name, secret, image)
}

func pushAndCount(ctx context.Context, t *testing.T, l *lab.Lab) {
	reference := registry.PlainHost + "/pushed/app:1.0"
	image, err := l.PauseImage(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Push(ctx, reference, image); err != nil {
		t.Fatal(err)
	}
	stdout, _, err := l.Exec(ctx, nil, "curl", "-sS", "-A", "whypull/test", "http://"+registry.PlainHost+"/v2/pushed/app/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"pushed/app","tags":["1.0"]}`; strings.TrimSpace(stdout) != want {
		t.Errorf("tags: got %s, want %s", stdout, want)
	}
	address, err := l.Forward(ctx, registry.PlainHost)
	if err != nil {
		t.Fatal(err)
	}
	if status := get(ctx, t, "http://"+address+"/v2/"); status != http.StatusOK {
		t.Errorf("through a forwarded port: status %d", status)
	}
	eventually(ctx, t, "the request is in the access log", func() bool {
		data, err := os.ReadFile(l.RegistryLog(registry.Plain))
		return err == nil && bytes.Count(data, []byte(`"whypull/test"`)) == 1
	})
}

func get(ctx context.Context, t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	return response.StatusCode
}

func nodeFiles(ctx context.Context, t *testing.T, l *lab.Lab) {
	hosts := registry.Hosts()
	hosts["new.lab.example"] = node.SilentAddress
	if err := l.WriteFile(node.ZoneFile, []byte(node.Zone(hosts))); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "a new name resolves on the node", func() bool {
		out, _, err := l.Exec(ctx, nil, "getent", "hosts", "new.lab.example")
		return err == nil && strings.HasPrefix(out, node.SilentAddress)
	})
	if _, _, err := l.Exec(ctx, nil, "getent", "hosts", registry.MissingHost); err == nil {
		t.Error("a name that does not exist resolves")
	}
	if _, _, err := l.Exec(ctx, nil, "sh", "-c", "exit 7"); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("a command that fails: %v", err)
	}
}

func stopAndStart(ctx context.Context, t *testing.T, l *lab.Lab) {
	if err := l.StopComponent(ctx, node.NodeDNS); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Exec(ctx, nil, "getent", "hosts", registry.HubHost); err == nil {
		t.Error("a name resolves without a resolver")
	}
	status, err := l.Status(ctx)
	if err != nil || status.Ready {
		t.Errorf("the lab is ready without a resolver: %v", err)
	}
	if err := l.StartComponent(ctx, node.NodeDNS); err != nil {
		t.Fatal(err)
	}
	if out, _, err := l.Exec(ctx, nil, "getent", "hosts", registry.HubHost); err != nil {
		t.Errorf("after the start: %s %v", out, err)
	}
}

func importImage(ctx context.Context, t *testing.T, l *lab.Lab) {
	program, err := l.ToolPath("tools")
	if err != nil {
		t.Fatal(err)
	}
	const reference = "imported.lab.example/tools:1.0"
	archive, err := l.BuildImage(reference, program, imageOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ImportImage(ctx, archive); err != nil {
		t.Fatal(err)
	}
	kubectl(ctx, t, l, podManifest("imported", reference, ""), "apply", "-f", "-")
	kubectl(ctx, t, l, "", "wait", "--for=condition=Ready", "pod/imported", "--timeout=10m")
}

func keepsCluster(ctx context.Context, t *testing.T, l *lab.Lab, before string) {
	if err := l.Up(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	kubectl(ctx, t, l, "", "get", "namespace", "only-in-the-first")
	if after := apiURL(ctx, t, l); after != before {
		t.Errorf("the API server moved from %s to %s", before, after)
	}
}

func resets(ctx context.Context, t *testing.T, l *lab.Lab) {
	if err := l.Reset(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	if out := kubectl(ctx, t, l, "", "get", "namespaces", "-o", "name"); strings.Contains(out, "only-in-the-first") {
		t.Error("the old cluster is still there")
	}
}

func apiURL(ctx context.Context, t *testing.T, l *lab.Lab) string {
	t.Helper()
	status, err := l.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return status.API
}

func down(ctx context.Context, t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.Down(ctx); err != nil {
		t.Fatal(err)
	}
	status, err := l.Status(ctx)
	if err != nil || status.Running {
		t.Errorf("after down: %+v, %v", status, err)
	}
}

func kill(ctx context.Context, t *testing.T, l *lab.Lab) {
	t.Helper()
	b := find(t, l)
	if err := syscall.Kill(b.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "the first process is gone", func() bool { return !b.Alive() })
}

func kubectl(ctx context.Context, t *testing.T, l *lab.Lab, stdin string, args ...string) string {
	t.Helper()
	out, err := l.Kubectl(ctx, strings.NewReader(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func eventually(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("timed out waiting for: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// traces holds what a running lab has outside its directory.
type traces struct {
	dir, cgroup string
	namespaces  []string
}

func tracesOf(t *testing.T, l *lab.Lab) traces {
	t.Helper()
	pid := find(t, l).PID
	tr := traces{dir: l.Dir(), cgroup: l.Cgroup()}
	for _, kind := range []string{"mnt", "net", "pid", "uts", "ipc", "cgroup"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		if own, err := os.Readlink("/proc/self/ns/" + kind); err != nil || own == link {
			t.Errorf("the lab shares the %s namespace with the machine (%v)", kind, err)
		}
		tr.namespaces = append(tr.namespaces, link)
	}
	return tr
}

func (tr traces) assertGone(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(ctx, t, "no process is in the lab's namespaces", func() bool { return len(tr.processes()) == 0 })
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || bytes.Contains(mounts, []byte(tr.dir)) {
		t.Errorf("mounts of %s are left (%v)", tr.dir, err)
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + tr.cgroup)
	if more, _ := filepath.Glob("/sys/fs/cgroup/" + tr.cgroup); err != nil || len(cgroups)+len(more) > 0 {
		t.Errorf("cgroups are left: %v %v (%v)", cgroups, more, err)
	}
}

// processes lists the processes in the lab's namespaces.
func (tr traces) processes() []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, path := range links {
		if target, err := os.Readlink(path); err == nil && slices.Contains(tr.namespaces, target) {
			found = append(found, path)
		}
	}
	return found
}

// machineState returns what a lab must not change: the machine's own network devices
// and firewall, if the programs to show them are installed.
func machineState(ctx context.Context, t *testing.T) string {
	t.Helper()
	var state strings.Builder
	for _, argv := range [][]string{{"ip", "-o", "-brief", "link"}, {"ip", "route"}, {"iptables-save"}, {"nft", "list", "ruleset"}} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput() // #nosec G204 -- constants
		fmt.Fprintf(&state, "%v (%v):\n%s", argv, err, out)
	}
	return state.String()
}

func imageOptions() image.Options { return image.Options{User: "65534"} }
