package runtimes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/deploy/lab/box"
	"github.com/whypull/whypull/deploy/lab/supervise"
	"github.com/whypull/whypull/report/metrics"
)

const (
	// role is that of the box's main process.
	role = "runtimes"
	// resultsFile gets one Result a line; doneFile is there when all went well.
	resultsFile = "/var/lib/lab/results.jsonl"
	doneFile    = "/var/lib/lab/done"
	logDir      = "/var/log/lab"
	toolDir     = "/opt/lab/bin"
	// nameServer is where the world's names are served, as systemd-resolved does.
	nameServer = "127.0.0.53:53"
	// retryAfter is what a registry of the world wants that limits requests.
	// CRI-O waits that long eight times in one pull.
	retryAfter = 9 * time.Second
	// ingestsKept is how long containerd may keep content of the right size and the
	// wrong digest. Until its garbage collection has run, it fails without asking
	// the registry again.
	ingestsKept = 30 * time.Second
	// atOnce is how many cases a runtime pulls side by side. Most of them wait.
	atOnce = 24
)

// Reexec plays the part inside the box that this process was started for. It
// reports whether there was one; the program then has nothing else to do.
func Reexec() (played bool, err error) {
	if played, err := box.Reexec(); played || err != nil {
		return played, err
	}
	roles := map[string]func(context.Context) error{role: inside, generatedRole: insideGenerated}
	play := roles[os.Getenv(box.RoleVariable)]
	if play == nil {
		return false, nil
	}
	if err := os.Unsetenv(box.RoleVariable); err != nil {
		return false, fmt.Errorf("environment: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	return true, play(ctx)
}

// inside runs the world and the runtimes, and every case on each of them.
func inside(ctx context.Context) error {
	world, err := faulttest.Start(faulttest.Config{Root: "/", DNS: nameServer, RetryAfter: retryAfter, Healed: true})
	if err != nil {
		return fmt.Errorf("world of faults: %w", err)
	}
	defer world.Close()
	return withRuntimes(ctx, world.ProxyEnv(), func(runtimes []Runtime, out *results) error { return runAll(ctx, runtimes, world, out) })
}

// withRuntimes starts the runtimes and has them do something, of which the results go
// to a file.
func withRuntimes(ctx context.Context, proxy []string, do func([]Runtime, *results) error) error {
	out, err := os.OpenFile(resultsFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	defer func() { _ = out.Close() }()
	runtimes := inBox()
	if err := startRuntimes(ctx, runtimes, proxy); err != nil {
		return err
	}
	if err := do(runtimes, &results{to: json.NewEncoder(out)}); err != nil {
		return err
	}
	return os.WriteFile(doneFile, nil, 0o600)
}

// inBox are the runtimes whose programs this box has.
func inBox() []Runtime {
	return slices.DeleteFunc(All(), func(r Runtime) bool {
		_, err := os.Stat(filepath.Join(toolDir, r.Tool))
		return err != nil
	})
}

// startRuntimes starts the runtimes and returns when they serve CRI.
func startRuntimes(ctx context.Context, runtimes []Runtime, proxy []string) error {
	var components []supervise.Component
	for _, r := range runtimes {
		components = append(components, supervise.Component{
			Name: r.Tool, Title: r.Name, Argv: []string{toolDir + "/" + r.Tool, "--config", r.ConfigFile()},
			Env: slices.Concat(box.Environment(), proxy), Ready: r.serves,
		})
	}
	supervisor, err := supervise.New(logDir, components)
	if err != nil {
		return err
	}
	go supervisor.Run(ctx)
	for {
		waiting := slices.IndexFunc(supervisor.States(), func(s supervise.State) bool { return !s.Ready })
		if waiting < 0 {
			return nil
		}
		if s := supervisor.States()[waiting]; s.Failed {
			return fmt.Errorf("%s does not come up: %s", s.Title, s.Trouble)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serves asks the runtime for its version over CRI, whose part comes up after
// the socket.
func (r Runtime) serves(ctx context.Context) error {
	if _, err := os.Stat(r.Socket()); err != nil {
		return err
	}
	runtime, err := cri.Dial(r.Socket())
	if err != nil {
		return err
	}
	_, _, err = runtime.Version(ctx)
	return errors.Join(err, runtime.Close())
}

// results are written by many.
type results struct {
	mu sync.Mutex
	to *json.Encoder
}

func (r *results) add(one any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.to.Encode(one); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// runAll runs every case on every runtime.
func runAll(ctx context.Context, runtimes []Runtime, world *faulttest.World, out *results) error {
	errs := make([]error, len(runtimes))
	var all sync.WaitGroup
	for i, r := range runtimes {
		cases := world.Cases()
		if r.isCRIO() {
			cases = world.CRIOCases()
		}
		// Those that wait the longest begin first.
		slices.SortStableFunc(cases, func(a, b faulttest.Case) int { return slow(b) - slow(a) })
		all.Go(func() { errs[i] = runCases(ctx, r, world, cases, out) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func slow(c faulttest.Case) int {
	if c.Slow {
		return 1
	}
	return 0
}

// runCases runs every case on one runtime.
func runCases(ctx context.Context, r Runtime, world *faulttest.World, cases []faulttest.Case, out *results) error {
	service, err := dialImages(r.Socket())
	if err != nil {
		return err
	}
	defer func() { _ = service.conn.Close() }()
	runtime, err := cri.Dial(r.Socket())
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	defer func() { _ = runtime.Close() }()
	errs := make([]error, len(cases))
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, c := range cases {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			result, err := runCase(ctx, r, service, runtime, c)
			if err == nil {
				err = verify(ctx, service, world, c, &result)
			}
			errs[i] = errors.Join(err, out.add(result))
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// runCase pulls as the kubelet does, and has a failure judged.
func runCase(ctx context.Context, r Runtime, service images, runtime *cri.Runtime, c faulttest.Case) (Result, error) {
	result := Result{Case: c.Name, Runtime: r.Name, Image: c.Image, Truth: diagnosis.Cause(c.On(r.Name))}
	start := time.Now()
	err := service.pull(ctx, c)
	result.Seconds = time.Since(start).Seconds()
	if err == nil {
		result.Pulled = true
		if err := service.remove(ctx, c); err != nil {
			return result, fmt.Errorf("%s: removing %s: %w", r.Name, c.Image, err)
		}
		return result, nil
	}
	failures := podwatch.Failures(failedPod(c, err))
	if len(failures) != 1 {
		return result, fmt.Errorf("%s on %s: the pod has %d failures", c.Name, r.Name, len(failures))
	}
	f := failures[0]
	v := judge(ctx, r, runtime, c, f)
	result.Reason, result.Message = f.Reason, f.Message
	result.Cause, result.Confidence, result.Summary, result.Evidence = v.Cause, v.Confidence, v.Summary, v.Evidence
	return result, nil
}

// verify tries out what a verdict claims: that the image can be pulled now, or
// that it can be pulled without the cause.
func verify(ctx context.Context, service images, world *faulttest.World, c faulttest.Case, result *Result) error {
	var err error
	switch {
	case result.Pulled:
	case result.Cause == diagnosis.NotReproducible:
		result.Repeated, err = service.try(ctx, c)
	case result.Confidence == diagnosis.Confirmed:
		if healed, ok := world.Healed(c.Name, result.Runtime, faulttest.Truth(result.Cause)); ok {
			result.Healed, err = service.tryFor(ctx, healed, ingestsKept)
		}
	}
	return err
}

// judge examines a failure as whypull's agent does on a node with this runtime.
// Each case has a collector of its own: what one registry answers to a case,
// a rate limit above all, must not keep it from being asked about the next.
func judge(ctx context.Context, r Runtime, runtime *cri.Runtime, c faulttest.Case, f diagnosis.Failure) diagnosis.Verdict {
	options := nodeconfig.Options{Root: "/", ConfigFile: r.ConfigFile(), Version: "lab"}
	collector := probe.New(probe.Options{Images: runtime, Secrets: secrets{c}, Metrics: metrics.New("lab"), Registries: options, Resolver: probe.NodeResolver{Root: "/"}})
	_, all := collector.Collect(ctx, f, false)
	return diagnosis.Diagnose(f, <-all)
}
