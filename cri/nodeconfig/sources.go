package nodeconfig

import "path"

// maxSources bounds the files of one host's directory that are told.
const maxSources = 32

// Sources gives the paths of the node, files and directories, whose change may
// change what EndpointsFor gives for a registry, whether they are there or not:
// the runtime's own configuration file, and the host's directories with what is
// in them; for CRI-O registries.conf with its drop-ins, and the directories of
// certificates. What the runtime's file imports is not among them, nor are the
// settings of its service: a running runtime does not follow those.
func (c *Config) Sources(host string) []string {
	if c.opts.isCRIO() {
		return c.crioSources(host)
	}
	out := []string{c.opts.ConfigFile}
	for _, root := range c.dirs {
		for _, name := range hostDirs(host) {
			out = append(out, c.inDirectory(path.Join(root, name))...)
		}
	}
	return out
}

func (c *Config) crioSources(host string) []string {
	out := append([]string{crioConfigFile}, registriesFiles()...)
	for _, dir := range registriesDirs() {
		out = append(out, c.inDirectory(dir)...)
	}
	for _, root := range certDirs() {
		out = append(out, c.inDirectory(path.Join(root, host))...)
	}
	return out
}

// inDirectory is a directory, which changes when a file comes or goes, and what
// is in it.
func (c *Config) inDirectory(dir string) []string {
	files := c.fs.Files(dir)
	return append([]string{dir}, files[:min(len(files), maxSources)]...)
}
