package probe

import (
	"context"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/cri"
)

// Transfers shows what the runtime is doing: which pods have a sandbox, what it
// receives, and what it has received of a repository. Runtimes that do not tell
// give an error.
type Transfers interface {
	SandboxReady(ctx context.Context, podUID string) (bool, error)
	Ingests(ctx context.Context) ([]cri.Ingest, error)
	Stored(ctx context.Context, registry, repository string) ([]cri.Stored, error)
}

// DefaultStallAfter is for how long a pull receives nothing before it is said
// to have stalled.
const DefaultStallAfter = time.Minute

// Follow looks at a pod's waiting containers: it returns those whose pull hangs,
// with the way in which it does, or the pod's sandbox, if that is what is
// missing; and how far the pulls are that go on. It asks nobody outside the node.
func (c *Collector) Follow(ctx context.Context, waiting []diagnosis.Failure) ([]diagnosis.Failure, []diagnosis.Progress) {
	if c.Transfers == nil || c.Images == nil || len(waiting) == 0 {
		return nil, nil
	}
	ready, err := c.Transfers.SandboxReady(ctx, waiting[0].SandboxUID)
	if err != nil {
		return nil, nil
	}
	if !ready {
		return c.withoutSandbox(ctx, waiting[0]), nil
	}
	var hanging []diagnosis.Failure
	var going []diagnosis.Progress
	books := &books{from: c.Transfers}
	for _, f := range waiting {
		s, err := c.standstill(ctx, f, books)
		if err != nil {
			continue
		}
		p := c.follower.saw(f, s, c.now())
		switch {
		case s.way != "":
			f.Stall = s.way
			f.Queue = c.queue(ctx, f, s)
			hanging = append(hanging, f)
		case s.stage == receiving || s.stage == unpacking:
			going = append(going, p)
		}
	}
	return hanging, going
}

// withoutSandbox is the failure of a pod whose sandbox's image is not on the
// node; none where it is, or where it is not known which that is.
func (c *Collector) withoutSandbox(ctx context.Context, f diagnosis.Failure) []diagnosis.Failure {
	image, err := podwatch.ParseImage(c.configs.load(ctx, c.options, c.Images).SandboxImage())
	if err != nil {
		return nil
	}
	if _, present, err := c.Images.Image(ctx, image.Written); err != nil || present {
		return nil
	}
	f.Kind, f.Container, f.Stall = diagnosis.KindSandbox, diagnosis.SandboxName, diagnosis.StallSandbox
	f.PullPolicy, f.PullSecrets = "IfNotPresent", nil
	f.SetImage(image)
	return []diagnosis.Failure{f}
}

// standstill is what the runtime's books say of a pull. That of one that is not
// there, or of which they say nothing, is the zero value.
type standstill struct {
	way         diagnosis.Stall // "" unless it hangs
	since       time.Time       // when the last byte came
	blob        string          // that is not complete
	done, total int64           // bytes of the image
	layers      []diagnosis.Layer
	stage       stage
	// alone: nothing is received but this image.
	alone bool
}

// stage is what happens to an image.
type stage string

// The stages. The zero value: nothing, or what is not known.
const (
	receiving stage = "receiving" // or it was received, and hangs
	unpacking stage = "unpacking" // all of it has come
	queued    stage = "queued"    // no byte has come, and others are received
)

// standstill reads the runtime's books on a container's image.
func (c *Collector) standstill(ctx context.Context, f diagnosis.Failure, b *books) (standstill, error) {
	_, present, err := c.Images.Image(ctx, f.Image)
	if err != nil || present && f.PullPolicy != "Always" {
		return standstill{}, err
	}
	ingests, err := b.Ingests(ctx)
	if err != nil {
		return standstill{}, err
	}
	stored, err := b.Stored(ctx, f.Registry, f.Repository)
	if err != nil {
		return standstill{}, err
	}
	s := judgeTransfer(f, ingests, stored, c.now(), c.stallAfter())
	if s.stage == unpacking && present { // an earlier pull's: this pod may wait for something else
		return standstill{}, nil
	}
	return s, nil
}

func (c *Collector) stallAfter() time.Duration {
	if c.StallAfter > 0 {
		return c.StallAfter
	}
	return DefaultStallAfter
}

