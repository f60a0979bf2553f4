package check

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/whypull/whypull/agent/diagnosis"
)

// result is what came of one image.
type result struct {
	target   target
	verdict  diagnosis.Verdict
	pullable bool // or needs no pull
}

// judge decides on an image. What the agent calls not reproducible is the good
// news here.
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
		r.verdict.Summary = fmt.Sprintf("the pull policy is Never, and whether image %s is on node %s could not be found out", t.failure.Image, t.failure.Node)
	}
	switch {
	case r.pullable:
		r.verdict.Remedy = nil
	case v.Cause == diagnosis.Unknown: // its advice is to read the evidence, which is there already
		r.verdict.Remedy = c.hints(r)
	default:
		r.verdict.Remedy = append(c.hints(r), v.Remedy...)
	}
	r.verdict.Summary = clip(r.verdict.Summary)
	return r
}

// presence is what the runtime says of the image.
func presence(evidence []diagnosis.Evidence) diagnosis.Evidence {
	i := slices.IndexFunc(evidence, func(e diagnosis.Evidence) bool { return e.Check == diagnosis.CheckImage })
	if i < 0 {
		return diagnosis.Evidence{}
	}
	return evidence[i]
}

// sufficient tells that the kubelet starts a container from an image that is
// there without asking a registry. Without its records it is not known whether
// it wants credentials proved first (KEP-2535): with IfNotPresent the registry
// decides then.
func sufficient(u diagnosis.Use, policy string) bool {
	return policy == "Never" || policy == "IfNotPresent" && (u == diagnosis.UseAllowed || u == diagnosis.UseDefault)
}

// atHand makes it the good news that the image is there already, and says what
// another node would meet.
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
		r.verdict.Summary += "; it can be pulled too"
	case diagnosis.Unknown:
	default:
		r.verdict.Summary += "; a pull would fail: " + elsewhere.Summary
	}
}

// unsettled is what is odd about an image that can be pulled: it may be for
// another platform, or none at all.
func unsettled(f diagnosis.Failure, evidence []diagnosis.Evidence) string {
	for _, e := range evidence {
		if e.Registry().Content && e.Outcome == diagnosis.Inconclusive {
			return diagnosis.Detail(f, &e)
		}
	}
	return ""
}

// hints say where credentials may come from that were not given.
func (c *checker) hints(r result) []string {
	f, about := r.target.failure, []diagnosis.Cause{diagnosis.AuthenticationRequired, diagnosis.DeniedOrNotFound, diagnosis.Unknown}
	if !slices.Contains(about, r.verdict.Cause) || f.PullPolicy == "Never" {
		return nil
	}
	var out []string
	for _, e := range r.verdict.Evidence {
		if e.Fault == diagnosis.FaultSecretUnreadable && e.Credentials().Secret != "" {
			out = append(out, fmt.Sprintf("# give secret %s too, from a file or from the cluster: kubectl -n %s get secret %s -o yaml | whypull check -f - …", e.Credentials().Secret, f.Namespace, e.Credentials().Secret))
		}
	}
	switch {
	case len(out) > 0:
	case r.target.account != "":
		out = append(out, fmt.Sprintf("# service account %s is not in the files; if the cluster's names pull secrets, a new pod gets them", r.target.account))
	case len(f.PullSecrets) == 0 && c.options.DockerConfig == "":
		out = append(out, "# to check with a login, give a docker config.json: --docker-config")
	}
	return out
}

// adapt puts the agent's evidence into what holds without a cluster: there are
// no words of a kubelet, no network of a pod, and no pull to follow.
func (c *checker) adapt(evidence []diagnosis.Evidence, inPod bool) []diagnosis.Evidence {
	out := slices.DeleteFunc(slices.Clone(evidence), func(e diagnosis.Evidence) bool {
		return slices.Contains([]diagnosis.Check{diagnosis.CheckMessage, diagnosis.CheckPodDNS, diagnosis.CheckPull}, e.Check)
	})
	for i := range out {
		e := &out[i]
		switch {
		case e.Check == diagnosis.CheckImage && c.runtime == nil && e.Outcome == diagnosis.NotRun:
			e.Reason, e.Body = diagnosis.ReasonMachineUnknown, &diagnosis.ImageFacts{Error: c.runtimeSays}
		case e.Fault == diagnosis.FaultNoCredentials && !inPod:
			e.Reason = diagnosis.ReasonNoPod
		case e.Registry().Platform != "" && len(e.Registry().Platforms) > 0:
			facts := *e.Registry()
			facts.PlatformWanted = c.options.Platform != ""
			e.Body = &facts
		}
	}
	return out
}

// clip cuts a summary to the length that the report's contract allows.
func clip(s string) string {
	const ellipsis = "…"
	if len(s) <= diagnosis.SummaryLimit {
		return s
	}
	cut := diagnosis.SummaryLimit - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}
