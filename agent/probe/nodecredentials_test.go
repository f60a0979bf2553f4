package probe

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/keyring"
	"github.com/whypull/whypull/agent/kube"
	"github.com/whypull/whypull/agent/kubelet"
	"github.com/whypull/whypull/agent/provider"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/critest"
	"github.com/whypull/whypull/cri/hostfs/hostfstest"
	"github.com/whypull/whypull/cri/registry/registrytest"
)

// kubeletOf reads these files of a node.
func kubeletOf(t *testing.T, files map[string]string) *kubelet.Kubelet {
	t.Helper()
	return kubelet.New(kubelet.Options{Root: writeFiles(t, files)})
}

// clockAt is an asker's clock.
func clockAt(at time.Time) *asker {
	a := newAsker()
	a.now = func() time.Time { return at }
	return a
}

const nodeFile = "var/lib/kubelet/config.json"

func TestNodeCredentials(t *testing.T) {
	t.Parallel()
	const missing = "Failed | SecretNotFound | secret gone does not exist in namespace team"
	const named = "Failed | NoCredentials | the pod has no pull secret"
	for name, tc := range map[string]struct {
		content string
		secrets []string
		want    []string
		creds   []string
	}{
		"a match": {dockerConfig(user, password, "hub.test"), []string{"gone"},
			[]string{missing, "Passed | the node's file /var/lib/kubelet/config.json has credentials for hub.test (entry hub.test)"},
			[]string{"/var/lib/kubelet/config.json hub.test 1"}},
		"a match, no secret named": {dockerConfig(user, password, "hub.test"), nil,
			[]string{named, "Passed | the node's file /var/lib/kubelet/config.json has credentials for hub.test (entry hub.test)"},
			[]string{"/var/lib/kubelet/config.json hub.test 1"}},
		"after the secret": {dockerConfig(user, password, "hub.test/team", "hub.test"), []string{"good"},
			[]string{"Passed | secret good has credentials for hub.test (entry hub.test)",
				"Passed | the node's file /var/lib/kubelet/config.json has credentials for hub.test (entry hub.test)"},
			[]string{"good hub.test 1", "/var/lib/kubelet/config.json hub.test/team 2", "/var/lib/kubelet/config.json hub.test 3"}},
		"no match":    {dockerConfig(user, password, "other.test"), nil, []string{named}, nil},
		"malformed":   {`{"auths":{"hub.test":{"auth":"` + password + `%"}}}`, nil, []string{named}, nil},
		"store alone": {`{"credsStore":"x"}`, nil, []string{named}, nil},
		"a store and an entry": {`{"auths":{"hub.test":{}},"credsStore":"x"}`, nil,
			[]string{named, `Inconclusive | the node's file /var/lib/kubelet/config.json has an entry for hub.test: no entry has a user and password: they are in a credential store ("credsStore", "credHelpers"), which the kubelet does not use`},
			[]string{"/var/lib/kubelet/config.json hub.test 1"}},
		"a malformed secret": {dockerConfig(user, password, "hub.test"), []string{"bad"},
			[]string{"Failed | SecretMalformed | pull secret bad is not usable: its content is not valid JSON (at byte 1)",
				"Passed | the node's file /var/lib/kubelet/config.json has credentials for hub.test (entry hub.test)"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secrets := &fakeSecrets{byName: map[string]kube.Secret{"good": secretFor("hub.test"), "bad": pullSecret("{")}}
			c := &Collector{Options: Options{Secrets: secrets, Metrics: &fakeMetrics{}, Node: kubeletOf(t, map[string]string{nodeFile: tc.content})}}
			got, creds := c.checkCredentials(t.Context(), failure(image, tc.secrets...))
			wellFormed(t, failure(image, tc.secrets...), got)
			wantLines(t, "evidence", of(failure(image, tc.secrets...), got, diagnosis.CheckCredentials), tc.want...)
			wantLines(t, "credentials", places(creds), tc.creds...)
			for _, l := range creds {
				if l.OfNode != strings.HasPrefix(l.Source, "/") {
					t.Errorf("%v is of the node: %t", l, l.OfNode)
				}
			}
		})
	}
}

