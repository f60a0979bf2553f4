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
// the kubelet. What is not known to work is unsupported.
func (p *Puller) supports(ctx context.Context, t target) error {
	answer, err := p.version.Version(ctx, &emptypb.Empty{})
	if err != nil {
		return callError(ctx, "Version", err)
	}
	major, minor, ok := release(answer.GetVersion())
	switch {
	case !ok || major < 1 || major == 1 && minor < 7:
		return fmt.Errorf("containerd %q: %w", answer.GetVersion(), ErrUnsupported)
	case major == 1 && !plain(t):
		return fmt.Errorf("containerd %d.%d does not read hosts.toml there: %w", major, minor, ErrUnsupported)
	}
	return nil
}

// plain tells that a pull needs no configuration of the registry: 1.7's service
// knows none, and asks over https alone, where CRI asks a registry on localhost
// over http as well.
func plain(t target) bool {
	local, err := docker.MatchLocalhost(reference.Domain(t.named))
	return t.HostsDir == "" && err == nil && !local
}

// release reads the beginning of a version: "v2.1.5-k3s1.33", "1.7.28~ds1".
func release(version string) (major, minor int, ok bool) {
	first, rest, dotted := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	second := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return major, minor, dotted && err1 == nil && err2 == nil
}
