package why

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Explain returns the page on a cause, whose name may be written in any case.
// The error for a name that is none names the nearest.
func Explain(l Layout, name string) (string, error) {
	all := diagnosis.Catalogue()
	i := slices.IndexFunc(all, func(e diagnosis.Entry) bool { return strings.EqualFold(string(e.Cause), name) })
	if i < 0 {
		return "", fmt.Errorf("there is no cause %q; did you mean %s? kubectl why-pull explain lists them all", clip(name, 64), nearest(all, name))
	}
	return page(l, all[i]), nil
}

func nearest(all []diagnosis.Entry, name string) string {
	distance := func(e diagnosis.Entry) int {
		return levenshtein.ComputeDistance(strings.ToLower(string(e.Cause)), strings.ToLower(clip(name, 64)))
	}
	e := slices.MinFunc(all, func(a, b diagnosis.Entry) int { return distance(a) - distance(b) })
	return string(e.Cause)
}

// page is the text on one cause.
func page(l Layout, e diagnosis.Entry) string {
	return l.paint(bold, string(e.Cause)) + ": " + e.Title + "\n\n" +
		wrap(e.Meaning, "", l.Width) + "\n" +
		wrap("Remedy: "+e.Advice, "", l.Width) + "\n" +
		wrap("It "+fixes(e)+".", "", l.Width)
}

// Causes lists every cause with its title, in the order of the documentation.
func Causes(l Layout) string {
	rows := [][]string{{"CAUSE", "MEANING"}}
	for _, e := range diagnosis.Catalogue() {
		rows = append(rows, []string{string(e.Cause), e.Meaning})
	}
	return l.table("", rows)
}
