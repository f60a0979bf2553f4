package nodeconfig_test

import (
	"testing"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

const (
	secret     = "s3cret-passw0rd"
	registries = nodeconfigtest.Registries
	registryD  = "etc/containers/registries.conf.d/"
	head       = "HEAD /v2/team/app/manifests/1.0"
)

func repositories() []registrytest.Repository {
	return []registrytest.Repository{{Name: "team/app", Tags: []string{"1.0"}}}
}

func node(t *testing.T, files map[string]string) string {
	t.Helper()
	return nodeconfigtest.Node(t, files)
}

func options(root string) nodeconfig.Options { return nodeconfigtest.Options(root) }

func endpoints(t *testing.T, opts nodeconfig.Options, host string) ([]registry.Endpoint, []nodeconfig.Notice) {
	t.Helper()
	return nodeconfigtest.Endpoints(t, opts, host)
}

func endpoint(t *testing.T, opts nodeconfig.Options, host string) registry.Endpoint {
	t.Helper()
	return nodeconfigtest.Endpoint(t, opts, host)
}

func ref(t *testing.T, s string) reference.Named {
	t.Helper()
	return nodeconfigtest.Ref(t, s)
}

func crio(t *testing.T, files map[string]string) nodeconfig.Options {
	t.Helper()
	return nodeconfigtest.CRIO(t, files)
}

func sources(t *testing.T, opts nodeconfig.Options, image string) ([]registry.Endpoint, []nodeconfig.Notice, error) {
	t.Helper()
	return nodeconfigtest.Sources(t, opts, image)
}
