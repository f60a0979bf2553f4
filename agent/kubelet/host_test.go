package kubelet

import (
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file that is not mounted is not visible; one that is mounted and missing is
// absent.
func TestRead(t *testing.T) {
	t.Parallel()
	etc := map[string]string{"etc/a": "x", "etc/dir/": ""}
	with := func(more ...string) map[string]string {
		out := maps.Clone(etc)
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for name, tc := range map[string]struct {
		files map[string]string
		read  string
		want  Presence
		fails bool
	}{
		"a file":                             {etc, "/etc/a", Present, false},
		"a missing file":                     {etc, "/etc/b", Absent, true},
		"a missing directory":                {etc, "/etc/c/d/e", Absent, true},
		"outside of the mount":               {etc, "/root/.docker/config.json", NotVisible, true},
		"the same, all is mounted":           {with("usr/", ""), "/root/.docker/config.json", Absent, true},
		"a mount point's parent":             {with("var/lib/kubelet/image_manager/", ""), "/var/lib/kubelet/config.json", NotVisible, true},
		"a mounted file next to one":         {with("var/lib/kubelet/config.json", "{}"), "/var/lib/kubelet/config.json", Present, false},
		"the kubelet's directory is mounted": {with("var/lib/kubelet/pods/", ""), "/var/lib/kubelet/config.json", Absent, true},
		"a directory":                        {etc, "/etc/dir", Present, true},
		"too large":                          {with("etc/big", strings.Repeat("x", maxFile+1)), "/etc/big", Present, true},
		"a link":                             {with("etc/l", "-> a"), "/etc/l", Present, false},
		"an absolute link":                   {with("etc/l", "-> /etc/a"), "/etc/l", Present, false},
		"a link above the root":              {with("etc/l", "-> ../../../../../../../../etc/a"), "/etc/l", Present, false},
		"a link to what is missing":          {with("etc/l", "-> /etc/passwd"), "/etc/l", Absent, true},
		"a link to what is not mounted":      {with("etc/l", "-> ../lib/x"), "/etc/l", NotVisible, true},
		"a directory that is not mounted":    {with("etc/l", "-> /opt/kubernetes"), "/etc/l/config", NotVisible, true},
		"a linked directory":                 {with("etc/l", "-> /etc/dir", "etc/dir/a", "x"), "/etc/l/a", Present, false},
		"a loop":                             {with("etc/l", "-> /etc/l"), "/etc/l", NotVisible, true},
		"the parent of all":                  {etc, "/etc/../../../../../etc/a", Present, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, got, err := newNode(t, tc.files).read(tc.read)
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("%q, error %v", got, err)
			}
			if !tc.fails && (len(f.Data) == 0 || f.Changed.IsZero()) {
				t.Errorf("file %q of %s", f.Data, f.Changed)
			}
		})
	}
}

// Nothing writes to the pipe, so reading it would block forever.
func TestReadPipe(t *testing.T) {
	t.Parallel()
	k := newNode(t, map[string]string{"etc/a": "x"})
	check(t, syscall.Mkfifo(filepath.Join(k.host.Root(), "etc/pipe"), 0o600))
	if _, got, err := k.read("/etc/pipe"); got != Present || err == nil {
		t.Errorf("%q, error %v", got, err)
	}
}

func TestRootOfTheMachine(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"", "/"} {
		k := New(Options{Root: root, Dir: t.TempDir()})
		if k.host.Root() != "/" || !k.isVisible("/root") {
			t.Errorf("root %q is %q", root, k.host.Root())
		}
		if _, got, _ := k.read(filepath.Join(k.dir, "config.json")); got != Absent {
			t.Errorf("root %q: %q", root, got)
		}
	}
}
