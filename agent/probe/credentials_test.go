package probe

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/cri/credential"
)

func TestCheckCredentials(t *testing.T) {
	t.Parallel()
	ill := errors.New("the API server is ill: " + password)
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	for name, tc := range map[string]struct {
		image   string // "" is hub.test/team/app:1.0
		secrets []string
		byName  map[string]kube.Secret
		errs    map[string]error
		want    []string
		faulty  []diagnosis.Fault
		creds   []string // source, key, order
		reads   []string
		metrics []string
	}{
		"none named": {want: []string{"Failed | NoCredentials | the pod has no pull secret"}},
		"missing": {
			secrets: []string{"pull"}, reads: []string{"team/pull"}, metrics: []string{"missing"},
			want: []string{"Failed | SecretNotFound | secret pull does not exist in namespace team"},
		},
		"no access": {
			secrets: []string{"pull"}, errs: map[string]error{"pull": kube.ErrNoAccess}, reads: []string{"team/pull"}, metrics: []string{"forbidden"},
			want: []string{"NotRun | SecretUnreadable | whypull is not allowed to read secret pull; ask your platform team to grant impersonate-on:associated-node:get, to add whypull's component kubelet-identity, or to grant get on it"},
		},
		"API server ill": {
			secrets: []string{"pull"}, errs: map[string]error{"pull": ill}, reads: []string{"team/pull"}, metrics: []string{"error"},
			want: []string{"Inconclusive | SecretUnreadable | secret pull could not be read from the API server"},
		},
		"wrapped errors": {
			secrets: []string{"a", "b"}, errs: map[string]error{"a": fmt.Errorf("x: %w", kube.ErrNoAccess), "b": fmt.Errorf("x: %w", kube.ErrNotFound)},
			reads: []string{"team/a", "team/b"}, metrics: []string{"forbidden", "missing"},
			want: []string{
				"NotRun | SecretUnreadable | whypull is not allowed to read secret a; ask your platform team to grant impersonate-on:associated-node:get, to add whypull's component kubelet-identity, or to grant get on it",
				"Failed | SecretNotFound | secret b does not exist in namespace team",
			},
		},
		"wrong type": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": {Type: "Opaque", Data: credential.Redact(map[string][]byte{"password": []byte(password)})}},
			reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{`Failed | SecretWrongType | pull secret pull is not usable: its type is "Opaque", not "kubernetes.io/dockerconfigjson"; the kubelet ignores it`},
		},
		"not JSON": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(`{"auths":{` + password)},
			reads: []string{"team/pull"}, metrics: []string{"found"}, faulty: []diagnosis.Fault{diagnosis.FaultSecretMalformed},
		},
		"malformed entry": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(`{"auths":{"hub.test":{"auth":"` + password + `%%"}}}`)},
			reads: []string{"team/pull"}, metrics: []string{"found"}, faulty: []diagnosis.Fault{diagnosis.FaultSecretMalformed},
		},
		"empty data": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret("")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{`Failed | SecretWithoutCredentials | pull secret pull is not usable: its ".dockerconfigjson" is empty; the kubelet ignores it`},
		},
		"no entries": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(`{"auths":{}}`)}, reads: []string{"team/pull"}, metrics: []string{"found"},
			faulty: []diagnosis.Fault{diagnosis.FaultSecretEmpty},
		},
		"tokens only": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(`{"auths":{"hub.test":{"identitytoken":"` + password + `"}}}`)},
			reads: []string{"team/pull"}, metrics: []string{"found"},
			faulty: []diagnosis.Fault{diagnosis.FaultSecretEmpty}, creds: []string{"pull hub.test 1"},
		},
		"a token for this registry, a credential for another": {
			secrets: []string{"pull"},
			byName:  map[string]kube.Secret{"pull": pullSecret(`{"auths":{"hub.test":{"registrytoken":"` + password + `"},"other.test":{"auth":"` + auth + `"}}}`)},
			reads:   []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test 1"},
			want: []string{`Failed | SecretWithoutCredentials | pull secret pull is not usable: the entry for "hub.test" has only a token, which the kubelet does not read: it sends empty credentials`},
		},
		"a user without a password": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(`{"auths":{"hub.test":{"username":"u","password":""}}}`)},
			reads: []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test 1"},
			want: []string{`Failed | SecretWithoutCredentials | pull secret pull is not usable: the entry for "hub.test" has a user and no password: the runtime sends neither`},
		},
		"an empty credential and a good one": {
			secrets: []string{"pull"},
			byName:  map[string]kube.Secret{"pull": pullSecret(`{"auths":{"hub.test/team":{},"hub.test":{"auth":"` + auth + `"}}}`)},
			reads:   []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test/team 1", "pull hub.test 2"},
			want: []string{"Passed | secret pull has credentials for hub.test (entry hub.test)"},
		},
		"for another host": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub2.test", "quay.test")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{"Failed | NoMatchingCredential | secret pull has credentials for hub2.test, quay.test, but the image is on hub.test"},
		},
		"for another port": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub.test:443")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{`Failed | NoMatchingCredential | secret pull has credentials for hub.test:443; "hub.test:443" names port 443; the image is on hub.test (to the kubelet, no port and the default port differ)`},
		},
		"for another path": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub.test/ops")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{`Failed | NoMatchingCredential | secret pull has credentials for hub.test/ops, but the image is hub.test/team/app`},
		},
		"for a path with a wildcard": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub.test/team/*")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{`Failed | NoMatchingCredential | secret pull has credentials for hub.test/team/*, but the image is hub.test/team/app (wildcards do not work in paths)`},
		},
		"for many hosts": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("g.test", "f.test", "e.test", "d.test", "c.test", "b.test", "a.test")},
			reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{"Failed | NoMatchingCredential | secret pull has credentials for a.test, b.test, c.test, d.test, e.test and 2 more, but the image is on hub.test"},
		},
		"match": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("https://hub.test/v2/")}, reads: []string{"team/pull"}, metrics: []string{"found"},
			want: []string{"Passed | secret pull has credentials for hub.test (entry https://hub.test/v2/)"}, creds: []string{"pull https://hub.test/v2/ 1"},
		},
		"match, with a line break": {
			secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": pullSecret(dockerConfig(user, password+"\n", "hub.test"))},
			reads: []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test 1"},
			want: []string{`Passed | secret pull has credentials for hub.test (entry hub.test): the entry for "hub.test" has credentials whose password ends with a line break, which the kubelet sends too`},
		},
		"old type": {
			secrets: []string{"pull"}, reads: []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test 1"},
			byName: map[string]kube.Secret{"pull": {Type: keyring.TypeDockercfg, Data: credential.Redact(map[string][]byte{keyring.DataDockercfg: []byte(`{"hub.test":{"auth":"` + auth + `"}}`)})}},
			want:   []string{"Passed | secret pull has credentials for hub.test (entry hub.test)"},
		},
		"several, one of each": {
			secrets: []string{"gone", "other", "good", "closed", "glob"},
			byName:  map[string]kube.Secret{"other": secretFor("other.test"), "good": secretFor("hub.test"), "glob": secretFor("*.test")},
			errs:    map[string]error{"closed": kube.ErrNoAccess},
			reads:   []string{"team/gone", "team/other", "team/good", "team/closed", "team/glob"},
			metrics: []string{"missing", "found", "found", "forbidden", "found"},
			creds:   []string{"good hub.test 1", "glob *.test 2"},
			want: []string{
				"Failed | SecretNotFound | secret gone does not exist in namespace team",
				"Failed | NoMatchingCredential | secret other has credentials for other.test, but the image is on hub.test",
				"Passed | secret good has credentials for hub.test (entry hub.test)",
				"NotRun | SecretUnreadable | whypull is not allowed to read secret closed; ask your platform team to grant impersonate-on:associated-node:get, to add whypull's component kubelet-identity, or to grant get on it",
				"Passed | secret glob has credentials for hub.test (entry *.test)",
			},
		},
		"a malformed one and a good one": {
			secrets: []string{"good", "bad"}, byName: map[string]kube.Secret{"good": secretFor("hub.test"), "bad": pullSecret(`{"auths":"x"}`)},
			reads: []string{"team/good", "team/bad"}, metrics: []string{"found", "found"},
			faulty: []diagnosis.Fault{"", diagnosis.FaultSecretMalformed}, // the kubelet takes no credential at all
		},
		"named twice": {
			secrets: []string{"pull", "pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub.test")},
			reads: []string{"team/pull"}, metrics: []string{"found"}, creds: []string{"pull hub.test 1", "pull hub.test 2"},
			want: []string{"Passed | secret pull has credentials for hub.test (entry hub.test)", "Passed | secret pull has credentials for hub.test (entry hub.test)"},
		},
		"missing, named twice": {
			secrets: []string{"pull", "pull"}, reads: []string{"team/pull"}, metrics: []string{"missing"},
			want: []string{"Failed | SecretNotFound | secret pull does not exist in namespace team", "Failed | SecretNotFound | secret pull does not exist in namespace team"},
		},
		"invalid image": {
			image: "Hub/App", secrets: []string{"pull"}, byName: map[string]kube.Secret{"pull": secretFor("hub.test")},
			want: []string{"NotRun | the image reference does not parse, so no secret was read"},
		},
		"invalid image, no secret": {image: "Hub/App", want: []string{"NotRun | the image reference does not parse, so no secret was read"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secrets, metrics := &fakeSecrets{byName: tc.byName, errs: tc.errs}, &fakeMetrics{}
			c := &Collector{Options: Options{Secrets: secrets, Metrics: metrics}}
			f := failure(image, tc.secrets...)
			if tc.image != "" {
				f.SetImage(parsed(tc.image))
			}
			got, creds := c.checkCredentials(t.Context(), f)
			wellFormed(t, f, got)
			if tc.want != nil {
				wantLines(t, "evidence", of(f, got, diagnosis.CheckCredentials), tc.want...)
			}
			if tc.faulty != nil {
				wantFaults(t, got, tc.faulty)
			}
			wantLines(t, "credentials", places(creds), tc.creds...)
			wantLines(t, "reads", secrets.reads, tc.reads...)
			wantLines(t, "metrics", metrics.secrets, tc.metrics...)
			discreet(t, fmt.Sprintf("%+v %#v", creds, creds))
		})
	}
}

// What writes a secret is known whatever is wrong with it.
func TestCheckCredentialsManager(t *testing.T) {
	t.Parallel()
	external := diagnosis.Manager{Tool: diagnosis.ToolExternalSecret, Name: "login"}
	for _, s := range []kube.Secret{secretFor("hub.test"), secretFor("other.test"), pullSecret("{"), {Type: "Opaque"}} {
		s.Manager = external
		c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"pull": s}}}}
		got, _ := c.checkCredentials(t.Context(), failure(image, "gone", "pull"))
		if m := got[1].Credentials().Manager; m != external || got[0].Credentials().Manager != (diagnosis.Manager{}) {
			t.Errorf("%s: manager %+v, want %+v", got[1].Fault, m, external)
		}
	}
}

func wantFaults(t *testing.T, got []diagnosis.Evidence, want []diagnosis.Fault) {
	t.Helper()
	var faults []diagnosis.Fault
	for _, e := range got {
		faults = append(faults, e.Fault)
	}
	if !slices.Equal(faults, want) {
		t.Errorf("faults %q, want %q: %+v", faults, want, got)
	}
}

func places(creds []keyring.Credential) []string {
	var out []string
	for _, l := range creds {
		out = append(out, fmt.Sprint(l.Source, " ", l.Key, " ", l.Order))
	}
	return out
}

// The fields on which rules decide say the same as the sentence.
func TestCredentialFields(t *testing.T) {
	t.Parallel()
	c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"other": secretFor("z.test", "a.test")}}}}
	got, _ := c.checkCredentials(t.Context(), failure(image, "other", "gone"))
	if got[0].Credentials().Secret != "other" || !slices.Equal(got[0].Credentials().Hosts, []string{"a.test", "z.test"}) {
		t.Errorf("evidence %+v", got[0])
	}
	if got[1].Credentials().Secret != "gone" || got[1].Credentials().Hosts != nil {
		t.Errorf("evidence %+v", got[1])
	}
}

// Whatever is wrong with a secret that was read, all its registries are listed, so that
// nobody replaces it as if it had only one.
func TestHostsOfEverySecretRead(t *testing.T) {
	t.Parallel()
	// {"alg":"none"}.{"exp":1767323040}: 2026-01-02 03:04 UTC
	const ended = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjczMjMwNDB9.x"
	const other = `,"other.test":{"username":"u","password":"p"}}}`
	for name, tc := range map[string]struct {
		content string
		fault   diagnosis.Fault
	}{
		"a credential":          {`{"auths":{"hub.test":{"username":"u","password":"p"}` + other, ""},
		"no credential":         {`{"auths":{"hub.test":{}` + other, diagnosis.FaultSecretEmpty},
		"a token alone":         {`{"auths":{"hub.test":{"identitytoken":"x"}` + other, diagnosis.FaultSecretEmpty},
		"a password alone":      {`{"auths":{"hub.test":{"username":"","password":"x"}` + other, diagnosis.FaultSecretEmpty},
		"no credential for any": {`{"auths":{"hub.test":{},"other.test":{}}}`, diagnosis.FaultSecretEmpty},
		"tokens alone":          {`{"auths":{"hub.test":{"registrytoken":"x"},"other.test":{}}}`, diagnosis.FaultSecretEmpty},
		"an expired credential": {`{"auths":{"hub.test":{"username":"u","password":"` + ended + `"}` + other, diagnosis.FaultCredentialExpired},
		"a malformed entry":     {`{"auths":{"hub.test":{"auth":"%"}` + other, diagnosis.FaultSecretMalformed},
		"another is malformed":  {`{"auths":{"hub.test":{"username":"u","password":"p"},"other.test":{"auth":"%"}}}`, diagnosis.FaultSecretMalformed},
		"malformed, too":        {`{"HttpHeaders":1,"auths":{"hub.test":{}` + other, diagnosis.FaultSecretMalformed},
		"no match":              {`{"auths":{"hub.test:1":{"username":"u","password":"p"}` + other, diagnosis.FaultNoMatchingCredential},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"pull": pullSecret(tc.content)}}}}
			got, _ := c.checkCredentials(t.Context(), failure(image, "pull", "pull"))
			wantFaults(t, got, []diagnosis.Fault{tc.fault, tc.fault})
			for _, e := range got {
				if len(e.Credentials().Hosts) != 2 || !strings.HasPrefix(e.Credentials().Hosts[0], "hub.test") || e.Credentials().Hosts[1] != "other.test" || e.Credentials().Secret != "pull" {
					t.Errorf("secret %s, hosts %q: %s", e.Credentials().Secret, e.Credentials().Hosts, detail(failure(image), e))
				}
			}
		})
	}
}

// The older type of pull secrets is known, whether or not the secret is usable.
func TestTypeOfEverySecretRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind, key, content string
		legacy             bool
	}{
		"older":            {keyring.TypeDockercfg, keyring.DataDockercfg, `{"hub.test":{"username":"u","password":"p"}}`, true},
		"older, malformed": {keyring.TypeDockercfg, keyring.DataDockercfg, `{"hub.test":{"auth":"%"}}`, true},
		"older, empty":     {keyring.TypeDockercfg, "other", "x", true},
		"newer":            {keyring.TypeDockerConfigJSON, keyring.DataDockerConfigJSON, `{"auths":{"hub.test":{"auth":"%"}}}`, false},
		"another":          {"Opaque", keyring.DataDockercfg, `{"hub.test":{"auth":"%"}}`, false},
	} {
		secret := pullSecret("")
		secret.Type, secret.Data = tc.kind, credential.Redact(map[string][]byte{tc.key: []byte(tc.content)})
		c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"pull": secret}}}}
		if got, _ := c.checkCredentials(t.Context(), failure(image, "pull")); got[0].Credentials().Legacy != tc.legacy {
			t.Errorf("%s: %+v", name, got[0].Credentials())
		}
	}
}

// A credential before a registry key's "@" is not shown either.
func TestCredentialInKey(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"hub.test", "other.test"} {
		c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"pull": secretFor("https://" + user + ":" + password + "@" + host)}}}}
		got, creds := c.checkCredentials(t.Context(), failure(image, "pull"))
		wellFormed(t, failure(image, "pull"), got)
		discreet(t, fmt.Sprint(got, creds))
		if text := detail(failure(image, "pull"), got[0]); !strings.Contains(text, host) {
			t.Errorf("the host is not named: %s", text)
		}
	}
}

func TestCheckCredentialsWithoutAPIServer(t *testing.T) {
	t.Parallel()
	got, creds := (&Collector{Options: Options{Metrics: &fakeMetrics{}}}).checkCredentials(t.Context(), failure(image, "pull"))
	wantLines(t, "evidence", of(failure(image, "pull"), got, diagnosis.CheckCredentials), "NotRun | SecretUnreadable | no API server is available to read secrets from")
	if creds != nil {
		t.Errorf("credentials %v", creds)
	}
}

// A secret that was not given is not missing; the error says why it was not read.
func TestCheckCredentialsNotGiven(t *testing.T) {
	t.Parallel()
	m := &fakeMetrics{}
	c := &Collector{Options: Options{Metrics: m, Secrets: &fakeSecrets{errs: map[string]error{"pull": fmt.Errorf("reading: %w", Unread("secret pull is not in the files"))}}}}
	got, creds := c.checkCredentials(t.Context(), failure(image, "pull"))
	wantLines(t, "evidence", of(failure(image, "pull"), got, diagnosis.CheckCredentials), "NotRun | SecretUnreadable | secret pull is not in the files")
	if len(creds) != 0 || len(m.secrets) != 0 || got[0].Credentials().Secret != "pull" {
		t.Errorf("logins %v, metrics %v, %+v", creds, m.secrets, got[0])
	}
}

// After a canceled read a secret is not missing.
func TestCheckCredentialsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{}}}
	got, _ := c.checkCredentials(ctx, failure(image, "pull"))
	wantLines(t, "evidence", of(failure(image, "pull"), got, diagnosis.CheckCredentials), "Inconclusive | SecretUnreadable | secret pull could not be read from the API server")
}
