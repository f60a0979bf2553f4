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
	// maxSandboxInfo limits the size of a sandbox's info. It contains the pod's
	// annotations, up to 256 KiB, as many as four times.
	maxSandboxInfo = 4 << 20
	// maxPath is the kernel's limit on paths.
	maxPath = 4096
	// maxDNSEntries and maxDNSEntry limit a pod's DNS settings. The API server
	// allows 3 servers and 32 search domains.
	maxDNSEntries = 32
	maxDNSEntry   = 255
	// resolvConfPath is the path of resolv.conf in containers.
	resolvConfPath = "/etc/resolv.conf"
	// resolvPathAnnotation is where CRI-O records the path of resolv.conf.
	resolvPathAnnotation = "io.kubernetes.cri-o.ResolvPath"
)

// sandboxInfo is the part of the JSON text in a verbose PodSandboxStatus
// response that is needed here. CRI does not define its form. All runtimes have
// runtimeSpec, an OCI runtime specification. containerd also has config, the
// sandbox's PodSandboxConfig, and since 2.0 sandboxMetadata (SandboxInfo in its
// package podsandbox/types). Each part is parsed separately, so that a part of
// unknown form does not affect the others.
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
		DNS DNS `json:"dns_config"`
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

// parsePart leaves into unchanged if the part does not have its form.
func parsePart[T any](part json.RawMessage, into *T) {
	var parsed T
	if len(part) > 0 && json.Unmarshal(part, &parsed) == nil {
		*into = parsed
	}
}

// netNS returns the path of the network namespace. containerd 2.x may have no
// specification, for example with another kind of shim.
func (i sandboxInfo) netNS() string {
	for _, ns := range i.spec.Linux.Namespaces {
		if ns.Type == "network" && cleanPath(ns.Path) {
			return ns.Path
		}
	}
	if netns := i.metadata.Metadata.NetNSPath; cleanPath(netns) {
		return netns
	}
	return ""
}

// resolvConf returns the path of the sandbox's resolv.conf: what is mounted at
// /etc/resolv.conf or else CRI-O's annotation. CRI-O copies the pod's own
// annotations over its own, so whoever creates the pod could put any path
// there. The path must therefore contain the sandbox's ID, which nobody can
// know in advance.
func (i sandboxInfo) resolvConf(id string) string {
	for _, m := range i.spec.Mounts {
		if m.Destination == resolvConfPath && resolvConfOf(id, m.Source) {
			return m.Source
		}
	}
	if file := i.annotations.Annotations[resolvPathAnnotation]; resolvConfOf(id, file) {
		return file
	}
	return ""
}

// resolvConfOf reports whether containerd or CRI-O could have put the sandbox's
// resolv.conf there: in a directory named after the sandbox, or in one below
// it.
func resolvConfOf(id, file string) bool {
	return id != "" && cleanPath(file) && path.Base(file) == path.Base(resolvConfPath) &&
		slices.Contains(strings.Split(path.Dir(file), "/"), id)
}

// dns returns the DNS settings that the kubelet asked for. containerd writes
// them to resolv.conf as they are; without settings it copies the node's file.
func (i sandboxInfo) dns() DNS {
	return DNS{
		Servers:  entries(i.config.DNS.Servers, isAddress),
		Searches: entries(i.config.DNS.Searches, isWord),
		Options:  entries(i.config.DNS.Options, isWord),
	}
}

// entries returns the valid ones of the first maxDNSEntries.
func entries(all []string, valid func(string) bool) []string {
	return slices.DeleteFunc(all[:min(len(all), maxDNSEntries)], func(e string) bool { return !valid(e) })
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isWord(s string) bool {
	return s != "" && len(s) <= maxDNSEntry && !strings.ContainsFunc(s, unprintable)
}

// cleanPath reports whether p is an absolute path without "..", ".", or
// unprintable characters.
func cleanPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && p != "/" && len(p) < maxPath && !strings.ContainsFunc(p, unprintable)
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
