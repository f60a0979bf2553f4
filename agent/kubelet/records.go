package kubelet

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path"
	"slices"

	"github.com/distribution/reference"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Verdict is whether the kubelet lets a pod use an image that is on the node
// without pulling it again (KEP-2535). It assumes the default
// imagePullCredentialsVerificationPolicy, NeverVerifyPreloadedImages, since the
// setting is not visible here. With NeverVerify, every pod may use every image.
// With AlwaysVerify, images of unknown origin are verified too, so
// NotPulledByKubelet is equivalent to NoCredentialsRecorded; with
// NeverVerifyAllowlistedImages that holds unless the image is on the allowlist.
type Verdict string

// The verdicts. The zero value says nothing.
const (
	// VerdictNotVisible: the records are not visible or do not decode.
	VerdictNotVisible Verdict = ""
	// VerdictDisabled: there are no records at the expected path. Either the
	// kubelet keeps none (it is older than Kubernetes 1.35 or runs without the
	// feature KubeletEnsureSecretPulledImages), and every pod may use every
	// image; or it keeps them under another --root-dir. The two look alike, so
	// this does not settle whether the pod may use the image. An empty
	// directory is VerdictNotVisible, because a mount of type DirectoryOrCreate
	// creates one.
	VerdictDisabled Verdict = "Disabled"
	// VerdictNotPulledByKubelet: there is no record; every pod may use the
	// image.
	VerdictNotPulledByKubelet Verdict = "NotPulledByKubelet"
	// VerdictNodeWide: recorded as pulled without credentials or with the
	// node's own; every pod may use the image.
	VerdictNodeWide Verdict = "NodeWide"
	// VerdictThisPod: recorded for credentials that the pod has.
	VerdictThisPod Verdict = "ThisPod"
	// VerdictOtherCredentials: recorded under the name that the pod uses, for
	// credentials that the pod does not have.
	VerdictOtherCredentials Verdict = "OtherCredentials"
	// VerdictNoCredentialsRecorded: recorded, but with no credentials under the
	// name that the pod uses, so no credentials are accepted. A pull that a
	// kubelet restart interrupted leaves such a record
	// (PullManager.initialize), and so does a pull of the same image under
	// another name.
	VerdictNoCredentialsRecorded Verdict = "NoCredentialsRecorded"
	// VerdictOtherSpelling: like NoCredentialsRecorded, but the image is
	// recorded under another spelling of the same name, such as
	// "docker.io/library/nginx" for "nginx", and the pod might use it under
	// that spelling.
	VerdictOtherSpelling Verdict = "OtherSpelling"
	// VerdictPulling: the kubelet has started to pull the image and has not
	// recorded the end; until then the pod has to pull it too.
	VerdictPulling Verdict = "Pulling"
	// VerdictUndecided: recorded for some credentials, but not all of the pod's
	// are known.
	VerdictUndecided Verdict = "Undecided"
)

// Answer is the answer to a Question.
type Answer struct {
	Verdict Verdict
	// Recorded is the image name in the record and Written the one in the pod,
	// both without tag and digest. Both are set for VerdictOtherSpelling only;
	// they differ in spelling only.
	Recorded, Written string
	// OwnNamespace reports whether credentials of the pod's own namespace are
	// recorded, so that its pods have used the image on this node.
	OwnNamespace bool
}

// Question asks whether a pod may use an image.
type Question struct {
	// Image is the image in the pod's spec.
	Image diagnosis.Image
	// ImageRef is the runtime's ID of the image (CRI Image.id).
	ImageRef string
	// Secrets are the credentials of the pod's secrets that match the image.
	Secrets []Secret
	// ServiceAccount is the pod's; its UID may be unknown.
	ServiceAccount ServiceAccount
	// Incomplete reports whether the pod may have more matching credentials
	// than Secrets.
	Incomplete bool
}

