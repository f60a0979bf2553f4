package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/whypull/whypull/agent"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri/disk"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/scratchpull"
)

// The limits of a pull retry that no flag sets.
const (
	// retryFloor is the free space, in bytes, that must remain.
	retryFloor = 5 << 30
	// retryTime is how long a retry may take.
	retryTime = time.Minute
	// sweepTime limits the removal of an earlier run's leftovers.
	sweepTime = 30 * time.Second
)

// retry returns what retries the pulls of pods, and a function that stops it.
// It removes the leftovers of a killed process in the background.
func (o agentOptions) retry(log *slog.Logger, pods *agent.Pods) (probe.Retry, func(), error) {
	mode, err := probe.ParseRetryMode(o.pullRetry)
	if err != nil {
		return probe.Retry{}, nil, wrong("pull-retry", err)
	}
	maxBytes, err := resource.ParseQuantity(o.retryBytes)
	if err != nil || maxBytes.Value() <= 0 {
		return probe.Retry{}, nil, wrong("pull-retry-max-bytes", fmt.Errorf("%q: want a quantity of bytes, such as 512Mi", o.retryBytes))
	}
	reexamine := func(uid string) { pods.Reexamine(uid, false) }
	out := probe.Retry{Mode: mode, Again: reexamine, Waiting: pods.Waiting}
	if mode != probe.RetryAuto && mode != probe.RetryIsolated {
		return out, func() {}, nil
	}
	puller, err := scratchpull.New(o.criSocket, "", scratchpull.Limits{Bytes: maxBytes.Value(), Floor: retryFloor, Time: retryTime, Free: o.freeSpace})
	if err != nil {
		return probe.Retry{}, nil, wrong("cri-socket", err)
	}
	out.Isolated = puller
	ctx, stop := context.WithTimeout(context.Background(), sweepTime)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		if err := puller.Sweep(ctx); err != nil && !errors.Is(err, scratchpull.ErrUnsupported) {
			log.Warn("leftovers of an earlier pull retry not removed from the container runtime", "err", err)
		}
	}()
	return out, func() {
		stop()
		<-swept
		_ = puller.Close() // the process is ending
	}, nil
}

// freeSpace returns the free space, in bytes, of the fullest file system that a
// pull writes to.
func (o agentOptions) freeSpace() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	storage := nodeconfig.Load(o.registries).Storage()
	all, err := disk.Filesystems(ctx, o.hostRoot, disk.Containerd(storage.Root, nil))
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(f disk.Filesystem) bool { return f.Unseen != "" })
	if len(all) == 0 {
		return 0, errors.New("the container runtime's file system is not mounted")
	}
	return slices.MinFunc(all, func(a, b disk.Filesystem) int { return cmp.Compare(a.Free, b.Free) }).Free, nil
}
