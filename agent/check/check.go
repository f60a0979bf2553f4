package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/net/http/httpproxy"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// Options are what the user asks for.
type Options struct {
	// Image is the image to check; empty where Files are given.
	Image string
	// Files are manifests; "-" is standard input.
	Files []string
	// Namespace is that of objects that name none; empty: default.
	Namespace string
	// DockerConfig is a docker configuration to take as the node's own
	// credentials; empty: what the kubelet of this machine has, if there is one.
	DockerConfig string
	// Socket is the runtime's CRI socket; empty: none is asked. SocketWanted
	// makes it an error that there is none.
	Socket       string
	SocketWanted bool
	// Platform is os/arch[/variant]; empty: that of this machine.
	Platform string
	// Download has layers downloaded and verified, up to 32 MiB of an image.
	Download bool
	// Output is text or json.
	Output string
	// The next five are as the agent's flags of these names.
	HostRoot, ContainerdConfig, RegistryDir, KubeletDir, Providers string
	// Version of this program.
	Version string
	// Report returns what the JSON output has of a pod's verdicts, reached on a
	// node at a time; the text has none.
	Report func(verdicts []diagnosis.Verdict, node string, observed time.Time) any

	node     string                               // empty: the machine's name
	now      time.Time                            // zero: the time
	timeouts registry.Timeouts                    // zero: the agent's
	proxy    registry.ProxyFunc                   // nil: the runtime's, or that of the environment
	lookUp   func(variable string) (string, bool) // nil: the environment
}

// FlagError is an error over the value of a flag.
type FlagError struct {
	Flag string
	Err  error
}

// Error implements error.
func (e *FlagError) Error() string { return "--" + e.Flag + ": " + e.Err.Error() }

// Unwrap gives the error over the value.
func (e *FlagError) Unwrap() error { return e.Err }

// Run checks the images and writes what it finds to out. It returns whether all
// of them can be pulled. An error is one of usage, or of this machine: then
// nothing is said of the images.
func Run(ctx context.Context, o Options, stdin io.Reader, out io.Writer) (pullable bool, err error) {
	c, targets, err := prepare(ctx, o, stdin)
	if err != nil {
		return false, err
	}
	defer c.close()
	if o.lookUp == nil {
		o.lookUp = os.LookupEnv
	}
	var w writer = newText(out, lookOf(out, o.lookUp))
	if o.Output == "json" {
		w = &jsonWriter{out: out}
	}
	return c.run(ctx, targets, w)
}

// checker is one run of the command.
type checker struct {
	options     Options
	objects     *objects
	name        string // of this machine
	platform    ocispec.Platform
	runtime     *cri.Runtime // nil: none
	runtimeSays string
	probes      probe.Options
	notes       []string
	now         time.Time
}

// prepare reads all that the user names.
func prepare(ctx context.Context, o Options, stdin io.Reader) (*checker, []target, error) {
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	c := &checker{options: o, objects: &objects{}}
	if err := c.identify(); err != nil {
		return nil, nil, err
	}
	targets := []target{ofImage(o.Image, c.name, c.now)}
	if len(o.Files) > 0 {
		var err error
		if c.objects, err = loadUnlessCanceled(ctx, o.Files, o.Namespace, stdin); err != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			return nil, nil, &FlagError{"file", oneLine(err)}
		}
		targets = c.objects.targets(c.name, c.now)
		c.objects.notes = append(c.objects.notes, c.objects.otherPlatforms(c.platform)...)
	}
	files := node{Kubelet: kubelet.New(kubelet.Options{Root: o.HostRoot, Dir: o.KubeletDir, ProviderConfig: o.Providers})}
	if o.DockerConfig != "" {
		var err error
		if files.file, c.notes, err = dockerConfig(o.DockerConfig); err != nil {
			return nil, nil, &FlagError{"docker-config", oneLine(err)}
		}
	}
	if err := c.dial(ctx); err != nil {
		return nil, nil, &FlagError{"cri-socket", err}
	}
	c.probes = c.collect(files)
	return c, targets, nil
}

// identify finds out what this machine is called, what it is, and when.
func (c *checker) identify() (err error) {
	if c.now = c.options.now; c.now.IsZero() {
		c.now = time.Now()
	}
	if c.platform, err = platformOf(c.options.Platform); err != nil {
		return &FlagError{"platform", oneLine(err)}
	}
	if c.name = c.options.node; c.name == "" {
		c.name, err = os.Hostname()
	}
	return err
}

