package probe

import (
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// here is the platform of the test's own machine, as far as Go names it.
func here(architecture string) ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: architecture}
}

// holding starts a registry with team/app:1.0, which build makes.
func holding(t *testing.T, build func(*registrytest.Content) ocispec.Descriptor) *registrytest.Server {
	t.Helper()
	content := registrytest.NewContent(t)
	content.Tag("1.0", build(content))
	return registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
}

const corruptText = `failed to pull and unpack image "x": failed commit on ref "layer-sha256:0123456789012345678901234567890123456789012345678901234567890123": unexpected commit digest sha256:1123456789012345678901234567890123456789012345678901234567890123, expected sha256:0123456789012345678901234567890123456789012345678901234567890123: failed precondition`

// The content is checked if the message is about it, and has its own evidence.
func TestContent(t *testing.T) {
	t.Parallel()
	const has = "Passed | https://HUB serves the manifest without credentials"
	elsewhere := func(p ocispec.Platform) func(*registrytest.Content) ocispec.Descriptor {
		return func(c *registrytest.Content) ocispec.Descriptor { return c.Image(p, c.Layer(10)) }
	}
	broken := func(change func(*registrytest.Object)) func(*registrytest.Content) ocispec.Descriptor {
		return func(c *registrytest.Content) ocispec.Descriptor {
			layer := c.Layer(10)
			c.Break(layer, change)
			return c.Image(here("s390x"), layer)
		}
	}
	for name, tc := range map[string]struct {
		build func(*registrytest.Content) ocispec.Descriptor
		text  string
		want  string // "" for no such evidence
		field func(diagnosis.Evidence) bool
	}{
		"sound": {elsewhere(here("s390x")), "context canceled", "Inconclusive | https://HUB has one image, for linux/s390x, but node worker-3 is PLATFORM: the pull succeeds, but the container cannot start",
			func(e diagnosis.Evidence) bool { return slices.Equal(e.Registry().Platforms, []string{"linux/s390x"}) }},
		"text of an earlier step": {elsewhere(here("s390x")), "dial tcp 10.0.0.1:443: connect: connection refused", "", nil},
		"index for others": {func(c *registrytest.Content) ocispec.Descriptor {
			return c.Index(c.Image(here("s390x"), c.Layer(1)), c.Image(here("ppc64le"), c.Layer(2)))
		},
			"no match for platform in manifest: not found", "Failed | PlatformMismatch | HUB/team/app:1.0 is for linux/ppc64le, linux/s390x, but node worker-3 is PLATFORM",
			func(e diagnosis.Evidence) bool {
				return e.Registry().Platform != "" && len(e.Registry().Platforms) == 2
			}},
		"too many layers": {func(c *registrytest.Content) ocispec.Descriptor {
			return c.Image(here("s390x"), slices.Repeat([]ocispec.Descriptor{c.Layer(1)}, 513)...)
		}, "context canceled", "Inconclusive | https://HUB has a manifest or config for the image with more entries than whypull reads", nil},
		"blob missing": {broken(func(o *registrytest.Object) { o.Status = http.StatusNotFound }), "could not fetch content descriptor",
			"Failed | ContentMissing | https://HUB does not have blob DIGEST, which the manifest lists: HTTP 404",
			func(e diagnosis.Evidence) bool { return strings.HasPrefix(e.Registry().Blob, "sha256:") }},
		"blob refused": {broken(func(o *registrytest.Object) { o.Status = http.StatusForbidden }), corruptText,
			"Failed | Forbidden | https://HUB serves the manifest, but denies blob DIGEST without credentials: HTTP 403", nil},
		"blob broken": {broken(func(o *registrytest.Object) { o.Status = http.StatusBadGateway }), corruptText,
			"Failed | ServerError | blob DIGEST cannot be downloaded from https://HUB: HTTP 502", nil},
		"blob elsewhere": {broken(func(o *registrytest.Object) { o.Location = "https://127.0.0.1:1/x?Signature=s3cret-passw0rd" }), corruptText,
			"Failed | ConnectionRefused | https://127.0.0.1:1 refuses connections: nothing is listening there; https://HUB redirects there for blobs",
			func(e diagnosis.Evidence) bool { return e.Registry().Via != "" && len(e.Registry().Addresses) == 0 }},
		"blob corrupt": {broken(func(o *registrytest.Object) { o.Sent = []byte(strings.Repeat("x", len(o.Body))) }), corruptText,
			"Failed | ContentCorrupt | blob DIGEST from https://HUB is corrupt: digest or size mismatch, bad compression, or truncated", nil},
		"encrypted": {func(c *registrytest.Content) ocispec.Descriptor {
			return c.Image(here(runtime.GOARCH), c.Blob(ocispec.MediaTypeImageLayerGzip+"+encrypted", []byte(strings.Repeat("?", 999))))
		}, "failed to extract layer sha256:01: missing private key needed for decryption", "Passed | https://HUB serves the manifest and blobs of the image (2 checked); its layers are encrypted, so the runtime needs a key for them",
			func(e diagnosis.Evidence) bool { return e.Registry().Encrypted }},
		"something else": {func(c *registrytest.Content) ocispec.Descriptor {
			return c.Artifact(c.Blob("application/vnd.cncf.helm.config.v1+json", []byte("{}")), c.Blob("application/vnd.example", []byte("x")))
		}, "unsupported media type", "Inconclusive | https://HUB has an artifact under this name that is not an image: the pull succeeds, but the container cannot start", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := holding(t, tc.build)
			n := newNode(t, s.CA, nil)
			f := failure(s.Host + "/team/app:1.0")
			f.Message = tc.text
			all := n.collect(f)
			want := []string{has}
			if tc.want != "" {
				want = append(want, tc.want)
			}
			got := replaced(of(f, all, diagnosis.CheckRegistry), s.Host, "HUB")
			for i := range got {
				got[i] = digests().ReplaceAllString(platformHere().ReplaceAllString(got[i], "is PLATFORM$1"), "DIGEST")
			}
			wantLines(t, "evidence", got, want...)
			i := slices.IndexFunc(all, func(e diagnosis.Evidence) bool { return e.Registry().Content })
			if (i >= 0) != (tc.want != "") {
				t.Fatal("no evidence is about the content")
			}
			if tc.field != nil && !tc.field(all[i]) {
				t.Errorf("evidence %+v", all[i])
			}
		})
	}
}

