package diagnosis

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// Diagnose decides why a container cannot get its image. It always answers;
// Unknown where nothing is known.
func Diagnose(f Failure, evidence []Evidence) Verdict {
	all := sorted(evidence)
	asked := completed(f, all)
	x := newFacts(asked, all)
	cause, confidence := x.judged()
	return Verdict{
		Failure:    f,
		Cause:      cause,
		Confidence: confidence,
		Summary:    Clip(x.summary(cause), SummaryLimit),
		Remedy:     x.remedy(cause),
		Hosts:      x.hosts(),
		Evidence:   Findings(asked, relevant(cause, all)),
	}
}

// relevant is the evidence that a report of a cause has: files with credentials that were not
// seen are in it where credentials are the question.
func relevant(cause Cause, evidence []Evidence) []Evidence {
	if cause.Entry().kin&kinAccess != 0 {
		return evidence
	}
	return slices.DeleteFunc(slices.Clone(evidence), func(e Evidence) bool { return e.Reason == ReasonNodeCredentialsUnseen })
}

// completed is the failure with the registry and the repository that the runtime
// asks for in place of a short name: of several, those that fail, else the first.
func completed(f Failure, evidence []Evidence) Failure {
	name := ""
	for i := range evidence {
		e := &evidence[i]
		if e.Endpoint.Image == "" || e.Endpoint.Mirror {
			continue
		}
		if name == "" || e.Check == CheckRegistry && e.failed() {
			name = e.Endpoint.Image
		}
		if e.Check == CheckRegistry && e.failed() {
			break
		}
	}
	if host, repository, found := strings.Cut(name, "/"); found {
		f.Registry, f.Repository = host, repository
	}
	return f
}

// sorted puts evidence in the order of the checks; within a check the order
// of arrival stays, which is the kubelet's or the runtime's own.
func sorted(evidence []Evidence) []Evidence {
	out := slices.Clone(evidence)
	sort.SliceStable(out, func(i, j int) bool { return slices.Index(checks, out[i].Check) < slices.Index(checks, out[j].Check) })
	return out
}

// The way to a verdict, in order:
//
//  1. decide reads the rules from the top; the first whose condition holds gives
//     the cause. Three of them run the table again: sandboxImage (ofSandbox) asks
//     for the cause at the sandbox's image, mirrorHides (hidden) for the one behind
//     the mirrors, and agreed (hidden) is less sure where there is one.
//  2. capped is less sure of what the runtime need not have tried yet.
//  3. Where no rule holds, the text alone gives the cause.
//  4. retried holds the result against the pull that was tried again.

// judged is the whole of it.
func (x *facts) judged() (Cause, Confidence) { return x.retried(x.decide()) }

// decide is what the rules say, else the text.
func (x *facts) decide() (Cause, Confidence) {
	for _, r := range x.tables.rules {
		if c := r.when(x, r.cause); c != "" {
			return r.cause, x.capped(r.cause, c)
		}
	}
	if c := x.reading(); c != Unknown {
		return c, Suspected
	}
	return Unknown, Suspected
}

// capped: what the runtime has not said, of a pull that it may not have begun, or that
// may pass where the runtime waits longer than whypull, is at most Likely.
func (x *facts) capped(cause Cause, c Confidence) Confidence {
	return likelyIf(x.Stall == StallUnbegun || x.Kind == KindSandbox || !x.row(cause).regardless && x.maySucceed(), c)
}

// ofSandbox is the cause that keeps the sandbox's image from the node; "" and
// no confidence where it could be pulled.
func (x *facts) ofSandbox() (Cause, Confidence) {
	cause, confidence := x.asContainer().decide()
	if cause == Unknown || cause == NotReproducible || cause == SandboxImageFailed {
		return "", ""
	}
	return cause, confidence
}

// asContainer is the same failure of a container.
func (x *facts) asContainer() *facts {
	inner := &facts{Failure: x.Failure, all: x.all, tables: x.tables}
	inner.Kind = KindContainer
	return inner
}

// hidden is the cause at the upstream registry, "" where it has none or where a
// mirror fails in the same way.
func (x *facts) hidden() (Cause, Confidence) {
	if !x.seen.hiddenKnown {
		x.seen.hidden, x.seen.hiddenKnown = x.behindMirrors(), true
	}
	return x.seen.hidden.cause, x.seen.hidden.confidence
}

