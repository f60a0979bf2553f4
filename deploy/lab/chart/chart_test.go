package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// namespaceObject is only in the kustomization: Helm creates the namespace itself, to
// keep its records there.
const namespaceObject = "Namespace//whypull"

// assertSame checks that the chart renders the same objects as the kustomization.
func assertSame(t *testing.T, chart, kustomization map[string]Object) {
	t.Helper()
	delete(kustomization, namespaceObject)
	got, want := slices.Sorted(maps.Keys(chart)), slices.Sorted(maps.Keys(kustomization))
	if !slices.Equal(got, want) {
		t.Errorf("the chart renders %v\nthe kustomization %v", got, want)
	}
	for _, key := range want {
		if chart[key] == nil {
			continue
		}
		if c, k := canonical(t, chart[key]), canonical(t, kustomization[key]); c != k {
			t.Errorf("%s differs:\n%s", key, difference(k, c))
		}
	}
}

// difference returns the lines that only one of two texts has.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for _, line := range w {
		if !slices.Contains(g, line) {
			out.WriteString("-" + line + "\n")
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			out.WriteString("+" + line + "\n")
		}
	}
	if out.Len() == 0 {
		return want + "\n--- the same lines in another order:\n" + got
	}
	return out.String()
}

// The chart and the kustomization render the same objects: by default, and for each
// value that has a component.
func TestSameObjects(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kubernetes, values string
		components         []string
	}{
		"default":          {newest, "", nil},
		"older cluster":    {oldest, "", []string{"components/direct-pod-access", "components/kubelet-identity", "no-impersonation"}},
		"no pod network":   {newest, "podNetwork: false", []string{"components/no-pod-network"}},
		"node credentials": {newest, "nodeCredentials: true", []string{"components/node-credentials"}},
		"providers":        {newest, "credentialProviders: {run: true}", []string{"components/credential-providers"}},
		"pod condition":    {newest, "podCondition: true", []string{"components/pod-condition"}},
		"systemd-resolved": {newest, "systemdResolved: true", []string{"components/systemd-resolved"}},
		"metrics auth":     {newest, "metrics: {auth: token}", []string{"components/metrics-auth"}},
		"image check":      {newest, "imageCheck: {enabled: true}", []string{"components/image-check"}},
		"monitoring":       {newest, "{podMonitor: {enabled: true}, prometheusRule: {enabled: true}}", []string{"monitoring"}},
		"dashboard":        {newest, "dashboard: {enabled: true}", []string{"components/dashboard"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := ""
			components := slices.DeleteFunc(c.components, func(s string) bool { return s == "no-impersonation" })
			if len(components) < len(c.components) {
				more = withoutImpersonation
			}
			assertSame(t, helm(t, c.kubernetes, c.values), kustomize(t, more, components...))
		})
	}
}

// withoutImpersonation removes the rules for constrained impersonation, which older API
// servers ignore: the component direct-pod-access keeps them, the chart does not render
// them.
const withoutImpersonation = `patches:
- target: {kind: ClusterRole, name: whypull-agent}
  patch: |
    - {op: remove, path: /rules/0}
    - {op: remove, path: /rules/0}
    - {op: remove, path: /rules/0}
`

// The right to request tokens of service accounts is there only where it is asked for, and
// in the namespaces that are named only: the chart binds the role there, the component
// leaves that to its user.
func TestTokenNamespaces(t *testing.T) {
	t.Parallel()
	const role = "ClusterRole//whypull-agent-tokens"
	mentions := func(objects map[string]Object) (out []string) {
		for key, o := range objects {
			if text := canonical(t, o); strings.Contains(text, "serviceaccounts") || strings.Contains(text, "agent-tokens") {
				out = append(out, key)
			}
		}
		slices.Sort(out)
		return out
	}
	for _, values := range []string{
		"", "credentialProviders: {run: true}", "credentialProviders: {tokenNamespaces: [team-a]}",
		"{secretAccess: kubelet, credentialProviders: {run: true, tokenNamespaces: [team-a]}}",
	} {
		if got := mentions(helm(t, newest, values)); len(got) > 0 {
			t.Errorf("%s: tokens in %q", values, got)
		}
	}
	if got := mentions(helm(t, oldest, "credentialProviders: {run: true, tokenNamespaces: [team-a]}")); len(got) > 0 {
		t.Errorf("an older cluster: tokens in %q", got)
	}
	if got := mentions(kustomize(t, "", "components/credential-providers")); len(got) > 0 {
		t.Errorf("the component without tokens: tokens in %q", got)
	}
	const one, other = "RoleBinding/team-a/whypull-agent-tokens", "RoleBinding/team-b/whypull-agent-tokens"
	rendered := helm(t, newest, "credentialProviders: {run: true, tokenNamespaces: [team-a, team-b]}")
	if got := mentions(rendered); !slices.Equal(got, []string{role, one, other}) {
		t.Errorf("tokens in %q", got)
	}
	for key, namespace := range map[string]string{one: "team-a", other: "team-b"} {
		text := canonical(t, rendered[key])
		if !strings.Contains(text, "  kind: ClusterRole\n  name: whypull-agent-tokens\n") || !strings.Contains(text, "- kind: ServiceAccount\n  name: whypull-agent\n  namespace: whypull\n") || rendered[key].field("namespace") != namespace {
			t.Errorf("%s:\n%s", key, text)
		}
	}
	delete(rendered, one)
	delete(rendered, other)
	components := kustomize(t, "", "components/credential-providers", "components/credential-provider-tokens")
	assertSame(t, rendered, components)
	want := "rules:\n- apiGroups:\n  - \"\"\n  resources:\n  - serviceaccounts\n  verbs:\n  - impersonate-on:associated-node:get\n" +
		"- apiGroups:\n  - \"\"\n  resources:\n  - serviceaccounts/token\n  verbs:\n  - impersonate-on:associated-node:create\n"
	if text := canonical(t, components[role]); !strings.HasSuffix(text, want) {
		t.Errorf("the role is\n%s", text)
	}
}

