// Package check diagnoses images without a cluster: one that is named, or those
// of the pods in manifests, on this machine, by the checks that the agent makes
// on a node.
package check
