package registry_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// Each piece is asked of one source after the other; what opens and is wrong ends
// it, and so does a page.
func TestSources(t *testing.T) {
	ca := catest.New(t)
	content := registrytest.NewContent(t)
	layers := []ocispec.Descriptor{content.Layer(50), content.Layer(70), content.Layer(100_000)}
	manifest := content.Index(content.Image(amd64(), layers...))
	content.Tag("1.0", manifest)
	whole := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	second := layers[1].Digest.String()
	for name, tc := range map[string]struct {
		way   func(kind, object string) http.HandlerFunc // nil: as the good one
		found bool
		fault registry.Fault
		at    int
	}{
		"has all":         {func(string, string) http.HandlerFunc { return nil }, true, "", 0},
		"has nothing":     {func(string, string) http.HandlerFunc { return http.NotFound }, true, "", 1},
		"lacks a layer":   {func(_, object string) http.HandlerFunc { return when(object == second, http.NotFound) }, true, "", 0},
		"lacks manifests": {func(kind, _ string) http.HandlerFunc { return when(kind == "manifests", http.NotFound) }, true, "", 1},
		"forbids a layer": {func(_, object string) http.HandlerFunc {
			return when(object == second, status(403, "text/html", "<html>"))
		}, true, "", 0},
		"wrong layer": {func(_, object string) http.HandlerFunc {
			return when(object == second, status(200, "application/octet-stream", "x"))
		}, false, registry.FaultContentCorrupt, 0},
		"page for a layer": {func(_, object string) http.HandlerFunc {
			return when(object == second, status(200, "text/html", "<html>"))
		}, false, registry.FaultWebPage, 0},
		"page for a manifest": {func(kind, _ string) http.HandlerFunc {
			return when(kind == "manifests", status(200, "text/html", "<html>"))
		}, false, registry.FaultWebPage, 0},
		"lacks the manifest, wrong layer": {func(kind, object string) http.HandlerFunc {
			if kind == "manifests" {
				return http.NotFound
			}
			return when(object == second, status(200, "application/octet-stream", "x"))
		}, false, registry.FaultContentCorrupt, 0},
		"breaks off manifests, wrong layer": {func(kind, object string) http.HandlerFunc {
			if kind == "manifests" {
				return func(w http.ResponseWriter, _ *http.Request) { registrytest.BreakOff(w) }
			}
			return when(object == second, status(200, "application/octet-stream", "x"))
		}, false, registry.FaultContentCorrupt, 0},
		"refuses manifests, wrong layer": {func(kind, object string) http.HandlerFunc {
			if kind == "manifests" {
				return status(401, "application/json", "{}")
			}
			return when(object == second, status(200, "application/octet-stream", "x"))
		}, false, registry.FaultContentCorrupt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			mirror := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{
				{Name: "team/app", Serve: func(w http.ResponseWriter, r *http.Request, kind, object string) {
					if way := tc.way(kind, object); way != nil {
						way(w, r)
						return
					}
					whole.ServeHTTP(w, r)
				}},
			}})
			want := registry.InspectOptions{}.On(amd64()).Within(time.Minute)
			for _, s := range []*registrytest.Server{mirror, whole} {
				named, err := reference.WithDigest(reference.TrimNamed(ref(t, s.Host+"/team/app")), manifest.Digest)
				if err != nil {
					t.Fatal(err)
				}
				want.Sources = append(want.Sources, registry.Source{Endpoint: endpoint(t, options(trusting(t, s)), s.Host), Reference: named})
			}
			e := want.Sources[0].Endpoint
			for how, a := range map[string]registry.Answer{
				"inspected": e.Inspect(t.Context(), want.Sources[0].Reference, nil, want),
				"replayed":  e.Replay(t.Context(), want.Sources[0].Reference, nil, want).Answer,
			} {
				checkErr(t, a)
				if a.Found != tc.found || a.Fault != tc.fault || a.Content.Source != tc.at {
					t.Errorf("%s: found %t, fault %q, source %d: %+v", how, a.Found, a.Fault, a.Content.Source, a)
				}
				if home := "https://" + []string{mirror.Host, whole.Host}[tc.at]; a.Endpoint != home || a.Content.Digest != manifest.Digest.String() && a.Found {
					t.Errorf("%s: endpoint %s, want %s, digest %s", how, a.Endpoint, home, a.Content.Digest)
				}
			}
		})
	}
}

func when(is bool, h http.HandlerFunc) http.HandlerFunc {
	if is {
		return h
	}
	return nil
}

