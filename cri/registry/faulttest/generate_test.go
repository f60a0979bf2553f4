package faulttest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func generated(t *testing.T, seed uint64, cases int) *World {
	t.Helper()
	return startGenerated(t, Generate{Seed: seed, Cases: cases})
}

func startGenerated(t *testing.T, generate Generate) *World {
	t.Helper()
	w, err := Start(Config{Root: t.TempDir(), Generate: generate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// explained describes all cases of a world, without ports.
func explained(w *World) string {
	var text strings.Builder
	for _, c := range w.Cases() {
		text.WriteString(w.Explain(c.Name, false) + w.Explain(c.Name, true))
	}
	return regexp.MustCompile(`(\.example):\d+`).ReplaceAllString(text.String(), "$1:PORT")
}

// A case depends on the seed and its number, and not on how many there are.
func TestGeneratedCasesAreTheSameAgain(t *testing.T) {
	t.Parallel()
	first, again, more, other := generated(t, 7, 30), generated(t, 7, 30), generated(t, 7, 60), generated(t, 8, 30)
	want := explained(first)
	if explained(again) != want {
		t.Error("the same seed gives other cases")
	}
	if !strings.HasPrefix(explained(more), want) {
		t.Error("the first cases are others if there are more")
	}
	if alone := explained(startGenerated(t, Generate{Seed: 7, Cases: 1, First: 29})); !strings.HasSuffix(want, alone) || alone == "" {
		t.Error("a case alone is another")
	}
	if strings.ReplaceAll(explained(other), "seed 8", "seed 7") == want {
		t.Error("another seed gives the same cases")
	}
	if first.Explain("manifest-404", false) != "" {
		t.Error("a case that is not there has an explanation")
	}
}

// Only images whose hosts have no fault at all are sure to be pulled.
func TestGeneratedImagesWithoutFaultArePulled(t *testing.T) {
	t.Parallel()
	w := generated(t, 1, 120)
	p := puller{w: w, limit: 20 * time.Second}
	pulled := 0
	for i, c := range w.Cases() {
		plan := w.plans[i]
		if !plan.faultless() {
			continue
		}
		pulled++
		if err := p.pull(t.Context(), c); err != nil {
			t.Errorf("%v\n%s", err, w.Explain(c.Name, false))
		}
	}
	if pulled == 0 {
		t.Error("every case has a fault")
	}
}

// faultless reports whether the image's registry has neither faults nor
// settings, and is the only one.
func (p *plan) faultless() bool {
	s := *p.sites[0]
	s.plan, s.label = nil, ""
	return len(p.sites) == 1 && p.hostsFile == "" && s == site{way: hostGood, prefix: apiPrefix}
}

func TestSitesHaveTheirFaults(t *testing.T) {
	t.Parallel()
	w := generated(t, 1, 1)
	plan := w.plans[0]
	layer, manifest := plan.content.layer, plan.content.top
	get := func(s site, method, path string) *httptest.ResponseRecorder {
		s.plan, s.label, s.way = plan, "here", hostGood
		if s.prefix == "" {
			s.prefix = apiPrefix
		}
		r := httptest.NewRequest(method, path, nil)
		rw := httptest.NewRecorder()
		s.serve(w, rw, r)
		return rw
	}
	tagged, digested, blob := "/v2/a/manifests/"+tag, "/v2/a/manifests/"+manifest.digest().String(), "/v2/a/blobs/"+layer.digest().String()
	to := &site{plan: plan, label: "there", way: hostGood}
	for name, tc := range map[string]struct {
		site         site
		method, path string
		status       int
		body         string // contained; "" is not looked at
	}{
		"tag":                 {site{}, "GET", tagged, 200, string(manifest.body)},
		"digest":              {site{}, "GET", digested, 200, string(manifest.body)},
		"layer":               {site{}, "GET", blob, 200, string(layer.body)},
		"manifest as blob":    {site{}, "GET", "/v2/a/blobs/" + manifest.digest().String(), 404, "BLOB_UNKNOWN"},
		"other":               {site{}, "GET", "/v2/a/tags/list", 404, ""},
		"ping":                {site{}, "GET", "/v2/", 200, ""},
		"ping, basic":         {site{auth: "basic"}, "GET", "/v2/", 401, ""},
		"ping, quiet":         {site{auth: "bearer", quiet: true}, "GET", "/v2/", 200, ""},
		"no credentials":      {site{auth: "bearer"}, "GET", tagged, 401, "UNAUTHORIZED"},
		"no header":           {site{header: true}, "GET", tagged, 403, ""},
		"other path":          {site{prefix: "/custom"}, "GET", tagged, 404, ""},
		"its path":            {site{prefix: "/custom"}, "GET", "/custom/a/manifests/" + tag, 200, string(manifest.body)},
		"only HEAD":           {site{head: "405"}, "GET", tagged, 200, ""},
		"only HEAD, HEAD":     {site{head: "405"}, "HEAD", tagged, 405, ""},
		"only GET":            {site{tag: "500"}, "HEAD", tagged, 200, ""},
		"missing":             {site{manifest: "404"}, "GET", digested, 404, "MANIFEST_UNKNOWN"},
		"web page":            {site{layer: "page"}, "GET", blob, 200, "<html>"},
		"wrong":               {site{layer: "wrong"}, "GET", blob, 200, string(flipped(layer.body))},
		"short":               {site{layer: "short"}, "GET", blob, 200, string(layer.body[:len(layer.body)/2])},
		"stale":               {site{stale: true}, "GET", tagged, 200, string(plan.stale.top.body)},
		"stale, other digest": {site{stale: true}, "GET", digested, 404, ""},
		"redirect":            {site{layer: "redirect", to: to}, "GET", blob, 307, ""},
		"store":               {site{}, "GET", "/store/blobs/" + layer.digest().String(), 200, string(layer.body)},
	} {
		got := get(tc.site, tc.method, tc.path)
		if got.Code != tc.status || !strings.Contains(got.Body.String(), tc.body) {
			t.Errorf("%s: %d %q", name, got.Code, got.Body)
		}
	}
	if got := get(site{layer: "redirect", to: to}, http.MethodGet, blob).Header().Get("Location"); !strings.HasPrefix(got, "https://there.fault.example:") {
		t.Errorf("redirect to %s", got)
	}
}
