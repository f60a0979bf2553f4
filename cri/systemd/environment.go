package systemd

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Environment is the environment of a process, in order, each name once.
type Environment []Variable

// Variable is a variable of an environment. Its value may be a password, or hold
// one: printing shows only its name.
type Variable struct {
	Name, Value string
	// File is the file of the node that sets it; "" if none does.
	File string
}

// Format implements fmt.Formatter.
func (v Variable) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.Name) }

// LogValue implements slog.LogValuer.
func (v Variable) LogValue() slog.Value { return slog.StringValue(v.Name) }

// MarshalText keeps encoders from seeing the value.
func (v Variable) MarshalText() ([]byte, error) { return []byte(v.Name), nil }

// Set adds a variable, or replaces it in its place (systemd, strv_env_merge). As
// append does, it may change e.
func (e Environment) Set(v Variable) Environment {
	for i := range e {
		if e[i].Name == v.Name {
			e[i] = v
			return e
		}
	}
	return append(e, v)
}

// Unset removes a variable; of an assignment NAME=value, only if it has that
// value. It may change e.
func (e Environment) Unset(assignment string) Environment {
	name, value, exact := strings.Cut(assignment, "=")
	return slices.DeleteFunc(e, func(v Variable) bool { return v.Name == name && (!exact || v.Value == value) })
}

// First returns the value of the first of the names that has one that is not
// empty.
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
