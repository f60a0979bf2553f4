package picture

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/image"
	"github.com/whypull/whypull/deploy/lab/registry"
	"github.com/whypull/whypull/deploy/lab/scale"
	"github.com/whypull/whypull/deploy/monitoring"
)

// every is the interval between two scenarios; settle is how long to record after the
// last one, long enough to find that a pull has stalled. simulated is the number of
// nodes beside the lab's own.
const (
	every     = 6 * time.Second
	settle    = 75 * time.Second
	simulated = 5
)

// Take draws whypull's dashboard: it starts the lab, installs whypull from its source
// tree, adds simulated nodes with real agents, breaks the demo's pods one after the other
// while a Prometheus records, recovers some by deleting them, and draws the result.
func Take(ctx context.Context, l *lab.Lab, source string, progress io.Writer) (string, error) {
	l.Extra = binaries.Monitoring()
	if err := l.Up(ctx, progress); err != nil {
		return "", err
	}
	if err := demo.Install(ctx, l, source, demo.Options{}); err != nil {
		return "", err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	nodes, err := scale.Join(ctx, l, source, simulated, progress)
	if err != nil {
		return "", err
	}
	p, err := demo.StartPrometheus(l, source, monitoring.Rules(), scrape(nodes.Addresses()))
	if err != nil {
		return "", err
	}
	defer p.Stop()
	begin := time.Now()
	if err := happen(ctx, l, nodes, progress); err != nil {
		return "", err
	}
	end := time.Now()
	if err := everyNodeFails(ctx, p); err != nil {
		return "", err
	}
	sections, answers, err := ask(ctx, p, begin, end)
	if err != nil {
		return "", err
	}
	return Draw(sections, answers, begin, end), nil
}

// everyNodeFails returns an error unless the agents of the lab's node and of each
// simulated one report pods of their own.
func everyNodeFails(ctx context.Context, p *demo.Prometheus) error {
	got, err := p.Query(ctx, `count by (node) (count by (node, pod_namespace, pod_name) (whypull_pod_failure_info) unless on (pod_namespace, pod_name)
(count by (pod_namespace, pod_name) (whypull_pod_failure_info) > 1))`)
	if err != nil {
		return err
	}
	if len(got) != simulated+1 {
		return fmt.Errorf("agents of %d nodes report pods of their own, want %d: %v", len(got), simulated+1, got)
	}
	return nil
}

// scrape returns a scrape configuration for the agents of simulated nodes, whose pods
// have no addresses that Prometheus could discover.
func scrape(addresses map[string]string) string {
	var out strings.Builder
	out.WriteString("- job_name: simulated\n  relabel_configs: [{target_label: job, replacement: whypull-agent}]\n  static_configs:\n")
	for _, node := range slices.Sorted(maps.Keys(addresses)) {
		fmt.Fprintf(&out, "  - {targets: ['%s'], labels: {node: %s, namespace: whypull}}\n", addresses[node], node)
	}
	return out.String()
}

// waits breaks pods of which the demo has none: one whose pull is slow, one whose pull
// stalls, and two of registries that report a rate limit.
func waits(ctx context.Context, l *lab.Lab) error {
	const slow, stalled = "/demo/slow:1.0", "/demo/stalled:1.0"
	program, err := l.ToolPath("pause")
	if err != nil {
		return err
	}
	for repository, size := range map[string]int{slow: 200 * registry.SlowRate, stalled: 4 << 20} {
		i, err := image.Build(image.Options{Name: repository, Program: program, Padding: size})
		if err != nil {
			return err
		}
		if err := l.Push(ctx, registry.PlainHost+repository, i); err != nil {
			return err
		}
	}
	return demo.Scenario{Name: "waits", Manifests: []string{strings.Join([]string{
		demo.Pod("near", registry.NearHost+"/demo/near:1.0", "", ""),
		demo.Pod("exhausted", registry.ExhaustedHost+"/demo/exhausted:1.0", "", ""),
		demo.Pod("slow", registry.SlowHost+slow, "", ""),
		demo.Pod("stalled", registry.StallHost+stalled, "", ""),
	}, "---\n")}}.Break(ctx, l)
}

// happen breaks all pods, those of the simulated nodes among them, and then deletes every
// third.
func happen(ctx context.Context, l *lab.Lab, nodes *scale.Joined, progress io.Writer) error {
	all := demo.Scenarios()
	for i, s := range all {
		fmt.Fprintf(progress, "[%d/%d] %s\n", i+1, len(all), s.Title)
		if err := s.Break(ctx, l); err != nil {
			return err
		}
		if i < simulated {
			if err := nodes.BadSecret(ctx, i); err != nil {
				return err
			}
		}
		if i >= simulated && i-simulated < simulated/2 {
			if err := nodes.BadImage(ctx, i-simulated); err != nil {
				return err
			}
		}
		if err := wait(ctx, every); err != nil {
			return err
		}
	}
	if err := waits(ctx, l); err != nil {
		return err
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
