package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/net/http/httpproxy"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/probe"
	"github.com/whypull/whypull/cri"
	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
)

// Options are the flags and arguments of whypull check.
type Options struct {
	// Image is the image to check; empty if there are Files.
	Image string
	// Files are manifests, or directories with manifests; "-" is standard input.
	Files []string
	// Recursive descends into the subdirectories of directories.
	Recursive bool
	// AllowEmpty accepts manifests without images.
	AllowEmpty bool
	// Namespace is the namespace of objects that set none; empty: default.
	Namespace string
	// DockerConfig is the path of a docker config.json to use as the node's own
	// credentials; empty: the file of this machine's kubelet, if it has one.
	DockerConfig string
	// Socket is the runtime's CRI socket; empty: no runtime is used. With
	// SocketWanted, a missing socket is an error.
	Socket       string
	SocketWanted bool
	// Platform is os/arch[/variant]; empty: this machine's.
	Platform string
	// Download downloads and verifies up to 32 MiB of each image's layers.
	Download bool
	// Runtime is the runtime whose rules apply, as in cri-o=1.34; empty: this
	// machine's, or a recent containerd.
	Runtime string
	// Output is one of Outputs.
	Output string
	// Registries are the options for the node's registry configuration, without a runtime,
	// which is that of Runtime. Its Root is that of Kubelet too.
	Registries nodeconfig.Options
	Kubelet    kubelet.Options
	// Report returns the report on a pod's verdicts for the outputs json and yaml;
	// unused for the others.
	Report func(verdicts []diagnosis.Verdict, node string, observed time.Time) any

	node   string                       // empty: the hostname
	now    time.Time                    // zero: the current time
	getenv func(variable string) string // nil: the environment
}

// FlagError is an error about the value of a flag.
type FlagError struct {
	Flag string
	Err  error
}

// Error implements error.
func (e *FlagError) Error() string { return "--" + e.Flag + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *FlagError) Unwrap() error { return e.Err }

// Run checks the images and writes the results to out. It reports whether all of
// them can be pulled. An error is one of usage or of this machine and says nothing
// about the images.
func Run(ctx context.Context, o Options, stdin io.Reader, out io.Writer) (pullable bool, err error) {
	c, targets, err := prepare(ctx, o, stdin)
	if err != nil {
		return false, err
	}
	defer c.close()
	if o.getenv == nil {
		o.getenv = os.Getenv
	}
	shown, render := &text{out: out, look: lookOf(out, o.getenv)}, renderers[o.Output]
	if render != nil {
		shown = &text{out: io.Discard}
	}
	results, err := c.run(ctx, targets, shown)
	if err == nil && render != nil {
		var whole string
		if whole, err = render(c, results); err == nil {
			_, err = io.WriteString(out, whole)
		}
	}
	return err == nil && len(good(results)) == len(results), err
}

// outputText is the output for people.
const outputText = "text"

// Outputs returns the names of the outputs.
func Outputs() []string {
	return append([]string{outputText}, slices.Sorted(maps.Keys(renderers))...)
}

// renderers are the outputs that are written as a whole at the end.
var renderers = map[string]func(c *checker, all []result) (string, error){ //nolint:gochecknoglobals // never written
	"json": (*checker).json, "yaml": (*checker).yaml, "junit": (*checker).junit, "sarif": (*checker).sarif,
}

// checker is one run of the command.
type checker struct {
	options     Options
	objects     *objects
	name        string // this machine's, as node name
	platform    ocispec.Platform
	runtime     *cri.Runtime // nil: none
	runtimeSays string
	probes      probe.Options
	notes       []string
	now         time.Time
}

// prepare validates the options and reads the files.
func prepare(ctx context.Context, o Options, stdin io.Reader) (*checker, []target, error) {
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	o, err := o.rooted()
	if err != nil {
		return nil, nil, err
	}
	c := &checker{options: o, objects: &objects{}}
	if err := c.identify(); err != nil {
		return nil, nil, err
	}
	targets := []target{ofImage(o.Image, c.name, c.now)}
	if len(o.Files) > 0 {
		if c.objects, err = loadUnlessCanceled(ctx, o, stdin); err != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			return nil, nil, &FlagError{"file", oneLine(err)}
		}
		targets = c.objects.targets(c.name, c.now)
		c.objects.notes = append(c.objects.notes, c.objects.otherPlatforms(c.platform)...)
	}
	o.Kubelet.Root = o.Registries.Root
	files := node{Kubelet: kubelet.New(o.Kubelet)}
	if o.DockerConfig != "" {
		if files.file, c.notes, err = dockerConfig(o.DockerConfig); err != nil {
			return nil, nil, &FlagError{"docker-config", oneLine(err)}
		}
	}
	if err := c.dial(ctx); err != nil {
		return nil, nil, &FlagError{"cri-socket", err}
	}
	c.probes = c.collect(files)
	platform := probe.PlatformOf(o.Registries.Root, o.Socket, o.Registries.ConfigFile)
	for i := range targets {
		targets[i].failure.Platform = platform
	}
	return c, targets, nil
}

// identify sets the node name, the platform and the time.
func (c *checker) identify() (err error) {
	if c.now = c.options.now; c.now.IsZero() {
		c.now = time.Now()
	}
	if c.platform, err = platformOf(c.options.Platform); err != nil {
		return &FlagError{"platform", oneLine(err)}
	}
	if err = c.options.takeRuntime(); err != nil {
		return err
	}
	if c.name = c.options.node; c.name == "" {
		c.name, err = os.Hostname()
	}
	return err
}