// Without a node's files nothing is said; those that are not mounted are named for a pod that
// brings no credentials itself.
func TestNodeCredentialsNotVisible(t *testing.T) {
	t.Parallel()
	const named, good = "Failed | NoCredentials | the pod has no pull secret", "Passed | secret good has credentials for hub.test (entry hub.test)"
	const unseen = "NotRun | /var/lib/kubelet/config.json, from which the kubelet takes credentials for all pods if it exists, is not mounted into whypull or not readable"
	secrets := &fakeSecrets{byName: map[string]kube.Secret{"good": secretFor("hub.test")}}
	for name, tc := range map[string]struct {
		node    NodeCredentials
		secrets []string
		want    []string
	}{
		"none":                      {nil, nil, []string{named}},
		"not mounted":               {kubeletOf(t, nil), nil, []string{named, unseen}},
		"not mounted, and a secret": {kubeletOf(t, nil), []string{"good"}, []string{good}},
	} {
		c := &Collector{Options: Options{Secrets: secrets, Metrics: &fakeMetrics{}, Node: tc.node}}
		f := failure(image, tc.secrets...)
		got, creds := c.checkCredentials(t.Context(), f)
		wellFormed(t, f, got)
		wantLines(t, name, of(f, got, diagnosis.CheckCredentials), tc.want...)
		if len(creds) != len(tc.secrets) {
			t.Errorf("%s: %v", name, creds)
		}
	}
}

func TestProvidersEvidence(t *testing.T) {
	t.Parallel()
	const config = `{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[
		{"name":"z-provider","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["*.test"],"tokenAttributes":{"serviceAccountTokenAudience":"x","cacheType":"Token","requireServiceAccount":true}},{"name":"gcr","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["gcr.io"]},{"name":"a-provider","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["x.test","hub.test/%74eam"]}]}`
	c := &Collector{Options: Options{Secrets: &fakeSecrets{byName: map[string]kube.Secret{"good": secretFor("hub.test")}}, Metrics: &fakeMetrics{}, Node: kubeletOf(t, map[string]string{"etc/eks/image-credential-provider/config.json": config})}}
	got, _ := c.checkCredentials(t.Context(), failure(image, "good"))
	wellFormed(t, failure(image, "good"), got)
	wantLines(t, "evidence", of(failure(image, "good"), got, diagnosis.CheckCredentials),
		"Passed | secret good has credentials for hub.test (entry hub.test)",
		"NotRun | CredentialProviderMatches | the kubelet also runs credential provider z-provider, which is configured for *.test and gets a token of the pod's service account; whypull does not run it",
		"NotRun | CredentialProviderMatches | the kubelet also runs credential provider a-provider, which is configured for hub.test; whypull does not run it")
	if got[1].Credentials().Provider != "z-provider" || got[2].Credentials().Provider != "a-provider" {
		t.Errorf("providers %q, %q", got[1].Credentials().Provider, got[2].Credentials().Provider)
	}
}

// An expired credential is described with dates, not ages.
func TestExpiredCredentials(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	entry := func(key, user, password string) string {
		return fmt.Sprintf(`%q:{"username":%q,"password":%q}`, key, user, password)
	}
	content := func(entries ...string) string { return `{"auths":{` + strings.Join(entries, ",") + `}}` }
	// {"alg":"none"}.{"exp":1767323040}: 2026-01-02 03:04 UTC
	const ended = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjczMjMwNDB9.x"
	aged := func(content string) kube.Secret {
		s := pullSecret(content)
		s.Changed = now.Add(-3 * 24 * time.Hour)
		return s
	}
	for name, tc := range map[string]struct {
		secret   kube.Secret
		want     string
		validity diagnosis.Validity
	}{
		"by its own account": {pullSecret(content(entry("hub.test", "u", ended))),
			"Failed | CredentialExpired | secret pull (entry hub.test) has a token that expired at 2026-01-02 03:04 UTC", diagnosis.ValidityExpired},
		"by its age": {aged(content(entry("hub.test", "AWS", password))),
			"Failed | CredentialExpired | secret pull (entry hub.test) has a token and was last changed at 2026-01-02 00:00 UTC, but such tokens expire after 12 hours", diagnosis.ValidityOutlived},
		"by its age, one hour": {aged(content(entry("hub.test", "oauth2accesstoken", password))),
			"Failed | CredentialExpired | secret pull (entry hub.test) has a token and was last changed at 2026-01-02 00:00 UTC, but such tokens expire after 1 hour", diagnosis.ValidityOutlived},
		"and a good one": {pullSecret(content(entry("hub.test/team", "u", ended), entry("hub.test", "u", password))),
			"Passed | secret pull has credentials for hub.test (entry hub.test)", ""},
		"and a good one with a longer key": {pullSecret(content(entry("hub.test", "u", ended), entry("hub.test/team", "u", password))),
			"Passed | secret pull has credentials for hub.test (entry hub.test/team)", ""},
		"and an empty one": {pullSecret(content(entry("hub.test", "u", ended), entry("hub.test/team", "", ""))),
			"Failed | CredentialExpired | secret pull (entry hub.test) has a token that expired at 2026-01-02 03:04 UTC", diagnosis.ValidityExpired},
		"for another registry": {pullSecret(content(entry("other.test", "u", ended), entry("hub.test", "u", password))),
			"Passed | secret pull has credentials for hub.test (entry hub.test)", ""},
		"a password, however old": {aged(content(entry("hub.test", "u", password))),
			"Passed | secret pull has credentials for hub.test (entry hub.test)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first []diagnosis.Evidence
			for _, at := range []time.Time{now, now.Add(time.Second), now.Add(48 * time.Hour)} {
				c := &Collector{Options: Options{Secrets: &fakeSecrets{byName: map[string]kube.Secret{"pull": tc.secret}}, Metrics: &fakeMetrics{}}, asker: clockAt(at)}
				got, _ := c.checkCredentials(t.Context(), failure(image, "pull"))
				wellFormed(t, failure(image, "pull"), got)
				if first == nil {
					first = got
				}
				if old, text := detail(failure(image), first[0]), detail(failure(image), got[0]); text != old {
					t.Errorf("the sentence changes with time: %q, then %q", old, text)
				}
			}
			wantLines(t, "evidence", of(failure(image, "pull"), first, diagnosis.CheckCredentials), tc.want)
			if first[0].Credentials().Secret != "pull" {
				t.Errorf("secret %q", first[0].Credentials().Secret)
			}
			if c := first[0].Credential(); (c != nil) != (tc.validity != "") || c != nil && (c.Validity != tc.validity || c.Key != "hub.test") {
				t.Errorf("credential %+v", c)
			}
		})
	}
}

