package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/report"
	"github.com/whypull/whypull/report/fleet"
)

// completeTimeout limits how long a completion takes.
const completeTimeout = 3 * time.Second

// completePods completes the names of the namespace's failing pods, with their
// causes.
func (o *options) completePods(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 || o.all {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	overview, err := o.overview(cmd)
	var all []cobra.Completion
	for _, p := range overview.Pods {
		all = append(all, cobra.CompletionWithDesc(p.Name, p.Containers[0].Cause))
	}
	return beginning(all, prefix), directive(err)
}

// beginning returns the completions that begin with what has been typed.
func beginning(all []cobra.Completion, prefix string) []cobra.Completion {
	return slices.DeleteFunc(all, func(c cobra.Completion) bool { return !strings.HasPrefix(c, prefix) })
}

// directive returns what a shell makes of completions that may have failed.
func directive(err error) cobra.ShellCompDirective {
	if err != nil {
		return cobra.ShellCompDirectiveError
	}
	return cobra.ShellCompDirectiveNoFileComp
}

// completeNodes completes the names of the failing pods' nodes.
func (o *options) completeNodes(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	overview, err := o.overview(cmd)
	nodes := map[string]bool{}
	for _, p := range overview.Pods {
		nodes[p.Node] = true
	}
	delete(nodes, "")
	return beginning(slices.Sorted(maps.Keys(nodes)), prefix), directive(err)
}

// completeNodes completes the names of the nodes with agents.
func (o *checkOptions) completeNodes(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client, _, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	agents, err := client.Agents(ctx, o.agentNamespace)
	nodes := beginning(slices.Sorted(maps.Keys(agents)), prefix)
	for i := range nodes {
		nodes[i] = report.Printable(nodes[i])
	}
	return nodes, directive(err)
}

// overview returns the failing pods of the namespace, or of all, or with --preflight the
// running ones.
func (o *options) overview(cmd *cobra.Command) (fleet.Overview, error) {
	client, namespace, err := o.connect()
	if err != nil {
		return fleet.Overview{}, err
	}
	if o.all {
		namespace = ""
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	view := fleet.View{Preflight: o.preflight}
	_, err = client.List(ctx, fleet.Scope{Namespace: namespace}, func() {}, view.Put)
	return view.Build(&fleet.Fleet{}, time.Now()), err
}

// completeCauseList completes the last of several causes separated by commas.
func completeCauseList(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	at := strings.LastIndex(prefix, ",") + 1
	out, directive := completeCauses(cmd, nil, prefix[at:])
	for i := range out {
		out[i] = prefix[:at] + out[i]
	}
	return out, directive
}

func completeCauses(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, e := range diagnosis.Catalogue() {
		if len(args) == 0 && strings.HasPrefix(strings.ToLower(string(e.Cause)), strings.ToLower(prefix)) {
			out = append(out, cobra.CompletionWithDesc(string(e.Cause), e.Title))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (o *options) completeContexts(_ *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	config, err := o.config().RawConfig()
	return slices.Sorted(maps.Keys(config.Contexts)), directive(err)
}
