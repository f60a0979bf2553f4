package probe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/disk"
)

// diskPatience is for how long file systems are waited for.
const diskPatience = time.Second

// Filesystems tells where the runtime has images.
type Filesystems interface {
	ImageFilesystems(ctx context.Context) ([]cri.ImageFilesystem, error)
}

// checkDisk looks at the room on the file systems that a pull writes to, where
// the runtime's text says that there is none, or says nothing that speaks against
// it. It is asked before anybody outside the node is blamed.
func (c *Collector) checkDisk(ctx context.Context, f diagnosis.Failure, text diagnosis.Evidence) []diagnosis.Evidence {
	if f.PullPolicy == "Never" || f.Stall != "" || !slices.Contains(aboutDisk(), cmp.Or(text.Cause, diagnosis.Unknown)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	places, store := c.places(ctx)
	all, err := disk.Filesystems(ctx, c.options.Root, places)
	if err != nil {
		return nil
	}
	certain := text.Cause == diagnosis.DiskFull
	short := disk.Shortages(all, c.needs(ctx, f, store))
	if len(short) == 0 {
		if !certain {
			return nil
		}
		return []diagnosis.Evidence{room(f, all)}
	}
	var out []diagnosis.Evidence
	for _, s := range short {
		e := shortage(f, s)
		if !certain && (s.Estimated || s.Presumed) { // alone that is no reason to blame anything
			e.Outcome = diagnosis.Inconclusive
		}
		out = append(out, e)
	}
	if hidden := unknownRoom(all); certain && hidden != "" {
		out = append(out, diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Detail: hidden})
	}
	return out
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

// needs is what is left to write of an image, where the runtime has its manifest:
// one that has come lately, and not its layers. A manifest does not name its tag,
// so it is the newest of the repository's.
func (c *Collector) needs(ctx context.Context, f diagnosis.Failure, store disk.Store) []disk.Need {
	if c.Transfers == nil || f.Repository == "" {
		return nil
	}
	stored, err := c.Transfers.Stored(ctx, f.Registry, f.Repository)
	if err != nil || len(stored) == 0 || complete(stored[0]) || stored[0].Fetched.Before(f.Since.Add(-DefaultStallAfter)) {
		return nil
	}
	var missing int64
	for _, b := range stored[0].Blobs {
		if !b.Present {
			missing += b.Size
		}
	}
	return disk.Needed(missing, 0, store)
}

// shortage tells of a file system that is full, or too small for the image.
func shortage(f diagnosis.Failure, s disk.Shortage) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Fault: diagnosis.FaultDiskFull}
	where := place(f, s.Filesystem)
	missing := bytes(s.Needed - min(s.Free, s.Needed))
	switch {
	case s.NoInodes():
		e.Detail = fmt.Sprintf("no inodes are left on %s, so no file can be made there; %s are free", where, bytes(s.Free))
	case s.Full():
		e.Detail = fmt.Sprintf("no byte of %s is left on %s", bytes(s.Total), where)
	case s.Estimated:
		e.Outcome = diagnosis.Inconclusive
		e.Detail = fmt.Sprintf("%s may be missing on %s: %s are free, and what is left of the image needs about %s once unpacked", missing, where, bytes(s.Free), bytes(s.Needed))
	default:
		e.Detail = fmt.Sprintf("about %s are missing on %s: %s are free, and what is left of the image needs about %s", missing, where, bytes(s.Free), bytes(s.Needed))
	}
	return e
}

// place names a file system. Of one that was seen at another directory, which is
// on the same unless the node has mounted something in between, it says so.
func place(f diagnosis.Failure, s disk.Filesystem) string {
	seen := ""
	if s.Presumed && s.Seen != "" {
		seen = ", seen at " + s.Seen
	}
	return fmt.Sprintf("node %s's file system of %s (%s%s)", f.Node, s.Path, purposes(s.Uses), seen)
}

// room tells of file systems that are not short, and of those that cannot be
// seen: the text may be of an earlier moment, or of one of these.
func room(f diagnosis.Failure, all []disk.Filesystem) diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Inconclusive}
	var parts []string
	for _, s := range all {
		switch {
		case s.Unseen != "":
		case s.TotalInodes > 0:
			parts = append(parts, fmt.Sprintf("%s has %s and %d inodes free now", place(f, s), bytes(s.Free), s.FreeInodes))
		default:
			parts = append(parts, fmt.Sprintf("%s has %s free now", place(f, s), bytes(s.Free)))
		}
	}
	if len(parts) == 0 {
		e.Outcome = diagnosis.NotRun
	}
	if hidden := unknownRoom(all); hidden != "" {
		parts = append(parts, hidden)
	}
	e.Detail = strings.Join(parts, "; ")
	return e
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
