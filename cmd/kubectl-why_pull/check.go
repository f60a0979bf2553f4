package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/whypull/whypull/report/fleet"
)

const checkLong = `Ask whypull's agents whether their nodes can pull an image, and why not. The agents
run "whypull check" in their own pods by exec, with the rights of the caller: get and
list on pods and create on pods/exec in the agents' namespace, get on the secrets.

Credentials are those of the nodes and of --secret, or of the pull secrets of --as-pod.
They are sent to the agents on standard input: to pods with the agents' labels that a
DaemonSet in --agent-namespace owns, and to no other.

Exit status: 0 it works on all of the nodes, 1 it does not on some, 2 wrong usage, an
error, or a node without an answer.

-o json and -o yaml print a document of schema ` + fleet.NodesSchema + `, to which
fields are only ever added:
  schema, image
  nodes[]   node, pullable; cause and summary: why not; error: why there is no answer`

const checkExamples = `  kubectl why-pull check nginx:1.27 --all-nodes
  kubectl why-pull check hub.corp/team/app:v2 -n shop --secret regcred -l pool=batch
  kubectl why-pull check hub.corp/team/app:v2 -n shop --as-pod web-0   # on its node`

// checkOptions are the flags of check.
type checkOptions struct {
	*options
	allNodes       bool
	secrets        []string
	asPod          string
	agentNamespace string
}

func checkCommand() *cobra.Command {
	o := &checkOptions{options: newOptions(outputTable, outputJSON, outputYAML)}
	cmd := &cobra.Command{
		Use:     "check IMAGE {--node NODE | --all-nodes | -l SELECTOR | --as-pod POD}",
		Short:   "Ask the agents whether their nodes can pull an image",
		Long:    checkLong,
		Example: checkExamples,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.check(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.node, "node", "", "name of the node to ask")
	flags.BoolVar(&o.allNodes, "all-nodes", false, "all nodes with an agent")
	flags.StringVarP(&o.selector, "selector", "l", "", "label selector of the nodes to ask")
	flags.StringArrayVar(&o.secrets, "secret", nil, "name of a pull secret in the namespace; may be repeated")
	flags.StringVar(&o.asPod, "as-pod", "", "name of a pod in the namespace whose pull secrets are used, and whose node is asked unless others are given")
	flags.StringVar(&o.agentNamespace, "agent-namespace", fleet.AgentNamespace, "namespace of the agents")
	flags.StringVarP(&o.output, "output", "o", outputTable, "output format: table, json or yaml")
	o.bindCluster(cmd)
	_ = cmd.RegisterFlagCompletionFunc("node", o.completeNodes) // is defined
	return cmd
}

func (o *checkOptions) validate(image string) error {
	ways := slices.DeleteFunc([]string{"node", "all-nodes", "selector"}, func(flag string) bool { return !o.given(flag) })
	switch {
	case strings.TrimSpace(image) == "":
		return errors.New("the image is empty")
	case len(ways) > 1:
		return errors.New("only one of --node, --all-nodes and --selector can be given")
	case len(ways) == 0 && o.asPod == "":
		return errors.New("which nodes to ask is not given: use --node, --all-nodes, --selector or --as-pod")
	case o.given("all-nodes") && !o.allNodes:
		return errors.New("--all-nodes=false selects no nodes")
	case o.asPod != "" && len(o.secrets) > 0:
		return errors.New("only one of --secret and --as-pod can be given")
	case o.given("as-pod") && podName(o.asPod) == "" || isOwner(o.asPod):
		return fmt.Errorf("--as-pod: %q is not the name of a pod", o.asPod)
	case o.agentNamespace == "":
		return errors.New("--agent-namespace is empty")
	case slices.Contains(o.secrets, ""):
		return errors.New("--secret: the name is empty")
	}
	if o.given("selector") {
		if s, err := labels.Parse(o.selector); err != nil || s.Empty() {
			return fmt.Errorf("--selector: %q is not a label selector, such as pool=batch", o.selector)
		}
	}
	return o.validateFlags()
}

func (o *checkOptions) check(ctx context.Context, image string, out, progress io.Writer) error {
	if err := o.validate(image); err != nil {
		return err
	}
	client, namespace, err := o.connect()
	if err != nil {
		return err
	}
	secrets, node := o.secrets, o.node
	if o.asPod != "" {
		var its string
		if secrets, its, err = client.PodSecrets(ctx, namespace, podName(o.asPod)); err != nil {
			return err
		}
		if node == "" && !o.allNodes && o.selector == "" {
			node = its
		}
	}
	manifest, err := client.Manifest(ctx, image, namespace, secrets)
	if err != nil {
		return err
	}
	agents, err := client.Agents(ctx, o.agentNamespace)
	if err != nil {
		return err
	}
	nodes, err := o.nodes(ctx, client, agents, node)
	if err != nil {
		return err
	}
	var all []fleet.Answer
	shown := begin(progress, len(nodes))
	client.Ask(ctx, agents, nodes, manifest, func(a fleet.Answer) {
		all = append(all, a)
		shown.answered(len(all))
	})
	shown.end()
	if ctx.Err() != nil {
		return errors.New("interrupted before all nodes had answered")
	}
	return o.print(fleet.NewAnswers(image, all), out)
}

// nodes returns the nodes to ask.
func (o *checkOptions) nodes(ctx context.Context, client *fleet.Client, agents map[string]*corev1.Pod, node string) ([]string, error) {
	switch {
	case len(agents) == 0:
		return nil, fmt.Errorf("no whypull agent runs in namespace %s; --agent-namespace is that of the agents", o.agentNamespace)
	case o.allNodes:
		return slices.Sorted(maps.Keys(agents)), nil
	case o.selector != "":
		nodes, err := client.Nodes(ctx, o.selector)
		if err == nil && len(nodes) == 0 {
			err = fmt.Errorf("no node has the labels %s", o.selector)
		}
		return nodes, err
	case node == "":
		return nil, fmt.Errorf("pod %s has no node yet: use --node, --all-nodes or --selector", podName(o.asPod))
	}
	return []string{node}, nil
}

func (o *checkOptions) print(a fleet.Answers, out io.Writer) error {
	text, err := a.Text(layoutOf(out)), error(nil)
	if o.output != outputTable {
		text, err = marshal(a, o.output)
	}
	if err == nil {
		err = write(out, text)
	}
	switch {
	case err != nil:
		return err
	case a.Failing():
		return errFailing
	case a.Unknown():
		return errors.New("not all nodes have answered")
	}
	return nil
}

// progressInterval is how often a log gets a line; a terminal gets one for each answer.
const progressInterval = 10 * time.Second

// progress shows how many nodes have answered.
type progress struct {
	out      io.Writer
	all      int
	terminal bool
	last     time.Time
}

func begin(out io.Writer, all int) *progress {
	p := &progress{out: out, all: all, last: time.Now()}
	_, p.terminal = terminal(out)
	switch {
	case p.terminal:
		p.answered(0)
	case all == 1:
		fmt.Fprintln(out, "asking the agent of 1 node")
	default:
		fmt.Fprintf(out, "asking the agents of %d nodes\n", all)
	}
	return p
}

func (p *progress) answered(n int) {
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r%d of %d nodes have answered", n, p.all)
	case time.Since(p.last) >= progressInterval:
		p.last = time.Now()
		fmt.Fprintf(p.out, "%d of %d nodes have answered\n", n, p.all)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K")
	}
}
