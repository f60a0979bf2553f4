package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errZone is returned for an address with a zone.
var errZone = errors.New("addresses with a zone are not supported: the zone is an interface of the other namespace")

// DialContext connects from inside the namespace. The network is tcp or udp;
// the address is an IP address and port. Names are refused, because they would
// be resolved in the process's own namespace, and so are IPv6 zones.
//
// Errors are the *net.OpError of net.Dialer. Without permission to enter, the
// error wraps ErrNotPermitted.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := supported(network, address); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return (&net.Dialer{Control: n.substitute}).DialContext(ctx, network, address)
}

// supported returns an error for a network or an address that DialContext refuses.
func supported(network, address string) error {
	if network != "tcp" && network != "udp" {
		return net.UnknownNetworkError(network)
	}
	to, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return &net.AddrError{Err: "want an IP address and port", Addr: address}
	case to.Addr().Zone() != "":
		return errZone
	}
	return nil
}

// substitute is the Control of a net.Dialer, which has created a socket and not yet
// used it: one of the namespace takes the place of its descriptor.
func (n *Namespace) substitute(network, _ string, socket syscall.RawConn) error {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if strings.HasSuffix(network, "6") {
		family = unix.AF_INET6
	}
	if strings.HasPrefix(network, "udp") {
		kind = unix.SOCK_DGRAM
	}
	fd, err := n.socket(family, kind)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // the dialer has a duplicate
	var duplicated error
	err = socket.Control(func(place uintptr) { duplicated = unix.Dup3(fd, int(place), unix.O_CLOEXEC) })
	return errors.Join(err, os.NewSyscallError("dup3", duplicated))
}
