package keyring

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri/credential"
)

// The user and password of the tests are words that occur in nothing else, so
// that a leak can be searched for.
const (
	testUser = "zarathustra"
	testPass = "xylophon-hunter2"
)

func basic(username, password string) string { return encode(username + ":" + password) }

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// dataOf returns the data of a secret with one key.
func dataOf(key string, content []byte) credential.Redacted[map[string][]byte] {
	return credential.Redact(map[string][]byte{key: content})
}

// configJSON returns a pull secret of the current type with this content.
func configJSON(name, content string) Secret {
	return Secret{Name: name, Type: TypeDockerConfigJSON,
		Data: dataOf(DataDockerConfigJSON, []byte(content))}
}

// legacy returns a pull secret of the older type with this content.
func legacy(name, content string) Secret {
	return Secret{Name: name, Type: TypeDockercfg,
		Data: dataOf(DataDockercfg, []byte(content))}
}

// withKeys returns a valid pull secret for these registry keys. The user of each
// entry is its key, the password the test's.
func withKeys(name string, keys ...string) Secret {
	var entries []string
	for _, k := range keys {
		entries = append(entries, fmt.Sprintf(`%q:{"auth":%q}`, k, basic("for "+k, testPass)))
	}
	return configJSON(name, `{"auths":{`+strings.Join(entries, ",")+`}}`)
}

func find(t *testing.T, image string, secrets ...Secret) Lookup {
	t.Helper()
	parsed := imageOf(image)
	if !parsed.Valid() {
		t.Fatalf("%q does not parse", image)
	}
	return Find(parsed, Sources{Secrets: secrets})
}

// places lists the credentials as "order secret key".
func places(l Lookup) string {
	var out []string
	for _, c := range l.Credentials {
		out = append(out, fmt.Sprintf("%d %s %s", c.Order, c.Source, c.Key))
	}
	return strings.Join(out, "; ")
}

// imageOf returns an image as package podwatch parses it.
func imageOf(written string) diagnosis.Image {
	image, _ := podwatch.ParseImage(written)
	return image
}
