package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/deploy/runbook"
)

// Explain returns the runbook's page on a cause, whose name is
// case-insensitive. The error for an unknown name suggests the nearest one.
func Explain(l Layout, name string) (string, error) {
	e, err := lookUp(name)
	if err != nil {
		return "", err
	}
	text, err := runbook.Page(e)
	if err != nil {
		return "", err
	}
	return l.markdown(text), nil
}

// Cause returns the cause of a name, which is case-insensitive. The error for an
// unknown name suggests the nearest one.
func Cause(name string) (string, error) {
	e, err := lookUp(name)
	return string(e.Cause), err
}

func lookUp(name string) (diagnosis.Entry, error) {
	if e, known := entryOf(name); known {
		return e, nil
	}
	name = clip(name, 64)
	distance := func(e diagnosis.Entry) int {
		return levenshtein.ComputeDistance(strings.ToLower(string(e.Cause)), strings.ToLower(name))
	}
	nearest := slices.MinFunc(diagnosis.Catalogue(), func(a, b diagnosis.Entry) int { return distance(a) - distance(b) })
	return diagnosis.Entry{}, fmt.Errorf("unknown cause %q; did you mean %s? 'kubectl why-pull explain' lists all causes", name, nearest.Cause)
}

// entryOf returns the entry of a cause, whose name is case-insensitive.
func entryOf(cause string) (diagnosis.Entry, bool) {
	all := diagnosis.Catalogue()
	i := slices.IndexFunc(all, func(e diagnosis.Entry) bool { return strings.EqualFold(string(e.Cause), cause) })
	if i < 0 {
		return diagnosis.Entry{}, false
	}
	return all[i], true
}

// Causes lists all causes with their meaning, in the order of the
// documentation.
func Causes(l Layout) string {
	rows := [][]string{{"CAUSE", "MEANING"}}
	for _, e := range diagnosis.Catalogue() {
		rows = append(rows, []string{string(e.Cause), e.Meaning})
	}
	return l.table("", rows)
}
