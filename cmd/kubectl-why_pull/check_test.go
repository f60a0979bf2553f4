package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report"
)

// checked returns what "whypull check -o json" prints about one image.
func checked(pullable bool, cause, summary string) string {
	text, err := json.Marshal(map[string]any{"schema": "whypull.dev/check/v1", "pullable": pullable, "pods": []any{map[string]any{
		"pullable": pullable, "report": report.Document{Schema: report.Schema, Containers: []report.Container{{Name: "app", Cause: cause, Summary: summary}}},
	}}})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// kubelets is a cluster with agents on n1 to n5, which answer as the test says.
type kubelets struct {
	*apitest.Server

	mu    sync.Mutex
	asked []string // pod, command and standard input of each exec
}

func (k *kubelets) requests() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.asked)
}

func withAgents(t *testing.T, spdyOnly bool, run func(pod string) (stdout, stderr string, status int)) *kubelets {
	t.Helper()
	k := &kubelets{}
	k.Server = apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
		part := strings.Split(r.URL.Path, "/")
		switch {
		case strings.HasSuffix(r.URL.Path, "/agent-n4/exec"):
			apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "pods \"agent-n4\" is forbidden\x1b[31m")
		case strings.HasSuffix(r.URL.Path, "/exec") && spdyOnly && wsstream.IsWebSocketRequest(r.Request):
			apitest.Fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "no WebSocket")
		case strings.HasSuffix(r.URL.Path, "/exec"):
			apitest.Exec(w, r, func(command []string, stdin string) (string, string, int) {
				k.mu.Lock()
				k.asked = append(k.asked, fmt.Sprintf("%s %q %s", part[6], command, stdin))
				k.mu.Unlock()
				return run(part[6])
			})
		case r.URL.Path == "/api/v1/nodes" && r.URL.Query().Get("labelSelector") == "pool=batch":
			apitest.Write(w, "application/json", &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}, Items: []metav1.PartialObjectMetadata{
				{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, {ObjectMeta: metav1.ObjectMeta{Name: "n9"}},
			}})
		case r.URL.Path == "/api/v1/nodes":
			apitest.Write(w, "application/json", &metav1.PartialObjectMetadataList{})
		case r.URL.Path == "/api/v1/namespaces/shop/secrets/regcred":
			apitest.Write(w, "application/vnd.kubernetes.protobuf", &corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Name: "regcred", Annotations: map[string]string{"note": "not sent"}},
				Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
			})
		default:
			apitest.Fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "secrets \"none\" not found")
		}
	})
	for i := 1; i <= 5; i++ {
		p := agentPod("whypull", fmt.Sprintf("n%d", i))
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "whypull-agent", UID: "1", Controller: new(true)}}
		p.Spec.Containers = []corev1.Container{{Name: "proxy"}, {Name: "agent", Args: []string{"agent", "--host-root=/host", "--cri-socket", "unix:///run/x.sock", "--pull-retry=false"}}}
		if i == 5 {
			p.Status.Conditions = nil
		}
		k.Put(p)
	}
	forged := agentPod("evil", "n6") // has the labels only
	k.Put(forged)
	loose := agentPod("whypull", "n7") // is of no DaemonSet
	k.Put(loose)
	k.Put(broken("shop", "web", "TagNotFound"))
	return k
}

