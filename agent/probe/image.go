package probe

import (
	"context"
	"slices"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri"
)

// Images reports which images the container runtime has, and its name and version.
type Images interface {
	Version(ctx context.Context) (name, version string, err error)
	Image(ctx context.Context, ref string) (id string, present bool, err error)
	OtherNames(ctx context.Context, ref string) ([]string, error)
}

// checkImage asks the runtime for the image, as the kubelet does before a pull
// (images.imagePullPrecheck). It also returns the runtime's ID of the image; empty if
// it is not present.
func (c *Collector) checkImage(ctx context.Context, f diagnosis.Failure) (diagnosis.Evidence, string) {
	e := diagnosis.Evidence{Check: diagnosis.CheckImage}
	if !f.Ref().Valid() {
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultNameInvalid
		e.Body = &diagnosis.ImageFacts{Invalid: wrong(f.Image), Candidates: corrections(f.Image)}
		return e, ""
	}
	if c.Images == nil {
		e.Outcome, e.Reason = diagnosis.NotRun, diagnosis.ReasonNoRuntime
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
		e.Outcome, e.Body = diagnosis.Inconclusive, &diagnosis.ImageFacts{Error: a.err.Error()}
		if cri.IsDown(a.err) {
			e.Fault = diagnosis.FaultRuntimeUnready
		}
	case a.present:
		e.Outcome = diagnosis.Passed
		return e, a.id
	default:
		e.Outcome, e.Fault, e.Body = diagnosis.Failed, diagnosis.FaultImageAbsent, &diagnosis.ImageFacts{Others: ofRepository(f, a.others)}
	}
	return e, ""
}

// imageAnswer is the runtime's answer about an image.
type imageAnswer struct {
	id      string
	present bool
	err     error
	others  []string // similar names, if it is not present
}

// askImage asks the runtime for an image.
func (c *Collector) askImage(ctx context.Context, image string) *imageAnswer {
	id, present, err := c.Images.Image(ctx, image)
	a := &imageAnswer{id: id, present: present, err: err}
	if err == nil && !present && c.Unrestricted {
		a.others, _ = c.Images.OtherNames(ctx, image) // an error only makes the detail shorter
	}
	return a
}

// checkUse adds to the evidence about an image that is present whether the kubelet
// lets this pod use it (images.EnsureImageExists, PullManager.MustAttemptImagePull).
// With the pull policy Always the kubelet always pulls.
func (c *Collector) checkUse(f diagnosis.Failure, image diagnosis.Evidence, id string, credentials []diagnosis.Evidence, creds []keyring.Credential) diagnosis.Evidence {
	if c.Node == nil || id == "" || f.PullPolicy != "IfNotPresent" && f.PullPolicy != "Never" {
		return image
	}
	facts := c.Node.Use(useQuestion(f, id, credentials, creds))
	image.Body = &facts
	if facts.Use() == diagnosis.UseRefused {
		image.Outcome, image.Fault = diagnosis.Failed, diagnosis.FaultNotVerified
	}
	if facts.Record == diagnosis.RecordOtherSpelling {
		facts.Candidates = []string{facts.Recorded + strings.TrimPrefix(f.Image, facts.Written)}
	}
	return image
}

// disclosed returns the evidence that the pod's report may show. Anybody who may create a
// pod can read its report and must not learn from it whether another's image is on the
// node: the kubelet's message is the same in both cases on purpose (KEP-2535). So presence
// is shown only for an image that the pod can pull, according to the registries' answers,
// or that the kubelet's records allow it to use. An absent image and a present one that the
// pod may not use look the same.
func (c *Collector) disclosed(f diagnosis.Failure, known, found []diagnosis.Evidence) []diagnosis.Evidence {
	if c.Unrestricted || f.Kind == diagnosis.KindSandbox || slices.ContainsFunc(found, pullable) {
		return known
	}
	out := slices.Clone(known)
	for i, e := range out {
		shows := e.Outcome == diagnosis.Passed || e.Fault == diagnosis.FaultImageAbsent || e.Fault == diagnosis.FaultNotVerified
		if e.Check == diagnosis.CheckImage && shows && !recordedForPod(e.Image()) {
			out[i] = diagnosis.Evidence{Check: diagnosis.CheckImage, Outcome: diagnosis.NotRun, Reason: diagnosis.ReasonNotDisclosed}
		}
	}
	return out
}

// pullable reports whether the pod, or anybody, can pull the image from a registry.
func pullable(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckRegistry && e.Outcome == diagnosis.Passed && e.Fault == "" && e.Endpoint.URL != ""
}

// recordedForPod reports whether the kubelet's records show that the pod, or
// another of its namespace, has been allowed to use the image.
func recordedForPod(i *diagnosis.ImageFacts) bool {
	return i.Use() == diagnosis.UseAllowed || i.Record == diagnosis.RecordOtherSpelling || i.OwnNamespace
}

// useQuestion returns the kubelet's query of its records. Only credentials of the
// pod's own secrets count.
func useQuestion(f diagnosis.Failure, id string, credentials []diagnosis.Evidence, creds []keyring.Credential) kubelet.Question {
	q := kubelet.Question{
		Image: f.Ref(), ImageRef: id,
		ServiceAccount: kubelet.ServiceAccount{Namespace: f.Namespace, Name: f.ServiceAccount},
		Incomplete: slices.ContainsFunc(credentials, func(e diagnosis.Evidence) bool {
			return e.Fault == diagnosis.FaultSecretUnreadable || e.Fault == diagnosis.FaultSecretMalformed
		}),
	}
	for _, l := range creds {
		if !l.OfNode {
			q.Secrets = append(q.Secrets, kubelet.Secret{UID: l.UID, Namespace: f.Namespace, Name: l.Source, CredentialHash: l.Hash()})
		}
	}
	return q
}

// ofRepository returns the names in the image's own repository, and in the one that
// buildah and podman build it in if it is named without a registry. A report must
// not name other images on the node.
func ofRepository(f diagnosis.Failure, names []string) []string {
	repositories := []string{f.Registry + "/" + f.Repository}
	if f.Registry == "docker.io" {
		repositories = append(repositories, "localhost/"+strings.TrimPrefix(f.Repository, "library/"))
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.ContainsFunc(repositories, func(repository string) bool {
			after, ok := strings.CutPrefix(name, repository)
			return ok && (strings.HasPrefix(after, ":") || strings.HasPrefix(after, "@"))
		})
	})
}
