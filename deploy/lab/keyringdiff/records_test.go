package keyringdiff

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/credentialprovider"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/images/pullmanager"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
)

// recordCase is a node with records of pulled images, and a pod that wants one of them.
type recordCase struct {
	*rand.Rand
	t        *testing.T
	root     string
	accessor pullmanager.PullRecordsAccessor
	broken   bool // a record does not decode
}

func (c *recordCase) pick(from ...string) string { return from[c.IntN(len(from))] }

func (c *recordCase) image() string {
	return c.pick("nginx", "nginx:1.27", "docker.io/library/nginx:1.27", "docker.io/nginx", "library/nginx", "index.docker.io/library/nginx",
		"hub.test/team/app:1", "hub.test/team/app@sha256:"+fmt.Sprintf("%064d", 1), "hub.test/team/app:1@sha256:"+fmt.Sprintf("%064d", 1), "hub.test:5000/app", "Not/Valid", "")
}

// name returns the name that a record is stored under; not always one that the kubelet
// writes.
func (c *recordCase) name(image string) string {
	if c.IntN(2) == 0 {
		name, _, _ := strings.Cut(image, "@")
		return strings.TrimSuffix(strings.TrimSuffix(name, ":1.27"), ":1")
	}
	return c.pick("nginx", "docker.io/library/nginx", "docker.io/nginx", "library/nginx", "hub.test/team/app", "hub.test:5000/app", "nginx:1.27")
}

func (c *recordCase) secret() kubeletconfig.ImagePullSecret {
	hash := ""
	if c.IntN(4) > 0 {
		hash = "h" + strconv.Itoa(c.IntN(2+c.IntN(1000)))
	}
	return kubeletconfig.ImagePullSecret{
		UID: c.pick("u1", "u2"), Namespace: c.pick("team", "other"), Name: c.pick("a", "b"), CredentialHash: hash,
	}
}

func (c *recordCase) account() kubeletconfig.ImagePullServiceAccount {
	return kubeletconfig.ImagePullServiceAccount{UID: c.pick("u1", "u2"), Namespace: c.pick("team", "other"), Name: c.pick("default", "b")}
}

func (c *recordCase) credentials() kubeletconfig.ImagePullCredentials {
	var out kubeletconfig.ImagePullCredentials
	n := c.IntN(3)
	if c.IntN(8) == 0 { // around the limit above which names alone do not count
		n = 98 + c.IntN(4)
	}
	for range n {
		out.KubernetesSecrets = append(out.KubernetesSecrets, c.secret())
	}
	for range c.IntN(2) {
		out.KubernetesServiceAccounts = append(out.KubernetesServiceAccounts, c.account())
	}
	out.NodePodsAccessible = c.IntN(6) == 0
	return out
}

// fill writes the records with the kubelet's own code.
func (c *recordCase) fill(image, ref string) {
	for range c.IntN(4) {
		r := &kubeletconfig.ImagePulledRecord{
			ImageRef: c.pick(ref, ref, ref, "sha256:other"), CredentialMapping: map[string]kubeletconfig.ImagePullCredentials{},
		}
		for range c.IntN(4) {
			r.CredentialMapping[c.name(image)] = c.credentials()
		}
		c.must(c.accessor.WriteImagePulledRecord(klog.Background(), r))
		c.spoil("pulled", r.ImageRef, r.ImageRef == ref)
	}
	for range c.IntN(2) {
		i := c.pick(image, c.image())
		c.must(c.accessor.WriteImagePullIntent(klog.Background(), i))
		c.spoil("pulling", i, i == image)
	}
}

