//go:build linux

package check

import (
	"encoding/base64"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/catest"
	"github.com/whypull/whypull/cri/nodeconfig"
	"github.com/whypull/whypull/cri/registry/registrytest"
	"github.com/whypull/whypull/cri/sockettest"
)

// private is a registry of that name with a private repository team/app, whose user
// is "user".
func (m *machine) private(name string, auth registrytest.Auth, change ...func(*registrytest.Config)) (at string) {
	m.t.Helper()
	r, _ := image(m.t, "team/app")
	r.Auth = auth
	config := only(r)
	config.Passwords = map[string]string{"user": password}
	// It is its own token server, whose name is that of every registry of a test.
	config.Certificate = m.ca.Issue(catest.Request{Names: []string{name, registrytest.Name}})
	if name != registrytest.Name {
		m.names(registrytest.Name, "127.0.0.1")
	}
	for _, c := range change {
		c(&config)
	}
	return m.serve(name, config)
}

// opaque is a secret of any type.
func opaque(name, kind, key, content string) string {
	return "apiVersion: v1\nkind: Secret\ntype: " + kind + "\nmetadata: {name: " + name + ", namespace: shop}\ndata: {" + key + ": " + base64.StdEncoding.EncodeToString([]byte(content)) + "}\n"
}

const (
	typeConfigJSON, dataConfigJSON = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"
	typeConfig, dataConfig         = "kubernetes.io/dockercfg", ".dockercfg"
)

func TestSecretsOfReports(t *testing.T) {
	t.Parallel()
	entry := `{"auth":"` + basic("user", password) + `"}`
	auths := func(key string) string { return `{"auths":{"` + key + `":` + entry + `}}` }
	for name, c := range map[string]struct {
		host, kind, key, content string // AT is the registry
		auth                     registrytest.Auth
		cause                    diagnosis.Cause
		confidence               diagnosis.Confidence
		words                    []string
	}{
		"R20 wildcard for less than a part": {"foo.example.test", typeConfigJSON, dataConfigJSON, auths("*example.test:PORT"), registrytest.Basic, diagnosis.PullSecretNoMatch, diagnosis.Confirmed, []string{"*example.test", "AT"}},
		"R20 wildcard for a part":           {"foo.example.test", typeConfigJSON, dataConfigJSON, auths("*.example.test:PORT"), registrytest.Basic, diagnosis.NotReproducible, diagnosis.Confirmed, nil},
		"R22 the other type":                {"registry.test", typeConfig, dataConfigJSON, auths("AT"), registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{dataConfig}},
		"R22 the other content":             {"registry.test", typeConfig, dataConfig, auths("AT"), registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{"auths"}},
		"R22 key without the port":          {"port.test", typeConfigJSON, dataConfigJSON, auths("https://port.test/"), registrytest.Basic, diagnosis.PullSecretNoMatch, diagnosis.Confirmed, []string{"https://port.test/", "AT"}},
		"R23 registries at the top":         {"registry.test", typeConfigJSON, dataConfigJSON, `{"AT":` + entry + `}`, registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{"auths"}},
		"R24 encoded twice":                 {"registry.test", typeConfigJSON, dataConfigJSON, base64.StdEncoding.EncodeToString([]byte(auths("AT"))), registrytest.Basic, diagnosis.PullSecretMalformed, diagnosis.Confirmed, []string{"base64"}},
		"R25 quotes not escaped":            {"registry.test", typeConfigJSON, dataConfigJSON, `{"auths":{"AT":{"username":"_json_key","password":"{ "type": "service_account" }"}}}`, registrytest.Basic, diagnosis.PullSecretMalformed, diagnosis.Confirmed, []string{"JSON"}},
		"R26 opaque, config.json":           {"registry.test", "Opaque", "config.json", auths("AT"), registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{"Opaque"}},
		"R26 opaque, right key":             {"registry.test", "Opaque", dataConfigJSON, auths("AT"), registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{"Opaque"}},
		"R27 credential store":              {"registry.test", typeConfigJSON, dataConfigJSON, `{"auths":{"AT":{}},"credsStore":"desktop"}`, registrytest.Basic, diagnosis.PullSecretMalformed, "", []string{"credsStore"}},
		"R28 letters swapped":               {"ghcr.test", typeConfigJSON, dataConfigJSON, auths("ghrc.test:PORT"), registrytest.Bearer, diagnosis.PullSecretNoMatch, "", []string{"ghrc.test", "AT"}},
		"R29 server forgotten":              {"registry.test", typeConfigJSON, dataConfigJSON, auths("https://index.docker.io/v1/"), registrytest.Basic, diagnosis.PullSecretNoMatch, diagnosis.Confirmed, []string{"https://index.docker.io/v1/", "AT"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.private(c.host, c.auth)
			fill := strings.NewReplacer("AT", at, "PORT", sockettest.Port(at))
			d := m.pod(at+"/team/app:v1", []string{opaque("regcred", c.kind, c.key, fill.Replace(c.content))})
			if c.confidence == "" { // either is right
				c.confidence = diagnosis.Confidence(d.Confidence)
			}
			for i := range c.words {
				c.words[i] = fill.Replace(c.words[i])
			}
			d.is(c.cause, c.confidence, c.words...)
		})
	}
}

