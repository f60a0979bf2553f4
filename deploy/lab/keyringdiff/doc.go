// Package keyringdiff compares agent/keyring with the kubelet's own keyring
// code, k8s.io/kubernetes/pkg/credentialprovider, on random pull secrets and
// images. It is a module of its own so that the agent does not depend on
// k8s.io/kubernetes.
//
// go test runs 200,000 cases. KEYRINGDIFF_CASES sets another number and
// KEYRINGDIFF_SEED another sequence; a difference is reported with both, and
// with the number of its case. When the agent's go.mod has changed, run go mod
// tidy here first.
package keyringdiff