// spoil sometimes changes a record on disk: to the older version, and to what the
// kubelet rejects or ignores.
func (c *recordCase) spoil(dir, key string, asked bool) {
	file := filepath.Join(c.root, "var/lib/kubelet/image_manager", dir, fmt.Sprintf("sha256-%x", sha256.Sum256([]byte(key))))
	data, err := os.ReadFile(file)
	c.must(err)
	bad := true
	switch c.IntN(20) {
	case 0:
		data, bad = bytes.ReplaceAll(data, []byte("v1beta1"), []byte("v1alpha1")), false
	case 1:
		data = data[:c.IntN(len(data))]
	case 2:
		data = bytes.Replace(data, []byte("{"), []byte(`{"unknown":1,`), 1)
	case 3:
		data = bytes.Replace(data, []byte("v1beta1"), []byte(c.pick("v1", "v2beta1", "")), 1)
	case 4:
		data = bytes.Replace(data, []byte(`"kind":"Image`), []byte(`"kind":"Other`), 1)
	case 5: // a record in the file of another key
		data, bad = bytes.ReplaceAll(data, []byte(`"image`), []byte(`"Image`)), true
	case 6:
		c.must(os.Rename(file, file+".tmp"))
		return
	case 7:
		other, err := json.Marshal(key + "x")
		c.must(err)
		was, err := json.Marshal(key)
		c.must(err)
		data, bad = bytes.Replace(data, was, other, 1), false
	default:
		bad = false
	}
	c.broken = c.broken || bad && asked
	c.must(os.WriteFile(file, data, 0o600))
}

func (c *recordCase) must(err error) {
	if err != nil {
		c.t.Helper()
		c.t.Fatal(err)
	}
}

// TestVerdictSameAsKubelet asks both sides whether a pod may use an image.
func TestVerdictSameAsKubelet(t *testing.T) {
	silenceKubelet()
	seed, cases := number(t, "KEYRINGDIFF_SEED", 1), min(number(t, "KEYRINGDIFF_CASES", 5_000), 50_000)
	verdicts, dir := map[diagnosis.Record]uint64{}, t.TempDir()
	for n := range cases {
		verdicts[compareVerdicts(t, dir, seed, n)]++
		if t.Failed() {
			t.Fatalf("KEYRINGDIFF_SEED=%d case %d", seed, n)
		}
	}
	t.Logf("seed %d: %d cases: %v", seed, cases, verdicts)
	for _, v := range []diagnosis.Record{
		"", diagnosis.RecordNotPulled, diagnosis.RecordNodeWide, diagnosis.RecordThisPod,
		diagnosis.RecordOtherCredentials, diagnosis.RecordNoCredentials, diagnosis.RecordOtherSpelling, diagnosis.RecordPulling,
	} {
		if verdicts[v] < cases/200 {
			t.Errorf("verdict %q only in %d cases", v, verdicts[v])
		}
	}
}

func compareVerdicts(t *testing.T, dir string, seed, n uint64) diagnosis.Record {
	c := &recordCase{Rand: rand.New(rand.NewPCG(seed, n)), t: t}
	var err error
	c.root, err = os.MkdirTemp(dir, "")
	c.must(err)
	defer os.RemoveAll(c.root) //nolint:errcheck // t.TempDir removes it too
	c.accessor, err = pullmanager.NewFSPullRecordsAccessor(klog.Background(), filepath.Join(c.root, "var/lib/kubelet"))
	c.must(err)
	// Created before there are intents: it would ask a runtime about those.
	manager, err := pullmanager.NewImagePullManager(t.Context(), c.accessor, pullmanager.NeverVerifyPreloadedPullPolicy(), nil, 1)
	c.must(err)

	q := kubelet.Question{Image: imageOf(c.image()), ImageRef: c.pick("sha256:one", "0123abcd")}
	var secrets []kubeletconfig.ImagePullSecret
	for range c.IntN(3) {
		s := c.secret()
		secrets = append(secrets, s)
		q.Secrets = append(q.Secrets, kubelet.Secret{UID: s.UID, Namespace: s.Namespace, Name: s.Name, CredentialHash: s.CredentialHash})
	}
	var account *kubeletconfig.ImagePullServiceAccount
	if c.IntN(3) == 0 {
		a := c.account()
		account, q.ServiceAccount = &a, kubelet.ServiceAccount{UID: a.UID, Namespace: a.Namespace, Name: a.Name}
	}
	c.fill(q.Image.Written, q.ImageRef)

	answer := kubelet.New(kubelet.Options{Root: c.root}).Use(q) // ours first: the kubelet writes what it learns
	verdict := answer.Record
	mustPull := func(image string) bool {
		must, err := manager.MustAttemptImagePull(t.Context(), image, q.ImageRef,
			func() ([]kubeletconfig.ImagePullSecret, *kubeletconfig.ImagePullServiceAccount, error) {
				return secrets, account, nil
			})
		c.must(err)
		return must
	}
	written := q.Image.Written
	must := mustPull(written)
	if want, known := demandsPull(verdict); known && want != must || verdict == "" && (!must || !c.broken) {
		t.Errorf("we say %q, the kubelet says %t (broken: %t): %+v", verdict, must, c.broken, q)
	}
	if answer.Recorded != "" {
		if other := answer.Recorded + strings.TrimPrefix(written, answer.Written); other == written || mustPull(other) {
			t.Errorf("the kubelet wants a pull of %q too, which we name instead of %q", other, written)
		}
	}
	return verdict
}

