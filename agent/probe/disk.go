package probe

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/disk"
	"github.com/whypull/whypull/cri/registry"
)

// diskPatience is for how long file systems are waited for.
const diskPatience = time.Second

// Filesystems tells where the runtime has images.
type Filesystems interface {
	ImageFilesystems(ctx context.Context) ([]cri.ImageFilesystem, error)
}

// diskLook is a look at the file systems that a pull writes to. A nil one sees
// nothing.
type diskLook struct {
	f       diagnosis.Failure
	all     []disk.Filesystem
	store   disk.Store
	image   imageSize
	certain bool // the text says that there is no room
	present bool // the image is on the node
}

// imageSize is how large an image is, and how much of it is not on the node, in
// bytes of its compressed form. The zero value is not known.
type imageSize struct{ size, missing int64 }

// lookAtDisk looks at the room on the file systems that a pull writes to, where
// the runtime's text says that there is none, or says nothing that speaks against
// it. It is asked before anybody outside the node is blamed. It gives nil where
// nothing is to be seen.
func (c *Collector) lookAtDisk(ctx context.Context, f diagnosis.Failure, known []diagnosis.Evidence) *diskLook {
	text := known[0]
	if f.PullPolicy == "Never" || f.Stall != "" || f.Unrecorded() || !slices.Contains(aboutDisk(), cmp.Or(text.Cause, diagnosis.Unknown)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	l := &diskLook{f: f, certain: text.Cause == diagnosis.DiskFull}
	l.present = slices.ContainsFunc(known, func(e diagnosis.Evidence) bool {
		return e.Check == diagnosis.CheckImage && e.Outcome == diagnosis.Passed
	})
	var places []disk.Place
	places, l.store = c.places(ctx)
	var err error
	if l.all, err = disk.Filesystems(ctx, c.options.Root, places); err != nil {
		return nil
	}
	l.image = c.storedSize(ctx, f)
	return l
}

// learn takes the image's size from what a registry has told, unless the runtime's
// own books have it. Where the text does not speak of room, an image that is there
// already, and one that the registry does not give, are no reason to look for it.
func (l *diskLook) learn(found []diagnosis.Evidence) {
	if l == nil || l.image != (imageSize{}) {
		return
	}
	i := slices.IndexFunc(found, func(e diagnosis.Evidence) bool {
		return e.Size > 0 && (l.certain || e.Outcome != diagnosis.Failed && e.Missing > 0 && !l.present)
	})
	if i >= 0 {
		l.image = imageSize{size: found[i].Size, missing: found[i].Missing}
	}
}

// evidence holds what there is against what the image needs.
func (l *diskLook) evidence() []diagnosis.Evidence {
	if l == nil {
		return nil
	}
	short := disk.Shortages(l.all, l.needs())
	if len(short) == 0 {
		if !l.certain {
			return nil
		}
		return []diagnosis.Evidence{l.room()}
	}
	var out []diagnosis.Evidence
	for _, s := range short {
		out = append(out, l.shortage(s))
	}
	if hidden := unknownRoom(l.all); l.certain && hidden != "" {
		out = append(out, diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Detail: hidden})
	}
	return out
}

// needs is what is left to write of the image, if its size is known. Of one that
// has come whole that is what it unpacks to.
func (l *diskLook) needs() []disk.Need {
	if l.image.size == 0 {
		return nil
	}
	all := disk.Needed(cmp.Or(l.image.missing, l.image.size), 0, l.store)
	if l.image.missing > 0 {
		return all
	}
	return slices.DeleteFunc(all, func(n disk.Need) bool { return n.Use != disk.UseImages })
}

// aboutDisk are the texts' causes that go with a full file system: the runtime
// does not always say what has kept it from writing.
func aboutDisk() []diagnosis.Cause {
	return []diagnosis.Cause{diagnosis.DiskFull, diagnosis.Unknown, diagnosis.RuntimeError, diagnosis.ImageStoreCorrupt}
}

