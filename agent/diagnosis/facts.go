package diagnosis

import "slices"

// facts is a failure with its evidence, asked in the words of the rules.
type facts struct {
	Failure
	all []Evidence
}

func (x *facts) of(c Check) []Evidence {
	return filter(x.all, func(e Evidence) bool { return e.Check == c })
}

// first returns the first evidence of a check with one of the faults.
func (x *facts) first(c Check, faults ...Fault) (Evidence, bool) {
	return firstOf(x.of(c), faults...)
}

func (x *facts) has(c Check, faults ...Fault) bool {
	_, ok := x.first(c, faults...)
	return ok
}

// reading is the cause that the runtime's text supports, Unknown if none.
func (x *facts) reading() Cause {
	for _, e := range x.of(CheckMessage) {
		if e.Cause != "" && e.Cause != Unknown {
			return e.Cause
		}
	}
	return Unknown
}

// present and absent tell what the runtime said of the image. Neither is true
// when it said nothing.
func (x *facts) present() bool {
	return slices.ContainsFunc(x.of(CheckImage), func(e Evidence) bool { return e.Outcome == Passed })
}

func (x *facts) absent() bool { return x.has(CheckImage, FaultImageAbsent) }

// attempts are the answers of the endpoints that the kubelet's own attempts
// would get: with the pod's credentials where there are any, without where
// there are none (kuberuntime PullImage makes no anonymous attempt after one
// with credentials).
func (x *facts) attempts() []Evidence {
	ran := filter(x.of(CheckRegistry), func(e Evidence) bool { return e.Outcome != NotRun })
	with := filter(ran, func(e Evidence) bool { return e.Credential != nil })
	if len(with) > 0 {
		return with
	}
	return ran
}

// origin are the attempts at the image's own registry; mirrors are left out.
func (x *facts) origin() []Evidence {
	return filter(x.attempts(), func(e Evidence) bool { return !e.Mirror })
}

// anonymous is the origin's answer without credentials.
func (x *facts) anonymous() (Evidence, bool) {
	i := slices.IndexFunc(x.all, func(e Evidence) bool {
		return e.Check == CheckRegistry && e.Credential == nil && !e.Mirror && e.Outcome != NotRun
	})
	if i < 0 {
		return Evidence{}, false
	}
	return x.all[i], true
}

// works tells that one of the kubelet's attempts would succeed now.
func (x *facts) works() bool {
	return slices.ContainsFunc(x.attempts(), func(e Evidence) bool { return e.Outcome == Passed })
}

// credentialed tells that the kubelet would bring credentials.
func (x *facts) credentialed() bool {
	return slices.ContainsFunc(x.attempts(), func(e Evidence) bool { return e.Credential != nil })
}

// wantsCredentials tells that the registry refused an attempt without any.
func (x *facts) wantsCredentials() bool {
	e, ok := x.anonymous()
	return ok && slices.Contains(refusals(), e.Fault)
}

func refusals() []Fault {
	return []Fault{FaultUnauthorized, FaultInsufficientScope, FaultForbidden}
}

// accepted returns the attempts whose login the registry took, but whose
// repository it refused.
func (x *facts) denied() []Evidence {
	return filter(x.origin(), func(e Evidence) bool {
		return e.Credential != nil && (e.Fault == FaultForbidden || e.Fault == FaultInsufficientScope)
	})
}

func (x *facts) rejected() []Evidence {
	return filter(x.origin(), func(e Evidence) bool {
		return e.Credential != nil && e.Fault == FaultUnauthorized
	})
}

func filter(all []Evidence, keep func(Evidence) bool) []Evidence {
	var out []Evidence
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func firstOf(all []Evidence, faults ...Fault) (Evidence, bool) {
	i := slices.IndexFunc(all, func(e Evidence) bool { return slices.Contains(faults, e.Fault) })
	if i < 0 {
		return Evidence{}, false
	}
	return all[i], true
}
