// Package keyring turns pull secrets and the node's own docker configuration
// into credentials, by the kubelet's rules and in the kubelet's order, and says of
// every entry that does not help why it does not.
//
// The rules are those of k8s.io/kubernetes v1.37.2: pkg/credentialprovider
// (config.go, keyring.go, secrets/secrets.go) and pkg/kubelet/images; the
// module in deploy/lab/keyringdiff compares the two on random input. What
// credential provider plugins return, which the kubelet tries last, is not this
// package's business.
//
// Nothing that this package writes as text shows a user name, a password or a
// token, nor the part of a registry key in front of an "@", where people
// sometimes put one.
package keyring
