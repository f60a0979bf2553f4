package nodeconfig_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/nodeconfig/nodeconfigtest"
)

func mirrored(mirror string) string {
	return "[[registry]]\nlocation = 'hub.test'\n[[registry.mirror]]\nlocation = '" + mirror + "'\n"
}

// Which files CRI-O reads depends on its image library, and so on its version.
func TestCRIORegistriesFiles(t *testing.T) {
	const home, vendor = "root/.config/containers/", "usr/share/containers/"
	const unit = "etc/systemd/system/crio.service"
	for name, tc := range map[string]struct {
		version string
		files   map[string]string
		want    string // the mirror; "" for none
	}{
		"root's instead of the system's": {"1.37.0", map[string]string{registries: mirrored("a.test"), home + "registries.conf": mirrored("b.test")}, "b.test"},
		"root's alone":                   {"1.37.0", map[string]string{registryD + "1.conf": mirrored("a.test"), home + "registries.conf": ""}, ""},
		"root's drop-ins":                {"1.30.0", map[string]string{registryD + "9.conf": mirrored("a.test"), home + "registries.conf.d/1.conf": mirrored("b.test")}, "b.test"},
		"no vendor":                      {"1.37.2", map[string]string{vendor + "registries.conf": mirrored("a.test"), vendor + "registries.conf.d/1.conf": mirrored("a.test")}, ""},
		"no rootful":                     {"1.37.0", map[string]string{"etc/containers/registries.rootful.conf.d/1.conf": mirrored("a.test")}, ""},
		"vendor, 1.38":                   {"1.38.0", map[string]string{vendor + "registries.conf": mirrored("a.test")}, "a.test"},
		"hidden, 1.38":                   {"1.38.0", map[string]string{registries: "", vendor + "registries.conf": mirrored("a.test")}, ""},
		"same name, 1.38":                {"1.38.0", map[string]string{registryD + "1.conf": mirrored("b.test"), vendor + "registries.conf.d/1.conf": mirrored("a.test")}, "b.test"},
		"rootful, 1.38":                  {"1.38.0", map[string]string{"etc/containers/registries.rootful.conf.d/1.conf": mirrored("a.test")}, "a.test"},
		"no home, 1.38":                  {"1.38.0", map[string]string{home + "registries.conf": mirrored("a.test")}, ""},
		"flag":                           {"1.37.0", map[string]string{unit: "[Service]\nExecStart=/usr/bin/crio --registries-conf=/opt/r.conf\n", "opt/r.conf": mirrored("c.test"), registries: mirrored("a.test")}, "c.test"},
		"flag in an environment":         {"1.37.0", map[string]string{unit: "[Service]\nEnvironment=\"CRIO_CONFIG_OPTIONS=--registries-conf /opt/r.conf\"\nExecStart=/usr/bin/crio $CRIO_CONFIG_OPTIONS\n", "opt/r.conf": mirrored("c.test")}, "c.test"},
		"variable":                       {"1.37.0", map[string]string{unit: "[Service]\nEnvironment=CONTAINER_REGISTRIES_CONF=/opt/r.conf\n", "opt/r.conf": mirrored("c.test"), registries: mirrored("a.test")}, "c.test"},
		"flag before variable":           {"1.37.0", map[string]string{unit: "[Service]\nEnvironment=CONTAINER_REGISTRIES_CONF=/opt/x.conf\nExecStart=crio --registries-conf /opt/r.conf\n", "opt/r.conf": mirrored("c.test")}, "c.test"},
		"flag of the last drop-in":       {"1.37.0", map[string]string{unit: "[Service]\nExecStart=crio --registries-conf /opt/x.conf\n", unit + ".d/1.conf": "[Service]\nExecStart=\nExecStart=crio --registries-conf /opt/r.conf\n", "opt/r.conf": mirrored("c.test")}, "c.test"},
	} {
		opts := crio(t, with(tc.files))
		opts.RuntimeVersion, opts.Proxy = tc.version, nil
		eps, _, err := sources(t, opts, "hub.test/a:1")
		if err != nil || (len(eps) == 2) != (tc.want != "") || tc.want != "" && eps[0].Host != tc.want {
			t.Errorf("%s: endpoints %q, %v", name, names(eps), err)
		}
	}
}

