// Package scratchpull has containerd pull an image again in a separate
// containerd namespace, and leaves nothing behind. It answers what no request
// to a registry can: whether the runtime, with its own network, proxy, registry
// configuration, disk and snapshotter, can pull the image now.
//
// # What pulls
//
// containerd's transfer service does, over the API on the same socket as CRI.
// Since 2.1 the CRI plugin uses it as well (internal/cri/server/images,
// pullImageWithTransferService), with the options that this package sets: the
// directory of hosts.toml files, one credential, the node's platform, and
// unpacking. So it makes the same requests in the same order and returns the
// same errors.
//
//	2.x    the transfer service reads hosts.toml (RegistryResolver.host_dir)
//	1.7    has the service but ignores that field: it is in the API that 1.7 is
//	       built with, but OCIRegistry.UnmarshalAny does not read it. It asks the
//	       registry itself, over https even for localhost. For a node with a
//	       registry configuration (Request.HostsDir) Pull returns ErrUnsupported,
//	       because the answer would be about another registry.
//	1.6    has no such service: ErrUnsupported
//
// # Priority
//
// The kubelet's pulls and this one share containerd's limit on concurrent
// downloads (max_concurrent_downloads, 3, counted over all namespaces) and its
// locks on a layer that is being fetched or unpacked (unpack.KeyedLocker, which
// ignores namespaces). A pull that hangs at a slow registry would use up the
// limit, and pulls from all other registries would wait. The API cannot limit
// the downloads of one pull, so the pull is polite: there is one at a time on a
// node, it does not start while the kubelet pulls, it ends within a tenth of a
// second after the kubelet starts to pull, and it ends if nothing arrives for
// Limits.Idle, a second. containerd reports each MiB, so a slower download
// counts as idle.
//
// # What a pod could gain
//
// The kubelet sees the namespace k8s.io only: the CRI plugin lists images of
// that namespace and ignores events of others (internal/cri/server/events). An
// image here is therefore not present for any pull policy, and not "preloaded"
// for the kubelet's credential verification.
//
// containerd's default content policy is "shared" (core/metadata, content.go,
// contentStore.Writer): a namespace that wants to write a blob with a digest
// that another namespace has gets it without transferring the bytes. This has
// two consequences.
//
// First, layers that the node already has are not fetched here. The kubelet's
// next attempt would not fetch them either, so the result is right; but it does
// not prove that the registry would serve them. The manifest is always
// requested: resolving makes a request, whatever is stored. Result.Fetched counts
// what came from the registry alone.
//
// Second, from the start of a pull until the cleanup, a pull into k8s.io can
// claim the blobs fetched here. Such a pull has to resolve its reference first,
// with its own pod's credential: a registry that protects the manifest gives
// nothing to a pod without the secret. That leaves a pod that knows the digests
// of the layers and pulls a self-made image from another registry whose
// manifest names them; but it can do that anyway with the layers of every image
// on the node. It also leaves a registry that protects blobs but not manifests:
// there the pod could start, once, with the layers fetched by this retry. After
// the cleanup neither is possible, because the blobs are gone unless another
// namespace holds them through its own pull. With content_sharing_policy
// "isolated" neither is ever possible.
//
// Snapshots are not shared between namespaces, except by snapshotters that
// identify a layer by name instead of content (snapshots.LabelSnapshotRef);
// those have their layers without any pull.
//
// # Cleanup
//
// Nothing is left behind. One lease holds everything, and the image record
// carries the same expiry. After the pull, the records, leases, content,
// snapshots and the namespace are removed, and containerd's garbage collector
// runs to completion. Sweep does the same after a crash. Without that,
// containerd's own collector removes what has expired, except that 1.7 ignores
// the expiry label of an image record and keeps the record and its content.
package scratchpull
