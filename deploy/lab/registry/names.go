// Package registry holds the lab's registries: their names, users and images,
// the files that configure them, and the token service of one of them.
package registry

import (
	"maps"
	"net"
	"slices"
	"strings"
)

// Host names of the registries, as in image references.
const (
	// HubHost and HubHost2 are one registry with passwords. Its certificate is from the
	// lab's own CA, which hosts.toml configures for these names.
	HubHost  = "hub.test.company.com"
	HubHost2 = "hub.test2.company.com"
	// UntrustedHost is the same registry under a name for which the node does not trust
	// the CA.
	UntrustedHost = "untrusted.lab.example"
	// MismatchHost is the same registry under a name that is not in its certificate.
	MismatchHost = "mismatch.lab.example"
	// ExpiredHost is the same registry with an expired certificate.
	ExpiredHost = "expired.lab.example"
	// ExpiringHost and EndingHost are the same registry with certificates that expire
	// in ten days and in two.
	ExpiringHost = "expiring.lab.example"
	EndingHost   = "ending.lab.example"

	// TokenHost and TokenHost2 are a registry with bearer tokens, which AuthHost
	// issues.
	TokenHost  = "ghcr.lab.example"
	TokenHost2 = "quay.lab.example"
	AuthHost   = "auth.lab.example"

	// PlainHost uses plain HTTP without authentication; the node is configured for it.
	PlainHost = "plain.lab.example:5000"
	// PlainHost2 is the same registry under a name for which the node expects TLS.
	PlainHost2 = "plain2.lab.example:5000"

	// MirroredHost is the registry with passwords behind an empty mirror, PlainHost.
	MirroredHost = "mirrored.lab.example"
	// MisconfiguredHost is the same registry. The node's hosts.toml for it does not
	// parse, so the node does not trust the CA.
	MisconfiguredHost = "misconfigured.lab.example"
	// NodeLoginHost is the same registry. The kubelet's own credentials file has a
	// wrong password for it.
	NodeLoginHost = "nodelogin.lab.example"
	// ProxiedHost is the same registry, which the runtime reaches through a proxy that
	// is down (see ProxyEnvironment).
	ProxiedHost = "behind.proxy.example"
	// LimitedHost answers every request for a manifest with 429.
	LimitedHost = "limited.lab.example:5000"
	// ExhaustedHost does too; whypull remembers the limit of each host.
	ExhaustedHost = "exhausted.lab.example:5000"
	// NearHost has no images, and reports NearLeft requests left.
	NearHost = "near.lab.example:5000"

	// StallHost is PlainHost, but its blobs stop halfway until the file StallRelease
	// exists.
	StallHost = "stall.lab.example:5000"

	// FlakyHost is HubHost, but fails a runtime's first authenticated request for a
	// manifest.
	FlakyHost = "flaky.lab.example:5000"
	// SlowHost is PlainHost, but sends blobs at SlowRate bytes per second.
	SlowHost = "slow.lab.example:5000"
	// FickleHost is PlainHost, but sends the blobs of each pull as the image's name
	// determines (see Fickle).
	FickleHost = "fickle.lab.example:5000"

	// ClosedHost has an address where nothing listens.
	ClosedHost = "closed.lab.example:5001"
	// SilentHost has an address that never answers.
	SilentHost = "silent.lab.example"
	// MissingHost does not exist: the node's resolver answers NXDOMAIN.
	MissingHost = "missing.lab.example"
)

// Users and their passwords. They protect nothing but the lab.
const (
	// Alice and Bob have access to everything on HubHost.
	Alice         = "alice"
	AlicePassword = "alice-of-the-lab" // #nosec G101 -- not a secret
	Bob           = "bob"
	BobPassword   = "bob-of-the-lab" // #nosec G101 -- not a secret
	// Reader may pull team-a/* from TokenHost; Admin has full access.
	Reader         = "reader"
	ReaderPassword = "reader-of-the-lab" // #nosec G101 -- not a secret
	Admin          = "admin"
	AdminPassword  = "admin-of-the-lab" // #nosec G101 -- not a secret
)

// ProviderImages are the repositories for which the kubelet runs its credential provider
// plugin, as patterns of its matchImages. Nothing else is in them.
func ProviderImages() []string {
	return []string{HubHost + "/provider", TokenHost + "/team-b/provider", PlainHost + "/provider"}
}

// For BearerImages, a pattern of repositories, the plugin gets a token of the pod's service
// account, if that has BearerAnnotation. Its audience is BearerAudience.
const (
	BearerImages     = HubHost + "/bearer"
	BearerAudience   = "lab-registry"
	BearerAnnotation = "lab.example/puller"
)

// Names of the registries' components, logs and storage directories.
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
	// SilentAddress is in the lab's network, and no host has it.
	SilentAddress = "10.201.0.99"
)

// Hosts maps the registries' host names to their addresses.
func Hosts() map[string]string {
	return map[string]string{
		HubHost: hubAddress, HubHost2: hubAddress, UntrustedHost: hubAddress, MismatchHost: hubAddress,
		MirroredHost: hubAddress, MisconfiguredHost: hubAddress, NodeLoginHost: hubAddress, ProxiedHost: hubAddress,
		ExpiredHost: expiredAddress, ExpiringHost: expiredAddress, EndingHost: expiredAddress,
		withoutPort(LimitedHost): limitedAddress, withoutPort(ExhaustedHost): limitedAddress, withoutPort(NearHost): limitedAddress, withoutPort(StallHost): limitedAddress,
		withoutPort(FlakyHost): limitedAddress, withoutPort(SlowHost): limitedAddress, withoutPort(FickleHost): limitedAddress,
		TokenHost: tokenAddress, TokenHost2: tokenAddress, AuthHost: authAddress,
		withoutPort(PlainHost): plainAddress, withoutPort(PlainHost2): plainAddress,
		withoutPort(ClosedHost): closedAddress, SilentHost: SilentAddress,
	}
}

// Addresses returns the addresses that the lab's network device must have.
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

// Resolve replaces the host of host:port by its address in the lab.
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

// ProxyEnvironment returns the container runtime's proxy variables. One registry's
// domain is behind a proxy, which is down. NO_PROXY covers the cluster's own names, as
// it should on nodes.
func ProxyEnvironment() []string {
	return []string{"HTTPS_PROXY=http://" + closedAddress + ":3128", "NO_PROXY=.lab.example,.company.com,.cluster.local,registry,localhost,127.0.0.0/8,10.0.0.0/8"}
}

// ServesPlainHTTP reports whether a host is the registry without TLS.
func ServesPlainHTTP(host string) bool { return host == PlainHost || host == PlainHost2 }
