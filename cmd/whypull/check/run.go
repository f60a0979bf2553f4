package check

import (
	"context"
	"slices"

	"github.com/whypull/whypull/agent/diagnosis"
)

// atOnce is how many images are checked at a time.
const atOnce = 4

// writer shows what is found, in the order of the targets.
type writer interface {
	begin(c *checker, targets []target)
	target(c *checker, t target)
	waiting(t target)
	evidence(t target, all []diagnosis.Evidence)
	result(r result)
	end(c *checker, all []result) error
}

// examination is one image under way.
type examination struct {
	first, all chan []diagnosis.Evidence
}

// run checks all targets, a few at a time, and shows them one by one.
func (c *checker) run(ctx context.Context, targets []target, w writer) (pullable bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exams := c.start(ctx, targets)
	w.begin(c, targets)
	var results []result
	pullable = true
	for i, t := range targets {
		w.target(c, t)
		quick, ok := receive(ctx, exams[i].first)
		if !ok {
			return false, ctx.Err()
		}
		w.evidence(t, c.adapt(filter(quick, quickly), len(c.objects.pods) > 0))
		w.waiting(t)
		all, ok := receive(ctx, exams[i].all)
		if !ok || ctx.Err() != nil { // a check that was cut short is no evidence
			w.evidence(t, nil)
			return false, ctx.Err()
		}
		all = c.adapt(all, len(c.objects.pods) > 0)
		w.evidence(t, filter(all, func(e diagnosis.Evidence) bool { return !quickly(e) }))
		r := c.judge(t, all)
		w.result(r)
		results, pullable = append(results, r), pullable && r.pullable
	}
	return pullable, w.end(c, results)
}

// start begins the examinations; they go on while the earlier ones are shown.
func (c *checker) start(ctx context.Context, targets []target) []examination {
	exams := make([]examination, len(targets))
	for i := range exams {
		exams[i] = examination{make(chan []diagnosis.Evidence, 1), make(chan []diagnosis.Evidence, 1)}
	}
	next := make(chan int, len(targets))
	for i := range targets {
		next <- i
	}
	close(next)
	for range min(atOnce, len(targets)) {
		go func() {
			for i := range next {
				first, all := c.collector.Collect(ctx, targets[i].failure, false)
				exams[i].first <- first
				exams[i].all <- <-all
			}
		}()
	}
	return exams
}

func receive(ctx context.Context, from <-chan []diagnosis.Evidence) ([]diagnosis.Evidence, bool) {
	select {
	case all := <-from:
		return all, true
	case <-ctx.Done():
		return nil, false
	}
}

// quickly tells of the checks that need no network.
func quickly(e diagnosis.Evidence) bool {
	return e.Check == diagnosis.CheckImage || e.Check == diagnosis.CheckCredentials
}

func filter(all []diagnosis.Evidence, keep func(diagnosis.Evidence) bool) []diagnosis.Evidence {
	return slices.DeleteFunc(slices.Clone(all), func(e diagnosis.Evidence) bool { return !keep(e) })
}
