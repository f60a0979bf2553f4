package picture

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/monitoring"
)

// every is the interval between two scenarios; settle is how long to record after the
// last one.
const (
	every  = 6 * time.Second
	settle = 45 * time.Second
)

// Take draws whypull's dashboard: it starts the lab, installs whypull from its source
// tree, breaks the demo's pods one after the other while a Prometheus records, recovers
// some by deleting them, and draws the result.
func Take(ctx context.Context, l *lab.Lab, source string, progress io.Writer) (string, error) {
	l.Extra = binaries.Monitoring()
	if err := l.Up(ctx, progress); err != nil {
		return "", err
	}
	if err := demo.Install(ctx, l, source, demo.Options{}); err != nil {
		return "", err
	}
	p, err := demo.StartPrometheus(l, source, monitoring.Rules())
	if err != nil {
		return "", err
	}
	defer p.Stop()
	begin := time.Now()
	if err := happen(ctx, l, progress); err != nil {
		return "", err
	}
	end := time.Now()
	sections, answers, err := ask(ctx, p, begin, end)
	if err != nil {
		return "", err
	}
	return Draw(sections, answers, begin, end), nil
}

// happen breaks all pods, and then deletes every third.
func happen(ctx context.Context, l *lab.Lab, progress io.Writer) error {
	all := demo.Scenarios()
	for i, s := range all {
		fmt.Fprintf(progress, "[%d/%d] %s\n", i+1, len(all), s.Title)
		if err := s.Break(ctx, l); err != nil {
			return err
		}
		if err := wait(ctx, every); err != nil {
			return err
		}
	}
	for i, s := range all {
		if i%3 > 0 {
			continue
		}
		if _, err := l.Kubectl(ctx, nil, "delete", "namespace", s.Name, "--wait=false"); err != nil {
			return err
		}
	}
	return wait(ctx, settle)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ask runs the dashboard's queries, and leaves out sections without data.
func ask(ctx context.Context, p *demo.Prometheus, from, to time.Time) ([]monitoring.Section, map[string]Answer, error) {
	answers := map[string]Answer{}
	sections := monitoring.Sections()
	for _, s := range sections {
		for _, panel := range s.Panels {
			for _, q := range panel.Queries {
				begin := from
				if panel.Kind != "timeseries" {
					begin = to
				}
				found, err := p.Range(ctx, monitoring.Filled(q.Expr, "30s", "10m"), begin, to, Step)
				if err != nil {
					return nil, nil, err
				}
				for _, sample := range found {
					answers[panel.Title] = append(answers[panel.Title], Named(q.Legend, sample))
				}
			}
		}
	}
	sections = slices.DeleteFunc(sections, func(s monitoring.Section) bool {
		return !slices.ContainsFunc(s.Panels, func(p monitoring.Panel) bool { return len(answers[p.Title]) > 0 })
	})
	return sections, answers, nil
}
