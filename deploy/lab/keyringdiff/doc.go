// Package keyringdiff compares agent/keyring with the kubelet's own keyring
// code, k8s.io/kubernetes/pkg/credentialprovider, on random pull secrets, node
// files and images, and agent/kubelet with pkg/kubelet/images/pullmanager on
// random records of pulled images. It is a module of its own so that the agent
// does not depend on k8s.io/kubernetes.
//
// go test runs 200,000 cases of the keyring and 5,000 of the records, which are
// written to disk (at most 50,000). KEYRINGDIFF_CASES sets another number and
// KEYRINGDIFF_SEED another sequence; a difference is reported with both, and
// with the number of its case. When the agent's go.mod has changed, run go mod
// tidy here first.
package keyringdiff
