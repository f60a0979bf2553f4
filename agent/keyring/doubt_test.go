package keyring

import "testing"

// What an expert would ask about an entry that the kubelet takes as it is.
func TestDoubtsOfMatches(t *testing.T) {
	for key, paths := range map[string]map[string]bool{
		"reg.test/team":  {"reg.test/team/app": false, "reg.test/team-b/app": true, "reg.test/team": false},
		"reg.test/team/": {"reg.test/team/app": false},
		"reg.test":       {"reg.test/team-b/app": false},
	} {
		for name, want := range paths {
			e := entry{key: key, username: "joe", password: "x"}
			e.effective, e.address = effectiveKey(key)
			image := imageOf(name)
			got := e.state(newTarget(image), []string{e.effective})
			if !got.Matches || (got.Doubt == OtherFolder) != want || (got.Text != "") != want {
				t.Errorf("%s for %s: %+v", key, name, got)
			}
		}
	}
	for user, want := range map[string]Doubt{"robot": RobotName, "robot+ci": RobotName, "robot$ci": "", "robots": "", "joe": ""} {
		if got := (entry{username: user, password: "x"}).doubt(); got != want {
			t.Errorf("%s: %q", user, got)
		}
	}
}
