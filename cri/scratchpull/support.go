package scratchpull

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"google.golang.org/protobuf/types/known/emptypb"
)

// supports returns ErrUnsupported unless the runtime pulls this as it would for
// the kubelet. In doubt it is unsupported.
func (p *Puller) supports(ctx context.Context, t target) error {
	answer, err := p.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return callError(ctx, "Version", err)
	}
	major, minor, ok := parseVersion(answer.GetVersion())
	switch {
	case !ok || major < 1 || major == 1 && minor < 7:
		return fmt.Errorf("containerd %q: %w", answer.GetVersion(), ErrUnsupported)
	case major == 1 && !needsNoConfig(t):
		return fmt.Errorf("containerd %d.%d does not read hosts.toml in its transfer service: %w", major, minor, ErrUnsupported)
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

// parseVersion parses the start of a version: "v2.1.5-k3s1.33", "1.7.28~ds1".
func parseVersion(version string) (major, minor int, ok bool) {
	first, rest, dotted := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	second := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return major, minor, dotted && err1 == nil && err2 == nil
}
