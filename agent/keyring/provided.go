package keyring

import (
	"maps"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
)

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
