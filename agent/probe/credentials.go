package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// SecretFinder tells whether another namespace than this one has a secret of a
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
}

// checkCredentials works out which logins the kubelet would try, and what is
// wrong with each secret that brings none.
func (c *Collector) checkCredentials(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Login) {
	if !f.Ref().Valid() { // the kubelet does not come to the secrets
		return skipped("the image reference does not parse, so no secret is read", diagnosis.CheckCredentials), nil
	}
	if f.Kind == diagnosis.KindSandbox { // podsandbox ensureImageExists brings no login of the kubelet's
		return []diagnosis.Evidence{{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials,
			Detail: "the runtime pulls the sandbox image without any pull secret or credentials of the kubelet"}}, nil
	}
	evidence, secrets, places := c.readSecrets(ctx, f)
	found, err := keyring.Find(f.Ref(), keyring.Sources{Secrets: secrets, Node: c.nodeFile(), Now: c.now()})
	if err != nil { // it has parsed above
		return skipped("no registry was found in the image reference", diagnosis.CheckCredentials), nil
	}
	for i, s := range found.Secrets {
		evidence[places[i]] = soon(judge(s, found, f), found.Logins, s.Name, false, c.now())
	}
	evidence = append(evidence, nodeEvidence(found, f, c.now())...)
	return append(evidence, c.providers(f)...), found.Logins
}

// readSecrets reads what the pod names. Of each secret read it returns the
// place in the evidence, which is yet to be filled.
func (c *Collector) readSecrets(ctx context.Context, f diagnosis.Failure) (evidence []diagnosis.Evidence, secrets []keyring.Secret, places []int) {
	if len(f.PullSecrets) == 0 {
		return []diagnosis.Evidence{namesNone(f)}, nil, nil
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

// namesNone is the evidence on a pod without pull secrets. Those of its service
// account are copied when a pod is made (admission plugin ServiceAccount), so
// that who adds one mends no pod that is there.
func namesNone(f diagnosis.Failure) diagnosis.Evidence {
	e := diagnosis.Evidence{
		Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials,
		Detail: "the pod names no pull secret",
	}
	if f.ServiceAccount != "" && !f.Offline {
		e.Detail += fmt.Sprintf("; one that is added to service account %s counts for new pods only", f.ServiceAccount)
	}
	return e
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
	namespace := f.Namespace
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Secret: name}
	if c.Secrets == nil {
		e.Outcome, e.Fault, e.Detail = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, "no API server to read secrets from"
		return keyring.Secret{}, e
	}
	s, err := c.Secrets.Secret(ctx, namespace, name)
	c.noteSecret(f, name, s, err)
	var unread Unread
	switch {
	case err == nil:
		c.Metrics.SecretRead("found")
	case errors.Is(err, kube.ErrNotFound):
		c.Metrics.SecretRead("missing")
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultSecretMissing
		e.Detail = fmt.Sprintf("secret %s does not exist in namespace %s", name, namespace)
		c.elsewhere(ctx, namespace, &e)
	case errors.As(err, &unread):
		e.Outcome, e.Fault, e.Detail = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, unread.Error()
	case errors.Is(err, kube.ErrNoAccess):
		c.Metrics.SecretRead("forbidden")
		e.Outcome, e.Fault = diagnosis.NotRun, diagnosis.FaultSecretUnreadable
		e.Detail = fmt.Sprintf("whypull may not read secret %s; impersonate-on:associated-node:get or get on it would allow that", name)
	default:
		c.Metrics.SecretRead("error")
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultSecretUnreadable
		e.Detail = fmt.Sprintf("secret %s could not be read from the API server", name)
	}
	return keyring.Secret{Namespace: s.Namespace, Name: name, UID: s.UID, Changed: s.Changed, Type: s.Type, Data: s.Data}, e
}

// elsewhere adds whether there is a secret of the missing one's name in another
// namespace, and never in which: the pod's author chooses the name, and may not
// see that namespace.
func (c *Collector) elsewhere(ctx context.Context, namespace string, e *diagnosis.Evidence) {
	finder, ok := c.Secrets.(SecretFinder)
	if !ok {
		return
	}
	exists, err := finder.ExistsElsewhere(ctx, namespace, e.Secret)
	switch {
	case err != nil:
		e.Detail += "; one of that name in another namespace does not count"
	case exists:
		e.Detail += "; a secret of that name exists in another namespace"
	}
}

// judge turns the keyring's view of one secret into evidence. It always has the
// secret's registry keys: who makes the secret anew loses them all.
func judge(s keyring.SecretState, found keyring.Lookup, f diagnosis.Failure) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Secret: s.Name, Hosts: hosts(s)}
	switch {
	case s.Problem != "":
		e.Fault = secretFault(s.Problem)
		e.Detail = fmt.Sprintf("pull secret %s: %s", s.Name, s.Reason)
	case s.Matches():
		entry := matched(s, found.Logins)
		e.Outcome, e.Detail = diagnosis.Passed, fmt.Sprintf("secret %s has credentials for %s under %s", s.Name, f.Registry, entry.Key)
		if bringsNone(entry) {
			e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultSecretEmpty
			e.Detail = fmt.Sprintf("pull secret %s", s.Name)
		} else if old, ok := outdated(found.Logins, s.Name, false); ok {
			return expired(e, old, "secret "+s.Name)
		}
		if entry.Text != "" {
			e.Detail += ": " + entry.Text
		}
	default:
		e.Fault = diagnosis.FaultNoMatchingCredential
		e.Detail = fmt.Sprintf("secret %s is for %s%s", s.Name, some(e.Hosts), whyNot(s, found, f))
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

// matched is the first entry that is for the image: one with a login that is
// not over its time if there is any, else one with a login.
func matched(s keyring.SecretState, logins []keyring.Login) keyring.Entry {
	var found []keyring.Entry
	for _, e := range s.Entries {
		if e.Matches {
			found = append(found, e)
		}
	}
	over := func(e keyring.Entry) bool {
		return slices.ContainsFunc(logins, func(l keyring.Login) bool { return l.Source == s.Name && l.Key == e.Key && overdue(l) })
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

// bringsNone tells that the entry's login is empty: the kubelet sends it, and
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

func some(hosts []string) string {
	const most = 5
	if len(hosts) == 0 {
		return "no registry"
	}
	s := strings.Join(hosts[:min(len(hosts), most)], ", ")
	if n := len(hosts) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// whyNot says where the image is, and the reason why the entry that was most
// likely meant does not match, where it is not simply another host.
func whyNot(s keyring.SecretState, found keyring.Lookup, f diagnosis.Failure) string {
	near, ok := found.Nearest()
	place := ", the image is on " + f.Registry
	switch {
	case !ok || near.Secret != s.Name || near.Entry.Why == keyring.OtherHost || near.Entry.Text == "":
		return place
	case near.Entry.Why == keyring.OtherPort || near.Entry.Why == keyring.OtherPath: // which say it themselves
		return "; " + near.Entry.Text
	}
	return place + "; " + near.Entry.Text
}
