// Command release makes the parts of a release that GoReleaser leaves.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/deploy/lab/release"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var source string
	var epoch int64
	root := &cobra.Command{Use: "release", Short: "Make what GoReleaser leaves", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().StringVar(&source, "source", "../..", "path of whypull's source tree")
	root.PersistentFlags().Int64Var(&epoch, "epoch", 0, "time of the commit in seconds since 1970")
	with := func(run func(*release.Release) error) func(*cobra.Command, []string) error {
		return func(*cobra.Command, []string) error {
			r, err := release.Open(source, time.Unix(epoch, 0))
			if err != nil {
				return err
			}
			return run(r)
		}
	}
	root.AddCommand(&cobra.Command{
		Use: "check", Short: "Check that the source tree is for the version of the tag", Args: cobra.NoArgs,
		RunE: with((*release.Release).Check),
	}, &cobra.Command{
		Use: "assemble", Short: "Write the image, the chart, the krew manifest and the notes to dist", Args: cobra.NoArgs,
		RunE: with((*release.Release).Assemble),
	})
	return root
}
