//go:build !linux

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// agentCommand returns a command that says where the agent runs.
func agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "agent",
		Short:              "Watch the pods of one node and diagnose failed image pulls; runs on Linux nodes only",
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("the agent runs on Linux nodes only, and this is %s/%s; here, use whypull check or kubectl why-pull", runtime.GOOS, runtime.GOARCH)
		},
	}
}
