package keyring

import (
	"fmt"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

// taboos are the texts of the tests' credential that must not be shown.
func taboos() []string { return []string{testUser, testPass, basic(testUser, testPass)} }

func TestCredentialIsHidden(t *testing.T) {
	c := NewCredential("regcred", "https://"+testUser+":"+testPass+"@hub.example.com", 2, credential.New(testUser, testPass))
	credentialtest.NeverShows(t, c, taboos()...)
	if username, password := c.Reveal(); username != testUser || password != testPass {
		t.Error("Reveal does not reveal")
	}
	if want := "https://…@hub.example.com"; c.Key != want {
		t.Errorf("got key %s, want %s", c.Key, want)
	}
}

func TestSecretIsHidden(t *testing.T) {
	const content = `{"auths":{"h.io":{"username":"` + testUser + `","password":"` + testPass + `"}}}`
	credentialtest.NeverShows(t, configJSON("regcred", content), taboos()...)
	credentialtest.NeverShows(t, NodeFile{Path: "/config.json", Data: credential.Redact([]byte(content))}, taboos()...)
}

// TestLookupIsHidden puts the credentials wherever they could occur.
func TestLookupIsHidden(t *testing.T) {
	for name, secret := range credentialEverywhere() {
		l := find(t, "h.io/a", secret)
		if form := credentialtest.Find(everything(l), taboos()...); form != "" {
			t.Errorf("%s: shows %q in %s", name, form, everything(l))
		}
	}
}

// everything returns all texts of a Lookup.
func everything(l Lookup) string {
	near := l.Nearest()
	text := credentialtest.Shown(l) + credentialtest.Shown(near) + fmt.Sprint(l.Broken) + fmt.Sprintf("%#v", l.Broken)
	for _, s := range l.Secrets {
		text += s.Reason
		for _, e := range s.Entries {
			text += e.Key + e.Host + e.Text
		}
	}
	return text
}

func credentialEverywhere() map[string]Secret {
	auth := basic(testUser, testPass)
	pair := testUser + ":" + testPass
	out := map[string]Secret{}
	for name, content := range map[string]string{
		"auth":               `{"auths":{"h.io":{"auth":"` + auth + `"}}}`,
		"fields":             `{"auths":{"h.io":{"username":"` + testUser + `","password":"` + testPass + `"}}}`,
		"tokens":             `{"auths":{"h.io":{"identitytoken":"` + testPass + `","registrytoken":"` + testPass + `"}}}`,
		"auth in the clear":  `{"auths":{"h.io":{"auth":"` + pair + `"}}}`,
		"auth with a blank":  `{"auths":{"h.io":{"auth":" ` + auth + `"}}}`,
		"auth twice encoded": `{"auths":{"h.io":{"auth":"` + encode(auth) + `"}}}`,
		"no colon":           `{"auths":{"h.io":{"auth":"` + encode(testPass) + `"}}}`,
		"entry is a string":  `{"auths":{"h.io":"` + pair + `"}}`,
		"password in a list": `{"auths":{"h.io":{"username":"` + testUser + `","password":["` + testPass + `"]}}}`,
		"list is a string":   `{"auths":"` + pair + `"}`,
		"document":           `"` + pair + `"`,
		"not JSON":           pair,
		"broken JSON":        `{"auths":{"h.io":{"auth":"` + auth + `"` + testPass + `}}}`,
		"HttpHeaders":        `{"HttpHeaders":{"Authorization":["` + auth + `"]}}`,
		"store":              `{"credHelpers":{"h.io":"` + testPass + `"}}`,
		"encoded document":   encode(`{"auths":{"h.io":{"auth":"` + auth + `"}}}`),
	} {
		out[name], out["dockercfg "+name] = configJSON("s", content), legacy("s", content)
	}
	for _, key := range []string{
		pair + "@h.io", "https://" + pair + "@h.io/v2/", "oci://" + pair + "@h.io", "https://a@" + pair + "@h.io", pair,
		"h.io/" + pair + "@x", "h.io?" + pair, "h.io#" + pair, "h.io/?" + pair + "@x/y", " " + pair + "@h.io", "//" + pair + "@h.io",
	} {
		out["key "+key] = withKeys("s", key)
	}
	return out
}
