// Package registry holds the lab's registries: their names, users and images,
// the files that configure them, and the token service of one of them.
package registry

import (
	"maps"
	"net"
	"slices"
	"strings"
)

// Host names of the registries, as they stand in image references.
const (
	// HubHost and HubHost2 are one registry: passwords, TLS by the lab's own
	// authority, which the node knows for these names through hosts.toml.
	HubHost  = "hub.test.company.com"
	HubHost2 = "hub.test2.company.com"
	// UntrustedHost is the same registry under a name for which the node does
	// not know the authority.
	UntrustedHost = "untrusted.lab.example"
	// MismatchHost is the same registry under a name that its certificate lacks.
	MismatchHost = "mismatch.lab.example"
	// ExpiredHost is the same registry behind a certificate that has expired.
	ExpiredHost = "expired.lab.example"
	// ExpiringHost and EndingHost are the same registry behind certificates that
	// end in ten days and in two.
	ExpiringHost = "expiring.lab.example"
	EndingHost   = "ending.lab.example"

	// TokenHost and TokenHost2 are a registry with bearer tokens, which AuthHost
	// issues.
	TokenHost  = "ghcr.lab.example"
	TokenHost2 = "quay.lab.example"
	AuthHost   = "auth.lab.example"

	// PlainHost speaks plain HTTP and wants no login; the node is told so.
	PlainHost = "plain.lab.example:5000"
	// PlainHost2 is the same registry under a name that the node takes for TLS.
	PlainHost2 = "plain2.lab.example:5000"

	// MirroredHost is the registry with passwords behind a mirror that has
	// nothing: PlainHost.
	MirroredHost = "mirrored.lab.example"
	// MisconfiguredHost is the same registry; the node's hosts.toml for it does
	// not parse, so that the node does not know the authority.
	MisconfiguredHost = "misconfigured.lab.example"
	// NodeLoginHost is the same registry; the kubelet's own file has a wrong
	// password for it.
	NodeLoginHost = "nodelogin.lab.example"
	// ProxiedHost is the same registry; the runtime asks it through a proxy that
	// is down (see ProxyEnvironment).
	ProxiedHost = "behind.proxy.example"
	// LimitedHost answers every request for a manifest with 429.
	LimitedHost = "limited.lab.example:5000"
	// NearHost has nothing, and says that it allows NearLeft requests more.
	NearHost = "near.lab.example:5000"

	// StallHost is PlainHost, but its blobs stop in the middle until there is a
	// file StallRelease.
	StallHost = "stall.lab.example:5000"

	// FlakyHost is HubHost, but fails a runtime's first request for a manifest that
	// brings a login.
	FlakyHost = "flaky.lab.example:5000"
	// SlowHost is PlainHost, but its blobs come at SlowRate bytes a second.
	SlowHost = "slow.lab.example:5000"
	// FickleHost is PlainHost, but treats each pull's blobs as the image's name says
	// (see Fickle).
	FickleHost = "fickle.lab.example:5000"

	// ClosedHost has an address where nothing listens.
	ClosedHost = "closed.lab.example:5001"
	// SilentHost has an address that never answers.
	SilentHost = "silent.lab.example"
	// MissingHost does not exist: the node's resolver says NXDOMAIN.
	MissingHost = "missing.lab.example"
)

// Users and their passwords. They guard nothing but the lab.
const (
	// Alice and Bob may use everything on HubHost.
	Alice         = "alice"
	AlicePassword = "alice-of-the-lab" // #nosec G101 -- not a secret
	Bob           = "bob"
	BobPassword   = "bob-of-the-lab" // #nosec G101 -- not a secret
	// Reader may pull team-a/* from TokenHost, Admin may do everything there.
	Reader         = "reader"
	ReaderPassword = "reader-of-the-lab" // #nosec G101 -- not a secret
	Admin          = "admin"
	AdminPassword  = "admin-of-the-lab" // #nosec G101 -- not a secret
)

// Names of the registries' components, logs and storage folders.
const (
	Hub   = "registry-hub"
	Token = "registry-token"
	Plain = "registry-plain"
	Auth  = "token-service"
	// Limited is the registry that answers 429.
	Limited = "registry-limited"
)

// Addresses inside the lab.
const (
	hubAddress     = "10.201.0.10"
	tokenAddress   = "10.201.0.11"
	plainAddress   = "10.201.0.12"
	authAddress    = "10.201.0.13"
	closedAddress  = "10.201.0.14"
	expiredAddress = "10.201.0.15"
	limitedAddress = "10.201.0.16"
	// SilentAddress is in the lab's network, and nothing has it.
	SilentAddress = "10.201.0.99"
)

// Hosts maps the registries' names, without ports, to their addresses.
func Hosts() map[string]string {
	return map[string]string{
		HubHost: hubAddress, HubHost2: hubAddress, UntrustedHost: hubAddress, MismatchHost: hubAddress,
		MirroredHost: hubAddress, MisconfiguredHost: hubAddress, NodeLoginHost: hubAddress, ProxiedHost: hubAddress,
		ExpiredHost: expiredAddress, ExpiringHost: expiredAddress, EndingHost: expiredAddress,
		withoutPort(LimitedHost): limitedAddress, withoutPort(NearHost): limitedAddress, withoutPort(StallHost): limitedAddress,
		withoutPort(FlakyHost): limitedAddress, withoutPort(SlowHost): limitedAddress, withoutPort(FickleHost): limitedAddress,
		TokenHost: tokenAddress, TokenHost2: tokenAddress, AuthHost: authAddress,
		withoutPort(PlainHost): plainAddress, withoutPort(PlainHost2): plainAddress,
		withoutPort(ClosedHost): closedAddress, SilentHost: SilentAddress,
	}
}

// Addresses lists the addresses that the lab's network device must have.
func Addresses() []string {
	set := map[string]bool{}
	for _, a := range Hosts() {
		set[a] = a != SilentAddress
	}
	for a := range Views() {
		set[withoutPort(a)] = true
	}
	maps.DeleteFunc(set, func(_ string, ours bool) bool { return !ours })
	return slices.Sorted(maps.Keys(set))
}

func withoutPort(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// Resolve turns host:port into address:port by the lab's own names.
func Resolve(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	if address, ok := Hosts()[strings.TrimSuffix(host, ".")]; ok {
		return net.JoinHostPort(address, port)
	}
	return hostPort
}

// ProxyEnvironment is that of the container runtime: one registry's domain is
// behind a proxy, which is down. The cluster's own names are not, as NO_PROXY
// on nodes should have it.
func ProxyEnvironment() []string {
	return []string{"HTTPS_PROXY=http://" + closedAddress + ":3128", "NO_PROXY=.lab.example,.company.com,.cluster.local,registry,localhost,127.0.0.0/8,10.0.0.0/8"}
}

// ServesPlainHTTP says that a host is one of the registry without TLS.
func ServesPlainHTTP(host string) bool { return host == PlainHost || host == PlainHost2 }
