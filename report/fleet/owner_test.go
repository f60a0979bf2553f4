package fleet

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/kube/apitest"
)

func controlledBy(apiVersion, kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(name), Controller: new(true)}}
}

func TestManager(t *testing.T) {
	t.Parallel()
	argo := map[string]string{"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:team/web"}
	helm := map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	objects := map[string]metav1.ObjectMeta{
		"/apis/apps/v1/namespaces/team/replicasets/web-1":             {UID: "web-1", OwnerReferences: controlledBy("apps/v1", "Deployment", "web")},
		"/apis/apps/v1/namespaces/team/deployments/web":               {UID: "web", Annotations: argo, OwnerReferences: controlledBy("apps/v1", "Deployment", "more")},
		"/apis/apps/v1/namespaces/team/replicasets/old-1":             {UID: "another", Annotations: argo},
		"/apis/apps/v1/namespaces/team/statefulsets/db":               {UID: "db"},
		"/apis/batch/v1/namespaces/team/jobs/run-1":                   {UID: "run-1", OwnerReferences: controlledBy("batch/v1", "CronJob", "run")},
		"/apis/batch/v1/namespaces/team/cronjobs/run":                 {UID: "run", Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "$(id)"}},
		"/api/v1/namespaces/team/replicationcontrollers/rc":           {UID: "rc", Labels: helm},
		"/apis/argoproj.io/v1alpha1/namespaces/team/rollouts/canary":  {UID: "canary", Annotations: argo},
		"/apis/apps/v1/namespaces/team/replicasets/canary-1":          {UID: "canary-1", OwnerReferences: controlledBy("argoproj.io/v1alpha1", "Rollout", "canary")},
		"/apis/apps/v1/namespaces/team/daemonsets/../deployments/web": {UID: "../deployments/web", Annotations: argo},
	}
	for name, tt := range map[string]struct {
		owners   []metav1.OwnerReference
		labels   map[string]string
		want     diagnosis.Manager
		requests int
	}{
		"nobody's":              {},
		"its own labels":        {nil, helm, diagnosis.Manager{Tool: diagnosis.ToolHelm}, 0},
		"a Deployment's":        {controlledBy("apps/v1", "ReplicaSet", "web-1"), helm, diagnosis.Manager{Tool: diagnosis.ToolArgoCD, Name: "shop"}, 2},
		"a StatefulSet's":       {controlledBy("apps/v1", "StatefulSet", "db"), helm, diagnosis.Manager{Tool: diagnosis.ToolHelm}, 1},
		"a CronJob's":           {controlledBy("batch/v1", "Job", "run-1"), nil, diagnosis.Manager{Tool: diagnosis.ToolFluxKustomization}, 2},
		"a controller's":        {controlledBy("v1", "ReplicationController", "rc"), nil, diagnosis.Manager{Tool: diagnosis.ToolHelm}, 1},
		"a Rollout's":           {controlledBy("apps/v1", "ReplicaSet", "canary-1"), nil, diagnosis.Manager{Tool: diagnosis.ToolArgoCD, Name: "shop"}, 2},
		"not the one":           {controlledBy("apps/v1", "ReplicaSet", "old-1"), nil, diagnosis.Manager{}, 1},
		"may not be read":       {controlledBy("apps/v1", "Deployment", "secret"), helm, diagnosis.Manager{Tool: diagnosis.ToolHelm}, 1},
		"of another kind":       {controlledBy("example.com/v1", "Deployment", "web"), nil, diagnosis.Manager{}, 0},
		"a name that is a path": {controlledBy("apps/v1", "DaemonSet", "../deployments/web"), nil, diagnosis.Manager{}, 0},
		"owned, no controller":  {[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "web"}}, nil, diagnosis.Manager{}, 0},
		"a static pod's":        {controlledBy("v1", "Node", "n1"), nil, diagnosis.Manager{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := apitest.NewWith(t, func(w http.ResponseWriter, r apitest.Request) {
				meta, ok := objects[r.URL.Path]
				if !ok {
					apitest.Fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no")
					return
				}
				apitest.Write(w, "application/json", &metav1.PartialObjectMetadata{
					TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: meta,
				})
			})
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "x", Labels: tt.labels, OwnerReferences: tt.owners}}
			if got := client(t, s).Manager(t.Context(), p); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got := s.Lines(); len(got) != tt.requests || slices.ContainsFunc(got, func(l string) bool { return !strings.HasPrefix(l, "GET ") }) {
				t.Errorf("requests %q, want %d", got, tt.requests)
			}
		})
	}
}
