package keyring

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

func provided(name string, keys ...string) Provided {
	all := map[string]credential.Credential{}
	for _, key := range keys {
		all[key] = credential.New("user-"+name, "hunter2")
	}
	return Provided{Name: name, Credentials: credential.Redact(all)}
}

// Plugins are one keyring, in their order, with the kubelet's rules for keys.
func TestFindProvided(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		image   string
		all     []Provided
		want    []string // plugin, key, position
		matches []bool
	}{
		"none":               {"hub.test/team/app", nil, nil, nil},
		"empty":              {"hub.test/team/app", []Provided{provided("a")}, nil, []bool{false}},
		"longer paths first": {"hub.test/team/app", []Provided{provided("a", "hub.test"), provided("b", "hub.test/team")}, []string{"b hub.test/team 3", "a hub.test 4"}, []bool{true, true}},
		"the same key":       {"hub.test/team/app", []Provided{provided("b", "hub.test"), provided("a", "https://hub.test/v2/")}, []string{"b hub.test 3", "a https://hub.test/v2/ 4"}, []bool{true, true}},
		"others":             {"hub.test/team/app", []Provided{provided("a", "x.test", "hub.test:5000", "*.hub.test")}, nil, []bool{false}},
		"globs":              {"hub.test/team/app", []Provided{provided("a", "*.test", "[", "h[", "h*b.t*st", "../..", "", "%zz")}, []string{"a h*b.t*st 3", "a *.test 4"}, []bool{true}},
		"Docker Hub":         {"nginx", []Provided{provided("a", "https://index.docker.io/v1/")}, []string{"a https://index.docker.io/v1/ 3"}, []bool{true}},
		"no image":           {"Not/Valid", []Provided{provided("a", "hub.test")}, nil, []bool{false}},
	} {
		creds, states := FindProvided(imageOf(tc.image), tc.all, 3, time.Time{})
		var got []string
		for _, c := range creds {
			got = append(got, fmt.Sprintf("%s %s %d", c.Source, c.Key, c.Order))
			if user, _ := c.Reveal(); user != "user-"+c.Source || !c.OfNode || !c.OfProvider {
				t.Errorf("%s: user %q, of the node: %t, of a provider: %t", name, user, c.OfNode, c.OfProvider)
			}
		}
		var matches []bool
		for _, s := range states {
			matches = append(matches, s.Matches())
		}
		if !slices.Equal(got, tc.want) || !slices.Equal(matches, tc.matches) {
			t.Errorf("%s: %q (%t), want %q (%t)", name, got, matches, tc.want, tc.matches)
		}
		credentialtest.NeverShows(t, tc.all, "hunter2")
	}
}
