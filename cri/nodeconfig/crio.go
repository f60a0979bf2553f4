package nodeconfig

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	burnt "github.com/BurntSushi/toml"
	"github.com/distribution/reference"
	"github.com/pelletier/go-toml/v2"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/whypull/whypull/cri/registry"
)

const (
	crioConfigFile = "/etc/crio/crio.conf"
	crioConfigDir  = "/etc/crio/crio.conf.d"
	registriesFile = "/etc/containers/registries.conf"
	shortNamesFile = "/var/cache/containers/short-name-aliases.conf"
)

// crioSettings are those settings of crio.conf that decide about pulls
// (pkg/config, ImageConfig). Its "registries" are not read since 1.24.
type crioSettings struct {
	GlobalAuthFile     string   `toml:"global_auth_file"`
	InsecureRegistries []string `toml:"insecure_registries"`
	ShortNameMode      string   `toml:"short_name_mode"` // 1.35+
	PauseImage         string   `toml:"pause_image"`
	PauseImageAuthFile string   `toml:"pause_image_auth_file"`
	SignaturePolicy    string   `toml:"signature_policy"`
	SignaturePolicyDir string   `toml:"signature_policy_dir"`
	NamespacedAuthDir  string   `toml:"namespaced_auth_dir"`
	// BigFilesTemporaryDir is in the same section (ImageConfig).
	BigFilesTemporaryDir string `toml:"big_files_temporary_dir"`
	// AutoReloadRegistries has CRI-O read its registries again when a drop-in changes.
	AutoReloadRegistries bool `toml:"auto_reload_registries"`
}

// loadCRIO reads crio.conf with its drop-ins and checks whether registries.conf can be
// read.
func (c *Config) loadCRIO() {
	for _, name := range append([]string{crioConfigFile}, c.fs.Files(crioConfigDir)...) {
		var file struct {
			CRIO struct {
				Image *crioSettings `toml:"image"`
				Root  *string       `toml:"root"`
			} `toml:"crio"`
		}
		file.CRIO.Image, file.CRIO.Root = &c.crio, &c.crioRoot // what a file does not have stays
		if err := readTOML(c.fs, name, &file); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.notice(Notice{Kind: NoticeUnreadable, Path: name, Line: lineOf(err)})
		}
	}
	c.crioRegistries = cmp.Or(c.opts.RegistriesConf, pathOf(c.arguments(), "registries-conf"), c.env.First("CONTAINER_REGISTRIES_CONF"))
	c.noteUnloaded()
	c.crioHelpers = []string{sysregistriesv2.AuthenticationFileHelper}
	err := c.withRegistries(func(sys *types.SystemContext) (err error) {
		c.crioHelpers, err = sysregistriesv2.CredentialHelpers(sys)
		return err
	})
	if invalid, ok := errors.AsType[*ConfigError](err); ok {
		c.notice(invalid.Notice)
	}
}

