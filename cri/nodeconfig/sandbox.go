package nodeconfig

// SandboxImage returns the sandbox (pause) image in the node's configuration, or else the
// default of the runtime's version; "" if neither is known.
func (c *Config) SandboxImage() string {
	own, pauses := c.settings.sandboxImage, containerdPauses
	if c.opts.isCRIO() {
		own, pauses = c.crio.PauseImage, crioPauses
	}
	if own != "" {
		return own
	}
	for _, p := range pauses {
		if c.version.atLeast(p.major, p.minor) {
			return "registry.k8s.io/pause:" + p.tag
		}
	}
	return ""
}

// pause is the tag of the default sandbox image from a version on.
type pause struct {
	major, minor uint
	tag          string
}

// The defaults, the newest first: of CRI-O (pkg/config, DefaultPauseImage) and of containerd
// (internal/cri/config, DefaultSandboxImage).
//
//nolint:gochecknoglobals // never written
var (
	crioPauses       = []pause{{1, 34, "3.10.1"}, {1, 31, "3.10"}, {1, 27, "3.9"}}
	containerdPauses = []pause{{2, 3, "3.10.2"}, {2, 2, "3.10.1"}, {2, 0, "3.10"}, {1, 7, "3.8"}, {1, 6, "3.6"}}
)
