package keyring

import (
	"fmt"
	"strings"
	"testing"
)

// TestImageName compares with ParseImageName, as makeLookupPullCredentialsFunc calls it.
func TestImageName(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a1", 32)
	for _, tt := range []struct{ image, name, host string }{
		{"nginx", "docker.io/library/nginx", "docker.io"},
		{"nginx:1.27", "docker.io/library/nginx", "docker.io"},
		{"team/app" + digest, "docker.io/team/app", "docker.io"},
		{"index.docker.io/x/y:1", "docker.io/x/y", "docker.io"},
		{"docker.io/nginx", "docker.io/library/nginx", "docker.io"},
		{"registry-1.docker.io/x/y", "registry-1.docker.io/x/y", "registry-1.docker.io"},
		{"registry.hub.docker.com/x/y", "registry.hub.docker.com/x/y", "registry.hub.docker.com"},
		{"localhost/app", "localhost/app", "localhost"},
		{"localhost:5000/app:1" + digest, "localhost:5000/app", "localhost:5000"},
		{"hub.example.com:443/app", "hub.example.com:443/app", "hub.example.com:443"},
		{"MyHost/app", "MyHost/app", "MyHost"},
		{"[::1]:5000/app", "[::1]:5000/app", "[::1]:5000"},
		// reference.Domain says "" of this one.
		{"hub_x.example.com/app", "hub_x.example.com/app", "hub_x.example.com"},
	} {
		l, name := find(t, tt.image), newTarget(imageOf(tt.image)).name
		if name != tt.name || l.Host != tt.host {
			t.Errorf("%s: got %q on %q, want %q on %q", tt.image, name, l.Host, tt.name, tt.host)
		}
	}
}

func TestImageDoesNotParse(t *testing.T) {
	secrets := []Secret{withKeys("s", "hub.example.com", "index.docker.io")}
	for _, image := range []string{"hub.example.com/app:a/b", "", "UPPER/Case:::x", strings.Repeat("a1", 32), "a@sha256:12", "https://hub.example.com/app"} {
		if l := Find(imageOf(image), Sources{Secrets: secrets}); len(l.Credentials)+len(l.Secrets) > 0 || l.Host != "" {
			t.Errorf("%q: found %+v", image, l)
		}
	}
}

