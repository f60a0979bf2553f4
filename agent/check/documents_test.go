package check

import (
	"context"
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
		"ends alone":         {"...\n...\na: 1\n", []string{`1/3 {"a":1}`}},
		"an indented marker": {"a: |\n  ---\n  b\n", []string{`1/1 {"a":"---\nb\n"}`}},
		"not a marker":       {"----: 1\n", []string{`1/1 {"----":1}`}},
		"Windows":            {"a: 1\r\n---\r\nb: 2\r\n", []string{`1/1 {"a":1}`, `2/2 {"b":2}`}},
		"byte order mark":    {"\uFEFFa: 1\n", []string{`1/1 {"a":1}`}},
		"UTF-16":             {"\xff\xfea\x00:\x00 \x00\x3d\xd8\x80\xde\r\x00\n\x00-\x00-\x00-\x00\n\x00b\x00:\x00 \x001\x00", []string{`1/1 {"a":"🚀"}`, `2/2 {"b":1}`}},
		"UTF-16, big-endian": {"\xfe\xff\x00a\x00:\x00 \x001", []string{`1/1 {"a":1}`}},
		"half of UTF-16":     {"\xff\xfea\x00:\x00 \x001\x00\n", []string{`1/1 {"a":1}`}},
		"a mark alone":       {"\xff\xfe", nil},
		"JSON":               {`{"a": 1}`, []string{`1/1 {"a": 1}`}},
		"JSON after another": {"{\"a\": 1}\n{\"b\": 2} {\"c\": 3}", []string{`1/1 {"a": 1}`, `2/1 {"b": 2}`, `3/1 {"c": 3}`}},
		"flow, not JSON":     {"{a: 1}", []string{`1/1 {"a":1}`}},
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

// However many markers follow text without content, there is one document.
func TestMarkersWithoutContent(t *testing.T) {
	t.Parallel()
	const marks = 100_000
	for name, text := range map[string]string{
		"comments, then ends":      strings.Repeat("# comment\n", marks) + strings.Repeat("...\n", marks) + "a: 1\n",
		"comments between ends":    strings.Repeat("#\n...\n", marks) + "a: 1\n",
		"directives, then begins":  strings.Repeat("%D\n", marks) + strings.Repeat("---\n", marks) + "a: 1\n",
		"content after comments":   strings.Repeat("#\n", marks) + "a: 1\n" + strings.Repeat("...\n", marks),
		"blank lines between ends": strings.Repeat("\n\n...\n", marks) + "a: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs, err := documents("x.yaml", []byte(text))
			if err != nil || len(docs) != 1 || string(docs[0].json) != `{"a":1}` {
				t.Errorf("got %v, %v", docs, err)
			}
		})
	}
}

func TestTooManyDocuments(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{"begins": "---\na: 1\n", "ends": "a: 1\n...\n", "JSON": "{}"} {
		docs, err := documents("x.yaml", []byte(strings.Repeat(document, maxDocuments)))
		if err != nil || len(docs) != maxDocuments {
			t.Errorf("%s, as many as may be: %d, %v", name, len(docs), err)
		}
		for _, n := range []int{maxDocuments + 1, 10 * maxDocuments} {
			docs, err := documents("x.yaml", []byte(strings.Repeat(document, n)))
			if err == nil || err.Error() != "x.yaml: more than 10000 documents" {
				t.Errorf("%s, %d: %d, %v", name, n, len(docs), err)
			}
		}
	}
}

// Loading ends with the context, also while it reads from an idle pipe.
func TestLoadEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close() //nolint:errcheck // of a test
	ended := make(chan error)
	go func() {
		_, err := Run(ctx, Options{Files: []string{stdinName}, Output: "text"}, r, io.Discard)
		ended <- err
	}()
	if _, err := io.WriteString(w, "kind: Pod\n"); err != nil { // returns once it is read
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != context.Canceled { //nolint:errorlint // must not be wrapped in a FlagError
		t.Errorf("error %v", err)
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
