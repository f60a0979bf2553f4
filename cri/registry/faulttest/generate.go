package faulttest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whypull/whypull/cri/credential"
)

// Generate describes cases made from random numbers.
type Generate struct {
	// Seed decides about all of them.
	Seed uint64
	// Cases is how many there are. 0: the world has its fixed cases instead.
	Cases int
	// First is the number of the first one, to reproduce it alone.
	First int
}

// plan is a generated case: hosts with faults, the node's configuration for them
// and the pod's credentials.
type plan struct {
	name string
	// sites are the hosts; the first is the image's registry.
	sites       []*site
	byDigest    bool
	credentials []credential.Credential
	// hostsFile is the text of hosts.toml; "" if there is none.
	hostsFile string
	// registries are the tables of registries.conf.
	registries string
	// short reports whether CRI-O pulls the image by a short name.
	short bool
	// files are the node's files for this case, by path below the root.
	files map[string]string
	// content is the image, stale what the tag means at hosts that are stale.
	content, stale image
}

// site is a host of a generated case. Faults are named by their effect; "" is
// none.
type site struct {
	plan  *plan
	label string
	// way is the host of the world whose network and TLS faults it has.
	way string
	// auth is "", basic or bearer; quiet: GET /v2/ needs no credentials.
	auth  string
	quiet bool
	// header: every request needs the header of the configuration.
	header bool
	// prefix is the path of the registry's API.
	prefix string
	// head is for HEAD requests for the tag, tag for GET, manifest for requests
	// by digest, config and layer for blobs.
	head, tag, manifest, config, layer string
	// stale: the tag means another image here.
	stale bool
	// to is where it redirects to.
	to *site
}

const (
	teamHeader = "X-Team"
	team       = "faults"
	apiPrefix  = "/v2"
)

// dice are the random numbers of a case.
type dice struct{ *rand.Rand }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// of returns one of the values.
func of[T any](d dice, values ...T) T { return values[d.IntN(len(values))] }

// generate makes the plans of the world, and the specs of their cases.
func (w *World) generate() error {
	w.sites = map[string]*site{}
	for i := range w.config.Generate.Cases {
		p, err := w.plan(w.config.Generate.First + i)
		if err != nil {
			return err
		}
		w.plans = append(w.plans, p)
		for _, s := range p.sites {
			w.sites[s.label] = s
		}
		s := spec{Case: Case{Name: p.name}, host: p.sites[0].host(), credentials: p.credentials}
		if p.byDigest {
			s.object = "@" + p.content.top.digest().String()
		}
		w.specs = append(w.specs, s)
	}
	return nil
}

// plan makes the case of a number. It depends on nothing but the seed and the
// number.
func (w *World) plan(number int) (*plan, error) {
	d := dice{rand.New(rand.NewPCG(w.config.Generate.Seed, uint64(number)))} //nolint:gosec // not for secrets
	p := &plan{name: fmt.Sprintf("g%04d", number), files: map[string]string{}}
	var err error
	if p.content, err = goodImage(p.name, w.config.Platform); err != nil {
		return nil, err
	}
	if p.stale, err = goodImage(p.name+"-old", w.config.Platform); err != nil {
		return nil, err
	}
	p.byDigest = d.chance(15)
	switch n := d.IntN(100); {
	case n < 20:
		p.credentials = []credential.Credential{right()}
	case n < 30:
		p.credentials = []credential.Credential{wrong()}
	case n < 35:
		p.credentials = []credential.Credential{wrong(), right()}
	}
	trouble := of(d, 0, 12, 35)
	mirrors := of(d, 0, 1, 1, 2, 2, 3, 4)
	for i := range 1 + mirrors {
		s := p.site(d, fmt.Sprintf("host%d", i), trouble)
		if i == 0 {
			s.header = s.header && d.chance(30)
		}
	}
	for _, s := range slices.Clone(p.sites) {
		if s.redirects() {
			s.to = p.site(d, "cdn-"+s.label, trouble)
			s.to.head, s.to.tag, s.to.manifest, s.to.config = "", "", "", ""
			s.to.to = s.to
		}
	}
	registries := p.sites[:1+mirrors]
	p.hostsFile = w.planHosts(d, p, registries)
	p.registries = w.planRegistries(d, p, registries)
	return p, nil
}

