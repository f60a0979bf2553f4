package kubelet

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"
)

// Verdict says whether the kubelet lets a pod use an image that is on the node
// without pulling it again (KEP-2535), under the default of its setting
// imagePullCredentialsVerificationPolicy, NeverVerifyPreloadedImages. That
// setting is not visible here. NeverVerify lets every pod use every image;
// AlwaysVerify asks of images of unknown origin too, so that NotPulledByKubelet
// is then as OtherCredentials; NeverVerifyAllowlistedImages does so unless the
// image is on its list.
type Verdict string

// The verdicts. The zero value says nothing.
const (
	// VerdictNotVisible: the records are not visible, or do not decode.
	VerdictNotVisible Verdict = ""
	// VerdictDisabled: the kubelet keeps no records, being older than Kubernetes
	// 1.35 or without the feature KubeletEnsureSecretPulledImages; every pod may
	// use every image.
	VerdictDisabled Verdict = "Disabled"
	// VerdictNotPulledByKubelet: there is no record; every pod may use it.
	VerdictNotPulledByKubelet Verdict = "NotPulledByKubelet"
	// VerdictNodeWide: recorded as pulled without credentials, or with the
	// node's own; every pod may use it.
	VerdictNodeWide Verdict = "NodeWide"
	// VerdictThisPod: recorded for credentials that the pod has.
	VerdictThisPod Verdict = "ThisPod"
	// VerdictOtherCredentials: recorded, and not for the pod's credentials.
	VerdictOtherCredentials Verdict = "OtherCredentials"
	// VerdictOtherSpelling: recorded under another spelling of the same name, as
	// "nginx" and "docker.io/library/nginx" are, under which the pod might use it.
	VerdictOtherSpelling Verdict = "OtherSpelling"
	// VerdictPulling: the kubelet has begun to pull it, and has not recorded an
	// end; until then the pod has to pull too.
	VerdictPulling Verdict = "Pulling"
	// VerdictUndecided: recorded for some credentials, and not all that the pod
	// has are known.
	VerdictUndecided Verdict = "Undecided"
)

// Question asks whether a pod may use an image.
type Question struct {
	// Image is the reference as the pod's spec has it.
	Image string
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
// of that are OtherCredentials, OtherSpelling and Pulling. The kubelet's own
// copy in memory is written through to the files that are read here.
func (k *Kubelet) Verdict(q Question) Verdict {
	if v, ok := k.keepsRecords(); !ok {
		return v
	}
	var r record
	switch presence := k.decode("pulled", q.ImageRef, "ImagePulledRecord", &r); {
	case presence == NotVisible:
		return VerdictNotVisible
	case presence == Present && r.ImageRef == q.ImageRef:
		return r.verdict(q)
	}
	var i intent
	switch presence := k.decode("pulling", q.Image, "ImagePullIntent", &i); {
	case presence == NotVisible:
		return VerdictNotVisible
	case presence == Present && i.Image == q.Image:
		return VerdictPulling
	default:
		return VerdictNotPulledByKubelet
	}
}

// keepsRecords tells whether there are records to look at. The kubelet makes
// both directories when it starts; one above them may be a mount's.
func (k *Kubelet) keepsRecords() (Verdict, bool) {
	dir := k.recordsDir()
	switch {
	case k.has(dir + "/pulled"):
		return "", true
	case !k.sees(dir):
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
	strict, err := json.UnmarshalStrict(f.data, into)
	if err != nil || len(strict) > 0 {
		return NotVisible
	}
	got := into.GroupVersionKind()
	if got.Group != "kubelet.config.k8s.io" || got.Kind != kind || got.Version != "v1beta1" && got.Version != "v1alpha1" {
		return NotVisible
	}
	return Present
}

// verdict is the part of MustAttemptImagePull that looks into a record.
func (r record) verdict(q Question) Verdict {
	name, ok := untagged(q.Image)
	if !ok {
		return VerdictOtherCredentials
	}
	written, ok := r.CredentialMapping[name]
	if ok {
		return written.verdict(q)
	}
	for spelling, c := range r.CredentialMapping {
		if v := c.verdict(q); same(spelling, name) && (v == VerdictNodeWide || v == VerdictThisPod) {
			return VerdictOtherSpelling
		}
	}
	return VerdictOtherCredentials
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

// untagged is trimImageTagDigest: the name as written, neither normalised nor
// completed.
func untagged(image string) (string, bool) {
	parsed, err := reference.Parse(image)
	if err != nil {
		return "", false
	}
	if d, ok := parsed.(reference.Digested); ok {
		image = strings.TrimSuffix(image, "@"+d.Digest().String())
	}
	if t, ok := parsed.(reference.Tagged); ok {
		image = strings.TrimSuffix(image, ":"+t.Tag())
	}
	return image, true
}

// same tells that two spellings are of one name.
func same(a, b string) bool {
	x, err := reference.ParseNormalizedNamed(a)
	if err != nil {
		return false
	}
	y, err := reference.ParseNormalizedNamed(b)
	return err == nil && x.Name() == y.Name()
}
