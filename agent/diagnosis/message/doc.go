// Package message reads what the kubelet and the container runtimes write about
// a failed pull, and takes credentials out of it. It is pure, and bounds the
// work on hostile texts.
package message
