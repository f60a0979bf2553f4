package probe

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"google.golang.org/grpc/codes"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const image = "hub.test/team/app:1.0"

func TestCheckImage(t *testing.T) {
	t.Parallel()
	const digest = "hub.test/team/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for name, tc := range map[string]struct {
		prepare func(*critest.Runtime)
		want    string
		up      []bool
	}{
		"absent": {want: "Failed | ImageAbsent | the image is not on node worker-3", up: []bool{true}},
		"absent, by code": {
			prepare: func(r *critest.Runtime) { r.Set(critest.Fault{NotFound: true}) },
			want:    "Failed | ImageAbsent | the image is not on node worker-3", up: []bool{true},
		},
		"present": {
			prepare: func(r *critest.Runtime) { r.Add(critest.NewImage("sha256:1", []string{image}, nil)) },
			want:    "Passed | the image is on node worker-3", up: []bool{true},
		},
		"other names": {
			prepare: func(r *critest.Runtime) {
				r.Add(critest.NewImage("sha256:1", []string{"hub.test/team/app:1.1"}, []string{digest}))
			},
			want: "Failed | ImageAbsent | the image is not on node worker-3; the node has hub.test/team/app:1.1, " + digest, up: []bool{true},
		},
		"another repository's name for it": {
			prepare: func(r *critest.Runtime) {
				r.Add(critest.NewImage("sha256:1", []string{"hub.test/other/secret:1.0", "hub.test/team/app-other:1.0"}, nil))
			},
			want: "Failed | ImageAbsent | the image is not on node worker-3", up: []bool{true},
		},
		"gone": {
			prepare: (*critest.Runtime).Stop,
			want:    "Inconclusive | RuntimeUnready | the container runtime on node worker-3 does not respond: container runtime: ImageStatus: Down (Unavailable)", up: []bool{false},
		},
		"failing": {
			prepare: func(r *critest.Runtime) { r.Set(critest.Fault{Code: codes.Unknown}) },
			want:    "Inconclusive | container runtime: ImageStatus: Failed (Unknown)", up: []bool{true},
		},
		"too old": {
			prepare: func(r *critest.Runtime) { r.Set(critest.Fault{Code: codes.Unimplemented}) },
			want:    "Inconclusive | container runtime: ImageStatus: Unimplemented (Unimplemented)", up: []bool{true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil, nil)
			n.collector.Unrestricted = true
			if tc.prepare != nil {
				tc.prepare(n.runtime)
			}
			e, _ := n.collector.checkImage(t.Context(), failure(image))
			wellFormed(t, failure(image), []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckImage), tc.want)
			if !slices.Equal(n.metrics.up, tc.up) {
				t.Errorf("metrics got %v, want %v", n.metrics.up, tc.up)
			}
		})
	}
}

