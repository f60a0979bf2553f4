package faulttest

import (
	"fmt"
	"net/http"
	"strings"
)

// mirrorCases are about registries that stand in for others, by hosts.toml.
func (w *World) mirrorCases() []spec {
	var out []spec
	for _, origin := range []string{"good", "401", "404", hostNXDOMAIN} {
		for _, mirror := range []string{"404", "500", hostRefused, hostNXDOMAIN, "web-page", "corrupt"} {
			out = append(out, w.mirrored(mirror, origin))
		}
	}
	return append(out, w.mirrored("works", "404"),
		w.mirrorOnly("404"), w.mirrorOnly(hostRefused), w.mirrorOnly(hostUntrusted), w.mirrorOnly("500"))
}

// mirrored is a case with a mirror in front of an origin.
func (w *World) mirrored(mirror, origin string) spec {
	name := "mirror-" + mirror + "-origin-" + origin
	s := simple(name, name, Works, &repository{})
	switch origin {
	case "401":
		s.repo.admit = basic(unauthorized())
	case "404":
		s.repo = nil
	case hostNXDOMAIN:
		if w.repair != repairOthers {
			s.host += "." + hostNXDOMAIN
		}
	}
	at := w.mirrorHost(&s, mirror)
	s.crio.mirror = w.at(at)
	s.files = hostsFile(fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n",
		"https://"+w.hostport(s.host), "https://"+w.at(at)))
	mirrorTruth(&s, mirror, origin)
	return s
}

// mirrorOnly is a case with a mirror and nothing behind it.
func (w *World) mirrorOnly(mirror string) spec {
	name := "mirror-only-" + mirror
	s := simple(name, name, MirrorFailed, &repository{})
	s.crio.location = w.at(w.mirrorHost(&s, mirror))
	s.files = hostsFile(fmt.Sprintf("server = %[1]q\n[host.%[1]q]\n", "https://"+s.crio.location))
	return s
}

func hostsFile(content string) map[string]string { return map[string]string{"hosts.toml": content} }

// mirrorHost gives a case's mirror its fault, and returns its address.
func (w *World) mirrorHost(s *spec, fault string) string {
	if w.repair == repairMirrors {
		fault = "works"
	}
	switch fault {
	case "works":
		s.mirror = &repository{}
	case "500":
		s.mirror = &repository{all: refusal(http.StatusInternalServerError, "UNKNOWN")}
	case "web-page":
		s.mirror = &repository{all: webPage(http.StatusOK)}
	case "corrupt":
		s.mirror = &repository{layer: func(rw http.ResponseWriter, r *http.Request) {
			layer := s.mirror.content.layer
			give(rw, r, document{layer.mediaType, flipped(layer.body)}, layer.digest())
		}}
	case "404":
	default:
		return fault
	}
	return hostMirror
}

// mirrorTruth says which of two failures counts. A runtime shows one: if that
// is the mirror's, and the origin fails in another way, then the mirror hides
// it.
//
// containerd 2.4 (core/remotes/docker/resolver.go, Resolve) shows the error
// that came furthest: no answer or no credential, then 404, then other statuses; of
// equals, the first. Before, it was the first that was not a 404.
func mirrorTruth(s *spec, mirror, origin string) {
	own := map[string]Truth{
		"401": AuthenticationRequired, "404": RepositoryNotFound, hostNXDOMAIN: RegistryNameNotFound,
	}[origin]
	switch {
	case mirror == "web-page" || mirror == "corrupt":
		s.Truth = MirrorFailed
	case mirror == "works" || origin == "good":
		s.Truth = Works
	case mirror == origin: // the same is wrong with both
		s.Truth = own
	case mirror == "404": // hides what has no status
		s.Truth = MirrorFailed
		*s = s.on(Containerd16, own).on(Containerd17, own)
	case origin == "404" && mirror != "500": // has come further than no answer
		s.Truth = own
		*s = s.on(Containerd16, MirrorFailed).on(Containerd17, MirrorFailed)
	default:
		s.Truth = MirrorFailed
	}
}

