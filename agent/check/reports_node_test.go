//go:build linux

package check

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// on is a machine with a runtime, whose own proxy counts.
func on(t *testing.T, name, version string, images ...[2]string) func(*Options) {
	t.Helper()
	runtime := critest.New(t)
	for _, i := range images {
		runtime.Add(critest.NewImage(i[0], []string{i[1]}, nil))
	}
	runtime.Name, runtime.Release = name, version
	return func(o *Options) { o.Socket, o.Registries.Proxy = runtime.Socket, nil }
}

const registriesConf = "etc/containers/registries.conf"

// R07: CRI-O refuses a short name for which several registries are searched, since
// 1.34.0.
func TestR07ShortNameEnforcing(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]diagnosis.Cause{"1.33.4": diagnosis.RepositoryNotFound, "1.34.0": diagnosis.ShortNameAmbiguous, "1.34.1": diagnosis.ShortNameAmbiguous, "1.37.0": diagnosis.ShortNameAmbiguous} {
		m := newMachine(t)
		first, second := m.serve("first.test", registrytest.Config{}), m.serve("second.test", registrytest.Config{})
		m.file(registriesConf, "unqualified-search-registries = ['"+first+"', '"+second+"']\n")
		d := m.check("nginx:1", on(t, "cri-o", version))
		if string(d.Cause) != string(want) || d.pullable {
			t.Errorf("CRI-O %s: %s (%s), want %s: %s", version, d.Cause, d.Confidence, want, d.Summary)
		}
		if strings.Contains(d.Summary, "docker.io") {
			t.Errorf("docker.io was not asked: %s", d.Summary)
		}
	}
}

// R08: the registry that is searched is the one that is asked, and named.
func TestR08ShortNameElsewhere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.serve("other.test", registrytest.Config{})
	m.file(registriesConf, "unqualified-search-registries = ['"+at+"']\n")
	d := m.check("nginx:1", on(t, "cri-o", "1.33.1"))
	d.is(diagnosis.RepositoryNotFound, diagnosis.Confirmed, at)
	if all := d.Summary + strings.Join(d.Remedy, "\n"); strings.Contains(all, "docker.io") {
		t.Errorf("docker.io was not asked: %s", all)
	}
}

// R12: a proxy that is set where the runtime does not read it.
func TestR12ProxyWithoutEffect(t *testing.T) {
	t.Parallel()
	const dropIn = "etc/systemd/system/containerd.service.d/proxy.conf"
	for name, c := range map[string]struct{ file, text string }{
		"typographic quotes": {dropIn, "[Service]\nEnvironment=”HTTPS_PROXY=http://proxy.test:3128\"\n"},
		"only for http":      {dropIn, "[Service]\nEnvironment=HTTP_PROXY=http://proxy.test:3128\n"},
		"of logins":          {"etc/environment", "HTTPS_PROXY=http://proxy.test:3128\n"},
		"without .conf":      {strings.TrimSuffix(dropIn, ".conf"), "[Service]\nEnvironment=HTTPS_PROXY=http://proxy.test:3128\n"},
		"without a section":  {dropIn, "Environment=HTTPS_PROXY=http://proxy.test:3128\n"},
		"one word":           {dropIn, "[Service]\nEnvironment=\"HTTP_PROXY=http://proxy.test:3128 HTTPS_PROXY=http://proxy.test:3128\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.file("etc/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd\n")
			m.file(c.file, c.text)
			at := m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
			d := m.check(at+"/team/app:v1", on(t, "containerd", "v2.4.2"))
			d.is(diagnosis.ConnectionRefused, diagnosis.Confirmed, at)
			d.mentions("/" + c.file)
		})
	}
}

// R13: a credential provider that is configured for the registry nearly.
func TestR13ProviderNearly(t *testing.T) {
	t.Parallel()
	for name, pattern := range map[string]string{"no port": "registry.test", "another port": "registry.test:80", "path": "REGISTRY/*", "scheme": "https://registry.test"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Auth: registrytest.Basic}))
			pattern := strings.ReplaceAll(pattern, "REGISTRY", at)
			m.file("etc/eks/image-credential-provider/config.json", `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[
				{"name":"corp","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"12h","matchImages":["`+pattern+`"]}]}`)
			d := m.check(at + "/team/app:v1")
			d.is(diagnosis.AuthenticationRequired, diagnosis.Confirmed, at)
			d.mentions("corp", pattern)
		})
	}
}

