package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri/disk"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/scratchpull"
)

// The bounds of a pull tried again that no flag sets.
const (
	// retryFloor is the free space, in bytes, that has to be left.
	retryFloor = 5 << 30
	// retryTime is how long it may take.
	retryTime = time.Minute
	// sweepTime bounds the removal of what an earlier run has left.
	sweepTime = 30 * time.Second
)

// retry returns what tries the pulls of pods again, and the way to stop it. What a
// run that was killed has left is removed in the background.
func (o agentOptions) retry(log *slog.Logger, pods *agent.Pods) (probe.Retry, func(), error) {
	mode, err := probe.ParseRetryMode(o.pullRetry)
	if err != nil {
		return probe.Retry{}, nil, wrong("pull-retry", err)
	}
	most, err := resource.ParseQuantity(o.retryBytes)
	if err != nil || most.Value() <= 0 {
		return probe.Retry{}, nil, wrong("pull-retry-max-bytes", fmt.Errorf("%q: want a number of bytes, such as 512Mi", o.retryBytes))
	}
	again := func(uid string) { pods.Reexamine(uid, false) }
	out := probe.Retry{Mode: mode, Again: again, Waiting: pods.Waiting}
	if mode != probe.RetryAuto && mode != probe.RetryIsolated {
		return out, func() {}, nil
	}
	puller, err := scratchpull.New(o.criSocket, "", scratchpull.Limits{Bytes: most.Value(), Floor: retryFloor, Time: retryTime, Free: o.freeSpace})
	if err != nil {
		return probe.Retry{}, nil, wrong("cri-socket", err)
	}
	out.Isolated = puller
	ctx, stop := context.WithTimeout(context.Background(), sweepTime)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		if err := puller.Sweep(ctx); err != nil && !errors.Is(err, scratchpull.ErrUnsupported) {
			log.Warn("what an earlier run has left in the container runtime was not removed", "err", err)
		}
	}()
	return out, func() {
		stop()
		<-swept
		_ = puller.Close() // at the end of the process
	}, nil
}

// freeSpace is the least free space, in bytes, of the file systems that a pull
// writes to.
func (o agentOptions) freeSpace() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	storage := nodeconfig.Load(o.registries()).Storage()
	all, err := disk.Filesystems(ctx, o.hostRoot, disk.Containerd(storage.Root, nil))
	if err != nil {
		return 0, err
	}
	var least uint64
	seen := false
	for _, f := range all {
		if f.Unseen == "" && (!seen || f.Free < least) {
			least, seen = f.Free, true
		}
	}
	if !seen {
		return 0, errors.New("the file system of the container runtime is not mounted")
	}
	return least, nil
}
