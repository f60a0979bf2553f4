package fleet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/report"
)

// controlled returns a pod with a controller.
func controlled(apiVersion, kind, name string, labels ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "x", Labels: map[string]string{}, OwnerReferences: controlledBy(apiVersion, kind, name)}}
	for i := 0; i < len(labels); i += 2 {
		p.Labels[labels[i]] = labels[i+1]
	}
	return p
}

func TestParseOwnerName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"deploy/web": "", "Deployment/web": "", "deployments.v1.apps/web": "", "rollout.argoproj.io/web.a": "", "kafkas.kafka.strimzi.io/k": "",
		"/web":      `"/web" is not TYPE/NAME, such as deploy/web`,
		"deploy/":   `"deploy/" is not TYPE/NAME, such as deploy/web`,
		"a/b/c":     `a/b/c: "b/c" is not a name: `,
		"deploy/W$": `deploy/W$: "W$" is not a name: `,
		"node/n1":   "node/n1: use --node n1 for the pods of a node",
	} {
		got, err := ParseOwnerName(text)
		if want == "" && (err != nil || got.String() != text) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

// What owns a pod is found from its own metadata, then from its controller's, and
// nothing else is read.
func TestOwned(t *testing.T) {
	t.Parallel()
	objects := map[string]metav1.ObjectMeta{
		"/apis/apps/v1/namespaces/team/deployments/web":              {UID: "web"},
		"/apis/apps/v1/namespaces/team/replicasets/web-1":            {UID: "web-1", OwnerReferences: controlledBy("apps/v1", "Deployment", "web")},
		"/apis/apps/v1/namespaces/team/replicasets/old-1":            {UID: "another", OwnerReferences: controlledBy("apps/v1", "Deployment", "web")},
		"/apis/apps/v1/namespaces/team/replicasets/alone":            {UID: "alone"},
		"/apis/batch/v1/namespaces/team/jobs/run-1":                  {UID: "run-1", OwnerReferences: controlledBy("batch/v1", "CronJob", "run")},
		"/apis/batch/v1/namespaces/team/jobs/set-1":                  {UID: "set-1", OwnerReferences: controlledBy("jobset.x-k8s.io/v1", "JobSet", "set")},
		"/apis/apps/v1/namespaces/team/statefulsets/db":              {UID: "db"},
		"/apis/batch/v1/namespaces/team/cronjobs/run":                {UID: "run"},
		"/apis/argoproj.io/v1alpha1/namespaces/team/rollouts/canary": {UID: "canary"},
	}
	const (
		owned   = "true"
		foreign = "false"
		refused = "no"
	)
	replicas := func(name string, labels ...string) *corev1.Pod {
		return controlled("apps/v1", "ReplicaSet", name, labels...)
	}
	job := func(name string) *corev1.Pod { return controlled("batch/v1", "Job", name) }
	for name, tt := range map[string]struct {
		owner    string
		pod      *corev1.Pod
		want     string
		requests string // the last words of their paths
	}{
		"nobody's":                     {"deploy/web", &corev1.Pod{}, foreign, ""},
		"by the hash":                  {"deploy/web", replicas("web-77", "pod-template-hash", "77"), owned, ""},
		"the hash of another":          {"deploy/web", replicas("db-77", "pod-template-hash", "77"), foreign, ""},
		"the hash of a Rollout":        {"deploy/canary", replicas("canary-7", "rollouts-pod-template-hash", "7"), foreign, ""},
		"a Rollout by its hash":        {"rollouts/canary", replicas("canary-7", "rollouts-pod-template-hash", "7"), owned, ""},
		"by the ReplicaSet":            {"deployment.apps/web", replicas("web-1"), owned, "web-1"},
		"a ReplicaSet of nobody":       {"deploy/web", replicas("alone"), foreign, "alone"},
		"a ReplicaSet with its name":   {"deploy/web", replicas("old-1"), foreign, "old-1"},
		"a ReplicaSet that is gone":    {"deploy/web", replicas("gone"), foreign, "gone"},
		"a ReplicaSet, may not":        {"deploy/web", replicas("secret"), refused, "secret"},
		"the ReplicaSet itself":        {"rs/web-1", replicas("web-1"), owned, ""},
		"another ReplicaSet":           {"rs/web-2", replicas("web-1"), foreign, ""},
		"a StatefulSet":                {"sts/db", controlled("apps/v1", "StatefulSet", "db"), owned, ""},
		"a StatefulSet in capitals":    {"StatefulSets/db", controlled("apps/v1", "StatefulSet", "db"), owned, ""},
		"of another group":             {"sts.example.com/db", controlled("apps/v1", "StatefulSet", "db"), foreign, "db"},
		"a DaemonSet of that name":     {"sts/db", controlled("apps/v1", "DaemonSet", "db"), foreign, ""},
		"a DaemonSet":                  {"ds/db", controlled("apps/v1", "DaemonSet", "db"), owned, ""},
		"a Job":                        {"job/run-1", job("run-1"), owned, ""},
		"a CronJob":                    {"cj/run", job("run-1"), owned, "run-1"},
		"another CronJob":              {"cronjob/walk", job("run-1"), foreign, "run-1"},
		"a CronJob, not by ReplicaSet": {"cronjob/web", replicas("web-1"), foreign, ""},
		"a controller":                 {"rc/c", controlled("v1", "ReplicationController", "c"), owned, ""},
		"a kind of anybody":            {"kafkas/k", controlled("kafka.strimzi.io/v1", "Kafka", "k"), owned, ""},
		"a kind's plural":              {"proxies.example.com/p", controlled("example.com/v1", "Proxy", "p"), owned, ""},
		"above a Job":                  {"jobset/set", job("set-1"), owned, "set-1"},
		"above a kind not read":        {"jobset/set", controlled("example.com/v1", "Part", "p"), foreign, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
				meta, ok := objects[r.URL.Path]
				switch {
				case ok:
					apitest.Write(w, "application/json", &metav1.PartialObjectMetadata{ObjectMeta: meta})
				case strings.HasSuffix(r.URL.Path, "/gone"):
					apitest.Fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
				default:
					apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no")
				}
			})
			owner, err := ParseOwnerName(tt.owner)
			if err != nil {
				t.Fatal(err)
			}
			f := client(t, s).Owned(owner)
			for range 2 {
				has, err := f.Has(t.Context(), tt.pod)
				got := fmt.Sprint(has)
				if err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			}
			lines := s.Lines()
			for i, l := range lines {
				lines[i] = l[strings.LastIndex(l, "/")+1:]
			}
			if got := strings.Join(slices.Compact(lines), " "); got != tt.requests || tt.want != refused && len(s.Lines()) > 1 {
				t.Errorf("requests %q, want %s once", s.Lines(), tt.requests)
			}
		})
	}
}

