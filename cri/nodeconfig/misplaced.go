package nodeconfig

import (
	"path"
	"slices"
	"strings"
)

func ignoredFile(name string, reason NoticeReason) Notice {
	return Notice{Kind: NoticeHostsFileIgnored, Path: name, Reason: reason}
}

// unused returns a notice of a host's directory, or of the hosts.toml in it, that the
// runtime does not look at: n, unless its settings are in a section without effect.
func (c *Config) unused(dir string, n Notice) Notice {
	if slices.ContainsFunc(c.notices, func(o Notice) bool { return o.Kind == NoticeSectionIgnored && o.Reason == "" }) {
		n = ignoredFile(dir, ReasonSectionIgnored)
	}
	if name := path.Join(dir, hostsFile); c.fs.IsFile(name) {
		n.Path = name
	}
	return n
}

// misplaced returns notices for files that are meant for this host and have no effect
// where they are.
func (c *Config) misplaced(host string) []Notice {
	var notices []Notice
	if c.unset && c.opts.CertsDir == "" {
		unread, _, _ := strings.Cut(defaultConfigPath, ":")
		if dir := path.Join(unread, hostDirs(host)[0]); c.fs.IsDir(dir) {
			notices = append(notices, c.unused(dir, ignoredFile(dir, ReasonConfigPathUnset)))
		}
	}
	for _, root := range c.dirs {
		notices = append(notices, c.misplacedIn(root, host)...)
	}
	return notices
}

func (c *Config) misplacedIn(root, host string) []Notice {
	var notices []Notice
	note := func(dir string, reason NoticeReason) {
		if name := path.Join(dir, hostsFile); c.fs.IsFile(name) {
			notices = append(notices, ignoredFile(name, reason))
		}
	}
	note(root, ReasonNoFolder)
	if host == "docker.io" {
		for _, upstream := range []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"} {
			note(path.Join(root, upstream), ReasonUpstreamName)
		}
	}
	for _, scheme := range []string{"http:", "https:"} {
		note(path.Join(root, scheme, host), ReasonNameHasScheme)
	}
	if i := strings.LastIndex(host, ":"); i > 0 {
		note(path.Join(root, host[:i]+"_"+host[i+1:]), ReasonPortFolder)
	}
	for _, name := range hostDirs(host) {
		if name == "_default" {
			continue
		}
		for _, below := range c.fs.List(path.Join(root, name)) {
			note(path.Join(root, name, below), ReasonNameHasPath)
		}
	}
	return notices
}
