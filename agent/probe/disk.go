package probe

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/disk"
	"github.com/whypull/whypull/cri/registry"
)

// diskPatience is the time limit for the disk check.
const diskPatience = time.Second

// Filesystems returns the directories of the runtime's images.
type Filesystems interface {
	ImageDirectories(ctx context.Context) ([]string, error)
}

// diskLook is the result of checking the file systems that a pull writes to. A nil
// one has no evidence.
type diskLook struct {
	all     []disk.Filesystem
	crio    bool
	image   imageSize
	certain bool // the message says that there is no space left
	present bool // the image is on the node
}

// imageSize is the compressed size of an image and of its blobs that are not on the
// node, in bytes. The zero value is unknown.
type imageSize struct{ size, missing int64 }

// lookAtDisk checks the free space of the file systems that a pull writes to, if
// the runtime's message says that there is none or does not exclude it. It returns
// nil if there is nothing to check.
func (c *Collector) lookAtDisk(ctx context.Context, f diagnosis.Failure, known []diagnosis.Evidence) *diskLook {
	text := known[0]
	if f.PullPolicy == "Never" || f.Stall != "" || text.Message().IntentUnrecorded || !slices.Contains(aboutDisk, cmp.Or(text.Message().Cause, diagnosis.Unknown)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	l := &diskLook{certain: text.Message().Cause == diagnosis.DiskFull}
	l.present = slices.ContainsFunc(known, func(e diagnosis.Evidence) bool {
		return e.Check == diagnosis.CheckImage && e.Outcome == diagnosis.Passed
	})
	var places []disk.Place
	places, l.crio = c.places(ctx)
	var err error
	if l.all, err = disk.Filesystems(ctx, c.Registries.Root, places); err != nil {
		return nil
	}
	l.image = c.storedSize(ctx, f)
	return l
}

// learn takes the image's size from a registry's answer, unless the runtime has it.
// If the message is not about space, the size is ignored for an image that is
// present or that the registry refuses.
func (l *diskLook) learn(found []diagnosis.Evidence) {
	if l == nil || l.image != (imageSize{}) {
		return
	}
	i := slices.IndexFunc(found, func(e diagnosis.Evidence) bool {
		a := e.Answer()
		return a.Size > 0 && (l.certain || e.Outcome != diagnosis.Failed && a.Missing > 0 && !l.present)
	})
	if i >= 0 {
		l.image = imageSize{size: found[i].Answer().Size, missing: found[i].Answer().Missing}
	}
}

// evidence compares the free space with what the image needs.
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
	if hidden := l.unseen(); l.certain && len(hidden) > 0 {
		out = append(out, diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun, Body: l.facts(hidden)})
	}
	return out
}

// needs returns the space that the rest of the pull needs, if the image's size is
// known. After a complete download that is the unpacked size.
func (l *diskLook) needs() []disk.Need {
	if l.image.size == 0 {
		return nil
	}
	all := disk.Needed(cmp.Or(l.image.missing, l.image.size), l.crio)
	if l.image.missing > 0 {
		return all
	}
	return slices.DeleteFunc(all, func(n disk.Need) bool { return n.Use != disk.UseImages })
}

// aboutDisk are the causes in messages that a full file system can have: the runtime
// does not always say why a write failed.
var aboutDisk = []diagnosis.Cause{diagnosis.DiskFull, diagnosis.Unknown, diagnosis.RuntimeError, diagnosis.ImageStoreCorrupt} //nolint:gochecknoglobals // never written

// places returns the directories that a pull writes to on this node, and whether the
// runtime is CRI-O.
func (c *Collector) places(ctx context.Context) (places []disk.Place, crio bool) {
	storage := c.config(ctx).Storage()
	var images []string
	if c.Filesystems != nil {
		images, _ = c.Filesystems.ImageDirectories(ctx) // without any, defaults are assumed
	}
	if c.Images != nil {
		name, _, err := c.Images.Version(ctx)
		crio = err == nil && strings.EqualFold(name, "cri-o")
	}
	if crio {
		return disk.CRIO(storage.Root, storage.Temporary, images), true
	}
	return disk.Containerd(storage.Root, images), false
}

