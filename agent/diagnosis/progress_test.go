package diagnosis

import (
	"testing"
	"time"
)

func TestProgressDetail(t *testing.T) {
	t.Parallel()
	const mib, gib = 1 << 20, 1 << 30
	for want, p := range map[string]Progress{
		"pulling 3.1 of 4.6 GiB at 12 MiB/s, about 2 minutes left":           {Done: 3328599654, Total: 4939212390, Rate: 12.7 * mib},
		"pulling 3.1 of 4.6 GiB":                                             {Done: 3328599654, Total: 4939212390},
		"pulling 340 MiB of 4.6 GiB":                                         {Done: 340 * mib, Total: 4939212390},
		"pulling 0 B of 2.0 GiB":                                             {Total: 2 * gib},
		"pulling 1.0 of 2.0 GiB at 1.5 MiB/s, about 11 minutes left":         {Done: gib, Total: 2 * gib, Rate: 1.5 * mib},
		"pulling 1.0 of 2.0 GiB at 100 MiB/s, less than a minute left":       {Done: gib, Total: 2 * gib, Rate: 100 * mib},
		"pulling 1.0 of 2.0 GiB at 17 MiB/s, about a minute left":            {Done: gib, Total: 2 * gib, Rate: 17.5 * mib},
		"pulling 1.0 of 2.0 GiB at 51 KiB/s, about 6 hours left":             {Done: gib, Total: 2 * gib, Rate: 51 * 1024},
		"pulling 1.0 of 2.0 GiB at 2.0 KiB/s, about 6 days left":             {Done: gib, Total: 2 * gib, Rate: 2048},
		"pulling 1.0 of 2.0 GiB at 10 B/s":                                   {Done: gib, Total: 2 * gib, Rate: 10},
		"all of 2.0 GiB has come, and is being unpacked":                     {Done: 2 * gib, Total: 2 * gib, Rate: 5},
		"pulling 1.0 KiB of 1048576 TiB at 16384 TiB/s, about a minute left": {Done: 1 << 10, Total: 1 << 60, Rate: 1 << 54},
	} {
		if got := p.Detail(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestProgressLeft(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		p    Progress
		want time.Duration
		ok   bool
	}{
		"half":                {Progress{Done: 50, Total: 100, Rate: 5}, 10 * time.Second, true},
		"no rate":             {Progress{Done: 50, Total: 100}, 0, false},
		"nothing left":        {Progress{Done: 100, Total: 100, Rate: 5}, 0, false},
		"more than there is":  {Progress{Done: 101, Total: 100, Rate: 5}, 0, false},
		"longer than anybody": {Progress{Total: 1 << 60, Rate: 1e-9}, 0, false},
	} {
		if got, ok := tc.p.Left(); got != tc.want || ok != tc.ok {
			t.Errorf("%s: got %v, %v", name, got, ok)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 340 << 20: "340 MiB", 4939212390: "4.6 GiB", 1 << 60: "1048576 TiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
