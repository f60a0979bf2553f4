// Package probe collects the evidence about a failing container: whether the
// runtime has the image, which credentials the kubelet would use, what DNS and the
// registry respond, how far a running pull is and whether the disks have room.
package probe