// judgeTransfer reports whether a pull stands still, by what is received at this
// moment and what has been received of its repository. A pull is known by the
// blobs that a manifest of its repository names: what is received does not say
// for whom. One that is being unpacked receives nothing and does not hang.
func judgeTransfer(f diagnosis.Failure, ingests []cri.Ingest, stored []cri.Stored, now time.Time, after time.Duration) standstill {
	for _, s := range stored {
		if own := ofManifest(s, ingests); len(own) > 0 {
			return judgeOwn(s, own, len(own) == len(ingests), now, after)
		}
	}
	recent := func(s cri.Stored) bool { return complete(s) && s.Fetched.After(f.Since.Add(-after)) }
	if i := slices.IndexFunc(stored, recent); i >= 0 {
		done, total := received(stored[i], nil)
		return standstill{stage: unpacking, done: done, total: total, layers: layers(stored[i], nil)}
	}
	at := queued
	if len(ingests) == 0 {
		at = ""
	}
	switch {
	case now.Sub(f.Since) < after:
		return standstill{stage: at}
	case len(ingests) == 0:
		return standstill{way: diagnosis.StallUnbegun, since: f.Since}
	}
	if last := newest(ingests); now.Sub(last.Updated) >= after {
		return standstill{way: diagnosis.StallBehind, since: last.Updated, blob: last.Digest, stage: at}
	}
	return standstill{stage: at} // it waits its turn
}

// judgeOwn is judgeTransfer for an image of which something is received.
func judgeOwn(s cri.Stored, own []cri.Ingest, alone bool, now time.Time, after time.Duration) standstill {
	out := standstill{stage: receiving, alone: alone, layers: layers(s, own)}
	out.done, out.total = received(s, own)
	if last := newest(own); now.Sub(last.Updated) >= after {
		out.way, out.since, out.blob = diagnosis.StallTransfer, last.Updated, last.Digest
	}
	return out
}

// ofManifest are those of the ingests that a manifest names.
func ofManifest(s cri.Stored, ingests []cri.Ingest) []cri.Ingest {
	var out []cri.Ingest
	for _, i := range ingests {
		if slices.ContainsFunc(s.Blobs, func(b cri.StoredBlob) bool { return b.Digest == i.Digest && !b.Present }) {
			out = append(out, i)
		}
	}
	return out
}

func newest(ingests []cri.Ingest) cri.Ingest {
	return slices.MaxFunc(ingests, func(a, b cri.Ingest) int { return a.Updated.Compare(b.Updated) })
}

func complete(s cri.Stored) bool {
	return !slices.ContainsFunc(s.Blobs, func(b cri.StoredBlob) bool { return !b.Present })
}

// received is how much of an image is there, and how large it is, in bytes.
func received(s cri.Stored, ingests []cri.Ingest) (done, total int64) {
	for _, b := range s.Blobs {
		total += b.Size
		if b.Present {
			done += b.Size
		}
	}
	for _, i := range ingests {
		done += i.Offset
	}
	return done, total
}

// layers are the parts of an image, with how much of each is there.
func layers(s cri.Stored, ingests []cri.Ingest) []diagnosis.Layer {
	var out []diagnosis.Layer
	for _, b := range s.Blobs {
		l := diagnosis.Layer{Digest: b.Digest, Total: b.Size}
		if b.Present {
			l.Done = b.Size
		}
		for _, i := range ingests {
			if i.Digest == b.Digest {
				l.Done = i.Offset
			}
		}
		out = append(out, l)
	}
	return out
}

// checkPull is what the runtime's books say of a pull that hangs.
func (c *Collector) checkPull(ctx context.Context, f diagnosis.Failure) []diagnosis.Evidence {
	facts := &diagnosis.PullFacts{Since: f.Since}
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Body: facts}
	switch f.Stall {
	case diagnosis.StallSandbox:
		e.Fault = diagnosis.FaultNoSandbox
		return []diagnosis.Evidence{e}
	case "":
		return nil
	case diagnosis.StallUnbegun, diagnosis.StallTransfer, diagnosis.StallBehind:
	}
	s, err := c.standstill(ctx, f, &books{from: c.Transfers})
	if err != nil {
		return skipped(diagnosis.ReasonNoTransfers, diagnosis.CheckPull)
	}
	facts.Since, facts.Blob = s.since, s.blob
	switch s.way {
	case diagnosis.StallTransfer:
		e.Fault, facts.Sources, facts.Done, facts.Total = diagnosis.FaultStalled, c.sources(ctx, f), s.done, s.total
		if behind := c.follower.behind(f, c.now()); s.alone && behind != nil {
			return []diagnosis.Evidence{e, {Check: diagnosis.CheckPull, Outcome: diagnosis.Inconclusive, Body: &diagnosis.PullFacts{Behind: behind}}}
		}
	case diagnosis.StallBehind:
		e.Fault, facts.Ahead = diagnosis.FaultWaitsForIt, c.waitedFor(ctx, f)
	case diagnosis.StallUnbegun:
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultUnbegun // the kubelet may wait for something else
	case diagnosis.StallSandbox, "":
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Passed, Reason: diagnosis.ReasonPullGoesOn}}
	}
	return []diagnosis.Evidence{e}
}
