package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
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
	client, namespace, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	var view fleet.View
	if _, err := client.List(ctx, fleet.Scope{Namespace: namespace}, func() {}, func(p *corev1.Pod) { view.Put(p) }); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for _, p := range view.Build(&fleet.Fleet{}, now()).Pods {
		if strings.HasPrefix(p.Name, prefix) {
			out = append(out, cobra.CompletionWithDesc(p.Name, p.Containers[0].Cause))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
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
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