// Secret identifies a credential of a pull secret, as the kubelet's records do.
type Secret struct {
	UID            string `json:"uid"`
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	CredentialHash string `json:"credentialHash"`
}

// ServiceAccount identifies a service account, as the kubelet's records do.
type ServiceAccount struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// record is ImagePulledRecord and intent is ImagePullIntent of
// kubelet.config.k8s.io/v1beta1; v1alpha1 of Kubernetes 1.33 and 1.34 has the
// same fields.
type record struct {
	metav1.TypeMeta   `json:",inline"`
	LastUpdatedTime   metav1.Time            `json:"lastUpdatedTime"`
	ImageRef          string                 `json:"imageRef"`
	CredentialMapping map[string]credentials `json:"credentialMapping"`
}

type credentials struct {
	Secrets            []Secret         `json:"kubernetesSecrets"`
	ServiceAccounts    []ServiceAccount `json:"kubernetesServiceAccounts"`
	NodePodsAccessible bool             `json:"nodePodsAccessible"`
}

type intent struct {
	metav1.TypeMeta `json:",inline"`
	Image           string `json:"image"`
}

func (k *Kubelet) recordsDir() string { return path.Join(k.dir, "image_manager") }

// Verdict answers like the kubelet's PullManager.MustAttemptImagePull, which
// returns true for OtherCredentials, NoCredentialsRecorded, OtherSpelling and
// Pulling. The kubelet writes its in-memory copy through to the files that are
// read here.
func (k *Kubelet) Verdict(q Question) Answer {
	key := q.ImageRef + "\x00" + q.Image.Written
	s, presence := readCached(k.images, key, func() (stored, Presence) { return k.lookUp(q.ImageRef, q.Image.Written) })
	if presence != Present {
		return Answer{Verdict: s.verdict}
	}
	return s.record.answer(q)
}

// stored is what the records say about an image: a record if Present, else a
// verdict that is the same for every pod. Record and intent are read and cached
// together, because the kubelet writes one before it removes the other.
type stored struct {
	record  record
	verdict Verdict
}

func (k *Kubelet) lookUp(ref, image string) (stored, Presence) {
	if v, ok := k.keepsRecords(); !ok {
		return stored{verdict: v}, Absent
	}
	var r record
	switch presence := k.decode("pulled", ref, "ImagePulledRecord", &r); {
	case presence == NotVisible:
		return stored{}, NotVisible
	case presence == Present && r.ImageRef == ref:
		return stored{record: r}, Present
	}
	var i intent
	switch presence := k.decode("pulling", image, "ImagePullIntent", &i); {
	case presence == NotVisible:
		return stored{}, NotVisible
	case presence == Present && i.Image == image:
		return stored{verdict: VerdictPulling}, Absent
	default:
		return stored{verdict: VerdictNotPulledByKubelet}, Absent
	}
}

// keepsRecords reports whether there are records to read, and the verdict if
// not. The kubelet creates both directories at startup; their parent may exist
// only because of a mount.
func (k *Kubelet) keepsRecords() (Verdict, bool) {
	dir := k.recordsDir()
	switch {
	case k.host.IsDir(dir + "/pulled"):
		return "", true
	case !k.isVisible(dir), k.host.IsDir(dir) && len(k.host.List(dir)) == 0:
		return VerdictNotVisible, false
	default:
		return VerdictDisabled, false
	}
}

// decode reads the record of a key. A record that does not decode counts as not
// visible: this version of the kubelet would pull again, but a later version
// may have written it.
func (k *Kubelet) decode(dir, key, kind string, into interface {
	GroupVersionKind() schema.GroupVersionKind
}) Presence {
	sum := sha256.Sum256([]byte(key))
	f, presence, err := k.read(path.Join(k.recordsDir(), dir, "sha256-"+hex.EncodeToString(sum[:])))
	if presence != Present {
		return presence
	}
	if err != nil {
		return NotVisible
	}
	strict, err := json.UnmarshalStrict(f.Data, into)
	if err != nil || len(strict) > 0 {
		return NotVisible
	}
	got := into.GroupVersionKind()
	if got.Group != "kubelet.config.k8s.io" || got.Kind != kind || got.Version != "v1beta1" && got.Version != "v1alpha1" {
		return NotVisible
	}
	return Present
}