// TestContent checks what DockerConfigEntry.UnmarshalJSON and its callers accept and
// reject. Credentials are written as user/password, in order.
func TestContent(t *testing.T) {
	good := basic("u", "p:q") // the password has a colon in it
	const broken = "BROKEN"
	for _, tt := range []struct{ name, content, want string }{
		{"auth", `{"auths":{"r.io":{"auth":"` + good + `"}}}`, "u/p:q"},
		{"fields", `{"auths":{"r.io":{"username":"u","password":"p"}}}`, "u/p"},
		{"auth overrules fields", `{"auths":{"r.io":{"auth":"` + good + `","username":"x","password":"y"}}}`, "u/p:q"},
		{"empty auth does not", `{"auths":{"r.io":{"auth":"","username":"x","password":"y"}}}`, "x/y"},
		{"null auth does not", `{"auths":{"r.io":{"auth":null,"username":"x","password":"y"}}}`, "x/y"},
		{"names of fields in any case", `{"AUTHS":{"r.io":{"Username":"u","PASSWORD":"p"}}}`, "u/p"},
		{"the last of two fields", `{"auths":{"r.io":{"username":"a","username":"u","password":"p"}}}`, "u/p"},
		{"unpadded", `{"auths":{"r.io":{"auth":"dTpw"}}}`, "u/p"},
		{"padding left off", `{"auths":{"r.io":{"auth":"dXM6cA"}}}`, "us/p"},
		{"line break inside", `{"auths":{"r.io":{"auth":"dX\nM6cA==\n"}}}`, "us/p"},
		{"line break in the password", `{"auths":{"r.io":{"auth":"` + encode("u:p\n") + `"}}}`, "u/p\n"},
		{"empty user and password", `{"auths":{"r.io":{"auth":"Og=="}}}`, "/"},
		{"null entry", `{"auths":{"r.io":null}}`, "/"},
		{"empty entry", `{"auths":{"r.io":{}}}`, "/"},
		{"identitytoken only", `{"auths":{"r.io":{"identitytoken":"t"}}}`, "/"},
		{"registrytoken only", `{"auths":{"r.io":{"registrytoken":"t"}}}`, "/"},
		{"the last of two entries", `{"auths":{"r.io":{"username":"x"},"r.io":{"password":"p"}}}`, "/p"},
		{"two lists are merged", `{"auths":{"r.io":{"username":"x"}},"auths":{"r.io/a":{"username":"y"}}}`, "y/; x/"},
		{"null empties the list", `{"auths":{"r.io":{"username":"x"}},"auths":null}`, ""},
		{"null document", `null`, ""},
		{"empty document", `{}`, ""},
		{"no list", `{"credsStore":"desktop"}`, ""},
		{"shape of dockercfg", `{"r.io":{"auth":"dTpw"}}`, ""},
		{"other things", `{"auths":{"r.io":{"username":"u","x":[1]}},"x":1,"HttpHeaders":{"a":"b"}}`, "u/"},

		{"leading blank", `{"auths":{"r.io":{"auth":" dTpw"}}}`, broken},
		{"trailing blank", `{"auths":{"r.io":{"auth":"dTpw "}}}`, broken},
		{"URL-safe alphabet", `{"auths":{"r.io":{"auth":"Pz8-Pjp-fn4="}}}`, broken},
		{"padding where none is due", `{"auths":{"r.io":{"auth":"dTpw="}}}`, broken},
		{"not base64", `{"auths":{"r.io":{"auth":"%%%"}}}`, broken},
		{"no colon", `{"auths":{"r.io":{"auth":"dXNlcg=="}}}`, broken},
		{"auth is a number", `{"auths":{"r.io":{"auth":1}}}`, broken},
		{"password is a number", `{"auths":{"r.io":{"auth":"dTpw","password":1}}}`, broken},
		{"email is a list", `{"auths":{"r.io":{"auth":"dTpw","email":[]}}}`, broken},
		{"entry is a string", `{"auths":{"r.io":"dTpw"}}`, broken},
		{"another entry is bad", `{"auths":{"r.io":{"auth":"dTpw"},"x":{"auth":"%"}}}`, broken},
		{"a bad entry is replaced", `{"auths":{"r.io":{"auth":"%"},"r.io":{"auth":"dTpw"}}}`, broken},
		{"list is a string", `{"auths":"x"}`, broken},
		{"list is an array", `{"auths":[]}`, broken},
		{"list is a number", `{"auths": 1}`, broken},
		{"list is false", `{"auths":false}`, broken},
		{"list is wrong, then right", `{"auths":1,"auths":{"r.io":{"auth":"dTpw"}}}`, broken},
		{"HttpHeaders of numbers", `{"auths":{"r.io":{"auth":"dTpw"}},"HttpHeaders":{"a":1}}`, broken},
		{"document is an array", `[]`, broken},
		{"blank document", ` `, broken},
		{"rest behind it", `{} x`, broken},
		{"byte order mark", "\xef\xbb\xbf{}", broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := find(t, "r.io/a/b", configJSON("s", tt.content))
			if got := revealed(l); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func revealed(l Lookup) string {
	if l.Broken != nil {
		return "BROKEN"
	}
	var out []string
	for _, c := range l.Credentials {
		username, password := c.Reveal()
		out = append(out, username+"/"+password)
	}
	return strings.Join(out, "; ")
}

// TestDockercfg checks that the older type has the entries at the top level.
func TestDockercfg(t *testing.T) {
	for _, tt := range []struct{ content, want string }{
		{`{"r.io":{"auth":"dTpw"}}`, "u/p"},
		{`{"r.io":{"auth":"dTpw"},"r.io/a":{"username":"x"}}`, "x/; u/p"},
		{`{"auths":{"r.io":{"auth":"dTpw"}}}`, ""},
		{`{"username":"u","password":"p"}`, "BROKEN"},
		{`null`, ""},
		{`"x"`, "BROKEN"},
	} {
		if got := revealed(find(t, "r.io/a/b", legacy("s", tt.content))); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.content, got, tt.want)
		}
	}
}

// TestProblem checks that, like secretsToTrackedDockerConfigs, a secret is ignored
// unless its type and data key belong together.
func TestProblem(t *testing.T) {
	entry := []byte(`{"auths":{"r.io":{"auth":"dTpw"}}}`)
	of := func(typ, dataKey string, content []byte) Secret {
		return Secret{Name: "s", Type: typ, Data: dataOf(dataKey, content)}
	}
	for _, tt := range []struct {
		name        string
		secret      Secret
		want        Problem
		credentials int
	}{
		{"good", of(TypeDockerConfigJSON, DataDockerConfigJSON, entry), "", 1},
		{"opaque", of("Opaque", DataDockerConfigJSON, entry), WrongType, 0},
		{"no type", of("", DataDockerConfigJSON, entry), WrongType, 0},
		{"no data", Secret{Name: "s", Type: TypeDockerConfigJSON}, MissingData, 0},
		{"other data key", of(TypeDockerConfigJSON, DataDockercfg, entry), MissingData, 0},
		{"other data key, the other way", of(TypeDockercfg, DataDockerConfigJSON, entry), MissingData, 0},
		{"empty data", of(TypeDockerConfigJSON, DataDockerConfigJSON, nil), EmptyData, 0},
		{"empty data of length 0", of(TypeDockerConfigJSON, DataDockerConfigJSON, []byte{}), EmptyData, 0},
		{"malformed", configJSON("s", "{"), Malformed, 0},
		{"shape of dockercfg", configJSON("s", `{"r.io":{"auth":"dTpw"}}`), WrongShape, 0},
		{"shape of dockerconfigjson", legacy("s", string(entry)), WrongShape, 0},
		{"no entries", configJSON("s", `{"auths":{}}`), NoEntries, 0},
		{"credential store", configJSON("s", `{"credHelpers":{"r.io":"ecr-login"}}`), NoEntries, 0},
		{"token", configJSON("s", `{"auths":{"r.io":{"identitytoken":"t"}}}`), OnlyTokens, 1},
		{"empty credential", configJSON("s", `{"auths":{"r.io":{}},"credsStore":"desktop"}`), EmptyCredentials, 1},
		{"one of two is empty", configJSON("s", `{"auths":{"r.io":{},"x":{"auth":"dTpw"}}}`), "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := find(t, "r.io/a", tt.secret)
			got := l.Secrets[0]
			if got.Problem != tt.want || len(l.Credentials) != tt.credentials {
				t.Errorf("got %q (%s) and %d credentials, want %q and %d", got.Problem, got.Reason, len(l.Credentials), tt.want, tt.credentials)
			}
			if (got.Reason == "") != (tt.want == "") {
				t.Errorf("the reason of %q is %q", got.Problem, got.Reason)
			}
		})
	}
}

