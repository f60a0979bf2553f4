package keyring

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSafeKey(t *testing.T) {
	for _, tt := range []struct{ key, want string }{
		{"", ""},
		{"hub.example.com", "hub.example.com"},
		{"https://index.docker.io/v1/", "https://index.docker.io/v1/"},
		{"hub.example.com:5000/team/app:1", "hub.example.com:5000/team/app:1"},
		{"*.example.com:*", "*.example.com:*"},
		{"[::1]:5000/a", "[::1]:5000/a"},
		{"https://2001:db8::5/a", "https://2001:db8::5/a"},
		{"fe80::1%pw", "…:…"},
		{"bob:pw@hub.example.com/team", "…@hub.example.com/team"},
		{"https://bob:p@w@hub.example.com", "https://…@hub.example.com"},
		{"oci://bob:pw@hub.example.com", "oci://…@hub.example.com"},
		{"bob:pw", "…:…"},
		{"bob:pw/more@hub.example.com", "…:…"},
		{"hub.example.com:pw/rest", "hub.example.com:…"},
		{"hub.example.com/x@y", "hub.example.com/…"},
		{"hub.example.com?token=x", "hub.example.com?…"},
		{"hub.example.com/a#x", "hub.example.com/a#…"},
		{"hub.example.com/a?x@y", "hub.example.com/a?…"},
		{"a/b://bob:pw@h", "a/…"},
		{"\xff\xfehub", "hub"},
	} {
		if got := safeKey(tt.key); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.key, got, tt.want)
		}
	}
}

func TestSafeKeyIsShort(t *testing.T) {
	got := safeKey("h.io/" + strings.Repeat("ü", 5000))
	if len(got) > longest+len(hidden) || !utf8.ValidString(got) {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
}

func TestQuoteEscapes(t *testing.T) {
	if got, want := quote("a\nb\x1b[31m\u202e"), `"a\nb\x1b[31m\u202e"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
