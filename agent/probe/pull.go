package probe

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/share"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// Transfers returns the runtime's state: whether a pod has a sandbox, which blobs
// are being received, and which images of a repository are stored. Runtimes that
// cannot say return an error.
type Transfers interface {
	SandboxReady(ctx context.Context, podUID string) (bool, error)
	// SandboxImage is "" where the runtime does not say.
	SandboxImage(ctx context.Context) (string, error)
	Ingests(ctx context.Context) ([]cri.Ingest, error)
	Stored(ctx context.Context, registry, repository string) ([]cri.Stored, error)
}

// DefaultStallAfter is the time without a received byte after which a pull counts
// as stalled.
const DefaultStallAfter = time.Minute

// Follow checks the pulls of a pod's waiting containers. It returns those that hang,
// with Stall set, or the pod's sandbox if its image is missing; and the progress of
// the others. It makes no requests beyond the node. The error is that of a runtime that
// does not answer.
func (c *Collector) Follow(ctx context.Context, waiting []diagnosis.Failure) ([]diagnosis.Failure, []diagnosis.Progress, error) {
	if c.Transfers == nil || c.Images == nil || len(waiting) == 0 {
		return nil, nil, nil
	}
	made := c.now()
	ready, err := c.Transfers.SandboxReady(ctx, waiting[0].SandboxUID)
	c.disturbed.answered(made, c.now(), err)
	if err != nil {
		return nil, nil, err
	}
	if !ready {
		return c.withoutSandbox(ctx, waiting[0]), nil, nil
	}
	leave, err := c.store.Enter(share.WithTenant(ctx, waiting[0].Namespace), "")
	if err != nil {
		return nil, nil, err
	}
	var hanging []diagnosis.Failure
	var going []diagnosis.Progress
	cache := newSnapshot(ctx, c.Transfers)
	for _, f := range waiting {
		s, err := c.pullState(ctx, f, cache)
		if err != nil {
			if c.waitsForCRIO(ctx, f) {
				f.Stall = diagnosis.StallUnbegun
				hanging = append(hanging, f)
			}
			continue
		}
		p := c.follower.record(f, s, c.now())
		switch {
		case s.way != "":
			f.Stall = s.way
			f.Queue = c.queue(ctx, f, s)
			hanging = append(hanging, f)
		case s.stage == receiving || s.stage == unpacking:
			going = append(going, p)
		}
	}
	leave()
	return hanging, going, nil
}

// waitsForCRIO reports whether a container has waited for its image as long as a
// pull may receive nothing, on a node whose runtime keeps no books: CRI-O, which
// waits without end for a registry that accepts and never answers. Whether it
// does is for the registry to show.
func (c *Collector) waitsForCRIO(ctx context.Context, f diagnosis.Failure) bool {
	if c.configs.version(ctx, c.Images).runtime != nodeconfig.RuntimeCRIO || c.now().Sub(f.Since) < c.stallAfter() {
		return false
	}
	_, present, err := c.Images.Image(ctx, f.Image)
	return err == nil && (!present || f.PullPolicy == "Always")
}

// withoutSandbox returns the failure of a pod whose sandbox image is not on the
// node; nil if it is present or unknown.
func (c *Collector) withoutSandbox(ctx context.Context, f diagnosis.Failure) []diagnosis.Failure {
	name, err := c.Transfers.SandboxImage(ctx)
	if err != nil || name == "" {
		name = c.config(ctx).SandboxImage()
	}
	image, err := podwatch.ParseImage(name)
	if err != nil {
		return nil
	}
	if _, present, err := c.Images.Image(ctx, image.Written); err != nil || present {
		return nil
	}
	f.Kind, f.Container, f.Stall = diagnosis.KindSandbox, diagnosis.SandboxName, diagnosis.StallSandbox
	f.PullPolicy, f.PullSecrets, f.MoreSecrets = "IfNotPresent", nil, 0
	f.SetImage(image)
	return []diagnosis.Failure{f}
}

// pullState is the state of a pull in the runtime's content store. The zero value:
// no pull, or unknown.
type pullState struct {
	way         diagnosis.Stall // "" unless it hangs
	since       time.Time       // when the last byte was received
	blob        string          // the incomplete blob
	done, total int64           // bytes of the image
	layers      []diagnosis.Layer
	stage       stage
	// alone reports whether nothing but this image is being received.
	alone bool
}

// stage is the stage of a pull.
type stage string

// The stages. The zero value: none, or unknown.
const (
	receiving stage = "receiving" // also if it hangs
	unpacking stage = "unpacking" // the download is complete
	queued    stage = "queued"    // nothing received yet, while other images are
)

// pullState returns the state of the pull of a container's image.
func (c *Collector) pullState(ctx context.Context, f diagnosis.Failure, b *snapshot) (pullState, error) {
	_, present, err := c.Images.Image(ctx, f.Image)
	if err != nil || present && f.PullPolicy != "Always" {
		return pullState{}, err
	}
	ingests, err := b.ingests()
	if err != nil {
		return pullState{}, err
	}
	stored, err := b.Stored(ctx, f.Registry, f.Repository)
	if err != nil {
		return pullState{}, err
	}
	s := judgeTransfer(f, ingests, stored, c.atOnce, c.now(), c.stallAfter(), c.disturbed.end(c.now()))
	if s.stage == unpacking && present { // from an earlier pull; this pod may wait for something else
		return pullState{}, nil
	}
	return s, nil
}

