package nodeconfig_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

func TestCRIOSources(t *testing.T) {
	const mirrors = "[[registry]]\nprefix = 'docker.io/library'\nlocation = 'hub.test/docker'\ninsecure = true\n" +
		"[[registry.mirror]]\nlocation = 'm1.test:5000/cache'\n" +
		"[[registry.mirror]]\nlocation = 'm2.test'\npull-from-mirror = 'digest-only'\n" +
		"[[registry.mirror]]\nlocation = 'm3.test'\npull-from-mirror = 'tag-only'\ninsecure = true\n" +
		"[[registry]]\nlocation = 'byd.test'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'm4.test'\n" +
		"[[registry]]\nprefix = '*.wild.test'\n"
	digest := "@" + registrytest.Digest
	for image, want := range map[string][]string{
		"nginx:1.0":           {"https m1.test:5000/cache/nginx:1.0", "https? m3.test/nginx:1.0", "https? hub.test/docker/nginx:1.0"},
		"nginx" + digest:      {"https m1.test:5000/cache/nginx" + digest, "https m2.test/nginx" + digest, "https? hub.test/docker/nginx" + digest},
		"docker.io/team/x:1":  {"https docker.io/team/x:1"},
		"byd.test/a:1":        {"https byd.test/a:1"},
		"byd.test/a" + digest: {"https m4.test/a" + digest, "https byd.test/a" + digest},
		"a.wild.test/b:1":     {"https a.wild.test/b:1"},
		"127.0.0.1:5000/a:1":  {"https? 127.0.0.1:5000/a:1"},
		"localhost/a:1":       {"https? localhost/a:1"},
		"10.1.2.3/a:1":        {"https? 10.1.2.3/a:1"},
		"plain.test:80/a:1":   {"https? plain.test:80/a:1"},
		"plain.test/a:1":      {"https plain.test/a:1"},
	} {
		t.Run(image, func(t *testing.T) {
			opts := crio(t, map[string]string{
				registries:                     mirrors,
				"etc/crio/crio.conf":           "[crio.image]\ninsecure_registries = ['10.0.0.0/8']\n",
				"etc/crio/crio.conf.d/10.conf": "[crio.image]\ninsecure_registries = ['10.0.0.0/8', 'plain.test:80']\n[crio.runtime]\nx = 1\n",
			})
			opts.RuntimeVersion = "1.34.2" // the last that has insecure registries of its own
			eps, notices, err := sources(t, opts, image)
			unasked := slices.Contains(notices, nodeconfig.Notice{Kind: nodeconfig.NoticeOtherReference, Path: "/" + registries})
			if err != nil || unasked != (image == "byd.test/a:1") || len(notices) > 0 != unasked {
				t.Fatalf("notices %v, %v", notices, err)
			}
			var got []string
			for _, e := range eps {
				scheme := e.Scheme
				if e.SkipVerify && e.HTTPFallback {
					scheme += "?"
				} else if e.SkipVerify || e.HTTPFallback {
					t.Errorf("%+v", e)
				}
				got = append(got, scheme+" "+e.Reference(ref(t, image)).String())
				domain, _, _ := strings.Cut(ref(t, image).Name(), "/")
				if other := !strings.HasPrefix(e.Reference(ref(t, image)).Name(), domain+"/"); e.WithoutCredential != other {
					t.Errorf("%s: without credential %t", e, e.WithoutCredential)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("sources %q, want %q", got, want)
			}
		})
	}
}

// The repository that is asked for is the location's.
func TestCRIOAsksTheLocation(t *testing.T) {
	s := registrytest.New(t, registrytest.Config{Repositories: repositories()})
	opts := crio(t, map[string]string{
		registries:                          "[[registry]]\nprefix = 'hub.test/project'\nlocation = '" + s.Host + "/team'\n",
		"etc/ssl/certs/ca-certificates.crt": string(s.CA.PEM()),
	})
	eps, _, err := sources(t, opts, "hub.test/project/app:1.0")
	if err != nil || len(eps) != 1 {
		t.Fatalf("%d endpoints, %v", len(eps), err)
	}
	e := eps[0]
	a := e.Probe(t.Context(), e.Reference(ref(t, "hub.test/project/app:1.0")), nil)
	if !a.Found || e.Source != "/"+registries || !e.Mirror {
		t.Errorf("endpoint %+v, answer %v", e, a.Err)
	}
	if want := []string{"GET /v2/", head}; !slices.Equal(s.Lines(), want) {
		t.Errorf("requests %q, want %q", s.Lines(), want)
	}
}

// "insecure" means both: no verification, and http where https fails.
func TestCRIOInsecure(t *testing.T) {
	for name, plain := range map[string]bool{"unknown authority": false, "plain http": true} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, registrytest.Config{Plain: plain, Repositories: repositories()})
			for setting, found := range map[string]bool{"true": true, "false": false} {
				opts := crio(t, map[string]string{registryD + "x.conf": "[[registry]]\nlocation = '" + s.Host + "'\ninsecure = " + setting + "\n"})
				eps, _, err := sources(t, opts, s.Host+"/team/app:1.0")
				if err != nil || len(eps) != 1 {
					t.Fatalf("%d endpoints, %v", len(eps), err)
				}
				if a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Found != found {
					t.Errorf("insecure %s: %v", setting, a.Err)
				}
			}
		})
	}
}

