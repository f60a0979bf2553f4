package diagnosis

import (
	"fmt"
	"strings"
	"time"
)

// Progress is how far a pull is that goes on.
type Progress struct {
	// Failure is the container that waits for it; it has not failed.
	Failure Failure
	// Done and Total are bytes as the registry sends them, of the image's config
	// and layers.
	Done, Total int64
	// Rate is bytes a second, of the last minute at most; 0 while it is not known.
	Rate float64
	// Layers are the parts in the image's order, the config first.
	Layers []Layer
}

// Layer is a part of an image; Done and Total are bytes.
type Layer struct {
	Digest      string
	Done, Total int64
}

// Left is how long the pull takes to its last byte if it goes on as it did, and
// whether that can be said. What comes after, unpacking, is not in it.
func (p Progress) Left() (time.Duration, bool) {
	if p.Rate <= 0 || p.Done >= p.Total {
		return 0, false
	}
	seconds := float64(p.Total-p.Done) / p.Rate
	const most = 100 * 24 * time.Hour // more is no estimate
	if seconds > most.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// Detail is a sentence for people, such as "pulling 3.1 of 4.6 GiB at 12 MiB/s,
// about 2 minutes left".
func (p Progress) Detail() string {
	if p.Done >= p.Total {
		return fmt.Sprintf("all of %s has come, and is being unpacked", Size(p.Total))
	}
	s := "pulling " + partOf(p.Done, p.Total)
	if p.Rate > 0 {
		s += " at " + rateOf(p.Rate) + "/s"
	}
	if left, ok := p.Left(); ok {
		s += ", " + roughly(left) + " left"
	}
	return s
}

// partOf names the unit once where both numbers have the same.
func partOf(done, total int64) string {
	of := Size(total)
	if number, unit, _ := strings.Cut(Size(done), " "); strings.HasSuffix(of, " "+unit) {
		return number + " of " + of
	}
	return Size(done) + " of " + of
}

// rateOf is Size with no digits behind the point where there are two before it.
func rateOf(rate float64) string {
	number, unit, _ := strings.Cut(Size(int64(rate)), " ")
	if whole, _, _ := strings.Cut(number, "."); len(whole) > 1 {
		number = whole
	}
	return number + " " + unit
}

func roughly(d time.Duration) string {
	const manyMinutes, manyHours = 100, 48
	minutes, hours := int(d.Round(time.Minute).Minutes()), int(d.Round(time.Hour).Hours())
	switch {
	case d < 45*time.Second:
		return "less than a minute"
	case minutes <= 1:
		return "about a minute"
	case minutes < manyMinutes:
		return fmt.Sprintf("about %d minutes", minutes)
	case hours < manyHours:
		return fmt.Sprintf("about %d hours", hours)
	}
	return fmt.Sprintf("about %d days", (hours+12)/24)
}

// Size is a number of bytes for people.
func Size[N int64 | uint64](n N) string {
	const k = 1 << 10
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= k && i < len(units)-1 {
		f, i = f/k, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
