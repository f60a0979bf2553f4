package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/share"
)

// How much of the pull secrets of one pod is decoded. A secret may have 1 MiB, and an entry
// takes 300 bytes though 7 bytes write it. Each needs a colon.
const (
	maxSecretData   = 128 << 10
	maxSecretColons = 2000
)

// Secrets reads pull secrets. Errors wrap kube.ErrNotFound, kube.ErrNoAccess or
// neither.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (kube.Secret, error)
}

// Unread is an error of Secrets whose text is a sentence for the report on why a
// secret was not read.
type Unread string

// Error implements error.
func (u Unread) Error() string { return string(u) }

// SecretFinder reports whether another namespace has a secret of the same name. A
// Secrets may implement it. Errors wrap kube.ErrNoAccess or not.
type SecretFinder interface {
	ExistsElsewhere(ctx context.Context, namespace, secretName string) (bool, error)
}

// NodeCredentials reads the kubelet's files that concern credentials.
type NodeCredentials interface {
	// DockerConfig returns the file with the node's own credentials.
	DockerConfig() (keyring.NodeFile, kubelet.Presence)
	// Providers returns the credential provider plugins for an image.
	Providers(image diagnosis.Image) []kubelet.Provider
	// Use returns whether the kubelet lets a pod use an image that is present.
	Use(q kubelet.Question) diagnosis.ImageFacts
	// ClusterDNS are the name servers that it gives to pods, as far as that is
	// visible.
	ClusterDNS() []netip.Addr
	// ParallelPulls is how many images it pulls at the same time; 1 if that is not
	// visible.
	ParallelPulls() int
	// NearProviders are the plugins that it does not ask, by a pattern that nearly
	// matches.
	NearProviders(image diagnosis.Image) []kubelet.Provider
}

// checkCredentials returns the credentials that the kubelet would try, and the
// evidence about each secret.
func (c *Collector) checkCredentials(ctx context.Context, f diagnosis.Failure) ([]diagnosis.Evidence, []keyring.Credential) {
	if !f.Ref().Valid() { // the kubelet does not get to the secrets
		return skipped(diagnosis.ReasonNoSecretRead, diagnosis.CheckCredentials), nil
	}
	if f.Kind == diagnosis.KindSandbox { // podsandbox ensureImageExists brings no credential of the kubelet's
		return []diagnosis.Evidence{namesNone()}, nil
	}
	evidence, secrets, places := c.readSecrets(ctx, f)
	found := keyring.Find(f.Ref(), keyring.Sources{Secrets: secrets, Node: c.nodeFile(), Now: c.now()})
	near := found.Nearest() // once: it compares all entries with the image
	for i, s := range found.Secrets {
		e := judge(s, found.Credentials, near, c.now())
		facts := e.Credentials()
		facts.Manager = evidence[places[i]].Credentials().Manager
		facts.Hosts = share.Once(ctx, hostsKey{f.Namespace, s.Name}, func() *diagnosis.CredentialFacts { return facts }).Hosts // one list for all containers
		evidence[places[i]] = e
	}
	evidence = append(evidence, nodeEvidence(found, c.now())...)
	providers := c.providers(f)
	if len(providers) == 0 && !slices.ContainsFunc(found.Credentials, func(l keyring.Credential) bool { return !l.Incomplete() }) {
		evidence = append(evidence, c.unseenNodeFiles()...)
	}
	return append(evidence, providers...), found.Credentials
}

// readSecrets reads the pod's pull secrets. places are the indexes in evidence of
// the secrets that were read, which the caller fills.
func (c *Collector) readSecrets(ctx context.Context, f diagnosis.Failure) (evidence []diagnosis.Evidence, secrets []keyring.Secret, places []int) {
	if len(f.PullSecrets)+f.MoreSecrets == 0 {
		return []diagnosis.Evidence{namesNone()}, nil, nil
	}
	evidence = make([]diagnosis.Evidence, len(f.PullSecrets))
	ctx = share.WithOnce(ctx)
	for i, name := range f.PullSecrets {
		s, e := c.read(ctx, f, name)
		evidence[i] = e
		if e.Fault == "" {
			secrets, places = append(secrets, s), append(places, i)
		}
	}
	if f.MoreSecrets > 0 {
		evidence = append(evidence, diagnosis.Evidence{
			Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultSecretUnreadable,
			Body: &diagnosis.CredentialFacts{More: f.MoreSecrets},
		})
	}
	return evidence, secrets, places
}

// namesNone returns the evidence about a pod without pull secrets.
func namesNone() diagnosis.Evidence {
	return diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Fault: diagnosis.FaultNoCredentials}
}

// secretRead is one reading of a secret; secretKey makes it happen once for all
// containers of a pod.
type (
	secretRead struct {
		secret   keyring.Secret
		evidence diagnosis.Evidence
	}
	secretKey struct{ namespace, name string }
	hostsKey  struct{ namespace, name string }
)

// allowance is how much of a pod's secrets is still decoded; allowanceKey is the namespace.
type (
	allowance struct {
		mu            sync.Mutex
		bytes, colons int
	}
	allowanceKey string
)

