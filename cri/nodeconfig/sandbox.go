package nodeconfig

// SandboxImage returns the sandbox (pause) image in the node's configuration, or else the
// runtime's default (DefaultSandboxImage of containerd's internal/cri/config, by version);
// "" if neither is known.
func (c *Config) SandboxImage() string {
	switch {
	case c.opts.isCRIO() && c.crio.PauseImage != "":
		return c.crio.PauseImage
	case c.opts.isCRIO():
		return defaultPauseImage(c.crioVersion())
	case c.settings.sandboxImage != "":
		return c.settings.sandboxImage
	}
	return defaultSandboxImage(parseVersion(c.opts.RuntimeVersion))
}

const pauseImage = "registry.k8s.io/pause:"

// defaultPauseImage returns CRI-O's default (pkg/config, DefaultPauseImage).
func defaultPauseImage(v runtimeVersion) string {
	switch {
	case v.atLeast(1, 34):
		return pauseImage + "3.10.1"
	case v.atLeast(1, 31):
		return pauseImage + "3.10"
	case v.atLeast(1, 27):
		return pauseImage + "3.9"
	}
	return ""
}

func defaultSandboxImage(v runtimeVersion) string {
	const name = pauseImage
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