// storedSize returns the size of an image of which the runtime has a recent manifest
// but not all layers. Since a manifest does not have its tag, it uses the newest one
// of the repository.
func (c *Collector) storedSize(ctx context.Context, f diagnosis.Failure) imageSize {
	if c.Transfers == nil || f.Repository == "" {
		return imageSize{}
	}
	leave, err := c.store.Enter(ctx, "")
	if err != nil {
		return imageSize{}
	}
	stored, err := c.Transfers.Stored(ctx, f.Registry, f.Repository)
	leave()
	if err != nil || len(stored) == 0 || complete(stored[0]) || stored[0].Fetched.Before(byClock(f.Since, c.now()).Add(-DefaultStallAfter)) {
		return imageSize{}
	}
	present, size := received(stored[0], nil)
	return imageSize{size: size, missing: size - present}
}

// contents reports which blobs the runtime has. A Transfers may implement it.
type contents interface {
	Present(ctx context.Context, digests []string) (map[string]bool, error)
}

// sizes returns an image's compressed size by the registry and how much of it is not
// on the node, in bytes; all of it if the runtime cannot say.
func (c *Collector) sizes(ctx context.Context, a registry.Answer) (size, missing int64) {
	store, ok := c.Transfers.(contents)
	if !ok || len(a.Content.Parts) == 0 {
		return a.Content.Compressed, a.Content.Compressed
	}
	var digests []string
	for _, p := range a.Content.Parts {
		digests = append(digests, p.Digest)
	}
	there, err := store.Present(ctx, digests)
	if err != nil {
		return a.Content.Compressed, a.Content.Compressed
	}
	missing = a.Content.Compressed
	for _, p := range a.Content.Parts {
		if there[p.Digest] {
			missing -= p.Size
		}
	}
	return a.Content.Compressed, max(missing, 0)
}

// shortage returns the evidence about a file system that is full or too small for
// the image. If the runtime ran out of space and there is only one file system, it is
// certain that it is too small; only by how much is an estimate.
func (l *diskLook) shortage(s disk.Shortage) diagnosis.Evidence {
	of := filesystem(s.Filesystem)
	of.Needed, of.Full, of.NoInodes = s.Needed, s.Full(), s.NoInodes()
	facts := l.facts([]diagnosis.Filesystem{of})
	facts.Disk.Estimated, facts.Disk.Sole = s.Estimated, len(l.all) == 1 && l.certain
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.Failed, Fault: diagnosis.FaultDiskFull, Body: facts}
	if !l.certain && (s.Estimated || s.Presumed) || s.Estimated && !facts.Disk.Sole { // not sufficient alone
		e.Outcome = diagnosis.Inconclusive
	}
	return e
}

func (l *diskLook) facts(all []diagnosis.Filesystem) *diagnosis.PullFacts {
	partial := 0 < l.image.missing && l.image.missing < l.image.size
	return &diagnosis.PullFacts{Disk: &diagnosis.DiskFacts{Filesystems: all, Partial: partial}}
}

// room returns the evidence that no file system is too small, with those that could
// not be checked: the message may be outdated or about one of these.
func (l *diskLook) room() diagnosis.Evidence {
	e := diagnosis.Evidence{Check: diagnosis.CheckPull, Outcome: diagnosis.NotRun}
	var all []diagnosis.Filesystem
	for _, s := range l.all {
		of := filesystem(s)
		if of.Unseen == "" {
			of.Needed, e.Outcome = disk.Sum(l.needs(), s), diagnosis.Inconclusive
		}
		all = append(all, of)
	}
	e.Body = l.facts(all)
	return e
}

// unseen returns the file systems that could not be checked.
func (l *diskLook) unseen() []diagnosis.Filesystem {
	var out []diagnosis.Filesystem
	for _, s := range l.all {
		if s.Unseen != "" {
			out = append(out, filesystem(s))
		}
	}
	return out
}

func filesystem(s disk.Filesystem) diagnosis.Filesystem {
	out := diagnosis.Filesystem{
		Path: s.Path, Presumed: s.Presumed, Seen: s.Seen, Unseen: diagnosis.Unseen(s.Unseen),
		Free: s.Free, Total: s.Total, FreeInodes: s.FreeInodes, TotalInodes: s.TotalInodes,
	}
	for _, u := range s.Uses {
		out.Uses = append(out.Uses, diagnosis.FilesystemUse(u))
	}
	return out
}
