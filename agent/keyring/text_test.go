package keyring

import (
	"cmp"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/asserttest"
)

var update = flag.Bool("update", false, "update the golden file")

// TestSentences compares every sentence for people with testdata.
func TestSentences(t *testing.T) {
	var b strings.Builder
	writeWhyNot(t, &b)
	writeDoubts(t, &b)
	writeProblems(t, &b)
	writeFaults(t, &b)
	asserttest.Golden(t, filepath.Join("testdata", "sentences.golden"), *update, b.String())
}

func writeWhyNot(t *testing.T, b *strings.Builder) {
	b.WriteString("# Why an entry does not match\n")
	for _, tt := range []struct{ image, key string }{
		{"hub.test2.company.com/nginx/nginx:1.12.1", "hub.test.company.com"},
		{"team/app", "hub.example.com"},
		{"docker.io/team/app", "hub.example.com"},
		{"hub.example.com/app", "https://index.docker.io/v1/"},
		{"hub.example.com/app", "hub.example.com:443"},
		{"hub.example.com:443/app", "https://hub.example.com"},
		{"hub.example.com:8443/app", "hub.example.com:5000"},
		{"hub.example.com/app", "hub.example.com/v2"},
		{"hub.example.com/app", "hub.example.com/other"},
		{"hub.example.com/team/app", "hub.example.com/team/*"},
		{"hub.example.com/team", "hub.example.com/team/"},
		{"hub.example.com/app:1", "hub.example.com/app:1"},
		{"a.hub.example.com/app", "*.example.com"},
		{"example.com/app", "*.example.com"},
		{"hub.example.com/app", "Hub.Example.com"},
		{"hub.example.com/app", "oci://hub.example.com"},
		{"hub.example.com/app", "HTTPS://hub.example.com"},
		{"hub.example.com/app", "hub.example.com "},
		{"hub.example.com/app", "hub.example.com:*"},
		{"hub.example.com/app", "hub.example.com/%zz"},
		{"hub.example.com/app", testUser + ":" + testPass},
		{"hub.example.com/app", "https://" + testUser + ":" + testPass + "@hub2.example.com/v2/?token=x"},
		{"nginx", "https://index.docker.io/v1"},
		{"nginx", "registry-1.docker.io"},
		{"[::1]/app", "[::1]"},
	} {
		l := find(t, tt.image, withKeys("s", tt.key))
		writeEntry(b, l, tt.image)
	}
	writeEntry(b, find(t, "nginx", withKeys("s", "https://index.docker.io/v1/", "docker.io")), "nginx")
}

func writeEntry(b *strings.Builder, l Lookup, image string) {
	for _, e := range l.Secrets[0].Entries {
		if e.Text != "" {
			fmt.Fprintf(b, "%s | %s | %s\n", image, cmp.Or(string(e.Why), string(e.Doubt)), e.Text)
		}
	}
}

func writeDoubts(t *testing.T, b *strings.Builder) {
	b.WriteString("\n# What looks wrong about a credential\n")
	for _, entry := range []string{
		`{"identitytoken":"t"}`,
		`{}`,
		`{"password":"p"}`,
		`{"auth":"dTo="}`,
		`{"username":"u","password":"p\n"}`,
		`{"auth":"dTpw","username":"u","password":"q"}`,
	} {
		writeEntry(b, find(t, "h.io/a", configJSON("s", `{"auths":{"h.io":`+entry+`}}`)), "h.io/a")
	}
	writeEntry(b, find(t, "localhost/a", withKeys("s", "https://index.docker.io/v1/")), "localhost/a")
}

func writeProblems(t *testing.T, b *strings.Builder) {
	b.WriteString("\n# Secrets that the kubelet takes nothing from\n")
	for _, s := range []Secret{
		{Type: "Opaque"},
		{Type: TypeDockerConfigJSON},
		{Type: TypeDockerConfigJSON, Data: dataOf(DataDockerConfigJSON, nil)},
		{Type: TypeDockerConfigJSON, Data: dataOf(DataDockercfg, []byte("{}"))},
		{Type: TypeDockercfg, Data: dataOf(DataDockerConfigJSON, []byte("{}"))},
		configJSON("", `{}`),
		configJSON("", `{"auths":{}}`),
		configJSON("", `{"credsStore":"desktop"}`),
		configJSON("", `{"h.io":{"auth":"dTpw"}}`),
		legacy("", `{}`),
		legacy("", `{"auths":{"h.io":{"auth":"dTpw"}}}`),
		configJSON("", `{"auths":{"h.io":{"identitytoken":"t"}}}`),
		configJSON("", `{"auths":{"h.io":{}},"credsStore":"desktop"}`),
		configJSON("", `{"auths":{"h.io":{}}}`),
	} {
		state := find(t, "h.io/a", s).Secrets[0]
		fmt.Fprintf(b, "%s | %s\n", state.Problem, state.Reason)
	}
}

func writeFaults(t *testing.T, b *strings.Builder) {
	b.WriteString("\n# Secrets that break the lookup\n")
	encoded := basic(testUser, testPass)
	for _, content := range []string{
		`{"auths":{"h.io":{"auth":"%%%"}}}`,
		`{"auths":{"h.io":{"auth":"` + testUser + `:` + testPass + `"}}}`,
		`{"auths":{"h.io":{"auth":"$(REGISTRY_AUTH)"}}}`,
		`{"auths":{"h.io":{"auth":"{{ .Values.auth }}"}}}`,
		`{"auths":{"h.io":{"auth":" ` + encoded + `"}}}`,
		`{"auths":{"h.io":{"auth":"Pz8-Pjp-fn4="}}}`,
		`{"auths":{"h.io":{"auth":"dXNlcg=="}}}`,
		`{"auths":{"h.io":{"auth":"` + encode(encoded) + `"}}}`,
		`{"auths":{"h.io":{"auth":5}}}`,
		`{"auths":{"h.io":{"username":"u","password":["` + testPass + `"]}}}`,
		`{"auths":{"h.io":"` + encoded + `"}}`,
		`{"auths":{"h.io":true}}`,
		`{"auths":{"h.io":{"auth":"%"},"b.io":{"auth":"%"},"c.io":{"auth":"%"}}}`,
		`{"auths":[]}`,
		`{"auths":"x"}`,
		`{"HttpHeaders":{"a":1}}`,
		`[]`,
		`{"auths":{"h.io":{"auth":"dTpw"}}`,
		`{"auths":{"h.io":{"auth":"dTpw"},}}`,
		"\xef\xbb\xbf{}",
		encode(`{"auths":{}}`),
	} {
		fmt.Fprintln(b, find(t, "h.io/a", configJSON("s", content)).Broken)
	}
	fmt.Fprintln(b, find(t, "h.io/a", legacy("s", `{"username":"u","password":"p"}`)).Broken)
}
