package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
)

// Transfers tells what the runtime is doing: which pods have a sandbox, what it
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

// Hanging returns those of a pod's waiting containers whose pull hangs, with the
// way in which it does; or the pod's sandbox, if that is what is missing. It
// asks nobody outside the node.
func (c *Collector) Hanging(ctx context.Context, waiting []diagnosis.Failure) []diagnosis.Failure {
	if c.Transfers == nil || c.Images == nil || len(waiting) == 0 {
		return nil
	}
	ready, err := c.Transfers.SandboxReady(ctx, waiting[0].SandboxUID)
	if err != nil {
		return nil
	}
	if !ready {
		return c.withoutSandbox(ctx, waiting[0])
	}
	var out []diagnosis.Failure
	for _, f := range waiting {
		if s, err := c.standstill(ctx, f); err == nil && s.way != "" {
			f.Stall = s.way
			out = append(out, f)
		}
	}
	return out
}

// withoutSandbox is the failure of a pod whose sandbox's image is not on the
// node; none where it is, or where it is not known which that is.
func (c *Collector) withoutSandbox(ctx context.Context, f diagnosis.Failure) []diagnosis.Failure {
	image := c.configs.load(ctx, c.options, c.Images).SandboxImage()
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil
	}
	if _, present, err := c.Images.Image(ctx, image); err != nil || present {
		return nil
	}
	f.Kind, f.Container, f.Stall = diagnosis.KindSandbox, diagnosis.SandboxName, diagnosis.StallSandbox
	f.Image, f.PullPolicy, f.PullSecrets = image, "IfNotPresent", nil
	f.Registry, f.Repository, _ = strings.Cut(named.Name(), "/")
	return []diagnosis.Failure{f}
}

// standstill is what the runtime's books say of a pull that hangs; the zero
// value is of one that does not.
type standstill struct {
	way         diagnosis.Stall
	since       time.Time // when the last byte came
	blob        string    // that is not complete
	done, total int64     // bytes of the image
}

// standstill reads the runtime's books on a container's image.
func (c *Collector) standstill(ctx context.Context, f diagnosis.Failure) (standstill, error) {
	if _, present, err := c.Images.Image(ctx, f.Image); err != nil || present && f.PullPolicy != "Always" {
		return standstill{}, err
	}
	ingests, err := c.Transfers.Ingests(ctx)
	if err != nil {
		return standstill{}, err
	}
	stored, err := c.Transfers.Stored(ctx, f.Registry, f.Repository)
	if err != nil {
		return standstill{}, err
	}
	return judgeTransfer(f, ingests, stored, c.now(), c.stallAfter()), nil
}

func (c *Collector) stallAfter() time.Duration {
	if c.StallAfter > 0 {
		return c.StallAfter
	}
	return DefaultStallAfter
}

// judgeTransfer tells whether a pull stands still, by what is received at this
// moment and what has been received of its repository. A pull is known by the
// blobs that a manifest of its repository names: what is received does not say
// for whom. One that is being unpacked receives nothing and does not hang.
func judgeTransfer(f diagnosis.Failure, ingests []cri.Ingest, stored []cri.Stored, now time.Time, after time.Duration) standstill {
	for _, s := range stored {
		own := ofManifest(s, ingests)
		if len(own) == 0 {
			continue
		}
		last := newest(own)
		if now.Sub(last.Updated) < after {
			return standstill{}
		}
		done, total := received(s, own)
		return standstill{way: diagnosis.StallTransfer, since: last.Updated, blob: last.Digest, done: done, total: total}
	}
	if slices.ContainsFunc(stored, func(s cri.Stored) bool { return complete(s) && s.Fetched.After(f.Since.Add(-after)) }) {
		return standstill{} // it is being unpacked
	}
	switch {
	case now.Sub(f.Since) < after:
		return standstill{}
	case len(ingests) == 0:
		return standstill{way: diagnosis.StallUnbegun, since: f.Since}
	}
	if last := newest(ingests); now.Sub(last.Updated) >= after {
		return standstill{way: diagnosis.StallBehind, since: last.Updated, blob: last.Digest}
	}
	return standstill{} // it waits its turn
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

// checkPull puts what the runtime's books say of a pull that hangs into words.
// The times are when something happened, not how long ago: the sentence stays
// the same while the pull does.
func (c *Collector) checkPull(ctx context.Context, f diagnosis.Failure) []diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed}
	if f.Stall == diagnosis.StallSandbox {
		e.Fault = diagnosis.FaultNoSandbox
		e.Detail = fmt.Sprintf("the pod has no sandbox since %s at least, and its image is not on node %s", moment(f.Since), f.Node)
		return []diagnosis.Evidence{e}
	}
	if f.Stall == "" {
		return nil
	}
	s, err := c.standstill(ctx, f)
	switch {
	case err != nil:
		return skipped("the container runtime does not tell what it receives", diagnosis.CheckPull)
	case s.way == diagnosis.StallTransfer:
		e.Fault, e.Blob = diagnosis.FaultStalled, s.blob
		e.Detail = fmt.Sprintf("the pull of %s from %s stands still: less than 1 MiB has come since %s; it has %s of %s, and of %s not all", f.Image, f.Registry, moment(s.since), size(s.done), size(s.total), short(s.blob))
	case s.way == diagnosis.StallBehind:
		e.Fault, e.Blob = diagnosis.FaultWaitsForIt, s.blob
		e.Detail = fmt.Sprintf("the pull of %s has not begun: the node waits for the pull of another image, of which less than 1 MiB has come since %s", f.Image, moment(s.since))
	case s.way == diagnosis.StallUnbegun:
		e.Outcome, e.Fault = diagnosis.Inconclusive, diagnosis.FaultUnbegun // the kubelet may wait for something else
		e.Detail = fmt.Sprintf("of %s no byte has come from %s since %s", f.Image, f.Registry, moment(s.since))
	default:
		return []diagnosis.Evidence{{Check: diagnosis.CheckPull, Outcome: diagnosis.Passed, Detail: "the pull goes on"}}
	}
	return []diagnosis.Evidence{e}
}

func moment(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// size is a number of bytes for people.
func size(n int64) string {
	const k = 1 << 10
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= k && i < len(units)-1 {
		f, i = f/k, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