// The values without a counterpart in the kustomization take effect.
func TestValuesTakeEffect(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"image: {registry: hub.corp, tag: v9}":                                                "image: hub.corp/whypull/whypull:v9\n",
		"image: {registry: '', repository: team/whypull, tag: v9}":                            "image: team/whypull:v9\n",
		"image: {digest: 'sha256:" + strings.Repeat("0", 64) + "'}":                           "image: ghcr.io/whypull/whypull@sha256:" + strings.Repeat("0", 64) + "\n",
		"image: {pullSecrets: [{name: regcred}]}":                                             "imagePullSecrets:\n      - name: regcred\n",
		"extraArgs: [--log-level=debug]":                                                      "- --host-root=/host\n        - --log-level=debug\n",
		"extraEnv: [{name: WHYPULL_PULL_RETRY, value: 'off'}]":                                "- name: WHYPULL_PULL_RETRY\n          value: \"off\"\n",
		"extraVolumes: [{name: ca, configMap: {name: ca}}]":                                   "- configMap:\n          name: ca\n        name: ca\n",
		"extraVolumeMounts: [{name: ca, mountPath: /host/ca}]":                                "- mountPath: /host/ca\n          name: ca\n",
		"node: {seLinuxType: spc_t}":                                                          "seLinuxOptions:\n            type: spc_t\n",
		"node: {criSocket: /run/other/a.sock}":                                                "- mountPath: /run/other\n          name: runtime\n",
		"imageCheck: {enabled: true, interval: 90m}":                                          "- name: WHYPULL_IMAGE_CHECK_INTERVAL\n          value: 90m\n",
		"metrics: {podLabels: false}":                                                         "- name: WHYPULL_METRICS_POD_LABELS\n          value: \"false\"\n",
		"credentialProviders: {run: true, binDir: /home/kubernetes/bin}":                      "- mountPath: /host/home/kubernetes/bin\n          name: credential-providers\n          readOnly: true\n",
		"{podNetwork: false, credentialProviders: {run: true}}":                               "add:\n            - SYS_CHROOT\n            drop:\n",
		"{credentialProviders: {run: true}, resources: {limits: {memory: 300Mi}}}":            "memory: 300Mi\n",
		"secretAccess: none":                                                                  "- name: WHYPULL_SECRET_ACCESS\n          value: none\n",
		"{podLabels: {team: a}, commonLabels: {cost: b}, podAnnotations: {c: d}}":             "labels:\n        app.kubernetes.io/component: agent\n        app.kubernetes.io/name: whypull\n        team: a\n",
		"serviceMonitor: {enabled: true, interval: 45s, labels: {release: stack}}":            "interval: 45s\n",
		"podMonitor: {enabled: true, labels: {release: stack}}":                               "release: stack\n",
		"podMonitor: {enabled: true, authorization: {credentials: {name: a, key: token}}}":    "- authorization:\n      credentials:\n        key: token\n        name: a\n",
		"serviceMonitor: {enabled: true, authorization: {credentials: {name: b, key: k}}}":    "- authorization:\n      credentials:\n        key: k\n        name: b\n",
		"prometheusRule: {enabled: true, labels: {release: stack}}":                           "alert: WhypullPullFailingApplication\n",
		"dashboard: {enabled: true, namespace: grafana, annotations: {grafana_folder: Node}}": "grafana_dashboard: \"1\"\n",
		"resources: {limits: {memory: 128Mi}}":                                                "memory: 128Mi\n",
		"priorityClassName: high":                                                             "priorityClassName: high\n",
		"fullnameOverride: other":                                                             "policyName: other-own-node-only\n",
		"serviceAccount: {annotations: {a: b}}":                                               "annotations:\n    a: b\n",
	} {
		var all strings.Builder
		rendered := helm(t, newest, values)
		for _, key := range slices.Sorted(maps.Keys(rendered)) {
			all.WriteString(canonical(t, rendered[key]))
		}
		if !strings.Contains(all.String(), want) {
			t.Errorf("with %s the chart does not render\n%s\nbut\n%s", values, want, all.String())
		}
	}
	for key := range helm(t, newest, "flowSchema: {create: false}") {
		if strings.HasPrefix(key, "FlowSchema") || strings.HasPrefix(key, "PriorityLevelConfiguration") {
			t.Errorf("the chart renders %s", key)
		}
	}
	for key := range helm(t, newest, "admissionPolicy: {create: false}") {
		if strings.HasPrefix(key, "ValidatingAdmissionPolicy") {
			t.Errorf("the chart renders %s", key)
		}
	}
}

