package keyring

import (
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