// R14: CRI-O keeps the pod's credentials from the host that registries.conf puts in
// the registry's place.
func TestR14CredentialsKeptFromLocation(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "team/app")
	r.Auth = registrytest.Bearer
	config := only(r)
	config.Passwords = map[string]string{"user": password}
	config.Certificate = m.ca.Issue(catest.Request{Names: []string{"mirror.test", registrytest.Name}}) // it is its own token server
	m.names(registrytest.Name, "127.0.0.1")
	mirror := m.serve("mirror.test", config)
	m.file(registriesConf, "[[registry]]\nprefix = 'private.test'\nlocation = '"+mirror+"'\n")
	secret := secretOf(t, "regcred", "shop", `{"auths":{"private.test":{"auth":"`+basic("user", password)+`"}}}`)
	d := m.pod("private.test/team/app:v1", []string{secret}, on(t, "cri-o", "1.34.1"))
	d.is(diagnosis.MirrorFailed, diagnosis.Likely, mirror, "instead of private.test", "does not send the pod's credentials", "global_auth_file")
}

// R16: CRI-O before 1.35 does not know zstd layers in Docker's manifest.
func TestR16DockerZstd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	content := registrytest.NewContent(t)
	layer := content.Layer(10)
	layer.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	content.Tag("v1", content.Image(ocispec.Platform{OS: "linux", Architecture: "amd64"}, layer))
	at := m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Content: content}))
	m.check(at+"/team/app:v1", on(t, "cri-o", "1.34.1")).is(diagnosis.UnsupportedFormat, diagnosis.Confirmed)
	if d := m.check(at+"/team/app:v1", on(t, "cri-o", "1.35.0")); string(d.Cause) != string(diagnosis.NotReproducible) {
		t.Errorf("%s: %s", d.Cause, d.Summary)
	}
}

// R31: a registry by its IPv6 address; R32: CRI-O knows none.
func TestR31AddressOfSixteenBytes(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	m := newMachine(t)
	r, _ := image(t, "team/app")
	server := httptest.NewUnstartedServer(&registrytest.Server{Config: registrytest.Config{CA: m.ca, Plain: true, Repositories: []registrytest.Repository{r}}})
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	at := l.Addr().String()
	m.hostsFile(at, "server = \"http://"+at+"\"\n")
	m.check(at+"/team/app:v1").is(diagnosis.NotReproducible, diagnosis.Confirmed)
	m.check(at+"/team/app:v1", on(t, "cri-o", "1.34.1")).is(diagnosis.InvalidImageName, diagnosis.Confirmed, "IPv6")
}

// R39: a registry on plain HTTP, in hosts.toml with and without a scheme, and not
// there at all.
func TestR39PlainRegistry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		cause diagnosis.Cause
	}{
		"host without a scheme": {"server = \"http://AT\"\n[host.\"AT\"]\n  capabilities = [\"pull\", \"resolve\"]\n", diagnosis.NotReproducible},
		"host with a scheme":    {"[host.\"http://AT\"]\n  capabilities = [\"pull\", \"resolve\"]\n", diagnosis.NotReproducible},
		"none":                  {"", diagnosis.HTTPSMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r, _ := image(t, "team/app")
			config := only(r)
			config.Plain = true
			at := m.serve("plain.test", config)
			if c.text != "" {
				m.hostsFile(at, strings.ReplaceAll(c.text, "AT", at))
			}
			m.check(at+"/team/app:v1").is(c.cause, diagnosis.Confirmed)
		})
	}
}

// A host on plain HTTP is followed by its server with https: that this one speaks no TLS
// does not hide what the first has answered.
func TestPlainBeforeServer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "team/app")
	config := only(r)
	config.Plain = true
	at := m.serve("plain.test", config)
	m.hostsFile(at, "server = \"https://"+at+"/v2\"\n[host.\"http://"+at+"/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
	m.check(at+"/team/app:no-such-tag").is(diagnosis.TagNotFound, diagnosis.Likely, "no-such-tag")
}

