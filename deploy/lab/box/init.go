package box

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// runInit is the box's first process: it prepares the box, starts the main process, and
// reaps orphans.
func runInit() error {
	spec, err := readSpec()
	if err != nil {
		return err
	}
	endOnSignal()
	unix.Umask(0) // use the modes below unchanged
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := setupNetwork(spec); err != nil {
		return err
	}
	if err := buildRoot(spec); err != nil {
		return err
	}
	unix.Umask(0o022)
	pid, err := startMain(spec)
	if err != nil {
		return err
	}
	return reap(pid)
}

// endOnSignal ends the first process on a signal, and with it all others of the box.
func endOnSignal() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	signal.Ignore(unix.SIGHUP)
	go func() {
		<-stop
		os.Exit(0)
	}()
}

func startMain(spec Spec) (int, error) {
	cmd := reexec(context.Background(), spec.Role, "")
	cmd.Env = append(Environment(), RoleVariable+"="+spec.Role)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, inherited(spec.Listeners)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("main process of the box: %w", err)
	}
	return cmd.Process.Pid, nil
}

// Environment returns the environment of programs inside a box.
func Environment() []string {
	return []string{
		"PATH=/opt/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LANG=C.UTF-8",
	}
}

// reap reaps all orphans of the box and returns when the main process has ended.
func reap(main int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for processes: %w", err)
		case pid == main:
			return fmt.Errorf("the main process of the box exited (exit status %d, signal %d)", status.ExitStatus(), status.Signal())
		}
	}
}

// setupNetwork brings up the loopback device and gives the box's addresses to a bridge
// without ports, which every kernel that supports pod networks has. The box has no
// route out: addresses that it does not have are unreachable.
func setupNetwork(spec Spec) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	device := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lab0"}}
	if err := netlink.LinkAdd(device); err != nil {
		return fmt.Errorf("network device: %w", err)
	}
	for _, a := range spec.Addresses {
		address, err := netlink.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("network address %s: %w", a, err)
		}
		if err := netlink.AddrAdd(device, address); err != nil {
			return fmt.Errorf("network address %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return fmt.Errorf("network device: %w", err)
	}
	return swallow(device, spec.Silent)
}

// swallow drops packets to an address, so that connection attempts get no answer.
func swallow(device netlink.Link, address string) error {
	if address == "" {
		return nil
	}
	err := netlink.NeighAdd(&netlink.Neigh{
		LinkIndex:    device.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           net.ParseIP(address),
		HardwareAddr: net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01},
	})
	if err != nil {
		return fmt.Errorf("silent address %s: %w", address, err)
	}
	return nil
}