// Without patience for downloads, layers are looked at and not read; and the
// platform is the one that is asked for.
func TestContentBrieflyAndElsewhere(t *testing.T) {
	t.Parallel()
	build := func(c *registrytest.Content) ocispec.Descriptor {
		layer := c.Layer(4096)
		c.Break(layer, func(o *registrytest.Object) {
			o.Sent = slices.Clone(o.Body)
			o.Sent[len(o.Sent)-1] ^= 1
		})
		return c.Index(c.Image(here("s390x"), layer), c.Image(here("ppc64le"), c.Layer(2)))
	}
	for name, tc := range map[string]struct {
		brief    bool
		platform ocispec.Platform
		want     diagnosis.Outcome
		fault    diagnosis.Fault
	}{
		"thorough":          {false, here("s390x"), diagnosis.Failed, diagnosis.FaultContentCorrupt},
		"brief":             {true, here("s390x"), diagnosis.Passed, ""},
		"the other":         {false, here("ppc64le"), diagnosis.Passed, ""},
		"one that it lacks": {true, here("riscv64"), diagnosis.Failed, diagnosis.FaultPlatformMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := holding(t, build)
			n := newNode(t, s.CA, nil)
			n.collector.Brief, n.collector.Platform = tc.brief, &tc.platform
			f := failure(s.Host + "/team/app:1.0")
			f.Reason, f.Message = "", ""
			all := n.collect(f)
			i := slices.IndexFunc(all, func(e diagnosis.Evidence) bool { return e.Registry().Content })
			if i < 0 || all[i].Outcome != tc.want || all[i].Fault != tc.fault {
				t.Errorf("%+v", all)
			}
		})
	}
}

