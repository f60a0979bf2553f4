package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/agent/kube"
)

// loaded reads one manifest.
func loaded(t *testing.T, text string) *objects {
	t.Helper()
	o, err := load(Options{Files: []string{"-"}}, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// template returns a pod template's spec with one container.
const template = `{spec: {containers: [{name: app, image: hub.example/app}]}}`

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: hub.example/app}]}}", "Pod default/web"},
		{"{apiVersion: v1, kind: Pod, metadata: {generateName: web-}, spec: {containers: [{name: app, image: hub.example/app}]}}", "Pod default/web-…"},
		{"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {replicas: 3, template: " + template + "}}", "Deployment shop/web"},
		{"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {template: " + template + "}}", "StatefulSet default/web"},
		{"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}, spec: {template: " + template + "}}", "DaemonSet default/web"},
		{"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web}, spec: {template: " + template + "}}", "ReplicaSet default/web"},
		{"{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {template: " + template + "}}", "ReplicationController default/web"},
		{"{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {template: " + template + "}}", "Job default/web"},
		{"{apiVersion: batch/v1, kind: CronJob, metadata: {name: web}, spec: {jobTemplate: {spec: {template: " + template + "}}}}", "CronJob default/web"},
		{"{apiVersion: v1, kind: PodTemplate, metadata: {name: web}, template: " + template + "}", "PodTemplate default/web"},
		{"{apiVersion: v1, kind: List, items: [{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {template: " + template + "}}]}", "Job default/web"},
		{"{apiVersion: v1, kind: PodList, items: [{metadata: {name: web}, spec: {containers: [{name: app, image: hub.example/app}]}}]}", "Pod default/web"},
	} {
		o := loaded(t, tc.text)
		if len(o.pods) != 1 || len(o.notes) != 0 {
			t.Errorf("%s: %v, notes %q", tc.want, o, o.notes)
			continue
		}
		p := o.pods[0]
		if got := fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name); got != tc.want || p.at != "standard input, document 1" {
			t.Errorf("%s (%s), want %s", got, p.at, tc.want)
		}
		if images := p.images(); len(images) != 1 || images[0].Image != "hub.example/app" || images[0].Container != "app" || images[0].PullPolicy != "Always" {
			t.Errorf("%s: images %+v", tc.want, images)
		}
	}
}

// A kind with the same name in another group is another kind.
func TestNotes(t *testing.T) {
	t.Parallel()
	o := loaded(t, `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  imagepullsecrets: [{name: x}]
  containers: [{name: app, image: a, imagePullpolicy: Never}]
status: {unheardOf: true}
---
{apiVersion: batch.volcano.sh/v1alpha1, kind: Job, metadata: {name: v}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {generateName: c-}}
---
{kind: Thing}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replica: 1, template: {spec: {pullSecrets: [], containers: [{name: a, image: b}]}}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, dta: {}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}}
`)
	want := []string{
		`standard input, document 1: Pod web: unknown field "spec.containers[0].imagePullpolicy" ignored`,
		`standard input, document 1: Pod web: unknown field "spec.imagepullsecrets" ignored`,
		`standard input, document 5: Deployment d: unknown field "spec.template.spec.pullSecrets" ignored`,
		`standard input, document 6: Secret s: unknown field "dta" ignored`,
		"standard input, document 7: secret s in namespace default is defined twice; the last one counts",
	}
	got := slices.Clone(o.notes)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	skipped := []string{"standard input, document 2: Job v", "standard input, document 3: ConfigMap c-…", "standard input, document 4: Thing"}
	if !slices.Equal(o.skipped, skipped) {
		t.Errorf("skipped %q, want %q", o.skipped, skipped)
	}
	if len(o.pods[0].spec.ImagePullSecrets) != 0 || o.pods[0].images()[0].PullPolicy != "Always" {
		t.Error("a misspelt field has an effect")
	}
}

