//go:build !linux

package provider

import (
	"context"

	"github.com/whypull/whypull/agent/diagnosis"
)

// start runs nothing: kubelets on other systems have no whypull agent.
func start(context.Context, process) output {
	return output{run: diagnosis.ProviderUnstarted}
}
