package kubelet

import (
	"path"
	"slices"
	"strings"
)

// service is what is found of the kubelet's start.
type service struct {
	// texts may hold the kubelet's flags, those that win first.
	texts []string
	// environment has settings NAME=value, those that win first.
	environment []string
	// hidden tells that a part of it is not visible.
	hidden bool
}

// service reads the kubelet's unit, its drop-ins, and the files of environment
// that these and the packages' own units name. On the command line that comes
// of it the last of several flags wins: that is KUBELET_EXTRA_ARGS in kubeadm's
// unit, so files of environment come before the units.
func (k *Kubelet) service() service {
	var s service
	var units []string
	for _, name := range k.unitFiles() {
		f, presence, err := k.read(name)
		if presence == Present && err == nil {
			units = append(units, uncommented(string(f.Data)))
		}
	}
	s.hidden = len(units) == 0 || !k.sees("/usr/lib") // drop-ins may be elsewhere, or the kubelet no service
	named, environment := environmentFiles(units)
	s.environment = environment
	for _, name := range slices.Concat([]string{"/etc/default/kubelet", "/etc/sysconfig/kubelet"}, named) {
		f, presence, err := k.read(name)
		if presence == Present && err == nil {
			text := uncommented(string(f.Data))
			s.texts = append(s.texts, text)
			s.environment = append(strings.Split(text, "\n"), s.environment...)
		}
		s.hidden = s.hidden || presence == NotVisible
	}
	s.texts = append(s.texts, units...)
	return s
}

// unitFiles are the kubelet's drop-ins, the last first since it overrides the
// others, and its unit (systemd.unit).
func (k *Kubelet) unitFiles() []string {
	var out []string
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		dropIns := k.list(dir + "/kubelet.service.d")
		slices.Reverse(dropIns)
		for _, name := range dropIns {
			if strings.HasSuffix(name, ".conf") {
				out = append(out, path.Join(dir, "kubelet.service.d", name))
			}
		}
		out = append(out, dir+"/kubelet.service")
	}
	return out
}

// environmentFiles are the paths and settings of the lines EnvironmentFile= and
// Environment=.
func environmentFiles(units []string) (files, settings []string) {
	for _, text := range units {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if name, ok := cutName(line, "EnvironmentFile"); ok && path.IsAbs(strings.TrimPrefix(name, "-")) {
				files = append(files, strings.TrimPrefix(name, "-"))
			}
			if all, ok := cutName(line, "Environment"); ok {
				settings = append(settings, strings.Fields(strings.ReplaceAll(all, `"`, " "))...)
			}
		}
	}
	const most = 20
	return files[:min(len(files), most)], settings
}

// cutName returns the value of NAME=value, without quotes.
func cutName(setting, name string) (string, bool) {
	value, ok := strings.CutPrefix(strings.TrimSpace(setting), name+"=")
	return strings.Trim(strings.TrimSpace(value), `"'`), ok
}

// uncommented leaves out comments and joins lines that are continued.
func uncommented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if s := strings.TrimSpace(line); strings.HasPrefix(s, "#") || strings.HasPrefix(s, ";") {
			continue
		}
		out.WriteString(line)
	}
	return strings.ReplaceAll(out.String(), "\\\n", " ")
}

// flag returns the value of the last --name=value or --name value in a text.
func flag(text, name string) string {
	value := ""
	for fields := strings.Fields(strings.NewReplacer(`"`, " ", `'`, " ", "=--", "= --").Replace(text)); len(fields) > 0; fields = fields[1:] {
		after, ok := strings.CutPrefix(fields[0], "--"+name)
		switch {
		case !ok:
		case strings.HasPrefix(after, "="):
			value = after[1:]
		case after == "" && len(fields) > 1:
			value = fields[1]
		}
	}
	return value
}