// places are the directories that a pull writes to on this node.
func (c *Collector) places(ctx context.Context) ([]disk.Place, disk.Store) {
	storage := c.configs.load(ctx, c.options, c.Images).Storage()
	var images []string
	if c.Filesystems != nil {
		if all, err := c.Filesystems.ImageFilesystems(ctx); err == nil {
			for _, i := range all {
				if !i.Containers {
					images = append(images, i.Directory)
				}
			}
		}
	}
	store := disk.Store{DiscardsLayers: storage.DiscardsLayers}
	if c.Images != nil {
		name, _, err := c.Images.Version(ctx)
		store.CRIO = err == nil && strings.EqualFold(name, "cri-o")
	}
	if store.CRIO {
		return disk.CRIO(storage.Root, storage.Temporary, images), store
	}
	return disk.Containerd(storage.Root, images), store
}

// storedSize is the size of an image of which the runtime has the manifest: one
// that has come lately, and not its layers. A manifest does not name its tag, so
// it is the newest of the repository's.
func (c *Collector) storedSize(ctx context.Context, f diagnosis.Failure) imageSize {
	if c.Transfers == nil || f.Repository == "" {
		return imageSize{}
	}
	stored, err := c.Transfers.Stored(ctx, f.Registry, f.Repository)
	if err != nil || len(stored) == 0 || complete(stored[0]) || stored[0].Fetched.Before(f.Since.Add(-DefaultStallAfter)) {
		return imageSize{}
	}
	var out imageSize
	for _, b := range stored[0].Blobs {
		size := min(max(b.Size, 0), math.MaxInt64-out.size)
		out.size += size
		if !b.Present {
			out.missing += size
		}
	}
	return out
}

// contents tells which blobs the runtime has. A Transfers may implement it.
type contents interface {
	Present(ctx context.Context, digests []string) (map[string]bool, error)
}

// sizes are an image's size by the registry, and how much of that is not on the
// node; all of it where the runtime does not tell. In bytes.
func (c *Collector) sizes(ctx context.Context, a registry.Answer) (size, missing int64) {
	store, ok := c.Transfers.(contents)
	if !ok || len(a.Parts) == 0 {
		return a.Compressed, a.Compressed
	}
	var digests []string
	for _, p := range a.Parts {
		digests = append(digests, p.Digest)
	}
	there, err := store.Present(ctx, digests)
	if err != nil {
		return a.Compressed, a.Compressed
	}
	missing = a.Compressed
	for _, p := range a.Parts {
		if there[p.Digest] {
			missing -= p.Size
		}
	}
	return a.Compressed, max(missing, 0)
}

// shortage tells of a file system that is full, or too small for the image. Where
// the runtime has found no room and there is one file system to write to, that it
// is too small is known, and only by how much is estimated.
func (l *diskLook) shortage(s disk.Shortage) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Fault: diagnosis.FaultDiskFull, Estimated: s.Estimated, Directories: []string{s.Path}, Presumed: s.Presumed}
	where, needs := place(l.f, s.Filesystem), l.wants(s.Needed, s.Filesystem)
	missing := bytes(s.Needed - min(s.Free, s.Needed))
	sole := len(l.all) == 1 && l.certain
	if !l.certain && (s.Estimated || s.Presumed) || s.Estimated && !sole { // alone that is no reason to blame anything
		e.Outcome = diagnosis.Inconclusive
	}
	switch {
	case s.NoInodes():
		e.Detail = fmt.Sprintf("no inodes are left on %s, so no file can be made there; %s are free", where, bytes(s.Free))
	case s.Full():
		e.Detail = fmt.Sprintf("no byte of %s is left on %s", bytes(s.Total), where)
		if s.Needed > 0 {
			e.Detail += ", and " + needs
		}
	case s.Estimated && !sole:
		e.Detail = fmt.Sprintf("%s may be missing on %s: %s are free, and %s", missing, where, bytes(s.Free), needs)
	default:
		e.Detail = fmt.Sprintf("about %s are missing on %s: %s are free, and %s", missing, where, bytes(s.Free), needs)
	}
	return e
}

