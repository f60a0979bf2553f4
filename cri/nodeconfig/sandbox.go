package nodeconfig

// SandboxImage returns the sandbox (pause) image in the node's configuration, or else the
// runtime's default (DefaultSandboxImage of containerd's internal/cri/config, by version);
// "" if neither is known.
func (c *Config) SandboxImage() string {
	if c.opts.isCRIO() {
		if c.crio.PauseImage == "" && c.crioVersion().atLeast(1, 37) {
			return "registry.k8s.io/pause:3.10.1" // pkg/config, DefaultPauseImage
		}
		return c.crio.PauseImage
	}
	if c.settings.sandboxImage != "" {
		return c.settings.sandboxImage
	}
	return defaultSandboxImage(parseVersion(c.opts.RuntimeVersion))
}

func defaultSandboxImage(v runtimeVersion) string {
	const name = "registry.k8s.io/pause:"
	switch {
	case v.atLeast(2, 3):
		return name + "3.10.2"
	case v.atLeast(2, 2):
		return name + "3.10.1"
	case v.atLeast(2, 0):
		return name + "3.10"
	case v.atLeast(1, 7):
		return name + "3.8"
	case v.atLeast(1, 6):
		return name + "3.6"
	}
	return ""
}
