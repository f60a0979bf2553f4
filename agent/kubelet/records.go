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

// Verdict says whether the kubelet lets a pod use an image that is on the node
// without pulling it again (KEP-2535), under the default of its setting
// imagePullCredentialsVerificationPolicy, NeverVerifyPreloadedImages. That
// setting is not visible here. NeverVerify lets every pod use every image;
// AlwaysVerify asks of images of unknown origin too, so that NotPulledByKubelet
// is then as NoCredentialsRecorded; NeverVerifyAllowlistedImages does so unless the
// image is on its list.
type Verdict string

// The verdicts. The zero value says nothing.
const (
	// VerdictNotVisible: the records are not visible, or do not decode.
	VerdictNotVisible Verdict = ""
	// VerdictDisabled: there are no records where they would be. The kubelet then
	// keeps none, being older than Kubernetes 1.35 or without the feature
	// KubeletEnsureSecretPulledImages, and every pod may use every image; or it
	// has another --root-dir than whypull was told and keeps them there. The two
	// look alike, so this does not settle whether the pod may use the image. A
	// directory of records that is empty is VerdictNotVisible: the mount of type
	// DirectoryOrCreate makes one where the kubelet has none.
	VerdictDisabled Verdict = "Disabled"
	// VerdictNotPulledByKubelet: there is no record; every pod may use it.
	VerdictNotPulledByKubelet Verdict = "NotPulledByKubelet"
	// VerdictNodeWide: recorded as pulled without credentials, or with the
	// node's own; every pod may use it.
	VerdictNodeWide Verdict = "NodeWide"
	// VerdictThisPod: recorded for credentials that the pod has.
	VerdictThisPod Verdict = "ThisPod"
	// VerdictOtherCredentials: recorded under the pod's name for it, for
	// credentials that the pod does not have.
	VerdictOtherCredentials Verdict = "OtherCredentials"
	// VerdictNoCredentialsRecorded: recorded, with no credentials under the pod's
	// name for it, so that none would do. That is what a pull leaves that a
	// restart of the kubelet cut short (PullManager.initialize), and a pull of the
	// same image under another name.
	VerdictNoCredentialsRecorded Verdict = "NoCredentialsRecorded"
	// VerdictOtherSpelling: as NoCredentialsRecorded, but recorded under another
	// spelling of the same name, as "nginx" and "docker.io/library/nginx" are, with
	// which the pod might use it.
	VerdictOtherSpelling Verdict = "OtherSpelling"
	// VerdictPulling: the kubelet has begun to pull it, and has not recorded an
	// end; until then the pod has to pull too.
	VerdictPulling Verdict = "Pulling"
	// VerdictUndecided: recorded for some credentials, and not all that the pod
	// has are known.
	VerdictUndecided Verdict = "Undecided"
)

// Answer is the answer to a Question.
type Answer struct {
	Verdict Verdict
	// Recorded is the name that the image is recorded under, and Written the
	// pod's, both without tag and digest, for VerdictOtherSpelling. They differ in
	// spelling only.
	Recorded, Written string
}

// Question asks whether a pod may use an image.
type Question struct {
	// Image is the image of the pod's spec.
	Image diagnosis.Image
	// ImageRef is the runtime's ID of the image (CRI Image.id).
	ImageRef string
	// Secrets are the logins of the pod's secrets that match the image.
	Secrets []Secret
	// ServiceAccount is the pod's; its UID may be unknown.
	ServiceAccount ServiceAccount
	// Incomplete tells that the pod may have more such logins than Secrets.
	Incomplete bool
}

// Secret is a login of a pull secret, as the kubelet's records name it.
type Secret struct {
	UID            string `json:"uid"`
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	CredentialHash string `json:"credentialHash"`
}

// ServiceAccount is one as the kubelet's records name it.
type ServiceAccount struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// record is ImagePulledRecord, and intent ImagePullIntent, of
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

