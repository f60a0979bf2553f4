package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/registry"
)

// patience is how long the demo waits for the last report.
const patience = 2 * time.Minute

// Run starts the lab, installs whypull from its source tree, breaks the pods of all
// scenarios, and prints whypull's verdicts when all pods have one.
func Run(ctx context.Context, l *lab.Lab, source string, out, progress io.Writer) error {
	if err := l.Up(ctx, progress); err != nil {
		return err
	}
	start := time.Now()
	step := func(n int, what string) {
		fmt.Fprintf(progress, "[%d/3] %5.1f s  %s\n", n, time.Since(start).Seconds(), what)
	}
	step(1, "building whypull and deploying it with the manifests in deploy/")
	if err := Install(ctx, l, source, Options{}); err != nil {
		return err
	}
	step(2, fmt.Sprintf("breaking pods in %d ways", len(Scenarios())))
	if err := breakAll(ctx, l); err != nil {
		return err
	}
	step(3, "waiting for the reports")
	rows, err := collect(ctx, l)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "done after %.1f s\n\n", time.Since(start).Seconds())
	return show(out, l, rows)
}

// breakAll breaks pods a few at a time; most of the time goes to the kubelet. Those of an
// earlier demo on the same node, which cannot all be broken again, are deleted first.
func breakAll(ctx context.Context, l *lab.Lab) error {
	earlier := []string{"delete", "namespace", "--ignore-not-found"}
	for _, s := range Scenarios() {
		earlier = append(earlier, s.Name)
	}
	if _, err := l.Kubectl(ctx, nil, earlier...); err != nil {
		return err
	}
	const together = 6
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	places := make(chan struct{}, together)
	var wg sync.WaitGroup
	for _, s := range Scenarios() {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if err := s.Break(ctx, l); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// row is one failing container in the demo's table.
type row struct {
	namespace, pod string
	container
}

type container struct {
	Name, Cause, Confidence, Summary string
	Remedy                           []string
}

// collect waits until each scenario's pod has a final report.
func collect(ctx context.Context, l *lab.Lab) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		reports, err := reports(ctx, l)
		if err != nil {
			return nil, err
		}
		rows, missing := arrange(reports)
		if missing == "" {
			return rows, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("whypull has no report on %s: %w", missing, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// reports returns the final reports of all pods, by namespace and pod.
func reports(ctx context.Context, l *lab.Lab) (map[string][]container, error) {
	out, err := l.Kubectl(ctx, nil, "get", "pods", "-A", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Namespace, Name string
				Annotations     map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	found := map[string][]container{}
	for _, p := range list.Items {
		text := p.Metadata.Annotations["whypull.dev/report"]
		var report struct{ Containers []container }
		if text == "" || strings.Contains(text, `"fault":"Pending"`) || json.Unmarshal([]byte(text), &report) != nil {
			continue
		}
		found[p.Metadata.Namespace+"/"+p.Metadata.Name] = report.Containers
	}
	return found, nil
}

// arrange sorts the reports in the order of the scenarios. missing is the first pod
// without one.
func arrange(reports map[string][]container) (rows []row, missing string) {
	for _, s := range Scenarios() {
		for _, want := range s.Expect {
			pod := s.Name + "/" + want.Pod
			if len(reports[pod]) == 0 {
				return nil, pod
			}
			for _, c := range reports[pod] {
				rows = append(rows, row{s.Name, want.Pod, c})
			}
		}
	}
	return rows, ""
}

// show prints the table and how to look further.
func show(out io.Writer, l *lab.Lab, rows []row) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tPOD\tCONTAINER\tCAUSE\tCONFIDENCE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.namespace, r.pod, r.Name, r.Cause, r.Confidence)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	fmt.Fprintf(out, "%s\n", lines[0])
	for i, r := range rows {
		fmt.Fprintf(out, "%s\n  %s\n", lines[i+1], r.Summary)
		for _, line := range r.Remedy {
			fmt.Fprintf(out, "    %s\n", line)
		}
	}
	kubectl, err := l.KubectlPath()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `
To look further:
  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl -n secret-for-another-host describe pod app
  kubectl -n secret-for-another-host get pod app -o jsonpath='{.metadata.annotations.whypull\.dev/report}'
Credentials for the remedies: user %s with password %s for hub.*, user %s with password %s for ghcr and quay.
To stop the demo: make demo-down
`, l.KubeconfigPath(), strings.TrimSuffix(kubectl, "/kubectl"),
		registry.Alice, registry.AlicePassword, registry.Admin, registry.AdminPassword)
	return err
}