// R21: a shell that has taken the $ and what follows for a variable.
func TestR21Robot(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.private("harbor.test", registrytest.Basic)
	d := m.pod(at+"/team/app:v1", []string{secretOf(t, "regcred", "shop", `{"auths":{"`+at+`":{"auth":"`+basic("robot", password)+`"}}}`)})
	d.is(diagnosis.CredentialsRejected, diagnosis.Confirmed, at, "$")
}

// R30: an entry whose path is a prefix of the image's, in the middle of a word.
func TestR30PrefixInAWord(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.private("registry.test", registrytest.Bearer, func(c *registrytest.Config) {
		c.Repositories = []registrytest.Repository{{Name: "team-b/app", Auth: registrytest.Bearer, Users: []string{"another"}, Tags: []string{"v1"}}}
	})
	d := m.pod(at+"/team-b/app:v1", []string{secretOf(t, "regcred", "shop", `{"auths":{"`+at+`/team":{"auth":"`+basic("user", password)+`"}}}`)})
	if d.pullable || string(d.Cause) != string(diagnosis.DeniedOrNotFound) && string(d.Cause) != string(diagnosis.AccessDenied) {
		t.Errorf("%s (%s): %s", d.Cause, d.Confidence, d.Summary)
	}
	d.mentions(at + "/team")
	if all := d.Summary + strings.Join(d.Remedy, "\n"); !strings.Contains(all, "/team") {
		t.Errorf("nothing about the entry: %s", all)
	}
}

// R31: an entry for an IPv6 address without brackets or port is shown as it is.
func TestR31KeyOfSixteenBytes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.private("registry.test", registrytest.Basic)
	d := m.pod(at+"/team/app:v1", []string{secretOf(t, "regcred", "shop", `{"auths":{"2001:db8::5":{"auth":"`+basic("user", password)+`"}}}`)})
	d.is(diagnosis.PullSecretNoMatch, diagnosis.Confirmed, at, "2001:db8::5", "[2001:db8::5]:5000")
}

// R33: a token of ECR says when it has expired, and the registry too; R34: a login
// that works, and a repository that has no policy for it.
func TestR33TokenOfECR(t *testing.T) {
	t.Parallel()
	const host = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
	token := base64.StdEncoding.EncodeToString([]byte(`{"payload":"` + password + `","version":"2","type":"DATA_KEY","expiration":1700000000}`))
	for name, c := range map[string]struct {
		body, password string
		cause          diagnosis.Cause
	}{
		"R33 both":          {`{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}`, token, diagnosis.CredentialsExpired},
		"R33 registry":      {`{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}`, password, diagnosis.CredentialsExpired},
		"R34 cross account": {`{"errors":[{"code":"DENIED","message":"User: arn:aws:sts::444455556666:assumed-role/node/i-0 is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:eu-west-1:111122223333:repository/b because no resource-based policy allows the ecr:BatchGetImage action"}]}`, password, diagnosis.AccessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.private(host, registrytest.Basic, func(config *registrytest.Config) {
				config.Passwords = map[string]string{"AWS": c.password}
				config.Repositories[0].Status, config.Repositories[0].ErrorBody = http.StatusForbidden, c.body
			})
			d := m.pod(at+"/team/app:v1", []string{secretOf(t, "regcred", "shop", `{"auths":{"`+at+`":{"auth":"`+basic("AWS", c.password)+`"}}}`)})
			d.is(c.cause, diagnosis.Confirmed, "regcred")
		})
	}
}