// A credential that gets the manifest, and not what it names, is not the last one that
// the kubelet tries.
func TestContentRefusedToACredential(t *testing.T) {
	t.Parallel()
	const manifestOf, layerOf = "HEAD /v2/team/app/manifests/1.0", "GET /v2/team/app/blobs/LAYER Basic"
	gives := func(l string) string {
		return "Passed | https://HUB serves the manifest with the credentials in secret " + l + " (entry HUB)"
	}
	refuses := func(l string) string {
		return "Failed | Forbidden | https://HUB serves the manifest, but denies blob DIGEST with the credentials in secret " + l + " (entry HUB): HTTP 403"
	}
	const whole = "Passed | https://HUB serves the manifest and blobs of the image (2 checked)"
	rejects := func(l string) string {
		return "Failed | Unauthorized | https://HUB rejects the credentials in secret " + l + " (entry HUB): HTTP 401"
	}
	for name, tc := range map[string]struct {
		creds      []string // the users; all but "stranger" may have the manifest, and "owner" the layer
		want       []string
		cause      diagnosis.Cause
		confidence diagnosis.Confidence
		layers     int // how often the layer was asked for
	}{
		"the first may":             {[]string{"owner", "clerk"}, []string{gives("owner"), whole}, diagnosis.NotReproducible, diagnosis.Confirmed, 1},
		"the second may":            {[]string{"clerk", "owner"}, []string{gives("clerk"), refuses("clerk"), gives("owner"), whole}, diagnosis.NotReproducible, diagnosis.Confirmed, 2},
		"the third may":             {[]string{"clerk", "stranger", "owner"}, []string{gives("clerk"), refuses("clerk"), rejects("stranger"), gives("owner"), whole}, diagnosis.NotReproducible, diagnosis.Confirmed, 2},
		"neither may":               {[]string{"clerk", "guest"}, []string{gives("clerk"), refuses("clerk"), gives("guest"), refuses("guest")}, diagnosis.AccessDenied, diagnosis.Confirmed, 2},
		"the only one may not":      {[]string{"clerk"}, []string{gives("clerk"), refuses("clerk")}, diagnosis.AccessDenied, diagnosis.Confirmed, 1},
		"the second is rejected":    {[]string{"clerk", "stranger"}, []string{gives("clerk"), refuses("clerk"), rejects("stranger")}, diagnosis.AccessDenied, diagnosis.Confirmed, 1},
		"the first is rejected":     {[]string{"stranger", "clerk"}, []string{rejects("stranger"), gives("clerk"), refuses("clerk")}, diagnosis.AccessDenied, diagnosis.Confirmed, 1},
		"nobody is left to ask for": {[]string{"stranger", "clerk", "guest"}, []string{rejects("stranger"), gives("clerk"), refuses("clerk"), gives("guest"), refuses("guest")}, diagnosis.AccessDenied, diagnosis.Confirmed, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := registrytest.NewContent(t)
			layer := content.Layer(10)
			content.Break(layer, func(o *registrytest.Object) {
				o.Handler = func(w http.ResponseWriter, r *http.Request, body []byte) {
					if u, _, _ := r.BasicAuth(); u != "owner" {
						w.WriteHeader(http.StatusForbidden)
						return
					}
					_, _ = w.Write(body)
				}
			})
			content.Tag("1.0", content.Image(platforms.DefaultSpec(), layer))
			s := registrytest.New(t, registrytest.Config{Passwords: map[string]string{"clerk": password, "guest": password, "owner": password},
				Repositories: []registrytest.Repository{{Name: "team/app", Content: content, Auth: registrytest.Basic}}})
			n := newNode(t, s.CA, nil)
			n.collector.Brief = true
			for _, l := range tc.creds {
				n.secrets.byName[l] = pullSecret(dockerConfig(l, password, s.Host))
			}
			f := failure(s.Host+"/team/app:1.0", tc.creds...)
			f.Message = `failed to pull and unpack image "x": failed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://` +
				s.Host + "/v2/team/app/blobs/" + layer.Digest.String() + ": 403 Forbidden"
			all := n.collect(f)
			got := replaced(of(f, all, diagnosis.CheckRegistry), s.Host, "HUB")
			for i := range got {
				got[i] = digests().ReplaceAllString(got[i], "DIGEST")
			}
			wantLines(t, "evidence", got, tc.want...)
			if v := diagnosis.Diagnose(f, all); v.Cause != tc.cause || v.Confidence != tc.confidence {
				t.Errorf("%s, %s: %s", v.Cause, v.Confidence, v.Summary)
			}
			asked := replaced(s.Lines(), layer.Digest.String(), "LAYER")
			if got := count(asked, layerOf); got != tc.layers {
				t.Errorf("the layer was asked for %d times, want %d: %q", got, tc.layers, asked)
			}
			if got := count(asked, manifestOf); got > 2*len(tc.creds) { // a challenge, and the answer to it
				t.Errorf("%d requests for the manifest: %q", got, asked)
			}
			n.replaysUpTo(f, tc.creds, "owner")
		})
	}
}