// Verdict answers as the kubelet's PullManager.MustAttemptImagePull does: true
// of that are OtherCredentials, NoCredentialsRecorded, OtherSpelling and Pulling.
// The kubelet's own copy in memory is written through to the files that are read
// here.
func (k *Kubelet) Verdict(q Question) Answer {
	key := q.ImageRef + "\x00" + q.Image.Written
	s, presence := once(k.images, key, func() (stored, Presence) { return k.lookUp(q.ImageRef, q.Image.Written) })
	if presence != Present {
		return Answer{Verdict: s.verdict}
	}
	return s.record.answer(q)
}

// stored is what the records have on an image: a record if Present, else a
// verdict that is the same for every pod. The record and the intent are read and
// shared together: the kubelet writes one before it removes the other.
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

// keepsRecords tells whether there are records to look at. The kubelet makes
// both directories when it starts; one above them may be a mount's.
func (k *Kubelet) keepsRecords() (Verdict, bool) {
	dir := k.recordsDir()
	switch {
	case k.has(dir + "/pulled"):
		return "", true
	case !k.sees(dir), k.has(dir) && len(k.list(dir)) == 0:
		return VerdictNotVisible, false
	default:
		return VerdictDisabled, false
	}
}

// decode reads the record of a key. One that does not decode is not visible: to
// this version of the kubelet that would mean a pull, but a later one may have
// written it.
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

// answer is the part of MustAttemptImagePull that looks into a record.
func (r record) answer(q Question) Answer {
	if !q.Image.Valid() {
		return Answer{Verdict: VerdictNoCredentialsRecorded}
	}
	name := q.Image.Untagged() // as trimImageTagDigest has it: neither normalized nor completed
	if c := r.CredentialMapping[name]; !c.empty() {
		return Answer{Verdict: c.verdict(q)}
	}
	for _, spelling := range slices.Sorted(maps.Keys(r.CredentialMapping)) {
		if v := r.CredentialMapping[spelling].verdict(q); same(spelling, q.Image) && (v == VerdictNodeWide || v == VerdictThisPod) {
			return Answer{Verdict: VerdictOtherSpelling, Recorded: spelling, Written: name}
		}
	}
	return Answer{Verdict: VerdictNoCredentialsRecorded}
}

// empty tells that nothing was recorded: no login of a pod's would do.
func (c credentials) empty() bool {
	return !c.NodePodsAccessible && len(c.Secrets) == 0 && len(c.ServiceAccounts) == 0
}

// verdict compares what was recorded with what the pod has.
func (c credentials) verdict(q Question) Verdict {
	switch {
	case c.NodePodsAccessible:
		return VerdictNodeWide
	case slices.ContainsFunc(q.Secrets, c.hasSecret),
		q.ServiceAccount.UID != "" && slices.Contains(c.ServiceAccounts, q.ServiceAccount):
		return VerdictThisPod
	case q.Incomplete && len(c.Secrets) > 0, slices.ContainsFunc(c.ServiceAccounts, q.ServiceAccount.maybe):
		return VerdictUndecided
	default:
		return VerdictOtherCredentials
	}
}

// mostSecrets is the kubelet's writeRecordWhileMatchingLimit. In a record with
// as many secrets it no longer lets a secret pass by its name alone.
const mostSecrets = 100

// hasSecret tells that a login was recorded: by its hash, whatever secret it is
// from, or by the secret, whatever login it has by now.
func (c credentials) hasSecret(s Secret) bool {
	return slices.ContainsFunc(c.Secrets, func(r Secret) bool {
		if r.CredentialHash != "" && r.CredentialHash == s.CredentialHash {
			return true
		}
		same := r.UID == s.UID && r.Namespace == s.Namespace && r.Name == s.Name
		return same && len(c.Secrets) < mostSecrets
	})
}

// maybe tells that a recorded account can be this one, whose UID is not known.
func (a ServiceAccount) maybe(recorded ServiceAccount) bool {
	return a.UID == "" && a.Name == recorded.Name && a.Namespace == recorded.Namespace
}

// same reports whether a spelling that was recorded is of the image's name. One
// with a tag or digest is no name that the kubelet would look for.
func same(recorded string, image diagnosis.Image) bool {
	x, err := reference.ParseNormalizedNamed(recorded)
	return err == nil && reference.IsNameOnly(x) && x.Name() == image.Name()
}
