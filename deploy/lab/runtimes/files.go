package runtimes

import (
	"maps"
)

// certsDir has the registries' configuration for all runtimes.
const certsDir = "/etc/containerd/certs.d"

// files are the box's own, besides those that the world of faults writes.
func files(all []Runtime) map[string]string {
	files := map[string]string{ // #nosec G101 -- not a secret
		"/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\n",
		"/etc/group":         "root:x:0:\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/os-release":    "NAME=\"whypull lab\"\nID=lab\n",
		// Without a policy CRI-O pulls nothing.
		"/etc/containers/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}` + "\n",
	}
	for _, r := range all {
		maps.Copy(files, map[string]string{r.ConfigFile(): r.config(r)})
	}
	return files
}

// common is what all versions of the configuration file have alike. Without a
// folder of its own two runtimes would share /opt/containerd.
func common(r Runtime) string {
	return `root = "` + r.root() + `"
state = "` + r.state() + `"

[grpc]
  address = "` + r.Socket() + `"

[plugins."io.containerd.internal.v1.opt"]
  path = "` + r.root() + `/opt"
`
}

// config3 is for containerd 2: the settings of the lab's node.
func config3(r Runtime) string {
	return `version = 3
` + common(r) + `
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "` + certsDir + `"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
`
}

// config2 is for containerd 1.6 and 1.7.
func config2(r Runtime) string {
	return `version = 2
` + common(r) + `
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "` + certsDir + `"
`
}

// configCRIO is for CRI-O: its defaults, but for the places.
func configCRIO(r Runtime) string {
	return `[crio]
root = "` + r.root() + `"
runroot = "` + r.state() + `/storage"
storage_driver = "overlay"

[crio.api]
listen = "` + r.Socket() + `"
`
}