// replaysUpTo asserts that a replay tries one credential after the other, and ends with
// the good one. The stranger's is not sent again, since it was rejected before.
func (n *node) replaysUpTo(f diagnosis.Failure, creds []string, good string) {
	n.t.Helper()
	n.collector.Retry.Mode = RetryReplay
	job, ok := n.collector.retryOf(n.t.Context(), f, credentialsOf(n.t, n, f))
	if !ok {
		n.t.Fatal("nothing to try")
	}
	var got, want []string
	for _, e := range job.run() {
		got = append(got, e.Credential().Source+" "+string(e.Outcome)+string(e.Retry().Cause))
	}
	causes := map[string]diagnosis.Cause{"clerk": diagnosis.AccessDenied, "guest": diagnosis.AccessDenied}
	for _, l := range creds {
		if l == "stranger" {
			continue
		}
		if l == good {
			want = append(want, l+" Passed")
			break
		}
		want = append(want, l+" Failed"+string(causes[l]))
	}
	wantLines(n.t, "replays", got, want...)
}

func count(lines []string, want string) int {
	return len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l != want }))
}

// A blob's trouble at another place is none of the registry's: the next question
// is asked.
func TestTroubleElsewhereIsNotTheRegistrys(t *testing.T) {
	t.Parallel()
	content := registrytest.NewContent(t)
	layer := content.Layer(10)
	content.Break(layer, func(o *registrytest.Object) { o.Location = "https://127.0.0.1:1/x" })
	content.Tag("1.0", content.Image(here("amd64"), layer))
	content.Tag("2.0", content.Image(here("amd64"), content.Layer(20)))
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	n := newNode(t, s.CA, nil)
	first, second := failure(s.Host+"/team/app:1.0"), failure(s.Host+"/team/app:2.0")
	first.Message = corruptText
	n.collect(first)
	wantLines(t, "evidence", replaced(of(second, n.collect(second), diagnosis.CheckRegistry), s.Host, "HUB"), "Passed | https://HUB serves the manifest without credentials")
}

// The content is fetched by the digest that the registry has named, as the
// runtime does, once for all who look.
func TestContentByDigest(t *testing.T) {
	t.Parallel()
	s := holding(t, func(c *registrytest.Content) ocispec.Descriptor { return c.Image(here("amd64"), c.Layer(10)) })
	n := newNode(t, s.CA, nil)
	f := failure(s.Host + "/team/app:1.0")
	f.Message = corruptText
	n.collect(f)
	n.collect(f)
	lines := s.Lines()
	if len(lines) < 2 || lines[0] != manifest || !strings.HasPrefix(lines[1], "GET /v2/team/app/manifests/sha256:") {
		t.Errorf("requests %q", lines)
	}
	if heads(s) != 1 {
		t.Errorf("requests %q", lines)
	}
}

