package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// hash is the kubelet's hashAuthConfig, over the fields that BasicDockerKeyring.Add
// sets.
func (e entry) hash() string {
	encoded, _ := json.Marshal(struct { //nolint:gosec // hashed, not shown
		Username string `json:"username,omitempty"`
		Password string `json:"password,omitempty"`
		Email    string `json:"email,omitempty"`
	}{e.username, e.password, e.email})
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
