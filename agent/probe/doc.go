// Package probe gathers the evidence about one failing container: what the
// runtime has, which credentials the kubelet would use, what the node's name
// service and the registry answer.
package probe
