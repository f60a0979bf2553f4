package keyring

import (
	"testing"
)

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		name, image string
		secrets     []Secret
		want        string // secret and key
	}{
		{"the host that differs least", "hub.test2.company.com/nginx",
			[]Secret{withKeys("far", "quay.io", "ghcr.io"), withKeys("near", "hub.test.company.com", "other.company.com")},
			"near hub.test.company.com"},
		{"the right host before a near one", "hub.example.com/app",
			[]Secret{withKeys("a", "hub2.example.com"), withKeys("b", "hub.example.com/other")}, "b hub.example.com/other"},
		{"the path before the port", "hub.example.com/app",
			[]Secret{withKeys("a", "hub.example.com:443", "hub.example.com/other")}, "a hub.example.com/other"},
		{"the port before another host", "hub.example.com/app",
			[]Secret{withKeys("a", "hub1.example.com", "hub.example.com:443")}, "a hub.example.com:443"},
		{"another scheme", "hub.example.com/app",
			[]Secret{withKeys("a", "hub12.example.com", "oci://hub.example.com")}, "a oci://hub.example.com"},
		{"blanks", "hub.example.com/app",
			[]Secret{withKeys("a", "hub12.example.com", " hub.example.com ")}, "a  hub.example.com "},
		{"a name of Docker Hub", "nginx",
			[]Secret{withKeys("a", "docker.com.example", "registry-1.docker.io")}, "a registry-1.docker.io"},
		{"the first of equals", "hub.example.com/app",
			[]Secret{withKeys("b", "hubb.example.com"), withKeys("a", "huba.example.com")}, "b hubb.example.com"},
		{"one matches", "hub.example.com/app", []Secret{withKeys("a", "quay.io", "hub.example.com")}, ""},
		{"no entries", "hub.example.com/app", []Secret{configJSON("a", "{}")}, ""},
		{"no secrets", "hub.example.com/app", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near := find(t, tt.image, tt.secrets...).Nearest()
			got := ""
			if near.Secret != "" {
				got = near.Secret + " " + near.Entry.Key
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
