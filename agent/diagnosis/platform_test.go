package diagnosis

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// everyPlatform returns every platform but the zero value.
func everyPlatform() []Platform {
	return []Platform{PlatformK3s, PlatformRKE2, PlatformK0s, PlatformMicroK8s, PlatformTalos, PlatformBottlerocket, PlatformOpenShift, PlatformGKE}
}

// TestPlatformsAreAll: each platform has tools, and each tool a platform.
func TestPlatformsAreAll(t *testing.T) {
	want := append(everyPlatform(), "")
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(platformTools)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, p := range append(everyPlatform(), "") {
		f := ordinary()
		f.Platform, f.Node = p, "it's a node"
		tools := (&facts{Failure: f}).tools()
		for _, command := range []string{tools.pull, tools.restart} {
			if command == "" || strings.Contains(command, "NODE") {
				t.Errorf("%s: %q", p, command)
			}
		}
		if tools.running == "" || tools.certsDir == "" {
			t.Errorf("%s: %+v", p, tools)
		}
	}
}

// TestToolsOfCRIO: CRI-O has a service of its own, on any platform.
func TestToolsOfCRIO(t *testing.T) {
	for _, p := range []Platform{"", PlatformOpenShift} {
		f := ordinary()
		f.Platform = p
		x := newFacts(f, []Evidence{{Check: CheckRegistry, Endpoint: Endpoint{CRIO: true}}})
		if got := x.tools().restart; got != "systemctl restart crio" {
			t.Errorf("%q: %s", p, got)
		}
	}
}

// TestAboutPlatform: it stands once, in front of what is done on the node, and not where
// nothing is, nor on the machine of whoever asks.
func TestAboutPlatform(t *testing.T) {
	f := ordinary()
	f.Platform = PlatformOpenShift
	onNode, inCluster := []string{"# First.", "# On node worker-3, look:", "df -h", "# On node worker-3, again:"}, []string{"# In pod web:", "kubectl get pod"}
	x := &facts{Failure: f}
	got := x.withAbout(onNode)
	if len(got) != 5 || !strings.HasPrefix(got[1], "# For a shell on node worker-3, run oc debug node/worker-3") || !slices.Equal(slices.Delete(slices.Clone(got), 1, 2), onNode) {
		t.Errorf("%q", got)
	}
	if got := x.withAbout(inCluster); !slices.Equal(got, inCluster) {
		t.Errorf("%q", got)
	}
	x.Offline = true
	if got := x.withAbout(onNode); !slices.Equal(got, onNode) {
		t.Errorf("%q", got)
	}
}
