package keyringdiff

import (
	"encoding/json"
	"testing"
	"time"

	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/util/parsers"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
)

// TestProvidersSameAsKubelet hands the entries of the grammar's secrets to both sides as
// the answers of credential provider plugins, which the kubelet adds to one keyring
// (externalCredentialProviderKeyring.Lookup).
func TestProvidersSameAsKubelet(t *testing.T) {
	silenceKubelet()
	seed, cases := number(t, "KEYRINGDIFF_SEED", 1), number(t, "KEYRINGDIFF_CASES", 200_000)/20
	found, several := 0, 0
	for n := range cases {
		image, from := newGrammar(seed, n).next()
		repo, _, _, err := parsers.ParseImageName(image)
		if err != nil {
			continue
		}
		ring := &credentialprovider.BasicDockerKeyring{}
		var answers []keyring.Provided
		for _, s := range from.Secrets {
			var decoded credentialprovider.DockerConfigJSON
			if json.Unmarshal(s.Data.Reveal()[keyring.DataDockerConfigJSON], &decoded) != nil {
				continue
			}
			theirs, ours := credentialprovider.DockerConfig{}, map[string]credential.Credential{}
			for key, e := range decoded.Auths { // as provide does
				theirs[key] = credentialprovider.DockerConfigEntry{Username: e.Username, Password: e.Password}
				ours[key] = credential.New(e.Username, e.Password)
			}
			ring.Add(nil, theirs)
			answers = append(answers, keyring.Provided{Name: s.Name, Credentials: credential.Redact(ours)})
		}
		var want, got []attempt
		theirs, _ := ring.Lookup(repo)
		for _, a := range theirs {
			want = append(want, attempt{Username: a.Username, Password: a.Password, Hash: a.AuthConfigHash})
		}
		ours, _ := keyring.FindProvided(imageOf(image), answers, 1, time.Time{})
		for _, c := range ours {
			a := attempt{Hash: c.Hash()}
			a.Username, a.Password = c.Reveal()
			got = append(got, a)
		}
		if difference := differ(answer{Attempts: want}, answer{Attempts: got}, keyring.Lookup{Credentials: ours}); difference != "" {
			t.Errorf("KEYRINGDIFF_SEED=%d case %d: %s\nimage %q\n%s\nkubelet %+v\nours    %+v", seed, n, difference, image, show(from), want, got)
		}
		if len(want) > 0 {
			found++
		}
		if len(want) > 1 {
			several++
		}
	}
	t.Logf("seed %d: %d cases, %d with credentials, %d with several", seed, cases, found, several)
	if uint64(found) < cases/20 || uint64(several) < cases/200 {
		t.Error("the cases do not exercise the rules")
	}
}