// TestImagesOfOthers: whoever may create a pod learns nothing from its report of
// the images that others have on the node. Whatever is there, the evidence and the
// verdict are the same, unless the pod can pull the image or is recorded as
// allowed to use it.
func TestImagesOfOthers(t *testing.T) {
	t.Parallel()
	const id = "sha256:1"
	const theirs = `{"kubernetesSecrets":[{"uid":"u-7","namespace":"sesame","name":"tulip","credentialHash":"0badc0de"}]}`
	kept := map[string]string{"var/lib/kubelet/image_manager/pulled/x": ""}
	present := func(r *critest.Runtime, image string) { r.Add(critest.NewImage(id, []string{image}, nil)) }
	states := map[string]struct {
		files   func(name string) map[string]string
		prepare func(r *critest.Runtime, image string)
	}{
		"absent": {},
		"another tag": {prepare: func(r *critest.Runtime, image string) {
			r.Add(critest.NewImage(id, []string{strings.TrimSuffix(image, "1.0") + "secret-feature"}, nil))
		}},
		"no records":      {prepare: present},
		"not pulled":      {func(string) map[string]string { return kept }, present},
		"others' secret":  {func(name string) map[string]string { return recordOf(id, name, theirs) }, present},
		"another name":    {func(string) map[string]string { return recordOf(id, "hub.test/copy", `{"nodePodsAccessible":true}`) }, present},
		"nobody's record": {func(name string) map[string]string { return recordOf(id, name, `{}`) }, present},
	}
	report := func(t *testing.T, s *registrytest.Server, policy, state string) string {
		t.Helper()
		n, f := newNode(t, s.CA, nil), failure(s.Host+"/team/app:1.0")
		f.PullPolicy, f.ServiceAccount = policy, "default"
		if policy == "Never" {
			f.Reason, f.Message = "ErrImageNeverPull", `Container image "`+f.Image+`" is not present with pull policy of Never`
		}
		if st := states[state]; st.prepare != nil {
			st.prepare(n.runtime, f.Image)
			if st.files != nil {
				n.collector.Node = kubeletOf(t, st.files(s.Host+"/team/app"))
			}
		}
		first, all := n.collector.Collect(t.Context(), f, false)
		wellFormed(t, f, first)
		out := ""
		for _, evidence := range [][]diagnosis.Evidence{first, <-all} {
			v := diagnosis.Diagnose(f, evidence)
			out += strings.Join(append([]string{string(v.Cause), string(v.Confidence), v.Summary}, v.Remedy...), "\n") + "\n"
			for _, e := range v.Evidence {
				out += strings.Join([]string{string(e.Check), string(e.Outcome), string(e.Fault), e.Detail}, " | ") + "\n"
			}
		}
		return strings.ReplaceAll(out, n.dns.Address, "DNS")
	}
	s := closed(t, registrytest.Basic)
	for _, policy := range []string{"Never", "IfNotPresent", "Always"} {
		want := report(t, s, policy, "absent")
		if strings.Contains(want, "is on node") || strings.Contains(want, "is not on node") {
			t.Errorf("%s: it says whether the image is there:\n%s", policy, want)
		}
		if ambiguous := strings.Contains(want, "ImageNotPresent\nSuspected\n") && strings.Contains(want, "the kubelet does not say which"); policy == "Never" && !ambiguous {
			t.Errorf("got\n%s", want)
		}
		for state := range states {
			if got := report(t, s, policy, state); got != want {
				t.Errorf("policy %s, %s: got\n%s\nwant the same as of an absent one:\n%s", policy, state, got, want)
			}
		}
	}
}

// What the pod can pull, or is recorded as allowed to use, is shown to it; to a
// reader who may look at the whole node everything is.
func TestImagesDisclosed(t *testing.T) {
	t.Parallel()
	ours := `{"kubernetesSecrets":[{"uid":"u-7","namespace":"team","name":"another","credentialHash":"0badc0de"}]}`
	for name, tc := range map[string]struct {
		policy       string
		open         bool // the registry gives the image to anyone
		record       string
		unrestricted bool
		want         string
	}{
		"it can be pulled":                     {"IfNotPresent", true, "", false, "Passed | the image is on node worker-3"},
		"it can be pulled, and is not":         {"Never", true, "", false, "NotRun | whether the image is on the node is shown only to a pod that is known to be allowed to use it"},
		"recorded for all":                     {"Never", false, `{"nodePodsAccessible":true}`, false, "Passed | the image is on node worker-3, and the kubelet lets every pod on the node use it"},
		"recorded for another pod of its team": {"Never", false, ours, false, "Failed | NotVerifiedForPod | the image is on node worker-3, but the kubelet does not let this pod use it: it was pulled with credentials that this pod does not have; add the pull secret of an earlier pull, or use a pull policy other than Never"},
		"unrestricted":                         {"Never", false, "", true, "Passed | the image is on node worker-3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := closed(t, registrytest.Basic)
			if tc.open {
				s = open(t)
			}
			n, f := newNode(t, s.CA, nil), failure(s.Host+"/team/app:1.0")
			f.PullPolicy, f.ServiceAccount = tc.policy, "default"
			n.collector.Unrestricted = tc.unrestricted
			n.runtime.Add(critest.NewImage("sha256:1", []string{f.Image}, nil))
			if tc.record != "" {
				n.collector.Node = kubeletOf(t, recordOf("sha256:1", s.Host+"/team/app", tc.record))
			}
			wantLines(t, "image", of(f, n.collect(f), diagnosis.CheckImage), tc.want)
		})
	}
}