func TestResolved(t *testing.T) {
	t.Parallel()
	const dgst = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	ref := named(t, "hub.test/app:1")
	for digest, want := range map[string]string{"": "hub.test/app:1", "sha256:short": "hub.test/app:1", dgst: "hub.test/app@" + dgst} {
		if got := resolved(ref, registry.Answer{Content: registry.Content{Digest: digest}}).String(); got != want {
			t.Errorf("%q: %s, want %s", digest, got, want)
		}
	}
}

// The node's own credential is for pulls that bring none, and a mirror that the
// runtime keeps the pull's from gets nothing of the pod's.
func TestAttemptsAtEndpoint(t *testing.T) {
	t.Parallel()
	own := credential.New("node", "pw")
	ours := []keyring.Credential{keyring.NewCredential("a", "hub.test", 1, credential.New(user, password)), keyring.NewCredential("empty", "hub.test", 2, credential.New("", ""))}
	config := nodeconfig.Load(nodeconfig.Options{Root: t.TempDir()})
	for name, tc := range map[string]struct {
		creds []keyring.Credential
		at    registry.Endpoint
		want  []string
	}{
		"the pod's":               {ours, registry.Endpoint{}, []string{"a", ""}},
		"none":                    {nil, registry.Endpoint{}, []string{""}},
		"the pod's, not the node": {ours, registry.Endpoint{NodeCredential: &own, NodeCredentialSource: "/etc/x"}, []string{"a", ""}},
		"the node's":              {nil, registry.Endpoint{NodeCredential: &own, NodeCredentialSource: "/etc/x"}, []string{"/etc/x", ""}},
		"an empty credential":     {ours[1:], registry.Endpoint{NodeCredential: &own, NodeCredentialSource: "/etc/x"}, []string{""}},
		"kept from a mirror":      {ours, registry.Endpoint{WithoutCredential: true}, []string{""}},
		"a mirror of the node's":  {ours, registry.Endpoint{WithoutCredential: true, NodeCredential: &own, NodeCredentialSource: "/etc/x"}, []string{"/etc/x", ""}},
	} {
		var got []string
		for _, l := range (visit{creds: tc.creds, config: config}).attempts(tc.at) {
			source := ""
			if l != nil {
				source = l.Source
				if l.OfNode != (source == "/etc/x") {
					t.Errorf("%s: credential %v", name, l)
				}
			}
			got = append(got, source)
		}
		wantLines(t, name, got, tc.want...)
	}
}

// A registry that refuses a repository without saying whether it exists is
// asked once for one that does not: once with the credential, not without it too.
func TestSettled(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		others *registrytest.Repository
		exists bool
	}{
		"hides what exists": {&registrytest.Repository{Auth: registrytest.Bearer, Users: []string{"nobody"}}, false},
		"says so":           {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.New(t, registrytest.Config{Passwords: map[string]string{user: password}, Others: tc.others, Repositories: []registrytest.Repository{
				{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer, Users: []string{"nobody"}},
			}})
			n := newNode(t, s.CA, nil)
			n.secrets.byName["a"] = secretFor(s.Host)
			all := n.collect(failure(s.Host+"/team/app:1.0", "a"))
			i := slices.IndexFunc(all, func(e diagnosis.Evidence) bool { return e.Credential() != nil })
			if i < 0 || all[i].Fault != diagnosis.FaultInsufficientScope || all[i].Registry().Exists != tc.exists {
				t.Errorf("evidence %+v", all)
			}
			asked := slices.DeleteFunc(s.Lines(), func(l string) bool { return !strings.Contains(l, "/v2/team/whypull-") })
			if len(asked) == 0 || len(asked) > 2 {
				t.Errorf("requests %q", s.Lines())
			}
		})
	}
}

