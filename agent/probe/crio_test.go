package probe

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// onCRIO is a node with CRI-O 1.37 that trusts a registry.
func onCRIO(t *testing.T, s *registrytest.Server, files map[string]string) *node {
	t.Helper()
	n := newNode(t, s.CA, files)
	n.runtime.Name, n.runtime.Release = "cri-o", "1.37.0"
	return n
}

// crioFailure is a pull that has failed in words that nobody knows.
func crioFailure(image string, secrets ...string) diagnosis.Failure {
	f := failure(image, secrets...)
	f.Message = "something new"
	return f
}

// judged is the verdict on a failure, as cause and confidence, with its summary.
func (n *node) judged(f diagnosis.Failure) (verdict, summary string) {
	n.t.Helper()
	v := diagnosis.Diagnose(f, n.collect(f))
	return string(v.Cause) + " " + string(v.Confidence), v.Summary
}

func TestCRIOVerdicts(t *testing.T) {
	t.Parallel()
	content := registrytest.NewContent(t)
	content.Tag("1.0", content.Image(here(runtime.GOARCH), content.Layer(10)))
	s := registrytest.New(t, registrytest.Config{PingStatus: http.StatusOK, Repositories: []registrytest.Repository{
		{Name: "team/app", Content: content},
		{Name: "page", Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, ErrorBody: "<html>"},
		{Name: "headonly", Serve: func(w http.ResponseWriter, r *http.Request, _, _ string) {
			if r.Method != http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
			}
		}},
	}})
	const policy = "etc/containers/policy.json"
	registries := "etc/containers/registries.conf"
	for name, tc := range map[string]struct {
		image, text, version string
		files                map[string]string
		secret               bool
		want, summary        string
	}{
		"all is well":           {image: "HUB/team/app:1.0", want: "NotReproducible Likely"},
		"broken node file":      {image: "HUB/team/app:1.0", files: map[string]string{"root/.docker/config.json": "{nope"}, want: "RegistryConfigInvalid Confirmed", summary: "/root/.docker/config.json"},
		"broken, but a secret":  {image: "HUB/team/app:1.0", files: map[string]string{"root/.docker/config.json": "{nope"}, secret: true, want: "NotReproducible Likely"},
		"broken policy":         {image: "HUB/team/app:1.0", files: map[string]string{policy: "{nope"}, want: "RegistryConfigInvalid Confirmed", summary: "/" + policy},
		"broken registries.d":   {image: "HUB/team/app:1.0", files: map[string]string{"etc/containers/registries.d/d.yaml": "docker: ["}, want: "RegistryConfigInvalid Confirmed", summary: "/etc/containers/registries.d/d.yaml"},
		"rejected":              {image: "HUB/team/app:1.0", files: map[string]string{policy: `{"default":[{"type":"reject"}]}`}, want: "SignatureRejected Confirmed", summary: "/" + policy},
		"rejected by namespace": {image: "HUB/team/app:1.0", files: map[string]string{"etc/crio/policies/team.json": `{"default":[{"type":"reject"}]}`}, want: "SignatureRejected Confirmed", summary: "/etc/crio/policies/team.json"},
		"signed, text":          {image: "HUB/team/app:1.0", text: "SignatureValidationFailed: A signature was required, but no signature exists", files: map[string]string{policy: `{"default":[{"type":"signedBy"}]}`}, want: "SignatureRejected Likely", summary: "/" + policy},
		"alias":                 {image: "gone:1.0", files: map[string]string{registries: "[aliases]\n'gone' = 'HUB/gone'\n"}, want: "RepositoryNotFound Confirmed", summary: "repository gone does not exist on HUB"},
		"searched":              {image: "gone:1.0", files: map[string]string{registries: "unqualified-search-registries = ['HUB']\n"}, want: "RepositoryNotFound Confirmed", summary: "repository gone does not exist on HUB"},
		"IPv6 literal":          {image: "[2001:db8::5]:5000/team/app:v1", want: "InvalidImageName Confirmed"},
		"page of a mirror":      {image: "HUB/page:1.0", files: map[string]string{registries: "[[registry]]\nprefix = 'HUB/page'\nlocation = 'HUB/team/app'\n[[registry.mirror]]\nlocation = 'HUB/page'\n"}, want: "UnsupportedFormat Likely"},
		"HEAD only":             {image: "HUB/headonly:1.0", want: "DeniedOrNotFound Confirmed"},
		"HEAD only at a mirror": {image: "HUB/headonly:1.0", files: map[string]string{registries: "[[registry]]\nprefix = 'HUB/headonly'\nlocation = 'HUB/team/app'\n[[registry.mirror]]\nlocation = 'HUB/headonly'\n"}, want: "NotReproducible Likely"},
		"blocked behind mirror": {image: "blocked.test/gone:1.0", files: map[string]string{registries: "[[registry]]\nlocation = 'blocked.test'\nblocked = true\n[[registry.mirror]]\nlocation = 'HUB'\n"}, want: "MirrorFailed Likely", summary: "blocks blocked.test itself, and they fail: https://HUB has no repository gone"},
		"air gap":               {image: "away.test/gone:1.0", files: map[string]string{registries: "[[registry]]\nlocation = 'away.test'\n[[registry.mirror]]\nlocation = 'HUB'\n"}, want: "MirrorFailed Likely", summary: "has no way to away.test, and its mirror fails: https://HUB has no repository gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for path, text := range tc.files {
				files[path] = strings.ReplaceAll(text, "HUB", s.Host)
			}
			n := onCRIO(t, s, files)
			f := crioFailure(strings.ReplaceAll(tc.image, "HUB", s.Host))
			if tc.text != "" {
				f.Message = tc.text
			}
			if tc.secret {
				n.secrets.byName["regcred"] = secretFor(s.Host)
				f.PullSecrets = []string{"regcred"}
			}
			got, summary := n.judged(f)
			if got != tc.want || !strings.Contains(summary, strings.ReplaceAll(tc.summary, "HUB", s.Host)) {
				t.Errorf("%s: %s; want %s, %q", got, summary, tc.want, tc.summary)
			}
		})
	}
}

