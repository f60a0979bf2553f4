package nodeconfig

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/systemd"
)

// maxEnviron is the number of bytes that are read of a process's environment.
const maxEnviron = 1 << 20

// proc is the proc file system that is mounted at /proc.
type proc struct{ fs hostfs.FS }

// runtimes returns the processes that may be the runtime, and where: if nothing is
// mounted at the node's /proc, in that of this process.
func runtimes(host hostfs.FS, opts Options) (proc, []int) {
	p := proc{host}
	pids := p.processes()
	if len(pids) == 0 {
		p = proc{hostfs.New("/")}
		pids = p.processes()
	}
	return p, p.candidates(pids, opts)
}

// processes returns the process IDs, ascending.
func (p proc) processes() []int {
	var pids []int
	for _, name := range p.fs.List("/proc") {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// candidates returns the processes that may be the runtime: those with its name and its
// configuration file, or a single one with its name. A node can run several containerds,
// such as Docker's. Since a container can name its process as it likes, only processes of
// the node's root user count.
func (p proc) candidates(pids []int, opts Options) []int {
	var named, configured []int
	for _, pid := range pids {
		comm, err := p.read(pid, "comm")
		if err != nil || strings.TrimSpace(string(comm)) != opts.processName() || !p.isNodes(pid) {
			continue
		}
		named = append(named, pid)
		if opts.isCRIO() || p.configOf(pid) == opts.ConfigFile {
			configured = append(configured, pid)
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
func (p proc) isNodes(pid int) bool {
	status, err := p.read(pid, "status")
	if err != nil {
		return false
	}
	var root, own bool
	for line := range strings.SplitSeq(string(status), "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch fields := strings.Fields(value); key {
		case "Uid":
			root = len(fields) >= 2 && fields[0] == "0" && fields[1] == "0"
		case "NSpid":
			own = len(fields) == 1
		}
	}
	return root && own
}

// configOf returns the configuration file in the command line of a containerd.
func (p proc) configOf(pid int) string {
	args, err := p.args(pid)
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

// args returns the command line of a process.
func (p proc) args(pid int) ([]string, error) {
	cmdline, err := p.read(pid, "cmdline")
	return strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"), err
}

func (p proc) read(pid int, name string) ([]byte, error) {
	return p.fs.ReadStart(path.Join("/proc", strconv.Itoa(pid), name), maxEnviron)
}

// parseEnviron parses /proc/<pid>/environ. Of several variables with the same name the
// first counts (package syscall, copyenv).
func parseEnviron(data []byte) systemd.Environment {
	var env systemd.Environment
	seen := map[string]bool{}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		name, value, ok := strings.Cut(string(entry), "=")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		env = append(env, systemd.Variable{Name: name, Value: credential.Redact(value)})
	}
	return env
}
