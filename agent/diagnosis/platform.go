package diagnosis

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Platform is the distribution or operating system of a node, if its nodes are
// administered in a way of their own. The zero value is any other.
type Platform string

// The platforms.
const (
	PlatformK3s          Platform = "k3s"
	PlatformRKE2         Platform = "RKE2"
	PlatformK0s          Platform = "k0s"
	PlatformMicroK8s     Platform = "MicroK8s"
	PlatformTalos        Platform = "Talos"
	PlatformBottlerocket Platform = "Bottlerocket"
	PlatformOpenShift    Platform = "OpenShift"
	PlatformGKE          Platform = "GKE"
)

// nodeTools are the commands of a platform for a node. "NODE" in a command stands for
// the node's name.
type nodeTools struct {
	// about is the line in front of what a remedy does on a node, files the one in front
	// of changes to its files, both with the node's name as their argument.
	about, files string
	// pull pulls an image, prune removes those that no container uses, restart restarts
	// the runtime. prune is "" if there is no such command.
	pull, prune, restart string
	// log and kubeletLog print the logs of the runtime and of the kubelet.
	log, kubeletLog string
	// proxies shows the proxy settings of the runtime. It does not depend on the platform.
	proxies string
	// crictl says where crictl is, if it is not in the PATH.
	crictl string
	// running is what a restart does to running containers.
	running string
	// certsDir is the usual directory of hosts.toml files.
	certsDir string
	// registries is the file that hosts.toml files are generated from.
	registries string
	// auth is where the runtime's own credentials are.
	auth string
}

const keepRunning = "Running containers keep running."

// platformTools are the tools of each platform. A field that is empty has the value of
// the zero platform, except those that are about a platform.
var platformTools = map[Platform]nodeTools{ //nolint:gochecknoglobals // never written
	"": {
		pull: "crictl pull", prune: "crictl rmi --prune", restart: "systemctl restart containerd",
		log: "journalctl --since=-1h -u containerd", kubeletLog: "journalctl --since=-1h -u kubelet",
		running: keepRunning, certsDir: "/etc/containerd/certs.d", proxies: "ps eww -C containerd",
	},
	PlatformK3s: {
		pull: "k3s crictl pull", prune: "k3s crictl rmi --prune", restart: "systemctl try-restart 'k3s*.service'",
		log: "tail -n 200 /var/lib/rancher/k3s/agent/containerd/containerd.log", kubeletLog: "journalctl --since=-1h -u 'k3s*.service'",
		registries: "/etc/rancher/k3s/registries.yaml", auth: "configs of /etc/rancher/k3s/registries.yaml and restart k3s",
	},
	PlatformRKE2: {
		pull: "crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock pull", prune: "crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock rmi --prune",
		restart: "systemctl try-restart 'rke2*.service'", crictl: "crictl is in /var/lib/rancher/rke2/bin",
		log: "tail -n 200 /var/lib/rancher/rke2/agent/containerd/containerd.log", kubeletLog: "tail -n 200 /var/lib/rancher/rke2/agent/logs/kubelet.log",
		registries: "/etc/rancher/rke2/registries.yaml", auth: "configs of /etc/rancher/rke2/registries.yaml and restart RKE2",
	},
	PlatformK0s: {
		pull: "crictl --runtime-endpoint unix:///run/k0s/containerd.sock pull", prune: "crictl --runtime-endpoint unix:///run/k0s/containerd.sock rmi --prune",
		restart: "systemctl try-restart 'k0s*.service'", crictl: "crictl is not part of k0s",
		log: "journalctl --since=-1h -u 'k0s*.service'", kubeletLog: "journalctl --since=-1h -u 'k0s*.service'",
	},
	PlatformMicroK8s: {
		pull:  "microk8s ctr images pull --hosts-dir /var/snap/microk8s/current/args/certs.d",
		prune: "crictl --runtime-endpoint unix:///var/snap/microk8s/common/run/containerd.sock rmi --prune", crictl: "crictl is not part of MicroK8s",
		log: "journalctl --since=-1h -u snap.microk8s.daemon-containerd", kubeletLog: "journalctl --since=-1h -u snap.microk8s.daemon-kubelite",
		restart: "snap restart microk8s.daemon-containerd", running: "Containers may restart too.",
		certsDir: "/var/snap/microk8s/current/args/certs.d",
	},
	PlatformTalos: {
		about: "Node %s runs Talos and has no shell: run commands in a pod on it, which kubectl debug starts, and change its files through the machine configuration, with talosctl patch machineconfig.",
		pull:  "talosctl -n NODE image pull --namespace cri", restart: "talosctl -n NODE reboot", running: "Talos restarts its runtime only with the node.",
		log: "talosctl -n NODE logs cri", kubeletLog: "talosctl -n NODE logs kubelet",
		auth: "a RegistryAuthConfig of the machine configuration",
	},
	PlatformBottlerocket: {
		about: "For a shell on node %s, run sheltie in its admin container. Change its files through settings, with apiclient or in the user data, because Bottlerocket writes them.",
		pull:  "ctr --namespace k8s.io images pull", auth: "settings.container-registry.credentials",
	},
	PlatformOpenShift: {
		about:   "For a shell on node %s, run oc debug node/%[1]s and in it chroot /host. Change its files with a MachineConfig, an ImageDigestMirrorSet or an ImageTagMirrorSet, because the Machine Config Operator writes them.",
		restart: "systemctl restart crio",
	},
	PlatformGKE: {
		files: "Change files of node %s through the containerd configuration of its node pool too, because a new node does not have them.",
	},
}

