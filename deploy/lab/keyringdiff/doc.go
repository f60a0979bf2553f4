// Package keyringdiff compares agent/keyring with the kubelet's own keyring,
// k8s.io/kubernetes/pkg/credentialprovider, on random pull secrets, node files and
// images, agent/kubelet with pkg/kubelet/images/pullmanager on random records of pulled
// images, and agent/provider with pkg/credentialprovider/plugin on random service accounts,
// whose tokens plugins get. It is a separate module so that the agent does not depend on
// k8s.io/kubernetes.
//
// go test runs 200,000 keyring cases and 5,000 record cases (the latter write to disk,
// at most 50,000). KEYRINGDIFF_CASES sets another number and KEYRINGDIFF_SEED another
// sequence; a failure reports both, and the number of the case. When the agent's go.mod
// has changed, run go mod tidy here first.
package keyringdiff
