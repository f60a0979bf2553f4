package registry_test

import (
	"testing"
	"time"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// A token for nothing is refused because of the credential, unless it is refused to all.
func TestStanding(t *testing.T) {
	noGoroutinesLeft(t)
	for name, tc := range map[string]struct {
		config registrytest.Config
		cred   *credential.Credential
		want   registry.Standing
	}{
		"a good login":              {registrytest.Config{Passwords: known()}, good(), registry.StandingAccepted},
		"a bad login":               {registrytest.Config{Passwords: known()}, bad(), registry.StandingRefused},
		"no login":                  {registrytest.Config{Passwords: known()}, nil, registry.StandingAccepted},
		"no login where one is due": {registrytest.Config{NoAnonymous: true}, nil, registry.StandingRefused},
		"a token server for nobody": {registrytest.Config{TokenStatus: 403}, good(), ""},
		"a broken token server":     {registrytest.Config{TokenStatus: 503}, good(), ""},
	} {
		tc.config.Repositories = []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer}}
		s := registrytest.New(t, tc.config)
		e := endpoint(t, options(trusting(t, s)), s.Host)
		if got := e.Standing(t.Context(), ref(t, s.Host+"/team/app:1.0"), tc.cred); got != tc.want {
			t.Errorf("%s: got %q, want %q; requests %q", name, got, tc.want, s.Lines())
		}
	}
	s := registrytest.New(t, registrytest.Config{Repositories: []registrytest.Repository{{Name: "team/app", Auth: registrytest.Basic}}})
	e := endpoint(t, options(trusting(t, s)), s.Host)
	if got := e.Standing(t.Context(), ref(t, s.Host+"/team/app:1.0"), good()); got != "" || len(s.Requests()) != 1 {
		t.Errorf("without a token server: %q, requests %q", got, s.Lines())
	}
}

// The answer of a token server has to fit like every other.
func TestStandingWithoutRoom(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Passwords: known(), Repositories: []registrytest.Repository{
		{Name: "team/app", Tags: []string{"1.0"}, Auth: registrytest.Bearer},
	}})
	opts, image := options(trusting(t, s)), ref(t, s.Host+"/team/app:1.0")
	opts.Room = registry.NewRoom(nil)
	patient := endpoint(t, opts, s.Host)
	opts.Timeouts.Total = time.Second
	free := opts.Room.Fill()
	if got := endpoint(t, opts, s.Host).Standing(t.Context(), image, good()); got != "" {
		t.Errorf("without room: %q", got)
	}
	free()
	if got := patient.Standing(t.Context(), image, good()); got != registry.StandingAccepted {
		t.Errorf("with room: %q", got)
	}
	opts.Room.Fill()() // panics if anything is held
}
