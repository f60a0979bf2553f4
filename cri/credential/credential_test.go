package credential_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

const (
	user     = "zarathustra"
	password = "xylophon-hunter2"
)

func TestNothingIsShown(t *testing.T) {
	credentialtest.NeverShows(t, credential.New(user, password), user, password)
	credentialtest.NeverShows(t, credential.Redact(password), password)
	credentialtest.NeverShows(t, credential.Redact([]byte(password)), password)
	credentialtest.NeverShows(t, credential.Redact(http.Header{"X-Key": {password}}), password)
}

// The helper has to find what is shown.
func TestWhatIsShownIsFound(t *testing.T) {
	for name, v := range map[string]any{
		"text": password, "bytes": []byte(password), "field": struct{ p string }{password},
		"map": map[string][]byte{"x": []byte(password)}, "error": http.Header{"X": {password}},
	} {
		if credentialtest.Find(credentialtest.Shown(v), password) == "" {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestReveal(t *testing.T) {
	c := credential.New(user, password)
	if u, p := c.Reveal(); u != user || p != password || c.Incomplete() {
		t.Error("does not reveal what it holds")
	}
	var zero credential.Credential
	if u, p := zero.Reveal(); u != "" || p != "" || !zero.Incomplete() {
		t.Error("the zero value is complete")
	}
	if !credential.New("", password).Incomplete() || !credential.New(user, "").Incomplete() {
		t.Error("half a credential is complete")
	}
	if text := credentialtest.Shown(c); !strings.Contains(text, "REDACTED") {
		t.Errorf("does not say that it is redacted: %s", text)
	}
}
