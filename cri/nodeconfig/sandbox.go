package nodeconfig

// SandboxImage returns the sandbox (pause) image in the node's configuration, or else the
// default of the runtime's version; "" if neither is known.
func (c *Config) SandboxImage() string {
	switch {
	case c.opts.isCRIO() && c.crio.PauseImage != "":
		return c.crio.PauseImage
	case c.opts.isCRIO():
		return crioSandboxImage(c.version)
	case c.settings.sandboxImage != "":
		return c.settings.sandboxImage
	}
	return containerdSandboxImage(c.version)
}

const pauseImage = "registry.k8s.io/pause:"

// crioSandboxImage returns CRI-O's default (pkg/config, DefaultPauseImage).
func crioSandboxImage(v runtimeVersion) string {
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

// containerdSandboxImage returns containerd's default (internal/cri/config,
// DefaultSandboxImage).
func containerdSandboxImage(v runtimeVersion) string {
	switch {
	case v.atLeast(2, 3):
		return pauseImage + "3.10.2"
	case v.atLeast(2, 2):
		return pauseImage + "3.10.1"
	case v.atLeast(2, 0):
		return pauseImage + "3.10"
	case v.atLeast(1, 7):
		return pauseImage + "3.8"
	case v.atLeast(1, 6):
		return pauseImage + "3.6"
	}
	return ""
}
