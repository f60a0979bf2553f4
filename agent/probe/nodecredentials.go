package probe

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/provider"
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

// unseenNodeFiles returns the evidence about files of the node's credentials that whypull does
// not see, for a pod that brings none itself and that no provider is for.
func (c *Collector) unseenNodeFiles() []diagnosis.Evidence {
	from, ok := c.Node.(unseenFiles)
	if !ok {
		return nil
	}
	var out []diagnosis.Evidence
	for _, name := range from.UnseenDockerConfigs() {
		out = append(out, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Reason: diagnosis.ReasonNodeCredentialsUnseen,
			Body: &diagnosis.CredentialFacts{File: name},
		})
	}
	return out
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
	} else if expired(facts, found.Credentials, found.Node.Name, true, now) {
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultCredentialExpired
	}
	return []diagnosis.Evidence{e}
}

// expired reports whether all of a source's credentials for the image have expired, and
// sets the facts about the first of them. If all expire within the hour, it sets when the
// last one does.
func expired(facts *diagnosis.CredentialFacts, creds []keyring.Credential, source string, ofNode bool, now time.Time) bool {
	var old, valid []keyring.Credential
	for _, l := range creds {
		switch {
		case l.Source != source || l.OfNode != ofNode || l.Incomplete():
		case overdue(l):
			old = append(old, l)
		default:
			valid = append(valid, l)
		}
	}
	switch {
	case len(valid) > 0:
		facts.Expires = soon(valid, now)
		return false
	case len(old) == 0:
		return false
	case old[0].Validity == diagnosis.ValidityExpired:
		facts.ExpiredAt = old[0].Expires
	default:
		facts.Changed, facts.Lifetime = old[0].Changed, old[0].Lifetime
	}
	facts.Credential = credentialRef(old[0])
	return true
}

// overdue reports whether a credential has expired, by its own content or by its age.
func overdue(l keyring.Credential) bool {
	return l.Validity == diagnosis.ValidityExpired || l.Validity == diagnosis.ValidityOutlived
}

// soon returns when the last of the credentials expires, if all of them expire within
// the hour; else the zero time.
func soon(creds []keyring.Credential, now time.Time) time.Time {
	var last time.Time
	for _, l := range creds {
		if !l.EndsSoon(now) {
			return time.Time{}
		}
		if l.Expires.After(last) {
			last = l.Expires
		}
	}
	return last
}

// credentialRef returns the reference to a credential in evidence.
func credentialRef(l keyring.Credential) *diagnosis.CredentialRef {
	return &diagnosis.CredentialRef{Source: l.Source, OfNode: l.OfNode, OfProvider: l.OfProvider, Key: l.Key, Order: l.Order, Validity: l.Validity}
}

// providers returns the evidence about the credential provider plugins for the
// image. Their credentials are unknown.
func (c *Collector) providers(f diagnosis.Failure) []diagnosis.Evidence {
	if c.Node == nil {
		return nil
	}
	var out []diagnosis.Evidence
	for _, p := range c.Node.Providers(f.Ref()) {
		out = append(out, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultProviderMatches,
			Body: &diagnosis.CredentialFacts{Provider: p.Name, Pattern: p.Pattern, TokenMode: p.TokenMode},
		})
	}
	for _, p := range c.Node.NearProviders(f.Ref()) {
		reason := diagnosis.ReasonProviderNear
		if p.Pattern == "" {
			reason = diagnosis.ReasonProviderUnfilled
		}
		out = append(out, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Reason: reason,
			Body: &diagnosis.CredentialFacts{Provider: p.Name, Pattern: p.Pattern},
		})
	}
	return out
}

// Providers runs credential provider plugins of the kubelet.
type Providers interface {
	// Run returns what the plugin of a name returns for a failure's image. It takes at
	// most a minute, once it is the turn of the context's tenant.
	Run(ctx context.Context, name string, f diagnosis.Failure) provider.Answer
}

// toRun returns the indexes of the evidence about plugins that are to be run.
func (c *Collector) toRun(f diagnosis.Failure, known []diagnosis.Evidence) []int {
	if c.Providers == nil || f.Kind == diagnosis.KindSandbox {
		return nil
	}
	var out []int
	for i, e := range known {
		if e.Fault == diagnosis.FaultProviderMatches && e.Outcome == diagnosis.NotRun {
			out = append(out, i)
		}
	}
	return out
}

// whileRunning returns the evidence of the quick checks as long as plugins run.
func (c *Collector) whileRunning(f diagnosis.Failure, known []diagnosis.Evidence) []diagnosis.Evidence {
	known = slices.Clone(known)
	for _, i := range c.toRun(f, known) {
		known[i] = ran(known[i], provider.Answer{Run: diagnosis.ProviderRunning})
	}
	return known
}

// runProviders runs the plugins for the image at the same time. It returns the evidence
// of the quick checks with what they came to, and the credentials that the kubelet
// tries with theirs behind.
func (c *Collector) runProviders(ctx context.Context, f diagnosis.Failure, known []diagnosis.Evidence, creds []keyring.Credential) ([]diagnosis.Evidence, []keyring.Credential) {
	places := c.toRun(f, known)
	if len(places) == 0 {
		return known, creds
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	answers := make([]provider.Answer, len(places))
	provided := make([]keyring.Provided, len(places))
	var wg sync.WaitGroup
	for i, at := range places {
		name := known[at].Credentials().Provider
		wg.Go(func() {
			answers[i] = c.Providers.Run(ctx, name, f)
			provided[i] = keyring.Provided{Name: name, Credentials: answers[i].Credentials}
		})
	}
	wg.Wait()
	found, states := keyring.FindProvided(f.Ref(), provided, 1+len(creds), c.now())
	known = slices.Clone(known)
	for i, at := range places {
		known[at] = matchedBy(ran(known[at], answers[i]), states[i], found)
	}
	return known, slices.Concat(creds, found)
}

// ran returns the evidence about a plugin with what running it came to.
func ran(e diagnosis.Evidence, a provider.Answer) diagnosis.Evidence {
	facts := *e.Credentials()
	facts.Run, facts.ExitStatus, facts.Annotation = a.Run, a.ExitStatus, a.Annotation
	e.Body = &facts
	if e.Outcome = a.Run.Shows(); e.Outcome == diagnosis.Passed {
		e.Fault = ""
	} else if e.Outcome == diagnosis.Failed {
		e.Fault = diagnosis.FaultProviderFailed
	}
	return e
}

// matchedBy returns the evidence about a plugin that has returned credentials, with the
// entry that is for the image.
func matchedBy(e diagnosis.Evidence, state keyring.SecretState, creds []keyring.Credential) diagnosis.Evidence {
	if e.Outcome != diagnosis.Passed {
		return e
	}
	if !state.Matches() {
		return ran(e, provider.Answer{Run: diagnosis.ProviderGaveOthers})
	}
	entry := matched(state, creds)
	if bringsNone(entry) { // the kubelet tries it, and the runtime sends nothing
		return ran(e, provider.Answer{Run: diagnosis.ProviderGaveNone})
	}
	e.Credentials().Key, e.Credentials().Note = entry.Key, entry.Text // of the copy that ran has made
	if entry.Doubt == keyring.RobotName {
		e.Credentials().Note = ""
	}
	return e
}
