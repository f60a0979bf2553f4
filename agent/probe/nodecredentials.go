package probe

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
)

// now is the time by which credentials are judged.
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

// nodeEvidence is about the node's own credentials if there are any for the
// image. That there are none is no fault of anything.
func nodeEvidence(found keyring.Lookup, now time.Time) []diagnosis.Evidence {
	if found.Node == nil || !found.Node.Matches() {
		return nil
	}
	entry := matched(*found.Node, found.Credentials)
	facts := &diagnosis.CredentialFacts{File: found.Node.Name, Key: entry.Key, Note: entry.Text}
	if found.Node.Problem != "" {
		facts.Problem, facts.Note = found.Node.Reason, "" // one is enough
	}
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Passed, Body: facts}
	if bringsNone(entry) {
		e.Outcome = diagnosis.Inconclusive
	} else if old, ok := outdated(found.Credentials, found.Node.Name, true); ok {
		e.Outcome, e.Fault = diagnosis.Failed, expired(facts, old)
	} else {
		facts.Expires = soon(found.Credentials, found.Node.Name, true, now)
	}
	return []diagnosis.Evidence{e}
}

// outdated returns the first credential of a source if all that it has for the image
// are over their time.
func outdated(creds []keyring.Credential, source string, ofNode bool) (first keyring.Credential, ok bool) {
	for _, l := range creds {
		switch {
		case l.Source != source || l.OfNode != ofNode || l.Empty():
		case !overdue(l):
			return keyring.Credential{}, false
		case !ok:
			first, ok = l, true
		}
	}
	return first, ok
}

// overdue reports whether a credential is over its time by its own account or by its age.
func overdue(l keyring.Credential) bool {
	return l.Validity == diagnosis.ValidityExpired || l.Validity == diagnosis.ValidityOutlived
}

// soon returns when the last of a source's credentials expires that name their end, if
// all of them do so within the hour; else the zero time. One that names none may
// stay.
func soon(creds []keyring.Credential, source string, ofNode bool, now time.Time) time.Time {
	var last time.Time
	for _, l := range creds {
		if l.Source != source || l.OfNode != ofNode || l.Empty() || overdue(l) {
			continue
		}
		if !l.EndsSoon(now) {
			return time.Time{}
		}
		if l.Expires.After(last) {
			last = l.Expires
		}
	}
	return last
}

// expired notes the facts of a credential that has expired.
func expired(facts *diagnosis.CredentialFacts, l keyring.Credential) diagnosis.Fault {
	facts.Credential = credentialRef(l)
	if l.Validity == diagnosis.ValidityExpired {
		facts.ExpiredAt = l.Expires
	} else {
		facts.Changed, facts.Lifetime = l.Changed, l.Lifetime
	}
	return diagnosis.FaultCredentialExpired
}

// credentialRef names a credential in evidence.
func credentialRef(l keyring.Credential) *diagnosis.CredentialRef {
	return &diagnosis.CredentialRef{Source: l.Source, OfNode: l.OfNode, Key: l.Key, Order: l.Order, Validity: l.Validity}
}

// providers are the plugins that the kubelet asks too. What they answer is not
// known, so it is no good news and no bad.
func (c *Collector) providers(f diagnosis.Failure) []diagnosis.Evidence {
	if c.Node == nil {
		return nil
	}
	var out []diagnosis.Evidence
	all, _ := c.Node.Providers(f.Ref())
	for _, p := range all {
		out = append(out, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultProviderMatches,
			Body: &diagnosis.CredentialFacts{Provider: p.Name, Pattern: p.Pattern, TokenMode: p.TokenMode},
		})
	}
	return out
}