// answer is the part of MustAttemptImagePull that evaluates a record.
func (r record) answer(q Question) Answer {
	if !q.Image.Valid() {
		return Answer{Verdict: VerdictNoCredentialsRecorded}
	}
	name := q.Image.Untagged() // like trimImageTagDigest: not normalized
	if c := r.CredentialMapping[name]; !c.empty() {
		return Answer{Verdict: c.verdict(q), OwnNamespace: c.ofNamespace(q.ServiceAccount.Namespace)}
	}
	for _, spelling := range slices.Sorted(maps.Keys(r.CredentialMapping)) {
		if v := r.CredentialMapping[spelling].verdict(q); sameName(spelling, q.Image) && (v == VerdictNodeWide || v == VerdictThisPod) {
			return Answer{Verdict: VerdictOtherSpelling, Recorded: spelling, Written: name}
		}
	}
	return Answer{Verdict: VerdictNoCredentialsRecorded}
}

// empty reports whether nothing was recorded, so that no credential of a pod is
// accepted.
func (c credentials) empty() bool {
	return !c.NodePodsAccessible && len(c.Secrets) == 0 && len(c.ServiceAccounts) == 0
}

// ofNamespace reports whether credentials of a namespace were recorded.
func (c credentials) ofNamespace(namespace string) bool {
	return namespace != "" && (slices.ContainsFunc(c.Secrets, func(s Secret) bool { return s.Namespace == namespace }) ||
		slices.ContainsFunc(c.ServiceAccounts, func(a ServiceAccount) bool { return a.Namespace == namespace }))
}

// verdict compares the recorded credentials with the pod's.
func (c credentials) verdict(q Question) Verdict {
	switch {
	case c.NodePodsAccessible:
		return VerdictNodeWide
	case slices.ContainsFunc(q.Secrets, c.hasSecret),
		q.ServiceAccount.UID != "" && slices.Contains(c.ServiceAccounts, q.ServiceAccount):
		return VerdictThisPod
	case q.Incomplete && len(c.Secrets) > 0, slices.ContainsFunc(c.ServiceAccounts, q.ServiceAccount.mayBe):
		return VerdictUndecided
	default:
		return VerdictOtherCredentials
	}
}

// maxMatchingSecrets is the kubelet's writeRecordWhileMatchingLimit. Once a
// record has that many secrets, the kubelet no longer accepts a secret by name
// alone.
const maxMatchingSecrets = 100

// hasSecret reports whether a credential was recorded: by its hash, from
// whatever secret, or by its secret, whatever credential the secret holds now.
func (c credentials) hasSecret(s Secret) bool {
	return slices.ContainsFunc(c.Secrets, func(r Secret) bool {
		if r.CredentialHash != "" && r.CredentialHash == s.CredentialHash {
			return true
		}
		same := r.UID == s.UID && r.Namespace == s.Namespace && r.Name == s.Name
		return same && len(c.Secrets) < maxMatchingSecrets
	})
}

// mayBe reports whether the recorded account may be this one, whose UID is
// unknown.
func (a ServiceAccount) mayBe(recorded ServiceAccount) bool {
	return a.UID == "" && a.Name == recorded.Name && a.Namespace == recorded.Namespace
}

// sameName reports whether a recorded spelling is of the image's name. One with a
// tag or digest is not a name that the kubelet would look up.
func sameName(recorded string, image diagnosis.Image) bool {
	x, err := reference.ParseNormalizedNamed(recorded)
	return err == nil && reference.IsNameOnly(x) && x.Name() == image.Name()
}
