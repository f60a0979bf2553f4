package diagnosis

import "fmt"

// Comment returns a line of a remedy that says something and runs nothing. format
// has nothing that is special to a shell, since an interactive zsh runs a pasted
// comment as a command whose name is #; the words may come from anybody and are
// quoted.
func Comment(format string, words ...string) string {
	quoted := make([]any, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return Printable("# " + fmt.Sprintf(format, quoted...))
}
