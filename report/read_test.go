package report

import (
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":                {"", ""},
		"plain":                  {"hub.test/team/app:1.2", "hub.test/team/app:1.2"},
		"other scripts":          {"é…漢字 Ω", "é…漢字 Ω"},
		"colors":                 {"a\x1b[31;1mred\x1b[0mb", "aredb"},
		"cursor":                 {"a\x1b[2J\x1b[Hb", "ab"},
		"color, C1":              {"a\u009b31mb", "ab"},
		"title, bell":            {"a\x1b]0;title\x07b", "ab"},
		"title, string end":      {"a\x1b]0;title\x1b\\b", "ab"},
		"title, C1":              {"a\u009d0;title\u009cb", "ab"},
		"link":                   {"\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"},
		"device control":         {"a\x1bP$q\x1b\\b", "ab"},
		"reset":                  {"a\x1bcb", "ab"},
		"character set":          {"a\x1b(0b", "ab"},
		"sequence without end":   {"a\x1b[31", "a31"},
		"title without end":      {"a\x1b]0;b", "a0;b"},
		"escape at the end":      {"a\x1b", "a"},
		"escape split by escape": {"a\x1b\x1b[31mb", "ab"},
		"C0":                     {"a\x00\a\b\x0eb\x7f", "ab"},
		"C1":                     {"a\u0080\u0085\u009fb", "ab"},
		"lines":                  {"a\nb\r\nc\td\ve", "a b  c d e"},
		"other blanks":           {"a\u00a0b\u2028c\u2029d\u3000e", "a b c d e"},
		"bidi":                   {"a\u202eb\u202ac\u2066d\u2069e\u200ef\u200fg\u061ch", "abcdefgh"},
		"unseen":                 {"a\u200bb\ufeffc\u00add\U000e0041e", "abcde"},
		"private":                {"a\ue000b", "ab"},
		"invalid UTF-8":          {"a\xffb\xc3", "a\ufffdb\ufffd"},
		"a raw C1 byte":          {"a\x9b31mb", "a\ufffd31mb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Printable(tc.in); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"a", "\x1b[31m", "\x1b\x1b[[mm", "\u009b\u202e", "\xff\x9b", "\x1b]0;\x1b]x\x07\x07"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: %q", s, got)
		}
		if again := Printable(got); again != got {
			t.Errorf("%q: %q, and then %q", s, got, again)
		}
	})
}

// Every text of a document is made printable, including fields added later: the
// test fills all fields by reflection.
func TestDocumentPrintable(t *testing.T) {
	t.Parallel()
	var forged, want Document
	fill(reflect.ValueOf(&forged).Elem(), "\u001b[31m\u202ex")
	fill(reflect.ValueOf(&want).Elem(), "x")
	before := encode(forged)
	if got := encode(forged.Printable()); got != encode(want) {
		t.Errorf("got  %s\nwant %s", got, encode(want))
	}
	if encode(forged) != before {
		t.Error("the original has changed")
	}
}

// fill sets all texts in a value to the text, and its lists to one element.
func fill(v reflect.Value, text string) {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.CanInt():
		v.SetInt(3)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	default:
		for _, field := range v.Fields() {
			fill(field, text)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	t.Parallel()
	doc := func(padding int) string {
		return `{"schema":"whypull.dev/v1","node":"` + strings.Repeat("x", padding) + `"}`
	}
	if _, err := Parse(doc(readLimit - 100)); err != nil {
		t.Errorf("a long report: %v", err)
	}
	if _, err := Parse(doc(readLimit)); err == nil {
		t.Error("no limit")
	}
	_, err := Parse(`{"schema":"` + strings.Repeat("s", 1000) + `"}`)
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("error %v", err)
	}
}
