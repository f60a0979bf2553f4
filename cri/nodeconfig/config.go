package nodeconfig

import (
	"cmp"
	"crypto/x509"
	"net"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/whypull/whypull/cri/hostfs"
	"github.com/whypull/whypull/cri/registry"
)

const (
	containerdCertsDir = "/etc/containerd/certs.d"
	// defaultConfigPath is containerd's since 2.2 (plugins/cri/images/plugin.go).
	defaultConfigPath = containerdCertsDir + ":" + dockerCertsDir
	defaultConfigFile = "/etc/containerd/config.toml"
)

// maxConfigFile is the maximum size of a configuration file or CA bundle. The
// bundles of the distributions have 200 to 500 KiB.
const maxConfigFile = 8 << 20

// RuntimeCRIO is CRI-O's name for itself (CRI, Version).
const RuntimeCRIO = "cri-o"

// Options say where the node's configuration is and how to send requests to
// registries. The zero value is for a process on the node itself.
type Options struct {
	// Root is where the node's root file system is mounted; "" is "/".
	Root string
	// CertsDir overrides config_path: the one directory, as a path of the
	// node, that has a directory with hosts.toml for each registry.
	CertsDir string
	// ConfigFile is containerd's configuration file, as a path of the node; "" and
	// /etc/containerd/config.toml are also the one that containerd's unit names, and that
	// of k3s or RKE2 where they run containerd.
	ConfigFile string
	// Runtime is the runtime's name as CRI reports it: "cri-o", "docker" or
	// "containerd", which is also assumed for "" and any other name.
	Runtime string
	// RuntimeVersion is the runtime's version as CRI reports it; it determines what an
	// unset or composite config_path and a short name mean. "" is the newest known
	// version: containerd 2.4, CRI-O 1.37.
	RuntimeVersion string
	// RegistriesConf overrides CRI-O's registries.conf, as a path of the node, like
	// crio --registries-conf.
	RegistriesConf string
	// TempDir is a writable directory of this process, for copies of the
	// node's files; "" is the system's.
	TempDir string
	// Version is the version of whypull, for the User-Agent header.
	Version string
	// Resolve resolves hostnames; nil is Go's resolver.
	Resolve registry.ResolveFunc
	// Proxy chooses the proxy; nil: like the runtime, from the environment of its
	// process, which is then read for CA certificates too.
	Proxy registry.ProxyFunc
	// Room limits the memory for responses, over all conversations of the process;
	// nil: each conversation has its own.
	Room *registry.Room
	// Timeouts of a conversation; zero fields have defaults.
	Timeouts registry.Timeouts
}

func (o Options) withDefaults() Options {
	o.ConfigFile = cmp.Or(o.ConfigFile, defaultConfigFile)
	o.Timeouts = o.Timeouts.WithDefaults()
	return o
}

// EmptyCredentialFallsBack reports whether the runtime uses the node's own credential
// if the pull's has no user and password. containerd does so only if the pull has no
// credential at all (PullImage, GetAuth).
func (c *Config) EmptyCredentialFallsBack() bool { return c.opts.isCRIO() }

func (o Options) isCRIO() bool { return o.Runtime == RuntimeCRIO }

// version returns the runtime's version, or the newest known one.
func (o Options) version() runtimeVersion {
	if o.isCRIO() && o.RuntimeVersion == "" {
		return runtimeVersion{version.MajorMinor(1, 37)}
	}
	return parseVersion(o.RuntimeVersion)
}

// Config is the node's registry configuration at one time.
type Config struct {
	opts        Options
	version     runtimeVersion
	fs          hostfs.FS
	dirs        []string // of the node, in order; each is looked through
	ignored     []string // directories of a config_path that the runtime does not look at
	unset       bool     // there is no config_path
	settings    settings // containerd's
	crio        crioSettings
	docker      dockerSettings
	crioRoot    string   // crio.conf's "root"; "" where unset
	crioHelpers []string // for credentials, in order
	process     process
	// crioRegistries is the file of CRI-O's flag in place of registries.conf.
	crioRegistries string
	// namespace and namespaceAuth are of the pod that pulls, "" where that is not known.
	namespace, namespaceAuth string
	pool                     *x509.CertPool
	env                      environment // unknown with explicitProxy
	explicitProxy            bool
	notices                  []Notice
}