// Files of the first version are read by CRI-O 1.37 and older.
func TestCRIOFirstVersion(t *testing.T) {
	const old = "[registries.search]\nregistries = ['a.test']\n[registries.insecure]\nregistries = ['hub.test']\n[registries.block]\nregistries = ['bad.test']\n"
	opts := crio(t, map[string]string{registries: old})
	c := nodeconfig.Load(opts)
	if len(c.Notices()) > 0 {
		t.Errorf("notices %v", c.Notices())
	}
	if got := c.ShortName("x:1").Candidates; !slices.Equal(got, []string{"a.test/x:1"}) {
		t.Errorf("candidates %q", got)
	}
	eps, _, err := sources(t, opts, "hub.test/a:1")
	if err != nil || len(eps) != 1 || !eps[0].HTTPFallback {
		t.Errorf("endpoints %+v, %v", eps, err)
	}
	if _, _, err := sources(t, opts, "bad.test/a:1"); !refuses(err, nodeconfig.NoticeBlocked, "/"+registries) {
		t.Errorf("%v", err)
	}
	opts.RuntimeVersion = "1.38.0"
	if got := nodeconfig.Load(opts).Notices(); len(got) != 1 || got[0].Kind != nodeconfig.NoticeUnreadable {
		t.Errorf("notices %v", got)
	}
}

func refuses(err error, kind nodeconfig.NoticeKind, path string) bool {
	refused, ok := errors.AsType[*nodeconfig.ConfigError](err)
	return ok && refused.Kind == kind && refused.Path == path
}

// Since 1.35 nothing is insecure unless registries.conf says so.
func TestCRIOInsecureByVersion(t *testing.T) {
	for version, want := range map[string]bool{"1.29.0": true, "1.34.9": true, "1.35.0": false, "1.37.0": false} {
		opts := crio(t, map[string]string{"etc/crio/crio.conf": "[crio.image]\ninsecure_registries = ['plain.test:80']\n"})
		opts.RuntimeVersion = version
		for _, image := range []string{"localhost:5000/a:1", "127.0.0.1:5000/a:1", "plain.test:80/a:1"} {
			eps, _, err := sources(t, opts, image)
			if err != nil || len(eps) != 1 || eps[0].HTTPFallback != want || eps[0].SkipVerify != want {
				t.Errorf("%s, %s: %+v, %v", version, image, eps, err)
			}
		}
	}
}

