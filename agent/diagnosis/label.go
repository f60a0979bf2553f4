package diagnosis

// Label returns the name that labeled collections of runtime messages use for
// c, "" for a cause that no message can show by itself.
func (c Cause) Label() string {
	for _, e := range Catalogue() {
		if e.Cause == c {
			return e.Label
		}
	}
	return ""
}
