package disk_test

import (
	"math"
	"slices"
	"testing"

	"github.com/whypull/whypull/cri/disk"
)

func TestPlaces(t *testing.T) {
	const root = "/var/lib/containerd"
	standIns := []string{root + "/tmpmounts", root}
	const graph = "/var/lib/containers/storage"
	for name, tc := range map[string]struct {
		got, want []disk.Place
	}{
		"containerd": {disk.Containerd(root, []string{root + "/snap"}), []disk.Place{
			{Use: disk.UseContent, Path: root + "/io.containerd.content.v1.content", StandIns: standIns},
			{Use: disk.UseImages, Path: root + "/snap", StandIns: standIns},
		}},
		"containerd that says nothing": {disk.Containerd(root, nil), []disk.Place{
			{Use: disk.UseContent, Path: root + "/io.containerd.content.v1.content", StandIns: standIns},
			{Use: disk.UseImages, Path: root + "/io.containerd.snapshotter.v1.overlayfs", StandIns: standIns},
		}},
		"a snapshotter elsewhere": {disk.Containerd(root, []string{"/var/lib/containerd2"}), []disk.Place{
			{Use: disk.UseContent, Path: root + "/io.containerd.content.v1.content", StandIns: standIns},
			{Use: disk.UseImages, Path: "/var/lib/containerd2"},
		}},
		"CRI-O": {disk.CRIO(graph, "", []string{graph + "/overlay-images"}), []disk.Place{
			{Use: disk.UseTemporary, Path: "/var/tmp"}, {Use: disk.UseImages, Path: graph + "/overlay-images", StandIns: []string{graph}},
		}},
		"CRI-O elsewhere": {disk.CRIO(graph, "/big", nil), []disk.Place{
			{Use: disk.UseTemporary, Path: "/big"}, {Use: disk.UseImages, Path: graph, StandIns: []string{graph}},
		}},
	} {
		same := func(a, b disk.Place) bool {
			return a.Use == b.Use && a.Path == b.Path && slices.Equal(a.StandIns, b.StandIns)
		}
		if !slices.EqualFunc(tc.got, tc.want, same) {
			t.Errorf("%s: %+v, want %+v", name, tc.got, tc.want)
		}
	}
}

func TestNeeded(t *testing.T) {
	content, images, temporary := disk.UseContent, disk.UseImages, disk.UseTemporary
	for name, tc := range map[string]struct {
		compressed int64
		crio       bool
		want       []disk.Need
	}{
		"containerd":         {100, false, []disk.Need{{content, 100, false}, {images, 300, true}}},
		"CRI-O":              {100, true, []disk.Need{{temporary, 100, false}, {images, 300, true}}},
		"nothing":            {0, false, []disk.Need{{content, 0, false}, {images, 0, false}}},
		"less than nothing":  {-1, false, []disk.Need{{content, 0, false}, {images, 0, false}}},
		"more than there is": {math.MaxInt64, false, []disk.Need{{content, math.MaxInt64, false}, {images, math.MaxInt64, true}}},
	} {
		if got := disk.Needed(tc.compressed, tc.crio); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestShortages(t *testing.T) {
	both := []disk.Use{disk.UseContent, disk.UseImages}
	known, guessed := []disk.Need{{Use: disk.UseContent, Bytes: 100}, {Use: disk.UseImages, Bytes: 250}}, disk.Needed(100, false)
	of := func(free uint64, uses ...disk.Use) disk.Filesystem {
		return disk.Filesystem{Path: "/", Uses: uses, Free: free, Total: 1000, TotalInodes: 10, FreeInodes: 5}
	}
	noInodes := of(900, both...)
	noInodes.FreeInodes = 0
	unseen := of(0, both...)
	unseen.Unseen = disk.UnseenNotMounted
	for name, tc := range map[string]struct {
		f         disk.Filesystem
		needs     []disk.Need
		short     bool
		needed    uint64
		estimated bool
	}{
		"just enough":                      {of(350, both...), known, false, 0, false},
		"one byte short":                   {of(349, both...), known, true, 350, false},
		"the content alone":                {of(100, disk.UseContent), known, false, 0, false},
		"the images alone":                 {of(249, disk.UseImages), known, true, 250, false},
		"short by the estimate":            {of(399, both...), guessed, true, 400, true},
		"short without the estimate":       {of(99, both...), guessed, true, 400, false},
		"enough by the estimate":           {of(400, both...), guessed, false, 0, false},
		"another use":                      {of(1, disk.UseTemporary), known, false, 0, false},
		"full":                             {of(0, disk.UseTemporary), known, true, 0, false},
		"no inodes":                        {noInodes, known, true, 350, false},
		"nothing known":                    {unseen, known, false, 0, false},
		"more is needed than there can be": {of(900, both...), disk.Needed(math.MaxInt64, false), true, math.MaxUint64 - 1, false},
	} {
		got := disk.Shortages([]disk.Filesystem{tc.f}, tc.needs)
		if len(got) > 0 != tc.short {
			t.Errorf("%s: %+v", name, got)
		} else if tc.short && (got[0].Needed != tc.needed || got[0].Estimated != tc.estimated || got[0].Path != tc.f.Path) {
			t.Errorf("%s: %+v, want %d, estimated %t", name, got[0], tc.needed, tc.estimated)
		}
	}
}