// tools returns the tools of the node's platform.
func (x *facts) tools() nodeTools {
	t, usual := platformTools[x.Platform], platformTools[""]
	t.pull, t.restart = cmp.Or(t.pull, usual.pull), cmp.Or(t.restart, usual.restart)
	t.log, t.kubeletLog = cmp.Or(t.log, usual.log), cmp.Or(t.kubeletLog, usual.kubeletLog)
	t.running, t.certsDir, t.proxies = cmp.Or(t.running, usual.running), cmp.Or(t.certsDir, usual.certsDir), usual.proxies
	if x.Platform != PlatformTalos && x.Platform != PlatformBottlerocket { // which have no crictl
		t.prune = cmp.Or(t.prune, usual.prune)
	}
	switch {
	case x.crio():
		t.restart, t.log, t.proxies = "systemctl restart crio", "journalctl --since=-1h -u crio", "ps eww -C crio"
	case x.docker():
		t.pull, t.prune, t.crictl = "docker pull", "docker image prune --all --force", ""
		t.restart, t.log, t.proxies = "systemctl restart docker", "journalctl --since=-1h -u docker", "docker info" // which has those of daemon.json too
		t.running = "Running containers stop, unless dockerd has live-restore."
	}
	for _, command := range []*string{&t.pull, &t.restart, &t.log, &t.kubeletLog} {
		*command = strings.ReplaceAll(*command, "NODE", quote(x.Node))
	}
	return t
}

// withAbout puts what there is to know about the node's platform in front of the first
// line about the node.
func (x *facts) withAbout(lines []string) []string {
	t := platformTools[x.Platform]
	about := t.about
	if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, " /etc/") }) {
		about = cmp.Or(about, t.files)
	}
	if about == "" || x.Offline {
		return lines
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "# On node ") {
			return append(append(lines[:i:i], comment(about, x.Node)), lines[i:]...)
		}
	}
	return lines
}

