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
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/streaming"
	streamingproxy "github.com/containerd/containerd/v2/core/streaming/proxy"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/image"
	transferproxy "github.com/containerd/containerd/v2/core/transfer/proxy"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/whypull/whypull/cri/credential"
)

// expiry is the label with the time after which the garbage collector may
// remove something.
const expiry = "containerd.io/gc.expire"

// stopped is the cause of a context that a limit has ended.
type stopped struct {
	why  Stop
	free uint64 // bytes, for StoppedLowSpace
}

// Error implements error.
func (s stopped) Error() string { return "the pull was stopped: " + string(s.why) }

// checkFailed is the cause of a context that was ended because it could not be
// checked whether the pull may go on. It says nothing about the image.
type checkFailed struct{ error }

// Unwrap returns the error of the check.
func (b checkFailed) Unwrap() error { return b.error }

// pull pulls an image into the empty namespace, and empties it again.
func (p *Puller) pull(ctx context.Context, t target, g *guard) (Result, error) {
	begun := time.Now()
	lease, err := p.leases.Create(p.inNamespace(ctx), leases.WithRandomID(), leases.WithExpiration(p.limits.Time+leaseMargin))
	// Also after an error: the lease may have been created nevertheless. What
	// cannot be removed now is left to the next Pull.
	defer func() { _ = p.sweep(context.WithoutCancel(ctx)) }()
	if err != nil {
		return Result{}, callError(ctx, "Create lease", err)
	}
	track := newTracker(func(d digest.Digest, size int64) ([]byte, error) {
		return content.ReadBlob(p.inNamespace(ctx), manifestsOnly{p.content}, ocispec.Descriptor{Digest: d, Size: size})
	}, t.Progress)
	err = p.transfer(ctx, t, lease.ID, true, track, g)
	// A transfer service that is not configured to unpack for the platform and snapshotter
	// says so before it fetches anything (core/unpack, NewUnpacker), in 1.7 and 2.4 alike.
	if err != nil && strings.Contains(err.Error(), "unable to initialize unpacker") {
		err = p.transfer(ctx, t, lease.ID, false, track, g)
	}
	if err == nil {
		err = p.checkImage(ctx, t)
	} else {
		err = p.pullError(ctx, t, lease.ID, err)
	}
	result := track.result(p.onNode(ctx, track.digests(), begun))
	if reason, is := errors.AsType[stopped](err); is {
		result.Stopped, result.Free = reason.why, reason.free
		if reason.why == StoppedLowSpace {
			result.Floor = p.limits.Floor
		}
		return result, nil
	}
	return result, err
}

// transfer has containerd pull, and returns once containerd has ended the
// transfer. If a limit ended it, the error is of type stopped; other errors are
// containerd's.
func (p *Puller) transfer(ctx context.Context, t target, lease string, unpack bool, track *tracker, g *guard) error {
	ctx = withoutLog(leases.WithLease(p.inNamespace(ctx), lease))
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	creator := streamingproxy.NewStreamCreator(p.conn)
	streams := &streams{create: func(id string) (streaming.Stream, error) { return creator.Create(alive, id) }}
	ctx, stop := context.WithCancelCause(ctx)
	// Not a deadline: containerd would know it and could report it early.
	defer time.AfterFunc(p.limits.Time, func() { stop(stopped{why: StoppedTimeout}) }).Stop()
	var watch sync.WaitGroup
	watch.Go(func() { poll(ctx, p.limits.Poll, stop, func() error { return p.checkSpace(track) }) })
	watch.Go(func() { poll(ctx, checkInterval, stop, func() error { return g.check(ctx) }) })
	defer watch.Wait()
	defer stop(nil)
	from, err := registry.NewOCIRegistry(ctx, t.named.String(), source(t)...)
	if err != nil {
		return err
	}
	client := &recordingClient{TransferClient: transferapi.NewTransferClient(p.conn)}
	err = transferproxy.NewTransferrer(client, streams).Transfer(ctx, from, p.destination(t, unpack), transfer.WithProgress(func(e transfer.Progress) {
		track.event(e)
		if bytes, _, tooMany := track.remaining(); tooMany || bytes > p.limits.Bytes {
			stop(stopped{why: StoppedTooLarge})
		}
	}))
	cause := context.Cause(ctx)
	streams.settle(client.settleTimeout(track))
	switch {
	case err != nil && cause != nil:
		return cause
	case client.err != nil:
		return client.err
	}
	return err
}

