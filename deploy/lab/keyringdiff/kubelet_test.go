package keyringdiff

import (
	"errors"
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/credentialprovider"
	credentialprovidersecrets "k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"

	"github.com/whypull/whypull/agent/keyring"
)

// attempt is one login, from either side.
type attempt struct {
	Secret, Username, Password string
}

// answer is what either side says of one case.
type answer struct {
	Image    string
	Attempts []attempt
	Err      error // the image does not parse
	Broken   error // a secret does not
}

// askKubelet does what the kubelet's makeLookupPullCredentialsFunc does, with
// nothing on the node itself.
func askKubelet(image string, secrets []keyring.Secret) answer {
	repo, _, _, err := parsers.ParseImageName(image)
	if err != nil {
		return answer{Err: err}
	}
	ring, err := credentialprovidersecrets.MakeDockerKeyring(apiSecrets(secrets), credentialprovider.UnionDockerKeyring{})
	if err != nil {
		return answer{Image: repo, Broken: err}
	}
	found, any := ring.Lookup(repo)
	out := answer{Image: repo}
	if any != (len(found) > 0) {
		out.Err = errors.New("the kubelet's keyring contradicts itself")
	}
	for _, f := range found {
		out.Attempts = append(out.Attempts, attempt{f.Source.Secret.Name, f.Username, f.Password})
	}
	return out
}

func apiSecrets(secrets []keyring.Secret) []v1.Secret {
	out := make([]v1.Secret, len(secrets))
	for i, s := range secrets {
		out[i].Namespace, out[i].Name, out[i].UID = s.Namespace, s.Name, types.UID(strconv.Itoa(i))
		out[i].Type, out[i].Data = v1.SecretType(s.Type), s.Data
	}
	return out
}

func askOurs(image string, secrets []keyring.Secret) (answer, keyring.Lookup) {
	l, err := keyring.Find(image, secrets)
	out := answer{Image: l.Image, Err: err, Broken: l.Broken}
	for _, login := range l.Logins {
		username, password := login.Reveal()
		out.Attempts = append(out.Attempts, attempt{login.Source, username, password})
	}
	return out, l
}
