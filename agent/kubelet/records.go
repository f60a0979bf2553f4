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

// Use answers like the kubelet's PullManager.MustAttemptImagePull, which returns true
// for RecordOtherCredentials, RecordNoCredentials, RecordOtherSpelling and RecordPulling.
// The kubelet writes its in-memory copy through to the files that are read here.
//
// It assumes the default imagePullCredentialsVerificationPolicy,
// NeverVerifyPreloadedImages, since the setting is not visible here. With NeverVerify,
// every pod may use every image. With AlwaysVerify, images of unknown origin are verified
// too, so RecordNotPulled is equivalent to RecordNoCredentials; with
// NeverVerifyAllowlistedImages that holds unless the image is on the allowlist.
//
// Of what is said, RecordNoCredentials is also what a pull leaves that a kubelet restart
// interrupted (PullManager.initialize).
func (k *Kubelet) Use(q Question) diagnosis.ImageFacts {
	key := q.ImageRef + "\x00" + q.Image.Written
	s := readCached(k.images, key, func() stored { return k.lookUp(q.ImageRef, q.Image.Written) })
	if s.record == nil {
		return diagnosis.ImageFacts{Record: s.known}
	}
	return s.record.answer(q)
}

// stored is what the records say about an image: a record or, without one, what is the
// same for every pod. Record and intent are read and cached together, because the
// kubelet writes one before it removes the other.
type stored struct {
	record *record
	known  diagnosis.Record
}

// lookUp finds nothing if there is no directory of records, which the kubelet creates at
// startup: it may keep them under another --root-dir, or none (it is older than Kubernetes
// 1.35 or runs without the feature KubeletEnsureSecretPulledImages).
func (k *Kubelet) lookUp(ref, image string) stored {
	if !k.host.IsDir(k.recordsDir() + "/pulled") {
		return stored{}
	}
	var r record
	switch presence := k.decode("pulled", ref, "ImagePulledRecord", &r); {
	case presence == NotVisible:
		return stored{}
	case presence == Present && r.ImageRef == ref:
		return stored{record: &r}
	}
	var i intent
	switch presence := k.decode("pulling", image, "ImagePullIntent", &i); {
	case presence == NotVisible:
		return stored{}
	case presence == Present && i.Image == image:
		return stored{known: diagnosis.RecordPulling}
	default:
		return stored{known: diagnosis.RecordNotPulled}
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
func (r record) answer(q Question) diagnosis.ImageFacts {
	if !q.Image.Valid() {
		return diagnosis.ImageFacts{Record: diagnosis.RecordNoCredentials}
	}
	name := q.Image.Untagged() // like trimImageTagDigest: not normalized
	if c := r.CredentialMapping[name]; !c.empty() {
		return diagnosis.ImageFacts{Record: c.allows(q), OwnNamespace: c.ofNamespace(q.ServiceAccount.Namespace)}
	}
	for _, spelling := range slices.Sorted(maps.Keys(r.CredentialMapping)) {
		if v := r.CredentialMapping[spelling].allows(q); sameName(spelling, q.Image) && (v == diagnosis.RecordNodeWide || v == diagnosis.RecordThisPod) {
			return diagnosis.ImageFacts{Record: diagnosis.RecordOtherSpelling, Recorded: spelling, Written: name}
		}
	}
	return diagnosis.ImageFacts{Record: diagnosis.RecordNoCredentials}
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

// allows compares the recorded credentials with the pod's.
func (c credentials) allows(q Question) diagnosis.Record {
	switch {
	case c.NodePodsAccessible:
		return diagnosis.RecordNodeWide
	case slices.ContainsFunc(q.Secrets, c.hasSecret),
		q.ServiceAccount.UID != "" && slices.Contains(c.ServiceAccounts, q.ServiceAccount):
		return diagnosis.RecordThisPod
	case q.Incomplete && len(c.Secrets) > 0, slices.ContainsFunc(c.ServiceAccounts, q.ServiceAccount.mayBe):
		return diagnosis.RecordUndecided
	default:
		return diagnosis.RecordOtherCredentials
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
