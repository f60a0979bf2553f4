package registry_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

func TestControl(t *testing.T) {
	noGoroutinesLeft(t)
	closed := func(auth registrytest.Auth, status int) *registrytest.Repository {
		return &registrytest.Repository{Auth: auth, Status: status}
	}
	page := http.Header{"Docker-Distribution-Api-Version": {""}, "Content-Type": {"text/html"}}
	for name, tc := range map[string]struct {
		others *registrytest.Repository
		cred   *credential.Credential
		want   bool
		lines  []string // with $R for the repository
	}{
		"says what exists not":      {nil, nil, true, []string{"GET $R"}},
		"says so after a login":     {closed(registrytest.Basic, 404), good(), true, []string{"GET $R", "GET $R Basic"}},
		"wants a login for all":     {closed(registrytest.Basic, 404), nil, false, []string{"GET $R"}},
		"refuses the login":         {closed(registrytest.Basic, 404), bad(), false, []string{"GET $R", "GET $R Basic"}},
		"a token for nothing":       {closed(registrytest.Bearer, 404), good(), false, []string{"GET $R", "POST /token", "GET $R Bearer"}},
		"a token server refuses":    {closed(registrytest.Bearer, 404), bad(), false, []string{"GET $R", "POST /token", "GET /token Basic"}},
		"forbids all":               {closed(registrytest.Open, 403), nil, false, []string{"GET $R"}},
		"is broken":                 {closed(registrytest.Open, 500), nil, false, []string{"GET $R"}},
		"has everything":            {&registrytest.Repository{Tags: []string{"1.0"}}, nil, false, []string{"GET $R"}},
		"is a web server":           {&registrytest.Repository{Status: 404, Header: page, ErrorBody: "<html>"}, nil, false, []string{"GET $R"}},
		"is a web server in front":  {&registrytest.Repository{Status: 404, ErrorBody: "<html>"}, nil, false, []string{"GET $R"}},
		"breaks the connection off": {&registrytest.Repository{Behaviour: registrytest.Reset}, nil, false, []string{"GET $R"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Passwords: known(), Others: tc.others})
			e := endpoint(t, options(trusting(t, s)), s.Host)
			if got := e.Control(t.Context(), ref(t, s.Host+"/team/sub/app:1.0"), tc.cred); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
			name := regexp.MustCompile(`/v2/team/sub/whypull-[a-z0-9]{20,}/manifests/1\.0`)
			var lines []string
			for _, line := range s.Lines() {
				lines = append(lines, name.ReplaceAllString(line, "$$R"))
			}
			if !slices.Equal(lines, tc.lines) {
				t.Errorf("requests %q, want %q", lines, tc.lines)
			}
		})
	}
}

// A repository of one element is replaced altogether, and never twice by the
// same name.
func TestControlNames(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	for range 2 {
		e.Control(t.Context(), ref(t, s.Host+"/app:1.0"), nil)
	}
	lines := s.Lines()
	if len(lines) != 2 || lines[0] == lines[1] || !strings.HasPrefix(lines[0], "GET /v2/whypull-") {
		t.Errorf("requests %q", lines)
	}
}