// recordingClient keeps the original error: containerd's libraries convert it
// to one that repeats the registry's text.
type recordingClient struct {
	transferapi.TransferClient
	asked bool
	err   error
}

// settleTimeout returns how long containerd may take to end the transfer. A
// transfer that was never requested has ended, and one that has reported no
// progress, which it does first, has most likely not arrived.
func (c *recordingClient) settleTimeout(track *tracker) time.Duration {
	switch {
	case !c.asked:
		return 0
	case !track.hasBegun():
		return time.Second
	}
	return settleTimeout
}

// Transfer implements transferapi.TransferClient.
func (c *recordingClient) Transfer(ctx context.Context, in *transferapi.TransferRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.asked = ctx.Err() == nil
	var out *emptypb.Empty
	out, c.err = c.TransferClient.Transfer(ctx, in, opts...)
	return out, c.err
}

// source returns where to pull from. Like CRI, it answers requests for
// credentials even if there are none, because that changes containerd's error
// for a refusal.
func source(t target) []registry.Opt {
	var h helper
	if t.Credential != nil {
		h.Credential = *t.Credential
	}
	return []registry.Opt{registry.WithHostDir(t.HostsDir), registry.WithCredentials(h)}
}

// helper offers one credential to every host that asks (CRI's ParseAuth without
// a server address).
type helper struct{ credential.Credential }

// GetCredentials implements registry.CredentialHelper.
func (h helper) GetCredentials(_ context.Context, _, host string) (registry.Credentials, error) {
	username, password := h.Reveal()
	return registry.Credentials{Host: host, Username: username, Secret: password}, nil
}

// destination returns where to store the image. The record expires in case it
// is not removed.
func (p *Puller) destination(t target, unpack bool) *image.Store {
	expires := time.Now().Add(p.limits.Time + leaseMargin).UTC().Format(time.RFC3339)
	node := platforms.DefaultSpec() // the node's is this process's
	opts := []image.StoreOpt{image.WithPlatforms(node), image.WithImageLabels(map[string]string{expiry: expires})}
	if unpack {
		opts = append(opts, image.WithUnpack(node, "")) // by the default snapshotter
	}
	return image.NewStore(t.named.String(), opts...)
}

// poll checks at intervals whether the pull may go on, and ends it with the error if not.
func poll(ctx context.Context, interval time.Duration, stop context.CancelCauseFunc, check func() error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := check(); err != nil {
			stop(err)
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// checkSpace returns an error if space runs low.
func (p *Puller) checkSpace(track *tracker) error {
	_, rest, _ := track.remaining()
	free, low, err := p.lowSpace(rest)
	switch {
	case err != nil:
		return checkFailed{err}
	case low:
		return stopped{StoppedLowSpace, free}
	}
	return nil
}

// pullError converts the error of a transfer to the package's own.
func (p *Puller) pullError(ctx context.Context, t target, lease string, err error) error {
	if _, limit := errors.AsType[stopped](err); limit {
		return err
	}
	if b, is := errors.AsType[checkFailed](err); is {
		return b.error
	}
	failed := callError(ctx, OpTransfer, err)
	e, is := errors.AsType[*Error](failed)
	if !is {
		return failed
	}
	// If the runtime or the lease is gone, the error says nothing about the
	// image, even if it looks like it.
	held, listErr := p.leases.List(p.inNamespace(ctx))
	if listErr != nil {
		return callError(ctx, "List leases", listErr)
	}
	for _, l := range held {
		if l.ID == lease {
			e.Text = fmt.Sprintf("failed to pull and unpack image %q: %s", t.named.String(), e.Text)
			return e
		}
	}
	return ErrInterrupted
}

// withoutLog drops the log lines of containerd's libraries, which may quote
// what must not be disclosed.
func withoutLog(ctx context.Context) context.Context {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(logger))
}
