package systemd

import (
	"encoding/hex"
	"strings"

	"github.com/whypull/whypull/cri/credential"
)

// directive is one assignment in a unit file.
type directive struct{ key, value string }

// directives returns the assignments in a section of a unit file
// (systemd.syntax(7)). A backslash at the end of a line continues it; comments
// in between are dropped. Lines may be long, for example a list of NO_PROXY
// hosts. A line that is not an assignment is ignored, as systemd does. The
// parser of github.com/coreos/go-systemd rejects both, and takes comments in a
// continued line as part of the value.
func directives(text, section string) []directive {
	var out []directive
	current, pending := "", ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue
		}
		if before, ok := strings.CutSuffix(line, `\`); ok {
			pending += before + " "
			continue
		}
		trimmed, pending = strings.TrimSpace(pending+line), ""
		if strings.HasPrefix(trimmed, "[") && strings.HasSuffix(trimmed, "]") {
			current = trimmed[1 : len(trimmed)-1]
			continue
		}
		if key, value, ok := strings.Cut(trimmed, "="); ok && current == section {
			out = append(out, directive{strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

// words splits a value at white space and removes quotes and escapes (systemd,
// extract_first_word). It stops at an unterminated quote or an invalid escape.
func words(value string) []string {
	var (
		found   []string
		word    strings.Builder
		quote   byte
		started bool
	)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\':
			r, used := unescape(value[i+1:])
			if used == 0 {
				return found
			}
			word.WriteString(r)
			i, started = i+used, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, started = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if started {
				found = append(found, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started && quote == 0 {
		found = append(found, word.String())
	}
	return found
}

// unescape decodes what follows a backslash; used is the number of bytes read.
func unescape(s string) (text string, used int) {
	if s == "" {
		return "", 0
	}
	if i := strings.IndexByte(`abfnrtvs\"'`, s[0]); i >= 0 {
		return "\a\b\f\n\r\t\v \\\"'"[i : i+1], 1
	}
	if s[0] == 'x' && len(s) >= 3 {
		if c, err := hex.DecodeString(s[1:3]); err == nil {
			return string(c), 3
		}
	}
	return "", 0
}

// ParseEnvironmentFile parses an EnvironmentFile= (systemd,
// parse_env_file_internal). The syntax is not the shell's: "export" is not
// supported, and a quote counts only at the start of a value.
func ParseEnvironmentFile(text string) Environment {
	var env Environment
	p := envReader{text: text}
	for p.at < len(p.text) {
		line, _, _ := strings.Cut(p.text[p.at:], "\n")
		trimmed := strings.TrimLeft(line, " \t\r")
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			p.at += len(line) + 1
			continue
		}
		equals := strings.IndexByte(line, '=')
		if equals < 0 {
			p.at += len(line) + 1
			continue
		}
		p.at += equals + 1
		env = env.Set(Variable{Name: strings.TrimSpace(line[:equals]), Value: credential.Redact(p.value())})
	}
	return env
}

type envReader struct {
	text string
	at   int
}

// value reads to the end of the line on which the value ends.
func (p *envReader) value() string {
	var b strings.Builder
	atStart, kept := true, 0 // trailing space is trimmed only after this length
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '\n':
			return trimAfter(b.String(), kept)
		case atStart && (c == ' ' || c == '\t' || c == '\r'):
		case atStart && (c == '"' || c == '\''):
			p.quoted(&b, c)
			kept = b.Len()
		case c == '\\':
			atStart = false
			if p.at < len(p.text) && p.text[p.at] != '\n' {
				b.WriteByte(p.text[p.at])
				kept = b.Len()
			}
			p.at++
		default:
			atStart = false
			b.WriteByte(c)
		}
	}
	return trimAfter(b.String(), kept)
}

// quoted reads to the closing quote. In double quotes a backslash escapes the
// same characters as in the shell.
func (p *envReader) quoted(b *strings.Builder, quote byte) {
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		if c == quote {
			return
		}
		if c == '\\' && quote == '"' && p.at < len(p.text) {
			next := p.text[p.at]
			p.at++
			if !strings.ContainsRune("\"\\`$\n", rune(next)) {
				b.WriteByte(c)
			}
			if next != '\n' {
				b.WriteByte(next)
			}
			continue
		}
		b.WriteByte(c)
	}
}

func trimAfter(s string, kept int) string { return s[:kept] + strings.TrimRight(s[kept:], " \t\r") }