// findingSecrets also knows of other namespaces.
type findingSecrets struct {
	fakeSecrets
	exists bool
	err    error
}

func (s *findingSecrets) ExistsElsewhere(_ context.Context, namespace, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, "not "+namespace+"/"+name)
	return s.exists, s.err
}

func TestMissingSecretElsewhere(t *testing.T) {
	t.Parallel()
	const missing = "Failed | SecretNotFound | secret pull does not exist in namespace team"
	for name, tc := range map[string]struct {
		exists bool
		err    error
		want   string
	}{
		"nowhere":         {false, nil, missing},
		"in another":      {true, nil, missing + "; a secret of that name exists in another namespace"},
		"without a right": {false, kube.ErrNoAccess, missing + "; one of that name in another namespace would not count"},
		"API server ill":  {true, context.DeadlineExceeded, missing + "; one of that name in another namespace would not count"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secrets := &findingSecrets{exists: tc.exists, err: tc.err, fakeSecrets: fakeSecrets{byName: map[string]kube.Secret{"good": secretFor("hub.test")}}}
			c := &Collector{Options: Options{Secrets: secrets, Metrics: &fakeMetrics{}}}
			got, _ := c.checkCredentials(t.Context(), failure(image, "pull", "good"))
			wellFormed(t, failure(image, "pull", "good"), got)
			wantLines(t, "evidence", of(failure(image, "pull", "good"), got, diagnosis.CheckCredentials), tc.want, "Passed | secret good has credentials for hub.test (entry hub.test)")
			wantLines(t, "reads", secrets.reads, "team/pull", "not team/pull", "team/good")
		})
	}
}

// recordOf is the kubelet's record of the test's image, for these credentials.
func recordOf(id, name, credentials string) map[string]string {
	return map[string]string{fmt.Sprintf("var/lib/kubelet/image_manager/pulled/sha256-%x", sha256.Sum256([]byte(id))): fmt.Sprintf(
		`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":null,"imageRef":%q,"credentialMapping":{%q:%s}}`, id, name, credentials)}
}

