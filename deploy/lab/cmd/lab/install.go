package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/peers"
	"github.com/whypull/whypull/deploy/lab/picture"
	"github.com/whypull/whypull/deploy/lab/scale"
)

// withSource adds the flag for the path of whypull's source tree.
func withSource(c *cobra.Command, source *string) *cobra.Command {
	c.Flags().StringVar(source, "source", "../..", "path of whypull's source tree")
	return c
}

func installCommand(o *options) *cobra.Command {
	var source string
	return withSource(&cobra.Command{
		Use: "install", Short: "Build whypull and deploy it into the running lab", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error { return demo.Install(c.Context(), l, source, demo.Options{}) }),
	}, &source)
}

func demoCommand(o *options) *cobra.Command {
	var source string
	return withSource(upFlags(&cobra.Command{
		Use: "demo", Short: "Start the lab, deploy whypull, break pods, and show whypull's reports", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			return demo.Run(c.Context(), l, source, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}, o), &source)
}

func benchCommand(o *options) *cobra.Command {
	var source string
	return withSource(upFlags(&cobra.Command{
		Use: "bench", Short: "Benchmark whypull on the lab, with a new cluster", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			return demo.Bench(c.Context(), l, source, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}, o), &source)
}

func scaleCommand(o *options) *cobra.Command {
	var source string
	var agents []int
	c := withSource(upFlags(&cobra.Command{
		Use: "scale", Short: "Measure what many agents, on simulated nodes, cost the API server, with new clusters", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			for _, n := range agents {
				if err := (scale.Options{Agents: n}).Validate(); err != nil {
					return err
				}
			}
			for _, n := range agents {
				fmt.Fprintf(c.OutOrStdout(), "%d agents\n", n)
				o := scale.Options{Agents: n, Quiet: time.Minute, Outage: 30 * time.Second}
				if err := scale.Run(c.Context(), l, source, o, c.OutOrStdout(), c.ErrOrStderr()); err != nil {
					return err
				}
			}
			return l.Remove(c.Context())
		}),
	}, o), &source)
	c.Flags().IntSliceVar(&agents, "agents", []int{200}, "numbers of simulated nodes, each with an agent")
	return c
}

func stormCommand(o *options) *cobra.Command {
	var source string
	size := scale.StormOptions{Pause: 10 * time.Second}
	c := withSource(upFlags(&cobra.Command{
		Use: "storm", Short: "Measure an agent whose node's pods fail at once beside a client that only patches them, with a new cluster", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			if err := scale.Storm(c.Context(), l, source, size, c.OutOrStdout(), c.ErrOrStderr()); err != nil {
				return err
			}
			return l.Remove(c.Context())
		}),
	}, o), &source)
	c.Flags().IntVar(&size.Pods, "pods", 250, "number of pods that fail at once")
	c.Flags().IntVar(&size.Rounds, "rounds", 8, "how often they do, for each of two reasons")
	return c
}

func peersCommand(o *options) *cobra.Command {
	var source string
	size := peers.Options{Idle: time.Minute}
	c := withSource(upFlags(&cobra.Command{
		Use: "peers", Short: "Measure the agent beside other programs for nodes and clusters, with a new cluster", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			if err := peers.Run(c.Context(), l, source, size, c.OutOrStdout(), c.ErrOrStderr()); err != nil {
				return err
			}
			return l.Remove(c.Context())
		}),
	}, o), &source)
	c.Flags().IntVar(&size.Pods, "pods", 100, "number of running pods")
	return c
}

func pictureCommand(o *options) *cobra.Command {
	var source string
	return withSource(upFlags(&cobra.Command{
		Use: "picture FILE", Short: "Break pods while Prometheus records, and draw the dashboard as SVG", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			svg, err := picture.Take(c.Context(), l, source, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return os.WriteFile(args[0], []byte(svg), 0o644) // #nosec G306 G703 -- world-readable, at the user's path
		},
	}, o), &source)
}

func removeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "remove", Short: "Stop the lab and delete its cluster; the built programs are kept", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error { return l.Remove(c.Context()) }),
	}
}

// with returns a cobra run function that opens the lab and calls run.
func (o *options) with(run func(*cobra.Command, *lab.Lab) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		l, err := o.open()
		if err != nil {
			return err
		}
		return run(c, l)
	}
}
