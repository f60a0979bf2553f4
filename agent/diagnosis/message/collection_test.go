package message

import (
	"path/filepath"
	"slices"
	"testing"
)

// labeledMessage is a line of the collection of messages that people have met.
type labeledMessage struct {
	ID, Label, Message string
	Alternatives       []string `json:"alt_labels"`
}

// The collection lies beside the repository and is not part of it.
func TestReadCollection(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "testdata", "pull-messages.jsonl"))
	if len(files) == 0 {
		t.Log("the collection is not here")
		return
	}
	all := readLines[labeledMessage](t, files[0])
	exact, good := 0, 0
	for _, m := range all {
		label := Read("", m.Message).Cause.Entry().Label
		switch {
		case label == m.Label:
			exact++
			good++
		case slices.Contains(m.Alternatives, label):
			good++
		default:
			t.Logf("%s: %q, labeled %q or %q\n%s", m.ID, label, m.Label, m.Alternatives, m.Message)
		}
	}
	t.Logf("%d of %d agree, %d with the first label", good, len(all), exact)
	if 100*good < 97*len(all) {
		t.Errorf("only %d of %d agree", good, len(all))
	}
}
