package nodeconfig

import (
	"strconv"
	"strings"
	"time"

	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/systemd"
)

// process is what can be seen of the runtime's process. Every process in the PID namespace
// can read its name and command line, but the environment only with the right to trace it.
type process struct {
	environment systemd.Environment // empty if it cannot be read
	args        []string
	started     time.Time // zero if there is no such process
}

// clockTick is the unit of /proc/<pid>/stat on every architecture (proc(5), USER_HZ).
const clockTick = time.Second / 100

// runtimeProcess looks for the runtime's process.
func runtimeProcess(host hostfs.FS, opts Options) (out process) {
	p, pids := runtimes(host, opts)
	for _, pid := range pids {
		if environ, err := p.read(pid, "environ"); err == nil && len(out.environment) == 0 {
			out.environment = parseEnviron(environ)
		}
		args, err := p.args(pid)
		if started := p.started(pid); err == nil && out.started.IsZero() && !started.IsZero() {
			out.args, out.started = args, started
		}
	}
	return out
}

// started returns when a process was started, to the second; the zero time if
// that cannot be read.
func (p proc) started(pid int) time.Time {
	stat, err := p.read(pid, "stat")
	if err != nil {
		return time.Time{}
	}
	const place = 19 // starttime, counted from the state, which follows the name
	fields := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
	if len(fields) <= place {
		return time.Time{}
	}
	ticks, err := strconv.ParseInt(fields[place], 10, 64)
	booted, ok := p.booted()
	if err != nil || !ok {
		return time.Time{}
	}
	return booted.Add(time.Duration(ticks) * clockTick)
}

// booted returns when the machine was started.
func (p proc) booted() (time.Time, bool) {
	stat, err := p.fs.ReadStart("/proc/stat", maxEnviron)
	if err != nil {
		return time.Time{}, false
	}
	for line := range strings.SplitSeq(string(stat), "\n") {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Unix(seconds, 0), err == nil
		}
	}
	return time.Time{}, false
}

// loadMargin is by how much times of files and of processes may be off.
const loadMargin = 2 * time.Second

// loaded reports whether CRI-O has read a file since its last change, for all that can be
// seen: a file or directory that is as old as the process, or of the directory that it
// watches. That CRI-O was told to read it again (SIGHUP) cannot be seen.
func (c *Config) loaded(name string) (loaded, known bool) {
	if c.crio.AutoReloadRegistries && strings.HasPrefix(name, registriesDir) {
		return true, true
	}
	if c.process.started.IsZero() {
		return false, false
	}
	info, err := c.fs.Stat(name)
	if err != nil {
		return false, false
	}
	return !info.ModTime().After(c.process.started.Add(loadMargin)), true
}

// noteUnloaded notes the first file of registries that was changed after CRI-O
// was started: what it says may not be in effect.
func (c *Config) noteUnloaded() {
	dirs, _ := c.registriesDirs()
	for _, name := range append(c.registriesInOrder(), dirs...) {
		if loaded, known := c.loaded(name); known && !loaded {
			c.notice(Notice{Kind: NoticeNotLoaded, Path: name})
			return
		}
	}
}