func TestImageUse(t *testing.T) {
	t.Parallel()
	const id, here = "sha256:1", "the image is on node worker-3"
	const theirs = `{"kubernetesSecrets":[{"uid":"u-7","namespace":"sesame","name":"tulip","credentialHash":"0badc0de"}]}`
	const ours = `{"kubernetesSecrets":[{"uid":"u-1","namespace":"team","name":"pull","credentialHash":"0badc0de"}]}`
	const account = `{"kubernetesServiceAccounts":[{"uid":"u-9","namespace":"team","name":"builder"}]}`
	const all = `{"nodePodsAccessible":true}`
	for name, tc := range map[string]struct {
		files   map[string]string
		policy  string // IfNotPresent if empty
		secrets []string
		use     diagnosis.Use
		want    string
	}{
		"pulled for all":          {files: recordOf(id, "hub.test/team/app", all), use: diagnosis.UseAllowed, want: "Passed | " + here + ", and the kubelet lets every pod on the node use it"},
		"pulled with this secret": {files: recordOf(id, "hub.test/team/app", ours), secrets: []string{"pull"}, use: diagnosis.UseAllowed, want: "Passed | " + here + ", and the kubelet lets this pod use it, because it has the credentials of an earlier pull"},
		"pulled by others": {files: recordOf(id, "hub.test/team/app", theirs), secrets: []string{"pull"}, use: diagnosis.UseRefused,
			want: "Failed | NotVerifiedForPod | " + here + ", but the kubelet does not let this pod use it: it was pulled with credentials that this pod does not have; add a pull secret that the registry accepts"},
		"pulled by others, policy Never": {files: recordOf(id, "hub.test/team/app", theirs), policy: "Never", use: diagnosis.UseRefused,
			want: "Failed | NotVerifiedForPod | " + here + ", but the kubelet does not let this pod use it: it was pulled with credentials that this pod does not have; add the pull secret of an earlier pull, or use a pull policy other than Never"},
		"pulled under another repository": {files: recordOf(id, "hub.test/copy", all), use: diagnosis.UseRefused,
			want: "Failed | NotVerifiedForPod | " + here + ", but the kubelet does not let this pod use it: no pull under this name is recorded yet"},
		"pulled under another repository, policy Never": {files: recordOf(id, "hub.test/copy", all), policy: "Never", use: diagnosis.UseRefused,
			want: "Failed | NotVerifiedForPod | " + here + ", but the kubelet does not let this pod use it: no pull under this name is recorded; only a pull policy other than Never helps, not a pull secret"},
		"a pull that was cut short, a secret unreadable": {files: recordOf(id, "hub.test/team/app", `{}`), secrets: []string{"closed"}, use: diagnosis.UseRefused,
			want: "Failed | NotVerifiedForPod | " + here + ", but the kubelet does not let this pod use it: no pull under this name is recorded yet"},
		"pulled by others, a secret unreadable": {files: recordOf(id, "hub.test/team/app", theirs), secrets: []string{"closed"},
			want: "Passed | " + here + "; whether the kubelet lets this pod use it depends on credentials that whypull does not know"},
		"pulled for the account": {files: recordOf(id, "hub.test/team/app", account),
			want: "Passed | " + here + "; whether the kubelet lets this pod use it depends on credentials that whypull does not know"},
		"pulled by others, policy Always": {files: recordOf(id, "hub.test/team/app", theirs), policy: "Always", want: "Passed | " + here},
		"not pulled by the kubelet": {files: map[string]string{"var/lib/kubelet/image_manager/pulled/x": ""}, use: diagnosis.UseDefault,
			want: "Passed | " + here + "; the kubelet has no record of pulling it and lets every pod use it, unless imagePullCredentialsVerificationPolicy is AlwaysVerify"},
		"records not visible": {want: "Passed | " + here},
		"no records kept":     {files: map[string]string{"var/lib/kubelet/image_manager/x": ""}, want: "Passed | " + here},
		"begun": {files: map[string]string{
			"var/lib/kubelet/image_manager/pulled/x":                                                     "",
			fmt.Sprintf("var/lib/kubelet/image_manager/pulling/sha256-%x", sha256.Sum256([]byte(image))): `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"` + image + `"}`,
		}, want: "Passed | " + here + "; the kubelet is pulling it and lets no pod use it until that has finished"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil, nil)
			n.runtime.Add(critest.NewImage(id, []string{image}, nil))
			pull := secretFor("hub.test")
			pull.UID = "u-1"
			n.secrets.byName, n.secrets.errs = map[string]kube.Secret{"pull": pull}, map[string]error{"closed": kube.ErrNoAccess}
			n.collector.Node = kubeletOf(t, tc.files)
			f := failure(image, tc.secrets...)
			f.ServiceAccount, f.PullPolicy = "builder", "IfNotPresent"
			if tc.policy != "" {
				f.PullPolicy = tc.policy
			}
			known, _ := n.collector.quick(t.Context(), f)
			wellFormed(t, f, known)
			wantLines(t, "evidence", of(f, known, diagnosis.CheckImage), tc.want)
			if e := known[slices.IndexFunc(known, func(e diagnosis.Evidence) bool { return e.Check == diagnosis.CheckImage })]; e.Image().Use() != tc.use || e.Image().Candidates != nil {
				t.Errorf("use %q, want %q; candidates %q", e.Image().Use(), tc.use, e.Image().Candidates)
			}
			outcome, _, _ := strings.Cut(tc.want, " ")
			if !slices.Contains(n.metrics.sorted(), "image "+outcome) {
				t.Errorf("metrics got %q", n.metrics.sorted())
			}
			for _, taboo := range []string{"sesame", "tulip", "0badc0de", "u-7", "hub.test/copy"} {
				if strings.Contains(fmt.Sprintf("%+v", known), taboo) {
					t.Errorf("the evidence shows %q of the kubelet's records: %+v", taboo, known)
				}
			}
		})
	}
}

