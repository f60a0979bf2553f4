package keyringdiff

import (
	"encoding/json"
	"errors"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/credentialprovider"
	credentialprovidersecrets "k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/podwatch"
)

// attempt is one pair of credentials, from either side.
type attempt struct {
	Secret, UID, Username, Password, Hash string
	OfNode                                bool
}

// answer is the result of either side for one case.
type answer struct {
	Image    string
	Attempts []attempt
	Err      error // the image does not parse
	Broken   error // a secret does not parse
}

// askKubelet reimplements the kubelet's makeLookupPullCredentialsFunc, with a docker
// configuration on the node and no plugins.
func askKubelet(image string, from keyring.Sources) answer {
	repo, _, _, err := parsers.ParseImageName(image)
	if err != nil {
		return answer{Err: err}
	}
	defaults := credentialprovider.UnionDockerKeyring{nodeKeyring(from.Node), &credentialprovider.BasicDockerKeyring{}}
	ring, err := credentialprovidersecrets.MakeDockerKeyring(apiSecrets(from.Secrets), defaults)
	if err != nil {
		return answer{Image: repo, Broken: err}
	}
	found, any := ring.Lookup(repo)
	out := answer{Image: repo}
	if any != (len(found) > 0) {
		out.Err = errors.New("the kubelet's keyring contradicts itself")
	}
	for _, f := range found {
		a := attempt{Username: f.Username, Password: f.Password, Hash: f.AuthConfigHash, OfNode: f.Source == nil}
		if f.Source != nil {
			a.Secret, a.UID = f.Source.Secret.Name, f.Source.Secret.UID
		}
		out.Attempts = append(out.Attempts, a)
	}
	return out
}

// nodeKeyring returns what providersDockerKeyring.Lookup makes of a file; it is empty
// if the kubelet rejects the file.
func nodeKeyring(n *keyring.NodeFile) credentialprovider.DockerKeyring {
	ring := &credentialprovider.BasicDockerKeyring{}
	if n != nil {
		if cfg, err := nodeConfig(*n); err == nil {
			ring.Add(nil, cfg)
		}
	}
	return ring
}

// nodeConfig decodes like readDockerConfigJSONFileFromBytes, which is not exported, and
// ReadDockerConfigFileFromBytes.
func nodeConfig(n keyring.NodeFile) (credentialprovider.DockerConfig, error) {
	if n.Legacy {
		return credentialprovider.ReadDockerConfigFileFromBytes(n.Data.Reveal())
	}
	var cfg credentialprovider.DockerConfigJSON
	err := json.Unmarshal(n.Data.Reveal(), &cfg)
	return cfg.Auths, err
}

func apiSecrets(secrets []keyring.Secret) []v1.Secret {
	out := make([]v1.Secret, len(secrets))
	for i, s := range secrets {
		out[i].Namespace, out[i].Name, out[i].UID = "ns", s.Name, types.UID(s.UID)
		out[i].Type, out[i].Data = v1.SecretType(s.Type), s.Data.Reveal()
	}
	return out
}

// imageOf returns an image as the agent parses it.
func imageOf(written string) diagnosis.Image {
	image, _ := podwatch.ParseImage(written)
	return image
}

// askOurs skips an invalid file, as agent/kubelet does.
func askOurs(image string, from keyring.Sources) (answer, keyring.Lookup) {
	if from.Node != nil && !from.Node.Valid() {
		from.Node = nil
	}
	parsed, err := podwatch.ParseImage(image)
	l := keyring.Find(parsed, from)
	out := answer{Image: parsed.Name(), Err: err, Broken: l.Broken}
	for _, c := range l.Credentials {
		a := attempt{UID: c.UID, Hash: c.Hash(), OfNode: c.OfNode}
		a.Username, a.Password = c.Reveal()
		if !c.OfNode {
			a.Secret = c.Source
		}
		out.Attempts = append(out.Attempts, a)
	}
	return out, l
}
