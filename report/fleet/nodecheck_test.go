package fleet

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/check"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/report"
)

// The agent takes the manifest, and its answer is understood.
func TestAnswerOfAgent(t *testing.T) {
	t.Parallel()
	secret := corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"127.0.0.1:1":{"auth":"dTpw"}}}`)}}
	secret.Name = "regcred"
	in, err := manifest("127.0.0.1:1/team/app:1", "shop", []string{"regcred"}, []corev1.Secret{secret})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := check.Options{
		Files: []string{"-"}, Output: "json", Namespace: "default", Kubelet: kubelet.Options{Dir: dir},
		Registries: nodeconfig.Options{Root: dir, ConfigFile: dir + "/none", Version: "test"},
		Report: func(verdicts []diagnosis.Verdict, node string, observed time.Time) any {
			return report.NewDocument(verdicts, node, observed)
		},
	}
	var out bytes.Buffer
	if _, err := check.Run(t.Context(), o, bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	a, err := parseAnswer("n1", out.Bytes())
	if err != nil || a.Pullable || a.Cause != string(diagnosis.ConnectionRefused) || !strings.Contains(a.Summary, "127.0.0.1:1") {
		t.Errorf("%+v, %v of\n%s", a, err, out.String())
	}
	if checkSchema != check.Schema {
		t.Errorf("%s, want %s", checkSchema, check.Schema)
	}
}

func TestAnswersText(t *testing.T) {
	t.Parallel()
	var all []Answer
	for i := range 15 {
		a := Answer{Node: fmt.Sprintf("n%02d", i), Pullable: i > 12}
		if i < 12 {
			a.Cause, a.Summary = "TLSUntrusted", "the certificate is not trusted"
		} else if i == 12 {
			a.Error = "no whypull agent runs on the node"
		}
		all = append(all, a)
	}
	slices.Reverse(all)
	a := NewAnswers("hub.test/a:1\x1b[2J", all)
	want := "hub.test/a:1 works on 2 of 15 nodes\n" +
		"n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more: TLSUntrusted\n  the certificate is not trusted\n" +
		"n12: no answer, no whypull agent runs on the node\n"
	if got := a.Text(Layout{}); got != want || !a.Failing() || !a.Unknown() {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if a := NewAnswers("a", []Answer{{Node: "n", Pullable: true}}); a.Failing() || a.Unknown() || a.Text(Layout{}) != "a works on 1 of 1 node\n" {
		t.Errorf("%+v", a)
	}
}

// An agent checks with its own binary and as its node is.
func TestCheckCommand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		container corev1.Container
		want      string
	}{
		"the manifests'": {corev1.Container{Args: []string{"agent", "--host-root=/host"}}, "/whypull check -f - -o json --host-root=/host"},
		"with a command": {corev1.Container{Command: []string{"/bin/whypull", "agent", "--cri-socket", "unix:///x"}, Args: []string{"--log-format=json", "--containerd-config=/c"}},
			"/bin/whypull check -f - -o json --cri-socket=unix:///x --containerd-config=/c"},
		"a value missing": {corev1.Container{Args: []string{"agent", "--host-root"}}, "/whypull check -f - -o json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(checkCommand(&tt.container), " "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
