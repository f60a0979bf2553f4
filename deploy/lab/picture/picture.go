// Package picture draws the dashboard's panels as an SVG, with Prometheus's answers to
// their queries. It is not Grafana; it shows the same numbers, for the documentation.
package picture

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/whypull/whypull/deploy/lab/demo"
	"github.com/whypull/whypull/deploy/monitoring"
)

// Answer is the result of a panel's queries.
type Answer []Series

// Series is one line of a panel.
type Series struct {
	Name string
	demo.Sample
}

// Last returns the newest value, or false if there is none.
func (s Series) Last() (float64, bool) {
	for _, p := range slices.Backward(s.Points) {
		if !math.IsNaN(p.Value) {
			return p.Value, true
		}
	}
	return 0, false
}

// Named returns a series named by a legend such as "{{node}} {{instance}}"; a label
// that it does not have is empty.
func Named(legend string, s demo.Sample) Series {
	for label, value := range s.Labels {
		legend = strings.ReplaceAll(legend, "{{"+label+"}}", value)
	}
	return Series{strings.Join(strings.Fields(missing.ReplaceAllString(legend, "")), " "), s}
}

var missing = regexp.MustCompile(`\{\{\w+\}\}`)

// Sizes in pixels.
const (
	width  = 1280
	column = width / 24
	unit   = 26 // height of one of Grafana's units
	margin = 8
	line   = 15
)

// picture is a picture being drawn.
type picture struct {
	strings.Builder
	from, to time.Time
}

func palette() []string {
	return []string{"#5794f2", "#ff9830", "#73bf69", "#f2495c", "#b877d9", "#fade2a", "#8ab8ff", "#ffb357", "#96d98d", "#ff7383", "#ca95e5", "#ffee52"}
}

func color(i int) string { return palette()[i%len(palette())] }

