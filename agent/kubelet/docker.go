package kubelet

import (
	"path"

	"github.com/whypull/whypull/agent/keyring"
)

// DockerConfig returns the docker configuration of the node that the kubelet
// takes credentials from: of all the places where it looks, the first with a
// readable and valid file, and no other (credentialprovider.ReadDockerConfigFile).
// It is NotVisible also when only an earlier place is not, since what is there
// would take the place of a later file. The kubelet reads it anew every five
// minutes. The data is shared and must not be changed.
func (k *Kubelet) DockerConfig() (keyring.NodeFile, Presence) {
	return once(k.docker, "", k.readDockerConfig)
}

func (k *Kubelet) readDockerConfig() (keyring.NodeFile, Presence) {
	for _, f := range k.dockerFiles() {
		read, presence, err := k.read(f.Path)
		if presence == NotVisible {
			return keyring.NodeFile{}, NotVisible
		}
		f.Data, f.Changed = read.Data, read.Changed
		if presence == Present && err == nil && f.Valid() {
			return f, Present
		}
	}
	return keyring.NodeFile{}, Absent
}

// dockerFiles are the places in the kubelet's order: its root directory, its
// working directory, which is / for a service of systemd, its home and /
// (DefaultDockerConfigJSONPaths, DefaultDockercfgPaths). systemd gives a service
// of root's no HOME; the kubelet then looks below its working directory.
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

// home is the kubelet's HOME, if its service is given one.
func (k *Kubelet) home() string {
	if home := k.service().home; path.IsAbs(home) {
		return home
	}
	return "/"
}

// DockerConfigPaths returns the places on the node where the kubelet looks for
// its docker configuration, in its order, whether there is a file or not.
func (k *Kubelet) DockerConfigPaths() []string {
	var out []string
	for _, f := range k.dockerFiles() {
		out = append(out, f.Path)
	}
	return out
}
