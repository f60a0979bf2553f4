package kubelet

import (
	"path"

	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/cri/credential"
)

// DockerConfig returns the node's docker configuration that the kubelet takes
// credentials from: the first readable and valid file of all the places it
// looks in, and no other (credentialprovider.ReadDockerConfigFile). It is also
// NotVisible if an earlier place is not visible, since a file there would win.
// The kubelet rereads the file every five minutes. The data is shared and must
// not be changed.
func (k *Kubelet) DockerConfig() (keyring.NodeFile, Presence) {
	config := readCached(k.docker, "", k.readDockerConfig)
	return config.file, config.presence
}

// dockerConfig is the result of DockerConfig.
type dockerConfig struct {
	file     keyring.NodeFile
	presence Presence
}

// UnseenDockerConfigs returns the paths of the docker configurations that the kubelet
// may take credentials from and that are not visible: the one in its root directory and,
// if its service sets HOME, the one there. Those in / are rare, so they are left out.
func (k *Kubelet) UnseenDockerConfigs() []string {
	usual := []string{path.Join(k.dir, "config.json")}
	if home := k.home(); home != "/" {
		usual = append(usual, path.Join(home, ".docker", "config.json"))
	}
	var out []string
	for _, name := range usual {
		read, presence, err := k.read(name)
		switch f := (keyring.NodeFile{Path: name, Data: credential.Redact(read.Data)}); {
		case presence == NotVisible:
			out = append(out, name)
		case presence == Present && err == nil && f.Valid():
			return out // the kubelet reads no further
		}
	}
	return out
}

func (k *Kubelet) readDockerConfig() dockerConfig {
	for _, f := range k.dockerFiles() {
		read, presence, err := k.read(f.Path)
		if presence == NotVisible {
			return dockerConfig{presence: NotVisible}
		}
		f.Data, f.Changed = credential.Redact(read.Data), read.Changed
		if presence == Present && err == nil && f.Valid() {
			return dockerConfig{f, Present}
		}
	}
	return dockerConfig{presence: Absent}
}

// dockerFiles returns the paths in the kubelet's order: its root directory, its
// working directory (/ for a systemd service), its home, and /
// (DefaultDockerConfigJSONPaths, DefaultDockercfgPaths). systemd sets no HOME
// for root's services; the kubelet then looks below its working directory.
func (k *Kubelet) dockerFiles() []keyring.NodeFile {
	home := k.home()
	var out []keyring.NodeFile
	for _, dir := range []string{k.dir, "/", path.Join(home, ".docker"), "/.docker"} {
		out = append(out, keyring.NodeFile{Path: path.Join(dir, "config.json")})
	}
	for _, dir := range []string{k.dir, "/", home} {
		out = append(out, keyring.NodeFile{Path: path.Join(dir, ".dockercfg"), Legacy: true})
	}
	return out
}

// home returns the kubelet's HOME if its service sets one, else /.
func (k *Kubelet) home() string {
	if home := k.service().home; path.IsAbs(home) {
		return home
	}
	return "/"
}

// DockerConfigPaths returns the paths on the node where the kubelet looks for
// its docker configuration, in its order, whether or not the files exist.
func (k *Kubelet) DockerConfigPaths() []string {
	var out []string
	for _, f := range k.dockerFiles() {
		out = append(out, f.Path)
	}
	return out
}