// R40: authorities and client certificates of hosts.toml.
func TestR40Certificates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host  string // in [host."https://AT"]
		mtls  bool   // the registry wants a client certificate
		cause diagnosis.Cause
		words string
	}{
		"relative authority":   {`ca = "corp.crt"`, false, diagnosis.NotReproducible, ""},
		"authority not named":  {``, false, diagnosis.TLSUntrusted, ""},
		"authority not there":  {`ca = "gone.crt"`, false, diagnosis.RegistryConfigInvalid, "hosts.toml"},
		"client certificate":   {"client = [[\"client.cert\", \"client.key\"]]", true, diagnosis.NotReproducible, ""},
		"no certificate":       {``, true, diagnosis.TLSHandshakeFailed, ""},
		"certificate as a key": {"client = [\"client.cert\", \"client.key\"]", true, diagnosis.RegistryConfigInvalid, "hosts.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			corp := catest.New(t) // whom the node does not trust
			r, _ := image(t, "team/app")
			config := only(r)
			config.Certificate = corp.Issue(catest.Request{Names: []string{"corp.test"}})
			if c.mtls {
				config.Certificate, config.ClientCA = nil, corp // the node trusts it, without a client certificate too
			}
			at := m.serve("corp.test", config)
			client := corp.Issue(catest.Request{Names: []string{"node"}})
			dir := "etc/containerd/certs.d/" + at + "/"
			m.file(dir+"corp.crt", string(corp.PEM()))
			m.file(dir+"client.cert", string(client.PEM()))
			m.file(dir+"client.key", string(client.KeyPEM()))
			m.hostsFile(at, "server = \"https://"+at+"\"\n[host.\"https://"+at+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n  "+c.host+"\n")
			m.check(at+"/team/app:v1").is(c.cause, diagnosis.Confirmed, c.words)
		})
	}
}

// connectProxy is a proxy that joins clients with loopback addresses whatever the
// name, or answers CONNECT with a status.
func connectProxy(t *testing.T, status int) (url string, asked func() int) {
	t.Helper()
	n := make(chan struct{}, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n <- struct{}{}
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		_, port, _ := net.SplitHostPort(r.Host)
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = there.Close()
			return
		}
		go func() {
			_, _ = io.Copy(there, buffered)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
		_ = here.Close()
	}))
	t.Cleanup(server.Close)
	return server.URL, func() int { return len(n) }
}

// R43: the proxy that k3s hands to its containerd.
func TestR43ProxyOfK3s(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r, _ := image(t, "team/app")
	at := m.serve("registry.test", only(r))
	proxy, asked := connectProxy(t, http.StatusOK)
	m.file("etc/systemd/system/k3s.service", "[Service]\nEnvironmentFile=-/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s server\n")
	m.file("etc/systemd/system/k3s.service.env", "CONTAINERD_HTTPS_PROXY="+proxy+"\n")
	m.file("var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 3\n")
	m.check(at+"/team/app:v1", on(t, "containerd", "v2.0.5-k3s1"), func(o *Options) { o.Registries.ConfigFile = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml" }).is(diagnosis.NotReproducible, diagnosis.Confirmed)
	if asked() == 0 {
		t.Error("the proxy was not asked")
	}
}

// R44: https:// for a proxy without TLS; R45: a network in NO_PROXY does not stand for
// the names in it, and a proxy that refuses.
func TestR44Proxies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		scheme  string
		noProxy string
		words   []string
	}{
		"https for a plain proxy": {http.StatusOK, "https://", "", []string{"https://"}},
		"network in NO_PROXY":     {http.StatusForbidden, "http://", "localhost,127.0.0.0/8", []string{"HTTP 403"}},
		"name not resolved":       {http.StatusServiceUnavailable, "http://", "", []string{"HTTP 503"}},
		"login wanted":            {http.StatusProxyAuthRequired, "http://", "", []string{"HTTP 407"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r, _ := image(t, "team/app")
			at := m.serve("registry.test", only(r))
			proxy, _ := connectProxy(t, c.status)
			address := strings.TrimPrefix(proxy, "http://")
			m.file("etc/systemd/system/containerd.service", "[Service]\nEnvironment=HTTPS_PROXY="+c.scheme+address+" NO_PROXY="+c.noProxy+"\n")
			d := m.check(at+"/team/app:v1", on(t, "containerd", "v2.4.2"))
			d.is(diagnosis.ProxyFailed, diagnosis.Confirmed, address)
			d.mentions(c.words...)
		})
	}
}

