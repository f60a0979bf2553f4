package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http/httpproxy"

	"github.com/whypull/whypull/cri/catest"
)

func TestGrant(t *testing.T) {
	for _, test := range []struct {
		user  string
		scope string
		want  []string
	}{
		{"", "repository:public/app:pull", []string{"pull"}},
		{"", "repository:public/app:pull,push", []string{"pull"}},
		{"", "repository:team-a/app:pull", nil},
		{Reader, "repository:team-a/app:pull", []string{"pull"}},
		{Reader, "repository:team-a/app:pull,push", []string{"pull"}},
		{Reader, "repository:team-b/app:pull", nil},
		{Reader, "repository:public/app:pull", []string{"pull"}},
		{Admin, "repository:team-b/app:pull,push", []string{"pull", "push"}},
		{Admin, "registry:catalog:*", nil},
		{Admin, "nonsense", nil},
		{Admin, "", nil},
	} {
		var got []string
		for _, a := range Grant(test.user, []string{test.scope}) {
			got = append(got, a.Actions...)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q asks for %q: got %v, want %v", test.user, test.scope, got, test.want)
		}
	}
}

func TestTokenService(t *testing.T) {
	key := newPair(t)
	service, err := NewTokenService(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, user, password string
		status               int
		access               []Access
	}{
		{"nobody", "", "", http.StatusOK, []Access{}},
		{"reader", Reader, ReaderPassword, http.StatusOK, []Access{{"repository", "team-a/app", []string{"pull"}}}},
		{"wrong password", Reader, AdminPassword, http.StatusUnauthorized, nil},
		{"unknown user", "mallory", "", http.StatusUnauthorized, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := ask(t, service, http.MethodGet, test.user, test.password, "repository:team-a/app:pull")
			if response.Code != test.status {
				t.Fatalf("status %d, want %d", response.Code, test.status)
			}
			if test.status != http.StatusOK {
				return
			}
			if got := accessIn(t, response.Body.Bytes(), key); !reflect.DeepEqual(got, test.access) {
				t.Errorf("access %+v, want %+v", got, test.access)
			}
		})
	}
	if response := ask(t, service, http.MethodPost, "", "", ""); response.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", response.Code)
	}
}

func ask(t *testing.T, service http.Handler, method, user, password, scope string) *httptest.ResponseRecorder {
	t.Helper()
	query := url.Values{"service": {TokenHost}, "scope": {scope}}
	request := httptest.NewRequestWithContext(t.Context(), method, "/token?"+query.Encode(), nil)
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	response := httptest.NewRecorder()
	service.ServeHTTP(response, request)
	return response
}

