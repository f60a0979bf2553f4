package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/kubelet"
)

func TestDockerConfig(t *testing.T) {
	t.Parallel()
	auth := `{"hub.example":{"auth":"` + basic("user", password) + `"}}`
	for name, tc := range map[string]struct {
		file, text string
		notes      []string // without the file's name
		bad        bool
	}{
		"auths":            {"config.json", `{"auths":` + auth + `}`, nil, false},
		"a store":          {"config.json", `{"auths":` + auth + `,"credsStore":"pass"}`, []string{"credsStore pass ignored: the kubelet runs no credential helpers; only auths count"}, false},
		"helpers":          {"config.json", `{"credHelpers":{"b.example":"x","a.example":"y"}}`, []string{"credHelpers for a.example, b.example ignored: the kubelet runs no credential helpers; only auths count"}, false},
		"both":             {"config.json", `{"credsStore":"s","credHelpers":{"a":"y"}}`, []string{"credsStore s and credHelpers for a ignored: the kubelet runs no credential helpers; only auths count"}, false},
		"nothing":          {"config.json", `{}`, []string{"no auths, so no credentials"}, false},
		"old":              {".dockercfg", auth, nil, false},
		"old in the new":   {"config.json", auth, []string{"no auths, so no credentials"}, false},
		"not JSON":         {"config.json", password, nil, true},
		"an invalid entry": {"config.json", `{"auths":{"hub.example":{"auth":"` + password + `"}}}`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, filepath.Join(t.TempDir(), tc.file), tc.text)
			changed := time.Unix(1700000000, 0)
			if err := os.Chtimes(path, changed, changed); err != nil {
				t.Fatal(err)
			}
			file, notes, err := dockerConfig(path)
			if (err != nil) != tc.bad {
				t.Fatalf("error %v", err)
			}
			if text := fmt.Sprintf("%v %v %+v", err, notes, file); strings.Contains(text, password) || err != nil && !strings.HasPrefix(err.Error(), path+": ") {
				t.Error(text)
			}
			for i := range notes {
				notes[i] = strings.TrimPrefix(notes[i], path+": ")
			}
			if !slices.Equal(notes, tc.notes) {
				t.Errorf("notes %q, want %q", notes, tc.notes)
			}
			if err == nil && (!file.Changed.Equal(changed) || file.Path != path) {
				t.Errorf("file %v of %v", file, file.Changed)
			}
		})
	}
}

// The file of --docker-config replaces the kubelet's.
func TestNode(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "k/config.json"), `{"auths":{}}`)
	n := node{Kubelet: kubelet.New(kubelet.Options{Root: root, Dir: "/k"})}
	if file, presence := n.DockerConfig(); presence != kubelet.Present || file.Path != "/k/config.json" {
		t.Errorf("%v, %s", file, presence)
	}
	var err error
	if n.file, _, err = dockerConfig(write(t, filepath.Join(root, "own.json"), `{}`)); err != nil {
		t.Fatal(err)
	}
	if file, presence := n.DockerConfig(); presence != kubelet.Present || filepath.Base(file.Path) != "own.json" {
		t.Errorf("%v, %s", file, presence)
	}
}