func TestCRIORefuses(t *testing.T) {
	blocked := map[string]string{
		registries:            "[[registry]]\nprefix = 'hub.test/bad'\nblocked = true\nlocation = 'hub.test/bad'\n",
		registryD + "01.conf": "[[registry]]\nlocation = 'all.test'\nblocked = true\n",
		registryD + "02.conf": "[[registry]]\nlocation = 'm.test'\n[[registry.mirror]]\nlocation = 'all.test'\n",
	}
	for image, want := range map[string]string{
		"hub.test/bad/a:1": "Blocked /" + registries,
		"hub.test/a:1":     "",
		"all.test/a:1":     "Blocked /" + registryD + "01.conf",
	} {
		_, _, err := sources(t, crio(t, blocked), image)
		var refused *nodeconfig.ConfigError
		if errors.As(err, &refused) != (want != "") || want != "" && refused.Error() != "registry configuration: "+want {
			t.Errorf("%s: error %v, want %q", image, err, want)
		}
	}
	eps, notices, err := sources(t, crio(t, blocked), "m.test/a:1") // its mirror is blocked
	if err != nil || !slices.Equal(names(eps), []string{"https://m.test"}) || !slices.Equal(kinds(notices), []nodeconfig.NoticeKind{nodeconfig.NoticeBlocked}) {
		t.Errorf("endpoints %q, notices %v, %v", names(eps), notices, err)
	}
	bad := crio(t, map[string]string{registries: "[[registry]]\nprefix = 'hub.test'\nlocation = 'HUB!'\n"})
	_, _, err = sources(t, bad, "hub.test/a:1")
	if refused := (*nodeconfig.ConfigError)(nil); !errors.As(err, &refused) || refused.Kind != nodeconfig.NoticeLocationInvalid {
		t.Errorf("error %v", err)
	}
}

// CRI-O offers fewer ciphers than Go since 1.35, containerd those of Go.
func TestCRIOCiphers(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories(), Ciphers: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}})
	for version, want := range map[string]registry.Fault{"1.34.2": "", "1.35.0": registry.FaultTLSHandshakeFailed, "containerd": ""} {
		opts := crio(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": string(ca.PEM())})
		opts.RuntimeVersion = version
		if version == "containerd" {
			opts.Runtime, opts.RuntimeVersion = version, "2.4.2"
		}
		if a := endpoint(t, opts, s.Host).Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Fault != want {
			t.Errorf("%s: %q, want %q: %v", version, a.Fault, want, a.Err)
		}
	}
}

