package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"
)

// maxFile is the size limit of a file in bytes, and maxDocuments the limit on its
// documents.
const (
	maxFile      = 16 << 20
	maxDocuments = 10_000
)

// stdinName stands for standard input, as in kubectl.
const stdinName = "-"

// place is the position of a document.
type place struct {
	file   string
	number int // of the document in its file, from 1
	line   int // first line, from 1
}

func (p place) String() string { return fmt.Sprintf("%s, document %d", p.file, p.number) }

// document is one object of a file.
type document struct {
	at   place
	json []byte
	from *source
	// lists is the number of lists that it is in.
	lists int
}

// read reads a whole file, or standard input; at most maxFile bytes.
func read(name string, stdin io.Reader) ([]byte, error) {
	if name != stdinName {
		f, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		stdin = f
	}
	data, err := io.ReadAll(io.LimitReader(stdin, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: more than %d MiB", name, maxFile>>20)
	}
	return data, err
}

// documents splits a file into YAML documents or concatenated JSON objects, and
// converts them to JSON. Empty documents are skipped and not counted.
func documents(file string, data []byte) ([]document, error) {
	given := file
	if file == stdinName {
		file = "standard input"
	}
	var out []document
	for _, part := range split(data) {
		part.at.file = file
		part.from = &source{file: given, line: part.at.line, text: part.json}
		converted, err := convert(part)
		if err != nil {
			return nil, err
		}
		if out = append(out, converted...); len(out) > maxDocuments {
			return nil, fmt.Errorf("%s: more than %d documents", file, maxDocuments)
		}
	}
	return out, nil
}

// split returns the documents of a stream that have content, as they are written. They end
// at the markers of YAML 1.2 (9.1.2, 9.1.3): "---", which content may follow on the same
// line, and "...". It stops when there are more than maxDocuments, and examines each line
// once.
func split(data []byte) []document {
	var out []document
	d, content, number := document{at: place{number: 1, line: 1}}, false, 0
	next := func(line int) {
		if content {
			out = append(out, d)
		}
		d, content = document{at: place{number: len(out) + 1, line: line}}, false
	}
	for line := range bytes.Lines(inUTF8(data)) {
		number++
		switch {
		case marked(line, "..."):
			next(number + 1)
			continue
		case marked(line, "---"):
			next(number)
			line = append([]byte("   "), line[3:]...) // so that columns in errors are right
		}
		d.json = append(d.json, line...)
		if content = content || !bare(line); len(out) > maxDocuments {
			break
		}
	}
	next(0)
	return out
}

// inUTF8 returns a text in UTF-8 without a byte order mark. Like kubectl, it takes UTF-16
// with one, in which Windows PowerShell writes the output of a command to a file.
func inUTF8(data []byte) []byte {
	big := bytes.HasPrefix(data, []byte{0xfe, 0xff})
	if !big && !bytes.HasPrefix(data, []byte{0xff, 0xfe}) {
		return bytes.TrimPrefix(data, []byte("\uFEFF"))
	}
	units := make([]uint16, len(data)/2-1)
	for i := range units {
		first, second := uint16(data[2*i+2]), uint16(data[2*i+3])
		if big {
			first, second = second, first
		}
		units[i] = second<<8 | first
	}
	return []byte(string(utf16.Decode(units)))
}

// marked reports whether a line begins with a marker.
func marked(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0])))
}

// bare reports whether a line has no content but a blank, a comment or a
// directive.
func bare(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#' || line[0] == '%'
}

// convert converts a document to JSON; concatenated JSON objects give several documents.
func convert(d document) ([]document, error) {
	if bytes.HasPrefix(bytes.TrimSpace(d.json), []byte("{")) {
		if out, ok := objectsOf(d); ok {
			return out, nil
		}
	}
	converted, err := yaml.YAMLToJSONStrict(d.json)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.at, d.located(err))
	}
	d.json = converted
	return []document{d}, nil
}

// objectsOf splits concatenated JSON objects, and none beyond the one that
// is too many.
func objectsOf(d document) ([]document, bool) {
	var out []document
	for dec := json.NewDecoder(bytes.NewReader(d.json)); ; {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) || len(out) > maxDocuments {
			return out, true
		}
		if err != nil {
			return nil, false
		}
		at := d.at
		at.number += len(out)
		out = append(out, document{at: at, json: raw, from: d.from})
	}
}

// located returns an error of package yaml with line numbers of the file instead
// of the document.
func (d document) located(err error) error {
	text := err.Error()
	for _, noise := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n"} {
		text = strings.TrimPrefix(text, noise)
	}
	text = regexp.MustCompile(`\bline (\d+)`).ReplaceAllStringFunc(text, func(s string) string {
		n, err := strconv.Atoi(strings.TrimPrefix(s, "line "))
		if err != nil {
			return s
		}
		return fmt.Sprintf("line %d", n+d.at.line-1)
	})
	return errors.New(strings.Join(strings.Fields(text), " "))
}
