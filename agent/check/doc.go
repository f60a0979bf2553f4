// Package check implements whypull check: it runs the agent's checks on this
// machine, without a cluster, for one image or for the images of the pods in
// manifests.
package check
