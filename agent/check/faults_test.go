//go:build linux

package check

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/whypull/whypull/cri/registry/faulttest"
)

// TestEveryFault checks that exactly the images that can be pulled are reported as
// such and that every Confirmed cause is right.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	w := world(t)
	turns := make(chan struct{}, 4)
	var wg sync.WaitGroup
	ran := 0
	for _, c := range slices.Concat(w.Cases(), w.InProcess()) {
		if c.Slow || c.Truth == faulttest.DNSFailure || c.Truth == faulttest.RegistryNameNotFound { // names are in a file here
			continue
		}
		ran++
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			o := options(w)
			o.Files, o.Output, o.Download = []string{"-"}, "json", true
			holds(t, c, do(t, o, podOf(t, c)))
		})
	}
	wg.Wait()
	if ran < 80 {
		t.Errorf("only %d cases", ran)
	}
}

// Layers are downloaded only with Download.
func TestDownload(t *testing.T) {
	t.Parallel()
	w := world(t)
	for _, download := range []bool{false, true} {
		o := options(w)
		o.Image, o.Download = caseOf(t, w, "layer-digest-mismatch").Image, download
		if got := do(t, o, ""); got.pullable == download || strings.Contains(got.text, "ContentCorrupt (Confirmed)") != download {
			t.Errorf("download %t: %s", download, got.text)
		}
	}
}

func holds(t *testing.T, c faulttest.Case, got outcome) {
	if got.err != nil {
		t.Errorf("%s: %v", c.Name, got.err)
		return
	}
	d := got.parsed(t)
	v := d.Pods[0].Report.Containers[0]
	text := fmt.Sprintf("%s: truth %q, pullable %t, %s (%s): %s", c.Name, c.Truth, got.pullable, v.Cause, v.Confidence, v.Summary)
	switch {
	case d.Pullable != got.pullable || d.Pods[0].Pullable != got.pullable || got.pullable != (v.Cause == "NotReproducible"):
		t.Errorf("%s: the answers differ", text)
	case c.Name == "layer-type-unknown" && got.pullable: // it is said to be no image
		if v.Confidence != "Likely" || !strings.HasSuffix(v.Summary, "the container cannot start") {
			t.Error(text)
		}
	case got.pullable != (c.Truth == faulttest.Works):
		t.Error(text)
	case v.Confidence == "Confirmed" && !got.pullable && v.Cause != string(c.Truth):
		t.Error(text)
	case len(v.Remedy) == 0 != got.pullable && v.Cause != "Unknown":
		t.Errorf("%s: remedy %q", text, v.Remedy)
	}
	clusterless(t, c.Name, got.text)
}

// clusterless asserts that the output has nothing about the kubelet's message and no
// command about a pod in a cluster.
func clusterless(t *testing.T, name, text string) {
	for _, s := range []string{
		"the kubelet says", "the kubelet gives no more", "will try again", "goes on trying", "whypull may not read", "pod/web",
		"this version of whypull has no such check", "deletes the pod", "%!",
	} {
		if strings.Contains(text, s) {
			t.Errorf("%s: %q is in\n%s", name, s, text)
		}
	}
}
