package registry

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/hostfs"
)

// unitDirs gives systemd's directories for the system's units, the strongest
// first (systemd.unit(5)).
func unitDirs() []string {
	return []string{
		"/etc/systemd/system", "/run/systemd/system",
		"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
	}
}

// managerDirs gives the directories of system.conf, likewise.
func managerDirs() []string {
	return []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}
}

// unitEnvironment gives the environment that systemd starts a service with, as
// far as files of the node say: DefaultEnvironment= of the manager,
// Environment= and EnvironmentFile= of the unit and its drop-ins, in that order
// of strength (systemd.exec(5)). /etc/environment is PAM's, and no part of it.
//
// file is the first file of the unit. It is not ok if none can be read.
func unitEnvironment(fs hostfs.FS, unit string) (env environment, file string, ok bool) {
	files := unitFiles(fs, unit)
	if len(files) == 0 {
		return nil, "", false
	}
	s := service{fs: fs, unit: unit}
	for _, name := range managerFiles(fs) {
		s.read(name, "Manager")
	}
	for _, name := range files {
		s.read(name, "Service")
	}
	return s.result(), files[0], true
}

// unitFiles gives the files of a unit in the order in which they are read: the
// unit's own, then the drop-ins by their names. A file hides those of the same
// name in weaker directories.
func unitFiles(fs hostfs.FS, unit string) []string {
	var files []string
	for _, dir := range unitDirs() {
		if name := path.Join(dir, unit+".service"); fs.IsFile(name) {
			files = append(files, name)
			break
		}
	}
	return append(files, dropIns(fs, unitDirs(), dropInDirs(unit))...)
}

// dropInDirs gives the names of the directories of a unit's drop-ins: its own,
// those of its prefixes ("k3s-.service.d"), that of all services.
func dropInDirs(unit string) []string {
	names := []string{unit + ".service.d"}
	for i := strings.LastIndexByte(unit, '-'); i > 0; i = strings.LastIndexByte(unit[:i], '-') {
		names = append(names, unit[:i+1]+".service.d")
	}
	return append(names, "service.d")
}

func managerFiles(fs hostfs.FS) []string {
	var files []string
	for _, dir := range managerDirs() {
		if name := path.Join(dir, "system.conf"); fs.IsFile(name) {
			files = append(files, name)
			break
		}
	}
	return append(files, dropIns(fs, managerDirs(), []string{"system.conf.d"})...)
}

// dropIns gives the drop-ins in the directories, sorted by their own names. A
// name that is found first counts, also where it is a link to /dev/null.
func dropIns(fs hostfs.FS, dirs, names []string) []string {
	found := map[string]string{}
	for _, name := range names {
		for _, dir := range dirs {
			dir = path.Join(dir, name)
			for _, entry := range fs.List(dir) {
				if _, hidden := found[entry]; !hidden && path.Ext(entry) == ".conf" {
					found[entry] = path.Join(dir, entry)
				}
			}
		}
	}
	var files []string
	for _, entry := range slices.Sorted(maps.Keys(found)) {
		if fs.IsFile(found[entry]) {
			files = append(files, found[entry])
		}
	}
	return files
}

// service collects what the files of a unit say of its environment.
type service struct {
	fs       hostfs.FS
	unit     string
	defaults environment // of the manager
	own      environment
	files    []string
	unset    []string
}

func (s *service) read(name, section string) {
	data, err := s.fs.ReadFile(name, maxConfigFile)
	if err != nil {
		return
	}
	for _, d := range unitDirectives(string(data), section) {
		s.apply(d, name)
	}
}

// apply takes a directive; an empty value takes back what was said before.
func (s *service) apply(d directive, file string) {
	switch d.key {
	case "DefaultEnvironment":
		s.defaults = s.assign(s.defaults, d.value, file)
	case "Environment":
		s.own = s.assign(s.own, d.value, file)
	case "EnvironmentFile":
		if d.value == "" {
			s.files = nil
			return
		}
		s.files = append(s.files, s.expand(d.value))
	case "UnsetEnvironment":
		if d.value == "" {
			s.unset = nil
			return
		}
		s.unset = append(s.unset, unitWords(d.value)...)
	}
}

func (s *service) assign(env environment, value, file string) environment {
	if value == "" {
		return nil
	}
	for _, word := range unitWords(value) {
		if name, value, ok := strings.Cut(s.expand(word), "="); ok {
			env = env.set(variable{name: name, value: value, file: file})
		}
	}
	return env
}

// expand replaces the specifiers that name the unit, and "%%", which an
// encoded character of a password needs. Others are left as they are.
func (s *service) expand(text string) string {
	return strings.NewReplacer("%%", "%", "%n", s.unit+".service", "%N", s.unit, "%p", s.unit).Replace(text)
}

func (s *service) result() environment {
	env := slices.Clone(s.defaults)
	for _, v := range s.own {
		env = env.set(v)
	}
	for _, pattern := range s.files {
		for _, name := range s.match(strings.TrimPrefix(pattern, "-")) {
			data, err := s.fs.ReadFile(name, maxConfigFile)
			if err != nil {
				continue
			}
			for _, v := range parseEnvironmentFile(string(data)) {
				v.file = name
				env = env.set(v)
			}
		}
	}
	for _, assignment := range s.unset {
		env = env.unset(assignment)
	}
	return env
}

// match gives the files of the node that a pattern stands for.
func (s *service) match(pattern string) []string {
	if !strings.ContainsAny(path.Base(pattern), "*?[") {
		return []string{pattern}
	}
	return s.fs.Glob(pattern)
}
