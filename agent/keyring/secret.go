package keyring

import (
	"maps"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

// The types of pull secrets that the kubelet reads, and the key of each in the
// secret's data.
const (
	TypeDockerConfigJSON = "kubernetes.io/dockerconfigjson"
	TypeDockercfg        = "kubernetes.io/dockercfg"
	DataDockerConfigJSON = ".dockerconfigjson"
	DataDockercfg        = ".dockercfg"
)

// Secret holds the parts of a pull secret that the kubelet reads.
type Secret struct {
	Name, Type string
	// UID is the object's UID; empty if unknown.
	UID string
	// Changed is when the secret was last written; zero if unknown.
	Changed time.Time
	// Data is the secret's decoded data; only DataDockerConfigJSON and
	// DataDockercfg matter.
	Data credential.Redacted[map[string][]byte]
}

// has reports whether the data key exists and is not empty, as the kubelet checks
// before it reads a secret.
func (s Secret) has(dataKey string) bool { return len(s.Data.Reveal()[dataKey]) > 0 }

// dataKey returns the data key of the secret's type; "" if the kubelet does not read
// secrets of this type (secretsToTrackedDockerConfigs).
func (s Secret) dataKey() string {
	return map[string]string{TypeDockerConfigJSON: DataDockerConfigJSON, TypeDockercfg: DataDockercfg}[s.Type]
}

// NodeFile is a docker config file on the node.
type NodeFile struct {
	// Path is the file's path on the node.
	Path string
	// Legacy reports whether it is a .dockercfg, which has the registries at the top
	// level, and not a config.json.
	Legacy bool
	// Changed is when the file was last written; zero if unknown.
	Changed time.Time
	// Data is the file's content.
	Data credential.Redacted[[]byte]
}

// Valid reports whether the kubelet accepts the file. The kubelet uses the first
// valid file, whatever is in it (credentialprovider.ReadDockerConfigFile).
func (n NodeFile) Valid() bool { return n.read().problem != Malformed }

func (n NodeFile) read() content {
	c := content{name: n.Path, changed: n.Changed, ofNode: true}
	dataKey := DataDockerConfigJSON
	if n.Legacy {
		dataKey = DataDockercfg
	}
	c.fill(dataKey, n.Data.Reveal())
	return c
}

// Covers reports whether a pattern, such as one in a credential provider's
// matchImages, matches the image by the kubelet's rules for the keys of secrets
// (credentialprovider.URLsMatchStr), except that no scheme and no /v1/ or /v2/ is
// removed. It returns false if the image does not parse.
func Covers(pattern string, image diagnosis.Image) bool {
	return image.Valid() && newTarget(image).matches(pattern)
}

// Provided is what a credential provider plugin of the kubelet has returned.
type Provided struct {
	// Name is the plugin's name.
	Name string
	// Credentials are by registry key, which may hold a password too.
	Credentials credential.Redacted[map[string]credential.Credential]
}

// FindProvided looks the image up in what credential provider plugins have returned,
// in the order of the kubelet's configuration. The plugins are one keyring
// (externalCredentialProviderKeyring.Lookup), which the kubelet asks after those of
// Find; first is the position in its order of attempts that follows theirs. There is
// one state per plugin. Nothing is found for an image that does not parse.
func FindProvided(image diagnosis.Image, all []Provided, first int, now time.Time) ([]Credential, []SecretState) {
	if !image.Valid() {
		return nil, make([]SecretState, len(all))
	}
	contents := make([]content, len(all))
	for i, p := range all {
		contents[i] = p.read()
	}
	return look(contents, newTarget(image), first, now)
}

func (p Provided) read() content {
	c := content{name: p.Name, ofNode: true, ofProvider: true}
	found := p.Credentials.Reveal()
	for _, key := range slices.Sorted(maps.Keys(found)) {
		e := entry{key: key}
		e.effective, e.address = effectiveKey(key)
		e.username, e.password = found[key].Reveal()
		c.entries = append(c.entries, e)
	}
	return c
}