// R46: settings of registries under a name that this version does not read.
func TestR46SectionWithoutEffect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, version string }{
		"name of version 1 in version 2": {"version = 2\n[plugins.cri.registry.mirrors.\"AT\"]\n  endpoint = [\"https://MIRROR\"]\n", "v1.7.24"},
		"name of version 2, no version":  {"[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"AT\"]\n  endpoint = [\"https://MIRROR\"]\n", "v1.7.24"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r, _ := image(t, "team/app")
			mirror := m.serve("mirror.test", only(r))
			at := m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
			m.file("etc/containerd/config.toml", strings.NewReplacer("AT", at, "MIRROR", mirror).Replace(c.config))
			d := m.check(at+"/team/app:v1", on(t, "containerd", c.version), func(o *Options) { o.Registries.CertsDir = "" })
			d.is(diagnosis.ConnectionRefused, diagnosis.Confirmed, at)
			d.mentions("/etc/containerd/config.toml", "version")
		})
	}
}

// R54: with mirrors and config_path, the plugin that pulls does not load.
func TestR54MirrorsWithConfigPath(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.named("registry.test", "127.0.0.1:"+sockettest.ClosedPort(t))
	m.file("etc/containerd/config.toml", "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n"+
		"[plugins.\"io.containerd.cri.v1.images\".registry.mirrors.\""+at+"\"]\n  endpoint = [\"https://mirror.test\"]\n")
	d := m.check(at+"/team/app:v1", on(t, "containerd", "v2.2.0"), func(o *Options) { o.Registries.CertsDir = "" })
	if string(d.Cause) != string(diagnosis.RegistryConfigInvalid) || d.pullable {
		t.Errorf("%s (%s): %s", d.Cause, d.Confidence, d.Summary)
	}
	d.mentions("/etc/containerd/config.toml", "config_path")
}

// R55: a manifest of the first schema, without its signature.
func TestR55FirstSchema(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	content := registrytest.NewContent(t)
	content.Tag("v1", content.Manifest("application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"name":"team/app","tag":"v1","fsLayers":[],"history":[]}`)))
	at := m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Content: content}))
	m.check(at+"/team/app:v1", on(t, "containerd", "v2.4.2")).is(diagnosis.UnsupportedFormat, diagnosis.Confirmed, "schema 1")
}

// R56: an image with a name much like the one that policy Never asks for.
func TestR56NameOfBuildah(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.run("apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: [{name: app, image: 'video:v1', imagePullPolicy: Never}]}\n",
		fromStdin, on(t, "containerd", "v2.4.2", [2]string{"sha256:1", "localhost/video:v1"}))
	d.is(diagnosis.ImageNotPresent, diagnosis.Confirmed, "the node has it as localhost/video:v1", "Put image localhost/video:v1 into the manifest")
}

// A registry stands in hosts.toml twice, as a host with its authority and as the server
// without: containerd reports the answer of the one that got further.
func TestRegistryTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image string
		cause diagnosis.Cause
	}{
		"works":         {"/team/app:v1", diagnosis.NotReproducible},
		"no tag":        {"/team/listed:gone", diagnosis.TagNotFound},
		"no repository": {"/team/nothing:v1", diagnosis.RepositoryNotFound},
		"private":       {"/team/private:v1", diagnosis.AuthenticationRequired},
	} {
		for _, text := range []string{
			"server = \"https://AT\"\n[host.\"https://AT\"]\n  ca = \"corp.crt\"\n",
			"server = \"https://AT\"\nca = \"corp.crt\"\n[host.\"https://AT\"]\n",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				corp := catest.New(t) // whom the node does not trust
				r, _ := image(t, "team/app")
				config := only(r)
				config.Repositories = append(config.Repositories, registrytest.Repository{Name: "team/listed", Tags: []string{"v1"}},
					registrytest.Repository{Name: "team/private", Tags: []string{"v1"}, Auth: registrytest.Basic})
				config.Certificate = corp.Issue(catest.Request{Names: []string{"corp.test"}})
				at := m.serve("corp.test", config)
				m.file("etc/containerd/certs.d/"+at+"/corp.crt", string(corp.PEM()))
				m.hostsFile(at, strings.ReplaceAll(text, "AT", at))
				m.check(at+c.image).is(c.cause, diagnosis.Confirmed)
			})
		}
	}
}
