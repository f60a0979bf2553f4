package probe

import (
	"context"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Basis records what the verdict on a failure is based on.
type Basis interface {
	// Secret records the version of a pull secret that was read, or the error.
	Secret(f diagnosis.Failure, name, version string, err error)
	// Files records the files of the node that are read for the failure. They need
	// not exist.
	Files(f diagnosis.Failure, paths []string)
}

// credentialFiles returns the paths where the kubelet looks for the node's
// credentials. A NodeCredentials may implement it.
type credentialFiles interface{ DockerConfigPaths() []string }

// unseenFiles returns the paths of those that whypull does not see. A NodeCredentials may
// implement it.
type unseenFiles interface{ UnseenDockerConfigs() []string }

// NodeChanged drops everything that depends on the node's files: the registry
// configuration, DNS answers and the answers of registries. Endpoints that limit
// requests are still not asked.
func (c *Collector) NodeChanged() {
	c.configs.forget()
	c.dns.answers.Forget(nil)
	c.pods.Forget(nil)
	c.asker.forget()
	c.retries.forget()
}

// noteFiles records the files that determine the endpoints, DNS and the node's
// credentials.
func (c *Collector) noteFiles(ctx context.Context, f diagnosis.Failure) {
	if c.Basis == nil {
		return
	}
	paths := append(c.configs.filesOf(ctx, c.config(ctx), f.Registry), "/etc/resolv.conf", "/etc/hosts")
	if files, ok := c.Node.(credentialFiles); ok {
		paths = append(paths, files.DockerConfigPaths()...)
	}
	c.Basis.Files(f, paths)
}
