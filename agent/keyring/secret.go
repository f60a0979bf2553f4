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
	switch s.Type {
	case TypeDockerConfigJSON:
		return DataDockerConfigJSON
	case TypeDockercfg:
		return DataDockercfg
	default:
		return ""
	}
}