func TestBadManifests(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "no pod or workload in the manifests",
		"{kind: Service, apiVersion: v1}": "no pod or workload in the manifests (standard input, document 1: Service)",
		"a: 1":                            "standard input, document 1: not a Kubernetes object: it has no kind",
		"[1, 2]":                          "standard input, document 1: not a Kubernetes object: json: cannot unmarshal array",
		"just text":                       "standard input, document 1: not a Kubernetes object: json: cannot unmarshal string",
		"a: 1\n b: {\n":                   "standard input, document 1: line 2: mapping values are not allowed in this context",
		"kind: Pod\n---\na: [\n":          "standard input, document 2: line 3: did not find expected node content",
		"# c\n---\nkind: Pod\nkind: Pod":  `standard input, document 1: line 4: key "kind" already set in map`,
		"image: {{ .Values.image }}":      "standard input, document 1: ",
		"a: \x01":                         "standard input, document 1: control characters are not allowed",
		"{kind: Pod, apiVersion: v1, metadata: {name: web}}":                                  "standard input, document 1: Pod web: no containers",
		"{kind: Pod, apiVersion: v1, metadata: {name: web}, spec: {containers: x}}":           "standard input, document 1: Pod web: json: cannot unmarshal string into Go struct field PodSpec.spec.containers",
		"{kind: List, apiVersion: v1, items: [{kind: List, items: [{}]}]}":                    "standard input, document 1: item 1: item 1: not a Kubernetes object: it has no kind",
		"{kind: Secret, apiVersion: v1, metadata: {name: s}, data: {a: '" + password + "!'}}": "standard input, document 1: Secret s: illegal base64 data at input byte",
		"{kind: Secret, apiVersion: v1, metadata: {name: s}, data: [" + password + "]}":       "standard input, document 1: Secret s: json: cannot unmarshal array",
		"{kind: Secret, apiVersion: v1, metadata: {name: s}, stringData: {p: 12345678}}":      "standard input, document 1: Secret s: json: cannot unmarshal number into Go struct field",
		"kind: Secret\nstringData:\n  a: " + password + ": x\n":                               "standard input, document 1: line 3: mapping values are not allowed in this context",
	} {
		o, err := load(Options{Files: []string{"-"}}, strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || o != nil {
			t.Errorf("%q: %v, error %v, want %s", text, o, err, want)
			continue
		}
		if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "12345678") {
			t.Errorf("%q: the error shows what is in it: %v", text, err)
		}
	}
}

// What lists have in them is not read without bound, however deep or long they are.
func TestBoundedLists(t *testing.T) {
	t.Parallel()
	const pod = "{kind: Pod, apiVersion: v1, spec: {containers: [{name: app, image: a}]}}"
	inLists := func(n int) string {
		return strings.Repeat("{kind: List, apiVersion: v1, items: [", n) + pod + strings.Repeat("]}", n)
	}
	if o := loaded(t, inLists(maxLists)); len(o.pods) != 1 {
		t.Errorf("%d pods in %d lists, want 1", len(o.pods), maxLists)
	}
	for name, text := range map[string]string{
		"deep": inLists(maxLists + 1),
		"long": `{"kind":"XList","apiVersion":"v1","items":[` + strings.Repeat("{},", maxDocuments) + "{}]}",
	} {
		if _, err := load(Options{Files: []string{"-"}}, strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "a list of more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Objects may be in any file, before or after their references.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := write(t, filepath.Join(dir, "1.yaml"), "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: app, image: a}]}}")
	second := write(t, filepath.Join(dir, "2.json"), `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"},"imagePullSecrets":[{"name":"s"},{"name":""}]}`)
	o, err := load(Options{Files: []string{first, "-", second}, Namespace: "shop"}, strings.NewReader("{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {serviceAccountName: builder, containers: [{name: app, image: a}]}}"))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.pods) != 2 || o.pods[0].at != first+", document 1" || o.pods[1].at != "standard input, document 1" || o.pods[0].namespace != "shop" {
		t.Errorf("pods %+v", o.pods)
	}
	if names, unknown := o.pullSecrets(&o.pods[0]); !slices.Equal(names, []string{"s"}) || unknown != "" {
		t.Errorf("pull secrets %q, unknown %q", names, unknown)
	}
	if names, unknown := o.pullSecrets(&o.pods[1]); names != nil || unknown != "builder" {
		t.Errorf("pull secrets %q, unknown %q", names, unknown)
	}
}