// withRegistries calls use with a copy of the node's registries.conf, its drop-ins and
// the short-name aliases for package sysregistriesv2, which caches what it has read by
// path for the life of the process. A file that does not parse is a *ConfigError.
func (c *Config) withRegistries(use func(*types.SystemContext) error) error {
	dir, err := os.MkdirTemp(c.opts.TempDir, "whypull-registries-")
	if err != nil {
		return err
	}
	sys := &types.SystemContext{
		SystemRegistriesConfPath:    filepath.Join(dir, "registries.conf"),
		SystemRegistriesConfDirPath: filepath.Join(dir, "registries.conf.d"),
		UserShortNameAliasConfPath:  filepath.Join(dir, "short-names.conf"),
	}
	defer sysregistriesv2.InvalidateCache()
	copies, err := c.copyRegistries(sys)
	if err == nil {
		if _, broken := sysregistriesv2.TryUpdatingCache(sys); broken != nil {
			err = &ConfigError{c.brokenRegistries(broken, copies), broken}
		}
	}
	if err == nil {
		err = use(sys)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// copyRegistries makes the copies and returns the node's path of each.
func (c *Config) copyRegistries(sys *types.SystemContext) (map[string]string, error) {
	err := errors.Join(
		os.Mkdir(sys.SystemRegistriesConfDirPath, 0o700),
		os.WriteFile(sys.SystemRegistriesConfPath, nil, 0o600),
	)
	copies := c.copyNames(sys)
	for to, name := range copies {
		data, readErr := c.fs.ReadFile(name, maxConfigFile)
		if errors.Is(readErr, os.ErrNotExist) {
			continue
		}
		if readErr == nil {
			readErr = os.WriteFile(to, c.secondVersion(data), 0o600)
		}
		err = errors.Join(err, readErr)
	}
	return copies, err
}

// copyNames returns the node's path of each copy, by the copy's path.
func (c *Config) copyNames(sys *types.SystemContext) map[string]string {
	copies := map[string]string{sys.UserShortNameAliasConfPath: shortNamesFile}
	for i, name := range c.registriesInOrder() {
		to := filepath.Join(sys.SystemRegistriesConfDirPath, fmt.Sprintf("%06d.conf", i))
		if slices.Contains(c.registriesFiles(), name) {
			to = sys.SystemRegistriesConfPath
		}
		copies[to] = name
	}
	return copies
}

// secondVersion returns a registries.conf of the first version as one of the
// second; any other as it is. CRI-O's older library reads both.
func (c *Config) secondVersion(data []byte) []byte {
	type list struct {
		Registries []string `toml:"registries"`
	}
	var old struct {
		Registries struct {
			Search   list `toml:"search"`
			Insecure list `toml:"insecure"`
			Block    list `toml:"block"`
		} `toml:"registries"`
		Second []map[string]any `toml:"registry"`
	}
	if !c.readsHome() || toml.Unmarshal(data, &old) != nil || len(old.Second) > 0 {
		return data
	}
	r := old.Registries
	if len(r.Search.Registries)+len(r.Insecure.Registries)+len(r.Block.Registries) == 0 {
		return data
	}
	var registries []map[string]any
	for _, location := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.Insecure.Registries, r.Block.Registries)))) {
		registries = append(registries, map[string]any{
			"location": location,
			"insecure": slices.Contains(r.Insecure.Registries, location),
			"blocked":  slices.Contains(r.Block.Registries, location),
		})
	}
	converted := map[string]any{"registry": registries}
	if len(r.Search.Registries) > 0 {
		converted["unqualified-search-registries"] = r.Search.Registries
	}
	out, err := toml.Marshal(converted)
	if err != nil {
		return data
	}
	return out
}

// brokenRegistries says which file an error is about: the package names it.
func (c *Config) brokenRegistries(err error, copies map[string]string) Notice {
	n := Notice{Kind: NoticeUnreadable, Path: c.mainRegistries()}
	for file, name := range copies {
		if strings.Contains(err.Error(), `"`+file+`"`) {
			n.Path = name
		}
	}
	if parse, ok := errors.AsType[burnt.ParseError](err); ok {
		n.Line = parse.Position.Line
	}
	return n
}

// crioEndpoints returns the endpoints from which CRI-O would pull an image, in its
// order (go.podman.io/image, docker, newImageSource): the mirrors, then the registry's
// location.
func (c *Config) crioEndpoints(ref reference.Named) (endpoints []registry.Endpoint, notices []Notice, err error) {
	if err := c.brokenSignatureStore(); err != nil {
		return nil, nil, err
	}
	policy, err := c.heldAgainstPolicy(ref)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		host := reference.Domain(ref)
		notices = slices.Concat(policy, notices, c.ofDocker(host), c.unreadDropIn(host))
	}()
	err = c.withRegistries(func(sys *types.SystemContext) (err error) {
		endpoints, notices, err = c.pullSources(sys, ref)
		return err
	})
	if refused, ok := errors.AsType[*ConfigError](err); ok && refused.Kind == NoticeUnreadable {
		// Load has a notice for it. CRI-O does not start with such a file; the running
		// one has read an older one.
		e, found, err := c.crioEndpoint(ref, sysregistriesv2.PullSource{Reference: ref})
		return []registry.Endpoint{e}, found, err
	}
	return endpoints, notices, err
}

func (c *Config) pullSources(sys *types.SystemContext, ref reference.Named) (endpoints []registry.Endpoint, notices []Notice, err error) {
	sources, from, err := c.sourcesOf(sys, ref)
	if err != nil {
		return nil, nil, err
	}
	if entry, err := sysregistriesv2.FindRegistry(sys, ref.Name()); err == nil && entry != nil && len(entry.Mirrors) > 0 && len(sources) == 1 {
		notices = append(notices, Notice{Kind: NoticeOtherReference, Path: from})
	}
	var firstErr error
	for _, source := range sources {
		e, found, err := c.crioEndpoint(ref, source)
		if err == nil {
			err = c.refuseBlocked(sys, source.Reference)
		}
		notices = append(notices, found...)
		if err != nil {
			// CRI-O skips an endpoint that cannot be used, like one that fails.
			firstErr = cmp.Or(firstErr, err)
			if refused, ok := errors.AsType[*ConfigError](err); ok && len(sources) > 1 {
				notices = append(notices, refused.Notice)
			}
			continue
		}
		e.Source = from
		if from != "" {
			loaded, _ := c.loaded(from)
			e.Unloaded = !loaded
		}
		endpoints = append(endpoints, e)
	}
	if len(endpoints) > 0 {
		return withVariants(endpoints), notices, nil
	}
	return nil, notices, firstErr
}

