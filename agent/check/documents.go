package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"

	"github.com/whypull/whypull/agent/podwatch"
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

// source is the text of a document.
type source struct {
	file string // as given
	line int    // first line, from 1
	text []byte
	// lines holds for each image the lines of its fields that are not taken yet.
	lines map[string][]int
}

// lineOf returns the line of the next field with an image; of several with the same
// image each is returned once. It is the document's first line if none is found, as
// with aliases and texts of several lines.
func (s *source) lineOf(image string) int {
	if s.lines == nil {
		s.index()
	}
	lines := s.lines[image]
	if len(lines) == 0 {
		return s.line
	}
	if len(lines) > 1 {
		s.lines[image] = lines[1:]
	}
	return lines[0]
}

// index finds the fields of images and drops the text.
func (s *source) index() {
	field := regexp.MustCompile(`(?:^|[\s{,"'-])(?:image|reference)["']?\s*:\s*["']?([^\s"',{}\[][^\s"',}]*)`)
	s.lines = map[string][]int{}
	number := s.line
	for line := range bytes.Lines(s.text) {
		for _, m := range field.FindAllSubmatch(line, -1) {
			image := podwatch.ImageOf(string(m[1])).Written
			s.lines[image] = append(s.lines[image], number)
		}
		number++
	}
	s.text = nil
}

// maxFiles is the maximum number of manifest files, and maxInput that of their bytes.
const (
	maxFiles = 10_000
	maxInput = 128 << 20
)

// manifests returns the files that the values of -f name. Like kubectl, it replaces a
// directory by its files with the extensions of manifests, in the order of their names,
// and descends into subdirectories only if recursive. Links to directories are not
// followed, so that there are no cycles.
func manifests(names []string, recursive bool) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == stdinName && slices.Contains(out, stdinName) {
			return nil, errors.New("standard input (-) can be given once")
		}
		if info, err := os.Stat(name); name == stdinName || err != nil || !info.IsDir() { // reading the file returns the error
			out = append(out, name)
			continue
		}
		files, err := manifestsIn(name, recursive)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	if len(out) > maxFiles {
		return nil, fmt.Errorf("more than %d files", maxFiles)
	}
	return out, nil
}

// manifestsIn returns the manifest files in a directory.
func manifestsIn(dir string, recursive bool) ([]string, error) {
	root := filepath.Clean(dir)
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		root = resolved // WalkDir does not follow a link, not even the root
	}
	var out []string
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(out) > maxFiles:
			return filepath.SkipAll
		case e.IsDir() && name != root && !recursive:
			return filepath.SkipDir
		case e.IsDir() || !slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(name)):
			return nil
		}
		info, err := os.Stat(name) // of a link's target
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() { // and no pipe, which may never end
			out = append(out, filepath.Join(dir, strings.TrimPrefix(name, root)))
		}
		return nil
	})
	return out, err
}
