package faulttest

import (
	"slices"
	"testing"
	"time"
)

// Without its fault every case can be pulled.
func TestHealedCasesWork(t *testing.T) {
	t.Parallel()
	w, err := Start(Config{Root: t.TempDir(), Healed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	p := puller{w: w, limit: 20 * time.Second}
	// The world has no proxy that carries plain HTTP.
	unhealed := []string{"proxy-plain-502"}
	for _, c := range w.Cases() {
		for _, runtime := range []string{Containerd24, CRIO137} {
			cause := c.On(runtime)
			if cause == Works {
				continue
			}
			healed, ok := w.Healed(c.Name, runtime, cause)
			if ok == slices.Contains(unhealed, c.Name) {
				t.Errorf("%s on %s has a variant without %s: %t", c.Name, runtime, cause, ok)
			}
			if !ok || runtime == CRIO137 {
				continue
			}
			if healed.Image == c.Image {
				t.Errorf("%s without %s is the same image %s", c.Name, cause, c.Image)
			}
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				if err := p.pull(t.Context(), healed); err != nil {
					t.Errorf("without %s: %v", cause, err)
				}
			})
		}
	}
}

func TestHealedOnlyIfAsked(t *testing.T) {
	t.Parallel()
	w := start(t)
	if c, ok := w.Healed("manifest-404", Containerd24, TagNotFound); ok {
		t.Errorf("there is %+v", c)
	}
}
