package probe

import (
	"fmt"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
)

// now is the time by which logins are judged.
func (c *Collector) now() time.Time {
	if c.asker == nil {
		return time.Now()
	}
	return c.asker.now()
}

// nodeFile is the docker configuration of the node; nil if there is none, or
// none that is visible.
func (c *Collector) nodeFile() *keyring.NodeFile {
	if c.Node == nil {
		return nil
	}
	file, presence := c.Node.DockerConfig()
	if presence != kubelet.Present {
		return nil
	}
	return &file
}

// nodeEvidence tells of the node's own credentials if there are any for the
// image. That there are none is no fault of anything.
func nodeEvidence(found keyring.Lookup, f diagnosis.Failure, now time.Time) []diagnosis.Evidence {
	if found.Node == nil || !found.Node.Matches() {
		return nil
	}
	entry := matched(*found.Node, found.Logins)
	e := diagnosis.Evidence{
		Check: diagnosis.CheckCredentials, Outcome: diagnosis.Passed,
		Detail: fmt.Sprintf("the node's file %s has credentials for %s under %s", found.Node.Name, f.Registry, entry.Key),
	}
	if bringsNone(entry) {
		e.Outcome = diagnosis.Inconclusive
		e.Detail = fmt.Sprintf("the node's file %s names %s", found.Node.Name, f.Registry)
	} else if old, ok := outdated(found.Logins, found.Node.Name, true); ok {
		return []diagnosis.Evidence{expired(e, old, "the node's file "+found.Node.Name)}
	}
	e = soon(e, found.Logins, found.Node.Name, true, now)
	switch {
	case found.Node.Problem != "":
		e.Detail += ": " + found.Node.Reason
	case entry.Text != "":
		e.Detail += ": " + entry.Text
	}
	return []diagnosis.Evidence{e}
}

// outdated returns the first login of a source if all that it has for the image
// are over their time.
func outdated(logins []keyring.Login, source string, ofNode bool) (first keyring.Login, ok bool) {
	for _, l := range logins {
		switch {
		case l.Source != source || l.OfNode != ofNode || l.Empty():
		case !overdue(l):
			return keyring.Login{}, false
		case !ok:
			first, ok = l, true
		}
	}
	return first, ok
}

// overdue tells that a login is over its time by its own account or by its age.
func overdue(l keyring.Login) bool {
	return l.Validity == diagnosis.ValidityExpired || l.Validity == diagnosis.ValidityOutlived
}

// minute is how the times of credentials are told: dates and no ages, since
// evidence must not change with every look.
const minute = "2006-01-02 15:04 UTC"

// soon adds to the evidence on a source's logins that the last of them which
// names its end is over within the hour. One that names none may stay.
func soon(e diagnosis.Evidence, logins []keyring.Login, source string, ofNode bool, now time.Time) diagnosis.Evidence {
	var last time.Time
	for _, l := range logins {
		if l.Source != source || l.OfNode != ofNode || l.Empty() || overdue(l) {
			continue
		}
		if !l.EndsSoon(now) {
			return e
		}
		if l.Expires.After(last) {
			last = l.Expires
		}
	}
	if e.Outcome != diagnosis.Passed || last.IsZero() {
		return e
	}
	e.Expires = last
	e.Detail += "; it is a token that expires at " + last.UTC().Format(minute)
	return e
}

// expired is the evidence on a login that is over its time.
func expired(e diagnosis.Evidence, l keyring.Login, where string) diagnosis.Evidence {
	e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultCredentialExpired
	if l.Validity == diagnosis.ValidityExpired {
		e.Detail = fmt.Sprintf("%s (entry %s) holds a token that expired on %s", where, l.Key, l.Expires.UTC().Format(minute))
	} else {
		e.Detail = fmt.Sprintf("%s (entry %s) holds a token and was last changed on %s; such tokens live %s",
			where, l.Key, l.Changed.UTC().Format(minute), hours(l.Lifetime))
	}
	e.Credential = credential(l)
	return e
}

func hours(d time.Duration) string {
	if d == time.Hour {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", int(d.Hours()))
}

// credential names a login in evidence.
func credential(l keyring.Login) *diagnosis.Credential {
	return &diagnosis.Credential{Source: l.Source, OfNode: l.OfNode, Key: l.Key, Order: l.Order, Validity: l.Validity}
}

// providers tells which plugins the kubelet asks too. What they answer is not
// known, so it is no good news and no bad.
func (c *Collector) providers(f diagnosis.Failure) []diagnosis.Evidence {
	if c.Node == nil {
		return nil
	}
	var out []diagnosis.Evidence
	all, _ := c.Node.Providers(f.Ref())
	for _, p := range all {
		e := diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultProviderMatches, Provider: p.Name,
			Detail: fmt.Sprintf("the kubelet also asks credential provider %s, which is configured for %s", p.Name, pattern(p, f)),
		}
		if p.TokenMode {
			e.Detail += " and gets a token of the pod's service account"
		}
		e.Detail += "; whypull does not run it"
		out = append(out, e)
	}
	return out
}

func pattern(p kubelet.Provider, f diagnosis.Failure) string {
	if p.Pattern != "" {
		return p.Pattern
	}
	return f.Registry
}
