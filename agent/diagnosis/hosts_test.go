package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestHostPort(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{
		"https://hub.example.com":               "hub.example.com:443",
		"http://hub.example.com":                "hub.example.com:80",
		"https://hub.example.com:5000":          "hub.example.com:5000",
		"https://mirror.example.com/v2/project": "mirror.example.com:443",
		"auth.example.com":                      "auth.example.com:443",
		"auth.example.com:8443":                 "auth.example.com:8443",
		"https://Hub.Example.com":               "hub.example.com:443",
		"https://10.9.8.7:5000":                 "10.9.8.7:5000",
		"https://[2001:db8::5]":                 "[2001:db8::5]:443",
		"https://[2001:db8::5]:5000":            "[2001:db8::5]:5000",
		"":                                      "",
		"ftp://hub.example.com":                 "",
		"https://user:secret@hub.example.com":   "",
		"https://user@hub.example.com":          "",
		"https://hub.example.com:0":             "",
		"https://hub.example.com:65536":         "",
		"https://hub.example.com:https":         "",
		"https://hub..example.com":              "",
		"https://hub example.com":               "",
		"https://h\u202eub.example.com":         "",
		"https://" + strings.Repeat("a", 64):    "",
		"https://" + strings.Repeat("a.", 127):  "",
		"https://169.254.169.254":               "",
		"https://[fe80::1%25eth0]":              "",
		"https://[10.9.8.7]":                    "",
		"https://2001:db8::5":                   "",
		"https://0.0.0.0":                       "",
	} {
		if got := hostPort(place); got != want {
			t.Errorf("%q: %q, want %q", place, got, want)
		}
	}
}

// TestHosts: what a pull needs is what was asked, and where that has led.
func TestHosts(t *testing.T) {
	t.Parallel()
	at := func(check Check, url string, body Body) Evidence {
		return Evidence{Check: check, Outcome: Passed, Endpoint: Endpoint{URL: url}, Body: body}
	}
	all := []Evidence{
		{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Host: "text.example.com"}},
		at(CheckNodeDNS, "https://mirror.example.com:5000", nil),
		at(CheckRegistry, "", &RegistryFacts{Config: &ConfigFacts{Endpoint: "https://config.example.com"}}),
		at(CheckRegistry, "https://storage.example.com", &RegistryFacts{
			Via: "https://hub.example.com", Hops: []string{"https://lb.example.com", "https://storage.example.com"}, TokenHost: "auth.example.com",
		}),
		at(CheckRegistry, "https://hub.example.com", &RegistryFacts{Targets: []string{"https://cdn.example.com", "https://a:b@evil.example.com"}}),
		at(CheckPull, "https://hub.example.com", &PullFacts{Retry: &RetryFacts{Replay: &RegistryFacts{Targets: []string{"http://layers.example.com"}}}}),
	}
	want := []string{
		"auth.example.com:443", "cdn.example.com:443", "hub.example.com:443", "layers.example.com:80", "lb.example.com:443",
		"mirror.example.com:5000", "storage.example.com:443",
	}
	if got := Diagnose(ordinary(), all).Hosts; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	never := ordinary()
	never.PullPolicy = "Never"
	if got := Diagnose(never, all).Hosts; len(got) > 0 {
		t.Errorf("with the policy Never: %q", got)
	}
	many := &RegistryFacts{}
	for i := range 100 {
		many.Targets = append(many.Targets, fmt.Sprintf("https://cdn%d.example.com", i))
	}
	if got := Diagnose(ordinary(), []Evidence{at(CheckRegistry, "https://hub.example.com", many)}).Hosts; len(got) != maxHosts || !slices.Contains(got, "hub.example.com:443") {
		t.Errorf("of many: %q", got)
	}
}
