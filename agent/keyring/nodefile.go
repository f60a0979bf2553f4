package keyring

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

// NodeFile is a docker configuration on the node.
type NodeFile struct {
	// Path is the file's path on the node.
	Path string
	// Legacy tells that it is a .dockercfg, which has the registries at the top,
	// and not a config.json.
	Legacy bool
	// Changed is when the file was last written; zero if unknown.
	Changed time.Time
	// Data is the file's content.
	Data credential.Redacted[[]byte]
}

// Valid tells whether the kubelet takes the file. One that it does not take it
// passes over, and looks for the next; one that it takes ends the search,
// whatever is in it (credentialprovider.ReadDockerConfigFile).
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

// Covers tells whether a pattern, such as one of a credential provider's
// matchImages, stands for the image by the rules that the kubelet has for the
// keys of secrets (credentialprovider.URLsMatchStr): but nothing is cut off the
// pattern, neither a scheme nor /v1/ or /v2/. False if the image does not parse.
func Covers(pattern string, image diagnosis.Image) bool {
	return image.Valid() && newTarget(image).matches(pattern)
}