// CRI-O's library does not know "namespace-proxy" before 1.38.
func TestCRIONamespaceProxy(t *testing.T) {
	for version, want := range map[string]string{"1.37.0": "", "1.38.0": "up.test"} {
		opts := crio(t, map[string]string{registries: mirrored("m.test") + "namespace-proxy = 'up.test'\n"})
		opts.RuntimeVersion = version
		eps, _, err := sources(t, opts, "hub.test/a:1")
		if err != nil || len(eps) != 2 || eps[0].Settings.Namespace != want {
			t.Errorf("%s: %+v, %v", version, eps, err)
		}
	}
}

// With files that do not parse CRI-O does not start: the defaults are assumed.
func TestCRIOUnreadable(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		line       int
	}{
		"registries": {registries, "[[registry]]\nlocation = 'a'\nx = = 1\n", 3},
		"drop-in":    {registryD + "a.conf", "[[registry]]\n", 0},
		"scheme":     {registryD + "b.conf", "[[registry]]\nlocation = 'https://a.test'\n", 0},
		"alias":      {registryD + "c.conf", "[aliases]\n'a' = 'b'\n", 0},
		"crio.conf":  {"etc/crio/crio.conf.d/x.conf", "[crio\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			opts := crio(t, map[string]string{tc.file: tc.text})
			got := nodeconfig.Load(opts).Notices()
			if want := (nodeconfig.Notice{Kind: nodeconfig.NoticeUnreadable, Path: "/" + tc.file, Line: tc.line}); !slices.Equal(got, []nodeconfig.Notice{want}) {
				t.Errorf("notices %v, want %v", got, want)
			}
			eps, _, err := sources(t, opts, "hub.test/a:1")
			if err != nil || !slices.Equal(names(eps), []string{"https://hub.test"}) {
				t.Errorf("endpoints %q, %v", names(eps), err)
			}
		})
	}
}

// Files of the same name are read once, from the strongest directory.
func TestCRIODropIns(t *testing.T) {
	entry := func(mirror string) string {
		return "[[registry]]\nlocation = 'hub.test'\n[[registry.mirror]]\nlocation = '" + mirror + "'\n"
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"later wins":   {map[string]string{registries: entry("a.test"), registryD + "1.conf": entry("b.test"), registryD + "2.conf": entry("c.test")}, "c.test"},
		"other suffix": {map[string]string{registryD + "1.toml": entry("b.test")}, ""},
	} {
		eps, _, err := sources(t, crio(t, tc.files), "hub.test/a:1")
		if err != nil || (len(eps) == 2) != (tc.want != "") || tc.want != "" && eps[0].Host != tc.want {
			t.Errorf("%s: endpoints %q, %v", name, names(eps), err)
		}
	}
}

