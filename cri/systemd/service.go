package systemd

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs"
)

const (
	// maxFile limits a file's size, in bytes. systemd accepts lines of up to 1
	// MiB.
	maxFile = 2 << 20
	// maxEnvironmentFiles limits the environment files of a service.
	maxEnvironmentFiles = 64
)

// unitDirs are the directories of system units, the one with the highest
// precedence first (systemd.unit(5)).
var unitDirs = []string{ //nolint:gochecknoglobals // never written
	"/etc/systemd/system", "/run/systemd/system",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// managerDirs are the directories of system.conf in the same order.
var managerDirs = []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"} //nolint:gochecknoglobals // never written

// Service holds a service's settings from the node's files.
type Service struct {
	host     hostfs.FS
	name     string
	files    []string
	texts    []credential.Redacted[string]
	defaults Environment // of the manager
	own      Environment
	patterns []string                      // of environment files
	unset    []credential.Redacted[string] // names, and assignments with their values
}

// ReadService reads the unit of a service such as "containerd", its drop-ins,
// and the manager's configuration. It skips files that cannot be read.
func ReadService(host hostfs.FS, name string) Service {
	s := Service{host: host, name: name}
	for _, file := range append(first(host, managerDirs, "system.conf"), host.DropIns(managerDirs, []string{"system.conf.d"})...) {
		s.read(file, "Manager")
	}
	s.texts = nil
	s.files = append(first(host, unitDirs, name+".service"), host.DropIns(unitDirs, dropInDirs(name))...)
	for _, file := range s.files {
		s.read(file, "Service")
	}
	slices.Reverse(s.texts)
	return s
}

// Files returns the unit file, if there is one, and its drop-ins, in the order
// in which systemd reads them. It is empty if nothing is known of the service.
func (s Service) Files() []string { return s.files }

// Texts returns the values in the Service section of each file, the file with
// the highest precedence first: command lines, and variables that they may use.
func (s Service) Texts() []string {
	var out []string
	for _, text := range s.texts {
		out = append(out, text.Reveal())
	}
	return out
}

// dropInDirs returns the names of the directories of a unit's drop-ins: its
// own, those of its prefixes ("k3s-.service.d"), and that of all services.
func dropInDirs(unit string) []string {
	names := []string{unit + ".service.d"}
	for i := strings.LastIndexByte(unit, '-'); i > 0; i = strings.LastIndexByte(unit[:i], '-') {
		names = append(names, unit[:i+1]+".service.d")
	}
	return append(names, "service.d")
}

// first returns the file from the first directory that has it.
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
	s.texts = append(s.texts, credential.Redact(strings.Join(values, "\n")))
}

// apply applies a directive; an empty value resets earlier ones.
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
		for _, word := range words(d.value) {
			s.unset = append(s.unset, credential.Redact(word))
		}
	}
}

func (s *Service) assign(env Environment, value, file string) Environment {
	if value == "" {
		return nil
	}
	for _, word := range words(value) {
		if name, value, ok := strings.Cut(s.expand(word), "="); ok && !Unexpandable(word) {
			env = env.Set(Variable{Name: name, Value: credential.Redact(value), File: file})
		}
	}
	return env
}

// expand replaces specifiers as the manager of the system does (systemd.unit(5)), and
// "%%", which occurs in percent-encoded passwords. It keeps those of the machine that are
// in no file, and what is none, such as "%/".
func (s *Service) expand(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	hostname := s.firstLine("/etc/hostname")
	short, _, _ := strings.Cut(hostname, ".")
	return strings.NewReplacer(
		"%%", "%", "%n", s.name+".service", "%N", s.name, "%p", s.name, "%P", strings.ReplaceAll(s.name, "-", "/"), "%i", "", "%I", "",
		"%f", "/"+strings.ReplaceAll(s.name, "-", "/"), "%j", s.name[strings.LastIndexByte(s.name, '-')+1:], "%J", s.name[strings.LastIndexByte(s.name, '-')+1:],
		"%u", "root", "%U", "0", "%g", "root", "%G", "0", "%h", "/root",
		"%t", "/run", "%T", "/tmp", "%V", "/var/tmp", "%S", "/var/lib", "%C", "/var/cache", "%L", "/var/log", "%E", "/etc",
		"%H", cmp.Or(hostname, "%H"), "%l", cmp.Or(short, "%l"), "%m", cmp.Or(s.firstLine("/etc/machine-id"), "%m"),
	).Replace(text)
}

// Unexpandable reports whether a text has a specifier that systemd does not know, such as
// "%4" in a percent-encoded password: since version 236 it ignores such an assignment
// (specifier_printf). None is a digit.
func Unexpandable(text string) bool {
	return regexp.MustCompile("%[0-9]").MatchString(strings.ReplaceAll(text, "%%", ""))
}

// firstLine returns the first line of a file; "" if it cannot be read.
func (s *Service) firstLine(name string) string {
	data, err := s.host.ReadFile(name, maxFile)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// Environment returns the environment with which systemd starts the service, as
// far as files determine it: the manager's DefaultEnvironment=, then
// Environment= and EnvironmentFile= of the unit and its drop-ins; later ones
// win (systemd.exec(5)). /etc/environment is PAM's and not part of it.
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
		env = env.Unset(assignment.Reveal())
	}
	return env
}

// EnvironmentFiles returns the environment files that the unit names, in order;
// the last one wins. Files named literally need not exist.
func (s Service) EnvironmentFiles() []string {
	var files []string
	for _, pattern := range s.patterns {
		pattern = strings.Trim(strings.TrimPrefix(strings.Trim(pattern, `"'`), "-"), `"'`)
		switch {
		case !path.IsAbs(pattern): // systemd accepts absolute paths only
		case strings.ContainsAny(path.Base(pattern), "*?["):
			files = append(files, s.host.Glob(pattern)...)
		default:
			files = append(files, pattern)
		}
	}
	return files[:min(len(files), maxEnvironmentFiles)]
}
