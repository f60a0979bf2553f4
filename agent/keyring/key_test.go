package keyring

import "testing"

// TestKey checks BasicDockerKeyring.Add, URLsMatch and Lookup, one key at a time. An
// empty reason means that the key matches.
func TestKey(t *testing.T) {
	const image = "hub.example.com/team/app:1"
	for _, tt := range []struct {
		image, key string
		want       WhyNot
	}{
		{image, "hub.example.com", ""},
		{image, "https://hub.example.com", ""},
		{image, "http://hub.example.com/", ""},
		{image, "https://hub.example.com/v1/", ""},
		{image, "https://hub.example.com/v2/", ""},
		{image, "https://hub.example.com/v2/team/", ""},
		{image, "hub.example.com/team", ""},
		{image, "hub.example.com/te", ""}, // the prefix is one of strings
		{image, "hub.example.com/team/app", ""},
		{image, "bob@hub.example.com", ""},
		{image, "hub.example.com?service=x", ""},
		{image, "hub.example.com/team#x", ""},
		{image, "hub.example.com/te%61m", ""},
		{image, "hub.example.com/team%3Fx", ""}, // parsed twice: the second time it is a query
		{image, "hub.example.com:", ""},
		{image, "*.example.com", ""},
		{image, "*.*.com/team", ""},
		{image, "h*b.exam*.com", ""},
		{image, "h?b.example.com", OtherHost}, // a query, not a pattern

		{image, "other.example.com", OtherHost},
		{image, "example.com", OtherHost},
		{image, "a.hub.example.com", OtherHost},
		{image, "", OtherHost},
		{image, "*.example.org", OtherHost},
		{image, "*.com", LabelCount},
		{image, "*.hub.example.com", LabelCount},
		{image, "*.a.hub.example.com", OtherHost},
		{image, "*", LabelCount},
		{image, "Hub.Example.com", LetterCase},
		{image, "hub.example.com:443", OtherPort},
		{image, "hub.example.com:5000/other", OtherPort},
		{image, "hub.example.com/team/app:1", OtherPath},
		{image, "hub.example.com/team/*", OtherPath},
		{image, "hub.example.com/team/app/", OtherPath},
		{image, "hub.example.com/other", OtherPath},
		{image, "hub.example.com//team", OtherPath},
		{image, "hub.example.com/v2", VersionPath},
		{image, "https://hub.example.com/v1", VersionPath},
		{image, "HTTPS://hub.example.com", OtherScheme},
		{image, "docker://hub.example.com", OtherScheme},
		{image, "https://https://hub.example.com", OtherHost},
		{image, " hub.example.com", NotAnAddress},
		{image, "hub.example.com ", NotAnAddress},
		{image, "hub.example.com:*", NotAnAddress},
		{image, "hub.example.com:5000:1", NotAnAddress},
		{image, "hub.example.com/%zz", NotAnAddress},
		{image, "h[u]b.example.com", NotAnAddress},
		{image, "https://index.docker.io/v1/", OtherHost},
		{image, "registry-1.docker.io", OtherHost},

		{"hub.example.com:443/app", "hub.example.com", OtherPort},
		{"hub.example.com:443/app", "hub.example.com:443", ""},
		{"hub.example.com:5000/app", "*.example.com:5000", ""},
		{"localhost:5000/app", "localhost", OtherPort},
		{"localhost/app", "*", ""},
		{"teamwork/app", "docker.io/team", ""},
		{"h.io/teamwork/app", "h.io/team/", OtherPath},
		{"h.io/v1/app", "h.io/v1", ""},
		{"h.io/v1/app", "h.io/v1/v1/app", ""},
		{"h.io/v1/app", "h.io/v1/app", OtherPath},
		{"Hub.example.com/app", "Hub.example.com", ""},
		{"[::1]:5000/app", "[::1]:5000", ""},
		{"[::1]/app", "[::1]", BadPattern},
		{"[:::]:5000/app", "[::1]:5000", NotAnAddress},

		{"nginx", "docker.io", ""},
		{"nginx", "https://docker.io/library", ""},
		{"nginx", "https://index.docker.io/v1/", ""},
		{"nginx", "index.docker.io", ""},
		{"nginx", "https://index.docker.io/v2/", ""},
		{"nginx", "https://index.docker.io/v1", HubPath},
		{"nginx", "index.docker.io/library/nginx", HubPath},
		{"nginx", "https://index.docker.io:443/v1/", HubAlias},
		{"nginx", "registry-1.docker.io", HubAlias},
		{"nginx", "https://registry.hub.docker.com/v2/", HubAlias},
		{"nginx", "Docker.io", LetterCase},
		{"nginx", "hub.example.com", OtherHost},
		{"registry-1.docker.io/library/nginx", "registry-1.docker.io", ""},
		{"registry-1.docker.io/library/nginx", "docker.io", OtherHost},
	} {
		t.Run(tt.image+" "+tt.key, func(t *testing.T) {
			l := find(t, tt.image, withKeys("s", tt.key))
			got := l.Secrets[0].Entries[0]
			if got.Why != tt.want || got.Matches != (tt.want == "") {
				t.Errorf("got %q (%s), want %q", got.Why, got.Text, tt.want)
			}
			if got.Matches != (len(l.Credentials) == 1) {
				t.Errorf("matches is %v with %d credentials", got.Matches, len(l.Credentials))
			}
		})
	}
}

func TestHubKeyUnused(t *testing.T) {
	l := find(t, "nginx", withKeys("s", "docker.io", "https://index.docker.io/v1/"))
	if got := l.Secrets[0].Entries[1].Why; got != HubUnused {
		t.Errorf("got %q, want %q", got, HubUnused)
	}
}

func TestEntriesAreSortedAndSafe(t *testing.T) {
	l := find(t, "h.io/a", withKeys("s", "z.io", testUser+":"+testPass+"@h.io:5000?token=x", "*.io", "a b"))
	want := []struct{ key, host string }{{"*.io", "*.io"}, {"a b", ""}, {"z.io", "z.io"}, {"…@h.io:5000?…", "h.io:5000"}}
	for i, e := range l.Secrets[0].Entries {
		if e.Key != want[i].key || e.Host != want[i].host {
			t.Errorf("entry %d: got %q on %q, want %q on %q", i, e.Key, e.Host, want[i].key, want[i].host)
		}
	}
}
