package keyring

import (
	"encoding/json"
	"testing"

	"github.com/whypull/whypull/cri/credential/credentialtest"
)

// FuzzFind calls Find with a registry key and a text at some place in a secret.
// Nothing may panic, no text may contain a credential, and the explanations must be
// consistent with the credentials.
func FuzzFind(f *testing.F) {
	for _, image := range []string{"nginx", "localhost/app", "hub.example.com:443/team/app:1", "[::1]:5000/a"} {
		for i, key := range []string{"hub.example.com", "https://index.docker.io/v1/", "*.example.com:443/team", "a b", "h[", "oci://x/@"} {
			f.Add(image, key, `"`, uint16(i*20), i%2 == 0)
			f.Add(image, key, "", uint16(0), i%2 == 1)
		}
	}
	f.Fuzz(func(t *testing.T, image, key, odd string, at uint16, older bool) {
		for _, secret := range spoiled(key, odd, at, older) {
			l := Find(imageOf(image), Sources{Secrets: []Secret{secret, withKeys("good", key)}})
			checkConsistent(t, l)
			if form := credentialtest.Find(everything(l), taboos()...); form != "" {
				t.Errorf("shows %q in %s", form, everything(l))
			}
		}
	})
}

// spoiled returns secrets with the test's credentials: valid, in the key, and with the
// text at some place in the content.
func spoiled(key, odd string, at uint16, older bool) []Secret {
	secret := configJSON
	before, behind := `{"auths":{`, `}}`
	if older {
		secret, before, behind = legacy, "{", "}"
	}
	entry := `{"auth":"` + basic(testUser, testPass) + `","username":"` + testUser + `","password":"` + testPass + `"}`
	good := before + quoted(key) + ":" + entry + behind
	inKey := before + quoted(testUser+":"+testPass+"@"+key) + ":" + entry + behind
	cut := int(at) % (len(good) + 1)
	return []Secret{
		secret("good", good), secret("key", inKey),
		secret("scheme", before+quoted(key+testUser+":"+testPass+"@h.io")+":"+entry+behind),
		secret("odd", good[:cut]+odd+good[cut:]),
	}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

func checkConsistent(t *testing.T, l Lookup) {
	t.Helper()
	matching := 0
	for _, s := range l.Secrets {
		if (s.Problem == "") != (s.Reason == "") {
			t.Errorf("problem %q with the reason %q", s.Problem, s.Reason)
		}
		for _, e := range s.Entries {
			if e.Matches {
				matching++
			}
			if e.Matches != (e.Why == "") || !e.Matches && e.Text == "" {
				t.Errorf("%q: matches %v, why %q, text %q", e.Key, e.Matches, e.Why, e.Text)
			}
		}
	}
	if l.Broken == nil && matching != len(l.Credentials) {
		t.Errorf("%d entries match and there are %d credentials", matching, len(l.Credentials))
	}
}