// site adds a host with faults, each as probable as trouble says in percent.
func (p *plan) site(d dice, label string, trouble int) *site {
	s := &site{plan: p, label: p.name + "-" + strings.TrimPrefix(label, p.name+"-"), way: hostGood, prefix: apiPrefix}
	p.sites = append(p.sites, s)
	if d.chance(12 + trouble/2) {
		s.way = of(d, hostUntrusted, hostUntrusted, hostPlain, hostPlain, hostRefused, hostNXDOMAIN, hostExpired, hostWrongName, hostReset, hostEOF)
	}
	if d.chance(25) || len(p.credentials) > 0 && d.chance(50) {
		s.auth = of(d, "basic", "bearer")
		s.quiet = d.chance(10)
	}
	if d.chance(10) {
		s.prefix = of(d, "/mirror/v2", "/custom")
	}
	s.header, s.stale = d.chance(6), d.chance(6)
	manifest := []string{"401", "403", "404", "500", "page", "redirect", "reset"}
	if d.chance(trouble) {
		fault := of(d, append(manifest, "404")...)
		s.head, s.tag, s.manifest = fault, fault, fault
	}
	if d.chance(trouble / 3) {
		s.head = of(d, append(manifest, "405")...)
	}
	if d.chance(trouble / 3) {
		s.tag = of(d, append(manifest, "wrong")...)
	}
	if d.chance(trouble / 3) {
		s.manifest = of(d, append(manifest, "wrong")...)
	}
	blob := []string{"403", "404", "500", "page", "redirect", "redirect", "reset", "wrong", "short"}
	if d.chance(8 + trouble/2) {
		s.layer = of(d, blob...)
	}
	if d.chance(trouble / 3) {
		s.config = of(d, blob...)
	}
	return s
}

func (s *site) redirects() bool {
	return slices.Contains([]string{s.head, s.tag, s.manifest, s.config, s.layer}, "redirect")
}

// host is the name for hostport.
func (s *site) host() string {
	if s.way == hostGood {
		return s.label
	}
	return s.label + "." + s.way
}

// scheme is what the site speaks, or now and then what it does not.
func (s *site) scheme(d dice) string {
	if (s.way == hostPlain) != d.chance(4) {
		return "http"
	}
	return "https"
}

// planHosts makes the hosts.toml of a case.
func (w *World) planHosts(d dice, p *plan, registries []*site) string {
	if len(registries) == 1 && d.chance(40) {
		return ""
	}
	dir := filepath.Join("etc/containerd/certs.d", w.hostport(p.sites[0].host()))
	var text strings.Builder
	up := registries[0]
	root, path := w.hostSettings(d, up, dir, true)
	switch n := d.IntN(100); {
	case n < 60:
		fmt.Fprintf(&text, "server = %q\n%s", up.scheme(d)+"://"+w.hostport(up.host())+path, root)
	case n < 75 && len(registries) > 1:
		other := registries[1]
		root, path = w.hostSettings(d, other, dir, true)
		fmt.Fprintf(&text, "server = %q\n%s", other.scheme(d)+"://"+w.hostport(other.host())+path, root)
	case n < 85:
		text.WriteString(root)
	}
	for _, s := range registries[1:] {
		settings, path := w.hostSettings(d, s, dir, false)
		fmt.Fprintf(&text, "[host.%q]\n%s", s.scheme(d)+"://"+w.hostport(s.host())+path, settings)
	}
	p.files[filepath.Join(dir, "hosts.toml")] = text.String()
	return text.String()
}