func (x *facts) behindMirrors() ruling {
	if len(x.mirrors()) == 0 || x.replaced() {
		return ruling{}
	}
	cause, confidence := x.withoutMirrors().decide()
	if cause == Unknown || cause == NotReproducible || cause == RegistryConfigInvalid {
		return ruling{}
	}
	if slices.ContainsFunc(x.mirrors(), func(e *Evidence) bool { return x.akin(e.Fault.Points(), cause) }) {
		return ruling{}
	}
	return ruling{cause, confidence}
}

// withoutMirrors is what would be known if there were no mirror, and no text
// either.
func (x *facts) withoutMirrors() *facts {
	own := filter(x.all, func(e *Evidence) bool { return !e.Endpoint.Mirror && e.Check != CheckMessage })
	return &facts{Failure: x.Failure, all: own, tables: x.tables}
}

// agreed is Confirmed, unless the runtime's text speaks of something else: then
// what we reproduced need not be what failed. A text about a mirror that fails
// for us too is no contradiction: runtimes show one endpoint's error of several.
func (x *facts) agreed(cause Cause) Confidence {
	r := x.reading()
	if hidden, _ := x.hidden(); r == Unknown && hidden != "" && cause != MirrorFailed {
		return Likely // the runtime may have shown either
	}
	if r == Unknown && x.unloaded() {
		return Likely // the runtime may have another configuration
	}
	if r == Unknown || x.akin(r, cause) || x.ofMirror(r) {
		return Confirmed
	}
	return Likely
}

// unloaded reports whether an answer rests on a file that the runtime need not have
// read since it was changed.
func (x *facts) unloaded() bool {
	return slices.ContainsFunc(x.attempts(), func(e *Evidence) bool { return e.Endpoint.Unloaded }) || x.changed() != nil
}

// changed is the note of a file that was changed after the runtime had started;
// nil if there is none.
func (x *facts) changed() *Evidence { return x.config(ConfigNotLoaded) }

// retried holds what the rules say against the pull tried again. What a check
// has found by itself, typed, stands; what rests on the runtime's words, or on
// nothing, does not stand against its deed. Of several credentials' failures the one
// that shows most decides.
func (x *facts) retried(cause Cause, confidence Confidence) (Cause, Confidence) {
	all := x.retries()
	failed := x.failedRetries()
	switch {
	case len(all) == 0, confidence == Confirmed && cause != NotReproducible:
		return cause, confidence
	case x.onlyReplayed() && cause != NotReproducible && x.beyondReplay(cause):
		return cause, confidence
	case x.cutOff():
		return x.reading(), Likely
	case x.onlyReplayed():
		return NotReproducible, Likely
	case slices.ContainsFunc(all, func(e *Evidence) bool { return e.passed() && x.refutes(e, cause) }):
		return NotReproducible, Confirmed
	case len(failed) == 0 && cause == NotReproducible && x.failedAgain():
		return Unknown, Suspected // in words that nobody knows
	case len(failed) == 0:
		return cause, confidence
	}
	told := x.mostTelling(failed)
	same := func(e *Evidence) bool { return e.Retry().Cause == cause }
	if told != cause && x.akin(told, cause) && !slices.ContainsFunc(failed, same) {
		return cause, confidence // texts are coarser than facts
	}
	return told, Confirmed
}

// tables are what verdicts are made by. The facts have them, so that rules and
// rows can run them again.
type tables struct {
	rules  []rule
	causes map[Cause]*Entry
}

var allTables = tables{rules: rules, causes: byCause} //nolint:gochecknoglobals // never written

// row returns what is known of a cause by itself; of one that is not in the
// catalogue (of a later version), what is known of Unknown.
func (x *facts) row(c Cause) *Entry { return cmp.Or(x.tables.causes[c], x.tables.causes[Unknown]) }

// akin reports whether a runtime's text speaking of a can come from b: texts are
// coarser than facts.
func (x *facts) akin(a, b Cause) bool {
	return a == b || x.row(a).kin&x.row(b).kin != 0
}