func TestCheck(t *testing.T) {
	answers := map[string][3]any{
		"agent-n1": {checked(true, "NotReproducible", "fine"), "", 0},
		"agent-n2": {checked(true, "NotReproducible", "fine"), "", 0},
		"agent-n3": {checked(false, "TLSUntrusted", "the certificate\x1b[2J is not trusted"), "", 1},
	}
	run := func(pod string) (string, string, int) {
		a := answers[pod]
		stdout, _ := a[0].(string)
		stderr, _ := a[1].(string)
		status, _ := a[2].(int)
		return stdout, stderr, status
	}
	const image = "hub.test/team/app:2"
	for name, tc := range map[string]struct {
		args   []string
		status int
		asked  string // pods
		stdout string
		stderr string // contains
	}{
		"all nodes": {[]string{"--all-nodes"}, 1, "agent-n1 agent-n2 agent-n3",
			image + " works on 2 of 5 nodes\nn3: TLSUntrusted\n  the certificate is not trusted\n" +
				"n4: no answer, exec into pod whypull/agent-n4: unable to upgrade connection: pods \"agent-n4\" is forbidden\nn5: no answer, the whypull agent on the node is not ready\n", "asking the agents of 5 nodes\n"},
		"a node":              {[]string{"--node", "n1"}, 0, "agent-n1", image + " works on 1 of 1 node\n", "asking the agent of 1 node\n"},
		"a pod's node":        {[]string{"--as-pod", "web", "-n", "shop"}, 0, "agent-n1", image + " works on 1 of 1 node\n", ""},
		"a pod elsewhere":     {[]string{"--as-pod", "pod/web", "-n", "shop", "--node", "n3"}, 1, "agent-n3", image + " works on 0 of 1 node\nn3: TLSUntrusted\n  the certificate is not trusted\n", ""},
		"by labels":           {[]string{"-l", "pool=batch"}, 2, "agent-n2", image + " works on 1 of 2 nodes\nn9: no answer, no whypull agent runs on the node\n", "not all nodes have answered"},
		"only the labels":     {[]string{"--node", "n6"}, 2, "", image + " works on 0 of 1 node\nn6: no answer, no whypull agent runs on the node\n", "not all nodes have answered"},
		"no DaemonSet's":      {[]string{"--node", "n7"}, 2, "", image + " works on 0 of 1 node\nn7: no answer, no whypull agent runs on the node\n", ""},
		"labels of none":      {[]string{"-l", "pool=none"}, 2, "", "", "no node has the labels pool=none"},
		"no agents":           {[]string{"--all-nodes", "--agent-namespace", "evil"}, 2, "", "", "no whypull agent runs in namespace evil"},
		"no such secret":      {[]string{"--all-nodes", "--secret", "none"}, 2, "", "", `secrets "none" not found`},
		"no such pod":         {[]string{"--as-pod", "none"}, 2, "", "", `pods "none" not found`},
		"no nodes":            {nil, 2, "", "", "which nodes to ask is not given"},
		"two kinds":           {[]string{"--all-nodes", "--node", "n1"}, 2, "", "", "only one of --node, --all-nodes and --selector"},
		"a secret and a pod":  {[]string{"--all-nodes", "--secret", "a", "--as-pod", "web"}, 2, "", "", "only one of --secret and --as-pod"},
		"not a pod":           {[]string{"--as-pod", "deploy/web"}, 2, "", "", "is not the name of a pod"},
		"not labels":          {[]string{"-l", "a=b=c"}, 2, "", "", "is not a label selector, such as pool=batch"},
		"empty labels":        {[]string{"-l", ""}, 2, "", "", "is not a label selector, such as pool=batch"},
		"not a node":          {[]string{"--node", "N1"}, 2, "", "", `--node: "N1" is not the name of a node`},
		"not an output":       {[]string{"--all-nodes", "-o", "wide"}, 2, "", "", `"wide" is not one of table, json, yaml`},
		"not all, not others": {[]string{"--all-nodes=false"}, 2, "", "", "--all-nodes=false selects no nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			k := withAgents(t, false, run)
			if slices.Contains(tc.args, "--as-pod") || slices.Contains(tc.args, "--secret") {
				tc.args = append(tc.args, "-n", "shop")
			}
			status, out, errs := called(t, k.Server, append([]string{"check", image}, tc.args...)...)
			var asked []string
			for _, line := range k.requests() {
				pod, _, _ := strings.Cut(line, " ")
				asked = append(asked, pod)
			}
			slices.Sort(asked)
			if status != tc.status || out != tc.stdout || !strings.Contains(errs, tc.stderr) || strings.Join(asked, " ") != tc.asked {
				t.Errorf("status %d, want %d; asked %q, want %s\n%s%s\nwant\n%s", status, tc.status, asked, tc.asked, out, errs, tc.stdout)
			}
		})
	}
}

