// Command lab starts and stops a real single-node Kubernetes cluster on this
// machine, for demonstrations and end-to-end tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/binaries"
)

func main() {
	if lab.Reexec() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if status := exitStatus(0); errors.As(err, &status) {
		os.Exit(int(status))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// exitStatus is the status of a command that ran inside the lab and has printed its own
// errors.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// options holds the flags that all commands share.
type options struct {
	dir        string
	cache      string
	port       int
	kubernetes string
}

func (o *options) open() (*lab.Lab, error) {
	l, err := lab.Open(o.dir)
	if err != nil {
		return nil, err
	}
	l.Port, l.CacheDir, l.Kubernetes = o.port, o.cache, o.kubernetes
	return l, nil
}

func newCommand() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Run a real single-node Kubernetes cluster with registries on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&o.dir, "dir", "", "directory of the lab (default $"+lab.DirVariable+", else one in the user's cache)")
	root.AddCommand(buildCommand(o), upCommand(o), downCommand(o), resetCommand(o), statusCommand(o), kubeconfigCommand(o), execCommand(o), loadCommand(o), installCommand(o), demoCommand(o), benchCommand(o), scaleCommand(o), stormCommand(o), peersCommand(o), pictureCommand(o), removeCommand(o))
	return root
}

func upFlags(c *cobra.Command, o *options) *cobra.Command {
	c.Flags().IntVar(&o.port, "port", 0, "port on 127.0.0.1 for the API server (default the last one used, else a free one)")
	c.Flags().StringVar(&o.cache, "cache", "", "cache directory for the built programs (default $WHYPULL_CACHE, else one in the user's cache)")
	return c
}

// clusterFlag adds the flag for the version of Kubernetes.
func clusterFlag(c *cobra.Command, o *options) *cobra.Command {
	var known []string
	for _, cluster := range binaries.Clusters() {
		known = append(known, cluster.Kubernetes)
	}
	c.Flags().StringVar(&o.kubernetes, "kubernetes", "", "minor version of Kubernetes, "+strings.Join(known, " or ")+" (default the last one used, else "+binaries.Newest().Kubernetes+")")
	return c
}

func buildCommand(o *options) *cobra.Command {
	newest := false
	c := upFlags(&cobra.Command{
		Use: "build", Short: "Build the programs of the lab and its tests (once per machine) without starting it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			l.Kubernetes = binaries.Newest().Kubernetes
			l.Extra = slices.Concat(binaries.Monitoring(), binaries.Runtimes())
			if !newest {
				l.Extra = append(l.Extra, binaries.Old()...)
			}
			_, err = l.Build(c.Context(), c.ErrOrStderr())
			return err
		},
	}, o)
	c.Flags().BoolVar(&newest, "newest", false, "only what tests with the newest Kubernetes need")
	return c
}

func upCommand(o *options) *cobra.Command {
	return clusterFlag(upFlags(&cobra.Command{
		Use: "up", Short: "Start the lab, if it is not running, and wait until it accepts pods", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Up(c.Context(), c.ErrOrStderr())
		},
	}, o), o)
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the lab; its cluster is kept for the next up", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Down(c.Context())
		},
	}
}

func resetCommand(o *options) *cobra.Command {
	return clusterFlag(upFlags(&cobra.Command{
		Use: "reset", Short: "Start the lab with a new, empty cluster", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Reset(c.Context(), c.ErrOrStderr())
		},
	}, o), o)
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the lab and its components; exit status 1 unless all are ready", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			status, err := l.Status(c.Context())
			if err != nil {
				return err
			}
			return printStatus(c, status)
		},
	}
}

func printStatus(c *cobra.Command, status lab.Status) error {
	out := c.OutOrStdout()
	_, _ = fmt.Fprintln(out, "directory:  ", status.Dir)
	if !status.Running {
		return lab.ErrNotRunning
	}
	_, _ = fmt.Fprintln(out, "Kubernetes: ", status.Kubernetes)
	_, _ = fmt.Fprintln(out, "API server: ", status.API)
	_, _ = fmt.Fprintln(out, "kubeconfig: ", status.Kubeconfig)
	for _, s := range status.Components {
		state := "waiting"
		switch {
		case s.Stopped:
			state = "stopped"
		case s.Ready:
			state = "ready"
		}
		_, _ = fmt.Fprintf(out, "  %-24s %-8s restarts %d  %s\n", s.Name, state, s.Restarts, s.Title)
	}
	if !status.Ready {
		return errors.New("the lab is not ready")
	}
	return nil
}

func kubeconfigCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), l.KubeconfigPath())
			return err
		},
	}
}

func execCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "exec -- COMMAND [ARGUMENT...]", Short: "Run a command inside the lab, on its node", Args: cobra.MinimumNArgs(1),
		Example: "  lab exec -- kubectl get pods -A\n  lab exec -- ctr -n k8s.io images list",
		RunE: func(c *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			cmd := lab.Command(args...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = l.Run(c.Context(), cmd)
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
				return exitStatus(exit.ExitCode())
			}
			return err
		},
	}
}

func loadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "load ARCHIVE", Short: "Import the images of an archive into the node's runtime", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.ImportImage(c.Context(), args[0])
		},
	}
}