// configCases are about the node's own settings for a registry.
func (w *World) configCases() []spec {
	const (
		toml      = "hosts.toml"
		trusting  = "server = TLS\n[host.TLS]\n  ca = \"authority.pem\"\n"
		broken    = "server = TLS\n[host.TLS]\n  ca = \"authority.pem\n"
		plain     = "server = PLAIN\n[host.PLAIN]\n  capabilities = [\"pull\", \"resolve\"]\n"
		incapable = "server = TLS\ncapabilities = [\"pull\"]\n[host.TLS]\n  capabilities = [\"pull\"]\n"
		unknown   = "server = TLS\n[host.TLS]\n  capabilities = [\"pull\", \"resolve\", \"fly\"]\n  ca = \"authority.pem\"\n"
		nowhere   = "server = TLS\n[host.TLS]\n  ca = \"nowhere.pem\"\n"
		lax       = "server = TLS\n[host.TLS]\n  skip_verify = true\n"
		hostless  = "server = TLS\nca = \"authority.pem\"\n"
	)
	at := func(name, behind string, truth Truth, file, format string) spec {
		host := name
		if behind != "" {
			host += "." + behind
		}
		s := simple(name, host, truth, &repository{})
		s.crio = crioConfig(name, string(w.stranger.PEM()))
		if w.repair == repairOthers {
			file, format = toml, trusting
			s.crio = crioConfig("config-ca-works", string(w.stranger.PEM()))
		}
		text := strings.NewReplacer("TLS", `"https://`+w.hostport(host)+`"`, "PLAIN", `"http://`+w.hostport(host)+`"`).Replace(format)
		s.files = map[string]string{file: text, "authority.pem": string(w.stranger.PEM())}
		return s
	}

	invalid := RegistryConfigInvalid
	return []spec{
		at("config-ca-works", hostUntrusted, Works, toml, trusting),
		at("config-skip-verify-works", hostUntrusted, Works, toml, lax),
		at("config-plain-works", hostPlain, Works, toml, plain),
		at("config-does-not-parse", hostUntrusted, invalid, toml, broken),
		at("config-capability-unknown", hostUntrusted, invalid, toml, unknown),
		at("config-file-misnamed", hostUntrusted, invalid, "host.toml", trusting),
		at("config-ca-missing", "", invalid, toml, nowhere),
		at("config-no-resolve", "", invalid, toml, incapable),
		at("config-plain-for-tls", "", HTTPSMismatch, toml, plain),
		// containerd 1.6 takes a file without any host for invalid.
		at("config-without-host-works", hostUntrusted, Works, toml, hostless).on(Containerd16, invalid),
	}
}

// proxyCases are about registries behind the proxy.
func (w *World) proxyCases() []spec {
	behind := func(name string, truth Truth, repo *repository) spec {
		return simple(name, name+"."+proxiedDomain, truth, repo)
	}
	plain := behind("proxy-plain-502", ProxyFailed, nil)
	plain.files = hostsFile(fmt.Sprintf("server = %[1]q\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+w.hostport(plain.host)))
	plain.crio.insecure = true
	return []spec{
		behind("proxy-works", Works, &repository{}),
		behind("proxy-403", ProxyFailed, nil),
		behind("proxy-407", ProxyFailed, nil),
		behind("proxy-502", ProxyFailed, nil),
		behind("proxy-503", ProxyFailed, nil),
		behind("proxy-hang", ProxyFailed, nil).slowly(),
		plain,
		// What is behind the proxy fails, and not the proxy.
		behind("proxied-repository-404", RepositoryNotFound, nil),
		behind("proxied-401", AuthenticationRequired, &repository{admit: basic(unauthorized())}),
		behind("proxied-500", RegistryError, &repository{all: refusal(http.StatusInternalServerError, "UNKNOWN")}),
	}
}

// proxyDownCases are about proxies that are not there.
func (w *World) proxyDownCases() []spec {
	var out []spec
	for _, name := range []string{"proxy-refused", "proxy-unknown"} {
		out = append(out, simple(name, name+"."+downDomain, ProxyFailed, nil))
	}
	return out
}
