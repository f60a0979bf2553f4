package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
	"go.podman.io/image/v5/types"
)

// version is the CRI-O release that this program imitates.
const version = "1.37.0"

// config holds the image settings of crio.conf.
type config struct {
	CRIO struct {
		Root          string `toml:"root"`
		RunRoot       string `toml:"runroot"`
		StorageDriver string `toml:"storage_driver"`
		API           struct {
			Listen string `toml:"listen"`
		} `toml:"api"`
		Image imageConfig `toml:"image"`
	} `toml:"crio"`
}

type imageConfig struct {
	GlobalAuthFile       string        `toml:"global_auth_file"`
	NamespacedAuthDir    string        `toml:"namespaced_auth_dir"`
	PauseImage           string        `toml:"pause_image"`
	SignaturePolicy      string        `toml:"signature_policy"`
	SignaturePolicyDir   string        `toml:"signature_policy_dir"`
	BigFilesTemporaryDir string        `toml:"big_files_temporary_dir"`
	PullProgressTimeout  time.Duration `toml:"pull_progress_timeout"`
	ShortNameMode        string        `toml:"short_name_mode"`
}

// defaults returns the defaults of CRI-O 1.37.
func defaults() config {
	var c config
	c.CRIO.Root = "/var/lib/containers/storage"
	c.CRIO.RunRoot = "/run/containers/storage"
	c.CRIO.StorageDriver = "overlay"
	c.CRIO.API.Listen = "/var/run/crio/crio.sock"
	c.CRIO.Image = imageConfig{
		NamespacedAuthDir:  "/etc/crio/auth",
		PauseImage:         "registry.k8s.io/pause:3.10.1",
		SignaturePolicyDir: "/etc/crio/policies",
		ShortNameMode:      "enforcing",
	}
	return c
}

// loadConfig reads the configuration file, if it exists, and then its drop-ins in order
// of their names. Settings that a file does not mention are kept.
func loadConfig(file, dir string) (config, error) {
	c := defaults()
	var files []string
	for _, pattern := range []string{file, filepath.Join(dir, "*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return config{}, fmt.Errorf("configuration %s: %w", pattern, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		if _, err := toml.DecodeFile(name, &c); err != nil {
			return config{}, fmt.Errorf("configuration %s: %w", name, err)
		}
	}
	return c, nil
}

// systemContext returns the image library's settings for every pull.
func (c config) systemContext(registries string) *types.SystemContext {
	image := c.CRIO.Image
	mode := types.ShortNameModeEnforcing
	if image.ShortNameMode == "disabled" {
		mode = types.ShortNameModeDisabled
	}
	return &types.SystemContext{
		DockerRegistryUserAgent:  "cri-o/" + version,
		SystemRegistriesConfPath: registries,
		BigFilesTemporaryDir:     image.BigFilesTemporaryDir,
		ShortNameMode:            &mode,
		AuthFilePath:             image.GlobalAuthFile,
		SignaturePolicyPath:      image.SignaturePolicy,
	}
}
