package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// turnPrefix, with the node's name, names the socket that the node's agent holds. It is in
// the abstract namespace, which belongs to the network namespace, for agents the node's:
// nothing is on disk, and the kernel removes it with the process.
const turnPrefix = "@whypull.dev/agent/"

// turnInterval is how often an agent checks whether the other has ended.
const turnInterval = time.Second

// awaitTurn returns when no other agent runs on the node, or when the context ends: two
// would announce everything twice and overwrite each other's reports. Another may run if
// its pod was deleted by force, or belongs to a copy of the DaemonSet. The function that
// it returns lets the next one begin.
func awaitTurn(ctx context.Context, log *slog.Logger, socket string) (release func()) {
	for warned := false; ; warned = true {
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
		switch {
		case err == nil:
			return func() { _ = l.Close() }
		case ctx.Err() != nil:
			return func() {}
		case !errors.Is(err, unix.EADDRINUSE):
			log.Warn("cannot check for another agent on the node", "err", err)
			return func() {}
		case !warned:
			log.Warn("another agent runs on the node, waiting for its end")
		}
		select {
		case <-ctx.Done():
			return func() {}
		case <-time.After(turnInterval):
		}
	}
}
