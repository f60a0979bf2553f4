package scratchpull

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"google.golang.org/protobuf/types/known/emptypb"
	"k8s.io/apimachinery/pkg/util/version"
)

// supports returns ErrUnsupported unless the runtime pulls this as it would for
// the kubelet. In doubt it is unsupported.
func (p *Puller) supports(ctx context.Context, t target) error {
	answer, err := p.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return callError(ctx, "Version", err)
	}
	v, err := version.ParseGeneric(answer.GetVersion()) // such as "v2.1.5-k3s1.33", "1.7.28~ds1"
	switch {
	case err != nil || v.LessThan(version.MajorMinor(1, 7)):
		return fmt.Errorf("containerd %q: %w", answer.GetVersion(), ErrUnsupported)
	case v.Major() == 1 && !needsNoConfig(t):
		return fmt.Errorf("containerd %d.%d does not read hosts.toml in its transfer service: %w", v.Major(), v.Minor(), ErrUnsupported)
	}
	return nil
}

// needsNoConfig reports whether a pull needs no registry configuration: 1.7's
// service reads none and uses https only, whereas CRI also tries http for a
// registry on localhost.
func needsNoConfig(t target) bool {
	local, err := docker.MatchLocalhost(reference.Domain(t.named))
	return t.HostsDir == "" && err == nil && !local
}