func TestCRIOCertificates(t *testing.T) {
	ca := catest.New(t)
	s := registrytest.New(t, registrytest.Config{CA: ca, Repositories: repositories()})
	pem, dir := string(ca.PEM()), "etc/containers/certs.d/"+s.Host+"/"
	for name, tc := range map[string]struct {
		files, links map[string]string
		fault        registry.Fault
		refused      string
		hidden       bool
		unread       nodeconfig.NoticeKind
	}{
		"authority":        {files: map[string]string{dir + "x.crt": pem}},
		"Docker's":         {files: map[string]string{"etc/docker/certs.d/" + s.Host + "/ca.crt": pem}},
		"first directory":  {files: map[string]string{dir + "README": "", "etc/docker/certs.d/" + s.Host + "/ca.crt": pem}, fault: registry.FaultTLSUntrusted, unread: nodeconfig.NoticeOtherDirectory},
		"wrong extension":  {files: map[string]string{dir + "x.pem": pem}, fault: registry.FaultTLSUntrusted, unread: nodeconfig.NoticeNotCrt},
		"not of this port": {files: map[string]string{"etc/containers/certs.d/" + strings.Split(s.Host, ":")[0] + "/x.crt": pem}, fault: registry.FaultTLSUntrusted, unread: nodeconfig.NoticeOtherDirectory},
		"no key":           {files: map[string]string{dir + "x.cert": pem}, refused: "x.cert"},
		"no certificate":   {files: map[string]string{dir + "x.key": pem}, refused: "x.key"},
		"no pair":          {files: map[string]string{dir + "x.cert": pem, dir + "x.key": pem}, refused: "x.cert"},
		"linked":           {files: map[string]string{dir + "y": "", "etc/real.pem": pem}, links: map[string]string{dir + "x.crt": "/etc/real.pem"}},
		"dangling":         {files: map[string]string{dir + "a.crt": pem}, links: map[string]string{dir + "x.crt": "/etc/gone.pem"}},
		"hidden":           {files: map[string]string{dir + "y": ""}, links: map[string]string{dir + "x.crt": "/opt/real.pem"}, fault: registry.FaultTLSUntrusted, hidden: true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := crio(t, tc.files)
			for from, to := range tc.links {
				if err := os.Symlink(to, filepath.Join(opts.Root, from)); err != nil {
					t.Fatal(err)
				}
			}
			eps, notices, err := sources(t, opts, s.Host+"/team/app:1.0")
			if tc.refused != "" {
				var refused *nodeconfig.ConfigError
				if !errors.As(err, &refused) || refused.Kind != nodeconfig.NoticeCertificatesUnusable || refused.Path != "/"+dir+tc.refused {
					t.Errorf("error %v", err)
				}
				return
			}
			if tc.unread != "" && (len(notices) != 1 || notices[0].Kind != tc.unread) {
				t.Errorf("notices %v", notices)
			}
			if err != nil || len(eps) != 1 || eps[0].Blind != tc.hidden || (len(notices) == 1) != (tc.hidden || tc.unread != "") {
				t.Fatalf("endpoints %+v, notices %v, %v", eps, notices, err)
			}
			if a := eps[0].Probe(t.Context(), ref(t, s.Host+"/team/app:1.0"), nil); a.Fault != tc.fault {
				t.Errorf("fault %q: %v", a.Fault, a.Err)
			}
		})
	}
}