// Credentials go in by standard input, never by the command.
func TestCheckSends(t *testing.T) {
	for name, spdyOnly := range map[string]bool{"WebSocket": false, "SPDY": true} {
		for _, how := range [][]string{{"--secret", "regcred", "--node", "n1"}, {"--as-pod", "web"}} {
			t.Run(name+" "+how[0], func(t *testing.T) {
				k := withAgents(t, spdyOnly, func(string) (string, string, int) { return checked(true, "NotReproducible", ""), "a note", 0 })
				status, out, errs := called(t, k.Server, append([]string{"check", "hub.test/a:1", "-n", "shop", "-o", "json"}, how...)...)
				want := `agent-n1 ["/whypull" "check" "-f" "-" "-o" "json" "--host-root=/host" "--cri-socket=unix:///run/x.sock"] ` +
					`{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"check","namespace":"shop"},"spec":{"containers":[{"image":"hub.test/a:1","name":"app"}],"imagePullSecrets":[{"name":"regcred"}]}},` +
					`{"apiVersion":"v1","data":{".dockerconfigjson":"eyJhdXRocyI6e319"},"kind":"Secret","metadata":{"name":"regcred","namespace":"shop"},"type":"kubernetes.io/dockerconfigjson"}],"kind":"List"}`
				if status != 0 || !slices.Equal(k.requests(), []string{want}) || !strings.Contains(out, `"pullable": true`) || !strings.Contains(out, `"schema": "whypull.dev/nodes/v1"`) {
					t.Errorf("status %d, asked %q\nwant %q\n%s%s", status, k.requests(), want, out, errs)
				}
			})
		}
	}
}

// What an agent prints is not trusted.
func TestCheckDistrusts(t *testing.T) {
	valid := checked(true, "NotReproducible", "")
	for name, tc := range map[string]struct {
		stdout, stderr string
		status         int
		want           string
	}{
		"not JSON":           {"hello", "", 0, "the agent's answer is not JSON"},
		"nothing":            {"", "", 0, "the agent's answer is not JSON"},
		"another schema":     {`{"schema":"x\u001b"}`, "", 0, `the agent's answer has the schema "x\x1b", not whypull.dev/check/v1`},
		"no pod":             {`{"schema":"whypull.dev/check/v1","pullable":true}`, "", 0, "is not about one image"},
		"an unknown cause":   {checked(false, "Hack\x1b", ""), "", 1, `unknown cause "Hack\x1b"`},
		"a cause's case":     {checked(false, "tlsuntrusted", ""), "", 1, `unknown cause "tlsuntrusted"`},
		"contradicts itself": {valid, "", 1, "the agent's answer contradicts its exit status"},
		"an error":           {"", "whypull: unknown\x1b[2J flag\n", 2, "whypull check in pod whypull/agent-n1: exit status 2: whypull: unknown flag"},
		"too much":           {strings.Repeat(" ", 2<<20) + valid, "", 0, "the agent's answer is larger than 1048576 bytes"},
		"much to complain":   {valid, strings.Repeat("x", 1<<20), 0, "works on 1 of 1 node"},
	} {
		t.Run(name, func(t *testing.T) {
			k := withAgents(t, false, func(string) (string, string, int) { return tc.stdout, tc.stderr, tc.status })
			status, out, errs := called(t, k.Server, "check", "hub.test/a:1", "--node", "n1")
			if (status == 0) != strings.HasPrefix(tc.want, "works") || !strings.Contains(out, tc.want) || strings.Contains(out, "\x1b") || len(out) > 2000 {
				t.Errorf("status %d\n%s%s\nwant %s", status, out, errs, tc.want)
			}
		})
	}
}
