// Package keyring finds the credentials for an image in pull secrets and the node's
// docker config, by the kubelet's rules and in the kubelet's order, and explains why
// the other entries do not match.
//
// The rules are those of k8s.io/kubernetes v1.37.2: pkg/credentialprovider
// (config.go, keyring.go, secrets/secrets.go) and pkg/kubelet/images; the
// module in deploy/lab/keyringdiff compares the two on random input. Credential
// provider plugins, which the kubelet tries last, are run by package provider.
//
// No text of this package contains a user name, a password or a token, nor the part
// of a registry key before an "@", where people sometimes put one.
package keyring
