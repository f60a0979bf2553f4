package keyring

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// The types of pull secrets that the kubelet reads, and the key of each in the
// secret's data.
const (
	TypeDockerConfigJSON = "kubernetes.io/dockerconfigjson"
	TypeDockercfg        = "kubernetes.io/dockercfg"
	DataDockerConfigJSON = ".dockerconfigjson"
	DataDockercfg        = ".dockercfg"
)

// Secret is what the kubelet looks at in a pull secret. Print, log or encode
// one and its data stays hidden. Other than with a Login, that is only as good
// as the printer: fmt asks the methods neither of unexported fields nor for
// %p, so keep a Secret no longer than needed.
type Secret struct {
	Namespace, Name, Type string
	// UID is the object's; empty if unknown.
	UID string
	// Changed is when the secret was last written; zero if unknown.
	Changed time.Time
	// Data is the secret's decoded data; only DataDockerConfigJSON and
	// DataDockercfg matter.
	Data map[string][]byte
}

// String names the secret without showing its data.
func (s Secret) String() string {
	return "secret " + strconv.Quote(s.Namespace+"/"+s.Name) + " of type " + strconv.Quote(s.Type)
}

// GoString is String, so that %#v shows no more than %v.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb is.
func (s Secret) Format(f fmt.State, _ rune) { writeOnly(f, s.String()) }

// LogValue is the secret's name and type for slog.
func (s Secret) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("namespace", s.Namespace), slog.String("name", s.Name), slog.String("type", s.Type))
}

// MarshalJSON writes the secret's name and type. It returns no error.
func (s Secret) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Type      string `json:"type"`
	}{s.Namespace, s.Name, s.Type})
}

// has tells that the data key is there and not empty: what the kubelet asks
// before it reads a secret.
func (s Secret) has(dataKey string) bool { return len(s.Data[dataKey]) > 0 }

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
