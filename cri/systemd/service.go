package systemd

import (
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
)

const (
	// maxFile bounds a file, in bytes. systemd takes lines of up to 1 MiB.
	maxFile = 2 << 20
	// maxEnvironmentFiles bounds the files of environment of a service.
	maxEnvironmentFiles = 64
)

// unitDirs returns systemd's directories for the system's units, the strongest
// first (systemd.unit(5)).
func unitDirs() []string {
	return []string{
		"/etc/systemd/system", "/run/systemd/system",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
	}
}

// managerDirs returns the directories of system.conf, likewise.
func managerDirs() []string {
	return []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}
}

// Service is what the files of a node say of a service.
type Service struct {
	host     hostfs.FS
	name     string
	files    []string
	texts    []string
	defaults Environment // of the manager
	own      Environment
	patterns []string // of the files of environment
	unset    []string
}

// Format implements fmt.Formatter: package fmt does not ask the variables in it.
func (s Service) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.name+".service") }

// LogValue implements slog.LogValuer.
func (s Service) LogValue() slog.Value { return slog.StringValue(s.name + ".service") }

// ReadService reads the unit of a service, such as "containerd", its drop-ins,
// and the manager's configuration. Files that cannot be read are left out.
func ReadService(host hostfs.FS, name string) Service {
	s := Service{host: host, name: name}
	for _, file := range managerFiles(host) {
		s.read(file, "Manager")
	}
	s.texts = nil
	s.files = unitFiles(host, name)
	for _, file := range s.files {
		s.read(file, "Service")
	}
	slices.Reverse(s.texts)
	return s
}

// Files returns the unit's own file, if there is one, and those of its drop-ins,
// in the order in which systemd reads them. There are none if nothing is known of
// the service.
func (s Service) Files() []string { return s.files }

// Texts returns what is assigned in the section Service of each file, the
// strongest file first: command lines, and variables that these may name.
func (s Service) Texts() []string { return s.texts }

// unitFiles returns the files of a unit in the order in which they are read: the
// unit's own, then the drop-ins by their names.
func unitFiles(host hostfs.FS, unit string) []string {
	return append(first(host, unitDirs(), unit+".service"), host.DropIns(unitDirs(), dropInDirs(unit))...)
}

// dropInDirs returns the names of the directories of a unit's drop-ins: its own,
// those of its prefixes ("k3s-.service.d"), that of all services.
func dropInDirs(unit string) []string {
	names := []string{unit + ".service.d"}
	for i := strings.LastIndexByte(unit, '-'); i > 0; i = strings.LastIndexByte(unit[:i], '-') {
		names = append(names, unit[:i+1]+".service.d")
	}
	return append(names, "service.d")
}

func managerFiles(host hostfs.FS) []string {
	return append(first(host, managerDirs(), "system.conf"), host.DropIns(managerDirs(), []string{"system.conf.d"})...)
}

// first returns the file in the first of the directories that has it.
func first(host hostfs.FS, dirs []string, name string) []string {
	for _, dir := range dirs {
		if file := path.Join(dir, name); host.IsFile(file) {
			return []string{file}
		}
	}
	return nil
}

func (s *Service) read(name, section string) {
	data, err := s.host.ReadFile(name, maxFile)
	if err != nil {
		return
	}
	var values []string
	for _, d := range directives(string(data), section) {
		s.apply(d, name)
		values = append(values, d.value)
	}
	s.texts = append(s.texts, strings.Join(values, "\n"))
}

// apply takes a directive; an empty value takes back what was said before.
func (s *Service) apply(d directive, file string) {
	switch d.key {
	case "DefaultEnvironment":
		s.defaults = s.assign(s.defaults, d.value, file)
	case "Environment":
		s.own = s.assign(s.own, d.value, file)
	case "EnvironmentFile":
		if d.value == "" {
			s.patterns = nil
			return
		}
		s.patterns = append(s.patterns, s.expand(d.value))
	case "UnsetEnvironment":
		if d.value == "" {
			s.unset = nil
			return
		}
		s.unset = append(s.unset, words(d.value)...)
	}
}

func (s *Service) assign(env Environment, value, file string) Environment {
	if value == "" {
		return nil
	}
	for _, word := range words(value) {
		if name, value, ok := strings.Cut(s.expand(word), "="); ok {
			env = env.Set(Variable{Name: name, Value: value, File: file})
		}
	}
	return env
}

// expand replaces the specifiers that name the unit, and "%%", which an
// encoded character of a password needs. Others are left as they are.
func (s *Service) expand(text string) string {
	return strings.NewReplacer("%%", "%", "%n", s.name+".service", "%N", s.name, "%p", s.name).Replace(text)
}

// Environment returns the environment that systemd starts the service with, as
// far as files say: DefaultEnvironment= of the manager, Environment= and
// EnvironmentFile= of the unit and its drop-ins, in that order of strength
// (systemd.exec(5)). /etc/environment is PAM's, and no part of it.
func (s Service) Environment() Environment {
	env := slices.Clone(s.defaults)
	for _, v := range s.own {
		env = env.Set(v)
	}
	for _, name := range s.EnvironmentFiles() {
		data, err := s.host.ReadFile(name, maxFile)
		if err != nil {
			continue
		}
		for _, v := range ParseEnvironmentFile(string(data)) {
			v.File = name
			env = env.Set(v)
		}
	}
	for _, assignment := range s.unset {
		env = env.Unset(assignment)
	}
	return env
}

// EnvironmentFiles returns the files of environment that the unit names, in its
// order, the strongest last. They need not be there, unless a pattern stands for
// them.
func (s Service) EnvironmentFiles() []string {
	var files []string
	for _, pattern := range s.patterns {
		pattern = strings.Trim(strings.TrimPrefix(strings.Trim(pattern, `"'`), "-"), `"'`)
		switch {
		case !path.IsAbs(pattern): // systemd takes no other
		case strings.ContainsAny(path.Base(pattern), "*?["):
			files = append(files, s.host.Glob(pattern)...)
		default:
			files = append(files, pattern)
		}
	}
	return files[:min(len(files), maxEnvironmentFiles)]
}
