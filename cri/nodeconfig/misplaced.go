package nodeconfig

import (
	"path"
	"slices"
	"strings"
)

// unused returns a notice of a host's directory, or of the hosts.toml in it, that the
// runtime does not look at: n, unless its settings are in a section without effect.
func (c *Config) unused(dir string, n Notice) Notice {
	if slices.ContainsFunc(c.notices, func(o Notice) bool { return o.Kind == NoticeSectionIgnored }) {
		n = Notice{Kind: NoticePathElsewhere, Path: dir}
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
		for _, name := range ownDirs(host) {
			if dir := path.Join(containerdCertsDir, name); c.fs.IsDir(dir) {
				notices = append(notices, c.unused(dir, Notice{Kind: NoticePathUnset, Path: dir}))
			}
		}
	}
	for _, root := range c.dirs {
		notices = append(notices, c.misplacedIn(root, host)...)
	}
	return notices
}

func (c *Config) misplacedIn(root, host string) []Notice {
	var notices []Notice
	note := func(dir string, kind NoticeKind) {
		if name := path.Join(dir, hostsFile); c.fs.IsFile(name) {
			notices = append(notices, Notice{Kind: kind, Path: name})
		}
	}
	for _, name := range ownDirs(host) {
		for _, below := range c.fs.List(path.Join(root, name)) {
			note(path.Join(root, name, below), NoticeFolderNotHost)
		}
	}
	if slices.ContainsFunc(ownDirs(host), func(name string) bool { return c.fs.IsFile(path.Join(root, name, hostsFile)) }) {
		return notices // the others are left over
	}
	note(root, NoticeNoFolder)
	if host == "docker.io" {
		for _, upstream := range []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"} {
			note(path.Join(root, upstream), NoticeUpstreamName)
		}
	}
	for _, scheme := range []string{"http:", "https:"} {
		note(path.Join(root, scheme, host), NoticeFolderNotHost)
	}
	if i := strings.LastIndex(host, ":"); i > 0 {
		note(path.Join(root, host[:i]+"_"+host[i+1:]), NoticePortFolder)
		if bare := path.Join(root, host[:i]); mentions(c.text(path.Join(bare, hostsFile)), host) {
			note(bare, NoticePortFolder)
		}
	}
	if !parseVersion(c.opts.RuntimeVersion).since(6, 17) {
		note(path.Join(root, "_default"), NoticeDefaultFolder)
	}
	return notices
}

// mentions reports whether a hosts.toml has an address of a host[:port].
func mentions(text, host string) bool {
	return slices.ContainsFunc([]string{`"`, "'", "/"}, func(end string) bool { return strings.Contains(text, host+end) })
}
