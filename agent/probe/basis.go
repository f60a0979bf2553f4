package probe

import (
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/nodeconfig"
)

// Basis remembers what the verdict on a failure rests on.
type Basis interface {
	// Secret notes which version of a pull secret was read; the error is that of
	// the reading.
	Secret(f diagnosis.Failure, name, version string, err error)
	// Files notes the files of the node that are read for the failure. They need
	// not exist.
	Files(f diagnosis.Failure, paths []string)
}

// credentialFiles tells where the kubelet looks for the node's credentials. A
// NodeCredentials may implement it.
type credentialFiles interface{ DockerConfigPaths() []string }

// NodeChanged has everything asked anew that was learned by the node's files:
// its registry configuration, its name service, and what registries answered.
// A registry that wants to be left alone is left alone all the same.
func (c *Collector) NodeChanged() {
	c.configs.forget()
	c.dns.answers.Forget(nil)
	c.pods.Forget(nil)
	c.asker.forget()
	c.retries.forget()
}

func (c *Collector) noteSecret(f diagnosis.Failure, name string, s kube.Secret, err error) {
	if c.Basis != nil {
		c.Basis.Secret(f, name, s.Version, err)
	}
}

// noteFiles notes what decides about the endpoints, the names and the node's
// credentials.
func (c *Collector) noteFiles(f diagnosis.Failure, config *nodeconfig.Config) {
	if c.Basis == nil {
		return
	}
	paths := append(config.Sources(f.Registry), "/etc/resolv.conf", "/etc/hosts")
	if files, ok := c.Node.(credentialFiles); ok {
		paths = append(paths, files.DockerConfigPaths()...)
	}
	c.Basis.Files(f, paths)
}
