package keyring

import (
	_ "crypto/sha256" // image references with a digest are checked with it
	_ "crypto/sha512"
	"fmt"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Sources are where the kubelet looks for credentials, in its order, except for
// credential provider plugins, which come last.
type Sources struct {
	// Secrets are the existing imagePullSecrets of the pod, in its order. As for the
	// kubelet, one that is listed twice counts twice.
	Secrets []Secret
	// Node is the node's docker config; nil if there is none or it is unknown.
	Node *NodeFile
	// Now is the time at which credentials are checked for expiry; zero: they are not.
	Now time.Time
}

// Lookup is what the kubelet finds for an image in the secrets of a pod and the
// node's docker config.
type Lookup struct {
	// Host is the image's registry host, with its port if it names one.
	Host string
	// Credentials are the kubelet's attempts in order: those of the secrets, then
	// those of the node's file. Those of FindProvided follow. Only if
	// there are none at all and Broken is nil, the kubelet makes an anonymous attempt
	// (kuberuntime PullImage).
	Credentials []Credential
	// Secrets has one state per secret, in the order of Sources.Secrets.
	Secrets []SecretState
	// Node is the state of the node's file, named by its path; nil if there is none.
	Node *SecretState
	// Broken names the first secret that makes the kubelet give up on all images of the
	// pod for which it needs credentials, whatever is in the other secrets; nil if none
	// does. It has no content of the secret. Credentials is then empty; the states still
	// show what would match once the secret is fixed. Since 1.33 the kubelet writes the
	// raw text of its own error into the container's waiting reason.
	Broken error
}

// SecretState describes how the kubelet reads one secret.
type SecretState struct {
	Name string
	// Legacy reports whether its type is TypeDockercfg.
	Legacy bool
	// Problem is empty if the kubelet can take credentials from the secret, whether or
	// not one of them matches the image.
	Problem Problem
	// Reason is a sentence on Problem: what is wrong and where, without content. Empty
	// if Problem is.
	Reason string
	// Entries are the registry keys in the secret, sorted. At most 500 do not match.
	Entries []Entry
}

// Matches reports whether an entry of the secret matches the image.
func (s SecretState) Matches() bool {
	return slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Matches })
}

// Entry describes how the kubelet uses one registry key of a secret.
type Entry struct {
	// Key is the registry key as written in the secret, but without the parts before
	// an "@" and after a "?", and truncated if very long.
	Key string
	// Host is the host[:port] that the kubelet reads from the key; empty if the key
	// does not parse.
	Host string
	// Matches reports whether the kubelet tries the entry's credential for the image.
	Matches bool
	// Why is why the entry does not match; empty if it does.
	Why WhyNot
	// Doubt is what looks wrong about the credential; empty if nothing does.
	Doubt Doubt
	// Padding is which end of the user or password is a space or line break, such as
	// "password ends with a line break"; empty if none is, or the entry does not match.
	Padding string
	// Text is a sentence on Why or Doubt, without content.
	Text string
}

// Find looks the image up in the sources. Nothing is found for an image that does not
// parse.
func Find(image diagnosis.Image, from Sources) Lookup {
	if !image.Valid() {
		return Lookup{}
	}
	contents := make([]content, len(from.Secrets))
	for i, s := range from.Secrets {
		contents[i] = read(s)
	}
	t := newTarget(image)
	out := Lookup{Host: t.registry, Broken: firstBroken(contents)}
	out.Credentials, out.Secrets = look(contents, t, 1, from.Now)
	if from.Node != nil {
		// A keyring of its own (UnionDockerKeyring.Lookup): it is used whatever is in the
		// secrets, and has its own fallback to Docker Hub.
		found, states := look([]content{from.Node.read()}, t, 1+len(out.Credentials), from.Now)
		out.Credentials, out.Node = append(out.Credentials, found...), &states[0]
	}
	if out.Broken != nil {
		out.Credentials = nil
	}
	return out
}

// look looks an image up in one keyring. It returns the attempts with Order from first on,
// and the state of each content.
func look(contents []content, t target, first int, now time.Time) ([]Credential, []SecretState) {
	index := newRing(contents)
	tried := index.attempts(t)
	var states []SecretState
	for _, c := range contents {
		states = append(states, c.state(t, tried))
	}
	return index.credentials(tried, first, now), states
}

// firstBroken returns the error at which MakeDockerKeyring stops, which reads the
// secrets in the pod's order.
func firstBroken(contents []content) error {
	for _, c := range contents {
		if c.problem == Malformed {
			return fmt.Errorf("pull secret %q: %s", c.name, c.reason)
		}
	}
	return nil
}