// has takes a secret's content out of the allowance, if there is enough left.
func (a *allowance) has(content map[string][]byte) bool {
	size, colons := 0, 0
	for _, data := range content {
		size, colons = size+len(data), colons+bytes.Count(data, []byte(":"))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if size > a.bytes || colons > a.colons {
		return false
	}
	a.bytes, a.colons = a.bytes-size, a.colons-colons
	return true
}

// read reads a secret once, though a pod may name it for many containers.
func (c *Collector) read(ctx context.Context, f diagnosis.Failure, name string) (keyring.Secret, diagnosis.Evidence) {
	r := share.Once(ctx, secretKey{f.Namespace, name}, func() (r secretRead) {
		r.secret, r.evidence = c.readSecret(ctx, f, name)
		left := share.Once(ctx, allowanceKey(f.Namespace), func() *allowance { return &allowance{bytes: maxSecretData, colons: maxSecretColons} })
		if r.evidence.Fault == "" && !left.has(r.secret.Data.Reveal()) {
			r = secretRead{evidence: tooLarge(name)}
		}
		return r
	})
	return r.secret, r.evidence
}

// tooLarge returns the evidence about a secret that is not decoded.
func tooLarge(name string) diagnosis.Evidence {
	return diagnosis.Evidence{
		Check: diagnosis.CheckCredentials, Outcome: diagnosis.NotRun, Fault: diagnosis.FaultSecretUnreadable,
		Body: &diagnosis.CredentialFacts{Unread: fmt.Sprintf("secret %s is not examined: whypull reads at most %d KiB of a pod's pull secrets", name, maxSecretData>>10)},
	}
}

// readSecret reads one secret. The evidence has a Fault if it could not be read.
func (c *Collector) readSecret(ctx context.Context, f diagnosis.Failure, name string) (keyring.Secret, diagnosis.Evidence) {
	facts := &diagnosis.CredentialFacts{Secret: name}
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Body: facts}
	if c.Secrets == nil {
		e.Outcome, e.Fault, e.Reason = diagnosis.NotRun, diagnosis.FaultSecretUnreadable, diagnosis.ReasonNoAPIServer
		return keyring.Secret{}, e
	}
	s, err := c.Secrets.Secret(ctx, f.Namespace, name)
	if c.Basis != nil {
		c.Basis.Secret(f, name, s.Version, err)
	}
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
	facts.Manager = s.Manager
	return keyring.Secret{Name: name, UID: s.UID, Changed: s.Changed, Type: s.Type, Data: s.Data}, e
}

// elsewhere returns whether another namespace has a secret with the name of the
// missing one.
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

// judge returns the evidence about one secret that was read. It always has the
// secret's registry keys, all of which would be lost if the secret were created
// again. near is the most similar entry of all secrets.
func judge(s keyring.SecretState, creds []keyring.Credential, near keyring.Near, now time.Time) diagnosis.Evidence {
	facts := &diagnosis.CredentialFacts{Secret: s.Name, Hosts: hosts(s), Legacy: s.Legacy}
	e := diagnosis.Evidence{Check: diagnosis.CheckCredentials, Outcome: diagnosis.Failed, Body: facts}
	switch {
	case s.Problem != "":
		e.Fault, facts.Problem = secretFault(s.Problem), s.Reason
	case s.Matches():
		entry := matched(s, creds)
		if bringsNone(entry) {
			e.Fault, facts.Problem = diagnosis.FaultSecretEmpty, entry.Text
		} else if expired(facts, creds, s.Name, false, now) {
			e.Fault = diagnosis.FaultCredentialExpired
		} else {
			e.Outcome, facts.Key, facts.Note, facts.Padding = diagnosis.Passed, entry.Key, entry.Text, entry.Padding
			switch entry.Doubt { //nolint:exhaustive // the others say nothing about a refusal
			case keyring.RobotName: // some registries have such users
				facts.Note, facts.IfRejected = "", entry.Text
			case keyring.AuthWins, keyring.Placeholder:
				facts.IfRejected = entry.Text
			}
		}
	default:
		e.Fault = diagnosis.FaultNoMatchingCredential
		facts.Near, facts.NearIs = whyNot(s, near)
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

// matched returns the first entry that matches the image, preferring entries with a
// credential that has not expired, then entries with any credential.
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

// bringsNone reports whether the entry's credential is incomplete: the kubelet passes it
// on but the runtime treats it as anonymous.
func bringsNone(e keyring.Entry) bool {
	return slices.Contains([]keyring.Doubt{keyring.TokenOnly, keyring.NoCredential, keyring.NoUser, keyring.NoPassword}, e.Doubt)
}

// hosts returns the secret's distinct registry keys, sorted.
func hosts(s keyring.SecretState) []string {
	var out []string
	for _, e := range s.Entries {
		out = append(out, e.Key)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// whyNot returns why the most similar entry does not match, unless it is just for
// another host.
func whyNot(s keyring.SecretState, near keyring.Near) (text string, is diagnosis.Nearness) {
	switch {
	case near.Secret != s.Name || near.Entry.Why == keyring.OtherHost:
		return "", ""
	case near.Entry.Why == keyring.OtherPath:
		return near.Entry.PathHint(), diagnosis.NearOtherPath
	case near.Entry.Why == keyring.OtherPort:
		return near.Entry.Text, diagnosis.NearOtherPort
	}
	return near.Entry.Text, ""
}
