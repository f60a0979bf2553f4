package kube

import (
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

const (
	// refusalTTL is how long to remember a refusal that an API server that has
	// just started would not give.
	refusalTTL = 10 * time.Minute
	// firstRetry and lastRetry are how long to remember any other refusal,
	// which may be temporary.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
)

// refusals remembers what the API server refuses, by namespace because roles
// may grant it in some only; "" stands for the pod watch in all namespaces. A
// refusal holds for the first duration, and twice as long each time it is
// repeated, up to limit; Reset forgets it. It is safe for concurrent use.
type refusals struct{ *flowcontrol.Backoff }

func newRefusals(first, limit time.Duration) refusals {
	return refusals{flowcontrol.NewBackOff(first, limit)}
}

func (r refusals) add(namespace string) {
	r.GC()
	r.Next(namespace, r.Clock.Now())
}

func (r refusals) has(namespace string) bool {
	return r.IsInBackOffSinceUpdate(namespace, r.Clock.Now())
}
