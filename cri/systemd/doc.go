// Package systemd reads, from the files of a node, what systemd starts a service
// with: its unit with the drop-ins, and its environment.
package systemd
