package nodeconfig

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// daemonFile is Docker's configuration file.
const daemonFile = "/etc/docker/daemon.json"

// ofDocker returns a notice of a daemon.json that has settings for a host, which no other
// runtime reads.
func (c *Config) ofDocker(host string) []Notice {
	var file dockerSettings
	data, err := c.fs.ReadFile(daemonFile, maxConfigFile)
	if c.opts.isDocker() || err != nil || json.Unmarshal(data, &file) != nil {
		return nil
	}
	insecure := file.isInsecure(host) && !dockerSettings{}.isInsecure(host)
	if insecure || host == "docker.io" && len(file.Mirrors) > 0 {
		return []Notice{{Kind: NoticeOfDocker, Path: daemonFile}}
	}
	return nil
}

// unreadCertificates returns notices of certificate authorities for a host that the runtime
// does not read. dir is the directory of the host that it reads, "" if there is none, and
// hosts the hosts.toml in it that counts.
func (c *Config) unreadCertificates(host, dir string, hosts []byte) []Notice {
	var notices []Notice
	endings, kind := []string{".pem", ".cer"}, NoticeNotCrt
	if len(hosts) > 0 {
		endings, kind = append(endings, ".crt"), NoticeNotNamed
	}
	if dir != "" && (len(hosts) > 0 || !c.fs.IsFile(path.Join(dir, hostsFile))) {
		files := c.fs.Files(dir)
		i := slices.IndexFunc(files, func(file string) bool {
			return slices.Contains(endings, path.Ext(file)) && !bytes.Contains(hosts, []byte(path.Base(file)))
		})
		if i >= 0 {
			notices = append(notices, Notice{Kind: kind, Path: files[i]})
		}
	}
	names := []string{host}
	if i := strings.LastIndex(host, ":"); i > 0 {
		names = append(names, host[:i])
	}
	for _, root := range []string{containerdCertsDir, "/etc/containers/certs.d", dockerCertsDir} {
		if c.unset && root == containerdCertsDir || slices.Contains(c.ignored, root) {
			continue // there are other notices of it
		}
		for _, name := range names {
			if other := path.Join(root, name); other != dir && len(c.fs.Glob(path.Join(other, "*.crt"))) > 0 {
				notices = append(notices, Notice{Kind: NoticeOtherDirectory, Path: other})
			}
		}
	}
	return notices
}

// unreadDropIn returns a notice of a file beside CRI-O's drop-ins that is about a host and
// has another ending than .conf.
func (c *Config) unreadDropIn(host string) []Notice {
	dirs, _ := c.registriesDirs()
	for _, dir := range dirs {
		for _, name := range c.fs.Files(dir) {
			if text := c.text(name); path.Ext(name) != ".conf" && strings.Contains(text, "[[registry") && strings.Contains(text, host) {
				return []Notice{{Kind: NoticeDropInName, Path: name}}
			}
		}
	}
	return nil
}
