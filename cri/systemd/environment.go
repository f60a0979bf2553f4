package systemd

import (
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
)

// Environment is the environment of a process, in order, with each name once.
type Environment []Variable

// Variable is an environment variable.
type Variable struct {
	Name string
	// Value may be a password, or hold one.
	Value credential.Redacted[string]
	// File is the file of the node that sets it; "" if none does.
	File string
}

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
	return slices.DeleteFunc(e, func(v Variable) bool { return v.Name == name && (!exact || v.Value.Reveal() == value) })
}

// First returns the first non-empty value of the given names.
func (e Environment) First(names ...string) string { return e.find(names).Value.Reveal() }

// FileOf returns the file that sets what First returns; "" if none does.
func (e Environment) FileOf(names ...string) string { return e.find(names).File }

func (e Environment) find(names []string) Variable {
	for _, name := range names {
		for _, v := range e {
			if v.Name == name && v.Value.Reveal() != "" {
				return v
			}
		}
	}
	return Variable{}
}