// oneLine is an error over what stands in a file, for a terminal.
func oneLine(err error) error { return errors.New(look{}.plain(err.Error())) }

func (o Options) validate() error {
	switch {
	case o.Image == "" && len(o.Files) == 0:
		return errors.New("name an image, or manifests with -f")
	case o.Image != "" && len(o.Files) > 0:
		return errors.New("name an image or manifests, not both")
	case o.Output == "json" && o.Report == nil:
		return errors.New("JSON output: no report to put into it")
	case o.Output != "text" && o.Output != "json":
		return &FlagError{"output", fmt.Errorf("output %q: want text or json", o.Output)}
	}
	return nil
}

// platformOf is the platform that images are looked at for. Nodes of Kubernetes
// run Linux or Windows; who sits at another system means Linux.
func platformOf(s string) (ocispec.Platform, error) {
	if s != "" {
		return platforms.Parse(s)
	}
	p := platforms.DefaultSpec()
	if goruntime.GOOS != "linux" && goruntime.GOOS != "windows" {
		p.OS = "linux"
	}
	return p, nil
}

// dial looks for the runtime. That there is none is no error, unless one was
// asked for.
func (c *checker) dial(ctx context.Context) error {
	if c.options.Socket == "" {
		c.runtimeSays = "no container runtime is asked (--cri-socket is empty)"
		return nil
	}
	runtime, err := cri.Dial(c.options.Socket)
	if err != nil {
		return err
	}
	path := "/" + strings.TrimLeft(strings.TrimPrefix(c.options.Socket, "unix:"), "/")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		_ = runtime.Close()
		if c.options.SocketWanted {
			return err
		}
		c.runtimeSays = "there is no container runtime socket at " + path
		return nil
	}
	c.runtime = runtime
	name, version, err := runtime.Version(ctx)
	c.runtimeSays = fmt.Sprintf("%s %s at %s", name, version, path)
	if err != nil {
		c.runtimeSays = fmt.Sprintf("the container runtime at %s does not answer: %v", path, err)
	}
	return nil
}

func (c *checker) close() {
	if c.runtime != nil {
		_ = c.runtime.Close()
	}
}

// collect returns what the agent's collector works with on this machine.
func (c *checker) collect(n node) probe.Options {
	o := nodeconfig.Options{
		Root: c.options.HostRoot, CertsDir: c.options.RegistryDir, ConfigFile: c.options.ContainerdConfig,
		Version: c.options.Version, Timeouts: c.options.timeouts, Proxy: c.options.proxy,
	}
	var images probe.Images // an interface that holds no pointer, and not one that holds nil
	if c.runtime != nil {
		images = c.runtime
	} else if proxy, from := ownProxy(); proxy != nil && o.Proxy == nil {
		o.Proxy = proxy
		c.notes = append(c.notes, fmt.Sprintf("with no container runtime to take it from, the proxy is this program's own (%s)", from))
	}
	return probe.Options{
		Images: images, Secrets: fromFiles{c.objects}, Metrics: silent{}, Node: n,
		Registries: o, Resolver: probe.NodeResolver{Root: filepath.Clean("/" + c.options.HostRoot)},
		Platform: &c.platform, Brief: !c.options.Download,
	}
}

// ownProxy is the proxy of this program's environment, and the variables that
// set it; nil if there is none.
func ownProxy() (proxy registry.ProxyFunc, from string) {
	config := httpproxy.FromEnvironment()
	var set []string
	if config.HTTPSProxy != "" {
		set = append(set, "HTTPS_PROXY")
	}
	if config.HTTPProxy != "" {
		set = append(set, "HTTP_PROXY")
	}
	if len(set) == 0 {
		return nil, ""
	}
	choose := config.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, strings.Join(set, ", ")
}

// silent are the metrics of a program that has none.
type silent struct{}

// Checked implements probe.Metrics.
func (silent) Checked(diagnosis.Check, diagnosis.Outcome, time.Duration) {}

// RuntimeUp implements probe.Metrics.
func (silent) RuntimeUp(bool) {}

// SecretRead implements probe.Metrics.
func (silent) SecretRead(string) {}

// Phase implements probe.Metrics.
func (silent) Phase(diagnosis.Phase, time.Duration) {}

// CertificateExpires implements probe.Metrics.
func (silent) CertificateExpires(string, time.Time) {}

// RateLimit implements probe.Metrics.
func (silent) RateLimit(string, int, bool) {}
