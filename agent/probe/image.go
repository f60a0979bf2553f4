package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri"
)

// Images tells whether the runtime has an image, and which runtime it is.
type Images interface {
	Version(ctx context.Context) (name, version string, err error)
	Image(ctx context.Context, ref string) (img cri.Image, present bool, err error)
	OtherNames(ctx context.Context, ref string) ([]string, error)
}

// checkImage asks the runtime for the image, as the kubelet's own check before
// a pull does (images.imagePullPrecheck). It also returns the runtime's ID of
// the image, empty if it is not there.
func (c *Collector) checkImage(ctx context.Context, f diagnosis.Failure) (diagnosis.Evidence, string) {
	e := diagnosis.Evidence{Check: diagnosis.CheckImage}
	if !f.Ref().Valid() {
		e.Outcome, e.Fault, e.Detail = diagnosis.Failed, diagnosis.FaultNameInvalid, "the image reference does not parse"+wrong(f.Image)
		e.Candidates = corrections(f.Image)
		return e, ""
	}
	if c.Images == nil {
		e.Outcome, e.Detail = diagnosis.NotRun, "no container runtime socket to ask"
		return e, ""
	}
	a, err := c.images.Get(ctx, f.Image, func(ctx context.Context) (*imageAnswer, error) { return c.askImage(ctx, f.Image), ctx.Err() })
	if err == nil {
		c.Metrics.RuntimeUp(!cri.IsDown(a.err))
	} else {
		a = &imageAnswer{err: err}
	}
	switch {
	case a.err != nil:
		e.Outcome, e.Detail = diagnosis.Inconclusive, a.err.Error()
		if cri.IsDown(a.err) {
			e.Fault, e.Detail = diagnosis.FaultRuntimeUnready, fmt.Sprintf("the container runtime of node %s does not answer: %v", f.Node, a.err)
		}
	case a.present:
		e.Outcome, e.Detail = diagnosis.Passed, fmt.Sprintf("the image is on node %s", f.Node)
		return e, a.id
	default:
		e.Outcome, e.Fault, e.Detail = diagnosis.Failed, diagnosis.FaultImageAbsent, absent(f, a.others)
	}
	return e, ""
}

// imageAnswer is what the runtime says of an image.
type imageAnswer struct {
	id      string
	present bool
	err     error
	others  []string // names like it, of one that is not there
}

// askImage asks the runtime once for all pods that fail over an image at the same
// moment.
func (c *Collector) askImage(ctx context.Context, image string) *imageAnswer {
	img, present, err := c.Images.Image(ctx, image)
	a := &imageAnswer{id: img.ID, present: present, err: err}
	if err == nil && !present {
		a.others, _ = c.Images.OtherNames(ctx, image) // which only adds to the sentence
	}
	return a
}

// checkUse adds to the evidence on an image that is there whether the kubelet
// lets this pod use it (images.EnsureImageExists, PullManager.MustAttemptImagePull).
// With the policy Always it does not ask.
func (c *Collector) checkUse(f diagnosis.Failure, image diagnosis.Evidence, id string, credentials []diagnosis.Evidence, logins []keyring.Login) diagnosis.Evidence {
	if c.Node == nil || id == "" || f.PullPolicy != "IfNotPresent" && f.PullPolicy != "Never" {
		return image
	}
	a := c.Node.Verdict(useQuestion(f, id, credentials, logins))
	image.Detail += sayUse(a, f.PullPolicy)
	image.Use, image.Unrecorded = use(a.Verdict), a.Verdict == kubelet.VerdictNoCredentialsRecorded
	if image.Use == diagnosis.UseRefused {
		image.Outcome, image.Fault = diagnosis.Failed, diagnosis.FaultNotVerified
	}
	if a.Verdict == kubelet.VerdictOtherSpelling {
		image.Candidates = []string{a.Recorded + strings.TrimPrefix(f.Image, a.Written)}
	}
	return image
}

// use is what a verdict settles. Disabled settles nothing: see there.
func use(v kubelet.Verdict) diagnosis.Use {
	switch v {
	case kubelet.VerdictNodeWide, kubelet.VerdictThisPod:
		return diagnosis.UseAllowed
	case kubelet.VerdictNotPulledByKubelet:
		return diagnosis.UseDefault
	case kubelet.VerdictOtherCredentials, kubelet.VerdictOtherSpelling, kubelet.VerdictNoCredentialsRecorded:
		return diagnosis.UseRefused
	default:
		return diagnosis.UseUnknown
	}
}

// useQuestion is what the kubelet asks its records: only the logins of the pod's
// own secrets count.
func useQuestion(f diagnosis.Failure, id string, credentials []diagnosis.Evidence, logins []keyring.Login) kubelet.Question {
	q := kubelet.Question{
		Image: f.Ref(), ImageRef: id,
		ServiceAccount: kubelet.ServiceAccount{Namespace: f.Namespace, Name: f.ServiceAccount},
		Incomplete: slices.ContainsFunc(credentials, func(e diagnosis.Evidence) bool {
			return e.Fault == diagnosis.FaultSecretUnreadable || e.Fault == diagnosis.FaultSecretMalformed
		}),
	}
	for _, l := range logins {
		if !l.OfNode {
			q.Secrets = append(q.Secrets, kubelet.Secret{UID: l.UID, Namespace: f.Namespace, Name: l.Source, CredentialHash: l.Hash()})
		}
	}
	return q
}

