package probe

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// The public reports whose world needs the kubelet's files, a runtime's sandbox or a
// resolver. The others are in package check.

// R42: the only place that hosts.toml names has a name that does not exist.
func TestR42OnlyAMirror(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, map[string]string{"certs.d/docker.io/hosts.toml": "server = \"http://docker-io.regproxy.example.test\"\n"})
	f := failure("docker.io/library/alpine:3")
	f.Message = `failed to resolve reference "docker.io/library/alpine:3": failed to do request: Head "http://docker-io.regproxy.example.test/v2/library/alpine/manifests/3?ns=docker.io": dial tcp: lookup docker-io.regproxy.example.test on 127.0.0.1:53: no such host`
	got, summary := n.judged(f)
	if got != "MirrorFailed Confirmed" || !strings.Contains(summary, "docker-io.regproxy.example.test") {
		t.Errorf("%s: %s", got, summary)
	}
}

// R52: an image that was loaded onto the node under its name, and pulled by the
// kubelet under another one. The policy Never finds it only under the recorded name,
// and the text is that of an image that is not there.
func TestR52LoadedAndPulledElsewhere(t *testing.T) {
	t.Parallel()
	s := open(t)
	f := failure(s.Host + "/team/app:1.0")
	f.PullPolicy, f.Reason = "Never", "ErrImageNeverPull"
	f.Message = fmt.Sprintf("Container image %q is not present with pull policy of Never", f.Image)
	for name, c := range map[string]struct {
		recorded     string // the name of the pull
		unrestricted bool   // for a reader who may see the whole node
		want         string
	}{
		"another registry's name":             {"hub.test/copy", true, "ImageNotVerifiedForPod Confirmed"},
		"another registry's name, to anybody": {"hub.test/copy", false, "ImageNotPresent Suspected"},
		"its own name, of another namespace":  {s.Host + "/team/app", true, "ImageNotVerifiedForPod Confirmed"},
		"not there at all, to the whole node": {"", true, "ImageNotPresent Confirmed"},
		"not there at all, to anybody":        {"", false, "ImageNotPresent Suspected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s.CA, nil)
			n.collector.Unrestricted = c.unrestricted
			if c.recorded != "" {
				n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image, c.recorded + ":1.0"}, nil))
				n.collector.Node = kubeletOf(t, recordOf("sha256:1", c.recorded, `{"kubernetesSecrets":[{"uid":"u-7","namespace":"sesame","name":"tulip","credentialHash":"0badc0de"}]}`))
			}
			got, summary := n.judged(f)
			if got != c.want {
				t.Errorf("%s, want %s: %s", got, c.want, summary)
			}
			if !c.unrestricted && (strings.Contains(summary, "hub.test") || strings.Contains(summary, "is on node")) {
				t.Errorf("it shows what others have: %s", summary)
			}
		})
	}
}

// R53: the sandbox image comes from a mirror that wants credentials. They are in the
// section of config.toml from before hosts.toml, where the runtime still reads them;
// those of pods are not sent.
func TestR53SandboxImageBehindAMirror(t *testing.T) {
	t.Parallel()
	content := registrytest.NewContent(t)
	content.Tag("3.8", content.Image(here(runtime.GOARCH), content.Layer(10)))
	s := registrytest.New(t, registrytest.Config{
		Passwords:    map[string]string{user: password},
		Repositories: []registrytest.Repository{{Name: "pause", Content: content, Auth: registrytest.Basic}},
	})
	section := "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/certs.d\"\n"
	login := section + "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"" + s.Host + "\".auth]\n  username = \"" + user + "\"\n  password = \"PASSWORD\"\n"
	for name, c := range map[string]struct {
		config, summary, remedy string
		cause                   diagnosis.Cause
		upstream                string // asked after the mirror; "": the mirror again
	}{
		"right": {strings.ReplaceAll(login, "PASSWORD", password), "pass now", "", diagnosis.NotReproducible, ""},
		"wrong": {strings.ReplaceAll(login, "PASSWORD", "another"), "rejects the node's credentials in /etc/containerd/config.toml", "registry.configs", diagnosis.SandboxImageFailed, ""},
		"none":  {section, s.Host + " requires credentials", "registry.configs", diagnosis.SandboxImageFailed, ""},
		// The node has no way to the upstream registry: the mirror's answer counts.
		"none, upstream unreachable": {section, "a mirror's error hides this: https://registry.test", "registry.configs", diagnosis.SandboxImageFailed, "https://registry.k8s.io"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s.CA, map[string]string{
				"etc/containerd/config.toml":         c.config,
				"certs.d/registry.k8s.io/hosts.toml": toml(cmp.Or(c.upstream, "https://"+s.Host), "https://"+s.Host),
				"var/lib/kubelet/config.json":        dockerConfig(user, password, s.Host),
			})
			n.runtime.Release = "v1.7.24"
			n.again(func(o *nodeconfig.Options) { o.ConfigFile = "/etc/containerd/config.toml" })
			n.follow()
			f := starting("registry.test/team/app:v1")
			hanging, _, _ := n.collector.Follow(t.Context(), []diagnosis.Failure{f})
			if len(hanging) != 1 || hanging[0].Image != "registry.k8s.io/pause:3.8" {
				t.Fatalf("%+v", hanging)
			}
			f = hanging[0]
			f.Message = "failed to get sandbox image: something new"
			v := diagnosis.Diagnose(f, n.collect(f))
			remedy := strings.Join(v.Remedy, "\n")
			if v.Cause != c.cause || v.Confidence == diagnosis.Confirmed || !strings.Contains(v.Summary, c.summary) || !strings.Contains(remedy, c.remedy) {
				t.Errorf("%s (%s): %s, want %s\n%s", v.Cause, v.Confidence, v.Summary, c.cause, remedy)
			}
		})
	}
}
