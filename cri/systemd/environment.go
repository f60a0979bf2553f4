package systemd

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Environment is the environment of a process, in order, with each name once.
type Environment []Variable

// Variable is an environment variable. Its value may be or contain a password,
// so formatting shows only its name.
type Variable struct {
	Name, Value string
	// File is the file of the node that sets it; "" if none does.
	File string
}

// Format implements fmt.Formatter.
func (v Variable) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.Name) }

// LogValue implements slog.LogValuer.
func (v Variable) LogValue() slog.Value { return slog.StringValue(v.Name) }

// MarshalText implements encoding.TextMarshaler without the value.
func (v Variable) MarshalText() ([]byte, error) { return []byte(v.Name), nil }

// Set adds a variable, or replaces it in place (systemd, strv_env_merge). Like
// append, it may modify e.
func (e Environment) Set(v Variable) Environment {
	for i := range e {
		if e[i].Name == v.Name {
			e[i] = v
			return e
		}
	}
	return append(e, v)
}

// Unset removes a variable by name, or, for NAME=value, only if it has that
// value. It may modify e.
func (e Environment) Unset(assignment string) Environment {
	name, value, exact := strings.Cut(assignment, "=")
	return slices.DeleteFunc(e, func(v Variable) bool { return v.Name == name && (!exact || v.Value == value) })
}

// First returns the first non-empty value of the given names.
func (e Environment) First(names ...string) string { return e.find(names).Value }

// FileOf returns the file that sets what First returns; "" if none does.
func (e Environment) FileOf(names ...string) string { return e.find(names).File }

func (e Environment) find(names []string) Variable {
	for _, name := range names {
		for _, v := range e {
			if v.Name == name && v.Value != "" {
				return v
			}
		}
	}
	return Variable{}
}
