package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// System resolves a host name as the programs of this machine do. It is for machines
// on which no node runs: macOS and Windows keep their servers elsewhere than in
// resolv.conf.
func System(ctx context.Context, resolver *net.Resolver, host string) Answer {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if addr, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{addr}, Code: IsAddress, Why: "it is an IP address"}
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return systemFailure(err)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return Answer{Addresses: sortAndLimit(found), Code: Success, System: true, Name: strings.TrimSuffix(host, ".")}
}

// systemFailure returns the answer for an error of a net.Resolver, which does not say
// what each server has answered.
func systemFailure(err error) Answer {
	problem, ok := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return Answer{Code: NotAsked, Why: "the check was cut short", Unknown: true}
	case ok && problem.IsNotFound:
		return Answer{Fault: diagnosis.FaultNameNotFound, Code: NameError, Server: problem.Server, Why: "no such name"}
	case ok && problem.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return Answer{Fault: diagnosis.FaultDNSFailure, Code: Timeout, Why: "it did not answer in time"}
	}
	return Answer{Fault: diagnosis.FaultDNSFailure, Code: ServerFailure, Why: "the system's resolver failed"}
}
