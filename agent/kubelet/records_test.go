package kubelet

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

const ref = "sha256:0123"

// pulledRecord returns a record as the kubelet writes it, with this mapping.
func pulledRecord(mapping string) string {
	return `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2026-01-02T03:04:05Z","imageRef":"` + ref +
		`","credentialMapping":{` + mapping + `}}`
}

const (
	regcred = `{"kubernetesSecrets":[{"uid":"u1","namespace":"team","name":"regcred","credentialHash":"h1"}]}`
	account = `{"kubernetesServiceAccounts":[{"uid":"a1","namespace":"team","name":"default"}]}`
	open    = `{"nodePodsAccessible":true}`
)

func pullIntent(image string) string {
	return `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"` + image + `"}`
}

// many returns a record for n secrets. The first is regcred's, with an older
// hash.
func many(n int) string {
	all := []string{`{"uid":"u1","namespace":"team","name":"regcred","credentialHash":"old"}`}
	for i := 1; i < n; i++ {
		all = append(all, fmt.Sprintf(`{"uid":"x%d","namespace":"other","name":"x","credentialHash":"x%d"}`, i, i))
	}
	return `{"kubernetesSecrets":[` + strings.Join(all, ",") + `]}`
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	mine := Question{Image: imageOf("nginx:1.27"), ImageRef: ref, Secrets: []Secret{{UID: "u1", Namespace: "team", Name: "regcred", CredentialHash: "h1"}},
		ServiceAccount: ServiceAccount{Namespace: "team", Name: "default"}}
	change := func(f func(*Question)) Question {
		q := mine
		f(&q)
		return q
	}
	none := change(func(q *Question) { q.Secrets = nil })
	secret := func(s Secret) Question { return change(func(q *Question) { q.Secrets = []Secret{s} }) }
	recorded := func(mapping string) map[string]string { return map[string]string{pulled(ref): pulledRecord(mapping)} }
	for name, tc := range map[string]struct {
		files map[string]string
		q     Question
		want  Verdict
	}{
		"no record":                             {nil, mine, VerdictNotPulledByKubelet},
		"no credentials were needed":            {recorded(`"nginx":` + open), none, VerdictNodeWide},
		"the same secret":                       {recorded(`"nginx":` + regcred), mine, VerdictThisPod},
		"a rotated secret":                      {recorded(`"nginx":` + regcred), secret(Secret{UID: "u1", Namespace: "team", Name: "regcred", CredentialHash: "h2"}), VerdictThisPod},
		"another secret, same credential":       {recorded(`"nginx":` + regcred), secret(Secret{UID: "u9", Namespace: "other", Name: "x", CredentialHash: "h1"}), VerdictThisPod},
		"a recreated secret, other credential":  {recorded(`"nginx":` + regcred), secret(Secret{UID: "u2", Namespace: "team", Name: "regcred", CredentialHash: "h2"}), VerdictOtherCredentials},
		"another namespace's":                   {recorded(`"nginx":` + regcred), secret(Secret{UID: "u1", Namespace: "x", Name: "regcred", CredentialHash: "h2"}), VerdictOtherCredentials},
		"hashes that are unknown":               {recorded(strings.ReplaceAll(`"nginx":`+regcred, `"h1"`, `""`)), secret(Secret{UID: "u9"}), VerdictOtherCredentials},
		"no secret":                             {recorded(`"nginx":` + regcred), none, VerdictOtherCredentials},
		"not all secrets are known":             {recorded(`"nginx":` + regcred), change(func(q *Question) { q.Secrets, q.Incomplete = nil, true }), VerdictUndecided},
		"not all, but one matches":              {recorded(`"nginx":` + regcred), change(func(q *Question) { q.Incomplete = true }), VerdictThisPod},
		"ninety-nine secrets, a rotated one":    {recorded(`"nginx":` + many(99)), mine, VerdictThisPod},
		"a hundred secrets, a rotated one":      {recorded(`"nginx":` + many(100)), mine, VerdictOtherCredentials},
		"the account, UID unknown":              {recorded(`"nginx":` + account), none, VerdictUndecided},
		"the account":                           {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.UID = "a1" }), VerdictThisPod},
		"the account of an earlier namespace":   {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.UID = "a0" }), VerdictOtherCredentials},
		"another account":                       {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.Name = "x" }), VerdictOtherCredentials},
		"an entry without credentials":          {recorded(`"nginx":{}`), mine, VerdictNoCredentialsRecorded},
		"the same, not all secrets are known":   {recorded(`"nginx":{}`), change(func(q *Question) { q.Incomplete = true }), VerdictNoCredentialsRecorded},
		"an entry with empty lists":             {recorded(`"nginx":{"kubernetesSecrets":[],"kubernetesServiceAccounts":[]}`), mine, VerdictNoCredentialsRecorded},
		"a pull that a restart interrupted":     {recorded(``), mine, VerdictNoCredentialsRecorded},
		"the same, null":                        {map[string]string{pulled(ref): strings.Replace(pulledRecord(""), "{}", "null", 1)}, mine, VerdictNoCredentialsRecorded},
		"interrupted, and another spelling":     {recorded(`"nginx":{},"library/nginx":` + open), mine, VerdictOtherSpelling},
		"others' here, another spelling":        {recorded(`"nginx":` + account + `,"library/nginx":` + open), change(func(q *Question) { q.ServiceAccount.UID = "a0" }), VerdictOtherCredentials},
		"another spelling, for all":             {recorded(`"docker.io/library/nginx":` + open), none, VerdictOtherSpelling},
		"another spelling, this secret":         {recorded(`"library/nginx":` + regcred), mine, VerdictOtherSpelling},
		"another spelling, another secret":      {recorded(`"library/nginx":` + regcred), none, VerdictNoCredentialsRecorded},
		"another name":                          {recorded(`"hub.test/nginx":` + open), mine, VerdictNoCredentialsRecorded},
		"a name with a tag is never looked for": {recorded(`"nginx:1.27":` + open), mine, VerdictNoCredentialsRecorded},
		"begun":                                 {map[string]string{pulling("nginx:1.27"): pullIntent("nginx:1.27")}, mine, VerdictPulling},
		"begun, another spelling":               {map[string]string{pulling("nginx"): pullIntent("nginx")}, mine, VerdictNotPulledByKubelet},
		"begun, under the hash of another":      {map[string]string{pulling("nginx:1.27"): pullIntent("x")}, mine, VerdictNotPulledByKubelet},
		"begun, does not decode":                {map[string]string{pulling("nginx:1.27"): "{"}, mine, VerdictNotVisible},
		"both":                                  {map[string]string{pulled(ref): pulledRecord(`"nginx":` + open), pulling("nginx:1.27"): pullIntent("nginx:1.27")}, mine, VerdictNodeWide},
		"under the hash of another":             {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(""), ref, "sha256:x")}, mine, VerdictNotPulledByKubelet},
		"being written":                         {map[string]string{pulled(ref) + ".tmp": pulledRecord("")}, mine, VerdictNotPulledByKubelet},
		"the version of 1.33":                   {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(`"nginx":`+regcred), "v1beta1", "v1alpha1")}, mine, VerdictThisPod},
		"a later version":                       {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(`"nginx":`+regcred), "v1beta1", "v1")}, mine, VerdictNotVisible},
		"another kind":                          {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(""), "ImagePulledRecord", "ImagePullIntent")}, mine, VerdictNotVisible},
		"a field that is not known":             {recorded(`"nginx":{"everybody":true}`), mine, VerdictNotVisible},
		"a field twice":                         {recorded(`"nginx":{"nodePodsAccessible":false,"nodePodsAccessible":true}`), mine, VerdictNotVisible},
		"cut off":                               {map[string]string{pulled(ref): pulledRecord("")[:40]}, mine, VerdictNotVisible},
		"empty":                                 {map[string]string{pulled(ref): ""}, mine, VerdictNotVisible},
		"too large":                             {map[string]string{pulled(ref): pulledRecord("") + strings.Repeat(" ", maxFile)}, mine, VerdictNotVisible},
		"a directory":                           {map[string]string{pulled(ref) + "/": ""}, mine, VerdictNotVisible},
		"a name with a digest":                  {recorded(`"nginx":` + open), change(func(q *Question) { q.Image = imageOf("nginx:1@sha256:" + strings.Repeat("a", 64)) }), VerdictNodeWide},
		"no valid name":                         {recorded(`"nginx":` + open), change(func(q *Question) { q.Image = imageOf("Ngi nx") }), VerdictNoCredentialsRecorded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{records + "pulled/": "", records + "pulling/": ""}
			maps.Copy(files, tc.files)
			got := newNode(t, files).Verdict(tc.q)
			if got.Verdict != tc.want {
				t.Errorf("%q, want %q", got.Verdict, tc.want)
			}
			if spelt := got.Recorded != "" && got.Written != ""; spelt != (tc.want == VerdictOtherSpelling) || !spelt && got.Recorded+got.Written != "" {
				t.Errorf("recorded as %q, written %q", got.Recorded, got.Written)
			}
		})
	}
}

