package nodeconfig

import (
	"strings"
	"testing"
)

func TestParseRuntime(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"containerd=1.6": "containerd 1.6.999", "containerd=1.7.30": "containerd 1.7.30", "containerd=v2.0": "containerd 2.0.999",
		"containerd=2.4": "containerd 2.4.999", "cri-o=1.20": "cri-o 1.20.999", "cri-o=1.37.1": "cri-o 1.37.1",
	} {
		if name, version, err := ParseRuntime(s); err != nil || name+" "+version != want {
			t.Errorf("%s: %s %s, error %v, want %s", s, name, version, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                 `runtime "": want containerd=VERSION or cri-o=VERSION, such as containerd=1.7`,
		"docker=24.0":      `runtime "docker": want containerd=VERSION`,
		"crio=1.34":        `runtime "crio": want containerd=VERSION`,
		"containerd":       `version "" of containerd: want 1.6 to 1.7 or 2.0 to 2.4`,
		"containerd=1.5":   `version "1.5" of containerd: want 1.6 to 1.7 or 2.0 to 2.4`,
		"containerd=2.5":   `version "2.5" of containerd`,
		"containerd=1.7.x": `version "1.7.x" of containerd`,
		"cri-o=1.19":       `version "1.19" of cri-o: want 1.20 to 1.37`,
		"cri-o=1.38":       `version "1.38" of cri-o`,
		"cri-o=2.1":        `version "2.1" of cri-o`,
		"cri-o=1.34 ":      `version "1.34 " of cri-o`,
	} {
		if _, _, err := ParseRuntime(s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", s, err, want)
		}
	}
}

// A version without a patch has the rules of its newest patch.
func TestNewestPatch(t *testing.T) {
	t.Parallel()
	_, version, err := ParseRuntime("containerd=1.7")
	if v := parseVersion(version); err != nil || v.wantsHostTable() || v.atLeast(2, 0) || !v.atLeast(1, 7) {
		t.Errorf("version %s, error %v", version, err)
	}
}