// trustOnPlatform has the node trust the registry's authority where hosts.toml is not
// the place for it; nil if it is.
func (x *facts) trustOnPlatform() []string {
	host := x.host()
	switch t := x.tools(); {
	case t.registries != "":
		file := strings.TrimSuffix(t.registries, "registries.yaml") + hostOnly(host) + ".crt"
		return append([]string{
			comment("On node %s, add the CA certificate of %s from the file ca.crt:", x.Node, host),
			"mkdir -p " + quote(path.Dir(file)) + " && cat > " + quote(file) + " <ca.crt>",
		}, x.inRegistries(t, comment("An existing file %s is not changed: in its configs, name that file as ca_file of %s. A restart of %s reads it and stops no container:", t.registries, host, string(x.Platform)),
			"configs:", `  "`+host+`":`, "    tls:", `      ca_file: "`+file+`"`)...)
	case x.Platform == PlatformTalos:
		return x.patchTalos("add a RegistryTLSConfig named %s with the CA certificate as ca. Before Talos 1.12 it is machine.registries.config of that host, with tls.ca:", host)
	case x.Platform == PlatformBottlerocket:
		return []string{
			comment("On node %s, trust the CA certificate of %s, encoded by base64:", x.Node, host),
			"apiclient set pki.registry.trusted=true pki.registry.data=<base64>",
		}
	case x.Platform == PlatformOpenShift:
		return []string{
			comment("Give the CA certificate of %s to all nodes from the file ca.crt. If additionalTrustedCA of the image configuration names a config map, add the key to that one instead:", host),
			"oc -n openshift-config create configmap whypull-registry-ca --from-file=" + quote(strings.Replace(host, ":", "..", 1)) + "=<ca.crt>",
			"oc patch image.config.openshift.io/cluster --type=merge -p " + quote(`{"spec":{"additionalTrustedCA":{"name":"whypull-registry-ca"}}}`),
		}
	}
	return nil
}

// schemeOnPlatform has the node use the other scheme where hosts.toml is not the place
// for it; nil if it is.
func (x *facts) schemeOnPlatform(url string) []string {
	host := x.host()
	switch t := x.tools(); {
	case t.registries != "":
		return append([]string{comment("On node %s, set the scheme of %s:", x.Node, x.Registry)},
			x.inRegistries(t, comment("An existing file %s is not changed: in its mirrors, make %s the endpoint of %s. A restart of %s reads it and stops no container:", t.registries, url, x.Registry, string(x.Platform)),
				"mirrors:", `  "`+x.Registry+`":`, "    endpoint:", `      - "`+url+`"`)...)
	case x.Platform == PlatformTalos:
		return x.patchTalos("add a RegistryMirrorConfig named %s with the endpoint %s. Before Talos 1.12 it is machine.registries.mirrors of that registry, with endpoints:", x.Registry, url)
	case x.Platform == PlatformBottlerocket:
		return []string{comment("On node %s, add a row to settings.container-registry.mirrors, with registry %s and endpoint %s", x.Node, x.Registry, url), x.watch()}
	case x.Platform == PlatformOpenShift && strings.HasPrefix(url, "http://"):
		return []string{
			comment("If %s uses plain HTTP, add it to insecureRegistries below registrySources of the image configuration, which all nodes get:", host),
			"oc edit image.config.openshift.io/cluster",
		}
	}
	return nil
}

// inRegistries writes registries.yaml, unless it exists, and has it read.
func (x *facts) inRegistries(t nodeTools, about string, lines ...string) []string {
	return []string{about, writeUnlessThere(t.registries, lines...), t.restart}
}

// patchTalos changes the machine configuration. format continues "…, " and has args.
func (x *facts) patchTalos(format string, args ...any) []string {
	return []string{
		comment("In the machine configuration of node %s, "+format, append([]any{x.Node}, args...)...),
		"talosctl -n " + quote(x.Node) + " patch machineconfig --patch @<patch.yaml>",
	}
}

// writeUnlessThere writes a file with these lines, unless it exists.
func writeUnlessThere(file string, lines ...string) string {
	words := make([]string, len(lines))
	for i, l := range lines {
		words[i] = quote(l)
	}
	return "test -e " + quote(file) + " || printf '%s\\n' " + strings.Join(words, " ") + " > " + quote(file)
}
