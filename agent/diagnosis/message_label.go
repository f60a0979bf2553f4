package diagnosis

import "slices"

// Label returns the name that labelled collections of runtime messages use for
// c, "" for a cause that no message can show by itself.
func (c Cause) Label() string {
	all := Catalogue()
	if i := slices.IndexFunc(all, func(e Entry) bool { return e.Cause == c }); i >= 0 {
		return all[i].Label
	}
	return ""
}

// CauseOfLabel is the inverse of [Cause.Label]; it returns Unknown for a label
// that it does not know.
func CauseOfLabel(label string) Cause {
	all := Catalogue()
	if i := slices.IndexFunc(all, func(e Entry) bool { return e.Label == label && label != "" }); i >= 0 {
		return all[i].Cause
	}
	return Unknown
}
