package demo

import (
	"slices"
	"strings"
	"testing"
)

// Scenarios share a cluster: no two may use the same namespace, or an image that one of
// them brings onto the node.
func TestScenariosAreApart(t *testing.T) {
	t.Parallel()
	names, images := map[string]bool{}, map[string]string{}
	for _, s := range All() {
		if names[s.Name] {
			t.Errorf("two scenarios are called %s", s.Name)
		}
		names[s.Name] = true
		for _, image := range s.Images {
			if other := images[image]; other != "" {
				t.Errorf("%s and %s both use %s", other, s.Name, image)
			}
			images[image] = s.Name
		}
		if len(s.Expect) == 0 || s.Title == "" {
			t.Errorf("%s has no expectation or no title", s.Name)
		}
	}
}

func TestConcerns(t *testing.T) {
	t.Parallel()
	i := slices.IndexFunc(Scenarios(), func(s Scenario) bool { return s.Name == "repository-missing" })
	s := Scenarios()[i]
	for line, want := range map[string]bool{
		`"HEAD /v2/demo/repositroy/manifests/1.0 HTTP/1.1" 404`:                 true,
		`"GET /v2/demo/repository/tags/list?n=50 HTTP/1.1" 200`:                 true,
		`"GET /token?scope=repository%3Ademo%2Frepository%3Apull HTTP/1.1" 200`: true,
		`"HEAD /v2/demo/tags/manifests/1.0 HTTP/1.1" 404`:                       false,
		`"HEAD /v2/demo/repository-of-another/manifests/1.0 HTTP/1.1" 404`:      false,
		strings.Repeat("x", 10): false,
	} {
		if got := s.concerns(line); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

func TestArrange(t *testing.T) {
	t.Parallel()
	reports := map[string][]container{}
	for _, s := range Scenarios() {
		reports[s.Name+"/"+s.Expect[0].Pod] = []container{{Name: s.Expect[0].Container, Cause: s.Expect[0].Cause}}
	}
	rows, missing := arrange(reports)
	if missing != "" || len(rows) != len(Scenarios()) || rows[0].namespace != Scenarios()[0].Name {
		t.Errorf("%d rows, missing %q", len(rows), missing)
	}
	last := Scenarios()[len(Scenarios())-1]
	delete(reports, last.Name+"/"+last.Expect[0].Pod)
	if _, missing = arrange(reports); missing != last.Name+"/"+last.Expect[0].Pod {
		t.Errorf("missing %q", missing)
	}
}