// R35: a registry that does not say what is missing, to nobody, to a wrong robot and
// to one without rights.
func TestR35Quay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user   string
		causes []diagnosis.Cause // either is right
	}{
		"anonymous":   {"", []diagnosis.Cause{diagnosis.DeniedOrNotFound}},
		"wrong robot": {"wrong", []diagnosis.Cause{diagnosis.CredentialsRejected}},
		"no rights":   {"user", []diagnosis.Cause{diagnosis.DeniedOrNotFound, diagnosis.AccessDenied}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.private("quay.test", registrytest.Bearer, func(config *registrytest.Config) {
				config.Repositories[0].Users = []string{"another"}
				config.Others = &config.Repositories[0] // which nobody has to know from one that is not there
			})
			var secrets []string
			if c.user != "" {
				secrets = []string{secretOf(t, "regcred", "shop", `{"auths":{"`+at+`":{"auth":"`+basic(c.user, password)+`"}}}`)}
			}
			d := m.pod(at+"/team/app:v1", secrets)
			if !slices.Contains(c.causes, diagnosis.Cause(d.Cause)) || d.pullable {
				t.Errorf("%s (%s), want %s: %s", d.Cause, d.Confidence, c.causes, d.Summary)
			}
		})
	}
}

// R36: names of secrets where objects with names have to be.
func TestR36SecretsAsStrings(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	o := Options{Output: "json", Registries: nodeconfig.Options{Root: m.root}, Platform: "linux/amd64", node: "ci-1", Report: reportOf, getenv: environment("LANG=C.UTF-8")}
	fromStdin(&o)
	got := do(t, o, "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {imagePullSecrets: [regcred], containers: [{name: app, image: nginx}]}\n")
	var flag *FlagError
	if !errors.As(got.err, &flag) || flag.Flag != "file" || !strings.Contains(got.err.Error(), "imagePullSecrets") {
		t.Errorf("%v: %s", got.err, got.text)
	}
}

// R37: imagePullSecrets where nobody reads them.
func TestR37SecretsAtAnotherLevel(t *testing.T) {
	t.Parallel()
	for name, manifest := range map[string]string{
		"in the container":  "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: [{name: app, image: IMAGE, imagePullSecrets: [{name: regcred}]}]}\n",
		"in the deployment": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {imagePullSecrets: [{name: regcred}], template: {spec: {containers: [{name: app, image: IMAGE}]}}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := m.private("registry.test", registrytest.Basic)
			d := m.run(strings.ReplaceAll(manifest, "IMAGE", at+"/team/app:v1"), fromStdin)
			d.is(diagnosis.AuthenticationRequired, diagnosis.Confirmed, at, "imagePullSecrets")
		})
	}
}

// R38: names of images that do not parse.
func TestR38Names(t *testing.T) {
	t.Parallel()
	for image, correction := range map[string]string{
		"reg.test/team/app:": "reg.test/team/app", "https://reg.test/team/app:v1": "reg.test/team/app:v1", "reg.test/Team/app:v1": "reg.test/team/app:v1",
		"reg.test//team/app:v1": "reg.test/team/app:v1", "docker://reg.test/app": "reg.test/app", "reg.test/app:v1+2": "reg.test/app:v1-2",
		"reg.test/app:{{ .Tag }}": "", "${IMAGE}": "", "reg.test/app:a:b": "", "reg.test/app@sha256:abc": "", " ": "", "-app": "", "reg.test/app:" + strings.Repeat("a", 129): "",
	} {
		d := newMachine(t).check(image)
		d.is(diagnosis.InvalidImageName, diagnosis.Confirmed, correction)
	}
}

// R38: a tag that differs from one that is there by its case parses, and is not there.
func TestR38TagInCapitals(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.serve("registry.test", only(registrytest.Repository{Name: "team/app", Tags: []string{"v1"}}))
	m.check(at+"/team/app:V1").is(diagnosis.TagNotFound, diagnosis.Confirmed, "v1")
}

// R28: the node's own file, where the name is misspelled.
func TestR28NodeFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	at := m.private("ghcr.test", registrytest.Basic)
	d := m.check(at+"/team/app:v1", func(o *Options) {
		o.DockerConfig = write(t, filepath.Join(t.TempDir(), "config.json"), `{"auths":{"ghrc.test":{"auth":"`+basic("user", password)+`"}}}`)
	})
	d.is(diagnosis.AuthenticationRequired, diagnosis.Confirmed, at)
}
