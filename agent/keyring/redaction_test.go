package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// shown is everything that printing and encoding make of a value.
func shown(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, v)
	if g, ok := v.(fmt.GoStringer); ok {
		b.WriteString(g.GoString())
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(encoded)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v, "g", []any{v})
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v, "g", map[string]any{"v": v})
	return b.String()
}

// leaks returns the first credential in a text, also in the shapes in which
// fmt and the encoders would show it.
func leaks(text string) string {
	for _, secret := range []string{testUser, testPass, basic(testUser, testPass)} {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
			strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"), encode(secret)[:8]} {
			if strings.Contains(text, form) {
				return form
			}
		}
	}
	return ""
}

func TestLoginIsHidden(t *testing.T) {
	l := NewLogin("regcred", "https://"+testUser+":"+testPass+"@hub.example.com", 2, testUser, testPass)
	type inside struct {
		login  Login
		Login  Login
		list   []Login
		ptr    *Login
		byName map[string]Login
	}
	for name, v := range map[string]any{
		"value": l, "pointer": &l, "list": []Login{l}, "map": map[string]Login{"x": l},
		"field": inside{l, l, []Login{l}, &l, map[string]Login{"x": l}},
		"any":   []any{l, &l},
		"error": fmt.Errorf("with %v: %w", l, errors.New("x")).Error(),
	} {
		text := shown(t, v) + fmt.Sprintf("%p", v) // fmt asks no method for %p
		if form := leaks(text); form != "" {
			t.Errorf("%s: shows %q in %s", name, form, text)
		}
	}
	if username, password := l.Reveal(); username != testUser || password != testPass {
		t.Error("Reveal does not reveal")
	}
	if want := `login 2 of secret "regcred" for "https://…@hub.example.com"`; l.String() != want {
		t.Errorf("got %s, want %s", l, want)
	}
}

func TestZeroLogin(t *testing.T) {
	var l Login
	if !l.Empty() || shown(t, l) == "" {
		t.Error("the zero login is not empty")
	}
}

func TestSecretIsHidden(t *testing.T) {
	s := configJSON("regcred", `{"auths":{"h.io":{"username":"`+testUser+`","password":"`+testPass+`"}}}`)
	for name, v := range map[string]any{
		"value": s, "pointer": &s, "list": []Secret{s}, "map": map[string]Secret{"x": s}, "field": struct{ S Secret }{s},
	} {
		got := shown(t, v)
		if form := leaks(got); form != "" {
			t.Errorf("%s: shows %q in %s", name, form, got)
		}
		if name != "pointer" && !strings.Contains(got, "regcred") {
			t.Errorf("%s: does not name the secret: %s", name, got)
		}
	}
}

// TestLookupIsHidden puts the credentials wherever they could be met.
func TestLookupIsHidden(t *testing.T) {
	for name, secret := range credentialEverywhere() {
		l := find(t, "h.io/a", secret)
		if form := leaks(everything(t, l)); form != "" {
			t.Errorf("%s: shows %q in %s", name, form, everything(t, l))
		}
	}
}

// everything that a Lookup can be made to say.
func everything(t *testing.T, l Lookup) string {
	t.Helper()
	near, _ := l.Nearest()
	text := shown(t, l) + shown(t, near) + fmt.Sprint(l.Broken) + fmt.Sprintf("%#v", l.Broken)
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
