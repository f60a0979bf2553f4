package registry

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestRepository(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"nginx":                          "library/nginx",
		"hub.example.com:5000/team/app":  "team/app",
		"hub_x.example.com/team/app:1.0": "team/app",
		"localhost/app@sha256:" + strings.Repeat("a", 64): "app",
	} {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			t.Fatal(err)
		}
		if got := repository(named); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
