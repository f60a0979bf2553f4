package diagnosis

// MessageFacts is what the text of the kubelet or of a container runtime says
// about a failed pull. Everything is taken from the text and nothing is guessed,
// so all but Cause may be missing.
type MessageFacts struct {
	// Cause is what the text supports by itself; Unknown if it supports nothing.
	Cause Cause
	// Host is the host[:port] that the failed request went to. It is not the
	// image's for mirrors, token servers and content networks.
	Host string
	// OfMirror reports whether Host is one that the node's configuration has for the image's
	// registry: containerd names the registry in the query ns of a request to another host
	// than the registry itself (core/remotes/docker, isProxy).
	OfMirror bool
	// Status is the HTTP status, 0 if the text has none.
	Status int
	// Blob is the digest of the blob, layer or config that failed.
	Blob string
	// AfterManifest reports whether the text is about a step that comes after the
	// manifest: copying or unpacking blobs.
	AfterManifest bool
	// RuntimeHelper reports whether it was the runtime's own credential helper that
	// failed, and not a plugin of the kubelet.
	RuntimeHelper bool
	// CredentialsSent reports whether the pull brought credentials: containerd asks
	// for an "anonymous token" without, and for an "oauth token" with them
	// (core/remotes/docker, authorizer).
	CredentialsSent bool
	// BehindProxy reports whether the text shows a proxy's answer: Go's bare text of
	// a status when CONNECT is refused, status 407, or a proxy's error page.
	BehindProxy bool
	// IntentUnrecorded reports whether the kubelet could not record that it begins a
	// pull, in a file of its own (EnsureImageExists, RecordPullIntent), so that it has
	// asked no runtime.
	IntentUnrecorded bool
	// Undecrypted reports whether the runtime could not decrypt a layer.
	Undecrypted bool
	// FullStore is the directory of containerd's content store, where that had no
	// space left.
	FullStore string
	// Text is the message without credentials, on one line, at most 1 KiB; "" if
	// there was none.
	Text string
}
