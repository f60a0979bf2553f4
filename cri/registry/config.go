package registry

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// defaultConfigPath is containerd's since 2.2 (plugins/cri/images/plugin.go).
const defaultConfigPath = "/etc/containerd/certs.d:/etc/docker/certs.d"

const defaultConfigFile = "/etc/containerd/config.toml"

// ResolveFunc resolves a host name to addresses. A *net.DNSError in its error
// decides between "no such name" and "no answer".
type ResolveFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// ProxyFunc says which proxy a request takes, nil for none.
type ProxyFunc func(*http.Request) (*url.URL, error)

// Options says where the node's configuration is and how to talk to
// registries. The zero value is for a process on the node itself.
type Options struct {
	// Root is where the node's root file system is mounted; "" is "/".
	Root string
	// CertsDir overrides config_path: the one directory, as a path of the
	// node, that has a directory with hosts.toml for each registry.
	CertsDir string
	// ConfigFile is containerd's configuration file, as a path of the node; ""
	// is /etc/containerd/config.toml.
	ConfigFile string
	// RuntimeVersion is the runtime's version as CRI reports it; it decides
	// what an unset or composite config_path means. "" is containerd 2.4.
	RuntimeVersion string
	// TempDir is a writable directory of this process, for copies of
	// hosts.toml; "" is the system's. Only used if Root is not "/".
	TempDir string
	// Version of this program, for the User-Agent header.
	Version string
	// Resolve resolves host names; nil is Go's resolver.
	Resolve ResolveFunc
	// Proxy chooses the proxy; nil is http.ProxyFromEnvironment.
	Proxy ProxyFunc
	// Timeouts of a conversation; zero fields have defaults.
	Timeouts Timeouts
}

// Timeouts bound the parts of a conversation with an endpoint. The defaults
// add up to less than the kubelet waits between two attempts.
type Timeouts struct {
	DNS      time.Duration // resolving one name; 5 s
	Connect  time.Duration // TCP, all addresses of a name together; 5 s
	TLS      time.Duration // one handshake; 5 s
	Response time.Duration // from request to response header; 8 s
	Total    time.Duration // the whole conversation; 9 s
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.DNS, 5*time.Second)
	set(&t.Connect, 5*time.Second)
	set(&t.TLS, 5*time.Second)
	set(&t.Response, 8*time.Second)
	set(&t.Total, 9*time.Second)
	return t
}

func (o Options) withDefaults() Options {
	if o.ConfigFile == "" {
		o.ConfigFile = defaultConfigFile
	}
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	o.Timeouts = o.Timeouts.withDefaults()
	return o
}

// Config is the registry configuration of the node at one moment.
type Config struct {
	opts    Options
	fs      rootFS
	dirs    []string // of the node, in order; each is looked through
	ignored []string // directories of a config_path that the runtime does not look at
	pool    *x509.CertPool
	notices []Notice
}

// Load reads the node's configuration. It never fails: a configuration that is
// missing means containerd's defaults, and one that is broken as well, with a
// notice, since the runtime that is running was started with another one.
// Load for every diagnosis: containerd reads hosts.toml anew for every pull.
func Load(opts Options) *Config {
	opts = opts.withDefaults()
	c := &Config{opts: opts, fs: newRootFS(opts.Root)}
	var found bool
	if c.pool, found = c.fs.systemPool(); !found {
		c.notice(Notice{Kind: NoticeNoAuthorities})
	}
	if opts.CertsDir != "" {
		c.dirs = []string{opts.CertsDir}
		return c
	}
	settings, broken := readContainerd(c.fs, opts.ConfigFile)
	c.notices = append(c.notices, broken...)
	if settings.legacy {
		c.notice(Notice{Kind: NoticeLegacyMirrors, Path: opts.ConfigFile})
	}
	c.dirs, c.ignored = settings.directories(parseVersion(opts.RuntimeVersion))
	return c
}

func (c *Config) notice(n Notice) { c.notices = append(c.notices, n) }

// Notices gives what is odd about the configuration as a whole.
func (c *Config) Notices() []Notice { return c.notices }

// directories gives the directories that the runtime looks through, and those
// that it ignores though they are configured.
func (s settings) directories(v version) (used, ignored []string) {
	configPath := s.configPath
	if configPath == "" && !s.legacy && v.atLeast(2, 2) {
		configPath = defaultConfigPath
	}
	if configPath == "" {
		return nil, nil
	}
	list := filepath.SplitList(configPath)
	if len(list) == 1 || s.localPull || !v.atLeast(2, 1) {
		return list, nil
	}
	// The transfer service hands the whole string to HostDirFromRoot.
	return []string{configPath}, list
}

// version is a containerd version as far as it decides something.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// parseVersion reads "v2.1.4", "1.7.35~ds1", "2.0.5-k3s1". What cannot be read
// is taken for the newest that we know.
func parseVersion(s string) version {
	major, rest, _ := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	v := version{major: number(major), minor: number(minor)}
	if v.major <= 0 || v.minor < 0 {
		return version{major: 2, minor: 4}
	}
	return v
}

// number is the value of s, or -1.
func number(s string) int {
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' || n > 1e6 {
			return -1
		}
		n = n*10 + int(r-'0')
	}
	if s == "" {
		return -1
	}
	return n
}
