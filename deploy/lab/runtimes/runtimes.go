// Package runtimes runs several releases of containerd and one of CRI-O side by
// side in a box without Kubernetes, lets each pull from a world of faults as the
// kubelet does, and has whypull judge every failure as its agent does.
//
// A program that uses it starts itself again inside the box, so it calls Reexec
// first thing in main or TestMain.
package runtimes

import (
	"path/filepath"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/registry/faulttest"
)

// Runtime is one release of a container runtime in the box.
type Runtime struct {
	// Name is the release as a Case's TruthOn has it: "containerd 2.4".
	Name string
	// Tool is its program among the lab's tools, and the name of its folders.
	Tool string
	// config makes its configuration file.
	config func(Runtime) string
}

// Releases are those of containerd, the newest first.
func Releases() []Runtime {
	return []Runtime{
		{Name: "containerd 2.4", Tool: "containerd", config: config3},
		{Name: "containerd 1.7", Tool: "containerd-1.7", config: config2},
		{Name: "containerd 1.6", Tool: "containerd-1.6", config: config2},
	}
}

// All are the runtimes of the table of verdicts, in the order of its columns.
// CRI-O is not CRI-O itself, but a server of ours with its image library.
func All() []Runtime {
	return append(Releases(), Runtime{Name: faulttest.CRIO137, Tool: "crio", config: configCRIO})
}

// ConfigFile is where its configuration is inside the box.
func (r Runtime) ConfigFile() string {
	if r.isCRIO() {
		return "/etc/crio/crio.conf"
	}
	return "/etc/" + r.Tool + "/config.toml"
}

// Socket is where it serves CRI inside the box.
func (r Runtime) Socket() string {
	if r.isCRIO() {
		return filepath.Join(r.state(), "crio.sock")
	}
	return filepath.Join(r.state(), "containerd.sock")
}

func (r Runtime) isCRIO() bool { return r.Name == faulttest.CRIO137 }

func (r Runtime) state() string { return "/run/" + r.Tool }
func (r Runtime) root() string  { return "/var/lib/" + r.Tool }

// Result is what became of one case on one runtime.
type Result struct {
	Case, Runtime, Image string
	// Truth is what is really wrong there; empty: nothing that keeps the pull
	// from working.
	Truth diagnosis.Cause
	// Pulled reports whether the image came; the fields below are then empty.
	Pulled bool
	// Reason and Message are the container's, as the kubelet writes them.
	Reason, Message string
	// Cause, Confidence, Summary and Evidence are whypull's verdict.
	Cause      diagnosis.Cause
	Confidence diagnosis.Confidence
	Summary    string
	Evidence   []diagnosis.Finding
	// Repeated is another pull, right after a verdict that it can succeed; nil:
	// there was no such verdict.
	Repeated *Trial
	// Healed is a pull of the case without the cause, after a verdict that is
	// confirmed; nil: there was none, or the world has no such variant.
	Healed *Trial
	// Seconds is how long all attempts of the pull took together.
	Seconds float64
}

// Trial is a pull that tries out a verdict.
type Trial struct {
	Image   string
	Pulled  bool
	Message string // the last error
}