// sourcesOf returns the sources of a reference by package sysregistriesv2, and the
// node's file that configures them.
func (c *Config) sourcesOf(sys *types.SystemContext, ref reference.Named) ([]sysregistriesv2.PullSource, string, error) {
	theirs, err := asTheirs(ref)
	if err != nil {
		return nil, "", err
	}
	entry, err := sysregistriesv2.FindRegistry(sys, theirs.Name())
	if err != nil {
		return nil, "", err
	}
	if entry == nil {
		return []sysregistriesv2.PullSource{{Reference: theirs}}, "", nil
	}
	from := c.fileOfPrefix(entry.Prefix)
	sources, err := entry.PullSourcesFromReference(theirs)
	if err != nil {
		return nil, "", &ConfigError{Notice{Kind: NoticeLocationInvalid, Path: from}, err}
	}
	return sources, from, nil
}

// refuseBlocked is the check of newDockerClient, which is about the location that is
// asked and not the one in the image.
func (c *Config) refuseBlocked(sys *types.SystemContext, ref reference.Named) error {
	entry, err := sysregistriesv2.FindRegistry(sys, ref.Name())
	if err != nil || entry == nil || !entry.Blocked {
		return err
	}
	return &ConfigError{Notice{Kind: NoticeBlocked, Path: c.fileOfPrefix(entry.Prefix)}, nil}
}

// fileOfPrefix returns the last of the node's files with an entry for a prefix, which
// replaces those of earlier files.
func (c *Config) fileOfPrefix(prefix string) string {
	for _, name := range slices.Backward(c.registriesInOrder()) {
		var file struct {
			Registries []struct{ Prefix, Location string } `toml:"registry"`
		}
		if readTOML(c.fs, name, &file) != nil {
			continue
		}
		for _, r := range file.Registries {
			if own := cmp.Or(r.Prefix, r.Location); strings.TrimRight(own, "/") == prefix {
				return name
			}
		}
	}
	return c.mainRegistries()
}

// crioEndpoint returns the endpoint of a source (newPullClient, newDockerClient).
func (c *Config) crioEndpoint(ref reference.Named, source sysregistriesv2.PullSource) (registry.Endpoint, []Notice, error) {
	rewritten, err := reference.ParseNamed(source.Reference.String())
	if err != nil {
		return registry.Endpoint{}, nil, &ConfigError{Notice{Kind: NoticeLocationInvalid, Path: c.mainRegistries()}, err}
	}
	domain := reference.Domain(rewritten)
	namespace := source.Endpoint.NamespaceProxy
	if c.readsHome() { // the older library does not know it
		namespace = ""
	}
	e := c.plainEndpoint(namespace, "https", defaultHost(domain), "/v2")
	e.Settings.Rewritten, e.Settings.Pings = rewritten, true
	e.WithoutCredential = domain != reference.Domain(ref)
	e.Mirror = rewritten.Name() != ref.Name()
	// Since 1.35 CRI-O leaves it to registries.conf what is insecure.
	insecure := source.Endpoint.Insecure || !c.version.atLeast(1, 35) && isInsecure(reference.Domain(ref), c.crio.InsecureRegistries)
	e.Settings.Transport.TLSClientConfig.InsecureSkipVerify = insecure
	e.Settings.Transport.TLSClientConfig.CipherSuites = c.cipherSuites()
	e.SkipVerify, e.HTTPFallback = insecure, insecure
	notices, err := c.setupCertificates(&e, domain)
	if err != nil {
		return e, notices, err
	}
	e.Settings.NoDockerZstd = !c.version.atLeast(1, 35)
	return e, append(notices, c.addNodeCredential(&e)...), nil
}

// isInsecure reports whether a registry is insecure by the entries of crio.conf
// (internal/storage, isSecureIndex), which then applies to all its sources. CRI-O also
// resolves names to check their addresses; this function does not.
func isInsecure(hostport string, entries []string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	addr, _ := netip.ParseAddr(strings.Trim(host, "[]"))
	for _, entry := range append([]string{"127.0.0.0/8"}, entries...) {
		network, err := netip.ParsePrefix(entry)
		if entry == hostport || err == nil && addr.IsValid() && network.Contains(addr) {
			return true
		}
	}
	return host == "localhost"
}
