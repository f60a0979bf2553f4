package nodeconfig_test

import (
	"testing"

	"github.com/whypull/whypull/cri/hostfs/hostfstest"
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

var (
	node, options, ref  = hostfstest.New, nodeconfigtest.Options, nodeconfigtest.Ref
	endpoint, endpoints = nodeconfigtest.Endpoint, nodeconfigtest.Endpoints
	crio                = nodeconfigtest.CRIO
)

func sources(t *testing.T, opts nodeconfig.Options, image string) ([]registry.Endpoint, []nodeconfig.Notice, error) {
	t.Helper()
	return nodeconfigtest.Sources(t, opts, image)
}
