package kubelet

import (
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/systemd"
)

// service is what is known of how the kubelet is started.
type service struct {
	// texts may contain the kubelet's flags, in order of precedence.
	texts []string
	// env is the service's environment, as NAME=value.
	env []string
	// home is the service's HOME; empty if it sets none.
	home string
}

// service reads the kubelet's unit, its drop-ins, and the environment files
// that they and the packages' own units name. Of repeated flags on a command
// line the last wins. In kubeadm's unit that is KUBELET_EXTRA_ARGS, so
// environment files come before the units.
//
// The result is shared and must not be changed.
func (k *Kubelet) service() service { return readCached(k.services, "", k.readService) }

func (k *Kubelet) readService() service {
	unit := systemd.ReadService(k.host, "kubelet")
	var s service
	env := unit.Environment()
	for _, name := range slices.Concat([]string{"/etc/default/kubelet", "/etc/sysconfig/kubelet"}, unit.EnvironmentFiles()) {
		f, _, err := k.read(name)
		if err != nil {
			continue
		}
		var values []string
		for _, v := range systemd.ParseEnvironmentFile(string(f.Data)) {
			values = append(values, v.Value.Reveal())
			env = env.Set(v)
		}
		s.texts = append(s.texts, strings.Join(values, "\n"))
	}
	s.home = env.First("HOME")
	for _, v := range env {
		s.env = append(s.env, v.Name+"="+v.Value.Reveal())
	}
	s.texts = append(s.texts, unit.Texts()...)
	return s
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