func TestEmptyCredential(t *testing.T) {
	l := find(t, "r.io/a", configJSON("s", `{"auths":{"r.io":{"identitytoken":"t"},"r.io/a":{"auth":"dTpw"}}}`))
	if len(l.Credentials) != 2 || l.Credentials[0].Incomplete() || !l.Credentials[1].Incomplete() {
		t.Errorf("got %v", l.Credentials)
	}
}

// TestBroken checks that, like MakeDockerKeyring, the lookup ends at the first
// malformed secret, without the other secrets and the node's credentials.
func TestBroken(t *testing.T) {
	l := find(t, "r.io/a",
		withKeys("good", "r.io"), configJSON("bad", `{"auths":{"x":{"auth":"%"}}}`), configJSON("worse", `[`))
	if l.Broken == nil || !strings.HasPrefix(l.Broken.Error(), `pull secret "bad": `) {
		t.Fatalf("got %v, want the secret bad", l.Broken)
	}
	if len(l.Credentials) != 0 {
		t.Errorf("got credentials from a broken lookup: %v", l.Credentials)
	}
	if !l.Secrets[0].Matches() {
		t.Error("the state of the good secret does not say that it would match")
	}
	if got := l.Secrets[1].Entries[0]; got.Why != Undecodable || got.Matches {
		t.Errorf("got %+v for the faulty entry", got)
	}
}

