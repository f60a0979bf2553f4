package nodeconfig

import (
	"crypto/x509"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/registry"
)

// defaultConfigPath is containerd's since 2.2 (plugins/cri/images/plugin.go).
const defaultConfigPath = "/etc/containerd/certs.d:/etc/docker/certs.d"

const defaultConfigFile = "/etc/containerd/config.toml"

// maxConfigFile bounds any configuration file or CA bundle of the node. The
// bundles of the distributions have 200 to 500 KiB.
const maxConfigFile = 8 << 20

// runtimeCRIO is CRI-O's name for itself (CRI, Version).
const runtimeCRIO = "cri-o"

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
	// Runtime is the runtime's name as CRI reports it: "cri-o", or "containerd",
	// for which "" stands too, and any other name.
	Runtime string
	// RuntimeVersion is the runtime's version as CRI reports it; it decides
	// what an unset or composite config_path means, and what becomes of short
	// names. "" is the newest that is known: containerd 2.4, CRI-O 1.37.
	RuntimeVersion string
	// TempDir is a writable directory of this process, for copies of the
	// node's files; "" is the system's.
	TempDir string
	// Version of this program, for the User-Agent header.
	Version string
	// Resolve resolves host names; nil is Go's resolver.
	Resolve registry.ResolveFunc
	// Proxy chooses the proxy; nil is as the runtime does, from the environment of
	// its process.
	Proxy registry.ProxyFunc
	// Room bounds the memory for answers, over all conversations of the process;
	// nil: each conversation has one of its own.
	Room *registry.Room
	// Timeouts of a conversation; zero fields have defaults.
	Timeouts registry.Timeouts
}

func (o Options) withDefaults() Options {
	if o.ConfigFile == "" {
		o.ConfigFile = defaultConfigFile
	}
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	o.Timeouts = o.Timeouts.WithDefaults()
	return o
}

// EmptyCredentialFallsBack tells that the runtime takes the node's own credential
// where the pull brings one without user and password. containerd does so only
// where the pull brings none at all (PullImage, GetAuth).
func (c *Config) EmptyCredentialFallsBack() bool { return c.opts.isCRIO() }

func (o Options) isCRIO() bool { return o.Runtime == runtimeCRIO }

// Config is the registry configuration of the node at one moment.
type Config struct {
	opts          Options
	fs            hostfs.FS
	dirs          []string // of the node, in order; each is looked through
	ignored       []string // directories of a config_path that the runtime does not look at
	unset         bool     // there is no config_path
	settings      settings // containerd's
	crio          crioSettings
	crioRoot      string   // crio.conf's "root"; "" where unset
	crioHelpers   []string // for credentials, in order
	pool          *x509.CertPool
	proxy         proxies
	explicitProxy bool
	notices       []Notice
}

// Load reads the node's configuration. It never fails: a configuration that is
// missing means the runtime's defaults, and one that is broken as well, with a
// notice, since the runtime that is running was started with another one.
//
// Load for every diagnosis: containerd reads hosts.toml anew for every pull.
// Its own file, CRI-O's files and the settings of a systemd unit are read by
// the runtime when it starts or is told to, so there this Config can be ahead
// of it.
func Load(opts Options) *Config {
	opts = opts.withDefaults()
	c := &Config{opts: opts, fs: hostfs.New(opts.Root), explicitProxy: opts.Proxy != nil}
	if !c.explicitProxy {
		c.proxy = readProxy(c.fs, opts)
		c.opts.Proxy = c.proxy.proxy
	}
	var found bool
	if c.pool, found = systemPool(c.fs); !found {
		c.notice(Notice{Kind: NoticeNoAuthorities})
	}
	if opts.isCRIO() {
		c.loadCRIO()
	} else {
		c.loadContainerd()
	}
	return c
}

func (c *Config) loadContainerd() {
	if c.opts.CertsDir != "" {
		c.dirs = []string{c.opts.CertsDir}
		s, _ := readContainerd(c.fs, c.opts.ConfigFile, parseVersion(c.opts.RuntimeVersion))
		c.settings.sandboxImage = s.sandboxImage
		return
	}
	v := parseVersion(c.opts.RuntimeVersion)
	var broken []Notice
	c.settings, broken = readContainerd(c.fs, c.opts.ConfigFile, v)
	c.notices = append(c.notices, broken...)
	if c.settings.contradicts(v) {
		c.notice(Notice{Kind: NoticeMirrorsWithConfigPath, Path: c.settings.file})
	}
	c.dirs, c.ignored = c.settings.directories(v)
	c.unset = len(c.dirs) == 0
}

func (c *Config) notice(n Notice) { c.notices = append(c.notices, n) }

// Notices gives what is odd about the configuration as a whole.
func (c *Config) Notices() []Notice { return c.notices }

// directories gives the directories that the runtime looks through, and those
// that it ignores though they are configured. The default since 2.2 is
// configMigration's neighbour in plugins/cri/images: mirrors alone undo it.
func (s settings) directories(v runtimeVersion) (used, ignored []string) {
	configPath := s.registry.Reveal().ConfigPath
	if configPath == "" && len(s.registry.Reveal().Mirrors) == 0 && v.atLeast(2, 2) {
		configPath = defaultConfigPath
	}
	if configPath == "" {
		return nil, nil
	}
	list := filepath.SplitList(configPath)
	if len(list) == 1 || s.pullsLocally(v) {
		return list, nil
	}
	// The transfer service hands the whole string to HostDirFromRoot.
	return []string{configPath}, list
}

// PullsCompatible tells that the runtime takes, of an index, an image for what
// the node's platform can run as well, such as 386 on amd64: containerd's CRI
// plugin does where it pulls by itself (platforms.Default), its transfer service
// takes the platform itself, and containers/image takes older variants only.
func (c *Config) PullsCompatible() bool {
	return !c.opts.isCRIO() && c.settings.pullsLocally(parseVersion(c.opts.RuntimeVersion))
}

// pullsLocally tells that the CRI plugin pulls by itself, as it always did
// before 2.1, and not by the transfer service.
func (s settings) pullsLocally(v runtimeVersion) bool { return s.localPull || !v.atLeast(2, 1) }

// runtimeVersion is a runtime's version as far as it decides something.
type runtimeVersion struct{ *version.Version }

func (v runtimeVersion) atLeast(major, minor uint) bool {
	return v.AtLeast(version.MajorMinor(major, minor))
}

// wantsHostTable tells that a hosts.toml without any [host] is invalid: it was
// until 1.7.32 (remotes/docker/config, parseHostsFile).
func (v runtimeVersion) wantsHostTable() bool {
	return v.LessThan(version.MajorMinor(1, 7).WithPatch(32))
}

// parseVersion reads "v2.1.4", "1.7.35~ds1", "2.0.5-k3s1". What cannot be read
// is taken for the newest that we know.
func parseVersion(s string) runtimeVersion {
	v, err := version.ParseGeneric(s)
	if err != nil || v.Major() == 0 {
		return runtimeVersion{version.MajorMinor(2, 4)}
	}
	return runtimeVersion{v}
}
