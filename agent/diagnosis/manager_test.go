package diagnosis

import (
	"strings"
	"testing"
)

func TestManagerOf(t *testing.T) {
	type m = map[string]string
	for name, tt := range map[string]struct {
		labels, annotations m
		want                Manager
	}{
		"nothing": {},
		"Argo CD, tracking by annotation": {
			annotations: m{"argocd.argoproj.io/tracking-id": "shop-web:apps/Deployment:shop/web"}, want: Manager{ToolArgoCD, "", "shop-web"},
		},
		"Argo CD, an application in another namespace": {
			annotations: m{"argocd.argoproj.io/tracking-id": "team_web:apps/Deployment:shop/web"}, want: Manager{ToolArgoCD, "team", "web"},
		},
		"Argo CD, tracking by label": {labels: m{"argocd.argoproj.io/instance": "shop-web"}, want: Manager{ToolArgoCD, "", "shop-web"}},
		"Argo CD renders a chart": {
			labels:      m{"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"},
			annotations: m{"argocd.argoproj.io/tracking-id": "shop-web:apps/Deployment:shop/web"}, want: Manager{ToolArgoCD, "", "shop-web"},
		},
		"Flux": {
			labels: m{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
			want:   Manager{ToolFluxKustomization, "flux-system", "apps"},
		},
		"Flux installs a chart": {
			labels:      m{"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop", "app.kubernetes.io/managed-by": "Helm"},
			annotations: m{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"},
			want:        Manager{ToolFluxHelmRelease, "shop", "web"},
		},
		"Helm": {
			labels:      m{"app.kubernetes.io/managed-by": "Helm"},
			annotations: m{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}, want: Manager{ToolHelm, "shop", "web"},
		},
		"a chart's labels on a pod":     {labels: m{"helm.sh/chart": "web-1.2.3", "app.kubernetes.io/instance": "web"}, want: Manager{ToolHelm, "", "web"}},
		"a chart's labels, no instance": {labels: m{"app.kubernetes.io/managed-by": "Helm"}, want: Manager{Tool: ToolHelm}},
		"an old chart's labels":         {labels: m{"heritage": "Helm", "release": "web"}, want: Manager{ToolHelm, "", "web"}},
		"an instance of anything":       {labels: m{"app.kubernetes.io/instance": "web", "app.kubernetes.io/managed-by": "make"}},
		"a name that cannot be":         {labels: m{"argocd.argoproj.io/instance": "Shop Web"}, want: Manager{Tool: ToolArgoCD}},
		"a namespace that cannot be":    {labels: m{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "a b"}, want: Manager{ToolFluxKustomization, "", "apps"}},
		"a tracking id of two names":    {annotations: m{"argocd.argoproj.io/tracking-id": "a_b_c:x"}, want: Manager{Tool: ToolArgoCD}},
		"a name that is too long":       {annotations: m{"meta.helm.sh/release-name": strings.Repeat("a", 300)}, want: Manager{Tool: ToolHelm}},
	} {
		if got := ManagerOf(tt.labels, tt.annotations); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// TestManagerOfHostileNames: whoever writes a pod chooses these texts.
func TestManagerOfHostileNames(t *testing.T) {
	for _, text := range append(hostile(), payloads()...) {
		for _, key := range []string{
			"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "meta.helm.sh/release-name", "meta.helm.sh/release-namespace",
			"helm.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/name", "app.kubernetes.io/managed-by", "helm.sh/chart",
		} {
			set := map[string]string{key: text, "app.kubernetes.io/instance": text}
			if m := ManagerOf(set, set); m.Name != "" && !validName(m.Name) || m.Namespace != "" && !validName(m.Namespace) {
				t.Errorf("%s: %q gives %+v", key, text, m)
			}
		}
	}
}

func TestManagerWords(t *testing.T) {
	for m, want := range map[Manager]string{
		{}:                           "",
		{Tool: ToolArgoCD}:           "Argo CD",
		{ToolArgoCD, "", "web"}:      "Argo CD application web",
		{ToolHelm, "shop", "web"}:    "Helm release web in namespace shop",
		{ToolExternalSecret, "", ""}: "An ExternalSecret",
	} {
		if got := m.String(); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
	for tool, words := range toolWords {
		if of := (Manager{Tool: tool}); words.tool == "" || words.object == "" || (of.Source() == "") != (words.until == "") {
			t.Errorf("%s: %+v", tool, words)
		}
	}
}

// TestRolloutOfManySecrets: a list that is not known whole is not written.
func TestRolloutOfManySecrets(t *testing.T) {
	f := ordinary()
	f.Owner, f.PullSecrets, f.MoreSecrets = Owner{Kind: KindRollout, Name: "web"}, []string{"a"}, 1
	lines := (&facts{Failure: f}).patchPod("add the pull secret", attached("new"))
	if last := lines[len(lines)-1]; last != "kubectl -n shop edit rollout.argoproj.io/web" {
		t.Error(lines)
	}
	f.Owner.Name = "--context=x" // owners' names are not validated
	for _, line := range (&facts{Failure: f}).setImage("hub.example.com/a:1", "correct it") {
		if !strings.HasPrefix(line, "#") {
			t.Error(line)
		}
	}
}
