// Command whypull explains why a pod cannot pull its image.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args[1:])) }

// usageError is the exit status for wrong usage and for internal errors.
const usageError = 2

func run(args []string) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	takeStandardLog(slog.New(slog.DiscardHandler)) // the agent has a log of its own
	cmd := root()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var s status
	switch {
	case errors.As(err, &s):
		return int(s)
	case err != nil:
		fmt.Fprintln(os.Stderr, "whypull:", err)
		return usageError
	}
	return 0
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels. A second
// one terminates the process at once.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "whypull",
		Short:         "Explain why a pod cannot pull its image",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(agentCommand(), checkCommand(), explainMessageCommand())
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) }
	return cmd
}

// environment returns the environment variable of a flag.
func environment(flag string) string {
	return "WHYPULL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// wrong returns an error about a flag's value, wherever it was set.
func wrong(flag string, err error) error {
	return fmt.Errorf("--%s or %s: %w", flag, environment(flag), err)
}

// fromEnvironment sets the flags that the command line omits from the
// environment.
func fromEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		value, there := os.LookupEnv(environment(f.Name))
		if f.Changed || !there || failed != nil || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = fmt.Errorf("%s: %w", environment(f.Name), err)
		}
	})
	return failed
}

// twins adds the environment variable to each flag's help.
func twins(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) { f.Usage += " [" + environment(f.Name) + "]" })
}
