package keyring

import (
	"time"

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

// Secret is what the kubelet looks at in a pull secret.
type Secret struct {
	Namespace, Name, Type string
	// UID is the object's; empty if unknown.
	UID string
	// Changed is when the secret was last written; zero if unknown.
	Changed time.Time
	// Data is the secret's decoded data; only DataDockerConfigJSON and
	// DataDockercfg matter.
	Data credential.Redacted[map[string][]byte]
}

// has tells that the data key is there and not empty: what the kubelet asks
// before it reads a secret.
func (s Secret) has(dataKey string) bool { return len(s.Data.Reveal()[dataKey]) > 0 }

// dataKey is where a secret of this type keeps its content, "" if the kubelet
// does not read secrets of this type (secretsToTrackedDockerConfigs).
func (s Secret) dataKey() string {
	switch s.Type {
	case TypeDockerConfigJSON:
		return DataDockerConfigJSON
	case TypeDockercfg:
		return DataDockercfg
	default:
		return ""
	}
}
