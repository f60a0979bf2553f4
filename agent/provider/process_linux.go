package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

// start runs a program until it has exited and its output has ended, as the kubelet
// does, or until the context ends. It ends the program's process group in any case:
// what it has left in the background keeps no pipe open.
func start(ctx context.Context, p process) output {
	in, out, err := os.Pipe()
	if err != nil {
		return output{run: diagnosis.ProviderUnstarted}
	}
	defer in.Close() //nolint:errcheck // nothing was written
	// The file of the node is not chosen by a stranger: it is the kubelet's own program.
	cmd := exec.Command(p.path, p.args...) //nolint:gosec,noctx // ended below, with its whole group
	cmd.Env = append([]string{}, p.env...) // not nil, which would be the agent's own
	cmd.Dir, cmd.Stdin, cmd.Stdout = "/", bytes.NewReader(p.stdin), out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.root != "/" {
		cmd.SysProcAttr.Chroot = p.root
	}
	err = cmd.Start()
	_ = out.Close()
	if err != nil {
		return output{run: unstarted(err)}
	}
	group := cmd.Process.Pid
	kill := func() { _ = syscall.Kill(-group, syscall.SIGKILL) }
	unwatch := context.AfterFunc(ctx, func() {
		kill()
		_ = in.Close() // a process that has left the group may hold the other end
	})
	stdout, err := io.ReadAll(io.LimitReader(in, maxOutput+1))
	tooLarge := err != nil || len(stdout) > maxOutput
	if tooLarge {
		kill()
	}
	exit := cmd.Wait()
	unwatch()
	kill()
	reap(group)
	result := exitOf(exit, stdout)
	switch {
	case ctx.Err() != nil:
		return output{run: diagnosis.ProviderTimedOut}
	case tooLarge:
		return output{run: diagnosis.ProviderTooLarge}
	case p.root != "/" && result.run == diagnosis.ProviderExited && result.status == notFound:
		return output{run: diagnosis.ProviderDependent}
	}
	return result
}

// notFound is the exit status of a loader that misses a library and of a shell that
// misses a program: with a part of the node's root, that is not the plugin's fault.
const notFound = 127

// reap waits for the processes of a group that has been killed, as far as they are
// this process's children: in a container, it is the parent of all orphans.
func reap(group int) {
	const attempts, pause = 100, 10 * time.Millisecond
	for range attempts {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		switch {
		case err != nil && !errors.Is(err, syscall.EINTR):
			return
		case pid == 0:
			time.Sleep(pause)
		}
	}
}

// exitOf returns what a program came to that has ended by itself. Other errors than
// its exit status are of its stdin, which it need not read.
func exitOf(err error, stdout []byte) output {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case !ok:
		return output{stdout: stdout}
	case exit.Exited():
		return output{run: diagnosis.ProviderExited, status: exit.ExitCode()}
	}
	return output{run: diagnosis.ProviderKilled}
}

// unstarted returns why a program did not start, which has been seen to exist and to
// be executable.
func unstarted(err error) diagnosis.ProviderRun {
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENOEXEC):
		return diagnosis.ProviderUnexecutable
	case errors.Is(err, syscall.ENOENT): // execve(2): the interpreter does not exist
		return diagnosis.ProviderDependent
	case errors.Is(err, syscall.EPERM): // chroot(2)
		return diagnosis.ProviderNoCapability
	}
	return diagnosis.ProviderUnstarted
}
