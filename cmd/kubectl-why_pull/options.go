package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // authentication plugins of kubeconfigs
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/report/fleet"
)

// options are the command's flags.
type options struct {
	output  string
	outputs []string // values of --output
	all     bool
	watch   bool
	// preflight: running pods whose image could not be pulled again
	preflight bool

	selector string
	node     string
	causes   []string
	since    time.Duration
	given    func(flag string) bool // whether the flag was given

	rules     *clientcmd.ClientConfigLoadingRules
	overrides *clientcmd.ConfigOverrides
}

func newOptions(outputs ...string) *options {
	return &options{
		outputs:   outputs,
		rules:     clientcmd.NewDefaultClientConfigLoadingRules(),
		overrides: &clientcmd.ConfigOverrides{},
	}
}

// The values of --output.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// bind defines the command's own flags and kubectl's flags for choosing a
// cluster.
func (o *options) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "pods of all namespaces")
	flags.StringVarP(&o.output, "output", "o", outputTable, "output format: table, wide, json or yaml")
	flags.BoolVarP(&o.watch, "watch", "w", false, "watch for changes")
	flags.BoolVar(&o.preflight, "preflight", false, "running pods whose image could not be pulled again, by agents with --image-check-interval")
	flags.StringVarP(&o.selector, "selector", "l", "", "label selector of the pods, as kubectl takes it")
	flags.StringVar(&o.node, "node", "", "name of the pods' node")
	flags.StringSliceVar(&o.causes, "cause", nil, "causes, separated by commas")
	flags.DurationVar(&o.since, "since", 0, "only what began to fail within this time, such as 30m or 48h (default any time)")
	o.bindCluster(cmd)
	flags.Bool("version", false, "print the version")              // cobra's own would take -v
	_ = cmd.RegisterFlagCompletionFunc("node", o.completeNodes)    // is defined
	_ = cmd.RegisterFlagCompletionFunc("cause", completeCauseList) // is defined
}

// bindCluster defines kubectl's flags for choosing a cluster, and completes those that
// all commands have.
func (o *options) bindCluster(cmd *cobra.Command) {
	flags := cmd.Flags()
	o.given = flags.Changed
	flags.StringVar(&o.rules.ExplicitPath, "kubeconfig", "", "path to the kubeconfig file to use")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	names.AuthOverrideFlags.Username.LongName, names.AuthOverrideFlags.Password.LongName = "", "" // like kubectl
	clientcmd.BindContextFlags(&o.overrides.Context, flags, names.ContextOverrideFlags)
	names.CurrentContext.BindStringFlag(flags, &o.overrides.CurrentContext)
	clientcmd.BindClusterFlags(&o.overrides.ClusterInfo, flags, names.ClusterOverrideFlags)
	clientcmd.BindAuthInfoFlags(&o.overrides.AuthInfo, flags, names.AuthOverrideFlags)
	names.Timeout.BindStringFlag(flags, &o.overrides.Timeout)
	_ = cmd.RegisterFlagCompletionFunc("context", o.completeContexts) // is defined
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.outputs, cobra.ShellCompDirectiveNoFileComp))
}

func (o *options) validate(args []string) error {
	if len(args) > 0 {
		if err := o.validateName(args[0]); err != nil {
			return err
		}
	}
	return o.validateFlags()
}

func (o *options) validateName(arg string) error {
	if o.all {
		return fmt.Errorf("%s cannot be combined with --all-namespaces: use -n for its namespace", arg)
	}
	if podName(arg) == "" {
		return errors.New("the pod name is empty")
	}
	if isOwner(arg) {
		_, err := fleet.ParseOwnerName(arg)
		return err
	}
	for _, flag := range []string{"selector", "node", "cause", "since"} {
		if o.given(flag) {
			return fmt.Errorf("a pod name cannot be combined with --%s", flag)
		}
	}
	return nil
}

// validateFlags validates the flags that all commands have.
func (o *options) validateFlags() error {
	if !slices.Contains(o.outputs, o.output) {
		return fmt.Errorf("--output: %q is not one of %s", o.output, strings.Join(o.outputs, ", "))
	}
	if _, err := labels.Parse(o.selector); err != nil {
		return fmt.Errorf("--selector: %q is not a label selector, such as app=web: %w", o.selector, err)
	}
	if faults := validation.IsDNS1123Subdomain(o.node); o.given("node") && len(faults) > 0 {
		return fmt.Errorf("--node: %q is not the name of a node: %s", o.node, faults[0])
	}
	if o.given("cause") && len(o.causes) == 0 {
		return errors.New("--cause: no cause is given")
	}
	for i := range o.causes {
		cause, err := fleet.Cause(strings.TrimSpace(o.causes[i]))
		if err != nil {
			return fmt.Errorf("--cause: %w", err)
		}
		o.causes[i] = cause
	}
	if o.given("since") && o.since <= 0 {
		return fmt.Errorf("--since: %s is not a time like 30m or 48h", o.since)
	}
	return nil
}

// selection returns what limits the pods of a namespace, as it was given.
func (o *options) selection(args []string) string {
	out := slices.Clone(args)
	if o.selector != "" {
		out = append(out, "-l "+o.selector)
	}
	if o.node != "" {
		out = append(out, "--node "+o.node)
	}
	if len(o.causes) > 0 {
		out = append(out, "--cause "+strings.Join(o.causes, ","))
	}
	if o.since > 0 {
		out = append(out, "--since "+o.since.String())
	}
	return strings.Join(out, " ")
}

func (o *options) config() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(o.rules, o.overrides)
}

// connect returns a client and the namespace from flags and kubeconfig.
func (o *options) connect() (*fleet.Client, string, error) {
	config := o.config()
	cfg, err := config.ClientConfig()
	if err != nil {
		return nil, "", err
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", err
	}
	client, err := fleet.New(cfg, "kubectl-why_pull/"+version)
	return client, namespace, err
}

// terminal returns an output as a terminal that takes escape sequences. Consoles of
// Windows do so only if asked to, and count as none.
func terminal(out io.Writer) (*os.File, bool) {
	f, ok := out.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd())) && runtime.GOOS != "windows"
}

// layoutOf returns the layout of an output: a terminal has a size, and colors
// unless NO_COLOR or TERM=dumb is set (https://no-color.org).
func layoutOf(out io.Writer) fleet.Layout {
	f, ok := terminal(out)
	if !ok {
		return fleet.Layout{}
	}
	l := fleet.Layout{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, height, err := term.GetSize(int(f.Fd())); err == nil {
		l.Width, l.Height = width, height
	}
	return l
}
