package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
)

// Secrets reads pull secrets. The errors are kube.ErrNotFound, kube.ErrNoAccess
// or any other.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (kube.Secret, error)
}

// checkCredentials works out which logins the kubelet would try, and what is
// wrong with each secret that brings none.
func (c *Collector) checkCredentials(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Login) {
	if _, err := reference.ParseNormalizedNamed(f.Image); err != nil { // the kubelet does not come to the secrets
		return skipped("the image reference does not parse, so no secret is read", diagnosis.CheckCredentials), nil
	}
	if len(f.PullSecrets) == 0 {
		return []diagnosis.Evidence{{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials,
			Detail: "the pod names no pull secret",
		}}, nil
	}
	evidence := make([]diagnosis.Evidence, len(f.PullSecrets))
	var secrets []keyring.Secret
	var places []int // of each secret read, in evidence
	read := c.reader(ctx, f.Namespace)
	for i, name := range f.PullSecrets {
		s, e := read(name)
		evidence[i] = e
		if e.Fault == "" {
			secrets, places = append(secrets, s), append(places, i)
		}
	}
	found, err := keyring.Find(f.Image, secrets)
	if err != nil { // it has parsed above
		return skipped("no registry was found in the image reference", diagnosis.CheckCredentials), nil
	}
	for i, s := range found.Secrets {
		evidence[places[i]] = judge(s, found, f)
	}
	return evidence, found.Logins
}

// reader reads each secret once, though a pod may name it twice.
func (c *Collector) reader(ctx context.Context, namespace string) func(name string) (keyring.Secret, diagnosis.Evidence) {
	type result struct {
		secret   keyring.Secret
		evidence diagnosis.Evidence
	}
	had := map[string]result{}
	return func(name string) (keyring.Secret, diagnosis.Evidence) {
		r, ok := had[name]
		if !ok {
			r.secret, r.evidence = c.readSecret(ctx, namespace, name)
			had[name] = r
		}
		return r.secret, r.evidence
	}
}

// readSecret reads one secret; the evidence has a Fault if there is none to go
// on with.
func (c *Collector) readSecret(ctx context.Context, namespace, name string) (keyring.Secret, diagnosis.Evidence) {
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Secret: name}
	if c.Secrets == nil {
		e.Outcome, e.Fault, e.Detail = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, "no API server to read secrets from"
		return keyring.Secret{}, e
	}
	s, err := c.Secrets.Secret(ctx, namespace, name)
	switch {
	case err == nil:
		c.Metrics.SecretRead("found")
	case errors.Is(err, kube.ErrNotFound):
		c.Metrics.SecretRead("missing")
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultSecretMissing
		e.Detail = fmt.Sprintf("secret %s does not exist in namespace %s", name, namespace)
	case errors.Is(err, kube.ErrNoAccess):
		c.Metrics.SecretRead("forbidden")
		e.Outcome, e.Fault = diagnosis.NotRun, diagnosis.FaultSecretUnreadable
		e.Detail = fmt.Sprintf("whypull may not read secret %s; impersonate-on:associated-node:get or get on it would allow that", name)
	default:
		c.Metrics.SecretRead("error")
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultSecretUnreadable
		e.Detail = fmt.Sprintf("secret %s could not be read from the API server", name)
	}
	return keyring.Secret{Namespace: s.Namespace, Name: name, Type: s.Type, Data: s.Data}, e
}

// judge turns the keyring's view of one secret into evidence.
func judge(s keyring.SecretState, found keyring.Lookup, f diagnosis.Failure) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Secret: s.Name, Hosts: hosts(s)}
	switch {
	case s.Problem != "":
		e.Fault = secretFault(s.Problem)
		e.Detail = fmt.Sprintf("pull secret %s: %s", s.Name, s.Reason)
	case s.Matches():
		entry := matched(s)
		e.Outcome, e.Detail = diagnosis.Passed, fmt.Sprintf("secret %s has credentials for %s under %s", s.Name, f.Registry, entry.Key)
		if bringsNone(entry) {
			e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultSecretEmpty
			e.Detail = fmt.Sprintf("pull secret %s", s.Name)
		}
		if entry.Text != "" {
			e.Detail += ": " + entry.Text
		}
	default:
		e.Fault = diagnosis.FaultNoMatchingCredential
		e.Detail = fmt.Sprintf("secret %s is for %s, the image is on %s%s", s.Name, some(e.Hosts), f.Registry, whyNot(s, found))
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

// matched is the first entry that is for the image, one with a login if there
// is any.
func matched(s keyring.SecretState) keyring.Entry {
	i := slices.IndexFunc(s.Entries, func(e keyring.Entry) bool { return e.Matches && !bringsNone(e) })
	if i < 0 {
		i = slices.IndexFunc(s.Entries, func(e keyring.Entry) bool { return e.Matches })
	}
	return s.Entries[i]
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

// whyNot adds the reason why the entry that was most likely meant does not
// match, where it is not simply another host.
func whyNot(s keyring.SecretState, found keyring.Lookup) string {
	near, ok := found.Nearest()
	if !ok || near.Secret != s.Name || near.Entry.Why == keyring.OtherHost || near.Entry.Text == "" {
		return ""
	}
	return "; " + near.Entry.Text
}
