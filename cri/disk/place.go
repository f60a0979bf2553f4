package disk

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Use is what a pull uses a file system for.
type Use string

// The uses, as a report has them.
const (
	// UseImages is for unpacked layers: a snapshotter's directory, or CRI-O's
	// graph root.
	UseImages Use = "image store"
	// UseContent is for compressed layers from the registry: containerd's
	// content store.
	UseContent Use = "content store"
	// UseTemporary is for layers until they are unpacked: CRI-O keeps them in
	// /var/tmp.
	UseTemporary Use = "temporary files"
)

const contentStore = "io.containerd.content.v1.content"

// Place is a directory of the node that a pull writes to.
type Place struct {
	Use Use
	// Path is a path on the node.
	Path string
	// StandIns are directories that are on the same file system unless Path is
	// a mount point. They are tried in order if Path is not accessible.
	StandIns []string
}

// Containerd returns the places of containerd: the content store, which is
// below its root (cmd/containerd/server, server.go: a plugin's directory is
// named after the plugin), and the directories of the snapshotters, as CRI's
// ImageFsInfo reports them. Without any, it assumes the default snapshotter's.
//
// These directories may hold every image of the node, so the agent should not
// have access to them. The stand-ins are containerd's directory for short-lived
// mounts, which is otherwise empty and exists since 1.6
// (cmd/containerd/command, main.go), and the root.
func Containerd(root string, imageStores []string) []Place {
	standIns := []string{path.Join(root, "tmpmounts"), root}
	if len(imageStores) == 0 {
		imageStores = []string{path.Join(root, "io.containerd.snapshotter.v1.overlayfs")}
	}
	content := Place{Use: UseContent, Path: path.Join(root, contentStore), StandIns: standIns}
	return append([]Place{content}, imagePlaces(imageStores, root, standIns)...)
}

// CRIO returns the places of CRI-O: the directory for large temporary files
// (image, internal/tmpdir; "" means its default, /var/tmp) and the graph root
// or the directories that CRI's ImageFsInfo reports.
func CRIO(root, temporary string, imageStores []string) []Place {
	if len(imageStores) == 0 {
		imageStores = []string{root}
	}
	pending := Place{Use: UseTemporary, Path: cmp.Or(temporary, "/var/tmp")}
	return append([]Place{pending}, imagePlaces(imageStores, root, []string{root})...)
}

// imagePlaces returns the places of unpacked layers. Those below root have its stand-ins.
func imagePlaces(stores []string, root string, standIns []string) []Place {
	var out []Place
	for _, store := range stores {
		p := Place{Use: UseImages, Path: store}
		if below(store, root) {
			p.StandIns = standIns
		}
		out = append(out, p)
	}
	return out
}

// below reports whether name is dir or a path below it.
func below(name, dir string) bool {
	name, dir = path.Clean("/"+name), path.Clean("/"+dir)
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

func with(uses []Use, u Use) []Use {
	uses = append(uses, u)
	slices.Sort(uses)
	return slices.Compact(uses)
}