// Draw returns the SVG of the dashboard's sections for the given time range.
func Draw(sections []monitoring.Section, answers map[string]Answer, from, to time.Time) string {
	p := &picture{from: from, to: to}
	y := margin
	for _, s := range sections {
		y = p.section(s, answers, y)
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="Helvetica, Arial, sans-serif" font-size="12">`+
		`<rect width="100%%" height="100%%" fill="#111217"/>`+"\n", width, y)
	return head + p.String() + "</svg>\n"
}

// section draws a section at y and returns where the next one starts.
func (p *picture) section(s monitoring.Section, answers map[string]Answer, y int) int {
	p.text(margin, y+line, "#ffffff", "bold", s.Title)
	y += line + margin
	x, height := 0, s.Height*unit
	for _, panel := range s.Panels {
		if x+panel.Width > 24 {
			x, y = 0, y+height
		}
		p.panel(panel, answers[panel.Title], box{x*column + margin/2, y, panel.Width*column - margin, height - margin})
		x += panel.Width
	}
	return y + height
}

// box is a rectangle in the picture.
type box struct{ x, y, w, h int }

func (p *picture) panel(panel monitoring.Panel, a Answer, b box) {
	p.rect(b, "#181b1f", "#2c3235")
	p.text(b.x+margin, b.y+line+2, "#ccccdc", "bold", panel.Title)
	inner := box{b.x + margin, b.y + 2*line, b.w - 2*margin, b.h - 2*line - margin}
	a = slices.DeleteFunc(slices.Clone(a), func(s Series) bool { _, ok := s.Last(); return !ok })
	switch {
	case len(a) == 0:
		p.text(inner.x, inner.y+inner.h/2, "#8e8e96", "normal", "no data")
	case panel.Kind == "stat":
		value, _ := a[0].Last()
		fmt.Fprintf(p, `<text x="%d" y="%d" fill="%s" font-size="34" text-anchor="middle">%s</text>`+"\n", inner.x+inner.w/2, inner.y+inner.h/2+12, level(panel, value), escaped(formatted(value, panel.Unit)))
	case panel.Kind == "timeseries":
		p.lines(panel, a, inner)
	default:
		p.rows(panel, a, inner)
	}
}

// level returns the color of a value by the panel's thresholds.
func level(panel monitoring.Panel, value float64) string {
	colors := []string{"#73bf69", "#ff9830", "#f2495c"}
	if panel.Falling {
		slices.Reverse(colors)
	}
	n := 0
	for n < len(panel.Thresholds) && value >= panel.Thresholds[n] {
		n++
	}
	return colors[n]
}

// rows draws the last values with the names of their series, the highest first. In a
// table, the name is the namespace and pod, container, cause and registry.
func (p *picture) rows(panel monitoring.Panel, a Answer, b box) {
	sorted(a)
	if panel.Falling {
		slices.Reverse(a)
	}
	for i, s := range a {
		y := b.y + (i+1)*line
		if y+line > b.y+b.h && i < len(a)-1 {
			p.text(b.x, y, "#8e8e96", "normal", fmt.Sprintf("and %d more", len(a)-i))
			return
		}
		value, _ := s.Last()
		p.text(b.x, y, level(panel, value), "normal", formatted(value, panel.Unit))
		cells := []string{s.Name}
		if panel.Kind == "table" {
			cells = []string{s.Labels["pod_namespace"] + "/" + s.Labels["pod_name"], s.Labels["container_name"], s.Labels["cause"], s.Labels["registry"]}
		}
		x, step := b.x+80, (b.w-80)/len(cells)
		for j, cell := range cells {
			p.text(x+j*step, y, "#ccccdc", "normal", cell)
		}
	}
}

// sorted sorts series by their last values, the highest first.
func sorted(a Answer) {
	slices.SortStableFunc(a, func(s, o Series) int {
		x, _ := s.Last()
		y, _ := o.Last()
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(s.Name, o.Name))
	})
}

// lines draws series over time, stacked if the panel is.
func (p *picture) lines(panel monitoring.Panel, a Answer, b box) {
	legend := min(len(a), 2+b.w/500)*line + 4
	chart := box{b.x + 52, b.y + 2, b.w - 52, b.h - legend - line - 6}
	below := map[int64]float64{}
	tops := make([][]demo.Point, len(a))
	highest := 0.0
	for i, s := range a {
		for _, pt := range s.Points {
			if math.IsNaN(pt.Value) {
				continue
			}
			if panel.Stacked {
				below[pt.At.Unix()] += pt.Value
				pt.Value = below[pt.At.Unix()]
			}
			tops[i] = append(tops[i], pt)
			highest = max(highest, pt.Value)
		}
	}
	if highest == 0 {
		highest = 1
	}
	p.axes(panel, chart, highest)
	for i := range slices.Backward(tops) { // the highest in the background
		p.curve(tops[i], chart, highest, color(i), panel.Stacked)
	}
	p.legend(a, box{b.x, chart.y + chart.h + line + 4, b.w, legend})
}

func (p *picture) axes(panel monitoring.Panel, c box, highest float64) {
	for i := range 3 {
		y := c.y + c.h - i*c.h/2
		fmt.Fprintf(p, `<line x1="%d" y1="%d" x2="%d" y2="%[2]d" stroke="#2c3235"/>`+"\n", c.x, y, c.x+c.w)
		fmt.Fprintf(p, `<text x="%d" y="%d" fill="#8e8e96" font-size="10" text-anchor="end">%s</text>`+"\n", c.x-5, y+4, escaped(formatted(highest*float64(i)/2, panel.Unit)))
	}
	for i := range 4 {
		at := p.from.Add(p.to.Sub(p.from) * time.Duration(i) / 3)
		anchor := []string{"start", "middle", "middle", "end"}[i]
		fmt.Fprintf(p, `<text x="%d" y="%d" fill="#8e8e96" font-size="10" text-anchor="%s">%s</text>`+"\n", c.x+i*c.w/3, c.y+c.h+13, anchor, at.UTC().Format("15:04:05"))
	}
}

// curve draws one line, with gaps where points are missing.
func (p *picture) curve(points []demo.Point, c box, highest float64, color string, filled bool) {
	place := func(pt demo.Point) string {
		x := float64(c.x) + float64(c.w)*float64(pt.At.Sub(p.from))/float64(p.to.Sub(p.from))
		return fmt.Sprintf("%.1f,%.1f", x, float64(c.y)+float64(c.h)*(1-pt.Value/highest))
	}
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].At.Sub(points[n-1].At) < 3*Step {
			n++
		}
		var path []string
		for _, pt := range points[:n] {
			path = append(path, place(pt))
		}
		fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(path, " "), color)
		if filled {
			first, last := points[0], points[n-1]
			first.Value, last.Value = 0, 0
			fmt.Fprintf(p, `<polygon points="%s %s %s" fill="%s"/>`+"\n", place(first), strings.Join(path, " "), place(last), color)
		}
		points = points[n:]
	}
}

// Step is the interval between the points of a series.
const Step = 5 * time.Second

func (p *picture) legend(a Answer, b box) {
	x, y := b.x, b.y+line
	for i, s := range a {
		need := 22 + 7*len(s.Name)
		if x+need > b.x+b.w && x > b.x {
			x, y = b.x, y+line
		}
		if y > b.y+b.h {
			p.text(b.x+b.w-60, b.y+b.h, "#8e8e96", "normal", fmt.Sprintf("+ %d more", len(a)-i))
			return
		}
		p.rect(box{x, y - 8, 10, 8}, color(i), color(i))
		p.text(x+14, y, "#ccccdc", "normal", s.Name)
		x += need
	}
}

func (p *picture) rect(b box, fill, stroke string) {
	fmt.Fprintf(p, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s" stroke="%s"/>`+"\n", b.x, b.y, b.w, b.h, fill, stroke)
}

func (p *picture) text(x, y int, fill, weight, s string) {
	fmt.Fprintf(p, `<text x="%d" y="%d" fill="%s" font-weight="%s">%s</text>`+"\n", x, y, fill, weight, escaped(s))
}

func escaped(s string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(s)) // writes to memory cannot fail
	return out.String()
}

// formatted returns a value in Grafana's unit.
func formatted(v float64, unit string) string {
	switch unit {
	case "s":
		return seconds(v)
	case "bytes":
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case "d":
		return fmt.Sprintf("%.0f days", v)
	case "ops", "reqps":
		return fmt.Sprintf("%.2g/s", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func seconds(v float64) string {
	switch {
	case v >= 60:
		return (time.Duration(v) * time.Second).String()
	case v >= 1 || v == 0:
		return fmt.Sprintf("%.3g s", v)
	}
	return fmt.Sprintf("%.3g ms", v*1000)
}
