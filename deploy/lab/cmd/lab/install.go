package main

import (
	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/demo"
)

// withSource adds the flag that says where whypull's source tree is.
func withSource(c *cobra.Command, source *string) *cobra.Command {
	c.Flags().StringVar(source, "source", "../..", "whypull's source tree")
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
		Use: "demo", Short: "Start the lab, deploy whypull, break pods, and show what whypull says", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			return demo.Run(c.Context(), l, source, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}, o), &source)
}

func benchCommand(o *options) *cobra.Command {
	var source string
	return withSource(upFlags(&cobra.Command{
		Use: "bench", Short: "Measure whypull on the lab, whose cluster is made anew", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error {
			return demo.Bench(c.Context(), l, source, c.OutOrStdout(), c.ErrOrStderr())
		}),
	}, o), &source)
}

func removeCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "remove", Short: "Stop the lab and forget its cluster; the built programs stay", Args: cobra.NoArgs,
		RunE: o.with(func(c *cobra.Command, l *lab.Lab) error { return l.Remove(c.Context()) }),
	}
}

// with opens the lab for a command.
func (o *options) with(run func(*cobra.Command, *lab.Lab) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		l, err := o.open()
		if err != nil {
			return err
		}
		return run(c, l)
	}
}
