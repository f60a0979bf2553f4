// Package scratchpull lets containerd itself pull an image again, in a containerd
// namespace of whypull's own, and leaves nothing behind. It answers what no
// request to a registry can: whether the runtime, with its own network, proxy,
// registry configuration, disk and snapshotter, gets the image now.
//
// # What does the pull
//
// containerd's transfer service, over the API that is on the same socket as
// CRI. Since 2.1 the CRI plugin pulls through it as well
// (internal/cri/server/images, pullImageWithTransferService), with the options
// that this package gives: the folder of hosts.toml files, one credential, the
// node's platform, and unpacking. So the same requests are made in the same
// order, and the same error comes back.
//
//	2.x    the transfer service reads hosts.toml (RegistryResolver.host_dir)
//	1.7    it has the service, but not that field: the API that 1.7 is built with
//	       names it, and its OCIRegistry.UnmarshalAny does not look at it. It
//	       asks the registry itself, over https, also for localhost. A node with
//	       a registry configuration is told apart by the caller (Request.HostsDir)
//	       and gets ErrUnsupported: the answer would be about another registry.
//	1.6    has no such service: ErrUnsupported
//
// # Who goes first
//
// The kubelet's pulls and this one share containerd's limit of blobs that are
// fetched at once (max_concurrent_downloads, 3, counted over all namespaces) and
// its locks on a layer that is being fetched or unpacked (unpack.KeyedLocker, which
// knows no namespaces). A pull that hangs at a slow registry would hold all
// shares, and pulls from every other registry would wait for them. The API has no
// option for fewer layers at once, so the pull behaves instead: one at a time on
// a node, not begun while the kubelet pulls, ended within a tenth of a second of
// the kubelet's beginning to, and ended as well after Limits.Idle, a second, in
// which no byte came. containerd writes down each MiB: slower than that counts
// as nothing.
//
// # What a pod could gain
//
// The kubelet sees the namespace k8s.io only: the CRI plugin lists images of
// that one, and ignores events of others (internal/cri/server/events). An image
// here is therefore not present for any pull policy, and not "preloaded" for
// the kubelet's check of credentials.
//
// containerd's default policy for content is "shared" (core/metadata, content.go,
// contentStore.Writer): a namespace that asks to write a blob with a digest that
// any namespace has is given it without the bytes. Two things follow.
//
// First, layers that the node has already are not fetched here. Neither would
// they be by the kubelet's next attempt, so the answer is right; but it is no
// proof that the registry would give them. The manifest is always asked for:
// resolving is a request, whatever is stored. Blob.Source tells the two apart.
//
// Second, while a pull runs and until it is cleaned up, the blobs that it has
// fetched can be claimed by a pull into k8s.io. Such a pull has to resolve its
// reference first, with its own pod's credential: a registry that guards the
// manifest gives nothing to a pod without the secret. What is left is a pod
// that knows the digests of the layers, and pulls an image of its own making
// from another registry whose manifest names them; so it can already with the
// layers of every image on the node. And a registry that guards blobs but not
// manifests: there the pod could start, once, with the layers fetched by this
// retry. After the cleanup neither is possible: the blobs are gone unless
// another namespace holds them by its own pull. With content_sharing_policy
// "isolated" neither is possible at any time.
//
// Snapshots are not shared between namespaces, but by snapshotters that know a
// layer by its name instead of its content (snapshots.LabelSnapshotRef): what
// these have, they have without any pull.
//
// # What is left
//
// Nothing. Everything is held by one lease, and the image's record carries the
// same time of expiry; afterwards records, leases, content, snapshots and the
// namespace are removed, with containerd's garbage collector run to the end.
// Sweep does the same after a crash. If nobody ever does, containerd's own
// collector removes what has expired; 1.7 keeps the record of an image, and what
// it names, in spite of its label.
package scratchpull
