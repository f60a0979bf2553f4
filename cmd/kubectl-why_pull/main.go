// Command kubectl-why_pull is a kubectl plugin that shows which pods cannot
// pull their images, and why, from whypull's reports on the pods.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// version is set by the linker.
var version = "dev"

func main() {
	// client-go would log to the terminal. Code that does not take its logger
	// from the context takes this one.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	log.SetOutput(io.Discard) // net/http quotes there what servers send unasked
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// The exit statuses, the same as those of "whypull check".
const (
	nothingFails   = 0
	somethingFails = 1
	usageError     = 2 // or an internal error
)

// errFailing means that a pod fails, which has been printed.
var errFailing = errors.New("a pod fails")

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx = klog.NewContext(ctx, klog.New(nil)) // discards everything
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	switch err := cmd.ExecuteContext(ctx); {
	case errors.Is(err, errFailing):
		return somethingFails
	case err != nil:
		fmt.Fprintln(stderr, "kubectl why-pull:", report.Printable(err.Error()))
		return usageError
	}
	return nothingFails
}

const long = `Show which pods cannot pull their images, and why, from the reports that
whypull's agents have written to the pods: all pods of a namespace, grouped by
cause and by what they have in common, or the details of one pod. With --preflight,
the same for running pods that could not be started again, because their image could not
be pulled; agents check that if they run with --image-check-interval.

TYPE/NAME shows the pods of an owner, such as deploy/web, sts/db or cronjob/run. It,
--selector, --node, --cause and --since can be combined. A container without a report
has no cause; for --since, it fails since its pod last changed.

Exit status: 0 no pod fails (with --preflight: would fail), 1 some pod does, 2 wrong
usage or an error.

-o json and -o yaml print a document of schema ` + fleet.Schema + `, to which
fields are only ever added:
  schema, preflight
  groups[]  cause or noReport (why there is no report); secrets[], registry,
            repository or image: what the pods share; pods[] as namespace/name;
            nodes[]; owners[]: kind, namespace/name and number of pods, those with
            most pods first; summary; summaryOf[]: the namespaces whose pods have it,
            if others do not; runsOn[]: other nodes with the same image; pointsTo:
            the node at fault, if other nodes show it
  pods[]    namespace, name, node, owner, managedBy; report: the whypull.dev/v1 report;
            containers[]: name, kind, image, registry, repository, reason and
            message (the kubelet's), cause or noReport, runsOn[], runsHere
Control characters are removed from all texts.`

const examples = `  kubectl why-pull                       # failing pods of the current namespace
  kubectl why-pull -A                    # failing pods of all namespaces
  kubectl why-pull -n shop web-0         # details of one pod
  kubectl why-pull -n shop deploy/web    # failing pods of a Deployment
  kubectl why-pull -A --node worker-3    # failing pods of a node
  kubectl why-pull -A --cause TLSUntrusted,TLSExpired --since 1h
  kubectl why-pull -A --preflight        # running pods that could not be started again
  kubectl why-pull explain TagNotFound   # one cause; needs no cluster`

func root() *cobra.Command {
	o := newOptions(outputTable, outputWide, outputJSON, outputYAML)
	cmd := &cobra.Command{
		Use:               "why-pull [POD | TYPE/NAME]",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl why-pull"},
		Short:             "Show why pods cannot pull their images",
		Long:              long,
		Example:           examples,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completePods,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args, cmd.OutOrStdout()) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	o.bind(cmd)
	cmd.AddCommand(explainCommand(), checkCommand())
	return cmd
}

func explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "explain [CAUSE]",
		Short:             "Explain a cause, or list all causes; needs no cluster",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeCauses,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, layout := cmd.OutOrStdout(), layoutOf(cmd.OutOrStdout())
			if len(args) == 0 {
				return write(out, fleet.Causes(layout))
			}
			page, err := fleet.Explain(layout, args[0])
			if err != nil {
				return err
			}
			return write(out, page)
		},
	}
}

func write(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	return err
}

// podName accepts a name with the kind as a prefix, like kubectl.
func podName(arg string) string {
	kind, name, found := strings.Cut(arg, "/")
	if found && slices.Contains([]string{"pod", "pods", "po"}, strings.ToLower(kind)) {
		return name
	}
	return arg
}

// isOwner reports whether the argument names an owner of pods, not a pod.
func isOwner(arg string) bool { return strings.Contains(podName(arg), "/") }