// The name is compared as written: the evidence names the spelling that would do.
func TestImageUseOtherSpelling(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	const refused = "Failed | NotVerifiedForPod | the image is on node worker-3, but the kubelet does not let this pod use it: "
	for name, tc := range map[string]struct{ image, policy, want, candidate string }{
		"with a tag":    {"docker.io/library/nginx:1", "IfNotPresent", "it is recorded as nginx, but the pod has docker.io/library/nginx; use the recorded name, or let the kubelet pull it under this one", "nginx:1"},
		"policy Never":  {"docker.io/library/nginx:1", "Never", "it is recorded as nginx, but the pod has docker.io/library/nginx; use the recorded name, or a pull policy other than Never", "nginx:1"},
		"with a digest": {"docker.io/nginx" + digest, "Never", "it is recorded as nginx, but the pod has docker.io/nginx; use the recorded name, or a pull policy other than Never", "nginx" + digest},
		"with both":     {"library/nginx:1" + digest, "Never", "it is recorded as nginx, but the pod has library/nginx; use the recorded name, or a pull policy other than Never", "nginx:1" + digest},
		"without":       {"library/nginx", "Never", "it is recorded as nginx, but the pod has library/nginx; use the recorded name, or a pull policy other than Never", "nginx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil, nil)
			n.collector.Node = kubeletOf(t, recordOf("sha256:1", "nginx", `{"nodePodsAccessible":true}`))
			f := failure(tc.image)
			f.PullPolicy = tc.policy
			e := n.collector.checkUse(f, diagnosis.Evidence{Check: diagnosis.CheckImage, Outcome: diagnosis.Passed}, "sha256:1", nil, nil)
			wellFormed(t, f, []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(f, []diagnosis.Evidence{e}, diagnosis.CheckImage), refused+tc.want)
			wantLines(t, "candidates", e.Image().Candidates, tc.candidate)
			if e.Image().Use() != diagnosis.UseRefused {
				t.Errorf("use %q", e.Image().Use())
			}
			f.SetImage(parsed(e.Image().Candidates[0]))
			if e = n.collector.checkUse(f, diagnosis.Evidence{Check: diagnosis.CheckImage}, "sha256:1", nil, nil); e.Image().Use() != diagnosis.UseAllowed {
				t.Errorf("the candidate's use is %q: %s", e.Image().Use(), detail(f, e))
			}
		})
	}
}

// Every record has its use; those that settle nothing have none.
func TestUse(t *testing.T) {
	t.Parallel()
	for v, want := range map[diagnosis.Record]diagnosis.Use{
		diagnosis.RecordNodeWide: diagnosis.UseAllowed, diagnosis.RecordThisPod: diagnosis.UseAllowed,
		diagnosis.RecordNotPulled:        diagnosis.UseDefault,
		diagnosis.RecordOtherCredentials: diagnosis.UseRefused, diagnosis.RecordOtherSpelling: diagnosis.UseRefused,
		diagnosis.RecordNoCredentials: diagnosis.UseRefused,
		"":                            diagnosis.UseUnknown,
		diagnosis.RecordPulling:       diagnosis.UseUnknown, diagnosis.RecordUndecided: diagnosis.UseUnknown, "a later one": diagnosis.UseUnknown,
	} {
		if got := (&diagnosis.ImageFacts{Record: v}).Use(); got != want {
			t.Errorf("%q: %q, want %q", v, got, want)
		}
	}
}

// An image that is not there is not looked for in the records.
func TestImageUseAbsent(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	n.collector.Node = kubeletOf(t, recordOf("", "hub.test/team/app", `{}`))
	f := failure(image)
	f.PullPolicy = "Never"
	known, _ := n.collector.quick(t.Context(), f)
	wantLines(t, "evidence", of(f, known, diagnosis.CheckImage), "Failed | ImageAbsent | the image is not on node worker-3")
}