// hostSettings are the settings of a host in hosts.toml, and the path of its
// URL.
func (w *World) hostSettings(d dice, s *site, dir string, root bool) (settings, path string) {
	var text strings.Builder
	if d.chance(45) {
		fmt.Fprintf(&text, "capabilities = %s\n", of(d, `["pull", "resolve"]`, `["pull", "resolve"]`, `["pull", "resolve", "push"]`, `["pull"]`, `["resolve"]`, `["push"]`))
	}
	untrusted := s.way == hostUntrusted
	if d.chance(8) || untrusted && d.chance(40) {
		text.WriteString("skip_verify = true\n")
	}
	if d.chance(5) || untrusted && d.chance(50) {
		name := s.label + ".pem"
		s.plan.files[filepath.Join(dir, name)] = string(w.stranger.PEM())
		fmt.Fprintf(&text, "ca = %q\n", of(d, name, name, "/"+filepath.Join(dir, name)))
	}
	api := s.prefix
	if d.chance(4) {
		api = of(d, apiPrefix, "/custom", "/mirror/v2")
	}
	switch {
	case api == "/custom":
		text.WriteString("override_path = true\n")
		path = api
	case api == apiPrefix:
		path = of(d, "", "", "", "", "/", apiPrefix)
	case d.chance(30):
		text.WriteString("override_path = true\n")
		path = api
	default:
		path = of(d, "/mirror", api)
	}
	if s.header && d.chance(80) || d.chance(4) {
		fmt.Fprintf(&text, "%s = %q\n", of(d, "header."+teamHeader, "header."+strings.ToLower(teamHeader)), team)
	}
	settings = text.String()
	if !root {
		settings = "  " + strings.ReplaceAll(strings.TrimSuffix(settings, "\n"), "\n", "\n  ") + "\n"
	}
	return settings, path
}

// planRegistries makes the tables of registries.conf of a case, and the
// certificates of its hosts.
func (w *World) planRegistries(d dice, p *plan, registries []*site) string {
	for _, s := range p.sites {
		if s.way == hostUntrusted && d.chance(50) {
			p.files[filepath.Join("etc/containers/certs.d", w.hostport(s.host()), "ca.crt")] = string(w.stranger.PEM())
		}
	}
	up := w.hostport(registries[0].host())
	p.short = d.chance(8) && !p.byDigest
	if len(registries) == 1 && d.chance(40) {
		return ""
	}
	var text strings.Builder
	prefix := of(d, up, up, up, up+"/"+p.name)
	location := prefix
	switch n := d.IntN(100); {
	case n < 10 && len(registries) > 1:
		location = w.hostport(registries[1].host()) + strings.TrimPrefix(prefix, up)
	case n < 20:
		location = prefix + "/other"
	}
	if location != prefix || d.chance(80) {
		fmt.Fprintf(&text, "[[registry]]\nprefix = %q\nlocation = %q\n", prefix, location)
	} else {
		fmt.Fprintf(&text, "[[registry]]\nlocation = %q\n", location)
	}
	insecure := func(s *site) bool {
		return d.chance(5) || (s.way == hostPlain || s.way == hostUntrusted || s.way == hostExpired) && d.chance(60)
	}
	if insecure(registries[0]) {
		text.WriteString("insecure = true\n")
	}
	if d.chance(5) {
		text.WriteString("blocked = true\n")
	}
	// CRI-O takes a file with both settings for invalid.
	digestOnly := d.chance(8)
	if digestOnly {
		text.WriteString("mirror-by-digest-only = true\n")
	}
	for _, s := range registries[1:] {
		fmt.Fprintf(&text, "[[registry.mirror]]\nlocation = %q\n", w.hostport(s.host())+of(d, "", "", "/cache"))
		if insecure(s) {
			text.WriteString("insecure = true\n")
		}
		if d.chance(15) && !digestOnly {
			fmt.Fprintf(&text, "pull-from-mirror = %q\n", of(d, "all", "digest-only", "tag-only"))
		}
	}
	return text.String()
}

