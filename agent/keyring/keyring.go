package keyring

import (
	_ "crypto/sha256" // image references with a digest are checked with it
	_ "crypto/sha512"
	"fmt"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Sources are where the kubelet looks for credentials, in its order; those of
// credential provider plugins, which come last, are not known here.
type Sources struct {
	// Secrets are those of the pod's imagePullSecrets that exist, in the pod's
	// order; one that is listed twice counts twice, as for the kubelet.
	Secrets []Secret
	// Node is the node's own docker configuration; nil if there is none, or if
	// it is not known.
	Node *NodeFile
	// Now is the time that the validity of credentials is judged at; zero: it is not.
	Now time.Time
}

// Lookup is what the kubelet finds for one image in the secrets of one pod and
// in the node's own file.
type Lookup struct {
	// Image is the normalised name without tag and digest, as the kubelet
	// looks it up: "docker.io/library/nginx" for "nginx:1.27".
	Image string
	// Host is the registry host of Image, with its port if it names one.
	Host string
	// Credentials are the kubelet's attempts in their order: those of the secrets,
	// then those of the node's file; those of credential provider plugins would
	// come after them. If there are none at all, the kubelet makes one anonymous
	// attempt, unless Broken is set; if there are some, it makes none
	// (kuberuntime PullImage).
	Credentials []Credential
	// Secrets has one state per given secret, in the order given.
	Secrets []SecretState
	// Node is the state of the node's file, under its path; nil without one.
	Node *SecretState
	// Broken is a *MalformedError if one of the secrets makes the kubelet
	// give up on every image of the pod that it has to look up credentials
	// for, whatever the other secrets hold. Credentials is then empty; the states
	// still tell what would match once the secret is mended.
	Broken error
}

// SecretState says what the kubelet makes of one secret.
type SecretState struct {
	Name string
	// Problem is empty when the kubelet can take credentials from the secret; that
	// does not mean that one of them is for the image.
	Problem Problem
	// Reason is a sentence for people on Problem: what is wrong and where,
	// never content. Empty when Problem is.
	Reason string
	// Entries are the registry keys in the secret, sorted. Of those that do
	// not match there are at most 500.
	Entries []Entry
	// Omitted is how many entries were left out for that reason.
	Omitted int
}

// Matches tells that at least one entry of the secret is for the image.
func (s SecretState) Matches() bool {
	return slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Matches })
}

// Entry says what the kubelet makes of one registry key of a secret.
type Entry struct {
	// Key is the registry key as written in the secret, but without what
	// stands in front of an "@" and behind a "?", and cut when very long.
	Key string
	// Host is the host[:port] that the kubelet reads from the key, empty if
	// the key is no address.
	Host string
	// Matches tells that the kubelet tries the entry's credential for the image.
	Matches bool
	// Why says why the entry does not match; empty if it does.
	Why WhyNot
	// Doubt is what looks wrong about the credential itself; empty if nothing does.
	Doubt Doubt
	// Text is a sentence for people on Why, else on Doubt; never content.
	Text string
}

// MalformedError says that a pull secret breaks the whole lookup. Its text
// holds no content of the secret. The kubelet puts the raw text of its own
// error into the container's waiting reason since version 1.33.
type MalformedError struct {
	// Secret is the secret's name.
	Secret string
	// Reason is the sentence of the secret's SecretState.
	Reason string
}

// Error names the secret and what is wrong in it.
func (e *MalformedError) Error() string { return fmt.Sprintf("pull secret %q: %s", e.Secret, e.Reason) }

// Find looks the image up in the sources. It returns an error if the image does
// not parse.
func Find(image diagnosis.Image, from Sources) (Lookup, error) {
	if !image.Valid() {
		return Lookup{}, fmt.Errorf("image %q is not a valid reference", image.Written)
	}
	contents := make([]content, len(from.Secrets))
	for i, s := range from.Secrets {
		contents[i] = read(s)
	}
	t, index := newTarget(image), newRing(contents)
	out := Lookup{Image: t.name, Host: t.registry, Broken: firstBroken(contents)}
	tried := index.attempts(t)
	for _, c := range contents {
		out.Secrets = append(out.Secrets, c.state(t, tried))
	}
	if out.Broken == nil {
		out.Credentials = index.credentials(tried, 1, from.Now)
	}
	out.addNode(from, t)
	return out, nil
}

// addNode looks the image up in the node's file, which is a keyring of its own
// (UnionDockerKeyring.Lookup): it is asked whatever the secrets have, and its
// fallback to Docker Hub does not depend on theirs.
func (l *Lookup) addNode(from Sources, t target) {
	if from.Node == nil {
		return
	}
	c := from.Node.read()
	index := newRing([]content{c})
	tried := index.attempts(t)
	state := c.state(t, tried)
	l.Node = &state
	if l.Broken == nil {
		l.Credentials = append(l.Credentials, index.credentials(tried, 1+len(l.Credentials), from.Now)...)
	}
}

// firstBroken is the error at which MakeDockerKeyring stops: it reads the
// secrets in the pod's order.
func firstBroken(contents []content) error {
	for _, c := range contents {
		if c.problem == Malformed {
			return &MalformedError{Secret: c.name, Reason: c.reason}
		}
	}
	return nil
}