func demandsPull(v diagnosis.Record) (must, known bool) {
	switch v {
	case diagnosis.RecordOtherCredentials, diagnosis.RecordNoCredentials, diagnosis.RecordOtherSpelling, diagnosis.RecordPulling:
		return true, true
	case diagnosis.RecordNotPulled, diagnosis.RecordNodeWide, diagnosis.RecordThisPod:
		return false, true
	case "":
		return false, false
	default:
		return false, true // nothing is hidden or unknown here
	}
}

// TestDockerConfigSameAsKubelet compares which of the node's files is used.
func TestDockerConfigSameAsKubelet(t *testing.T) {
	silenceKubelet()
	places := []string{"var/lib/kubelet/config.json", "config.json", ".docker/config.json", "var/lib/kubelet/.dockercfg", ".dockercfg"}
	for n := range uint64(2000) {
		r := rand.New(rand.NewPCG(1, n))
		root := t.TempDir()
		for _, dir := range []string{"usr", "var/lib/kubelet", ".docker"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for i, place := range places {
			content := []string{"", "{", "{}", "null", `{"auths":{"p%d":{}}}`, `{"p%d":{}}`, `{"auths":[]}`}[r.IntN(7)]
			if r.IntN(2) == 0 {
				if err := os.WriteFile(filepath.Join(root, place), []byte(strings.ReplaceAll(content, "%d", strconv.Itoa(i))), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		compareFiles(t, root, n)
		if t.Failed() {
			return
		}
	}
}

func compareFiles(t *testing.T, root string, n uint64) {
	t.Helper()
	dir := filepath.Join(root, "var/lib/kubelet")
	cfg, err := credentialprovider.ReadDockerConfigJSONFile([]string{dir, root, filepath.Join(root, ".docker")})
	if err != nil {
		cfg, err = credentialprovider.ReadDockercfgFile([]string{dir, root})
	}
	file, presence := kubelet.New(kubelet.Options{Root: root}).DockerConfig()
	if (err == nil) != (presence == kubelet.Present) {
		t.Errorf("case %d: the kubelet says %v, we say %q", n, err, presence)
		return
	}
	var ours credentialprovider.DockerConfig
	if presence == kubelet.Present {
		if ours, err = nodeConfig(file); err != nil {
			t.Error(errors.Join(err, fmt.Errorf("case %d: %s", n, file.Path)))
		}
	}
	a, _ := json.Marshal(cfg)
	b, _ := json.Marshal(ours)
	if presence == kubelet.Present && !bytes.Equal(a, b) {
		t.Errorf("case %d: the kubelet has %s, we have %s of %s", n, a, b, file.Path)
	}
}
