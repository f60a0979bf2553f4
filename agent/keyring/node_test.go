package keyring

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

// TestNodeFile checks that the node's file is a separate keyring after that of the
// secrets (UnionDockerKeyring.Lookup).
func TestNodeFile(t *testing.T) {
	file := func(content string) *NodeFile {
		return &NodeFile{Path: "/var/lib/kubelet/config.json", Data: credential.Redact([]byte(content))}
	}
	old := func(content string) *NodeFile {
		return &NodeFile{Path: "/.dockercfg", Legacy: true, Data: credential.Redact([]byte(content))}
	}
	const path = "/var/lib/kubelet/config.json"
	auth := `{"auth":"` + basic("u", testPass) + `"}`
	for _, tt := range []struct {
		name, image string
		secrets     []Secret
		node        *NodeFile
		want        string
	}{
		{"none", "r.io/a", []Secret{withKeys("s", "r.io")}, nil, "1 s r.io"},
		{"alone", "r.io/a", nil, file(`{"auths":{"r.io":` + auth + `}}`), "1 " + path + " r.io"},
		{"after the secrets, in an order of its own", "r.io/a/b", []Secret{withKeys("s", "r.io", "*.io")},
			file(`{"auths":{"r.io":` + auth + `,"r.io/a":` + auth + `,"other.io":` + auth + `}}`),
			"1 s r.io; 2 s *.io; 3 " + path + " r.io/a; 4 " + path + " r.io"},
		{"keys that mean the same share a place", "r.io/a", []Secret{withKeys("s", "r.io")},
			file(`{"auths":{"r.io":` + auth + `,"https://r.io/v2/":` + auth + `}}`),
			"1 s r.io; 2 " + path + " https://r.io/v2/; 2 " + path + " r.io"},
		{"a fallback to Docker Hub of its own", "nginx", []Secret{withKeys("s", "docker.io")},
			file(`{"auths":{"https://index.docker.io/v1/":` + auth + `}}`),
			"1 s docker.io; 2 " + path + " https://index.docker.io/v1/"},
		{"legacy", "r.io/a", nil, old(`{"r.io":` + auth + `}`), "1 /.dockercfg r.io"},
		{"legacy content in config.json", "r.io/a", nil, file(`{"r.io":` + auth + `}`), ""},
		{"stores are not asked", "r.io/a", nil, file(`{"credHelpers":{"r.io":"ecr-login"}}`), ""},
		{"a malformed secret hides it", "r.io/a", []Secret{configJSON("s", "{")}, file(`{"auths":{"r.io":` + auth + `}}`), ""},
	} {
		l := Find(imageOf(tt.image), Sources{Secrets: tt.secrets, Node: tt.node})
		if got := places(l); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if (l.Node != nil) != (tt.node != nil) || l.Node != nil && l.Node.Name != tt.node.Path {
			t.Errorf("%s: the state of the node's file is %+v", tt.name, l.Node)
		}
		for _, c := range l.Credentials {
			if c.OfNode != strings.HasPrefix(c.Source, "/") {
				t.Errorf("%s: %v is of the node: %t", tt.name, c, c.OfNode)
			}
		}
	}
}

// TestNodeFileValid checks which files ReadDockerConfigFile ignores.
func TestNodeFileValid(t *testing.T) {
	for content, want := range map[string]bool{
		"": false, "{": false, "{}": true, "null": true, `{"auths":[]}`: false, `{"auths":{"r.io":{"auth":"%%"}}}`: false,
		`{"auths":{}}`: true, `{"auths":{"r.io":{}}}`: true, `{"credsStore":"x"}`: true, `"x"`: false,
	} {
		if got := (NodeFile{Data: credential.Redact([]byte(content))}).Valid(); got != want {
			t.Errorf("%s: valid %t, want %t", content, got, want)
		}
	}
	if (NodeFile{Legacy: true, Data: credential.Redact([]byte(`{"auths":{"r.io":{"auth":"%%"}}}`))}).Valid() == false {
		t.Error("the older kind was read as the newer")
	}
}

func TestSourcesAreHidden(t *testing.T) {
	n := NodeFile{Path: "/config.json", Data: credential.Redact([]byte(`{"auths":{"h.io":{"username":"` + testUser + `","password":"` + testPass + `"}}}`))}
	from := Sources{Node: &n}
	credentialtest.NeverShows(t, from, taboos()...)
	l := Find(imageOf("h.io/a"), from)
	if len(l.Credentials) != 1 {
		t.Fatalf("%d credentials", len(l.Credentials))
	}
	credentialtest.NeverShows(t, l, taboos()...)
	if c := l.Credentials[0]; !c.OfNode || c.Source != "/config.json" || c.Key != "h.io" || c.Order != 1 {
		t.Errorf("got %v", c)
	}
}

// TestCovers checks URLsMatchStr, as used for credential providers' matchImages.
func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		pattern, image string
		want           bool
	}{
		{"*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com/team/app:1", true},
		{"*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.cn-north-1.amazonaws.com.cn/team/app", false},
		{"*.azurecr.io", "x.azurecr.io/a", true},
		{"*.azurecr.io", "azurecr.io/a", false},
		{"gcr.io", "gcr.io/a", true},
		{"gcr.io/a", "gcr.io/ab:1", true},
		{"gcr.io/b", "gcr.io/a", false},
		{"registry.io:8080/path", "registry.io:8080/path/x", true},
		{"registry.io", "registry.io:8080/path", false},
		{"docker.io", "nginx", true},
		{"index.docker.io", "nginx", false},
		{"https://gcr.io", "gcr.io/a", false},
		{"gcr.io/v2/", "gcr.io/a", false},
		{"[", "gcr.io/a", false},
		{"gcr.io", "Not/Valid", false},
	} {
		if got := Covers(tt.pattern, imageOf(tt.image)); got != tt.want {
			t.Errorf("%s covers %s: %t, want %t", tt.pattern, tt.image, got, tt.want)
		}
	}
}