// What is there and cannot be used has a credential that the kubelet hashes as we do.
func TestImageUseByHash(t *testing.T) {
	t.Parallel()
	found := keyring.Find(parsed(image), keyring.Sources{Secrets: []keyring.Secret{{Name: "x", Type: keyring.TypeDockerConfigJSON,
		Data: credential.Redact(map[string][]byte{keyring.DataDockerConfigJSON: []byte(dockerConfig(user, password, "hub.test"))})}}})
	n := newNode(t, nil, nil)
	n.runtime.Add(critest.NewImage("sha256:1", []string{image}, nil))
	n.secrets.byName = map[string]kube.Secret{"pull": secretFor("hub.test")}
	root := writeFiles(t, recordOf("sha256:1", "hub.test/team/app", fmt.Sprintf(
		`{"kubernetesSecrets":[{"uid":"u-7","namespace":"other","name":"y","credentialHash":%q}]}`, found.Credentials[0].Hash())))
	if _, err := os.Stat(filepath.Join(root, "var/lib/kubelet/image_manager/pulled")); err != nil {
		t.Fatal(err)
	}
	n.collector.Node = kubelet.New(kubelet.Options{Root: root})
	f := failure(image, "pull")
	f.PullPolicy = "Never"
	known, _ := n.collector.quick(t.Context(), f)
	wantLines(t, "evidence", of(f, known, diagnosis.CheckImage),
		"Passed | the image is on node worker-3, and the kubelet lets this pod use it, because it has the credentials of an earlier pull")
	if text := fmt.Sprintf("%+v", known); strings.Contains(text, found.Credentials[0].Hash()) {
		t.Errorf("the hash is in the evidence: %s", text)
	}
}

// A token that is over within the hour is said to be, by the absolute time, as
// long as no other of the source's credentials stays.
func TestCredentialExpiresSoon(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	token := func(end time.Duration) string { return endingToken(now.Add(end)) }
	entry := func(password string, keys ...string) string { return dockerConfig(user, password, keys...) }
	const passed = "Passed | secret s has credentials for hub.test (entry hub.test)"
	both := func(first, second string) string {
		return fmt.Sprintf(`{"auths":{"hub.test":{"username":"u","password":%q},"hub.test/team":{"username":"u","password":%q}}}`, first, second)
	}
	for name, tc := range map[string]struct {
		content string
		want    string
		expires time.Time
	}{
		"soon":                 {entry(token(20*time.Minute), "hub.test"), passed + "; the token expires at 2026-01-02 03:24 UTC", now.Add(20 * time.Minute)},
		"later":                {entry(token(time.Hour), "hub.test"), passed, time.Time{}},
		"already":              {entry(token(-time.Minute), "hub.test"), "Failed | CredentialExpired | secret s (entry hub.test) has a token that expired at 2026-01-02 03:03 UTC", time.Time{}},
		"a password":           {entry(password, "hub.test"), passed, time.Time{}},
		"both soon":            {both(token(time.Minute), token(20*time.Minute)), passed + "; the token expires at 2026-01-02 03:24 UTC", now.Add(20 * time.Minute)},
		"one of two":           {both(token(time.Minute), password), passed, time.Time{}},
		"one over, one soon":   {both(token(-time.Minute), token(time.Minute)), strings.Replace(passed, "(entry hub.test)", "(entry hub.test/team)", 1) + "; the token expires at 2026-01-02 03:05 UTC", now.Add(time.Minute)},
		"for another registry": {entry(token(time.Minute), "other.test"), "Failed | NoMatchingCredential | secret s has credentials for other.test, but the image is on hub.test", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Secrets: &fakeSecrets{byName: map[string]kube.Secret{"s": pullSecret(tc.content)}}}, asker: clockAt(now)}
			f := diagnosis.Failure{Namespace: "team", Image: "hub.test/team/app:1", Registry: "hub.test", Repository: "team/app", PullSecrets: []string{"s"}}
			got, _ := c.checkCredentials(t.Context(), f)
			line := string(got[0].Outcome) + " | "
			if got[0].Fault != "" {
				line += string(got[0].Fault) + " | "
			}
			if line += detail(f, got[0]); line != tc.want || !got[0].Credentials().Expires.Equal(tc.expires) {
				t.Errorf("got  %s (%s)\nwant %s (%s)", line, got[0].Credentials().Expires, tc.want, tc.expires)
			}
		})
	}
}

// The same for the node's own file.
func TestNodeCredentialExpiresSoon(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := &Collector{Options: Options{Metrics: &fakeMetrics{}, Node: kubeletOf(t, map[string]string{nodeFile: dockerConfig(user, endingToken(now.Add(time.Minute)), "hub.test")})}, asker: clockAt(now)}
	f := diagnosis.Failure{Namespace: "team", Image: "hub.test/team/app:1", Registry: "hub.test", Repository: "team/app"}
	got, _ := c.checkCredentials(t.Context(), f)
	if last := got[len(got)-1]; !strings.HasSuffix(detail(f, last), "(entry hub.test); the token expires at 2026-01-02 03:05 UTC") || last.Credentials().Expires.IsZero() {
		t.Errorf("got %+v", got)
	}
}