// sayUse is the end of the sentence on an image that is there. It tells nothing
// of who else uses the image.
func sayUse(a kubelet.Answer, policy string) string {
	switch a.Verdict {
	case kubelet.VerdictNotPulledByKubelet:
		return "; the kubelet has no record of pulling it, and by default lets every pod use such an image (not with imagePullCredentialsVerificationPolicy AlwaysVerify)"
	case kubelet.VerdictNodeWide:
		return ", and the kubelet lets every pod of the node use it"
	case kubelet.VerdictThisPod:
		return ", and the kubelet lets this pod use it: it has the credentials of an earlier pull"
	case kubelet.VerdictOtherCredentials, kubelet.VerdictOtherSpelling, kubelet.VerdictNoCredentialsRecorded:
		return ", but the kubelet does not let this pod use it: " + sayRefused(a, policy == "Never")
	case kubelet.VerdictPulling:
		return "; the kubelet has begun a pull of it, and lets no pod use it before one has ended"
	case kubelet.VerdictUndecided:
		return "; whether the kubelet lets this pod use it depends on credentials that are not all known here"
	default:
		return ""
	}
}

// sayRefused says why, and what would help. With the policy Never there is no
// pull to prove credentials by: they have to be recorded already, under the name
// as the pod writes it.
func sayRefused(a kubelet.Answer, never bool) string {
	switch {
	case a.Verdict == kubelet.VerdictOtherSpelling && never:
		return fmt.Sprintf("it is recorded as %s; the pod writes %s; it would with the recorded spelling, or another policy than Never", a.Recorded, a.Written)
	case a.Verdict == kubelet.VerdictOtherSpelling:
		return fmt.Sprintf("it is recorded as %s; the pod writes %s; it would with the recorded spelling, or after a pull under this one", a.Recorded, a.Written)
	case a.Verdict == kubelet.VerdictNoCredentialsRecorded && never:
		return "the kubelet has no record of a pull under this name; no pull secret changes that, only another policy than Never"
	case a.Verdict == kubelet.VerdictNoCredentialsRecorded:
		return "the kubelet has no record of a pull under this name; it would after one"
	case never:
		return "it was pulled with credentials that this pod does not have; it would if the pod had the pull secret of an earlier pull, or another policy than Never"
	default:
		return "it was pulled with credentials that this pod does not have; it would after a pull with a pull secret that the registry accepts"
	}
}

// absent names what the node has of the same repository: what else is there is
// not this pod's.
func absent(f diagnosis.Failure, others []string) string {
	s := fmt.Sprintf("the image is not on node %s", f.Node)
	repository := f.Registry + "/" + f.Repository
	own := slices.DeleteFunc(slices.Clone(others), func(name string) bool {
		after, ok := strings.CutPrefix(name, repository)
		return !ok || !strings.HasPrefix(after, ":") && !strings.HasPrefix(after, "@")
	})
	if len(own) > 0 {
		s += "; the node has " + strings.Join(own, ", ")
	}
	return s
}

// wrong returns what is wrong with a reference, as the end of a sentence, without
// the library's repeating the reference.
func wrong(image string) string {
	_, err := podwatch.ParseImage(image)
	switch {
	case err == nil:
		return ""
	case strings.Contains(image, "://"):
		return ": it begins with a URL's scheme"
	}
	return ": " + strings.TrimPrefix(err.Error(), "invalid reference format: ")
}

// corrections are names that parse and that may have been meant: each mends
// one usual mistake, or all of them.
func corrections(image string) []string {
	s := strings.TrimSpace(image)
	for _, scheme := range []string{"https://", "http://", "docker://", "oci://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	s = strings.TrimRight(s, ":/@")
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	s = lowerPath(s)
	s = plainTag(s)
	if s == image || s == "" {
		return nil
	}
	if _, err := podwatch.ParseImage(s); err != nil {
		return nil
	}
	return []string{s}
}

// lowerPath puts the repository in lower case, not the tag.
func lowerPath(s string) string {
	cut := len(s)
	slash := strings.LastIndex(s, "/") + 1
	if i := strings.IndexAny(s[slash:], ":@"); i >= 0 {
		cut = slash + i
	}
	return strings.ToLower(s[:cut]) + s[cut:]
}

// plainTag replaces what a tag may not hold, such as the + of a version with
// build metadata.
func plainTag(s string) string {
	slash := strings.LastIndex(s, "/") + 1
	colon := strings.LastIndex(s[slash:], ":")
	if colon < 0 || strings.Contains(s, "@") {
		return s
	}
	at := slash + colon + 1
	return s[:at] + strings.ReplaceAll(s[at:], "+", "-")
}
