package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/lab/picture"
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
