package picture

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/monitoring"
)

func at(s int) time.Time { return time.Unix(1_700_000_000+int64(s), 0) }

func series(name string, values ...float64) Series {
	s := Series{Name: name}
	for i, v := range values {
		s.Points = append(s.Points, demo.Point{At: at(i * 5), Value: v})
	}
	return s
}

func TestDraw(t *testing.T) {
	sections := []monitoring.Section{{Title: "All <kinds>", Height: 8, Panels: []monitoring.Panel{
		{Title: "Lines", Kind: "timeseries", Unit: "s", Width: 12},
		{Title: "Stack", Kind: "timeseries", Unit: "short", Width: 12, Stacked: true},
		{Title: "Number", Kind: "stat", Unit: "short", Width: 4, Thresholds: []float64{1}},
		{Title: "Bars", Kind: "bargauge", Unit: "d", Width: 8, Thresholds: []float64{3, 14}, Falling: true},
		{Title: "Table", Kind: "table", Unit: "s", Width: 12},
		{Title: "Nothing", Kind: "timeseries", Unit: "s", Width: 12},
	}}}
	row := series("", 90)
	row.Labels = map[string]string{"pod_namespace": "shop", "pod_name": "web", "container_name": "app", "cause": "TagNotFound", "registry": "hub.test"}
	got := Draw(sections, map[string]Answer{
		"Lines": {series("a & b", 0.1, 0.2)}, "Stack": {series("one", 1, 1), series("two", 2, 3)},
		"Number": {series("", 7)}, "Bars": {series("good", 80), series("bad", 2)}, "Table": {row}, "Nothing": {series("n", math.NaN())},
	}, at(0), at(10))
	for _, want := range []string{"All &lt;kinds&gt;", "a &amp; b", "200 ms", ">4<", ">7<", "#ff9830\" font-size=\"34\"", "80 days", "1m30s", "shop/web", "TagNotFound", "no data", "22:13:20"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	if strings.Contains(got, "NaN") || strings.Index(got, ">2 days<") > strings.Index(got, ">80 days<") {
		t.Error("a value that is none, or the urgent one not first")
	}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
	}
}

// Where there is no value, no line is drawn.
func TestGap(t *testing.T) {
	panel := monitoring.Panel{Title: "Lines", Kind: "timeseries", Unit: "s", Width: 24}
	sections := []monitoring.Section{{Title: "x", Height: 8, Panels: []monitoring.Panel{panel}}}
	nan := math.NaN()
	for want, s := range map[int]Series{1: series("whole", 1, 1, 1, 1, 1, 1), 2: series("gap", 1, 1, nan, nan, nan, 1)} {
		got := Draw(sections, map[string]Answer{"Lines": {s}}, at(0), at(30))
		if n := strings.Count(got, "<polyline"); n != want {
			t.Errorf("%s: %d lines, want %d", s.Name, n, want)
		}
	}
}

func TestNamed(t *testing.T) {
	s := demo.Sample{Labels: map[string]string{"node": "worker-1", "instance": "a:1"}}
	for legend, want := range map[string]string{"{{node}} {{instance}}": "worker-1 a:1", "{{cluster}} {{node}}": "worker-1", "99 %": "99 %", "": ""} {
		if got := Named(legend, s).Name; got != want {
			t.Errorf("%q: %q, want %q", legend, got, want)
		}
	}
}
