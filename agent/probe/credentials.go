package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
)

// Secrets reads pull secrets. The errors are kube.ErrNotFound, kube.ErrNoAccess
// or any other.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (kube.Secret, error)
}

// Unread is a Secrets' error that says by itself, in a sentence for the report,
// why a secret is not to be had.
type Unread string

// Error implements error.
func (u Unread) Error() string { return string(u) }

// SecretFinder reports whether another namespace than this one has a secret of a
// name. A Secrets may implement it. The errors are kube.ErrNoAccess or any other.
type SecretFinder interface {
	ExistsElsewhere(ctx context.Context, namespace, secretName string) (bool, error)
}

// NodeCredentials is what the kubelet has on its node's disk that decides about
// credentials.
type NodeCredentials interface {
	// DockerConfig is the file that the kubelet takes the node's credentials from.
	DockerConfig() (keyring.NodeFile, kubelet.Presence)
	// Providers are the credential provider plugins that it asks for an image.
	Providers(image diagnosis.Image) ([]kubelet.Provider, kubelet.Presence)
	// Verdict says whether it lets a pod use an image that is there.
	Verdict(q kubelet.Question) kubelet.Answer
	// ClusterDNS are the name servers that it gives to pods, as far as that is
	// visible.
	ClusterDNS() []netip.Addr
}

// checkCredentials works out which credentials the kubelet would try, and what is
// wrong with each secret that brings none.
func (c *Collector) checkCredentials(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Credential) {
	if !f.Ref().Valid() { // the kubelet does not come to the secrets
		return skipped(diagnosis.ReasonNoSecretRead, diagnosis.CheckCredentials), nil
	}
	if f.Kind == diagnosis.KindSandbox { // podsandbox ensureImageExists brings no credential of the kubelet's
		return []diagnosis.Evidence{{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials}}, nil
	}
	evidence, secrets, places := c.readSecrets(ctx, f)
	found, err := keyring.Find(f.Ref(), keyring.Sources{Secrets: secrets, Node: c.nodeFile(), Now: c.now()})
	if err != nil { // it has parsed above
		return skipped(diagnosis.ReasonNoRegistryFound, diagnosis.CheckCredentials), nil
	}
	for i, s := range found.Secrets {
		evidence[places[i]] = judge(s, found, c.now())
	}
	evidence = append(evidence, nodeEvidence(found, c.now())...)
	return append(evidence, c.providers(f)...), found.Credentials
}

// readSecrets reads what the pod names. Of each secret read it returns the
// place in the evidence, which is yet to be filled.
func (c *Collector) readSecrets(ctx context.Context, f diagnosis.Failure) (evidence []diagnosis.Evidence, secrets []keyring.Secret, places []int) {
	if len(f.PullSecrets) == 0 {
		return []diagnosis.Evidence{namesNone()}, nil, nil
	}
	evidence = make([]diagnosis.Evidence, len(f.PullSecrets))
	read := c.reader(ctx, f)
	for i, name := range f.PullSecrets {
		s, e := read(name)
		evidence[i] = e
		if e.Fault == "" {
			secrets, places = append(secrets, s), append(places, i)
		}
	}
	return evidence, secrets, places
}

// namesNone is the evidence on a pod without pull secrets.
func namesNone() diagnosis.Evidence {
	return diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials}
}

// reader reads each secret once, though a pod may name it twice.
func (c *Collector) reader(ctx context.Context, f diagnosis.Failure) func(name string) (keyring.Secret, diagnosis.Evidence) {
	type result struct {
		secret   keyring.Secret
		evidence diagnosis.Evidence
	}
	had := map[string]result{}
	return func(name string) (keyring.Secret, diagnosis.Evidence) {
		r, ok := had[name]
		if !ok {
			r.secret, r.evidence = c.readSecret(ctx, f, name)
			had[name] = r
		}
		return r.secret, r.evidence
	}
}

