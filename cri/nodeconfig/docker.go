package nodeconfig

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/systemd"
)

// runtimeDocker is the name that cri-dockerd has for its runtime (CRI, Version).
const runtimeDocker = "docker"

const dockerCertsDir = "/etc/docker/certs.d"

func (o Options) isDocker() bool { return o.Runtime == runtimeDocker }

// dockerSettings are the settings of dockerd that decide about pulls
// (daemon/pkg/registry, ServiceOptions).
type dockerSettings struct {
	Mirrors  []string `json:"registry-mirrors"` // of docker.io
	Insecure []string `json:"insecure-registries"`
	DataRoot string   `json:"data-root"`

	invalid bool // one of the file's mirrors is, so that dockerd does not start with it
}

// loadDocker reads daemon.json and dockerd's command line, which has the same settings.
// Its proxies replace those of the environment.
func (c *Config) loadDocker() {
	args := c.arguments()
	c.opts.ConfigFile = cmp.Or(pathOf(args, "config-file"), daemonFile)
	c.dirs, c.settings.localPull = []string{dockerCertsDir}, true
	var file struct {
		dockerSettings
		Proxies struct {
			HTTP  string `json:"http-proxy"`
			HTTPS string `json:"https-proxy"`
			No    string `json:"no-proxy"`
		} `json:"proxies"`
	}
	data, err := c.fs.ReadFile(c.opts.ConfigFile, maxConfigFile)
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	c.docker = file.dockerSettings
	for _, v := range [][2]string{{"HTTP_PROXY", file.Proxies.HTTP}, {"HTTPS_PROXY", file.Proxies.HTTPS}, {"NO_PROXY", file.Proxies.No}} {
		if v[1] != "" && !c.explicitProxy {
			c.env.Environment = c.env.Set(systemd.Variable{Name: v[0], Value: credential.Redact(v[1])})
			c.env.source = c.opts.ConfigFile
			c.opts.Proxy = c.env.proxy()
		}
	}
	switch {
	case c.hides(c.opts.ConfigFile):
		c.notice(Notice{Kind: NoticeHidden, Path: c.opts.ConfigFile})
	case err != nil && !errors.Is(err, os.ErrNotExist):
		c.notice(Notice{Kind: NoticeUnreadable, Path: c.opts.ConfigFile})
	}
	c.docker.invalid = slices.ContainsFunc(c.docker.Mirrors, func(m string) bool { return !isDockerMirror(m) })
	c.docker.Mirrors = append(c.docker.Mirrors, valuesOf(args, "registry-mirror")...)
	c.docker.Insecure = append(c.docker.Insecure, valuesOf(args, "insecure-registry")...)
}

// dockerEndpoints returns the endpoints like lookupV2Endpoints of dockerd
// (daemon/pkg/registry). Its two image stores differ in other things, and dockerd may have
// been started with other settings, so that these need not be the ones in effect.
//
// The store that new installations have since 29 reads hosts.toml (daemon/hosts.go).
func (c *Config) dockerEndpoints(ctx context.Context, host string) (endpoints []registry.Endpoint, notices []Notice, err error) {
	dir, _ := c.findHostDir(host, c.dirs)
	if dir != "" && c.version.atLeast(29, 0) && c.fs.IsFile(path.Join(dir, hostsFile)) {
		return c.hostEndpoints(ctx, host)
	}
	addresses := []string{"https://" + host}
	if host == "docker.io" {
		addresses = slices.Concat(c.docker.Mirrors, []string{"https://registry-1.docker.io"})
		if c.docker.invalid {
			notices = append(notices, Notice{Kind: NoticeDockerMirror, Path: c.opts.ConfigFile})
		}
	}
	for i, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || !isDockerMirror(address) {
			continue // dockerd does not start with it
		}
		e := c.plainEndpoint("", u.Scheme, u.Host, strings.TrimSuffix(u.Path, "/")+"/v2")
		e.Source, e.Mirror = c.opts.ConfigFile, i < len(addresses)-1
		e.SkipVerify = c.docker.isInsecure(u.Host)
		e.HTTPFallback = e.SkipVerify && !e.Mirror
		e.Settings.Transport.TLSClientConfig.InsecureSkipVerify = e.SkipVerify
		if !e.SkipVerify {
			found, err := c.setupCertificates(&e, u.Host)
			if err != nil {
				return nil, notices, err
			}
			notices = append(notices, found...)
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, notices, nil
}

// isDockerMirror reports whether dockerd accepts a mirror (registry, ValidateMirror).
func isDockerMirror(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && strings.Contains(address, "://") && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

// isInsecure reports whether dockerd takes a registry for insecure (isSecureIndex). It also
// looks up the addresses of names; this function does not.
func (s dockerSettings) isInsecure(hostport string) bool {
	entries := []string{"::1/128"}
	for _, entry := range s.Insecure {
		_, host, found := strings.Cut(entry, "://")
		if !found {
			host = entry
		}
		entries = append(entries, host)
	}
	return isInsecure(hostport, entries)
}
