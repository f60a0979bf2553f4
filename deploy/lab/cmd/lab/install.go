package main

import (
	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab/demo"
)

func installCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "install SOURCE", Short: "Build whypull from its source tree and deploy it into the lab", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return demo.Install(c.Context(), l, args[0])
		},
	}
}