// readSecret reads one secret; the evidence has a Fault if there is none to go
// on with.
func (c *Collector) readSecret(ctx context.Context, f diagnosis.Failure, name string) (keyring.Secret, diagnosis.Evidence) {
	facts := &diagnosis.CredentialFacts{Secret: name}
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Body: facts}
	if c.Secrets == nil {
		e.Outcome, e.Fault, e.Reason = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, diagnosis.ReasonNoAPIServer
		return keyring.Secret{}, e
	}
	s, err := c.Secrets.Secret(ctx, f.Namespace, name)
	c.noteSecret(f, name, s, err)
	var unread Unread
	switch {
	case err == nil:
		c.Metrics.SecretRead("found")
	case errors.Is(err, kube.ErrNotFound):
		c.Metrics.SecretRead("missing")
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultSecretMissing
		facts.Elsewhere = c.elsewhere(ctx, f.Namespace, name)
	case errors.As(err, &unread):
		e.Outcome, e.Fault, facts.Unread = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, unread.Error()
	case errors.Is(err, kube.ErrNoAccess):
		c.Metrics.SecretRead("forbidden")
		e.Outcome, e.Fault, e.Reason = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, diagnosis.ReasonSecretForbidden
	default:
		c.Metrics.SecretRead("error")
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultSecretUnreadable
	}
	return keyring.Secret{Namespace: s.Namespace, Name: name, UID: s.UID, Changed: s.Changed, Type: s.Type, Data: s.Data}, e
}

// elsewhere returns whether there is a secret of the missing one's name in another
// namespace.
func (c *Collector) elsewhere(ctx context.Context, namespace, name string) diagnosis.Elsewhere {
	finder, ok := c.Secrets.(SecretFinder)
	if !ok {
		return ""
	}
	exists, err := finder.ExistsElsewhere(ctx, namespace, name)
	switch {
	case err != nil:
		return diagnosis.ElsewhereUnknown
	case exists:
		return diagnosis.ElsewhereExists
	}
	return ""
}

// judge turns the keyring's view of one secret into evidence. It always has the
// secret's registry keys: who makes the secret anew loses them all.
func judge(s keyring.SecretState, found keyring.Lookup, now time.Time) diagnosis.Evidence {
	facts := &diagnosis.CredentialFacts{Secret: s.Name, Hosts: hosts(s)}
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Body: facts}
	switch {
	case s.Problem != "":
		e.Fault, facts.Problem = secretFault(s.Problem), s.Reason
	case s.Matches():
		entry := matched(s, found.Credentials)
		if bringsNone(entry) {
			e.Fault, facts.Problem = diagnosis.FaultSecretEmpty, entry.Text
		} else if old, ok := outdated(found.Credentials, s.Name, false); ok {
			e.Fault = expired(facts, old)
		} else {
			e.Outcome, facts.Key, facts.Note = diagnosis.Passed, entry.Key, entry.Text
			facts.Expires = soon(found.Credentials, s.Name, false, now)
		}
	default:
		e.Fault = diagnosis.FaultNoMatchingCredential
		facts.Near, facts.NearPlace = whyNot(s, found)
	}
	return e
}

func secretFault(p keyring.Problem) diagnosis.Fault {
	switch p {
	case keyring.WrongType:
		return diagnosis.FaultSecretWrongType
	case keyring.Malformed:
		return diagnosis.FaultSecretMalformed
	default:
		return diagnosis.FaultSecretEmpty
	}
}

// matched is the first entry that is for the image: one with a credential that is
// not over its time if there is any, else one with a credential.
func matched(s keyring.SecretState, creds []keyring.Credential) keyring.Entry {
	var found []keyring.Entry
	for _, e := range s.Entries {
		if e.Matches {
			found = append(found, e)
		}
	}
	over := func(e keyring.Entry) bool {
		return slices.ContainsFunc(creds, func(l keyring.Credential) bool { return l.Source == s.Name && l.Key == e.Key && overdue(l) })
	}
	rank := func(e keyring.Entry) int {
		switch {
		case bringsNone(e):
			return 2
		case over(e):
			return 1
		default:
			return 0
		}
	}
	return slices.MinFunc(found, func(a, b keyring.Entry) int { return rank(a) - rank(b) })
}

// bringsNone reports whether the entry's credential is empty: the kubelet sends it, and
// the runtime takes it for none.
func bringsNone(e keyring.Entry) bool {
	return e.Doubt == keyring.TokenOnly || e.Doubt == keyring.NoLogin
}

// hosts are the secret's registry keys, as a person should read them.
func hosts(s keyring.SecretState) []string {
	var out []string
	for _, e := range s.Entries {
		out = append(out, e.Key)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// whyNot returns the reason why the entry that was most likely meant does not
// match, where it is not simply another host, and whether it says where the image
// is.
func whyNot(s keyring.SecretState, found keyring.Lookup) (text string, place bool) {
	near, ok := found.Nearest()
	if !ok || near.Secret != s.Name || near.Entry.Why == keyring.OtherHost {
		return "", false
	}
	return near.Entry.Text, near.Entry.Why == keyring.OtherPort || near.Entry.Why == keyring.OtherPath
}
