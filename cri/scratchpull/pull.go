package scratchpull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	transferapi "github.com/containerd/containerd/api/services/transfer/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/image"
	transferproxy "github.com/containerd/containerd/v2/core/transfer/proxy"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// expiry is the label of what the garbage collector may remove after a time.
const expiry = "containerd.io/gc.expire"

// stopped is the cause of a context that a limit has ended.
type stopped struct {
	why  Stop
	free uint64 // bytes, for StoppedLowSpace
}

// Error implements error.
func (s stopped) Error() string { return "the pull was stopped: " + string(s.why) }

// broken is the cause of a context that was ended since nobody could tell any
// more whether the pull may go on. It says nothing about the image.
type broken struct{ error }

// Unwrap returns what went wrong.
func (b broken) Unwrap() error { return b.error }

// pull pulls an image into the empty namespace, and empties it again.
func (p *Puller) pull(ctx context.Context, t target, g *guard) (result Result, err error) {
	begun := time.Now()
	lease, err := p.leases.Create(p.ours(ctx), leases.WithRandomID(), leases.WithExpiration(p.limits.Time+spareTime))
	// Also if there was an error: the lease may have been made nevertheless.
	defer func() { result.Leftover = p.sweep(context.WithoutCancel(ctx)) }()
	if err != nil {
		return Result{}, callError(ctx, "Create lease", err)
	}
	track := newTracker(p.reader(ctx), t.Progress)
	unpacked := true
	err = p.transfer(ctx, t, lease.ID, unpacked, track, g)
	if cannotUnpack(err) {
		unpacked = false
		err = p.transfer(ctx, t, lease.ID, unpacked, track, g)
	}
	if err == nil {
		err = p.usable(ctx, t)
	} else {
		err = p.explain(ctx, t, lease.ID, err)
	}
	result = track.result(p.had(ctx, track.digests(), begun))
	if reason, is := errors.AsType[stopped](err); is {
		result.Stopped, result.Free = reason.why, reason.free
		if reason.why == StoppedLowSpace {
			result.Floor = p.limits.Floor
		}
		return result, nil
	}
	if err == nil {
		result.Stage, result.Unpacked = StageDone, unpacked
	}
	return result, err
}

// transfer has containerd pull, and returns when it has ended that. A limit's
// error is of the type stopped; the others are containerd's.
func (p *Puller) transfer(ctx context.Context, t target, lease string, unpack bool, track *tracker, g *guard) error {
	ctx = withoutLog(leases.WithLease(p.ours(ctx), lease))
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	streams := newStreams(alive, p.conn)
	ctx, stop := context.WithCancelCause(ctx)
	// Not a deadline: containerd would know it, and could answer that it is over
	// before it is.
	defer time.AfterFunc(p.limits.Time, func() { stop(stopped{why: StoppedTimeout}) }).Stop()
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(ctx, track, stop) })
	watch.Go(func() { g.watch(ctx, stop) })
	defer watch.Wait()
	defer stop(nil)
	from, err := registry.NewOCIRegistry(ctx, t.named.String(), source(t)...)
	if err != nil {
		return err
	}
	client := &witness{TransferClient: transferapi.NewTransferClient(p.conn)}
	err = transferproxy.NewTransferrer(client, streams).Transfer(ctx, from, p.destination(t, unpack), transfer.WithProgress(func(e transfer.Progress) {
		track.event(e)
		p.measure(track, stop)
	}))
	cause := context.Cause(ctx)
	streams.settle(client.settleLimit(track))
	switch {
	case err != nil && cause != nil:
		return cause
	case client.err != nil:
		return client.err
	}
	return err
}

// witness keeps the error as it came: containerd's libraries make another of
// it, which repeats the registry's own words.
type witness struct {
	transferapi.TransferClient
	asked bool
	err   error
}

