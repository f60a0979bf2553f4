// Package systemd reads from a node's files how systemd starts a service: its
// unit with the drop-ins, and its environment.
package systemd