func TestCRIONodeCredential(t *testing.T) {
	entry := func(key, user string) string {
		return "{\"auths\":{\"" + key + "\":{\"auth\":\"" + base64.StdEncoding.EncodeToString([]byte(user+":"+secret)) + "\"}}}"
	}
	raw := func(key, value string) string { return "{\"auths\":{\"" + key + "\":" + value + "}}" }
	const docker, dockercfg = "root/.docker/config.json", "root/.dockercfg"
	const own, global = "run/containers/0/auth.json", "etc/crio/auth.json"
	conf := map[string]string{"etc/crio/crio.conf": "[crio.image]\nglobal_auth_file = '/" + global + "'\n"}
	for name, tc := range map[string]struct {
		image  string
		files  map[string]string
		user   string
		source string
		notice nodeconfig.NoticeKind
		broken string
	}{
		"host":            {files: map[string]string{own: entry("hub.test", "alice")}, user: "alice", source: own},
		"repository":      {files: map[string]string{own: entry("hub.test/team", "alice")}, user: "alice", source: own},
		"another":         {files: map[string]string{own: entry("hub.test/other", "alice")}},
		"Docker Hub":      {image: "nginx:1", files: map[string]string{own: entry("https://index.docker.io/v1/", "alice")}, user: "alice", source: own},
		"second file":     {files: map[string]string{own: "{}", "root/.docker/config.json": entry("https://hub.test/v1/", "alice")}, user: "alice", source: "root/.docker/config.json"},
		"the global file": {files: with(conf, map[string]string{own: entry("hub.test", "bob"), global: entry("hub.test", "alice")}), user: "alice", source: global},
		"global alone":    {files: with(conf, map[string]string{own: entry("hub.test", "bob")})},
		"helper":          {files: map[string]string{own: "{\"credHelpers\":{\"hub.test\":\"x\"}}"}, notice: nodeconfig.NoticeCredentialHelper},
		"global helper":   {files: map[string]string{registries: "credential-helpers = ['pass']\n"}, notice: nodeconfig.NoticeCredentialHelper},
		"files, by name":  {files: map[string]string{registries: "credential-helpers = ['containers-auth.json']\n", own: entry("hub.test", "alice")}, user: "alice", source: own},
		"no JSON":         {files: map[string]string{own: "{"}, broken: own},
		"later, no JSON":  {files: map[string]string{own: entry("hub.test", "alice"), docker: "{"}, user: "alice", source: own},
		"token alone":     {files: map[string]string{own: raw("hub.test", `{"identitytoken":"x"}`), docker: entry("hub.test", "alice")}, user: "alice", source: docker},
		"token beside":    {files: map[string]string{own: raw("hub.test", `{"identitytoken":"x","auth":"YTpi"}`), docker: entry("hub.test", "alice")}, notice: nodeconfig.NoticeCredentialUnusable},
		"empty entry":     {files: map[string]string{own: raw("hub.test", "{}"), docker: entry("hub.test", "alice")}, user: "alice", source: docker},
		"no colon":        {files: map[string]string{own: raw("hub.test", `{"auth":"YQ=="}`), docker: entry("hub.test", "alice")}, user: "alice", source: docker},
		"no base64":       {files: map[string]string{own: raw("hub.test", `{"auth":"%"}`), docker: entry("hub.test", "alice")}, broken: own},
		"no user":         {files: map[string]string{own: entry("hub.test", "")}, notice: nodeconfig.NoticeCredentialUnusable},
		"of old":          {files: map[string]string{dockercfg: `{"https://hub.test/v1/":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("alice:"+secret)) + `"}}`}, user: "alice", source: dockercfg},
		"of old, a part":  {files: map[string]string{dockercfg: `{"hub.test/team":{"auth":"%"},"hub.test":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("alice:"+secret)) + `"}}`}, user: "alice", source: dockercfg},
	} {
		t.Run(name, func(t *testing.T) {
			image := tc.image
			if image == "" {
				image = "hub.test/team/app:1"
			}
			eps, notices, err := sources(t, crio(t, tc.files), image)
			if err != nil || len(eps) != 1 {
				t.Fatalf("%d endpoints, %v", len(eps), err)
			}
			if got := kinds(notices); tc.notice == "" && len(got) > 0 || tc.notice != "" && !slices.Equal(got, []nodeconfig.NoticeKind{tc.notice}) {
				t.Errorf("notices %v, want %q", notices, tc.notice)
			}
			if broken := strings.TrimPrefix(eps[0].NodeCredentialBroken, "/"); broken != tc.broken {
				t.Errorf("broken file %q, want %q", broken, tc.broken)
			}
			found, source := eps[0].NodeCredential, strings.TrimPrefix(eps[0].NodeCredentialSource, "/")
			if (found != nil) != (tc.user != "") || found != nil && found.Username.Reveal() != tc.user || source != tc.source {
				t.Errorf("credential %t of %q", found != nil, source)
			}
		})
	}
}

func TestShortName(t *testing.T) {
	const two = "unqualified-search-registries = ['a.test', 'docker.io']\nshort-name-mode = 'enforcing'\n"
	disabled := map[string]string{registries: two, "etc/crio/crio.conf": "[crio.image]\nshort_name_mode = 'disabled'\n"}
	both := []string{"a.test/nginx:1", "docker.io/library/nginx:1"}
	for name, tc := range map[string]struct {
		image, version, runtime string
		files                   map[string]string
		want                    nodeconfig.ShortName
	}{
		"containerd":    {image: "nginx", runtime: "containerd", files: disabled, want: nodeconfig.ShortName{Candidates: []string{"docker.io/library/nginx:latest"}}},
		"full":          {image: "b.test/nginx", files: disabled, want: nodeconfig.ShortName{Candidates: []string{"b.test/nginx:latest"}}},
		"not in full":   {image: "docker.io/nginx:1", files: disabled, want: nodeconfig.ShortName{Candidates: both[1:]}},
		"Docker's name": {image: "index.docker.io/library/nginx:1", files: disabled, want: nodeconfig.ShortName{Candidates: both[1:]}},
		"a port":        {image: "b:5000/nginx:1", files: disabled, want: nodeconfig.ShortName{Candidates: []string{"b:5000/nginx:1"}}},
		"localhost":     {image: "localhost/nginx:1", files: disabled, want: nodeconfig.ShortName{Candidates: []string{"localhost/nginx:1"}}},
		"several":       {files: map[string]string{registries: two}, want: nodeconfig.ShortName{Short: true, Candidates: both, Refused: nodeconfig.ShortNameAmbiguous, Source: "/" + registries}},
		"several, 1.34": {files: map[string]string{registries: two}, version: "1.34.0", want: nodeconfig.ShortName{Short: true, Candidates: both, Refused: nodeconfig.ShortNameAmbiguous, Source: "/" + registries}},
		"several, 1.33": {files: map[string]string{registries: two}, version: "1.33.9", want: nodeconfig.ShortName{Short: true, Candidates: both, Source: "/" + registries}},
		"IPv6 literal":  {image: "[2001:db8::5]:5000/team/app:v1", want: nodeconfig.ShortName{Refused: nodeconfig.ShortNameInvalid}},
		"disabled":      {files: disabled, want: nodeconfig.ShortName{Short: true, Candidates: both, Source: "/" + registries}},
		"one":           {files: map[string]string{registryD + "x.conf": "unqualified-search-registries = ['docker.io']\n"}, want: nodeconfig.ShortName{Short: true, Candidates: both[1:], Source: "/" + registryD + "x.conf"}},
		"none":          {want: nodeconfig.ShortName{Short: true, Refused: nodeconfig.ShortNameNoRegistries}},
		"path":          {image: "team/app", files: map[string]string{registries: two}, version: "1.33.1", want: nodeconfig.ShortName{Short: true, Candidates: []string{"a.test/team/app:latest", "docker.io/team/app:latest"}, Source: "/" + registries}},
		"alias":         {files: map[string]string{registries: two, registryD + "000-shortnames.conf": "[aliases]\n'nginx' = 'quay.io/x/nginx'\n"}, want: nodeconfig.ShortName{Short: true, Candidates: []string{"quay.io/x/nginx:1"}, Source: "/" + registryD + "000-shortnames.conf"}},
		"remembered":    {files: map[string]string{registries: two, "var/cache/containers/short-name-aliases.conf": "[aliases]\n'nginx' = 'quay.io/y/nginx'\n"}, want: nodeconfig.ShortName{Short: true, Candidates: []string{"quay.io/y/nginx:1"}, Source: "/var/cache/containers/short-name-aliases.conf"}},
		"no name":       {image: "UPPER case", want: nodeconfig.ShortName{Refused: nodeconfig.ShortNameUnresolvable}},
		"broken":        {files: map[string]string{registries: "["}, want: nodeconfig.ShortName{Short: true, Refused: nodeconfig.ShortNameUnresolvable}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := crio(t, tc.files)
			image := tc.image
			if image == "" {
				image = "nginx:1"
			}
			if tc.version != "" {
				opts.RuntimeVersion = tc.version
			}
			if tc.runtime != "" {
				opts.Runtime = tc.runtime
			}
			got := nodeconfig.Load(opts).ShortName(image)
			if !slices.Equal(got.Candidates, tc.want.Candidates) || got.Short != tc.want.Short ||
				got.Refused != tc.want.Refused || got.Source != tc.want.Source {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if left, err := os.ReadDir(opts.TempDir); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

func TestCRIOWithoutTemporaryDirectory(t *testing.T) {
	opts := crio(t, nil)
	opts.TempDir = filepath.Join(t.TempDir(), "none")
	_, _, err := nodeconfig.Load(opts).EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/a:1"))
	if refused := (*nodeconfig.ConfigError)(nil); err == nil || errors.As(err, &refused) {
		t.Errorf("error %v: want one that does not blame the configuration", err)
	}
}
