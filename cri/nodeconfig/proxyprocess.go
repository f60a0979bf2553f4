package nodeconfig

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/systemd"
)

// runtimes returns the processes that may be the runtime: if nothing is mounted at the
// node's /proc, of those that this process sees.
func runtimes(host hostfs.FS, opts Options) []procfs.Proc {
	all := processes(filepath.Join(host.Root(), "proc"))
	if len(all) == 0 {
		all = processes("/proc")
	}
	return candidates(all, opts)
}

// processes returns the processes of a proc file system by their IDs, ascending.
func processes(dir string) procfs.Procs {
	proc, err := procfs.NewFS(dir)
	if err != nil {
		return nil
	}
	all, _ := proc.AllProcs() // none then
	sort.Sort(all)
	return all
}

// candidates returns the processes that may be the runtime: those with its name and its
// configuration file, or a single one with its name. A node can run several containerds,
// such as Docker's. Since a container can name its process as it likes, only processes of
// the node's root user count.
func candidates(all procfs.Procs, opts Options) []procfs.Proc {
	var named, configured []procfs.Proc
	for _, p := range all {
		if name, err := p.Comm(); err != nil || name != opts.processName() || !isNodes(p) {
			continue
		}
		named = append(named, p)
		if opts.isCRIO() || configOf(p) == opts.ConfigFile {
			configured = append(configured, p)
		}
	}
	if len(configured) == 0 && len(named) == 1 {
		return named
	}
	return configured
}

// isNodes reports whether a process is of the node's root user (real and effective) and
// in the PID namespace of the proc file system, not in a child namespace
// (proc_pid_status(5), Uid and NSpid).
func isNodes(p procfs.Proc) bool {
	status, err := p.NewStatus()
	return err == nil && status.UIDs[0] == 0 && status.UIDs[1] == 0 && len(status.NSpids) == 1
}

// configOf returns the configuration file in the command line of a containerd.
func configOf(p procfs.Proc) string {
	args, err := p.CmdLine()
	if err != nil {
		return ""
	}
	return cmp.Or(pathOf(args, "c", "config"), defaultConfigFile)
}

// pathOf returns the absolute path that a flag in a command line has, the last if there
// are several; "" if there is none.
func pathOf(args []string, names ...string) string {
	for _, value := range slices.Backward(valuesOf(args, names...)) {
		if path.IsAbs(value) {
			return value
		}
	}
	return ""
}

// valuesOf returns the values of a flag in a command line, in order.
func valuesOf(args []string, names ...string) []string {
	var values []string
	for i, arg := range args {
		flag, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || !slices.Contains(names, flag) {
			continue
		}
		if !hasValue && i+1 < len(args) {
			value = args[i+1]
		}
		values = append(values, strings.Trim(value, `"'`))
	}
	return values
}

// arguments returns the command line of the runtime: of its process, or else what its
// unit has, variables such as $CRIO_CONFIG_OPTIONS included.
func (c *Config) arguments() []string {
	if !c.process.started.IsZero() {
		return c.process.args
	}
	var args []string
	for _, unit := range c.opts.units() {
		args = append(args, unitArguments(c.fs, unit)...)
	}
	return args
}

func unitArguments(fs hostfs.FS, unit string) []string {
	service := systemd.ReadService(fs, unit)
	var args []string
	env := service.Environment()
	for _, v := range env {
		args = append(args, strings.Fields(v.Value.Reveal())...)
	}
	for _, text := range slices.Backward(service.Texts()) {
		args = append(args, strings.Fields(os.Expand(text, func(name string) string { return env.First(name) }))...)
	}
	return args
}

// environmentOf returns the environment of a process. Of several variables with the same
// name the first counts (package syscall, copyenv).
func environmentOf(environ []string) systemd.Environment {
	var env systemd.Environment
	seen := map[string]bool{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		env = append(env, systemd.Variable{Name: name, Value: credential.Redact(value)})
	}
	return env
}
