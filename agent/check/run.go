package check

import (
	"context"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/probe"
)

// atOnce is the number of images checked concurrently.
const atOnce = 4

// examination is a running check of one image. Evidence from live is also in all.
type examination struct {
	first, live, all chan []diagnosis.Evidence
}

// mostLive is the buffer size for evidence of an image that is not shown yet.
const mostLive = 64

// run checks all targets, atOnce at a time, and shows them one by one.
func (c *checker) run(ctx context.Context, targets []target, w *text) ([]result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exams := c.start(ctx, targets)
	w.begin(c)
	var results []result
	for i, t := range targets {
		w.target(t)
		select {
		case quick := <-exams[i].first:
			w.evidence(t, c.adapt(t, filter(quick, quickly)))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.waiting(t)
		all, err := c.follow(ctx, exams[i], t, w)
		if err != nil {
			return nil, err
		}
		r := c.judge(t, all)
		w.result(r)
		results = append(results, r)
	}
	return results, w.end(results)
}

// follow shows the evidence about one image as it arrives, and returns all of it.
func (c *checker) follow(ctx context.Context, x examination, t target, w *text) ([]diagnosis.Evidence, error) {
	shown := 0
	show := func(all []diagnosis.Evidence) {
		all = filter(c.adapt(t, all), func(e diagnosis.Evidence) bool { return !quickly(e) })
		shown += len(all)
		w.evidence(t, all)
	}
	for {
		select {
		case some := <-x.live:
			show(some)
			w.waiting(t)
		case all := <-x.all:
			for len(x.live) > 0 {
				show(<-x.live)
			}
			if ctx.Err() != nil { // canceled checks are no evidence
				w.evidence(t, nil)
				return nil, ctx.Err()
			}
			all = c.adapt(t, all)
			late := filter(all, func(e diagnosis.Evidence) bool { return !quickly(e) })
			w.evidence(t, late[min(shown, len(late)):])
			return all, nil
		case <-ctx.Done():
			w.evidence(t, nil)
			return nil, ctx.Err()
		}
	}
}

// start starts the examinations, which run while earlier ones are shown.
func (c *checker) start(ctx context.Context, targets []target) []examination {
	exams := make([]examination, len(targets))
	for i := range exams {
		exams[i] = examination{make(chan []diagnosis.Evidence, 1), make(chan []diagnosis.Evidence, mostLive), make(chan []diagnosis.Evidence, 1)}
	}
	probes := c.probes
	probes.Found = func(f diagnosis.Failure, e ...diagnosis.Evidence) {
		i, _ := strconv.Atoi(f.UID) // is set below
		select {
		case exams[i].live <- e:
		case <-ctx.Done():
		}
	}
	collector := probe.New(probes)
	var running errgroup.Group
	running.SetLimit(atOnce)
	go func() {
		for i, t := range targets {
			running.Go(func() error {
				t.failure.UID = strconv.Itoa(i)
				first, all := collector.Collect(ctx, t.failure, false)
				exams[i].first <- first
				exams[i].all <- <-all
				return nil
			})
		}
	}()
	return exams
}

// quickly reports whether evidence is from a check that needs no network.
func quickly(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckImage || e.Check == diagnosis.CheckCredentials
}

func filter(all []diagnosis.Evidence, keep func(diagnosis.Evidence) bool) []diagnosis.Evidence {
	return slices.DeleteFunc(slices.Clone(all), func(e diagnosis.Evidence) bool { return !keep(e) })
}
