package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/registry"
)

// TestHeard checks that certificate and rate limit are recorded under the image's registry,
// those of a mirror under the mirror's name.
func TestHeard(t *testing.T) {
	t.Parallel()
	end := time.Unix(1_800_000_000, 0)
	limit := &registry.RateLimit{Limit: 100, Remaining: 7}
	own, mirror := registry.Endpoint{Host: "registry-1.docker.io"}, registry.Endpoint{Host: "mirror.test:5000", Mirror: true}
	for name, tc := range map[string]struct {
		endpoint registry.Endpoint
		answer   registry.Answer
		expires  map[string]time.Time
		limits   []string
	}{
		"nothing known":       {endpoint: own, answer: registry.Answer{Fault: registry.FaultConnectionRefused}},
		"all known":           {own, registry.Answer{Found: true, Response: registry.Response{RateLimit: limit}, TLS: registry.TLS{Expiry: end}}, map[string]time.Time{"docker.io": end}, []string{"docker.io 7 true"}},
		"a mirror":            {mirror, registry.Answer{Found: true, Response: registry.Response{RateLimit: limit}, TLS: registry.TLS{Expiry: end}}, map[string]time.Time{"mirror.test:5000": end}, []string{"mirror.test:5000 7 true"}},
		"without a limit":     {own, registry.Answer{Found: true}, nil, []string{"docker.io 0 false"}},
		"refused":             {own, registry.Answer{Fault: registry.FaultUnauthorized}, nil, nil},
		"refused, and known":  {own, registry.Answer{Fault: registry.FaultTagNotFound, Response: registry.Response{RateLimit: limit}}, nil, []string{"docker.io 7 true"}},
		"limited":             {own, registry.Answer{Fault: registry.FaultRateLimited}, nil, []string{"docker.io 0 true"}},
		"limited, with words": {own, registry.Answer{Fault: registry.FaultRateLimited, Response: registry.Response{RateLimit: limit}}, nil, []string{"docker.io 0 true"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &fakeMetrics{}
			ref, err := reference.ParseDockerRef("nginx:1")
			if err != nil {
				t.Fatal(err)
			}
			New(Options{Metrics: m}).heard("shop", tc.endpoint, ref, tc.answer)
			if len(m.expires) != len(tc.expires) || !slices.Equal(m.limits, tc.limits) {
				t.Errorf("got %v and %q, want %v and %q", m.expires, m.limits, tc.expires, tc.limits)
			}
			for host, at := range tc.expires {
				if !m.expires[host].Equal(at) {
					t.Errorf("%s: %s, want %s", host, m.expires[host], at)
				}
			}
		})
	}
}