// A record names namespaces; what is said is whether the pod's own is among them.
func TestOwnNamespace(t *testing.T) {
	t.Parallel()
	theirs := strings.ReplaceAll(regcred, `"team"`, `"other"`)
	for mapping, want := range map[string]map[string]bool{
		`"nginx":` + regcred:                                   {"team": true, "other": false, "": false},
		`"nginx":` + theirs:                                    {"team": false, "other": true},
		`"nginx":` + account:                                   {"team": true, "other": false},
		`"nginx":` + open:                                      {"team": false},
		`"nginx":` + theirs + `,"copy":` + regcred:             {"team": false}, // the same image under another name
		strings.ReplaceAll(`"nginx":`+account, `"team"`, `""`): {"": false},
	} {
		n := newNode(t, map[string]string{records + "pulling/": "", pulled(ref): pulledRecord(mapping)})
		for namespace, own := range want {
			q := Question{Image: imageOf("nginx:1.27"), ImageRef: ref, ServiceAccount: ServiceAccount{Namespace: namespace, Name: "x"}}
			if got := n.Verdict(q).OwnNamespace; got != own {
				t.Errorf("%s: namespace %q: %t, want %t", mapping, namespace, got, own)
			}
		}
	}
}

// The spelling returned is the one that the pod could use, whatever else is
// recorded; of several, always the same.
func TestOtherSpelling(t *testing.T) {
	t.Parallel()
	mine := []Secret{{UID: "u1", Namespace: "team", Name: "regcred", CredentialHash: "h1"}}
	digest := "@sha256:" + strings.Repeat("a", 64)
	for name, tc := range map[string]struct {
		mapping, image, recorded, written string
		secrets                           []Secret
	}{
		"with a tag":                  {`"docker.io/library/nginx":` + open, "nginx:1.27", "docker.io/library/nginx", "nginx", nil},
		"with a digest":               {`"nginx":` + open, "index.docker.io/library/nginx" + digest, "nginx", "index.docker.io/library/nginx", nil},
		"with both":                   {`"nginx":` + open, "docker.io/nginx:1" + digest, "nginx", "docker.io/nginx", nil},
		"the one with the credential": {`"docker.io/nginx":{},"docker.io/library/nginx":` + account + `,"library/nginx":` + regcred, "nginx:1", "library/nginx", "nginx", mine},
		"the first of several":        {`"library/nginx":` + open + `,"docker.io/nginx":` + open + `,"index.docker.io/nginx":` + open, "nginx:1", "docker.io/nginx", "nginx", nil},
		"not one with a tag":          {`"docker.io/nginx:1":` + open + `,"library/nginx":` + open, "nginx:1", "library/nginx", "nginx", nil},
		"not another repository":      {`"docker.io/other/nginx":` + open + `,"library/nginx":` + open, "nginx:1", "library/nginx", "nginx", nil},
		"not what does not parse":     {`"\u001b[31m nginx":` + open + `,"library/nginx":` + open, "nginx:1", "library/nginx", "nginx", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := Question{Image: imageOf(tc.image), ImageRef: ref, Secrets: tc.secrets}
			k := newNode(t, map[string]string{pulled(ref): pulledRecord(tc.mapping)})
			want := Answer{Verdict: VerdictOtherSpelling, Recorded: tc.recorded, Written: tc.written}
			for range 20 {
				if got := k.Verdict(q); got != want {
					t.Fatalf("%+v, want %+v", got, want)
				}
			}
			q.Image = imageOf(tc.recorded + strings.TrimPrefix(tc.image, tc.written))
			if got := k.Verdict(q).Verdict; got != VerdictNodeWide && got != VerdictThisPod {
				t.Errorf("%s would be %q", q.Image.Written, got)
			}
		})
	}
}