// What keeps CRI-O from every pull, and what it says of images.
func TestCRIOPolicy(t *testing.T) {
	const policy, accept = "etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`
	for name, tc := range map[string]struct {
		files   map[string]string
		broken  nodeconfig.NoticeKind
		notice  nodeconfig.NoticeKind
		path    string
		version string
		image   string
	}{
		"accepts":          {files: map[string]string{policy: accept}},
		"none":             {},
		"no JSON":          {files: map[string]string{policy: "{"}, broken: nodeconfig.NoticePolicyUnusable, path: policy},
		"no default":       {files: map[string]string{policy: "{}"}, broken: nodeconfig.NoticePolicyUnusable, path: policy},
		"rejects":          {files: map[string]string{policy: `{"default":[{"type":"reject"}]}`}, notice: nodeconfig.NoticePolicyRejects, path: policy},
		"accepts the host": {files: map[string]string{policy: `{"default":[{"type":"reject"}],"transports":{"docker":{"hub.test":[{"type":"insecureAcceptAnything"}]}}}`}},
		"accepts a domain": {files: map[string]string{policy: `{"default":[{"type":"reject"}],"transports":{"docker":{"*.test":[{"type":"insecureAcceptAnything"}]}}}`}},
		"rejects the repository": {files: map[string]string{policy: `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"hub.test":[{"type":"insecureAcceptAnything"}],"hub.test/team/app":[{"type":"reject"}]}}}`},
			notice: nodeconfig.NoticePolicyRejects, path: policy},
		"accepts a domain, port": {image: "hub.test:5000/team/app:1", files: map[string]string{policy: `{"default":[{"type":"reject"}],"transports":{"docker":{"*.test":[{"type":"insecureAcceptAnything"}]}}}`}},
		"another host":           {files: map[string]string{policy: `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"other.test":[{"type":"reject"}]}}}`}},
		"signed":                 {files: map[string]string{policy: `{"default":[{"type":"signedBy"}]}`}, notice: nodeconfig.NoticePolicySigned, path: policy},
		"crio.conf's":            {files: map[string]string{policy: accept, "etc/crio/crio.conf": "[crio.image]\nsignature_policy = '/opt/p.json'\n", "opt/p.json": `{"default":[{"type":"reject"}]}`}, notice: nodeconfig.NoticePolicyRejects, path: "opt/p.json"},
		"the namespace's":        {files: map[string]string{policy: accept, "etc/crio/policies/shop.json": `{"default":[{"type":"reject"}]}`}, notice: nodeconfig.NoticePolicyRejects, path: "etc/crio/policies/shop.json"},
		"another's":              {files: map[string]string{policy: accept, "etc/crio/policies/other.json": `{"default":[{"type":"reject"}]}`}},
		"signature store":        {files: map[string]string{"etc/containers/registries.d/d.yaml": "docker: [\n"}, broken: nodeconfig.NoticeSignatureStoreBroken, path: "etc/containers/registries.d/d.yaml"},
		"a default twice":        {files: map[string]string{"etc/containers/registries.d/a.yaml": "default-docker: {}\n", "etc/containers/registries.d/b.yaml": "default-docker:\n  lookaside: file:///x\n"}, broken: nodeconfig.NoticeSignatureStoreBroken, path: "etc/containers/registries.d/b.yaml"},
		"a registry twice":       {files: map[string]string{"etc/containers/registries.d/a.yaml": "docker:\n  hub.test:\n", "etc/containers/registries.d/b.yaml": "docker:\n  hub.test: {}\n"}, broken: nodeconfig.NoticeSignatureStoreBroken, path: "etc/containers/registries.d/b.yaml"},
		"two registries":         {files: map[string]string{"etc/containers/registries.d/a.yaml": "default-docker: {}\ndocker:\n  hub.test: {}\n", "etc/containers/registries.d/b.yaml": "docker:\n  other.test: {}\n"}},
		"a good store":           {files: map[string]string{"etc/containers/registries.d/d.yaml": "docker:\n  hub.test:\n    use-sigstore-attachments: true\n"}},
	} {
		image := cmp.Or(tc.image, "hub.test/team/app:1")
		c := nodeconfig.Load(crio(t, tc.files)).ForPod("shop", image)
		_, notices, err := c.EndpointsFor(t.Context(), "hub.test", ref(t, image))
		if tc.broken != "" {
			if !refuses(err, tc.broken, "/"+tc.path) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var want []nodeconfig.Notice
		if tc.notice != "" {
			want = []nodeconfig.Notice{{Kind: tc.notice, Path: "/" + tc.path}}
		}
		if err != nil || !slices.Equal(notices, want) {
			t.Errorf("%s: %v, %v", name, notices, err)
		}
	}
}

// A namespace can have credentials of its own for an image.
func TestCRIONamespaceCredentials(t *testing.T) {
	sum := sha256.Sum256([]byte("hub.test/a"))
	file := "etc/crio/auth/shop-" + hex.EncodeToString(sum[:]) + ".json"
	c := nodeconfig.Load(crio(t, map[string]string{file: `{"auths":{"hub.test":{"auth":"YWxpY2U6eA=="}}}`, "etc/crio/crio.conf": "[crio.image]\npause_image_auth_file = '/pause.json'\n", "pause.json": "{"}))
	for namespace, want := range map[string]string{"shop": "/" + file, "other": "", "": "", "../shop": ""} {
		eps, _, err := c.ForPod(namespace, "hub.test/a:1").EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/a:1"))
		if err != nil || len(eps) != 1 || eps[0].NodeCredentialSource != want {
			t.Errorf("%q: %q, %v", namespace, eps[0].NodeCredentialSource, err)
		}
	}
	eps, _, err := c.ForSandbox().EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/a:1"))
	if err != nil || eps[0].NodeCredentialBroken != "/pause.json" {
		t.Errorf("%+v, %v", eps, err)
	}
}

// A file that was changed after CRI-O had started need not be in effect.
func TestCRIONotLoaded(t *testing.T) {
	const pid = 77
	for name, tc := range map[string]struct {
		started time.Duration // after the file's last change
		conf    string        // crio.conf
		visible bool
		notice  bool
		loaded  bool
	}{
		"started later":  {started: time.Hour, visible: true, loaded: true},
		"started before": {started: -time.Hour, visible: true, notice: true},
		"not visible":    {},
		"watched":        {started: -time.Hour, conf: "[crio.image]\nauto_reload_registries = true\n", visible: true, loaded: true},
		"watched alone":  {conf: "[crio.image]\nauto_reload_registries = true\n", loaded: true},
	} {
		file := registries
		if tc.conf != "" {
			file = registryD + "1.conf" // CRI-O watches the drop-ins alone
		}
		files := map[string]string{file: mirrored("a.test"), "etc/crio/crio.conf": tc.conf}
		booted := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
		if tc.visible {
			dir := "proc/" + strconv.Itoa(pid) + "/"
			ticks := time.Now().Add(tc.started).Sub(booted) / (10 * time.Millisecond)
			files[dir+"comm"], files[dir+"status"], files[dir+"cmdline"] = "crio\n", "Uid:\t0\t0\t0\t0\nNSpid:\t77\n", "/usr/bin/crio\x00"
			files[dir+"stat"] = "77 (crio) S 1 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 9 0 " + strconv.FormatInt(int64(ticks), 10) + strings.Repeat(" 0", 30) + "\n"
			files["proc/stat"] = "cpu 1 0 0 0 0 0 0 0 0 0\nbtime " + strconv.FormatInt(booted.Unix(), 10) + "\n"
		} else {
			files["proc/1/comm"] = "init\n"
		}
		opts := crio(t, files)
		if tc.started > 0 {
			old := time.Now().Add(-time.Minute)
			if err := os.Chtimes(filepath.Join(opts.Root, file), old, old); err != nil {
				t.Fatal(err)
			}
		}
		c := nodeconfig.Load(opts)
		if got := slices.Equal(c.Notices(), []nodeconfig.Notice{{Kind: nodeconfig.NoticeNotLoaded, Path: "/" + file}}); got != tc.notice {
			t.Errorf("%s: notices %v", name, c.Notices())
		}
		eps, _, err := c.EndpointsFor(t.Context(), "hub.test", ref(t, "hub.test/a:1"))
		if err != nil || len(eps) != 2 || eps[0].Unloaded == tc.loaded {
			t.Errorf("%s: %+v, %v", name, eps, err)
		}
		if eps, _, _ = c.EndpointsFor(t.Context(), "other.test", ref(t, "other.test/a:1")); eps[0].Unloaded {
			t.Errorf("%s: a registry without an entry rests on no file", name)
		}
	}
}

// The certificates of root's home come first, and hide all others.
func TestCRIOCertificatesOfRoot(t *testing.T) {
	for version, want := range map[string]nodeconfig.NoticeKind{"1.37.0": nodeconfig.NoticeCertificatesUnusable, "1.38.0": ""} {
		opts := nodeconfigtest.CRIO(t, map[string]string{"root/.config/containers/certs.d/hub.test/x.cert": "", "etc/containers/certs.d/hub.test/README": ""})
		opts.RuntimeVersion = version
		_, _, err := sources(t, opts, "hub.test/a:1")
		if want == "" && err != nil || want != "" && !refuses(err, want, "/root/.config/containers/certs.d/hub.test/x.cert") {
			t.Errorf("%s: %v", version, err)
		}
	}
}