func TestByVersion(t *testing.T) {
	t.Parallel()
	tags := []string{"latest", "1.9", "v2", "1.10", "1.9.1", "1.10-rc1", "v10", ""}
	slices.SortFunc(tags, byVersion)
	wantLines(t, "order", tags, "", "1.9", "1.9.1", "1.10", "1.10-rc1", "latest", "v2", "v10")
	wantLines(t, "nearest", nearest([]string{"1.27.1", "1.27.2", "1.27.10", "1.26", "latest"}, "1.27.3"), "1.27.2", "1.27.1", "1.27.10", "1.26", "latest")
}

// A name without a registry is asked for where the runtime would look.
func TestShortNames(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, tc := range map[string]struct {
		config string
		want   []string
	}{
		"an alias":      {"unqualified-search-registries = [\"a.test\"]\n[aliases]\n\"app\" = \"" + s.Host + "/team/app\"\n", []string{"Passed | https://HUB serves the manifest without credentials"}},
		"one to search": {"unqualified-search-registries = [\"" + s.Host + "\"]\n", []string{"Failed | RepositoryNotFound | https://HUB has no repository library/app: HTTP 404"}},
		"none":          {"", []string{"Failed | AmbiguousName | app:1.0 has no registry, and registries.conf on the node lists none to search"}},
		"two":           {"unqualified-search-registries = [\"a.test\", \"b.test\"]\n", []string{"Failed | AmbiguousName | app:1.0 has no registry, and the runtime does not choose among a.test/app:1.0, b.test/app:1.0 (/etc/containers/registries.conf)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s.CA, map[string]string{"etc/containers/registries.conf": tc.config})
			n.runtime.Name, n.runtime.Release = "cri-o", "1.37.0"
			f := failure("app:1.0")
			f.Message = "reading manifest 1.0 in x: manifest unknown"
			wantLines(t, "evidence", replaced(of(f, n.collect(f), diagnosis.CheckRegistry), s.Host, "HUB"), tc.want...)
		})
	}
}

func TestDomain(t *testing.T) {
	t.Parallel()
	f := failure("my_host.test/app:1") // a host for the kubelet and the runtime, and none for package reference
	own, err := reference.ParseNormalizedNamed(f.Image)
	if err != nil {
		t.Fatal(err)
	}
	if got := domain(own, f); got != "my_host.test" {
		t.Error(got)
	}
	if got := domain(named(t, "quay.test/app:1"), f); got != "quay.test" {
		t.Error(got)
	}
}

func digests() *regexp.Regexp { return regexp.MustCompile(`sha256:[0-9a-f]{12}`) }

// platformHere finds the machine's own platform at the end of a sentence's part.
func platformHere() *regexp.Regexp {
	return regexp.MustCompile(`is ` + regexp.QuoteMeta(platforms.Format(platforms.DefaultSpec())) + `(\b)`)
}

// There is evidence about credentials that the kubelet would try and that were not tried.
func TestUntriedCredentials(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		repository registrytest.Repository
		untried    int
		why        string
	}{
		"too many": {registrytest.Repository{Name: "team/app", Auth: registrytest.Basic}, 2, "8 other credentials were"},
		"limited":  {registrytest.Repository{Name: "team/app", Status: http.StatusTooManyRequests}, 8, "its rate limit is exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.New(t, registrytest.Config{Passwords: map[string]string{user: password}, Repositories: []registrytest.Repository{tc.repository}})
			n := newNode(t, s.CA, nil)
			var names []string
			for i := range maxCredentials + 2 {
				names = append(names, fmt.Sprint("s", i))
				n.secrets.byName[names[i]] = pullSecret(dockerConfig(user, fmt.Sprint("wrong", i), s.Host))
			}
			var got []diagnosis.Evidence
			for _, e := range n.collect(failure(s.Host+"/team/app:1.0", names...)) {
				if e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.NotRun && e.Credential() != nil {
					got = append(got, e)
				}
			}
			if len(got) < tc.untried-1 || len(got) > tc.untried || !strings.HasSuffix(detail(failure(s.Host+"/team/app:1.0"), got[0]), tc.why) {
				t.Errorf("%d untried: %+v", len(got), got)
			}
		})
	}
}