// TestOrder checks the order: keys reverse-sorted, for one key the order of the
// secrets, with duplicates.
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		secrets []Secret
		want    string
	}{
		{"long paths first, then the host, then patterns",
			[]Secret{withKeys("s", "*.io", "h.io", "h.io/team", "h.io/team/app")},
			"1 s h.io/team/app; 2 s h.io/team; 3 s h.io; 4 s *.io"},
		{"one key, the order of the secrets",
			[]Secret{withKeys("b", "h.io"), withKeys("a", "h.io", "h.io/team")},
			"1 a h.io/team; 2 b h.io; 3 a h.io"},
		{"a secret twice",
			[]Secret{withKeys("a", "h.io"), withKeys("a", "h.io")},
			"1 a h.io; 2 a h.io"},
		{"keys that mean the same share a place",
			[]Secret{withKeys("a", "h.io", "https://h.io/v2/", "http://h.io"), withKeys("b", "h.io")},
			"1 a h.io; 1 a http://h.io; 1 a https://h.io/v2/; 4 b h.io"},
		{"the key of Docker Hub only if there is no other",
			[]Secret{withKeys("a", "h.io"), withKeys("b", "https://index.docker.io/v1/")},
			"1 a h.io"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := places(find(t, "h.io/team/app:1", tt.secrets...)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHubFallback(t *testing.T) {
	hubSecret := withKeys("hub", "https://index.docker.io/v1/")
	for _, tt := range []struct {
		image   string
		secrets []Secret
		want    string
	}{
		{"nginx", []Secret{hubSecret}, "1 hub https://index.docker.io/v1/"},
		{"index.docker.io/a/b", []Secret{hubSecret}, "1 hub https://index.docker.io/v1/"},
		{"localhost/app", []Secret{hubSecret}, "1 hub https://index.docker.io/v1/"},
		{"MyHost/app", []Secret{hubSecret}, "1 hub https://index.docker.io/v1/"},
		{"localhost:5000/app", []Secret{hubSecret}, ""},
		{"quay.io/app", []Secret{hubSecret}, ""},
		{"registry-1.docker.io/library/nginx", []Secret{hubSecret}, ""},
		{"nginx", []Secret{hubSecret, withKeys("plain", "docker.io")}, "1 plain docker.io"},
		{"localhost/app", []Secret{hubSecret, withKeys("local", "localhost")}, "1 local localhost"},
		{"nginx", []Secret{withKeys("two", "index.docker.io", "https://index.docker.io/v2/")},
			"1 two https://index.docker.io/v2/; 1 two index.docker.io"},
	} {
		if got := places(find(t, tt.image, tt.secrets...)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.image, got, tt.want)
		}
	}
	if got := find(t, "localhost/app", hubSecret).Secrets[0].Entries[0].Doubt; got != HubCredentialLeak {
		t.Errorf("got %q for Docker Hub's credential on localhost", got)
	}
}

// TestManyEntries checks that a secret with thousands of keys has a bounded state and
// that no match is lost.
func TestManyEntries(t *testing.T) {
	keys := []string{"hub.example.com", "zzz.example.com"}
	for i := range 5000 {
		keys = append(keys, fmt.Sprintf("h%d.example.com", i))
	}
	state := find(t, "zzz.example.com/app", withKeys("s", keys...)).Secrets[0]
	if len(state.Entries) != 501 || !state.Matches() {
		t.Errorf("got %d entries, matches %v", len(state.Entries), state.Matches())
	}
}

// TestInputIsNotChanged checks that the caller's secrets are not changed and that map
// order has no influence.
func TestInputIsNotChanged(t *testing.T) {
	secrets := []Secret{withKeys("a", "h.io", "https://h.io", "*.io", "http://h.io/v2/"), withKeys("b", "h.io/team", "x")}
	before := string(secrets[0].Data.Reveal()[DataDockerConfigJSON])
	want := fmt.Sprintf("%+v", find(t, "h.io/team/app", secrets...))
	for range 50 {
		if got := fmt.Sprintf("%+v", find(t, "h.io/team/app", secrets...)); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
	}
	if string(secrets[0].Data.Reveal()[DataDockerConfigJSON]) != before {
		t.Error("the secret was changed")
	}
}
