// Package dns resolves host names as one place would: a node with its
// own files, or a pod with its sandbox's settings and network. It says not only
// what a name resolves to, but what each server said for each name that the
// search list made of it. There is no NSS here: a container runtime is a static
// Go program, which knows the hosts file and DNS and nothing else.
package dns
