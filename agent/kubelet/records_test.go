package kubelet

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
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

func TestUse(t *testing.T) {
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
		want  diagnosis.Record
	}{
		"no record":                             {nil, mine, diagnosis.RecordNotPulled},
		"no credentials were needed":            {recorded(`"nginx":` + open), none, diagnosis.RecordNodeWide},
		"the same secret":                       {recorded(`"nginx":` + regcred), mine, diagnosis.RecordThisPod},
		"a rotated secret":                      {recorded(`"nginx":` + regcred), secret(Secret{UID: "u1", Namespace: "team", Name: "regcred", CredentialHash: "h2"}), diagnosis.RecordThisPod},
		"another secret, same credential":       {recorded(`"nginx":` + regcred), secret(Secret{UID: "u9", Namespace: "other", Name: "x", CredentialHash: "h1"}), diagnosis.RecordThisPod},
		"a recreated secret, other credential":  {recorded(`"nginx":` + regcred), secret(Secret{UID: "u2", Namespace: "team", Name: "regcred", CredentialHash: "h2"}), diagnosis.RecordOtherCredentials},
		"another namespace's":                   {recorded(`"nginx":` + regcred), secret(Secret{UID: "u1", Namespace: "x", Name: "regcred", CredentialHash: "h2"}), diagnosis.RecordOtherCredentials},
		"hashes that are unknown":               {recorded(strings.ReplaceAll(`"nginx":`+regcred, `"h1"`, `""`)), secret(Secret{UID: "u9"}), diagnosis.RecordOtherCredentials},
		"no secret":                             {recorded(`"nginx":` + regcred), none, diagnosis.RecordOtherCredentials},
		"not all secrets are known":             {recorded(`"nginx":` + regcred), change(func(q *Question) { q.Secrets, q.Incomplete = nil, true }), diagnosis.RecordUndecided},
		"not all, but one matches":              {recorded(`"nginx":` + regcred), change(func(q *Question) { q.Incomplete = true }), diagnosis.RecordThisPod},
		"ninety-nine secrets, a rotated one":    {recorded(`"nginx":` + many(99)), mine, diagnosis.RecordThisPod},
		"a hundred secrets, a rotated one":      {recorded(`"nginx":` + many(100)), mine, diagnosis.RecordOtherCredentials},
		"the account, UID unknown":              {recorded(`"nginx":` + account), none, diagnosis.RecordUndecided},
		"the account":                           {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.UID = "a1" }), diagnosis.RecordThisPod},
		"the account of an earlier namespace":   {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.UID = "a0" }), diagnosis.RecordOtherCredentials},
		"another account":                       {recorded(`"nginx":` + account), change(func(q *Question) { q.ServiceAccount.Name = "x" }), diagnosis.RecordOtherCredentials},
		"an entry without credentials":          {recorded(`"nginx":{}`), mine, diagnosis.RecordNoCredentials},
		"the same, not all secrets are known":   {recorded(`"nginx":{}`), change(func(q *Question) { q.Incomplete = true }), diagnosis.RecordNoCredentials},
		"an entry with empty lists":             {recorded(`"nginx":{"kubernetesSecrets":[],"kubernetesServiceAccounts":[]}`), mine, diagnosis.RecordNoCredentials},
		"a pull that a restart interrupted":     {recorded(``), mine, diagnosis.RecordNoCredentials},
		"the same, null":                        {map[string]string{pulled(ref): strings.Replace(pulledRecord(""), "{}", "null", 1)}, mine, diagnosis.RecordNoCredentials},
		"interrupted, and another spelling":     {recorded(`"nginx":{},"library/nginx":` + open), mine, diagnosis.RecordOtherSpelling},
		"others' here, another spelling":        {recorded(`"nginx":` + account + `,"library/nginx":` + open), change(func(q *Question) { q.ServiceAccount.UID = "a0" }), diagnosis.RecordOtherCredentials},
		"another spelling, for all":             {recorded(`"docker.io/library/nginx":` + open), none, diagnosis.RecordOtherSpelling},
		"another spelling, this secret":         {recorded(`"library/nginx":` + regcred), mine, diagnosis.RecordOtherSpelling},
		"another spelling, another secret":      {recorded(`"library/nginx":` + regcred), none, diagnosis.RecordNoCredentials},
		"another name":                          {recorded(`"hub.test/nginx":` + open), mine, diagnosis.RecordNoCredentials},
		"a name with a tag is never looked for": {recorded(`"nginx:1.27":` + open), mine, diagnosis.RecordNoCredentials},
		"begun":                                 {map[string]string{pulling("nginx:1.27"): pullIntent("nginx:1.27")}, mine, diagnosis.RecordPulling},
		"begun, another spelling":               {map[string]string{pulling("nginx"): pullIntent("nginx")}, mine, diagnosis.RecordNotPulled},
		"begun, under the hash of another":      {map[string]string{pulling("nginx:1.27"): pullIntent("x")}, mine, diagnosis.RecordNotPulled},
		"begun, does not decode":                {map[string]string{pulling("nginx:1.27"): "{"}, mine, ""},
		"both":                                  {map[string]string{pulled(ref): pulledRecord(`"nginx":` + open), pulling("nginx:1.27"): pullIntent("nginx:1.27")}, mine, diagnosis.RecordNodeWide},
		"under the hash of another":             {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(""), ref, "sha256:x")}, mine, diagnosis.RecordNotPulled},
		"being written":                         {map[string]string{pulled(ref) + ".tmp": pulledRecord("")}, mine, diagnosis.RecordNotPulled},
		"the version of 1.33":                   {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(`"nginx":`+regcred), "v1beta1", "v1alpha1")}, mine, diagnosis.RecordThisPod},
		"a later version":                       {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(`"nginx":`+regcred), "v1beta1", "v1")}, mine, ""},
		"another kind":                          {map[string]string{pulled(ref): strings.ReplaceAll(pulledRecord(""), "ImagePulledRecord", "ImagePullIntent")}, mine, ""},
		"a field that is not known":             {recorded(`"nginx":{"everybody":true}`), mine, ""},
		"a field twice":                         {recorded(`"nginx":{"nodePodsAccessible":false,"nodePodsAccessible":true}`), mine, ""},
		"cut off":                               {map[string]string{pulled(ref): pulledRecord("")[:40]}, mine, ""},
		"empty":                                 {map[string]string{pulled(ref): ""}, mine, ""},
		"too large":                             {map[string]string{pulled(ref): pulledRecord("") + strings.Repeat(" ", maxFile)}, mine, ""},
		"a directory":                           {map[string]string{pulled(ref) + "/": ""}, mine, ""},
		"a name with a digest":                  {recorded(`"nginx":` + open), change(func(q *Question) { q.Image = imageOf("nginx:1@sha256:" + strings.Repeat("a", 64)) }), diagnosis.RecordNodeWide},
		"no valid name":                         {recorded(`"nginx":` + open), change(func(q *Question) { q.Image = imageOf("Ngi nx") }), diagnosis.RecordNoCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{records + "pulled/": "", records + "pulling/": ""}
			maps.Copy(files, tc.files)
			got := newNode(t, files).Use(tc.q)
			if got.Record != tc.want {
				t.Errorf("%q, want %q", got.Record, tc.want)
			}
			if spelt := got.Recorded != "" && got.Written != ""; spelt != (tc.want == diagnosis.RecordOtherSpelling) || !spelt && got.Recorded+got.Written != "" {
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
			if got := n.Use(q).OwnNamespace; got != own {
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
			want := diagnosis.ImageFacts{Record: diagnosis.RecordOtherSpelling, Recorded: tc.recorded, Written: tc.written}
			for range 20 {
				if got := k.Use(q); !reflect.DeepEqual(got, want) {
					t.Fatalf("%+v, want %+v", got, want)
				}
			}
			q.Image = imageOf(tc.recorded + strings.TrimPrefix(tc.image, tc.written))
			if got := k.Use(q).Record; got != diagnosis.RecordNodeWide && got != diagnosis.RecordThisPod {
				t.Errorf("%s would be %q", q.Image.Written, got)
			}
		})
	}
}

// Nothing is known if there are no records, or none that are visible.
func TestUseWithoutRecords(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"nothing is mounted":                 {"etc/": ""},
		"another mount in the directory":     {"var/lib/kubelet/config.json": "{}"},
		"an empty directory is mounted":      {records: ""},
		"the same, and all else":             {records: "", "usr/": ""},
		"a directory with something else":    {records + "x": ""},
		"the kubelet's directory is mounted": {"var/lib/kubelet/pods/": ""},
		"everything is mounted":              {"usr/": ""},
		"a link to where nothing is mounted": {"var/lib/kubelet/image_manager": "-> /mnt/image_manager"},
	} {
		if got := newNode(t, files).Use(Question{Image: imageOf("nginx"), ImageRef: ref}).Record; got != "" {
			t.Errorf("%s: %q", name, got)
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
		if v := k.Use(Question{Image: imageOf("nginx"), ImageRef: ref}).Record; v == diagnosis.RecordThisPod || v == diagnosis.RecordPulling {
			t.Errorf("%q of %q", v, content)
		}
	})
}
