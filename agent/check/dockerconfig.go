package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/credential"
)

// node is the machine as the kubelet's files show it, with the docker
// configuration that the user names in the place of the kubelet's own.
type node struct {
	*kubelet.Kubelet
	file *keyring.NodeFile
}

// DockerConfig implements probe.NodeCredentials.
func (n node) DockerConfig() (keyring.NodeFile, kubelet.Presence) {
	if n.file != nil {
		return *n.file, kubelet.Present
	}
	return n.Kubelet.DockerConfig()
}

// dockerConfig reads a docker configuration as the kubelet would read it as its
// node's, and says what of it has no effect. Nothing of its content is in an
// error.
func dockerConfig(name string) (file *keyring.NodeFile, notes []string, err error) {
	data, err := read(name, strings.NewReader("")) // "-" has no credentials
	if err != nil {
		return nil, nil, err
	}
	file = &keyring.NodeFile{Path: name, Data: credential.Redact(data), Legacy: filepath.Base(name) == ".dockercfg"}
	if info, err := os.Stat(name); err == nil {
		file.Changed = info.ModTime()
	}
	if !file.Valid() {
		return nil, nil, errors.New(name + ": the kubelet does not take such a file: it is no JSON, or an entry of it cannot be decoded")
	}
	return file, unrun(name, file), nil
}

// unrun says what there is in a file besides auths: a docker client would run
// programs for it, and the kubelet does not (credentialprovider.ReadDockerConfigFile).
func unrun(name string, file *keyring.NodeFile) []string {
	var config struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredsStore  string                     `json:"credsStore"`
		CredHelpers map[string]string          `json:"credHelpers"`
	}
	if file.Legacy || json.Unmarshal(file.Data.Reveal(), &config) != nil {
		return nil
	}
	var parts []string
	if config.CredsStore != "" {
		parts = append(parts, "credsStore "+config.CredsStore)
	}
	if len(config.CredHelpers) > 0 {
		parts = append(parts, "credHelpers for "+strings.Join(slices.Sorted(maps.Keys(config.CredHelpers)), ", "))
	}
	switch {
	case len(parts) > 0:
		return []string{fmt.Sprintf("%s: %s: not run, as the kubelet does not run it; only auths count", name, strings.Join(parts, " and "))}
	case len(config.Auths) == 0:
		return []string{name + ": has no auths, and so no credentials"}
	}
	return nil
}
