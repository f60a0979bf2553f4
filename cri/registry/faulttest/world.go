package faulttest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/dnstest"
	"github.com/whypull/whypull/cri/sockettest"
)

// Config says where a world is.
type Config struct {
	// Root is the directory below which the files of the node are written:
	// etc/containerd/certs.d, etc/containers, etc/ssl/certs/faulttest.pem,
	// etc/resolv.conf and etc/hosts. With "/" they replace the machine's own.
	Root string
	// DNS is the name server's address; "" is any free port of 127.0.0.1.
	// Runtimes need port 53.
	DNS string
	// Platform is that of the good images, as os/architecture; "" is Linux on
	// this machine's architecture.
	Platform string
	// RetryAfter is for how long a registry that says so wants no further
	// request; 0 is 21 s. CRI-O waits that long several times in one pull.
	RetryAfter time.Duration
	// Healed: the world also has each case without its fault.
	Healed bool
	// Generate makes the world have other cases than its own.
	Generate Generate
}

// World is a running world of faults.
type World struct {
	config    Config
	authority *catest.Pair
	stranger  *catest.Pair // whom the node does not trust
	dns       *dnstest.Server
	proxy     string            // host:port
	addresses map[string]string // host:port of the servers, by host
	specs     []spec
	inProcess []spec
	repair    repair
	healed    []*World
	// repairedPorts are those of the good registries of healed.
	repairedPorts *sync.Map
	plans         []*plan
	sites         map[string]*site // by label
	written       []string         // files to remove

	done    chan struct{}
	closers []func()
	closing sync.Once
}

// Start makes a world. It has all its faults at once, each at its own image.
func Start(config Config) (*World, error) {
	if config.Platform == "" {
		config.Platform = "linux/" + runtime.GOARCH
	}
	w := &World{config: config, addresses: map[string]string{}, done: make(chan struct{}), repairedPorts: &sync.Map{}}
	if err := w.start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("world of faults: %w", err)
	}
	return w, nil
}

func (w *World) start() error {
	var err error
	if w.authority, err = catest.NewAuthority(catest.Request{CommonName: "Faults Test Authority"}); err != nil {
		return err
	}
	if w.stranger, err = catest.NewAuthority(catest.Request{CommonName: "Another Authority"}); err != nil {
		return err
	}
	if w.dns, err = dnstest.Listen(cmp.Or(w.config.DNS, net.JoinHostPort(sockettest.Loopback, "0")), zoneOf); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	if w.config.Healed {
		if err := w.repaired(); err != nil {
			return err
		}
	}
	return w.writeFiles()
}

// open makes the cases and starts what serves them.
func (w *World) open() error {
	listeners, err := w.listen()
	if err != nil {
		return err
	}
	if err := w.silentPorts(); err != nil {
		return err
	}
	describe := w.describe
	if w.config.Generate.Cases > 0 {
		describe = w.generate
	}
	if err := describe(); err != nil {
		return err
	}
	return w.serve(listeners)
}

// Close ends the world, with all connections, and removes the files that it
// has added.
func (w *World) Close() { w.closing.Do(w.close) }

func (w *World) close() {
	close(w.done)
	var wg sync.WaitGroup
	for _, world := range w.all() {
		for _, c := range world.closers {
			wg.Go(c)
		}
	}
	wg.Wait()
	if w.dns != nil {
		w.dns.Close()
	}
	for _, name := range w.written {
		_ = os.RemoveAll(name)
	}
}

// Cases are the images that a runtime can try, sorted by name.
func (w *World) Cases() []Case { return w.finish(w.specs) }

// InProcess are further images, which only a client with Proxy can try: a
// runtime has one proxy for all, and here each has one that is down.
func (w *World) InProcess() []Case { return w.finish(w.inProcess) }

// retryAfter is the header in which a registry names that time, in seconds.
func (w *World) retryAfter() string {
	return strconv.Itoa(int(cmp.Or(w.config.RetryAfter, 21*time.Second) / time.Second))
}

// all are the world and those without its faults.
func (w *World) all() []*World { return append([]*World{w}, w.healed...) }

// Root is the directory below which the node's files are.
func (w *World) Root() string { return w.config.Root }

// Authority is the certificate, as PEM, of the authority of the good servers.
func (w *World) Authority() []byte { return w.authority.PEM() }

// certsDir is the folder of a host's settings.
func (w *World) certsDir(hostport string) string {
	return filepath.Join(w.config.Root, "etc/containerd/certs.d", hostport)
}

func (w *World) writeFiles() error {
	server, _, err := net.SplitHostPort(w.dns.Address)
	if err != nil {
		return err
	}
	bundle := filepath.Join(w.config.Root, "etc/ssl/certs/faulttest.pem")
	files := map[string]string{
		bundle: string(w.Authority()),
		filepath.Join(w.config.Root, "etc/resolv.conf"): "nameserver " + server + "\n",
		filepath.Join(w.config.Root, "etc/hosts"):       "127.0.0.1 localhost\n",
	}
	w.written = append(w.written, bundle)
	var registries strings.Builder
	for _, world := range w.all() {
		for _, s := range world.specs {
			dir := w.certsDir(world.hostport(s.host))
			for name, content := range s.files {
				files[filepath.Join(dir, name)] = content
				w.written = append(w.written, dir)
			}
		}
		maps.Copy(files, world.crioFiles(&registries))
	}
	files[w.crioPath("registries.conf")] = registries.String()
	for name, content := range w.generatedFiles() {
		name = filepath.Join(w.config.Root, name)
		files[name] = content
		w.written = append(w.written, name)
	}
	w.written = append(w.written, w.crioPath("registries.conf"), w.crioPath("certs.d"))
	var failures []error
	for _, name := range sortedKeys(files) {
		failures = append(failures, os.MkdirAll(filepath.Dir(name), 0o755), //nolint:gosec // as the node's own
			os.WriteFile(name, []byte(files[name]), 0o644)) //nolint:gosec // as the node's own
	}
	return errors.Join(failures...)
}