// A pod gets its service account's secrets only if it has none of its own
// (admission plugin ServiceAccount).
func TestPullSecrets(t *testing.T) {
	t.Parallel()
	const accounts = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}, imagePullSecrets: [{name: of-default}]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder}, imagePullSecrets: [{name: of-builder}, {name: more}]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: bare}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: other}, imagePullSecrets: [{name: of-other}]}
---
`
	for spec, want := range map[string]string{
		"":                                  `["of-default"] ""`,
		"serviceAccountName: builder, ":     `["of-builder" "more"] ""`,
		"serviceAccount: builder, ":         `["of-builder" "more"] ""`,
		"serviceAccountName: bare, ":        `[] ""`,
		"serviceAccountName: none, ":        `[] "none"`,
		"imagePullSecrets: [{name: own}], ": `["own"] ""`,
		"imagePullSecrets: [{name: own}, {name: ''}, {name: two}], ": `["own" "two"] ""`,
		"imagePullSecrets: [{}], ":                                   `[] ""`,
	} {
		o := loaded(t, accounts+"{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {"+spec+"containers: [{name: app, image: a}]}}")
		names, unknown := o.pullSecrets(&o.pods[0])
		if got := fmt.Sprintf("%q %q", names, unknown); got != want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	o := loaded(t, `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: a}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: s, uid: u-1, creationTimestamp: "2026-01-02T03:04:05Z", managedFields: [{time: "2026-02-02T03:04:05Z"}, {time: "2026-01-03T03:04:05Z"}, {}]}
data: {a: `+basic("u", "p")+`, b: `+basic("u", "p")+`}
stringData: {b: plain}
---
{apiVersion: v1, kind: Secret, type: t, metadata: {name: s, namespace: b}}
---
{apiVersion: v1, kind: Secret, type: t, metadata: {name: s, namespace: a}}
`)
	got, err := fromFiles{o}.Secret(t.Context(), "default", "s")
	want := kube.Secret{Type: "Opaque", UID: "u-1", Changed: time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC)}
	if data := got.Data.Reveal(); string(data["a"]) != "u:p" || string(data["b"]) != "plain" || len(data) != 2 {
		t.Errorf("data of %d keys", len(data))
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, error %v, want %v", got, err, want)
	}
	for name, want := range map[string]string{
		"s": "secret s in namespace shop is not in the files, so it was not tried; it may exist in the cluster; the files have that name only in other namespaces: a, b, default",
		"t": "secret t in namespace shop is not in the files, so it was not tried; it may exist in the cluster",
	} {
		if _, err := (fromFiles{o}).Secret(t.Context(), "shop", name); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
	if s := fmt.Sprintf("%v %+v", o, o); strings.Contains(s, "u:p") {
		t.Errorf("shows %s", s)
	}
}

// Where nobody reads them, pull secrets are noted, with the place where they belong.
func TestMisplacedPullSecrets(t *testing.T) {
	t.Parallel()
	const container = "containers: [{name: app, image: a}]"
	for text, want := range map[string]string{
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {imagePullSecrets: [{name: s}], template: {spec: {" + container + "}}}}": "Deployment d: nobody reads imagePullSecrets in spec; it belongs in spec.template.spec, beside containers",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, imagePullSecrets: [{name: s}], spec: {template: {spec: {" + container + "}}}}": "Deployment d: nobody reads imagePullSecrets in the object itself; it belongs in spec.template.spec, beside containers",
		"{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: app, image: a, imagePullSecrets: [{name: s}]}]}}":               "Pod p: nobody reads imagePullSecrets in spec.containers[0]; it belongs in spec, beside containers",
		"{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {imagePullSecrets: [{name: s}], " + container + "}}":                                 "",
	} {
		o, err := load(Options{Files: []string{"-"}}, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(strings.Join(o.notes, "\n"), "standard input, document 1: "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
