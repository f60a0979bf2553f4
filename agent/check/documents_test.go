package check

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string // number, line and JSON
	}{
		"nothing":            {"", nil},
		"comments":           {"# a\n\n---\n# b\n", nil},
		"one":                {"a: 1\n", []string{`1/1 {"a":1}`}},
		"a mark before":      {"# c\n---\na: 1\n", []string{`1/2 {"a":1}`}},
		"directive":          {"%YAML 1.1\n---\na: 1\n", []string{`1/2 {"a":1}`}},
		"two":                {"a: 1\n---\nb: 2\n", []string{`1/1 {"a":1}`, `2/2 {"b":2}`}},
		"an empty one":       {"a: 1\n---\n# none\n---\nb: 2\n", []string{`1/1 {"a":1}`, `2/4 {"b":2}`}},
		"a comment behind":   {"a: 1\n--- # b\nb: 2\n", []string{`1/1 {"a":1}`, `2/2 {"b":2}`}},
		"content behind":     {"--- {a: 1}\n--- {b: 2}", []string{`1/1 {"a":1}`, `2/2 {"b":2}`}},
		"an end":             {"a: 1\n...\nb: 2\n", []string{`1/1 {"a":1}`, `2/3 {"b":2}`}},
		"an end and a mark":  {"a: 1\n...\n---\nb: 2\n", []string{`1/1 {"a":1}`, `2/3 {"b":2}`}},
		"ends alone":         {"...\n...\na: 1\n", []string{`1/1 {"a":1}`}},
		"no mark":            {"a: |\n  ---\n  b\n", []string{`1/1 {"a":"---\nb\n"}`}},
		"nearly a mark":      {"----: 1\n", []string{`1/1 {"----":1}`}},
		"Windows":            {"a: 1\r\n---\r\nb: 2\r\n", []string{`1/1 {"a":1}`, `2/2 {"b":2}`}},
		"byte order mark":    {"\uFEFFa: 1\n", []string{`1/1 {"a":1}`}},
		"JSON":               {`{"a": 1}`, []string{`1/1 {"a": 1}`}},
		"JSON after another": {"{\"a\": 1}\n{\"b\": 2} {\"c\": 3}", []string{`1/1 {"a": 1}`, `2/1 {"b": 2}`, `3/1 {"c": 3}`}},
		"flow, and no JSON":  {"{a: 1}", []string{`1/1 {"a":1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs, err := documents("x.yaml", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range docs {
				got = append(got, fmt.Sprintf("%d/%d %s", d.at.number, d.at.line, d.json))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestReadBounds(t *testing.T) {
	t.Parallel()
	big := io.LimitReader(zeros{}, maxFile+10)
	if _, err := read(stdinName, big); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("error %v", err)
	}
	if data, err := read(stdinName, io.LimitReader(zeros{}, maxFile)); err != nil || len(data) != maxFile {
		t.Errorf("%d bytes, error %v", len(data), err)
	}
	if _, err := read(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("no error for a file that is not there")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
