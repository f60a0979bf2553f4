// Package e2e holds the tests that run whypull on a real node: a kubelet, a
// containerd and registries, with pods that cannot pull their images.
package e2e
