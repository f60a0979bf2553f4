package cri

import (
	"encoding/json"
	"net/netip"
	"path"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxSandboxInfo bounds what is parsed of a sandbox's information. It has
	// the pod's annotations up to four times, which can have 256 KiB.
	maxSandboxInfo = 4 << 20
	// maxPath is the kernel's bound on a path.
	maxPath = 4096
	// maxDNSEntries and maxDNSEntry bound what is taken from a pod's DNS
	// settings. The API server allows 3 servers and 32 search domains.
	maxDNSEntries = 32
	maxDNSEntry   = 255
	// resolvConfPath is where containers have their resolv.conf.
	resolvConfPath = "/etc/resolv.conf"
	// resolvPathAnnotation is where CRI-O notes the path of resolv.conf.
	resolvPathAnnotation = "io.kubernetes.cri-o.ResolvPath"
)

// sandboxInfo is what is read of the JSON text that runtimes give in the verbose
// answer to PodSandboxStatus. CRI says nothing of its form. All have runtimeSpec,
// which is an OCI runtime specification; containerd has config, the sandbox's
// PodSandboxConfig, and since 2.0 sandboxMetadata (SandboxInfo in its package
// podsandbox/types). Each part is parsed by itself, so that one of an unknown
// form takes none with it.
type sandboxInfo struct {
	spec struct {
		Mounts []struct {
			Destination string `json:"destination"`
			Source      string `json:"source"`
		} `json:"mounts"`
		Linux struct {
			Namespaces []struct {
				Type string `json:"type"`
				Path string `json:"path"`
			} `json:"namespaces"`
		} `json:"linux"`
	}
	annotations struct {
		Annotations map[string]string `json:"annotations"`
	}
	config struct {
		DNS *struct {
			Servers  []string `json:"servers"`
			Searches []string `json:"searches"`
			Options  []string `json:"options"`
		} `json:"dns_config"`
	}
	metadata struct {
		Metadata struct {
			NetNSPath string
		}
	}
}

func parseSandboxInfo(text string) sandboxInfo {
	var info sandboxInfo
	var parts struct {
		RuntimeSpec     json.RawMessage `json:"runtimeSpec"`
		Config          json.RawMessage `json:"config"`
		SandboxMetadata json.RawMessage `json:"sandboxMetadata"`
	}
	if len(text) > maxSandboxInfo || json.Unmarshal([]byte(text), &parts) != nil {
		return info
	}
	parsePart(parts.RuntimeSpec, &info.spec)
	parsePart(parts.RuntimeSpec, &info.annotations)
	parsePart(parts.Config, &info.config)
	parsePart(parts.SandboxMetadata, &info.metadata)
	return info
}

// parsePart leaves a part empty that is not of the form of into.
func parsePart[T any](part json.RawMessage, into *T) {
	var parsed T
	if len(part) > 0 && json.Unmarshal(part, &parsed) == nil {
		*into = parsed
	}
}

// netNS gives the path of the network namespace. containerd 2.x may not have a
// specification, for a sandbox of another kind of shim for one.
func (i sandboxInfo) netNS() string {
	for _, ns := range i.spec.Linux.Namespaces {
		if ns.Type == "network" && cleanPath(ns.Path) {
			return ns.Path
		}
	}
	if told := i.metadata.Metadata.NetNSPath; cleanPath(told) {
		return told
	}
	return ""
}

// resolvConf gives the path of the sandbox's resolv.conf: what is mounted at
// /etc/resolv.conf or, where nothing is, CRI-O's annotation. CRI-O copies the
// pod's own annotations over its own, so that who makes the pod can put any path
// there: the path has to have the sandbox's id in it, which nobody knows before.
func (i sandboxInfo) resolvConf(id string) string {
	for _, m := range i.spec.Mounts {
		if m.Destination == resolvConfPath && resolvConfOf(id, m.Source) {
			return m.Source
		}
	}
	if noted := i.annotations.Annotations[resolvPathAnnotation]; resolvConfOf(id, noted) {
		return noted
	}
	return ""
}

// resolvConfOf tells a path that both containerd and CRI-O can have: the
// sandbox's own folder, below it perhaps another, and the file.
func resolvConfOf(id, file string) bool {
	return id != "" && cleanPath(file) && path.Base(file) == path.Base(resolvConfPath) &&
		slices.Contains(strings.Split(path.Dir(file), "/"), id)
}

// dns gives the DNS settings that the kubelet asked for. containerd writes these
// into resolv.conf as they are, also when they are empty; where there are none it
// copies the node's file, and told is false.
func (i sandboxInfo) dns() (settings DNS, told bool) {
	c := i.config.DNS
	if c == nil {
		return DNS{}, false
	}
	return DNS{
		Servers:  entries(c.Servers, isAddress),
		Searches: entries(c.Searches, isWord),
		Options:  entries(c.Options, isWord),
	}, true
}

// entries gives the entries that are valid, a bounded number.
func entries(all []string, valid func(string) bool) []string {
	var out []string
	for _, e := range all[:min(len(all), maxDNSEntries)] {
		if valid(e) {
			out = append(out, e)
		}
	}
	return out
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isWord(s string) bool {
	return s != "" && len(s) <= maxDNSEntry && !strings.ContainsFunc(s, unprintable)
}

// cleanPath tells a path that names one file without detours.
func cleanPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && p != "/" && len(p) < maxPath && !strings.ContainsFunc(p, unprintable)
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
