package nodeconfig

import (
	"cmp"
	"slices"
)

// The places of CRI-O's files are those of its image library: up to CRI-O 1.37
// that is go.podman.io/image 5.38 or older, which knows the home of root and not
// the vendor's directory (sysregistriesv2, newConfigWrapperWithHomeDir; docker,
// dockerCertDir); later ones read what go.podman.io/storage, pkg/configfile finds.
const (
	homeConfig            = "/root/.config/containers"
	homeRegistriesFile    = homeConfig + "/registries.conf"
	homeRegistriesDir     = homeConfig + "/registries.conf.d"
	registriesDir         = "/etc/containers/registries.conf.d"
	defaultPoliciesDir    = "/etc/crio/policies"
	defaultNamespaceAuths = "/etc/crio/auth"
)

// readsHome reports whether CRI-O has an image library of the older kind.
func (c *Config) readsHome() bool { return !c.version.atLeast(1, 38) }

// registriesFiles returns the places of registries.conf, of which the first that
// is there counts.
func (c *Config) registriesFiles() []string {
	switch {
	case c.crioRegistries != "": // crio --registries-conf
		return []string{c.crioRegistries}
	case c.readsHome():
		return []string{homeRegistriesFile, registriesFile}
	default:
		return []string{registriesFile, "/usr/share/containers/registries.conf"}
	}
}

// mainRegistries returns the registries.conf that is there, else the one that
// people would write.
func (c *Config) mainRegistries() string {
	return cmp.Or(c.fs.First(c.registriesFiles()...), c.crioRegistries, registriesFile)
}

// registriesDirs returns the directories of drop-ins, the strongest first, and
// whether files of one name stand for each other.
func (c *Config) registriesDirs() (dirs []string, byName bool) {
	switch {
	case !c.readsHome():
		return []string{
			"/etc/containers/registries.rootful.conf.d", registriesDir,
			"/usr/share/containers/registries.rootful.conf.d", "/usr/share/containers/registries.conf.d",
		}, true
	case c.crioRegistries == "" && c.fs.IsFile(homeRegistriesFile):
		return []string{homeRegistriesDir}, false
	default:
		return []string{homeRegistriesDir, registriesDir}, false
	}
}

// registriesInOrder returns the node's files of registries in the order in which
// they are read: later ones win.
func (c *Config) registriesInOrder() []string {
	var files []string
	if main := c.mainRegistries(); c.fs.IsFile(main) {
		files = append(files, main)
	}
	dirs, byName := c.registriesDirs()
	if byName {
		return append(files, c.fs.DropIns(dirs, []string{""})...)
	}
	for _, dir := range slices.Backward(dirs) {
		files = append(files, c.fs.DropIns([]string{dir}, []string{""})...)
	}
	return files
}

// certDirs returns the directories in which CRI-O or Docker looks for a host's certificates;
// the first that has one for it counts (docker_client.go, dockerCertDir).
func (c *Config) certDirs() []string {
	if c.opts.isDocker() {
		return []string{dockerCertsDir}
	}
	if c.readsHome() {
		return []string{homeConfig + "/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"}
	}
	return []string{
		"/etc/containers/certs.rootful.d", "/etc/containers/certs.d",
		"/usr/share/containers/certs.rootful.d", "/usr/share/containers/certs.d", "/etc/docker/certs.d",
	}
}