// endingToken is an unsigned web token that names its end.
func endingToken(end time.Time) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"exp":%d}`, end.Unix())) + ".x"
}

// fakeProviders returns an answer by the plugin's name.
type fakeProviders struct {
	mu      sync.Mutex
	answers map[string]provider.Answer
	asked   []string
	wait    chan struct{} // nil: no run waits
}

func (p *fakeProviders) Run(ctx context.Context, name string, f diagnosis.Failure) provider.Answer {
	p.mu.Lock()
	p.asked = append(p.asked, name+" "+f.Ref().Name())
	p.mu.Unlock()
	if p.wait != nil {
		select {
		case <-p.wait:
		case <-ctx.Done():
			return provider.Answer{Run: diagnosis.ProviderBusy}
		}
	}
	return p.answers[name]
}

func gave(username, password string, keys ...string) provider.Answer {
	all := map[string]credential.Credential{}
	for _, key := range keys {
		all[key] = credential.New(username, password)
	}
	return provider.Answer{Run: diagnosis.ProviderGave, Credentials: credential.Redact(all)}
}

// withProviders has two plugins for the registry, and what they return.
func withProviders(t *testing.T, n *node, host string, answers map[string]provider.Answer) *fakeProviders {
	t.Helper()
	hostfstest.Add(t, n.options.Root, map[string]string{"etc/p.yaml": `{"kind":"CredentialProviderConfig","apiVersion":"kubelet.config.k8s.io/v1","providers":[
		{"name":"one","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["` + host + `"]},{"name":"two","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["` + host + `/team"]},{"name":"three","apiVersion":"credentialprovider.kubelet.k8s.io/v1","defaultCacheDuration":"1h","matchImages":["other.test"]}]}`})
	n.collector.Node = kubelet.New(kubelet.Options{Root: n.options.Root, ProviderConfig: "/etc/p.yaml"})
	run := &fakeProviders{answers: answers}
	n.collector.Providers = run
	return run
}

// What plugins come to, and what the registry makes of it.
func TestProvidersAreRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		one, two    provider.Answer
		credentials []string
		registry    string
		cause       diagnosis.Cause
		confidence  diagnosis.Confidence
	}{
		"a failure and nothing": {
			provider.Answer{Run: diagnosis.ProviderExited, ExitStatus: 7}, provider.Answer{Run: diagnosis.ProviderGaveNone},
			[]string{"Failed | NoCredentials | the pod has no pull secret",
				"Failed | CredentialProviderFailed | credential provider one, which the kubelet runs for HUB, fails with exit status 7",
				"Failed | CredentialProviderFailed | credential provider two, which the kubelet runs for HUB/team, returns no credentials"},
			"Failed | Unauthorized | https://HUB requires credentials: HTTP 401",
			diagnosis.CredentialProviderFailed, diagnosis.Confirmed},
		"credentials that work, after others": {
			gave(user, "wrong", "HUB"), gave(user, password, "HUB/team", "other.test"),
			[]string{"Failed | NoCredentials | the pod has no pull secret",
				"Passed | credential provider one returns credentials for HUB (entry HUB)",
				"Passed | credential provider two returns credentials for HUB (entry HUB/team)"},
			"Passed | https://HUB serves the manifest with the credentials of credential provider two (entry HUB/team)",
			diagnosis.NotReproducible, diagnosis.Confirmed},
		"rejected credentials": {
			gave(user, "wrong", "HUB"), gave(user, password, "other.test"),
			[]string{"Failed | NoCredentials | the pod has no pull secret",
				"Passed | credential provider one returns credentials for HUB (entry HUB)",
				"Failed | CredentialProviderFailed | credential provider two, which the kubelet runs for HUB/team, returns credentials, but none for HUB/team/app"},
			"Failed | Unauthorized | https://HUB rejects the credentials of credential provider one (entry HUB): HTTP 401",
			diagnosis.CredentialsRejected, diagnosis.Confirmed},
		"empty credentials, and no run": {
			gave("", "", "HUB"), provider.Answer{Run: diagnosis.ProviderWantsToken},
			[]string{"Failed | NoCredentials | the pod has no pull secret",
				"Failed | CredentialProviderFailed | credential provider one, which the kubelet runs for HUB, returns no credentials",
				"NotRun | CredentialProviderMatches | credential provider two, which the kubelet runs for HUB/team, was not run by whypull: it needs a token of the pod's service account, which whypull may not request here (component credential-provider-tokens)"},
			"Failed | Unauthorized | https://HUB requires credentials: HTTP 401",
			diagnosis.CredentialProviderFailed, diagnosis.Likely},
		"an account without the annotation, and no account": {
			provider.Answer{Run: diagnosis.ProviderNoAnnotation, Annotation: "corp.test/id"}, provider.Answer{Run: diagnosis.ProviderAccountMissing},
			[]string{"Failed | NoCredentials | the pod has no pull secret; one that is added to service account builder applies to new pods only",
				"Failed | CredentialProviderFailed | credential provider one, which the kubelet runs for HUB, is not run, because service account builder lacks the annotation corp.test/id, which its configuration requires",
				"Failed | CredentialProviderFailed | credential provider two, which the kubelet runs for HUB/team, is not run, because service account builder does not exist"},
			"Failed | Unauthorized | https://HUB requires credentials: HTTP 401",
			diagnosis.CredentialProviderFailed, diagnosis.Confirmed},
		"an audience, and no token": {
			provider.Answer{Run: diagnosis.ProviderAudience}, provider.Answer{Run: diagnosis.ProviderNoToken},
			[]string{"Failed | NoCredentials | the pod has no pull secret; one that is added to service account builder applies to new pods only",
				"Failed | CredentialProviderFailed | credential provider one, which the kubelet runs for HUB, is not run, because nodes may not request tokens for its serviceAccountTokenAudience",
				"NotRun | CredentialProviderMatches | credential provider two, which the kubelet runs for HUB/team, was not run by whypull: the API server issued no token of the pod's service account"},
			"Failed | Unauthorized | https://HUB requires credentials: HTTP 401",
			diagnosis.CredentialProviderFailed, diagnosis.Likely},
	} {
		t.Run(name, func(t *testing.T) {
			s := closed(t, registrytest.Basic)
			n := newNode(t, s.CA, nil)
			answers := map[string]provider.Answer{"one": atHost(tc.one, s.Host), "two": atHost(tc.two, s.Host)}
			run := withProviders(t, n, s.Host, answers)
			f := failure(s.Host + "/team/app:1.0")
			f.Message = noBasicText
			if strings.Contains(tc.credentials[0], "builder") {
				f.ServiceAccount = "builder"
			}
			first, all := n.collector.Collect(t.Context(), f, false)
			wellFormed(t, f, first)
			if e := first[3]; e.Credentials().Run != diagnosis.ProviderRunning || e.Outcome != diagnosis.NotRun {
				t.Errorf("at first: %+v", e)
			}
			final := <-all
			wellFormed(t, f, final)
			wantLines(t, "credentials", replaced(of(f, final, diagnosis.CheckCredentials), s.Host, "HUB"), tc.credentials...)
			wantLines(t, "registry", replaced(of(f, final, diagnosis.CheckRegistry), s.Host, "HUB")[:1], tc.registry)
			v := diagnosis.Diagnose(f, final)
			if v.Cause != tc.cause || v.Confidence != tc.confidence {
				t.Errorf("%s, %s: %s", v.Cause, v.Confidence, v.Summary)
			}
			slices.Sort(run.asked)
			wantLines(t, "runs", replaced(run.asked, s.Host, "HUB"), "one HUB/team/app", "two HUB/team/app")
		})
	}
}

// atHost puts the registry's host into the keys of an answer.
func atHost(a provider.Answer, host string) provider.Answer {
	all := map[string]credential.Credential{}
	for key, c := range a.Credentials.Reveal() {
		all[strings.Replace(key, "HUB", host, 1)] = c
	}
	a.Credentials = credential.Redact(all)
	return a
}

// The first verdict waits for no plugin, and what needs no registry runs none.
func TestProvidersDoNotDelay(t *testing.T) {
	t.Parallel()
	s := closed(t, registrytest.Basic)
	n := newNode(t, s.CA, nil)
	run := withProviders(t, n, s.Host, nil)
	run.wait = make(chan struct{})
	f := failure(s.Host + "/team/app:1.0")
	never := f
	never.PullPolicy = "Never"
	if first, all := n.collector.Collect(t.Context(), never, false); first[3].Credentials().Run != "" || len(<-all) == 0 || len(run.asked) != 0 {
		t.Errorf("policy Never: %+v, %q", first[3], run.asked)
	}
	first, all := n.collector.Collect(t.Context(), f, false)
	if v := diagnosis.Diagnose(f, first); v.Cause == "" {
		t.Error("no first verdict")
	}
	close(run.wait)
	<-all
}
