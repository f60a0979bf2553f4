package nodeconfig

import (
	"strings"
	"time"

	"github.com/prometheus/procfs"

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

// runtimeProcess looks for the runtime's process.
func runtimeProcess(host hostfs.FS, opts Options) (out process) {
	for _, p := range runtimes(host, opts) {
		if environ, err := p.Environ(); err == nil && len(out.environment) == 0 {
			out.environment = environmentOf(environ)
		}
		args, err := p.CmdLine()
		if started := startOf(p); err == nil && out.started.IsZero() && !started.IsZero() {
			out.args, out.started = args, started
		}
	}
	return out
}

// startOf returns when a process was started; the zero time if that cannot be read.
func startOf(p procfs.Proc) time.Time {
	stat, err := p.Stat()
	if err != nil {
		return time.Time{}
	}
	seconds, err := stat.StartTime()
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000))
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
