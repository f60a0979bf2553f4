package check

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const onePod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: a}]}}"

// A directory stands for its manifests, as in kubectl; links never lead in a circle.
func TestDirectories(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", "c.json", "d.txt", "e.yaml.bak", "sub/f.yaml", "sub/deep/g.json"} {
		write(t, filepath.Join(dir, name), onePod)
	}
	outside := write(t, filepath.Join(t.TempDir(), "o.yaml"), onePod)
	for at, target := range map[string]string{"link.yaml": outside, "sub/up": dir, "sub/self.yaml": dir, "sub/deep/loop": "../.."} {
		if err := os.Symlink(target, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		names     []string
		recursive bool
		want      string
	}{
		"a directory":     {[]string{dir}, false, "a.yml b.yaml c.json link.yaml"},
		"recursive":       {[]string{dir}, true, "a.yml b.yaml c.json link.yaml sub/deep/g.json sub/f.yaml"},
		"a link to it":    {[]string{link}, true, "a.yml b.yaml c.json link.yaml sub/deep/g.json sub/f.yaml"},
		"any file itself": {[]string{filepath.Join(dir, "d.txt"), "-"}, true, "d.txt -"},
	} {
		got, err := manifests(tc.names, tc.recursive)
		for i := range got {
			got[i] = strings.TrimPrefix(strings.TrimPrefix(got[i], dir+"/"), link+"/")
		}
		if err != nil || !slices.Equal(got, strings.Fields(tc.want)) {
			t.Errorf("%s: %q, error %v, want %s", name, got, err, tc.want)
		}
	}
	if err := os.Symlink("circle.yaml", filepath.Join(dir, "circle.yaml")); err != nil {
		t.Fatal(err)
	}
	if got, err := manifests([]string{dir}, false); err == nil {
		t.Errorf("a link to itself is no error: %q", got)
	}
	if _, err := manifests([]string{"-", "-"}, false); err == nil || err.Error() != "standard input (-) can be given once" {
		t.Errorf("standard input twice: error %v", err)
	}
}

func TestEmptyManifests(t *testing.T) {
	t.Parallel()
	const service = "{apiVersion: v1, kind: Service, metadata: {name: s}}"
	o := Options{Output: "text", Files: []string{"-"}, node: "ci-1", getenv: environment("LANG=C.UTF-8"), Report: reportOf}
	if got := do(t, o, service); got.err == nil || got.err.Error() != "--file: no pod or workload in the manifests (standard input, document 1: Service s)" {
		t.Errorf("error %v", got.err)
	}
	o.AllowEmpty = true
	for output, want := range map[string]string{"text": "no images in the manifests\n", "json": `"pods": []`, "junit": `tests="0"`, "sarif": `"results": []`} {
		o.Output = output
		if got := do(t, o, service); got.err != nil || !got.pullable || !strings.Contains(got.text, want) {
			t.Errorf("%s: pullable %t, error %v: %s", output, got.pullable, got.err, got.text)
		}
	}
}

// What is read of a file, and made of it, is bounded.
func TestHostileManifests(t *testing.T) {
	t.Parallel()
	large := filepath.Join(t.TempDir(), "large.yaml")
	f, err := os.Create(large)
	if err == nil {
		err = f.Truncate(100 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := load(Options{Files: []string{large}}, nil); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("a large file: error %v", err)
	}
	var bomb bytes.Buffer
	bomb.WriteString("apiVersion: example.com/v1\nkind: Bomb\nspec:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		n := string(rune('a' + i))
		bomb.WriteString("  b" + n + ": &b" + n + " [" + strings.Repeat(", *"+previous(i), 10)[2:] + "]\n")
	}
	if _, err := load(Options{Files: []string{"-"}}, &bomb); err == nil || !strings.Contains(err.Error(), "excessive aliasing") {
		t.Errorf("an alias bomb: error %v", err)
	}
	deep := `{"apiVersion":"example.com/v1","kind":"Deep","spec":` + strings.Repeat(`{"a":`, 5000) + `{"containers":[{"image":"a"}]}` + strings.Repeat("}", 5001)
	if o, err := load(Options{Files: []string{"-"}, AllowEmpty: true}, strings.NewReader(deep)); err != nil || len(o.pods) > 0 {
		t.Errorf("a deep object: %v, error %v", o, err)
	}
}

func previous(i int) string {
	if i == 0 {
		return "a0"
	}
	return "b" + string(rune('a'+i-1))
}