// Under whatever namespace and prefix an overlay gives, the FlowSchema is about the agents'
// account, and refers to their priority level.
func TestFlowSchemaOfAnOverlay(t *testing.T) {
	t.Parallel()
	objects := kustomize(t, "namespace: other\nnamePrefix: team-\n")
	schema, found := objects["FlowSchema/other/team-whypull-agents"]
	if _, level := objects["PriorityLevelConfiguration/other/team-whypull-agents"]; !found || !level {
		t.Fatalf("objects %q", slices.Sorted(maps.Keys(objects)))
	}
	text := canonical(t, schema)
	for _, want := range []string{"priorityLevelConfiguration:\n    name: team-whypull-agents\n", "serviceAccount:\n        name: team-whypull-agent\n        namespace: other\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the schema lacks\n%s\nin\n%s", want, text)
		}
	}
}

// The cluster's version decides which rights the agents get, unless a value does.
func TestIdentityByVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kubernetes, values string
		impersonates, pods bool
	}{
		{newest, "", true, false},
		{"v1.36.0-eks-1234567", "", true, false},
		{"v1.36.0-rc.1", "", true, false},
		{"v1.35.9+k3s1", "", false, true},
		{oldest, "", false, true},
		{oldest, "secretAccess: impersonate", true, false},
		{newest, "secretAccess: direct", false, true},
		{newest, "secretAccess: kubelet", false, true},
		{newest, "secretAccess: none", true, false},
	} {
		role := canonical(t, helm(t, c.kubernetes, c.values)["ClusterRole//whypull-agent"])
		if got := strings.Contains(role, "impersonate:associated-node"); got != c.impersonates {
			t.Errorf("%s %s: impersonates %v", c.kubernetes, c.values, got)
		}
		if got := strings.Contains(role, "  - pods\n  verbs:\n  - list\n  - watch\n"); got != c.pods {
			t.Errorf("%s %s: reads all pods %v", c.kubernetes, c.values, got)
		}
		if secrets := strings.Contains(role, "  - secrets\n  verbs:\n  - impersonate-on:associated-node:get\n  - impersonate-on:associated-node:watch\n"); secrets != (c.impersonates && c.values != "secretAccess: none") {
			t.Errorf("%s %s: reads secrets %v", c.kubernetes, c.values, secrets)
		}
	}
}

// The notes name the objects of the release and what the cluster cannot do.
func TestNotes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kubernetes, platform string
		limited              bool
	}{{newest, "eks", false}, {oldest, "kubeadm", false}, {oldest, "eks", true}} {
		files, err := Files(deployDir, c.kubernetes, "{fullnameOverride: other, platform: "+c.platform+"}")
		if err != nil {
			t.Fatal(err)
		}
		notes := files["whypull/templates/NOTES.txt"]
		if !strings.Contains(notes, "kubectl -n whypull rollout status daemonset/other-agent\n") || strings.Contains(notes, "read only where") != c.limited {
			t.Errorf("%s on Kubernetes %s:\n%s", c.platform, c.kubernetes, notes)
		}
	}
}

// All images have a fixed version, which is that of the chart.
func TestImageIsPinned(t *testing.T) {
	t.Parallel()
	set := canonical(t, kustomize(t, "")["DaemonSet/whypull/whypull-agent"])
	if !strings.Contains(set, "image: ghcr.io/whypull/whypull:v0.1.0\n") || !strings.Contains(read(t, "chart/Chart.yaml"), "\nversion: 0.1.0\nappVersion: 0.1.0\n") {
		t.Errorf("the version differs from the chart's:\n%s", set)
	}
}