func TestOwnerExists(t *testing.T) {
	t.Parallel()
	s := apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
		switch {
		case r.URL.Path == "/apis/apps/v1/namespaces/team/deployments/web" && r.Header.Get("Accept") == metadataOnly:
			apitest.Write(w, "application/json", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "web"}})
		case strings.Contains(r.URL.Path, "/deployments/"):
			apitest.Fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, `deployments.apps "wbe" not found`)
		default:
			apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no")
		}
	})
	for text, want := range map[string]string{
		"deploy/web": "true, <nil>", "deploy/wbe": `false, deployments.apps "wbe" not found`, "sts/db": "false, <nil>", "kafka/k": "false, <nil>",
	} {
		owner, err := ParseOwnerName(text)
		if err != nil {
			t.Fatal(err)
		}
		exists, err := client(t, s).Owned(owner).Exists(t.Context(), "team")
		if got := fmt.Sprintf("%v, %v", exists, err); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Every kind that is read can be asked for by its kind, plural and short name.
func TestOwnerKinds(t *testing.T) {
	t.Parallel()
	for of, k := range ownerKinds {
		for _, resource := range []string{of.Kind, k.resource, k.short} {
			if resource == "" {
				continue
			}
			owner, err := ParseOwnerName(resource + "/x")
			if got, known := owner.kind(); err != nil || !known || got != k {
				t.Errorf("%s: %+v, %v", resource, got, err)
			}
		}
		if got := groupKind(metav1.OwnerReference{APIVersion: of.WithVersion("v1").GroupVersion().String(), Kind: of.Kind}); got != of {
			t.Errorf("%s is %s", of, got)
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	old := func(c *report.Container) { c.Since = "2026-01-01T11:00:00Z" }
	all := overview(
		failingPod("new", diagnosis.DiskFull, "full"),
		testPod("both", withContainer("side", "hub.test/side:1"), withStatus("side", waiting("ErrImagePull", "x")), stuck,
			withReport(verdict(diagnosis.DiskFull, "full", old), verdict(diagnosis.TagNotFound, "none", named(diagnosis.KindContainer, "side"), about("hub.test/side:1")))),
		testPod("silent", stuck), // changed an hour ago
	)
	for name, tt := range map[string]struct {
		causes []string
		since  time.Duration
		want   string
		groups int
	}{
		"all":            {nil, 0, "both/app both/side new/app silent/app", 3},
		"a cause":        {[]string{"DiskFull"}, 0, "both/app new/app", 1},
		"two causes":     {[]string{"DiskFull", "TagNotFound"}, 0, "both/app both/side new/app", 2},
		"another cause":  {[]string{"DNSFailure"}, 0, "", 0},
		"since":          {nil, 5 * time.Minute, "both/side new/app", 2},
		"since long":     {nil, 2 * time.Hour, "both/side new/app silent/app", 3},
		"both":           {[]string{"DiskFull"}, 5 * time.Minute, "new/app", 1},
		"since too long": {nil, time.Minute, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := all.Select(tt.causes, tt.since, noon())
			var got []string
			for _, p := range o.Pods {
				for _, c := range p.Containers {
					got = append(got, p.Name+"/"+c.Name)
				}
			}
			if strings.Join(got, " ") != tt.want || len(o.Groups) != tt.groups || o.Pods == nil || o.Groups == nil {
				t.Errorf("%q in %d groups, want %s in %d", got, len(o.Groups), tt.want, tt.groups)
			}
		})
	}
	if len(all.Pods[0].Containers) != 2 {
		t.Errorf("the overview itself has changed: %+v", all.Pods[0])
	}
}

func TestOwnersOfGroup(t *testing.T) {
	t.Parallel()
	hashed := func(p *corev1.Pod) {
		ownedBy("ReplicaSet", "web-5d7")(p)
		p.Labels = map[string]string{"pod-template-hash": "5d7"}
	}
	static := func(p *corev1.Pod) { p.OwnerReferences = controlledBy("v1", "Node", "n1") }
	rollout := func(p *corev1.Pod) { p.OwnerReferences = controlledBy("argoproj.io/v1alpha1", "Rollout", "web") }
	failingIn := func(name string, edits ...edit) *corev1.Pod {
		return failingPod(name, diagnosis.TagNotFound, "none", edits...)
	}
	for name, tt := range map[string]struct {
		pods []*corev1.Pod
		want string // the owners as JSON would have them
		line string
	}{
		"nobody's": {[]*corev1.Pod{failingIn("a"), failingIn("b")}, "[]", ""},
		"a node's": {[]*corev1.Pod{failingIn("a", static), failingIn("b", static)}, "[]", ""},
		"one each": {[]*corev1.Pod{failingIn("a", hashed), failingIn("b")}, "[{Deployment shop/web 1}]", ""},
		"a Deployment's": {[]*corev1.Pod{failingIn("a", ownedBy("StatefulSet", "db")), failingIn("b", hashed), failingIn("c", hashed)},
			"[{Deployment shop/web 2} {StatefulSet shop/db 1}]", "Deployment shop/web: 2 pods, StatefulSet shop/db: 1 pod"},
		"of namespaces": {[]*corev1.Pod{failingIn("a", hashed, in("a")), failingIn("b", hashed), failingIn("c", hashed, in("a"))},
			"[{Deployment a/web 2} {Deployment shop/web 1}]", "Deployment a/web: 2 pods, Deployment shop/web: 1 pod"},
		"a Rollout's": {[]*corev1.Pod{failingIn("a", rollout), failingIn("b", rollout)}, "[{Rollout.argoproj.io shop/web 2}]", "Rollout shop/web: 2 pods"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := overview(tt.pods...).Groups[0]
			if got := fmt.Sprint(g.Owners); got != tt.want || g.ownersLine() != tt.line || g.Owners == nil {
				t.Errorf("%s, %q\nwant %s, %q", got, g.ownersLine(), tt.want, tt.line)
			}
		})
	}
}

func TestViewOnly(t *testing.T) {
	t.Parallel()
	var v View
	v.Put(testPod("a", stuck))
	v.Put(testPod("b", stuck))
	o := v.Only(func(p *corev1.Pod) bool { return p.Name == "b" })
	if o.Has("shop/a") || !o.Has("shop/b") || !v.Has("shop/a") || v.Has("shop") {
		t.Errorf("%+v of %+v", o, v)
	}
	if none := (&View{}).Only(func(*corev1.Pod) bool { return true }); none.Failing() {
		t.Errorf("%+v", none)
	}
}

// A table says what it is limited to.
func TestTableOfSelection(t *testing.T) {
	t.Parallel()
	if got := overview().Table(Layout{}, noon(), "shop", "deploy/web", false); got != "No pod in namespace shop (only deploy/web) fails to pull an image.\n" {
		t.Error(got)
	}
	got := overview(failingPod("a", diagnosis.DiskFull, "full")).Table(Layout{}, noon(), "", "--node n\x1b", false)
	if !strings.Contains(got, "\n1 pod in all namespaces (only --node n) cannot pull its image, for 1 reason.\n") {
		t.Error(got)
	}
}
