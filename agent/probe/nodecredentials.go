package probe

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
)

// now returns the current time of the collector's clock.
func (c *Collector) now() time.Time {
	if c.asker == nil {
		return time.Now()
	}
	return c.asker.now()
}

// nodeFile returns the node's docker config; nil if there is none or it is not
// visible.
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

// nodeEvidence returns the evidence about the node's own credentials for the image;
// nil if there are none, which is normal.
func nodeEvidence(found keyring.Lookup, now time.Time) []diagnosis.Evidence {
	if found.Node == nil || !found.Node.Matches() {
		return nil
	}
	entry := matched(*found.Node, found.Credentials)
	facts := &diagnosis.CredentialFacts{File: found.Node.Name, Key: entry.Key, Note: entry.Text}
	if entry.Doubt == keyring.RobotName { // no shell stands between a file and its writer
		facts.Note = ""
	}
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

// outdated returns the first credential of a source if all its credentials for the
// image have expired.
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

// overdue reports whether a credential has expired, by its own content or by its age.
func overdue(l keyring.Credential) bool {
	return l.Validity == diagnosis.ValidityExpired || l.Validity == diagnosis.ValidityOutlived
}

// soon returns when the last of a source's credentials expires, if all of them
// expire within the hour; else the zero time.
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

// expired sets the facts about an expired credential.
func expired(facts *diagnosis.CredentialFacts, l keyring.Credential) diagnosis.Fault {
	facts.Credential = credentialRef(l)
	if l.Validity == diagnosis.ValidityExpired {
		facts.ExpiredAt = l.Expires
	} else {
		facts.Changed, facts.Lifetime = l.Changed, l.Lifetime
	}
	return diagnosis.FaultCredentialExpired
}

// credentialRef returns the reference to a credential in evidence.
func credentialRef(l keyring.Credential) *diagnosis.CredentialRef {
	return &diagnosis.CredentialRef{Source: l.Source, OfNode: l.OfNode, Key: l.Key, Order: l.Order, Validity: l.Validity}
}

// providers returns the evidence about the credential provider plugins for the
// image. Their credentials are unknown.
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
	for _, p := range c.Node.NearProviders(f.Ref()) {
		out = append(out, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Reason: diagnosis.ReasonProviderNear,
			Body: &diagnosis.CredentialFacts{Provider: p.Name, Pattern: p.Pattern},
		})
	}
	return out
}
