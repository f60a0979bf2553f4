package nodeconfig

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/registry"
)

// errNoPair is a certificate without its key, or the other way round.
var errNoPair = errors.New("a client certificate needs a key of its name, and a key a certificate")

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
	if dir == "" {
		return nil, nil
	}
	var notices []Notice
	names := c.fs.List(dir)
	for _, name := range names {
		hidden, err := c.certificate(e, dir, name, names)
		if err != nil {
			return notices, &ConfigError{Notice{Kind: NoticeCertificatesUnusable, Path: path.Join(dir, name)}, err}
		}
		if hidden != "" {
			notices = append(notices, Notice{Kind: NoticeFileHidden, Path: hidden})
		}
	}
	return notices, nil
}

// certificate adds one file of a directory; hidden is its path if this process cannot
// see it.
func (c *Config) certificate(e *registry.Endpoint, dir, name string, names []string) (hidden string, err error) {
	file, config := path.Join(dir, name), e.Settings.Transport.TLSClientConfig
	switch base, extension := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name); extension {
	case ".crt":
		if c.hides(file) {
			e.Blind = true
			return file, nil
		}
		err := c.addCA(config, file)
		if errors.Is(err, os.ErrNotExist) {
			return "", nil // a dangling link is skipped
		}
		return "", err
	case ".cert":
		if !slices.Contains(names, base+".key") {
			return "", errNoPair
		}
		if hidden := c.hiddenOf(file, path.Join(dir, base+".key")); hidden != "" {
			e.BlindClient = true
			return hidden, nil
		}
		return "", c.addClient(config, file, path.Join(dir, base+".key"))
	case ".key":
		if !slices.Contains(names, base+".cert") {
			return "", errNoPair
		}
	}
	return "", nil
}
