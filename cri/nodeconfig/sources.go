package nodeconfig

import "path"

// maxSources is the maximum number of files of a host's directory in Sources.
const maxSources = 32

// Sources returns the files and directories on the node, existing or not, that determine
// the result of EndpointsFor for a registry: the runtime's configuration file and the
// host's directories with their files; for CRI-O registries.conf with its drop-ins and the
// certificate directories. Imports of the runtime's file and its service's settings are
// not included: a running runtime does not notice their changes.
func (c *Config) Sources(host string) []string {
	if c.opts.isCRIO() {
		return c.crioSources(host)
	}
	out := []string{c.opts.ConfigFile}
	if file := c.registriesFile(); file != "" {
		out = append(out, file)
	}
	for _, root := range c.dirs {
		for _, name := range hostDirs(host) {
			out = append(out, c.inDirectory(path.Join(root, name))...)
		}
	}
	return out
}

func (c *Config) crioSources(host string) []string {
	out := append([]string{crioConfigFile}, c.registriesFiles()...)
	if policy := c.policyPath(); policy != "" {
		out = append(out, policy)
	}
	out = append(out, c.authFiles()...)
	dirs, _ := c.registriesDirs()
	for _, dir := range append(dirs, "/etc/containers/registries.d") {
		out = append(out, c.inDirectory(dir)...)
	}
	for _, root := range c.certDirs() {
		out = append(out, c.inDirectory(path.Join(root, host))...)
	}
	return out
}

// inDirectory returns a directory, which changes when a file is added or removed, and its
// files.
func (c *Config) inDirectory(dir string) []string {
	files := c.fs.Files(dir)
	return append([]string{dir}, files[:min(len(files), maxSources)]...)
}