// generatedFiles are the files of all plans, by path below the root.
func (w *World) generatedFiles() map[string]string {
	if len(w.plans) == 0 {
		return nil
	}
	files := map[string]string{}
	var registries, aliases strings.Builder
	for _, p := range w.plans {
		maps.Copy(files, p.files)
		registries.WriteString(p.registries)
		if p.short {
			fmt.Fprintf(&aliases, "%q = %q\n", p.name, w.hostport(p.sites[0].host())+"/"+p.name)
		}
	}
	files["etc/containers/registries.conf"] = registries.String() + "[aliases]\n" + aliases.String()
	return files
}

// generatedForCRIO are the generated cases as CRI-O tries them.
func (w *World) generatedForCRIO() []Case {
	cases := w.Cases()
	for i, p := range w.plans {
		if !p.short {
			continue
		}
		cases[i].Image = p.name + ":" + tag
		for j := range cases[i].Credentials {
			cases[i].Credentials[j].Key = "https://index.docker.io/v1/"
		}
	}
	return cases
}

// Explain describes a generated case: what a person needs to reproduce it with a
// runtime of containerd, or with CRI-O.
func (w *World) Explain(name string, crio bool) string {
	i := slices.IndexFunc(w.plans, func(p *plan) bool { return p.name == name })
	if i < 0 {
		return ""
	}
	p := w.plans[i]
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, case %s\n", w.config.Generate.Seed, p.name)
	for _, c := range p.credentials {
		user, password := c.Reveal()
		fmt.Fprintf(&text, "credentials %s:%s\n", user, password)
	}
	for _, s := range p.sites {
		fmt.Fprintf(&text, "host %s\n", s.describe(w))
	}
	config := p.registries
	if !crio {
		config = p.hostsFile
	}
	for line := range strings.SplitSeq(strings.TrimSpace(config), "\n") {
		fmt.Fprintf(&text, "  | %s\n", line)
	}
	for _, name := range sortedKeys(p.files) {
		if strings.Contains(name, "containers/") == crio && !strings.HasSuffix(name, "hosts.toml") {
			fmt.Fprintf(&text, "file /%s\n", name)
		}
	}
	return text.String()
}

func (s *site) describe(w *World) string {
	parts := []string{w.hostport(s.host())}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	flag := func(name string, set bool) {
		if set {
			parts = append(parts, name)
		}
	}
	if s.way != hostGood {
		add("way", s.way)
	}
	add("auth", s.auth)
	flag("ping-without-challenge", s.quiet)
	flag("needs-header", s.header)
	flag("stale", s.stale)
	if s.prefix != apiPrefix {
		add("prefix", s.prefix)
	}
	if s.head == s.tag && s.tag == s.manifest {
		add("manifests", s.head)
	} else {
		add("head-of-tag", s.head)
		add("get-of-tag", s.tag)
		add("manifest-by-digest", s.manifest)
	}
	add("config", s.config)
	add("layer", s.layer)
	if s.to != nil && s.to != s {
		add("redirects-to", w.hostport(s.to.host()))
	}
	return strings.Join(parts, " ")
}

// generatedHandler answers for all sites.
func (w *World) generatedHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		label, _, _ := strings.Cut(r.Host, ".")
		s := w.sites[label]
		if s == nil {
			answer(http.StatusNotFound)(rw, r)
			return
		}
		s.serve(w, rw, r)
	})
}

// fault returns the site's fault for a request for an object.
func (s *site) fault(r *http.Request, kind, object string) string {
	byDigest := strings.Contains(object, ":")
	switch {
	case kind == "blobs" && object == s.plan.content.layer.digest().String():
		return s.layer
	case kind == "blobs":
		return s.config
	case byDigest:
		return s.manifest
	case r.Method == http.MethodHead:
		return s.head
	}
	return s.tag
}
