package nodeconfig

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/registry"
)

// setupCertificates adds the certificates in a host's directory (pkg/tlsclientconfig,
// SetupCertificates): CA certificates from *.crt, client certificates from *.cert with
// *.key.
func (c *Config) setupCertificates(e *registry.Endpoint, host string) ([]Notice, error) {
	dir := ""
	for _, root := range c.certDirs() {
		if dir = path.Join(root, host); c.fs.IsDir(dir) {
			break
		}
		dir = ""
	}
	notices := c.unreadCertificates(host, dir, nil)
	if dir == "" {
		return notices, nil
	}
	names := c.fs.List(dir)
	for _, name := range names {
		hidden, err := c.certificate(e, dir, name, names)
		if err != nil {
			return notices, &ConfigError{Notice{Kind: NoticeCertificatesUnusable, Path: path.Join(dir, name)}, err}
		}
		notices = append(notices, hidden...)
	}
	return notices, nil
}

// certificate adds one file of a directory, or returns a notice if this process cannot see
// it.
func (c *Config) certificate(e *registry.Endpoint, dir, name string, names []string) ([]Notice, error) {
	file := path.Join(dir, name)
	switch base, extension := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name); extension {
	case ".crt":
		hidden, err := c.addCA(e, file)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // a dangling link is skipped
		}
		return hidden, err
	case ".cert":
		if !slices.Contains(names, base+".key") {
			return nil, errNoPair
		}
		return c.addClient(e, file, path.Join(dir, base+".key"))
	case ".key":
		if !slices.Contains(names, base+".cert") {
			return nil, errNoPair
		}
	}
	return nil, nil
}