// CRI-O sends no credentials to a registry that asks for none at /v2/.
func TestCRIOKeepsCredentials(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Config{PingStatus: http.StatusOK, Repositories: []registrytest.Repository{{Name: "private", Tags: []string{"1.0"}, Auth: registrytest.Basic}}})
	n := onCRIO(t, s, nil)
	n.secrets.byName["regcred"] = secretFor(s.Host)
	got, summary := n.judged(crioFailure(s.Host+"/private:1.0", "regcred"))
	if !strings.HasPrefix(got, "AuthenticationRequired") || !strings.Contains(summary, "/v2/") || !strings.Contains(summary, "does not send") {
		t.Errorf("%s: %s", got, summary)
	}
}

// A registry that accepts and never answers: CRI-O waits, and the pod with it.
func TestCRIOWaits(t *testing.T) {
	t.Parallel()
	n := followed(t)
	n.runtime.Name, n.runtime.Release = "cri-o", "1.37.0"
	n.runtime.AddSandbox(critest.Sandbox{ID: "s-1", PodUID: "u-1"})
	f := starting("registry.test/team/app:v1")
	for waited, want := range map[time.Duration]int{time.Second: 0, time.Hour: 1} {
		f.Since = n.collector.now().Add(-waited)
		got := n.hanging([]diagnosis.Failure{f})
		if len(got) != want || want == 1 && got[0].Stall != diagnosis.StallUnbegun {
			t.Errorf("%v: %+v", waited, got)
		}
	}
}

// TestCRIOSandboxImage: the runtime's own word on the sandbox's image counts.
func TestCRIOSandboxImage(t *testing.T) {
	t.Parallel()
	n := followed(t)
	n.runtime.Name, n.runtime.Release, n.runtime.SandboxImage = "cri-o", "1.30.0", "registry.test/pause:7"
	got := n.hanging([]diagnosis.Failure{starting("registry.test/team/app:v1")})
	if len(got) != 1 || got[0].Image != "registry.test/pause:7" || got[0].Kind != diagnosis.KindSandbox {
		t.Errorf("%+v", got)
	}
}

// What would matter where a registry is not reached is shown only there.
func TestUnreachedEvidence(t *testing.T) {
	t.Parallel()
	notices := []nodeconfig.Notice{
		{Kind: nodeconfig.NoticeProxyOfLogins, Path: "/etc/environment"},
		{Kind: nodeconfig.NoticeSectionIgnored, Path: "/etc/containerd/config.toml"}, {Kind: nodeconfig.NoticeNoAuthorities},
		{Kind: nodeconfig.NoticeNotImported, Path: "/etc/containerd/conf.d/a.toml"},
		{Kind: nodeconfig.NoticeOfDocker, Path: "/etc/docker/daemon.json"},
		{Kind: nodeconfig.NoticeOtherDirectory, Path: "/etc/docker/certs.d/hub.test"},
	}
	all := []diagnosis.ConfigProblem{"ProxyOfLogins", "SectionIgnored", "NotImported", "OfDocker"}
	for fault, want := range map[diagnosis.Fault][]diagnosis.ConfigProblem{
		diagnosis.FaultConnectionTimeout: all, diagnosis.FaultTagNotFound: nil,
		diagnosis.FaultTLSUntrusted: append(slices.Clone(all), "OtherDirectory"),
	} {
		found := []diagnosis.Evidence{{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: fault}}
		var got []diagnosis.ConfigProblem
		for _, e := range unreachedEvidence(notices, found) {
			got = append(got, e.Config().Problem)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", fault, got)
		}
	}
}

// What is said of a file without effect names the file, and no two say the same.
func TestUnreachedHaveSentences(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	matter := []diagnosis.ConfigEffect{diagnosis.ConfigOfWay, diagnosis.ConfigOfTrust, diagnosis.ConfigOfBoth}
	for _, name := range constants(t, nodeconfigDir, "NoticeKind") {
		if !slices.Contains(matter, diagnosis.ConfigProblem(name).Effect()) {
			continue
		}
		found := []diagnosis.Evidence{{Check: diagnosis.CheckRegistry, Outcome: diagnosis.Failed, Fault: diagnosis.FaultTLSUntrusted}}
		got := detail(failure(image), unreachedEvidence([]nodeconfig.Notice{{Kind: nodeconfig.NoticeKind(name), Path: "/x"}}, found)[0])
		if !strings.HasPrefix(got, "/x ") || seen[got] {
			t.Errorf("%s: %q", name, got)
		}
		seen[got] = true
	}
	if len(seen) != 21 {
		t.Errorf("%d sentences", len(seen))
	}
}

// CRI-O before 1.35 does not know Docker's media type for layers with zstd.
func TestCRIODockerZstd(t *testing.T) {
	t.Parallel()
	s := holding(t, func(c *registrytest.Content) ocispec.Descriptor {
		layer := c.Layer(10)
		layer.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
		return c.Image(here(runtime.GOARCH), layer)
	})
	for version, want := range map[string]bool{"1.34.2": true, "1.35.0": false} {
		n := onCRIO(t, s, nil)
		n.runtime.Release = version
		if got, summary := n.judged(crioFailure(s.Host + "/team/app:1.0")); strings.HasPrefix(got, "UnsupportedFormat ") != want {
			t.Errorf("%s: %s: %s", version, got, summary)
		}
	}
}
