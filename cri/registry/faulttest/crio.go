package faulttest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
)

// crioSettings are what a node with CRI-O has for the host of a case.
type crioSettings struct {
	// insecure allows plain HTTP and any certificate; blocked allows nothing.
	insecure, blocked bool
	// mirror is asked first, location instead of the host: host:port.
	mirror, location string
	// certs are the files of the host's folder below certs.d, by name. A name
	// that ends with a slash is a directory.
	certs map[string]string
}

// crioConfig is the counterpart of the hosts.toml of a case.
func crioConfig(name, authority string) crioSettings {
	return map[string]crioSettings{
		"config-ca-works":           {certs: map[string]string{"ca.crt": authority}},
		"config-without-host-works": {certs: map[string]string{"ca.crt": authority}},
		"config-file-misnamed":      {certs: map[string]string{"ca.pem": authority}},
		"config-ca-missing":         {certs: map[string]string{"ca.crt/": ""}},
		"config-capability-unknown": {certs: map[string]string{"ca.crt": authority, "client.cert": authority}},
		"config-does-not-parse":     {certs: map[string]string{"ca.crt": authority, "client.cert": "nothing", "client.key": "nothing"}},
		"config-no-resolve":         {blocked: true},
		"config-plain-works":        {insecure: true},
		"config-plain-for-tls":      {insecure: true},
		"config-skip-verify-works":  {insecure: true},
	}[name]
}

// crioTruths are the truths for CRI-O 1.37 of the cases that have another one
// there.
func crioTruths() map[string]Truth {
	return map[string]Truth{
		// The file's counterpart is one that CRI-O does not look at, so that the
		// node knows no authority for the host.
		"config-file-misnamed": TLSUntrusted,
		// A host that may not be asked is one that the node blocks.
		"config-no-resolve": PolicyBlocked,
		// What is insecure may have TLS all the same.
		"config-plain-for-tls": Works,
		// CRI-O stores what it does not know, and trusts a tag.
		"layer-size-wrong":         Works,
		"layer-type-unknown":       Works,
		"manifest-500-after-head":  Works,
		"manifest-digest-mismatch": Works,
		"schema-1":                 Works,
		// CRI-O asks the upstream registry after every failure of a mirror and
		// shows both, so a mirror hides nothing that the registry says.
		"mirror-404-origin-401":      AuthenticationRequired,
		"mirror-500-origin-401":      AuthenticationRequired,
		"mirror-nxdomain-origin-401": AuthenticationRequired,
		"mirror-refused-origin-401":  AuthenticationRequired,
		"mirror-500-origin-404":      RepositoryNotFound,
	}
}

// onCRIO gives cases their truths for CRI-O.
func onCRIO(specs []spec) []spec {
	truths := crioTruths()
	for i, s := range specs {
		if truth, differs := truths[s.Name]; differs {
			specs[i] = s.on(CRIO137, truth)
		}
	}
	return specs
}

// CRIOCases are the cases as CRI-O can try them, sorted by name. It learns only
// from GET /v2/ that a registry wants credentials, so registries that do have a
// host of their own there.
func (w *World) CRIOCases() []Case {
	if len(w.plans) > 0 {
		return w.generatedForCRIO()
	}
	specs := make([]spec, 0, len(w.specs))
	for _, s := range w.specs {
		switch {
		case s.host == hostHub:
			s.host = s.Name + "." + hostHub
		case s.host == "" && s.repo != nil && s.repo.admit != nil:
			s.host = s.Name
		}
		specs = append(specs, s)
	}
	return w.finish(specs)
}

// ping answers GET /v2/, the question whether this is a registry. A host with
// the name of a case wants the credentials that the case's repository wants.
func (w *World) ping(registry http.Handler) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		label, _, _ := strings.Cut(r.Host, ".")
		for _, s := range w.specs {
			if s.Name == label && !w.admits(s, rw, r) {
				return
			}
		}
		registry.ServeHTTP(rw, r)
	}
}

// admits lets a request in that brings what a case's registry wants, or answers
// it.
func (w *World) admits(s spec, rw http.ResponseWriter, r *http.Request) bool {
	switch {
	case s.repo != nil && s.repo.admit != nil:
		return s.repo.admit(rw, r)
	case s.repo == nil && s.host == hostHub:
		w.hubStranger(rw, r, "", "")
		return false
	}
	return true
}

// crioPath is a path of the image library's settings.
func (w *World) crioPath(name string) string {
	return filepath.Join(w.config.Root, "etc/containers", name)
}

// crioFiles are the certificates of a node with CRI-O, by path. It adds its tables
// to those of registries.conf.
func (w *World) crioFiles(registries *strings.Builder) map[string]string {
	files := map[string]string{}
	for _, s := range w.specs {
		host := w.hostport(s.host)
		registries.WriteString(s.crio.entry(host))
		for name, content := range s.crio.certs {
			if strings.HasSuffix(name, "/") {
				name += "placeholder"
			}
			files[filepath.Join(w.crioPath("certs.d"), host, name)] = content
		}
	}
	return files
}

// entry is a host's table of registries.conf, "" if it has none.
func (c crioSettings) entry(hostport string) string {
	location := hostport
	if c.location != "" {
		location = c.location
	}
	if !c.insecure && !c.blocked && c.mirror == "" && location == hostport {
		return ""
	}
	text := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = %t\nblocked = %t\n", hostport, location, c.insecure, c.blocked)
	if c.mirror != "" {
		text += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\n", c.mirror)
	}
	return text
}