// oneLine returns an error about a file's content with text that is safe to show on a terminal.
func oneLine(err error) error { return errors.New(look{}.plain(err.Error())) }

func (o Options) validate() error {
	switch {
	case o.Image == "" && len(o.Files) == 0:
		return errors.New("pass an image, or manifests with -f")
	case o.Image != "" && len(o.Files) > 0:
		return errors.New("pass an image or manifests, not both")
	case !slices.Contains(Outputs(), o.Output):
		return &FlagError{"output", fmt.Errorf("output %q: want one of %s", o.Output, strings.Join(Outputs(), ", "))}
	}
	return nil
}

// rooted returns the options with absolute paths of the node's files. A relative one is
// below the working directory, or below the node's root if that is mounted elsewhere.
func (o Options) rooted() (Options, error) {
	r := &o.Registries
	if err := absolute(&r.Root); err != nil || !hostfs.New(r.Root).IsHost() {
		return o, err
	}
	return o, absolute(&r.ConfigFile, &r.CertsDir, &r.RegistriesConf, &o.Kubelet.Dir, &o.Kubelet.ProviderConfig)
}

// absolute makes relative paths absolute, with slashes. On Windows a path with a leading
// slash is not relative: the flags' defaults are paths of a node.
func absolute(names ...*string) error {
	for _, name := range names {
		if *name == "" || path.IsAbs(filepath.ToSlash(*name)) {
			continue
		}
		abs, err := filepath.Abs(*name)
		if err != nil {
			return err
		}
		*name = filepath.ToSlash(abs)
	}
	return nil
}

// platformOf returns the platform to check images for. Nodes run Linux, also those for
// which somebody checks images on macOS or Windows.
func platformOf(s string) (ocispec.Platform, error) {
	if s != "" {
		return platforms.Parse(s)
	}
	p := platforms.DefaultSpec()
	if p.OS == "linux" {
		return p, nil
	}
	return platforms.Normalize(ocispec.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}), nil
}

// takeRuntime sets the runtime of --runtime.
func (o *Options) takeRuntime() (err error) {
	if o.Runtime == "" {
		return nil
	}
	r := &o.Registries
	if r.Runtime, r.RuntimeVersion, err = nodeconfig.ParseRuntime(o.Runtime); err != nil {
		return &FlagError{"runtime", oneLine(err)}
	}
	switch {
	case o.SocketWanted && o.Socket != "":
		return &FlagError{"runtime", errors.New("cannot be combined with --cri-socket: the runtime there has rules of its own")}
	case r.RegistriesConf != "" && r.Runtime != nodeconfig.RuntimeCRIO:
		return &FlagError{"registries-conf", fmt.Errorf("%s does not read it; want --runtime cri-o=VERSION", r.Runtime)}
	}
	return nil
}

// dial connects to the container runtime. A missing socket is an error only with
// SocketWanted.
func (c *checker) dial(ctx context.Context) error {
	if c.options.Runtime != "" {
		c.runtimeSays = fmt.Sprintf("by the rules of %s (--runtime); this machine's container runtime is not asked", strings.Replace(c.options.Runtime, "=", " ", 1))
		return nil
	}
	if c.options.Socket == "" {
		c.runtimeSays = "no container runtime used (--cri-socket is empty)"
		return nil
	}
	socket, err := cri.SocketPath(c.options.Socket)
	if err != nil {
		return err
	}
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		if c.options.SocketWanted {
			return err
		}
		c.runtimeSays = "no container runtime socket at " + socket
		return nil
	}
	if c.runtime, err = cri.Dial(c.options.Socket); err != nil {
		return err
	}
	name, version, err := c.runtime.Version(ctx)
	c.runtimeSays = fmt.Sprintf("%s %s at %s", name, version, socket)
	if err != nil {
		c.runtimeSays = fmt.Sprintf("container runtime at %s does not respond: %v", socket, err)
	}
	return nil
}

func (c *checker) close() {
	if c.runtime != nil {
		_ = c.runtime.Close()
	}
}

// collect returns the options of the agent's collector for this machine.
func (c *checker) collect(n node) probe.Options {
	o := c.options.Registries
	o.Timeouts = patient(o.Timeouts)
	var images probe.Images // a nil interface, not one that holds a nil pointer
	if c.runtime != nil {
		images = c.runtime
	} else if proxy, from := ownProxy(); proxy != nil && o.Proxy == nil {
		o.Proxy = proxy
		c.notes = append(c.notes, fmt.Sprintf("proxy settings are from this program's environment (%s), since there is no container runtime to take them from", from))
	}
	return probe.Options{
		Images: images, Secrets: fromFiles{c.objects}, Metrics: silent{}, Node: n,
		Registries: o, Resolver: probe.NodeResolver{Root: filepath.Clean("/" + o.Root)},
		Platform: &c.platform, Brief: !c.options.Download, Unrestricted: true,
	}
}

// patient are time limits for somebody who waits, in place of the agent's: a slow
// registry has time to answer, and the runtime's own limit for a handshake is kept.
func patient(t registry.Timeouts) registry.Timeouts {
	t.TLS = cmp.Or(t.TLS, 10*time.Second)
	t.Response = cmp.Or(t.Response, 20*time.Second)
	t.Total = cmp.Or(t.Total, 30*time.Second)
	return t
}

// ownProxy returns the proxy from this program's environment and the variables
// that set it; nil if there is none.
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

// silent discards metrics.
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