func (c *Collector) stallAfter() time.Duration {
	return cmp.Or(c.StallAfter, DefaultStallAfter)
}

// runtimePulls is how many layers containerd's transfer service downloads at the same time
// by default (max_concurrent_downloads).
const runtimePulls = 3

// atOnce returns how many blobs must be on their way for another image to wait for them.
func (c *Collector) atOnce() int {
	if c.Node == nil {
		return 1
	}
	return min(c.Node.ParallelPulls(), runtimePulls)
}

// judgeTransfer returns the state of a pull from the blobs being received and the
// images stored of its repository. Ingests do not name their image, so a pull is
// recognized by the blobs in a manifest of its repository. A pull that is being
// unpacked receives nothing and does not hang. Nor does one that was disturbed until less
// than after ago. An image of which nothing has come waits for others only while atOnce
// blobs are being received.
func judgeTransfer(f diagnosis.Failure, ingests []cri.Ingest, stored []cri.Stored, atOnce func() int, now time.Time, after time.Duration, disturbed time.Time) pullState {
	since := byClock(f.Since, now)
	ingests = sinceJump(ingests, since, now)
	for _, s := range stored {
		if own := ofManifest(s, ingests); len(own) > 0 {
			return judgeOwn(s, own, len(own) == len(ingests), now, after, disturbed)
		}
	}
	recent := func(s cri.Stored) bool { return complete(s) && s.Fetched.After(since.Add(-after)) }
	if i := slices.IndexFunc(stored, recent); i >= 0 {
		done, total := received(stored[i], nil)
		return pullState{stage: unpacking, done: done, total: total, layers: layers(stored[i], nil)}
	}
	var at stage
	if len(ingests) > 0 && len(ingests) >= atOnce() {
		at = queued
	}
	switch {
	case now.Sub(since) < after || now.Sub(disturbed) < after:
		return pullState{stage: at}
	case at == "":
		return pullState{way: diagnosis.StallUnbegun, since: since}
	}
	if last := newest(ingests); now.Sub(last.Updated) >= after {
		return pullState{way: diagnosis.StallBehind, since: last.Updated, blob: last.Digest, stage: at}
	}
	return pullState{stage: at} // it waits its turn
}

// clockJump is how far in the future a time of the runtime's must be to show that the
// node's clock was set back.
const clockJump = time.Minute

// byClock returns a time by the wall clock as it is now, if that has been set back since: the
// runtime's times are by it.
func byClock(t, now time.Time) time.Time {
	if again := now.Add(t.Sub(now)); t.Round(0).Sub(again.Round(0)) > clockJump {
		return again
	}
	return t
}

// sinceJump returns the ingests. One last written to before the node's clock was set
// back would count as active until that time comes again: it has received nothing since,
// and counts as old as the wait.
func sinceJump(ingests []cri.Ingest, since, now time.Time) []cri.Ingest {
	out := slices.Clone(ingests)
	for i := range out {
		if out[i].Updated.Sub(now) > clockJump {
			out[i].Updated = since
		}
	}
	return out
}

// judgeOwn is judgeTransfer for an image of which blobs are being received.
func judgeOwn(s cri.Stored, own []cri.Ingest, alone bool, now time.Time, after time.Duration, disturbed time.Time) pullState {
	out := pullState{stage: receiving, alone: alone, layers: layers(s, own)}
	out.done, out.total = received(s, own)
	if last := newest(own); now.Sub(last.Updated) >= after && now.Sub(disturbed) >= after {
		out.way, out.since, out.blob = diagnosis.StallTransfer, last.Updated, last.Digest
	}
	return out
}

// ofManifest returns the ingests of blobs in a manifest.
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

// received returns the bytes received of an image and its size in bytes.
func received(s cri.Stored, ingests []cri.Ingest) (done, total int64) {
	for _, b := range s.Blobs {
		size := min(max(b.Size, 0), math.MaxInt64-total) // a manifest may say anything
		total += size
		if b.Present {
			done += size
		}
	}
	for _, i := range ingests {
		done += i.Offset
	}
	return done, total
}

// layers returns the progress of an image's blobs.
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

// checkPull returns the evidence about a pull that hangs.
func (c *Collector) checkPull(ctx context.Context, f diagnosis.Failure) []diagnosis.Evidence {
	facts := &diagnosis.PullFacts{Since: byClock(f.Since, c.now())}
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Body: facts}
	switch f.Stall {
	case diagnosis.StallSandbox:
		e.Fault = diagnosis.FaultNoSandbox
		return []diagnosis.Evidence{e}
	case "":
		return nil
	case diagnosis.StallUnbegun, diagnosis.StallTransfer, diagnosis.StallBehind:
	}
	leave, err := c.store.Enter(ctx, "")
	if err != nil {
		return skipped(diagnosis.ReasonNoTransfers, diagnosis.CheckPull)
	}
	s, err := c.pullState(ctx, f, newSnapshot(ctx, c.Transfers))
	leave()
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
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultUnbegun // the pod may wait for something else
	case diagnosis.StallSandbox, "":
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Passed, Reason: diagnosis.ReasonPullGoesOn}}
	}
	return []diagnosis.Evidence{e}
}
