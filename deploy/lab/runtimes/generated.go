package runtimes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/agent/check"
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/deploy/lab"
)

const (
	// generatedRole is that of the main process of a box with generated cases.
	generatedRole = "generated"
	// generateFile says which cases to generate.
	generateFile = "/var/lib/lab/generate.json"
	// generatedAtOnce is how many cases run side by side on a runtime. A check
	// has time limits of its own, which a busy machine must not reach.
	generatedAtOnce = 4
)

// Comparison is what whypull check says of a generated case, and what a runtime
// does.
type Comparison struct {
	Case, Runtime string
	// Pulled reports whether the runtime pulls the image; Message is its error.
	Pulled  bool
	Message string
	// Pullable reports whether whypull says that it can be pulled. The fields
	// below are its verdict.
	Pullable   bool
	Cause      diagnosis.Cause
	Confidence diagnosis.Confidence
	Summary    string
	Evidence   []string
	// Explanation describes the case, where they differ.
	Explanation string
	Seconds     float64
}

// Differ reports whether whypull and the runtime disagree.
func (c Comparison) Differ() bool { return c.Pulled != c.Pullable }

// String describes a difference.
func (c Comparison) String() string {
	pulled := "pulls it"
	if !c.Pulled {
		pulled = "fails: " + c.Message
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s on %s (%.1f s)\n%s%s %s\nwhypull: %s %s: %s\n", c.Case, c.Runtime, c.Seconds, c.Explanation, c.Runtime, pulled, c.Cause, c.Confidence, c.Summary)
	for _, line := range c.Evidence {
		fmt.Fprintf(&text, "  %s\n", line)
	}
	return text.String()
}

// Compare makes a box, generates cases in it, and returns for each of the
// runtimes what it does and what whypull check says, sorted by case.
func Compare(ctx context.Context, l *lab.Lab, runtimes []Runtime, generate faulttest.Generate, progress io.Writer) ([]Comparison, error) {
	text, err := json.Marshal(generate)
	if err != nil {
		return nil, err
	}
	return runIn(ctx, l, runtimes, generatedRole, map[string]string{generateFile: string(text)},
		func(c Comparison) (string, string) { return c.Case, c.Runtime }, progress)
}

// insideGenerated runs the generated cases on every runtime.
func insideGenerated(ctx context.Context) error {
	text, err := os.ReadFile(generateFile)
	if err != nil {
		return fmt.Errorf("what to generate: %w", err)
	}
	var generate faulttest.Generate
	if err := json.Unmarshal(text, &generate); err != nil {
		return fmt.Errorf("what to generate: %w", err)
	}
	world, err := faulttest.Start(faulttest.Config{Root: "/", DNS: nameServer, Generate: generate})
	if err != nil {
		return fmt.Errorf("generated world: %w", err)
	}
	defer world.Close()
	return withRuntimes(ctx, nil, func(runtimes []Runtime, out *results) error {
		errs := make([]error, len(runtimes))
		var all sync.WaitGroup
		for i, r := range runtimes {
			all.Go(func() { errs[i] = compareAll(ctx, r, world, out) })
		}
		all.Wait()
		return errors.Join(errs...)
	})
}

// compareAll compares all cases on one runtime.
func compareAll(ctx context.Context, r Runtime, world *faulttest.World, out *results) error {
	service, err := dialImages(r.Socket())
	if err != nil {
		return err
	}
	defer func() { _ = service.conn.Close() }()
	cases := world.Cases()
	if r.isCRIO() {
		cases = world.CRIOCases()
	}
	errs := make([]error, len(cases))
	places := make(chan struct{}, generatedAtOnce)
	var all sync.WaitGroup
	for i, c := range cases {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			one, err := compareCase(ctx, r, service, c)
			if err == nil && one.Differ() {
				// A busy machine may have been the cause.
				one, err = compareCase(ctx, r, service, c)
			}
			if one.Differ() {
				one.Explanation = world.Explain(c.Name, r.isCRIO())
			}
			errs[i] = errors.Join(err, out.add(one))
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// compareCase asks whypull, and then the runtime.
func compareCase(ctx context.Context, r Runtime, service images, c faulttest.Case) (Comparison, error) {
	begun := time.Now()
	one, err := checkCase(ctx, r, c)
	if err != nil {
		return one, fmt.Errorf("check %s for %s: %w", c.Image, r.Name, err)
	}
	err = service.pull(ctx, c)
	one.Seconds = time.Since(begun).Seconds()
	if err != nil {
		one.Message = err.Error()
		return one, nil
	}
	one.Pulled = true
	if err := service.remove(ctx, c); err != nil {
		return one, fmt.Errorf("%s: removing %s: %w", r.Name, c.Image, err)
	}
	return one, nil
}

// checkCase runs whypull check on the manifests of a case's pod.
func checkCase(ctx context.Context, r Runtime, c faulttest.Case) (Comparison, error) {
	one := Comparison{Case: c.Name, Runtime: r.Name}
	manifests, err := manifestsOf(ctx, c)
	if err != nil {
		return one, err
	}
	var out bytes.Buffer
	one.Pullable, err = check.Run(ctx, check.Options{
		Files: []string{"-"}, Socket: r.Socket(), SocketWanted: true, Download: true, Output: "json",
		Registries: nodeconfig.Options{Root: "/", ConfigFile: r.ConfigFile(), Version: "lab"}, Kubelet: kubelet.Options{Dir: "/var/lib/kubelet"},
		Report: func(verdicts []diagnosis.Verdict, _ string, _ time.Time) any {
			if len(verdicts) != 1 {
				return nil
			}
			v := verdicts[0]
			one.Cause, one.Confidence, one.Summary = v.Cause, v.Confidence, v.Summary
			for _, e := range v.Evidence {
				one.Evidence = append(one.Evidence, fmt.Sprintf("%s %s %s: %s", e.Check, e.Outcome, e.Fault, e.Detail))
			}
			return nil
		},
	}, bytes.NewReader(manifests), &out)
	if err == nil && one.Cause == "" {
		err = fmt.Errorf("no verdict: %s", out.String())
	}
	return one, err
}

// manifestsOf returns a case's pod and its pull secrets as a user has them in
// files.
func manifestsOf(ctx context.Context, c faulttest.Case) ([]byte, error) {
	pod := failedPod(c, errors.New("not pulled yet"))
	items := []any{map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]string{"name": pod.Name, "namespace": namespace}, "spec": pod.Spec}}
	for _, name := range secretNames(c) {
		secret, err := secrets{c}.Secret(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		items = append(items, map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": secret.Type, "metadata": map[string]string{"name": name, "namespace": namespace},
			"data": secret.Data.Reveal(),
		})
	}
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

// readLines returns the results so far. An unfinished last line is left out.
func readLines[T any](path string) ([]T, error) {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	var all []T
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			return nil, fmt.Errorf("results: %w", err)
		}
		all = append(all, one)
	}
	return all, nil
}
