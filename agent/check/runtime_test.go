//go:build linux

package check

import (
	"path/filepath"
	"strings"
	"testing"
)

// --runtime judges by other rules than this machine's: hosts.toml without a host table
// is invalid until containerd 1.7.32, and CRI-O reads none.
func TestRulesOfAnotherRuntime(t *testing.T) {
	t.Parallel()
	w := world(t)
	image := caseOf(t, w, "works").Image
	o := options(w)
	o.Image, o.Runtime, o.Output = image, "containerd=1.7", "json"
	got := do(t, o, "")
	if want := "by the rules of containerd 1.7 (--runtime); this machine's container runtime is not asked"; got.err != nil || got.parsed(t).Runtime != want {
		t.Errorf("runtime %q, error %v, want %s", got.text, got.err, want)
	}
	dir := t.TempDir()
	conf := write(t, filepath.Join(dir, "registries.conf"), "unqualified-search-registries = []\n[[registry]]\nlocation = \""+strings.SplitN(image, "/", 2)[0]+"\"\nblocked = true\n")
	o.Registries.Root, o.Registries.CertsDir, o.Runtime, o.Registries.RegistriesConf, o.Output = "/", "", "cri-o=1.34", conf, "text"
	got = do(t, o, "")
	if got.err != nil || got.pullable || !strings.Contains(got.text, "PolicyBlocked") || !strings.Contains(got.text, "by the rules of cri-o 1.34") {
		t.Errorf("blocked in registries.conf: pullable %t, error %v: %s", got.pullable, got.err, got.text)
	}
}

func TestWrongRuntimes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"name":        {func(o *Options) { o.Runtime = "docker=24" }, `--runtime: runtime "docker": want containerd=VERSION or cri-o=VERSION, such as containerd=1.7`},
		"version":     {func(o *Options) { o.Runtime = "cri-o=1.99" }, `--runtime: version "1.99" of cri-o: want 1.20 to 1.37`},
		"its socket":  {func(o *Options) { o.Runtime, o.Socket, o.SocketWanted = "cri-o=1.34", "/run/x", true }, "--runtime: cannot be combined with --cri-socket"},
		"other files": {func(o *Options) { o.Runtime, o.Registries.RegistriesConf = "containerd=1.7", "/x" }, "--registries-conf: containerd does not read it"},
	} {
		o := Options{Image: "a", Output: "text", node: "ci-1"}
		tc.change(&o)
		if got := do(t, o, ""); got.err == nil || !strings.HasPrefix(got.err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %s", name, got.err, tc.want)
		}
	}
}
