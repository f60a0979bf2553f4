package check

import (
	"fmt"
	"slices"

	"github.com/whypull/whypull/agent/diagnosis"
)

// result is the result for one image.
type result struct {
	target   target
	verdict  diagnosis.Verdict
	pullable bool // or needs no pull
}

// judge returns the result for an image. NotReproducible means here that the image
// can be pulled.
func (c *checker) judge(t target, evidence []diagnosis.Evidence) result {
	v := diagnosis.Diagnose(t.failure, evidence)
	r := result{target: t, verdict: v, pullable: v.Cause == diagnosis.NotReproducible}
	switch image := presence(evidence); {
	case image.Outcome == diagnosis.Passed && sufficient(image.Image().Use(), t.failure.PullPolicy):
		r.atHand(image, evidence)
	case r.pullable:
		if but := unsettled(t.failure, evidence); but != "" {
			r.verdict.Summary, r.verdict.Confidence = v.Summary+"; "+but, diagnosis.Likely
		}
	case v.Cause == diagnosis.Unknown && t.failure.PullPolicy == "Never":
		r.verdict.Summary = fmt.Sprintf("cannot tell whether image %s is on node %s, and the pull policy is Never", t.failure.Image, t.failure.Node)
	}
	switch {
	case r.pullable:
		r.verdict.Remedy = nil
	case v.Cause == diagnosis.Unknown: // its remedy is to read the evidence, which is printed above
		r.verdict.Remedy = c.hints(r)
	default:
		r.verdict.Remedy = append(c.hints(r), v.Remedy...)
	}
	r.verdict.Summary = diagnosis.Clip(r.verdict.Summary, diagnosis.SummaryLimit)
	return r
}

// presence returns the runtime's evidence about the image; zero if there is none.
func presence(evidence []diagnosis.Evidence) diagnosis.Evidence {
	i := slices.IndexFunc(evidence, func(e diagnosis.Evidence) bool { return e.Check == diagnosis.CheckImage })
	if i < 0 {
		return diagnosis.Evidence{}
	}
	return evidence[i]
}

// sufficient reports whether the kubelet uses an image that is present without
// asking a registry. Without its records of pulled images it is unknown whether the
// pod has to prove its credentials first (KEP-2535), so with IfNotPresent the
// registry's answer decides.
func sufficient(u diagnosis.Use, policy string) bool {
	return policy == "Never" || policy == "IfNotPresent" && (u == diagnosis.UseAllowed || u == diagnosis.UseDefault)
}

// atHand turns r into the result for an image that is present and adds what a pull
// on another node would give.
func (r *result) atHand(image diagnosis.Evidence, evidence []diagnosis.Evidence) {
	f := r.target.failure
	r.verdict.Cause, r.verdict.Confidence, r.pullable = diagnosis.NotReproducible, diagnosis.Likely, true
	if image.Image().Use() == diagnosis.UseAllowed {
		r.verdict.Confidence = diagnosis.Confirmed
	}
	r.verdict.Summary = fmt.Sprintf("%s is on node %s, so no pull is needed here (%s)", f.Image, f.Node, f.PullPolicy)
	if f.PullPolicy == "Never" {
		return
	}
	elsewhere := diagnosis.Diagnose(f, filter(evidence, func(e diagnosis.Evidence) bool { return e.Check != diagnosis.CheckImage }))
	switch elsewhere.Cause {
	case diagnosis.NotReproducible:
		r.verdict.Summary += "; it can also be pulled"
	case diagnosis.Unknown:
	default:
		r.verdict.Summary += "; a pull would fail: " + elsewhere.Summary
	}
}

// unsettled returns what is inconclusive about the content of an image that can be
// pulled, such as an unusual platform; empty if nothing is.
func unsettled(f diagnosis.Failure, evidence []diagnosis.Evidence) string {
	for _, e := range evidence {
		if e.Registry().Content && e.Outcome == diagnosis.Inconclusive {
			return diagnosis.Detail(f, &e)
		}
	}
	return ""
}

// hints returns remedy lines on credentials that were not passed to the command.
func (c *checker) hints(r result) []string {
	f, about := r.target.failure, []diagnosis.Cause{diagnosis.AuthenticationRequired, diagnosis.DeniedOrNotFound, diagnosis.Unknown}
	if !slices.Contains(about, r.verdict.Cause) || f.PullPolicy == "Never" {
		return nil
	}
	var out []string
	for _, e := range r.verdict.Evidence {
		if e.Fault == diagnosis.FaultSecretUnreadable && e.Credentials().Secret != "" {
			secret := e.Credentials().Secret
			out = append(out, diagnosis.Comment("pass secret %s too with -f, from a file or from the output of kubectl -n %s get secret %s -o yaml", secret, f.Namespace, secret))
		}
	}
	switch {
	case len(out) > 0:
	case r.target.account != "":
		out = append(out, diagnosis.Comment("service account %s is not in the files, and if it has pull secrets in the cluster, new pods use them", r.target.account))
	case len(f.PullSecrets) == 0 && c.options.DockerConfig == "":
		out = append(out, diagnosis.Comment("to check with credentials, pass a docker config.json with --docker-config"))
	}
	return out
}

// adapt removes the evidence that does not apply without a cluster (the kubelet's
// message, the pod's DNS, the running pull) and adapts the rest.
func (c *checker) adapt(t target, evidence []diagnosis.Evidence) []diagnosis.Evidence {
	out := slices.DeleteFunc(slices.Clone(evidence), func(e diagnosis.Evidence) bool {
		return slices.Contains([]diagnosis.Check{diagnosis.CheckMessage, diagnosis.CheckPodDNS, diagnosis.CheckPull}, e.Check)
	})
	for i := range out {
		e := &out[i]
		switch {
		case e.Check == diagnosis.CheckImage && c.runtime == nil && e.Outcome == diagnosis.NotRun:
			e.Reason, e.Body = diagnosis.ReasonMachineUnknown, &diagnosis.ImageFacts{Error: c.runtimeSays}
		case e.Fault == diagnosis.FaultNoCredentials && t.pod == nil:
			e.Reason = diagnosis.ReasonNoPod
		case e.Registry().Platform != "" && len(e.Registry().Platforms) > 0:
			facts := *e.Registry()
			facts.PlatformWanted = c.options.Platform != ""
			e.Body = &facts
		}
	}
	return out
}