// wants says how many bytes of a file system the image needs.
func (l *diskLook) wants(needed uint64, s disk.Filesystem) string {
	what, unpacked := "the image", ""
	if 0 < l.image.missing && l.image.missing < l.image.size {
		what = "what is left of the image"
	}
	if slices.Contains(s.Uses, disk.UseImages) {
		unpacked = " once unpacked"
	}
	return fmt.Sprintf("%s needs about %s%s", what, bytes(needed), unpacked)
}

// place names a file system. Of one that was seen at another directory, which is
// on the same unless the node has mounted something in between, it says so.
func place(f diagnosis.Failure, s disk.Filesystem) string {
	return fmt.Sprintf("node %s's file system of %s", f.Node, directory(s))
}

func directory(s disk.Filesystem) string {
	seen := ""
	if s.Presumed && s.Seen != "" {
		seen = ", seen at " + s.Seen
	}
	return fmt.Sprintf("%s (%s%s)", s.Path, purposes(s.Uses), seen)
}

// room tells of file systems that are not short, and of those that cannot be
// seen: the text may be of an earlier moment, or of one of these.
func (l *diskLook) room() diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Inconclusive}
	var parts []string
	for _, s := range l.all {
		if s.Unseen != "" {
			continue
		}
		part := fmt.Sprintf("%s%s are free now on %s", bytes(s.Free), fewInodes(s), place(l.f, s))
		if len(parts) > 0 {
			part = fmt.Sprintf("%s%s on that of %s", bytes(s.Free), fewInodes(s), directory(s))
		}
		if needed := disk.Sum(l.needs(), s); needed > 0 {
			part += ", and " + l.wants(needed, s)
		}
		parts, e.Directories = append(parts, part), append(e.Directories, s.Path)
		e.Presumed = e.Presumed || s.Presumed
	}
	if len(parts) == 0 {
		e.Outcome = diagnosis.NotRun
	}
	if hidden := unknownRoom(l.all); hidden != "" {
		parts = append(parts, hidden)
	}
	e.Detail = strings.Join(parts, "; ")
	return e
}

// fewInodes tells how many inodes are free where they are few: an image has many
// files. The number changes all the time.
func fewInodes(s disk.Filesystem) string {
	const share = 20
	if s.TotalInodes == 0 || s.FreeInodes > s.TotalInodes/share {
		return ""
	}
	return fmt.Sprintf(" and no more than %d of %d inodes", s.FreeInodes, s.TotalInodes)
}

// unknownRoom says what could not be looked at, and why; "" if nothing.
func unknownRoom(all []disk.Filesystem) string {
	reasons := []struct {
		unseen disk.Unseen
		why    string
	}{
		{disk.UnseenNotMounted, "not mounted into the agent"},
		{disk.UnseenMissing, "there is no such directory on the node"},
		{disk.UnseenForbidden, "the agent may not look at it"},
		{disk.UnseenTimeout, "the file system does not answer"},
		{disk.UnseenFailed, "the file system answers with an error"},
	}
	var parts []string
	for _, r := range reasons {
		var where []string
		for _, s := range all {
			if s.Unseen == r.unseen {
				where = append(where, fmt.Sprintf("%s (%s)", s.Path, purposes(s.Uses)))
			}
		}
		if len(where) > 0 {
			parts = append(parts, fmt.Sprintf("how much room there is at %s is not known: %s", strings.Join(where, " and "), r.why))
		}
	}
	return strings.Join(parts, "; ")
}

// purposes are what pulls need a file system for, in people's words.
func purposes(uses []disk.Use) string {
	var out []string
	for _, u := range uses {
		switch u {
		case disk.UseImages:
			out = append(out, "image store")
		case disk.UseContent:
			out = append(out, "content store")
		case disk.UseTemporary:
			out = append(out, "temporary files")
		}
	}
	return strings.Join(out, ", ")
}

func bytes(n uint64) string {
	const most = 1<<63 - 1
	return size(int64(min(n, most))) // #nosec G115 -- it fits
}
