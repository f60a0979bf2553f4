package report

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode"

	"github.com/whypull/whypull/agent/diagnosis"
)

// readLimit is the maximum size in bytes that Parse accepts. Later versions of
// whypull may write more than reportLimit, but anybody who may annotate a pod can
// write 256 KiB.
const readLimit = 16 * reportLimit

// Parse decodes a report annotation. It ignores unknown fields, since v1 only ever
// adds fields. An empty annotation, another schema and more than readLimit bytes
// are errors. The texts are not made safe for a terminal: see Printable.
func Parse(annotation string) (Document, error) {
	d, err := decode(annotation)
	if err == nil && d.Schema != Schema {
		return Document{}, fmt.Errorf("report annotation: schema %q, want %q", diagnosis.Clip(d.Schema, 64), Schema)
	}
	return d, err
}

// decode is Parse for any schema of whypull's.
func decode(annotation string) (Document, error) {
	if len(annotation) > readLimit {
		return Document{}, fmt.Errorf("report annotation: %d bytes, more than %d", len(annotation), readLimit)
	}
	var d Document
	if err := json.Unmarshal([]byte(annotation), &d); err != nil {
		return Document{}, fmt.Errorf("report annotation: %w", err)
	}
	if !strings.HasPrefix(d.Schema, Prefix) {
		return Document{}, fmt.Errorf("report annotation: schema %q, want %q", diagnosis.Clip(d.Schema, 64), Schema)
	}
	return d, nil
}

// Printable returns a copy of the document whose texts are safe to show on a
// terminal.
func (d Document) Printable() Document {
	makePrintable(reflect.ValueOf(&d).Elem())
	return d
}

// makePrintable makes every text in a value printable, and its slices new ones that are
// not nil.
func makePrintable(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // the others hold no text in a document
	case reflect.String:
		v.SetString(Printable(v.String()))
	case reflect.Slice:
		all := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(all, v)
		v.Set(all)
		for i := range all.Len() {
			makePrintable(all.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			makePrintable(field)
		}
	}
}

// escapes are the control sequences of ECMA-48 and xterm: CSI, the strings OSC,
// DCS, SOS, PM and APC with their ends, and the short ones.
const escapes = "(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]" +
	"|(?:\x1b[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\x07\x1b\u009c]*(?:\x07|\x1b\\\\|\u009c)" +
	"|\x1b[ -/]*[0-~]"

// Printable returns s as one line that is safe to show on a terminal: without
// escape sequences, control characters, and characters that are invisible or
// change the direction of text. White space becomes a blank, invalid UTF-8 the
// replacement character.
func Printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if plain(s) {
		return s
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		s = regexp.MustCompile(escapes).ReplaceAllLiteralString(s, "")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r) && r != '\u0085':
			return ' '
		}
		return -1
	}, s)
}

// plain reports whether s needs no change, as nearly all texts.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