// A source that cannot be reached, or does not take the credential, is asked once;
// where no source has a piece, the first one's answer is the answer.
func TestSourcesAskedOnce(t *testing.T) {
	ca := catest.New(t)
	content := registrytest.NewContent(t)
	layer := content.Layer(50)
	image := content.Image(amd64(), layer)
	content.Tag("1.0", image)
	content.Break(layer, func(o *registrytest.Object) { o.Status = http.StatusNotFound })
	guarded := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content, Auth: registrytest.Basic}}})
	open := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	var want registry.InspectOptions
	for _, s := range []*registrytest.Server{guarded, open} {
		named, err := reference.WithDigest(reference.TrimNamed(ref(t, s.Host+"/team/app")), image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		want.Sources = append(want.Sources, registry.Source{Endpoint: endpoint(t, options(trusting(t, s)), s.Host), Reference: named, Credential: bad()})
	}
	a := want.Sources[0].Endpoint.Inspect(t.Context(), want.Sources[0].Reference, nil, want.On(amd64()))
	checkErr(t, a)
	if a.Found || a.Content.Source != 0 || a.Fault != registry.FaultUnauthorized || len(a.Content.Missed) != 2 || a.Content.Missed[1].Fault != registry.FaultContentMissing {
		t.Errorf("answer %+v", a)
	}
	if lines := strings.Join(guarded.Lines(), "\n"); strings.Count(lines, "Basic") > 1 {
		t.Errorf("the wrong credential was sent several times:\n%s", lines)
	}
}

// A source that is asked without TLS, and breaks off manifests, is asked for blobs.
func TestPlainSourceBreaksOff(t *testing.T) {
	ca := catest.New(t)
	content := registrytest.NewContent(t)
	image := content.Image(amd64(), content.Layer(50))
	content.Tag("1.0", image)
	whole := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	mirror := registrytest.New(t, registrytest.Config{Plain: true, Repositories: []registrytest.Repository{
		{Name: "team/app", Serve: func(w http.ResponseWriter, _ *http.Request, kind, _ string) {
			if kind == "manifests" {
				registrytest.BreakOff(w)
				return
			}
			page(w)
		}},
	}})
	var want registry.InspectOptions
	for _, s := range []*registrytest.Server{mirror, whole} {
		named, err := reference.WithDigest(reference.TrimNamed(ref(t, s.Host+"/team/app")), image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		e := endpoint(t, options(trusting(t, whole)), s.Host)
		if s == mirror {
			e.Scheme = "http"
		}
		want.Sources = append(want.Sources, registry.Source{Endpoint: e, Reference: named})
	}
	a := want.Sources[0].Endpoint.Inspect(t.Context(), want.Sources[0].Reference, nil, want.On(amd64()))
	if a.Found || a.Fault != registry.FaultWebPage || a.Content.Source != 0 || a.Phase != registry.PhaseBlob {
		t.Errorf("answer %+v", a)
	}
}

// A source that has taken the credential, and refuses a manifest, is asked for blobs.
func TestSourceThatTookTheCredential(t *testing.T) {
	ca := catest.New(t)
	content := registrytest.NewContent(t)
	image := content.Image(amd64(), content.Layer(50))
	content.Tag("1.0", image)
	whole := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{{Name: "team/app", Content: content}}})
	guarded := registrytest.New(t, registrytest.Config{CA: ca, Repositories: []registrytest.Repository{
		{Name: "team/app", Serve: func(w http.ResponseWriter, _ *http.Request, kind, _ string) {
			if kind == "manifests" {
				w.Header().Set("Www-Authenticate", "Basic realm=x")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			page(w)
		}},
	}})
	for accepted, want := range map[bool]registry.Fault{true: registry.FaultWebPage, false: ""} {
		var look registry.InspectOptions
		for _, s := range []*registrytest.Server{guarded, whole} {
			named, err := reference.WithDigest(reference.TrimNamed(ref(t, s.Host+"/team/app")), image.Digest)
			if err != nil {
				t.Fatal(err)
			}
			look.Sources = append(look.Sources, registry.Source{
				Endpoint: endpoint(t, options(trusting(t, s)), s.Host), Reference: named, Credential: good(), Accepted: accepted && s == guarded,
			})
		}
		a := look.Sources[0].Endpoint.Inspect(t.Context(), look.Sources[0].Reference, good(), look.On(amd64()))
		if a.Fault != want || a.Found != (want == "") {
			t.Errorf("accepted %t: %+v", accepted, a)
		}
	}
}
