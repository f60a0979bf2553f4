package systemd

import (
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for value, want := range map[string][]string{
		"a b\tc":            {"a", "b", "c"},
		`"a b" 'c "d"'`:     {"a b", `c "d"`},
		`A="b c"d`:          {"A=b cd"},
		`"" a`:              {"", "a"},
		`a\x20b \s\t\\ \"x`: {"a b", " \t\\", `"x`},
		`a "open b`:         {"a"},
		`a \q b`:            {"a"},
		`a\`:                nil,
		`a\xZZ`:             nil,
		`a\x4`:              nil,
		"":                  nil,
		`\x4A\x4a`:          {"JJ"},
	} {
		if got := words(value); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestDirectives(t *testing.T) {
	long := strings.Repeat("host.test,", 1000)
	text := "stray=1\n[Service]\r\n A = b \nEnvironment=x \\\n# between\n  y\\\n z\nL=" + long + "\n[Other]\nA=c\n[Service]\nE=\nno assignment\n"
	want := []directive{{"A", "b"}, {"Environment", "x    y  z"}, {"L", long}, {"E", ""}}
	if got := directives(text, "Service"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseEnvironmentFile(t *testing.T) {
	for text, want := range map[string]string{
		"A=b":                        "b",
		"  A = b c \n":               "b c",
		"A='b c'  ":                  "b c",
		"A=\"b \\\" \\$ \\n\"":       `b " $ \n`,
		"A=\"b\\\nc\"":               "bc",
		"A='b'\"c\"d":                "bcd",
		"A=b\\\nc":                   "bc",
		"A=b\\ ":                     "b ",
		"A=b'c'":                     "b'c'",
		"A=b#c":                      "b#c",
		"#A=x\n;A=y\nno\n\nA=1\nB=2": "1",
		"A=1\nA=2":                   "2",
		"A='open":                    "open",
		"A=\\":                       "",
		"A=":                         "",
		"A=\r\nB=1":                  "",
	} {
		if got := ParseEnvironmentFile(text).First("A"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if env := ParseEnvironmentFile("export A=1\nA='x\ny'\nB=2"); env.First("A") != "x\ny" || env.First("B") != "2" {
		t.Errorf("got %v", env)
	}
}