// accessIn verifies a token with the published key set, as a registry does, and returns
// its access.
func accessIn(t *testing.T, body []byte, key *catest.Pair) []Access {
	t.Helper()
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	data, err := keySet(key)
	if err != nil {
		t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(answer.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var standard jwt.Claims
	var own struct {
		Access []Access `json:"access"`
	}
	if err := token.Claims(keys.Key(token.Headers[0].KeyID)[0], &standard, &own); err != nil {
		t.Fatal(err)
	}
	expected := jwt.Expected{Issuer: AuthHost, AnyAudience: jwt.Audience{TokenHost}, Time: time.Now()}
	if err := standard.Validate(expected); err != nil {
		t.Error(err)
	}
	return own.Access
}

func TestWriteConfig(t *testing.T) {
	root, authority := t.TempDir(), newPair(t)
	if err := WriteConfig(root, authority); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Hub, Token, Plain} {
		config := read(t, root, ConfigFile(name))
		if !strings.Contains(config, "addr: "+Address(name)) {
			t.Errorf("%s does not listen on its address:\n%s", name, config)
		}
	}
	if hosts := read(t, root, "/etc/containerd/certs.d/"+HubHost2+"/hosts.toml"); !strings.Contains(hosts, `[host."https://`+HubHost2+`"]`) {
		t.Errorf("hosts.toml of %s:\n%s", HubHost2, hosts)
	}
	for _, host := range []string{UntrustedHost, PlainHost2} {
		if _, err := os.Stat(filepath.Join(root, "/etc/containerd/certs.d", host)); err == nil {
			t.Errorf("hosts.toml for %s must not exist", host)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	content, err := htpasswd()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(content) {
		user, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		want := map[string]string{Alice: AlicePassword, Bob: BobPassword}[user]
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(want)); err != nil {
			t.Errorf("password of %q: %v", user, err)
		}
	}
}

func TestResolve(t *testing.T) {
	for in, want := range map[string]string{
		HubHost + ":443":     hubAddress + ":443",
		PlainHost:            plainAddress + ":5000",
		"10.0.0.1:80":        "10.0.0.1:80",
		MissingHost + ":443": MissingHost + ":443",
		"no port":            "no port",
		TokenHost + ".:443":  tokenAddress + ":443",
	} {
		if got := Resolve(in); got != want {
			t.Errorf("Resolve(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAddressesAreThoseThatAnswer(t *testing.T) {
	all := Addresses()
	if slices.Contains(all, SilentAddress) || !slices.Contains(all, closedAddress) || !slices.IsSorted(all) {
		t.Errorf("addresses: %v", all)
	}
}

func TestLogged(t *testing.T) {
	handler := logged(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if response.Code != http.StatusTeapot {
		t.Errorf("status %d", response.Code)
	}
}

func newPair(t *testing.T) *catest.Pair {
	t.Helper()
	pair, err := catest.NewAuthority(catest.Request{CommonName: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func read(t *testing.T, root, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Clean(filepath.Join(root, path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLimitedRefusesManifestsOnly(t *testing.T) {
	for path, want := range map[string]int{
		"/v2/":                       http.StatusOK,
		"/v2/demo/app/tags/list":     http.StatusOK,
		"/v2/demo/app/manifests/1.0": http.StatusTooManyRequests,
	} {
		response := httptest.NewRecorder()
		limited(response, httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil))
		if response.Code != want || (want == http.StatusTooManyRequests) != (response.Header().Get("Retry-After") != "") {
			t.Errorf("%s: status %d, header %v", path, response.Code, response.Header())
		}
	}
}

// NearHost reports its limit as Docker Hub does, and has no image.
func TestNearReportsItsLimit(t *testing.T) {
	for path, want := range map[string]string{"/v2/": "", "/v2/demo/app/manifests/1.0": "3;w=21600"} {
		response := httptest.NewRecorder()
		near(response, httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil))
		if left := response.Header().Get("ratelimit-remaining"); left != want || (response.Code == http.StatusNotFound) != (want != "") {
			t.Errorf("%s: status %d, %q left, want %q", path, response.Code, left, want)
		}
	}
}

// Each certificate expires when its alert needs it.
func TestCertificatesExpire(t *testing.T) {
	dir, authority := t.TempDir(), newPair(t)
	if err := writeCertificates(dir, authority); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for name, want := range map[string]struct {
		host            string
		after, atLatest time.Duration
	}{
		"expired": {ExpiredHost, -2 * day, 0}, "ending": {EndingHost, day, 3 * day}, "expiring": {ExpiringHost, 3 * day, 14 * day}, "hub": {HubHost, 14 * day, 366 * day},
	} {
		pair, err := catest.Read(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		left := time.Until(pair.Certificate.NotAfter)
		if err := pair.Certificate.VerifyHostname(want.host); err != nil || left < want.after || left > want.atLatest {
			t.Errorf("%s expires in %v (%v)", name, left, err)
		}
	}
}

// The runtime reaches all other registries directly.
func TestProxyIsForOneRegistry(t *testing.T) {
	for _, v := range ProxyEnvironment() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	config := httpproxy.FromEnvironment().ProxyFunc()
	for host := range Hosts() {
		proxy, err := config(&url.URL{Scheme: "https", Host: host})
		if err != nil || (proxy != nil) != (host == ProxiedHost) {
			t.Errorf("%s: proxy %v, %v", host, proxy, err)
		}
	}
}

// The node's files for the other registries are valid TOML.
func TestOneHostsFileIsBroken(t *testing.T) {
	for path, content := range hostFiles("ca") {
		if !strings.HasSuffix(path, "hosts.toml") {
			continue
		}
		broken := strings.Contains(path, "/"+MisconfiguredHost+"/")
		if quoted := strings.HasPrefix(content, "server = \"http"); quoted == broken {
			t.Errorf("%s: %s", path, content)
		}
	}
	path, content := HostsFile(MisconfiguredHost)
	if _, there := hostFiles("ca")[path]; !there || !strings.HasPrefix(content, "server = \"https://"+MisconfiguredHost+"\"") {
		t.Errorf("%s without its error: %s", path, content)
	}
}

func TestKubeletFileIsForOneRegistry(t *testing.T) {
	path, content := KubeletFile("a-password")
	var file struct {
		Auths map[string]struct{ Username, Password string }
	}
	if err := json.Unmarshal([]byte(content), &file); err != nil {
		t.Fatal(err)
	}
	if c := file.Auths[NodeLoginHost]; path != "/var/lib/kubelet/config.json" || len(file.Auths) != 1 || c.Username != Alice || c.Password != "a-password" {
		t.Errorf("%s: %s", path, content)
	}
}

// A blob stops halfway until it is released; small blobs and manifests pass.
func TestStall(t *testing.T) {
	t.Parallel()
	const whole = 3 * stallAt
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := whole
		if strings.HasSuffix(r.URL.Path, "small") {
			n = 10
		}
		_, _ = w.Write(make([]byte, n))
	}))
	t.Cleanup(origin.Close)
	target, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(t.TempDir(), "release")
	front := httptest.NewServer(logged(stall(target, release)))
	t.Cleanup(front.Close)
	get := func(path string) io.ReadCloser {
		t.Helper()
		resp, err := http.Get(front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.Body
	}
	for path, want := range map[string]int{"/v2/x/manifests/v1": whole, "/v2/x/blobs/small": 10} {
		if data, err := io.ReadAll(get(path)); len(data) != want || err != nil {
			t.Errorf("%s: %d bytes, %v", path, len(data), err)
		}
	}
	body := get("/v2/x/blobs/large")
	if n, err := io.ReadFull(body, make([]byte, stallAt)); n != stallAt || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	rest := make(chan int)
	go func() {
		data, _ := io.ReadAll(body)
		rest <- len(data)
	}()
	select {
	case n := <-rest:
		t.Fatalf("%d bytes more before the release", n)
	case <-time.After(300 * time.Millisecond):
	}
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := <-rest; n != whole-stallAt {
		t.Errorf("%d bytes after the release", n)
	}
}

// The node uses plain HTTP with every name of the zone, and every address in the lab
// belongs to something.
func TestNames(t *testing.T) {
	files, table := hostFiles("ca"), NameTable()
	for _, label := range Names() {
		host := NameHost(label)
		if !strings.Contains(files["/etc/containerd/certs.d/"+host+"/hosts.toml"], `[host."http://`+host+`"]`) {
			t.Errorf("no hosts.toml for %s", host)
		}
	}
	outside := []string{SilentAddress, OutsideAddress, OutsideAddress6}
	for _, r := range table {
		for _, a := range r.Addresses {
			if !slices.Contains(Addresses(), a.String()) && !slices.Contains(outside, a.String()) {
				t.Errorf("no host has the address %s of %s", a, r.Name)
			}
		}
		if !strings.HasSuffix(r.Name, "."+NameZone) {
			t.Errorf("%s is not in the zone", r.Name)
		}
	}
	for view, want := range map[string]string{NodeView: "NXDOMAIN", ClusterView: "", PodView: ""} {
		if got := table.Find(view, "cluster-only."+NameZone).Rcode; got != want {
			t.Errorf("view %s of a name of the cluster: %q, want %q", view, got, want)
		}
	}
}
