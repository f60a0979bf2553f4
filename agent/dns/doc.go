// Package dns resolves host names the way one place does: a node, with its own
// files, or a pod, with its sandbox's resolver settings and network. It returns
// not only the addresses but each server's reply to each name that the search
// list produces. NSS is not emulated: container runtimes are static Go
// programs, which use only the hosts file and DNS.
package dns
