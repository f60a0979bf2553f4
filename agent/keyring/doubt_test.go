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
	for pair, want := range map[[2]string]string{
		{"joe", "x"}: "", {"joe", "x y"}: "", {"joe", "x\n"}: "password ends with a line break", {"joe", "x \r\n"}: "password ends with a line break",
		{"joe", "x "}: "password ends with a space", {"joe", "\tx"}: "password begins with a space", {"joe\n", "x"}: "user ends with a line break",
		{" joe\n", " x"}: "password begins with a space",
	} {
		if got := (entry{username: pair[0], password: pair[1]}).padding(); got != want {
			t.Errorf("%q: %q, want %q", pair, got, want)
		}
	}
	for text, want := range map[string]bool{
		"<password>": true, "${PASSWORD}": true, "$(PASSWORD)": true, "{{ .Values.password }}": true, "%!s(<nil>)": true,
		"$REGISTRY_PASSWORD": true, "***": true, "$": false, "$apr1$x": false, "**": false, "A*B": false,
		"<>": false, "$oauthtoken": false, "robot$ci": false, "x<y>": false, "%!": false, "": false,
	} {
		for _, e := range []entry{{username: text, password: "x"}, {username: "joe", password: text}} {
			if got := e.doubt(); (got == Placeholder) != want {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
	for user, want := range map[string]Doubt{"robot": RobotName, "robot+ci": RobotName, "robot$ci": "", "robots": "", "joe": ""} {
		if got := (entry{username: user, password: "x"}).doubt(); got != want {
			t.Errorf("%s: %q", user, got)
		}
	}
}
