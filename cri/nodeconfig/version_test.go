package nodeconfig

import "testing"

func TestParseVersion(t *testing.T) {
	const newest = "2.4"
	for s, want := range map[string]string{
		"v2.1.4": "2.1.4", "1.7.35~ds1": "1.7.35", "2.0.5-k3s1": "2.0.5", "2.10": "2.10", "1.7.x": "1.7",
		"": newest, "v2": newest, "devel": newest, "99999999999999999999.1": newest, "0.1": newest,
	} {
		if got := parseVersion(s).String(); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

func TestVersionsAreCompared(t *testing.T) {
	for s, want := range map[string]bool{"2.1.4": true, "2.1": true, "v2.10.0-rc.1": true, "3.0": true, "2.0.5": false, "1.37": false} {
		if got := parseVersion(s).atLeast(2, 1); got != want {
			t.Errorf("%s is at least 2.1: %t", s, got)
		}
	}
	for s, want := range map[string]bool{"1.7.31": true, "1.6.40": true, "1.7": true, "1.7.32": false, "1.8": false, "2.0": false, "": false} {
		if got := parseVersion(s).wantsHostTable(); got != want {
			t.Errorf("%s wants a host's table: %t", s, got)
		}
	}
}

// Which versions try https first at a host that is configured for http, with and
// without a port.
func TestTriesTLS(t *testing.T) {
	for s, want := range map[string][2]bool{
		"1.6.20": {false, false}, "1.6.36": {true, false}, "1.7.2": {false, false}, "1.7.7": {true, true}, "1.7.12": {true, false},
		"1.7.24": {true, true}, "2.0.0": {true, true}, "": {true, true},
	} {
		v := parseVersion(s)
		if got := [2]bool{v.triesTLS("hub.test:5000"), v.triesTLS("hub.test")}; got != want {
			t.Errorf("%s: got %t, want %t", s, got, want)
		}
	}
}