// Load reads the node's configuration. It never fails: a missing configuration means
// the runtime's defaults, and so does an invalid one, with a notice, since the running
// runtime was started with another one.
//
// Call Load for every diagnosis: containerd reads hosts.toml for every pull. The
// runtime reads its own file, CRI-O's files and the systemd unit only when it starts
// or reloads, so Config can be newer than what the runtime uses.
func Load(opts Options) *Config {
	host := hostfs.New(opts.Root)
	opts = opts.withDefaults().located(host)
	c := &Config{opts: opts, version: opts.version(), fs: host, explicitProxy: opts.Proxy != nil}
	c.process = runtimeProcess(c.fs, opts)
	if !c.explicitProxy {
		c.env = c.environment()
		c.opts.Proxy = c.env.proxy()
		c.noteProxy()
	}
	var found bool
	if c.pool, found = c.systemPool(c.env.First("SSL_CERT_FILE"), c.env.First("SSL_CERT_DIR")); !found {
		c.notice(Notice{Kind: NoticeNoAuthorities})
	}
	switch {
	case opts.isCRIO():
		c.loadCRIO()
	case opts.isDocker():
		c.loadDocker()
	default:
		c.loadContainerd()
	}
	return c
}

func (c *Config) loadContainerd() {
	var broken []Notice
	c.settings, broken = readContainerd(c.fs, c.opts.ConfigFile, c.version)
	if c.opts.CertsDir != "" {
		c.dirs = []string{c.opts.CertsDir}
		return
	}
	if c.unseen() {
		c.notice(Notice{Kind: NoticeHidden, Path: c.opts.ConfigFile})
	}
	c.notices = append(c.notices, broken...)
	if c.settings.contradicts(c.version) {
		c.notice(Notice{Kind: NoticeMirrorsBesidePath, Path: c.settings.file})
	}
	c.dirs, c.ignored = c.settings.directories(c.version)
	c.unset = len(c.dirs) == 0
}

func (c *Config) notice(n Notice) { c.notices = append(c.notices, n) }

// Notices returns the notices about the configuration as a whole.
func (c *Config) Notices() []Notice { return c.notices }

// directories returns the directories that the runtime searches, and the configured
// ones that it ignores. The default since 2.2.2 is in plugins/cri/images, next to
// configMigration: only mirrors disable it. For that before, see presetPath.
func (s settings) directories(v runtimeVersion) (used, ignored []string) {
	configPath := s.registry.Reveal().ConfigPath
	if configPath == "" && len(s.registry.Reveal().Mirrors) == 0 && v.atLeast(2, 2) && !v.presetsPath() {
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

// PullsCompatible reports whether the runtime accepts from an index an image for a
// compatible platform, such as 386 on amd64: containerd's CRI plugin does when it
// pulls itself (platforms.Default), its transfer service accepts only the platform,
// and containers/image also older variants.
func (c *Config) PullsCompatible() bool {
	return !c.opts.isCRIO() && c.settings.pullsLocally(c.version)
}

// pullsLocally reports whether the CRI plugin pulls itself, as always before 2.1, and
// not through the transfer service.
func (s settings) pullsLocally(v runtimeVersion) bool { return s.localPull || !v.atLeast(2, 1) }

// runtimeVersion is a runtime's version.
type runtimeVersion struct{ *version.Version }

func (v runtimeVersion) atLeast(major, minor uint) bool {
	return v.AtLeast(version.MajorMinor(major, minor))
}

// presetsPath reports whether the default of config_path is a value of the plugin's own
// settings (internal/cri/config, DefaultImageConfig), as in 2.2.0 and 2.2.1.
func (v runtimeVersion) presetsPath() bool {
	return v.atLeast(2, 2) && v.LessThan(version.MajorMinor(2, 2).WithPatch(2))
}

// wantsHostTable reports whether a hosts.toml without any [host] is invalid, as until
// 1.7.32 (remotes/docker/config, parseHostsFile).
func (v runtimeVersion) wantsHostTable() bool {
	return v.LessThan(version.MajorMinor(1, 7).WithPatch(32))
}

// triesTLS reports whether containerd tries https first at a host that is configured
// for http and has TLS settings, as localhost has (remotes/docker/config,
// ConfigureHosts): since 1.6.25 and 1.7.8 if it has a port, since 1.7.24, and in 1.7.7,
// always.
func (v runtimeVersion) triesTLS(host string) bool {
	_, port, _ := net.SplitHostPort(host)
	return v.since(7, 24) || v.since(7, 7) && v.prefersHTTP() || port != "" && !v.prefersHTTP()
}

// prefersHTTP reports whether containerd takes localhost without settings for http
// whatever its port, not only with one other than 443 (ConfigureHosts): before 1.6.25 and
// 1.7.8.
func (v runtimeVersion) prefersHTTP() bool {
	return !v.since(6, 25) || v.atLeast(1, 7) && !v.since(7, 8)
}

// since reports whether a version is 1.minor.patch or later.
func (v runtimeVersion) since(minor, patch uint) bool {
	return v.AtLeast(version.MajorMinor(1, minor).WithPatch(patch))
}

// parseVersion parses "v2.1.4", "1.7.35~ds1", "2.0.5-k3s1". Anything else is the
// newest known version.
func parseVersion(s string) runtimeVersion {
	v, err := version.ParseGeneric(s)
	if err != nil || v.Major() == 0 {
		return runtimeVersion{version.MajorMinor(2, 4)}
	}
	return runtimeVersion{v}
}
