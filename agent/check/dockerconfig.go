package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri/credential"
)

// node is this machine as the kubelet's files describe it, with the docker
// config of --docker-config, if any, in place of the kubelet's own.
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

// UnseenDockerConfigs returns no file: the machine need not be a node.
func (n node) UnseenDockerConfigs() []string { return nil }

// dockerConfig reads a docker config as the kubelet reads the node's. notes say
// what in it has no effect. Errors contain nothing of its content.
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
		return nil, nil, errors.New(name + ": invalid docker config: it is not JSON or has an entry that cannot be decoded, so the kubelet ignores the whole file")
	}
	return file, ignored(name, file), nil
}

// ignored returns notes on credential helpers in a docker config, which a docker
// client runs and the kubelet does not (credentialprovider.ReadDockerConfigFile),
// and on missing auths.
func ignored(name string, file *keyring.NodeFile) []string {
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
		return []string{fmt.Sprintf("%s: %s ignored: the kubelet runs no credential helpers; only auths count", name, strings.Join(parts, " and "))}
	case len(config.Auths) == 0:
		return []string{name + ": no auths, so no credentials"}
	}
	return nil
}

// fromFiles reads pull secrets from the manifests. A secret that is not in them
// may exist in the cluster, so it is reported as unread, not as missing.
type fromFiles struct{ objects *objects }

// Secret implements probe.Secrets.
func (s fromFiles) Secret(_ context.Context, namespace, name string) (kube.Secret, error) {
	k := key{namespace, name}
	if secret, ok := s.objects.secrets[k]; ok {
		return secret, nil
	}
	why := fmt.Sprintf("secret %s in namespace %s is not in the files, so it was not tried; it may exist in the cluster", name, namespace)
	if others := s.objects.elsewhere(k); len(others) > 0 {
		why += fmt.Sprintf("; the files have that name only in other namespaces: %s", strings.Join(others, ", "))
	}
	return kube.Secret{}, probe.Unread(why)
}