// A registry that asks for no credential gives every credential the same answer, and is
// asked once.
func TestCredentialThatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	s := open(t)
	n := newNode(t, s.CA, nil)
	n.secrets.byName["a"], n.secrets.byName["b"] = secretFor(s.Host), pullSecret(dockerConfig(user, "other", s.Host))
	got := n.collect(failure(s.Host+"/team/app:9.9", "a", "b"))
	wantLines(t, "evidence", replaced(of(failure(s.Host+"/team/app:9.9", "a", "b"), got, diagnosis.CheckRegistry), s.Host, "HUB"), "Failed | TagNotFound | https://HUB has repository team/app, but not tag 9.9: HTTP 404")
	if heads(s) != 1 {
		t.Errorf("requests %q", s.Lines())
	}
}

// containerd counts the hosts with the capability pull, and then asks all of them.
func TestContentComesFromHostsWithoutTheCapability(t *testing.T) {
	t.Parallel()
	ref, err := reference.ParseNamed("hub.example/app@" + registrytest.Digest)
	if err != nil {
		t.Fatal(err)
	}
	at := func(host string, capabilities docker.HostCapabilities) registry.Endpoint {
		return registry.Endpoint{Scheme: "https", Host: host, Settings: registry.Settings{Path: "/v2", Capabilities: capabilities}}
	}
	resolve, push, pull := at("resolve.example", docker.HostCapabilityResolve), at("push.example", docker.HostCapabilityPush), at("pull.example", docker.HostCapabilityPull)
	cred := &keyring.Credential{}
	var got []string
	for _, s := range (visit{c: &Collector{asker: newAsker()}, ref: ref, all: []registry.Endpoint{resolve, push, pull}}).sources(pull, ref, cred) {
		got = append(got, s.Endpoint.Host)
	}
	if want := []string{"resolve.example", "push.example", "pull.example"}; !slices.Equal(got, want) {
		t.Errorf("asks %q, want %q", got, want)
	}
	if got := (visit{c: &Collector{asker: newAsker()}, ref: ref, all: []registry.Endpoint{resolve, push}}).sources(resolve, ref, cred); got != nil {
		t.Errorf("without the capability pull: %v", got)
	}
}

// The kubelet tries its next credential where no host has a layer for the first one:
// another host may give it for that.
func TestContentWithTheNextCredential(t *testing.T) {
	t.Parallel()
	ca := catest.New(t)
	content := func(lacks bool) *registrytest.Content {
		c := registrytest.NewContent(t)
		layer := c.Layer(10)
		c.Tag("1.0", c.Image(here(runtime.GOARCH), layer))
		if lacks {
			c.Break(layer, func(o *registrytest.Object) { o.Status = http.StatusNotFound })
		}
		return c
	}
	lacking := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content(true)}}})
	guarded := registrytest.New(t, registrytest.Config{CA: ca, Passwords: map[string]string{user: password}, Repositories: []registrytest.Repository{
		{Name: "team/app", Content: content(false), Auth: registrytest.Bearer},
	}})
	n := newNode(t, ca, map[string]string{"certs.d/registry.test/hosts.toml": toml("https://"+lacking.Host, "https://"+lacking.Host, "https://"+guarded.Host)})
	n.secrets.byName["a"], n.secrets.byName["b"] = pullSecret(dockerConfig(user, "x", "registry.test")), secretFor("registry.test")
	for want, secrets := range map[string][]string{"MirrorFailed Confirmed": {"a"}, "NotReproducible Likely": {"a", "b"}} {
		if got, summary := n.judged(crioFailure("registry.test/team/app:1.0", secrets...)); got != want {
			t.Errorf("%v: %s: %s; want %s", secrets, got, summary, want)
		}
	}
}