// Pods that fail over one image at the same moment share the runtime's answer, and
// nobody gets an earlier one.
func TestCheckImageShared(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	n.runtime.Set(critest.Fault{Delay: 200 * time.Millisecond})
	const pods = 20
	var wg sync.WaitGroup
	for range pods {
		wg.Go(func() { n.collector.checkImage(t.Context(), failure(image)) })
	}
	wg.Wait()
	if asked := n.runtime.Calls("ImageStatus"); asked >= pods {
		t.Errorf("asked %d times for %d pods", asked, pods)
	}
	n.runtime.Add(critest.NewImage("sha256:1", []string{image}, nil))
	if e, _ := n.collector.checkImage(t.Context(), failure(image)); e.Outcome != diagnosis.Passed {
		t.Errorf("of an image that has come since: %+v", e)
	}
}

// A check that was cut short says nothing of the runtime.
func TestCheckImageCancelled(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, _ := n.collector.checkImage(ctx, failure(image))
	if e.Outcome != diagnosis.Inconclusive || e.Fault != "" || len(n.metrics.up) > 0 {
		t.Errorf("evidence %+v, metrics %v", e, n.metrics.up)
	}
}

func TestCheckImageWithoutRuntime(t *testing.T) {
	t.Parallel()
	e, _ := (&Collector{Options: Options{Metrics: &fakeMetrics{}}}).checkImage(t.Context(), failure(image))
	wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckImage), "NotRun | no container runtime socket is available")
}

