package faulttest

import (
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// repair is what a world's cases are without: each is its original without one
// fault.
type repair int

const (
	unrepaired repair = iota
	// repairMirrors: mirrors work; all else is as it was.
	repairMirrors
	// repairOthers: mirrors are as they were. The fault that a case has beside
	// them is gone.
	repairOthers
)

// repaired opens the worlds in which the faults are gone. They share the name
// server and the authorities of w, and have registries of their own.
func (w *World) repaired() error {
	for _, r := range []repair{repairMirrors, repairOthers} {
		sub := &World{config: w.config, authority: w.authority, stranger: w.stranger, dns: w.dns, proxy: w.proxy,
			addresses: map[string]string{}, done: w.done, repair: r, repairedPorts: w.repairedPorts}
		w.healed = append(w.healed, sub)
		if err := sub.open(); err != nil {
			return err
		}
		if _, port, err := net.SplitHostPort(sub.addresses[hostGood]); err == nil {
			w.repairedPorts.Store(port, true)
		}
	}
	return nil
}

// Healed returns a case of the same name without the fault that a cause names,
// for a runtime: the same registry and the same configuration but for that. It
// reports whether the world has one.
func (w *World) Healed(name, runtime string, cause Truth) (Case, bool) {
	want := repairOthers
	if cause == MirrorFailed {
		want = repairMirrors
	}
	for _, sub := range w.healed {
		if sub.repair != want {
			continue
		}
		cases := sub.Cases()
		if runtime == CRIO137 {
			cases = sub.CRIOCases()
		}
		i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })
		if i >= 0 {
			return cases[i], true
		}
	}
	return Case{}, false
}

// onTheWay are the causes of which only the way to a host is at fault.
func onTheWay(t Truth) bool {
	return slices.Contains([]Truth{
		RegistryNameNotFound, DNSFailure, ConnectionRefused, ConnectionTimeout, NetworkUnreachable,
		TLSUntrusted, TLSHostnameMismatch, TLSExpired, TLSHandshakeFailed, HTTPSMismatch,
	}, t)
}

// heal drops the specs of which this world has no repaired variant, and repairs
// the others.
func (w *World) heal(specs []spec) []spec {
	if w.repair == unrepaired {
		return specs
	}
	var out []spec
	for _, s := range specs {
		causes := s.causes()
		ofMirror := slices.Contains(causes, MirrorFailed)
		causes = slices.DeleteFunc(causes, func(t Truth) bool { return t == MirrorFailed })
		switch {
		case w.repair == repairMirrors && ofMirror:
			out = append(out, s) // mirrorHost has done it
		case s.Name == "proxy-plain-502": // the proxy carries no plain HTTP
		case w.repair == repairOthers && len(causes) > 0:
			out = append(out, w.without(causes, s))
		}
	}
	return out
}

// causes are the truths of a case on all runtimes.
func (s spec) causes() []Truth {
	all := append(slices.Collect(maps.Values(s.TruthOn)), s.Truth)
	return slices.DeleteFunc(all, func(t Truth) bool { return t == Works })
}

// without is a spec without what the causes name; hosts and files have already
// been repaired where they are made.
func (w *World) without(causes []Truth, s spec) spec {
	credentials := slices.ContainsFunc(causes, func(t Truth) bool {
		return t == AuthenticationRequired || t == CredentialsRejected || t == CredentialsExpired
	})
	repaired := &repository{}
	if s.repo != nil {
		repaired.admit = s.repo.admit
		if s.repo.token != nil || strings.HasPrefix(s.Name, "token-") {
			repaired.token = issue(registrytest.TokenFor(s.Name))
		}
		if strings.HasPrefix(s.Name, "cdn-") {
			repaired.layer = s.repo.layer
		}
	}
	switch {
	case credentials:
		s.credentials = []credential.Credential{right()}
		if repaired.token != nil {
			repaired.token = issuer(registrytest.TokenFor(s.Name), false, unauthorized())
		}
	case s.host == hostHub:
		repaired.admit = w.bearer(s.Name, "insufficient_scope")
		repaired.token = issue(registrytest.TokenFor(s.Name))
	}
	if slices.ContainsFunc(causes, onTheWay) && strings.HasPrefix(s.Name, "manifest-redirect-") {
		repaired.manifest = redirect("https://" + w.hostport(hostMirror) + "/v2/" + s.Name + "/manifests")
	}
	if strings.HasPrefix(s.object, "@") {
		s.object = ""
	}
	s.repo = repaired
	return s
}

// reachable is a host without a fault on the way to it, in a world whose faults
// are gone. Hosts of mirrors, and those whose fault is one of the node's
// configuration, keep theirs.
func (w *World) reachable(host string) string {
	if w.repair != repairOthers || strings.HasPrefix(host, "config-") || strings.HasPrefix(host, "mirror-") {
		return host
	}
	labels := strings.Split(host, ".")
	last := len(labels) - 1
	rest, isCDN := strings.CutPrefix(labels[last], "cdn-")
	switch rest {
	case hostUntrusted, hostExpired, hostNotYet, hostWrongName, hostMTLS, hostOldTLS, hostPlain, hostRefused, hostBlackhole,
		hostHangTLS, hostHangHTTP, hostReset, hostEOF, hostNXDOMAIN, hostNoData, hostServfail, hostDNSRefused, hostDNSSilent, hostOnly6:
		labels[last] = hostGood
		if isCDN {
			labels[last] = "cdn-" + hostGood
		}
	}
	return strings.Join(labels, ".")
}
