package retry

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

const (
	// role is the role of the box's main process.
	role = "retry"
	// doneFile is written inside the box when all tests pass.
	doneFile = "/var/lib/lab/done"
)

// run starts a box in the lab's directory, waits for its main process, and reports
// whether its tests passed. log is its output.
func run(ctx context.Context, l *lab.Lab, progress io.Writer) (log string, passed bool, err error) {
	l.Extra = binaries.Runtimes()
	tools, err := l.Build(ctx, progress)
	if err != nil {
		return "", false, err
	}
	if err := l.Remove(ctx); err != nil { // leftovers of an earlier run that was killed
		return "", false, err
	}
	log = filepath.Join(l.Dir(), "retry.log")
	if err := os.MkdirAll(l.Dir(), 0o755); err != nil {
		return "", false, fmt.Errorf("lab directory: %w", err)
	}
	out, err := os.Create(filepath.Clean(log))
	if err != nil {
		return "", false, fmt.Errorf("log: %w", err)
	}
	defer func() { _ = out.Close() }()
	b, err := runtimes.StartBox(ctx, l, tools, role, out)
	if err != nil {
		return log, false, err
	}
	if err := gone(ctx, b); err != nil {
		return log, false, err
	}
	_, err = os.Stat(filepath.Join(l.Dir(), doneFile))
	return log, err == nil, nil
}

// gone returns when the box has exited.
func gone(ctx context.Context, b *box.Box) error {
	for b.Alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the box did not finish: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