// A kubelet that keeps no records differs from records that are not mounted.
func TestVerdictWithoutRecords(t *testing.T) {
	t.Parallel()
	q := Question{Image: imageOf("nginx"), ImageRef: ref}
	for name, tc := range map[string]struct {
		files map[string]string
		want  Verdict
	}{
		"nothing is mounted":                 {map[string]string{"etc/": ""}, VerdictNotVisible},
		"another mount in the directory":     {map[string]string{"var/lib/kubelet/config.json": "{}"}, VerdictNotVisible},
		"an empty directory is mounted":      {map[string]string{records: ""}, VerdictNotVisible},
		"the same, and all else":             {map[string]string{records: "", "usr/": ""}, VerdictNotVisible},
		"a directory with something else":    {map[string]string{records + "x": ""}, VerdictDisabled},
		"the kubelet's directory is mounted": {map[string]string{"var/lib/kubelet/pods/": ""}, VerdictDisabled},
		"everything is mounted":              {map[string]string{"usr/": ""}, VerdictDisabled},
		"records":                            {map[string]string{records + "pulled/": ""}, VerdictNotPulledByKubelet},
		"a link to where nothing is mounted": {map[string]string{"var/lib/kubelet/image_manager": "-> /mnt/image_manager"}, VerdictNotVisible},
	} {
		if got := newNode(t, tc.files).Verdict(q).Verdict; got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestUntagged(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for image, want := range map[string]string{
		"nginx": "nginx", "nginx:1": "nginx", "nginx" + digest: "nginx", "nginx:1" + digest: "nginx", "docker.io/library/nginx:1": "docker.io/library/nginx",
		"hub.test:5000/a": "hub.test:5000/a", "hub.test:5000/a:b": "hub.test:5000/a",
	} {
		if got := imageOf(image).Untagged(); got != want {
			t.Errorf("%s: %q", image, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(pulledRecord(`"nginx":` + regcred))
	f.Add("{")
	f.Fuzz(func(t *testing.T, content string) {
		k := newNode(t, map[string]string{pulled(ref): content})
		if v := k.Verdict(Question{Image: imageOf("nginx"), ImageRef: ref}).Verdict; v == VerdictThisPod || v == VerdictDisabled || v == VerdictPulling {
			t.Errorf("%q of %q", v, content)
		}
	})
}
