// Package e2e tests whypull on a real node: a kubelet, containerd and registries, with
// pods that cannot pull their images.
package e2e
