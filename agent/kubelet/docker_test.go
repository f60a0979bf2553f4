package kubelet

import (
	"maps"
	"slices"
	"testing"
)

func TestDockerConfig(t *testing.T) {
	t.Parallel()
	const good = `{"auths":{"r.io":{"username":"u","password":"p"}}}`
	seen := func(files map[string]string) map[string]string {
		out := map[string]string{"usr/": "", "var/lib/kubelet/pods/": ""}
		maps.Copy(out, files)
		return out
	}
	unit := func(text string) map[string]string {
		return seen(map[string]string{"etc/systemd/system/kubelet.service": "[Service]\n" + text, "root/.docker/config.json": good})
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  Presence
		path  string
	}{
		"none":                       {seen(nil), Absent, ""},
		"the first":                  {seen(map[string]string{"var/lib/kubelet/config.json": good, "config.json": good}), Present, "/var/lib/kubelet/config.json"},
		"an empty one counts":        {seen(map[string]string{"var/lib/kubelet/config.json": "{}", "config.json": good}), Present, "/var/lib/kubelet/config.json"},
		"a broken one does not":      {seen(map[string]string{"var/lib/kubelet/config.json": "{", "config.json": good}), Present, "/config.json"},
		"a directory does not":       {seen(map[string]string{"var/lib/kubelet/config.json/": "", ".docker/config.json": good}), Present, "/.docker/config.json"},
		"the newer kind first":       {seen(map[string]string{"var/lib/kubelet/.dockercfg": "{}", ".docker/config.json": good}), Present, "/.docker/config.json"},
		"the older kind":             {seen(map[string]string{".dockercfg": "{}"}), Present, "/.dockercfg"},
		"the older kind, its order":  {seen(map[string]string{".dockercfg": "{}", "var/lib/kubelet/.dockercfg": "{}"}), Present, "/var/lib/kubelet/.dockercfg"},
		"a service has no home":      {unit("ExecStart=/usr/bin/kubelet\n"), Absent, ""},
		"a service with a home":      {unit("Environment=\"HOME=/root\" A=b\n"), Present, "/root/.docker/config.json"},
		"a home in a comment":        {unit("#Environment=HOME=/root\n"), Absent, ""},
		"nothing mounted":            {map[string]string{"etc/": ""}, NotVisible, ""},
		"only the one file mounted":  {map[string]string{"var/lib/kubelet/config.json": good}, Present, "/var/lib/kubelet/config.json"},
		"mounted, broken":            {map[string]string{"var/lib/kubelet/config.json": "{"}, NotVisible, ""},
		"a later one, the first not": {map[string]string{"config.json": good}, NotVisible, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, got := newNode(t, tc.files).DockerConfig()
			if got != tc.want || f.Path != tc.path {
				t.Errorf("%q of %s, want %q of %s", got, f.Path, tc.want, tc.path)
			}
			if (got == Present) != (f.Data.Reveal() != nil && !f.Changed.IsZero()) {
				t.Errorf("%q with %d bytes of %s", got, len(f.Data.Reveal()), f.Changed)
			}
		})
	}
}

// What the kubelet may read and whypull does not see.
func TestUnseenDockerConfigs(t *testing.T) {
	t.Parallel()
	const good = `{"auths":{"r.io":{"username":"u","password":"p"}}}`
	const own, home = "/var/lib/kubelet/config.json", "/root/.docker/config.json"
	unit := map[string]string{"etc/systemd/system/kubelet.service": "[Service]\nEnvironment=HOME=/root\n"}
	with := func(more map[string]string) map[string]string {
		out := maps.Clone(unit)
		maps.Copy(out, more)
		return out
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing mounted":             {map[string]string{"etc/": ""}, []string{own}},
		"nothing mounted, and a home": {unit, []string{own, home}},
		"the first is mounted":        {with(map[string]string{"var/lib/kubelet/config.json": good}), nil},
		"the first is broken":         {with(map[string]string{"var/lib/kubelet/config.json": "{"}), []string{home}},
		"the second is mounted":       {with(map[string]string{"root/.docker/config.json": good}), []string{own}},
		"everything is visible":       {with(map[string]string{"usr/": ""}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := newNode(t, tc.files).UnseenDockerConfigs(); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// The paths where the kubelet may find credentials later are listed too, in its
// order.
func TestDockerConfigPaths(t *testing.T) {
	t.Parallel()
	got := New(Options{Root: t.TempDir(), Dir: "/data/kubelet"}).DockerConfigPaths()
	want := []string{"/data/kubelet/config.json", "/config.json", "/.docker/config.json", "/.docker/config.json",
		"/data/kubelet/.dockercfg", "/.dockercfg", "/.dockercfg"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
