package runtimes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// NameServer is where the runtimes of the box look names up.
const NameServer = nameServer

// StartBox starts a box with the programs and the configuration of all Releases
// in the lab's folder. Its main process plays the role, and has to call Serve;
// what it prints goes to logs.
func StartBox(ctx context.Context, l *lab.Lab, tools binaries.Paths, role string, logs *os.File) (*box.Box, error) {
	return startBox(ctx, l, Releases(), tools, role, logs)
}

func startBox(ctx context.Context, l *lab.Lab, runtimes []Runtime, tools binaries.Paths, role string, logs *os.File) (*box.Box, error) {
	spec := spec(l, runtimes, tools)
	spec.Role = role
	for _, dir := range []string{hostPath(l, filepath.Dir(resultsFile)), hostPath(l, "/var/tmp"), spec.Writable[logDir]} {
		if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- the box's own folders
			return nil, fmt.Errorf("lab folder: %w", err)
		}
	}
	if err := registry.WriteFiles(spec.Skeleton, files(runtimes)); err != nil {
		return nil, err
	}
	return box.Start(ctx, spec, logs, nil)
}

// Serve starts the runtimes inside the box, with the environment besides the
// box's own, and returns when they serve CRI. They end with ctx.
func Serve(ctx context.Context, environment []string) error {
	return startRuntimes(ctx, inBox(), environment)
}

// Root is the folder inside the box where the runtime keeps everything.
func (r Runtime) Root() string { return r.root() }
