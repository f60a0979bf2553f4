package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // authentication plugins of kubeconfigs
	"k8s.io/client-go/tools/clientcmd"

	"github.com/whypull/whypull/report/fleet"
)

// options are the command's flags.
type options struct {
	output string
	all    bool
	watch  bool

	rules     *clientcmd.ClientConfigLoadingRules
	overrides *clientcmd.ConfigOverrides
}

func newOptions() *options {
	return &options{
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

func outputs() []string { return []string{outputTable, outputWide, outputJSON, outputYAML} }

// bind defines the command's own flags and kubectl's flags for choosing a
// cluster.
func (o *options) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "pods of all namespaces")
	flags.StringVarP(&o.output, "output", "o", outputTable, "output format: table, wide, json or yaml")
	flags.BoolVarP(&o.watch, "watch", "w", false, "watch for changes")
	flags.StringVar(&o.rules.ExplicitPath, "kubeconfig", "", "path to the kubeconfig file to use")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	names.AuthOverrideFlags.Username.LongName, names.AuthOverrideFlags.Password.LongName = "", "" // like kubectl
	clientcmd.BindContextFlags(&o.overrides.Context, flags, names.ContextOverrideFlags)
	names.CurrentContext.BindStringFlag(flags, &o.overrides.CurrentContext)
	clientcmd.BindClusterFlags(&o.overrides.ClusterInfo, flags, names.ClusterOverrideFlags)
	clientcmd.BindAuthInfoFlags(&o.overrides.AuthInfo, flags, names.AuthOverrideFlags)
	names.Timeout.BindStringFlag(flags, &o.overrides.Timeout)
	flags.Bool("version", false, "print the version") // cobra's own would take -v
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output":  cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp),
		"context": o.completeContexts,
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete) // both flags are defined
	}
}

func (o *options) validate(args []string) error {
	if !slices.Contains(outputs(), o.output) {
		return fmt.Errorf("--output: %q is not one of %s", o.output, strings.Join(outputs(), ", "))
	}
	if len(args) > 0 && o.all {
		return fmt.Errorf("a pod name cannot be combined with --all-namespaces: use -n for its namespace")
	}
	if len(args) > 0 && podName(args[0]) == "" {
		return fmt.Errorf("the pod name is empty")
	}
	return nil
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

// layoutOf returns the layout of an output: a terminal has a size, and colors
// unless NO_COLOR or TERM=dumb is set (https://no-color.org). Consoles of Windows
// take escape sequences only if asked to.
func layoutOf(out io.Writer) fleet.Layout {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || runtime.GOOS == "windows" {
		return fleet.Layout{}
	}
	l := fleet.Layout{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, height, err := term.GetSize(int(f.Fd())); err == nil {
		l.Width, l.Height = width, height
	}
	return l
}