// settleLimit is how long containerd may take to end the transfer. One that was
// never asked for has ended, and one that has not told that it begins, which is
// the first thing that it does, has most likely never come.
func (w *witness) settleLimit(track *tracker) time.Duration {
	switch {
	case !w.asked:
		return 0
	case !track.hasBegun():
		return time.Second
	}
	return settleLimit
}

// Transfer implements transferapi.TransferClient.
func (w *witness) Transfer(ctx context.Context, in *transferapi.TransferRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	w.asked = ctx.Err() == nil
	var out *emptypb.Empty
	out, w.err = w.TransferClient.Transfer(ctx, in, opts...)
	return out, w.err
}

// source says where from, as CRI does: also without a login it answers the
// question for one, which changes what containerd says to a refusal.
func source(t target) []registry.Opt {
	var login Login
	if t.Login != nil {
		login = *t.Login
	}
	return []registry.Opt{registry.WithHostDir(t.HostsDir), registry.WithCredentials(helper(login))}
}

// helper gives one login to every host that asks (CRI's ParseAuth without a
// server address).
type helper Login

// GetCredentials implements registry.CredentialHelper.
func (h helper) GetCredentials(_ context.Context, _, host string) (registry.Credentials, error) {
	return registry.Credentials{Host: host, Username: h.User, Secret: h.Password}, nil
}

// destination says where to. The record expires, in case that nobody removes it.
func (p *Puller) destination(t target, unpack bool) *image.Store {
	expires := time.Now().Add(p.limits.Time + spareTime).UTC().Format(time.RFC3339)
	opts := []image.StoreOpt{image.WithPlatforms(t.platform), image.WithImageLabels(map[string]string{expiry: expires})}
	if unpack {
		opts = append(opts, image.WithUnpack(t.platform, t.Snapshotter))
	}
	return image.NewStore(t.named.String(), opts...)
}

// watch ends the pull when space runs low.
func (p *Puller) watch(ctx context.Context, track *tracker, stop context.CancelCauseFunc) {
	tick := time.NewTicker(p.limits.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, rest, _ := track.needs()
		free, low, err := p.low(rest)
		if err != nil {
			stop(broken{err})
			return
		}
		if low {
			stop(stopped{StoppedLowSpace, free})
		}
	}
}

// measure ends the pull of an image that is too large.
func (p *Puller) measure(track *tracker, stop context.CancelCauseFunc) {
	if bytes, _, tooMany := track.needs(); tooMany || bytes > p.limits.Bytes {
		stop(stopped{why: StoppedTooLarge})
	}
}

// cannotUnpack tells that the transfer service is not set up to unpack for the
// platform and snapshotter. It finds out before it fetches anything (core/unpack,
// NewUnpacker); of 1.7 and 2.4 alike.
func cannotUnpack(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unable to initialize unpacker")
}

// explain makes the package's own error of a transfer's.
func (p *Puller) explain(ctx context.Context, t target, lease string, err error) error {
	if _, limit := errors.AsType[stopped](err); err == nil || limit {
		return err
	}
	if b, is := errors.AsType[broken](err); is {
		return b.error
	}
	if ctx.Err() != nil {
		return fmt.Errorf("containerd: %s: %w", OpTransfer, ctx.Err())
	}
	if is(err, errdefs.IsNotImplemented) {
		return fmt.Errorf("containerd: %s: %w", OpTransfer, ErrUnsupported)
	}
	// A runtime that is gone, or whose lease is gone, has said nothing about the
	// image; what it answers then may look as if it had.
	held, listErr := p.leases.List(p.ours(ctx))
	if listErr != nil {
		return callError(ctx, "List leases", listErr)
	}
	for _, l := range held {
		if l.ID == lease {
			e := newError(OpTransfer, err)
			e.Text = fmt.Sprintf("failed to pull and unpack image %q: %s", t.named.String(), e.Text)
			return e
		}
	}
	return ErrInterrupted
}

// withoutLog keeps the log lines of containerd's libraries out of this
// process's output: what they quote is not ours to tell.
func withoutLog(ctx context.Context) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}