func TestInvalidName(t *testing.T) {
	t.Parallel()
	for image, tc := range map[string]struct{ why, correction string }{
		"Hub.test/Team/App:V1":                     {"its repository has upper-case letters", "hub.test/team/app:V1"},
		"UPPER/Case":                               {"its repository has upper-case letters", "upper/case"},
		"hub.test:5000/Team/app:v1":                {"its repository has upper-case letters", "hub.test:5000/team/app:v1"},
		"http://hub.test/app":                      {"it begins with a URL's scheme", "hub.test/app"},
		"https://hub.test/team/app:v1":             {"it begins with a URL's scheme", "hub.test/team/app:v1"},
		"docker://hub.test/app":                    {"it begins with a URL's scheme", "hub.test/app"},
		"oci://hub.test/app:v1":                    {"it begins with a URL's scheme", "hub.test/app:v1"},
		"joe:hunter2@hub.test/app:v1":              {"it begins with credentials", "hub.test/app:v1"},
		"joe:hun/ter2@hub.test/app:v1":             {"it begins with credentials", "hub.test/app:v1"},
		"tok3n@hub.test/App@sha256:abc":            {"it begins with credentials", ""},
		"https://joe:hunter2@hub.test/app":         {"it begins with a URL's scheme and credentials", "hub.test/app"},
		"https://Hub.test//App:v1+b":               {"it begins with a URL's scheme", "hub.test/app:v1-b"},
		"":                                         {"it is empty", ""},
		"${IMAGE}":                                 {"the placeholder ${IMAGE} has not been replaced", ""},
		"${REGISTRY}/app:v1":                       {"the placeholder ${REGISTRY} has not been replaced", ""},
		"hub.test/app:$TAG":                        {"the placeholder $TAG has not been replaced", ""},
		"$(REG)/app:v1":                            {"the placeholder $(REG) has not been replaced", ""},
		"hub.test/app:{{ .Tag }}":                  {"the placeholder {{ .Tag }} has not been replaced", ""},
		"hub.test/<your-app>:v1":                   {"the placeholder <your-app> has not been replaced", ""},
		"${" + strings.Repeat("A", 90) + "}/app":   {"the placeholder ${" + strings.Repeat("A", 27) + "… has not been replaced", ""},
		"hub.test/app:$":                           {`it contains the character '$'`, ""},
		"hub.test/app:v1 ":                         {"it contains a space", "hub.test/app:v1"},
		"hub.test/app:v1\n":                        {"it contains a line break", "hub.test/app:v1"},
		`"hub.test/app:v1"`:                        {`it contains the character '"'`, "hub.test/app:v1"},
		"hub.test/app:v1\u200b":                    {`it contains the character '\u200b' (U+200B), which is not ASCII`, "hub.test/app:v1"},
		"hub.test/\u0430pp:v1":                     {"it contains the character '\u0430' (U+0430), which is not ASCII", ""},
		"hub.test/app?v1":                          {"it contains the character '?'", ""},
		strings.Repeat("0123456789abcdef", 4):      {"64 hexadecimal digits are the ID of an image, not its name", ""},
		"/team/app:v1":                             {"it begins with a slash", ""},
		"hub.test/app/":                            {"it has nothing after its last slash", "hub.test/app"},
		"hub.test//team///app:v1":                  {"it has two slashes in a row", "hub.test/team/app:v1"},
		":v1":                                      {"it has no name before the tag or digest", ""},
		":::":                                      {"it has no name before the tag or digest", ""},
		"hub.test/app@":                            {"it has no digest after the @", "hub.test/app"},
		"app@v1":                                   {"its digest does not begin with sha256:", ""},
		"app@md5:" + strings.Repeat("a", 32):       {"its digest does not begin with sha256:", ""},
		"app@sha256:abc":                           {"its digest has 3 hexadecimal digits, but one of sha256 has 64", ""},
		"app@sha256:" + strings.Repeat("a", 63):    {"its digest has 63 hexadecimal digits, but one of sha256 has 64", ""},
		"app@sha256:" + strings.Repeat("A", 64):    {"its digest has other characters than 0 to 9 and a to f", ""},
		"app:sha256:" + strings.Repeat("a", 64):    {"its digest follows a colon, not an @", "app@sha256:" + strings.Repeat("a", 64)},
		"hub.test/app:":                            {"it has no tag after the colon", "hub.test/app"},
		"hub.test/app:a:b":                         {"it has more than one tag", ""},
		"hub.test/app:v1+build.5":                  {"its tag contains the character '+'", "hub.test/app:v1-build.5"},
		"hub.test/app:.v1":                         {"its tag begins with a dot or hyphen", ""},
		"hub.test/app:" + strings.Repeat("a", 129): {"its tag has 129 characters, and at most 128 are allowed", ""},
		"hub.test/app:feature/x":                   {"its tag contains a slash", ""},
		"app:feature/x":                            {"the port of its registry is not a number, or its tag contains a slash", ""},
		"hub.test:/app":                            {"its registry has a colon, but no port", ""},
		":5000/app":                                {"it has no registry before the port", ""},
		"hub.test./team/app:v1":                    {"the name of its registry ends with a dot", "hub.test/team/app:v1"},
		"hub.test.:5000/team/app:v1":               {"the name of its registry ends with a dot", "hub.test:5000/team/app:v1"},
		"registry.:5000/team/app:v1":               {"the name of its registry ends with a dot", "registry:5000/team/app:v1"},
		"registry./team/app:v1":                    {"the name of its registry ends with a dot", ""}, // without it: on Docker Hub
		"docker pull nginx:1.25":                   {"it contains a space", "nginx:1.25"},
		"podman pull --quiet hub.test/app:v1":      {"it contains a space", "hub.test/app:v1"},
		"docker run -it nginx sh":                  {"it contains a space", ""},
		`image: "hub.test/app:v1"`:                 {"it contains a space", "hub.test/app:v1"},
		"FROM hub.test/app:v1":                     {"it contains a space", "hub.test/app:v1"},
		"hub.docker.com/_/nginx:1.25":              {"a part of its repository begins or ends with a dot, hyphen or underscore", "docker.io/library/nginx:1.25"},
		"https://quay.io/repository/org/app:v1":    {"it begins with a URL's scheme", "quay.io/org/app:v1"},
		"https://quay.io/repository/org/app?tab=tags&tag=v1":                       {"it begins with a URL's scheme", "quay.io/org/app"},
		"https://github.com/Org/app/pkgs/container/app/123?tag=v1":                 {"it begins with a URL's scheme", "ghcr.io/org/app"},
		"https://console.cloud.google.com/gcr/images/project/GLOBAL/app?project=p": {"it begins with a URL's scheme", "gcr.io/project/app"},
		"https://console.cloud.google.com/gcr/images/project/EU/app":               {"it begins with a URL's scheme", "eu.gcr.io/project/app"},
		"hub..test/app":                        {"the name of its registry has a dot with nothing before it", ""},
		"-hub.test/app":                        {"a part of its registry's name begins or ends with a hyphen", ""},
		"my_hub.test:5000/app":                 {"the name of its registry contains the character '_'", ""},
		"fd00::1/app":                          {"its registry has more than one colon; an IPv6 address belongs in brackets", ""},
		"[fd00::1/app":                         {"its registry is not a valid IPv6 address in brackets", ""},
		strings.Repeat("a.", 130) + "test/app": {"the name of its registry is longer than DNS allows", ""},
		"hub.test/" + strings.Repeat("a", 260): {"its repository has 260 characters, and at most 255 are allowed", ""},
		strings.Repeat("a", 1100):              {"it is longer than a name can be", ""},
		"-app":                                 {"a part of its repository begins or ends with a dot, hyphen or underscore", ""},
		"hub.test/team./app":                   {"a part of its repository begins or ends with a dot, hyphen or underscore", ""},
		"hub.test/team..x/app":                 {"its repository has a dot or underscore beside another, or beside a hyphen", ""},
		"hub.test/te+am/app":                   {"its repository contains the character '+'", ""},
	} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			e, _ := (&Collector{}).checkImage(t.Context(), failure(image))
			wellFormed(t, failure(image), []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(failure(image), []diagnosis.Evidence{e}, diagnosis.CheckImage),
				"Failed | InvalidName | the image reference does not parse: "+tc.why)
			var want []string
			if tc.correction != "" {
				want = []string{tc.correction}
			}
			wantLines(t, "candidates", e.Image().Candidates, want...)
			for _, c := range e.Image().Candidates {
				if _, err := reference.ParseNormalizedNamed(c); err != nil {
					t.Errorf("the correction %q does not parse: %v", c, err)
				}
			}
		})
	}
}

// What parses needs no correction, and a correction none either.
func TestCorrectionsOfValidNames(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"nginx", "hub.test:5000/team/app:V1", "app@sha256:" + strings.Repeat("a", 64)} {
		if got := corrections(s); got != nil {
			t.Errorf("%s: %q", s, got)
		}
	}
}

func FuzzCorrections(f *testing.F) {
	for _, s := range []string{"UPPER/Case:::x", "http://reg/app", "a//b:c+d@e", "@", "/", ":", "äöü/X", "A@sha256:B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := podwatch.ParseImage(s)
		if why := wrong(s); (why == "") != (err == nil) || len(why) > 100 {
			t.Errorf("%q: %v, said to be wrong: %s", s, err, why)
		}
		for _, c := range corrections(s) {
			if _, err := reference.ParseNormalizedNamed(c); err != nil || c == s {
				t.Errorf("%q is corrected to %q: %v", s, c, err)
			}
		}
	})
}
