package chart

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// platform is a row of deploy/chart/platforms.yaml. The file says what the fields mean.
type platform struct {
	Title, Socket, Config, RegistryConfigPath, Kubelet, Kubeconfig string
	Identity, IdentityFiles, Disks, Mounts                         []string
	NodeCredentials                                                bool
	SELinuxType                                                    string `json:"seLinuxType"`
	SCC, Quota                                                     bool
	Unsupported                                                    string
	Limits, Verified, Source                                       string
}

// standard is the row whose nodes the manifests in deploy/base are for.
const standard = "kubeadm"

// platforms returns all rows, with what they have from the first one, and their names in
// the order of the file.
func platforms(t *testing.T) (map[string]platform, []string) {
	t.Helper()
	text := read(t, "chart/platforms.yaml")
	var rows map[string]map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &rows); err != nil {
		t.Fatal(err)
	}
	out := map[string]platform{}
	for name, row := range rows {
		whole := maps.Clone(rows[standard])
		whole["verified"] = "Rendered, and accepted by the lab's API servers (dry run). The paths are from " + fmt.Sprint(row["source"]) + "."
		maps.Copy(whole, row)
		data, err := yaml.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var p platform
		if err := yaml.UnmarshalStrict(data, &p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = p
	}
	var names []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutSuffix(line, ":\n"); ok && !strings.HasPrefix(line, " ") {
			names = append(names, name)
		}
	}
	return out, names
}

// component returns the directory of a platform's component, or nothing if its nodes are
// those of the base.
func component(name string, p platform) string {
	if p.Unsupported != "" || patch(p) == "" && len(extraResources(p)) == 0 {
		return ""
	}
	return "components/platform-" + name
}

// identityComponent returns the directory of the component with the kubelet's
// certificate, or nothing if the platform has none.
func identityComponent(name string, p platform, base platform) string {
	switch {
	case p.Unsupported != "" || len(p.Identity)+len(p.IdentityFiles) == 0:
		return ""
	case slices.Equal(p.Identity, base.Identity) && slices.Equal(p.IdentityFiles, base.IdentityFiles):
		return "components/kubelet-identity"
	}
	return "components/kubelet-identity-" + name
}

const (
	componentHead = "# Generated from deploy/chart/platforms.yaml: cd deploy/lab && go test ./chart -update\n"
	componentKind = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
	patchHead     = `patches:
- target: {kind: DaemonSet, name: whypull-agent}
  patch: |
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {name: whypull-agent}
    spec:
      template:
        spec:
`
)

// components returns the generated components, by their path in deploy.
func components(t *testing.T) map[string]string {
	t.Helper()
	all, names := platforms(t)
	out := map[string]string{}
	for _, name := range names {
		p := all[name]
		if dir := component(name, p); dir != "" {
			text := componentHead + "# For nodes of " + p.Title + "; see deploy/docs/platforms.md.\n" + componentKind
			for i, file := range slices.Sorted(maps.Keys(extraResources(p))) {
				if i == 0 {
					text += "resources:\n"
				}
				text += "- " + file + "\n"
				out[path.Join(dir, file)] = componentHead + extraResources(p)[file]
			}
			if body := patch(p); body != "" {
				text += patchHead + body
			}
			out[path.Join(dir, "kustomization.yaml")] = text
		}
		if dir := identityComponent(name, p, all[standard]); dir == "components/kubelet-identity-"+name {
			out[path.Join(dir, "kustomization.yaml")] = componentHead + "# The component kubelet-identity with the paths of " + p.Title + ".\n" + componentKind + patchHead + identityPatch(p)
		}
	}
	return out
}

// patch returns what differs from the base in the pod template, as lines of a strategic
// merge patch.
func patch(p platform) string {
	base := platform{Socket: "/run/containerd/containerd.sock", Config: "/etc/containerd/config.toml", Kubelet: "/var/lib/kubelet", Disks: []string{"/var/lib/containerd/tmpmounts"}}
	var env, mounts, volumes []string
	set := func(name, value, before string) {
		if value != before {
			env = append(env, fmt.Sprintf("{name: WHYPULL_%s, value: %q}", name, value))
		}
	}
	move := func(volume, from, to, prefix, more string) {
		if from == to {
			return
		}
		if from != "" {
			mounts = append(mounts, fmt.Sprintf("{$patch: delete, mountPath: %s%s}", prefix, from))
		}
		mounts = append(mounts, fmt.Sprintf("{name: %s, mountPath: %s%s, readOnly: true}", volume, prefix, to))
		volumes = append(volumes, fmt.Sprintf("{name: %s, hostPath: {path: %s%s}}", volume, to, more))
	}
	set("CRI_SOCKET", "unix://"+p.Socket, "unix://"+base.Socket)
	set("CONTAINERD_CONFIG", p.Config, base.Config)
	set("REGISTRY_CONFIG_PATH", p.RegistryConfigPath, "")
	set("KUBELET_ROOT_DIR", p.Kubelet, base.Kubelet)
	move("runtime", path.Dir(base.Socket), path.Dir(p.Socket), "", "")
	move("image-records", base.Kubelet+"/image_manager", p.Kubelet+"/image_manager", "/host", "")
	for i, disk := range p.Disks {
		name, from := "image-disk", base.Disks[0]
		if i > 0 {
			name, from = fmt.Sprintf("image-disk-%d", i), ""
		}
		move(name, from, disk, "/host", "")
	}
	for i, dir := range p.Mounts {
		move(fmt.Sprintf("node-%d", i), "", dir, "/host", ", type: Directory")
	}
	if p.NodeCredentials {
		move("node-credentials", "", p.Kubelet+"/config.json", "/host", ", type: File")
	}
	var context []string
	if p.SELinuxType != "" {
		context = []string{"seLinuxOptions: {type: " + p.SELinuxType + "}"}
	}
	return template(env, context, mounts, volumes)
}

// identityPatch returns the mounts of the kubelet's certificate.
func identityPatch(p platform) string {
	var mounts, volumes []string
	for i, source := range slices.Concat(p.Identity, p.IdentityFiles) {
		name, kind := "kubelet-identity", ""
		if i > 0 {
			name += fmt.Sprintf("-%d", i)
		}
		if slices.Contains(p.IdentityFiles, source) {
			kind = ", type: File"
		}
		mounts = append(mounts, fmt.Sprintf("{name: %s, mountPath: /host%s, readOnly: true}", name, source))
		volumes = append(volumes, fmt.Sprintf("{name: %s, hostPath: {path: %s%s}}", name, source, kind))
	}
	return template(nil, nil, mounts, volumes)
}

// template returns the lines of a pod template, or nothing if there are none.
func template(env, context, mounts, volumes []string) string {
	container := section("            env:", "            - ", env) + section("            securityContext:", "              ", context) + section("            volumeMounts:", "            - ", mounts)
	if container != "" {
		container = "          containers:\n          - name: agent\n" + container
	}
	return container + section("          volumes:", "          - ", volumes)
}

func section(head, indent string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return head + "\n" + indent + strings.Join(lines, "\n"+indent) + "\n"
}

// extraResources returns the objects that only some platforms need, by file name.
func extraResources(p platform) map[string]string {
	out := map[string]string{}
	if p.SCC {
		out["scc.yaml"] = `# Without the SCC privileged, OpenShift rejects the agents' host paths, host network
# and SELinux type.
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: whypull-agent-scc
  namespace: whypull
  labels:
    app.kubernetes.io/name: whypull
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:openshift:scc:privileged
subjects:
- kind: ServiceAccount
  name: whypull-agent
  namespace: whypull
`
	}
	if p.Quota {
		out["quota.yaml"] = `# Without this quota, the cluster rejects critical pods outside of kube-system.
apiVersion: v1
kind: ResourceQuota
metadata:
  name: whypull-agent
  namespace: whypull
  labels:
    app.kubernetes.io/name: whypull
spec:
  scopeSelector:
    matchExpressions:
    - operator: In
      scopeName: PriorityClass
      values: [system-node-critical]
`
	}
	return out
}

// For each platform, the chart's preset and the components render the same objects, with
// and without constrained impersonation.
func TestPlatformsRenderTheSameObjects(t *testing.T) {
	t.Parallel()
	all, names := platforms(t)
	if len(names) != len(all) || len(all) < 15 {
		t.Fatalf("%d platforms, of which %v are in order", len(all), names)
	}
	for _, name := range names {
		p := all[name]
		if p.Unsupported != "" {
			continue
		}
		var parts []string
		if dir := component(name, p); dir != "" {
			parts = append(parts, dir)
		}
		assertSame(t, helm(t, newest, "platform: "+name), kustomize(t, "", parts...))
		parts = append(parts, "components/direct-pod-access")
		if dir := identityComponent(name, p, all[standard]); dir != "" {
			parts = append(parts, dir)
		}
		assertSame(t, helm(t, oldest, "platform: "+name), kustomize(t, withoutImpersonation, parts...))
	}
}

// An unsupported platform is refused with the reason.
func TestUnsupportedPlatforms(t *testing.T) {
	t.Parallel()
	all, _ := platforms(t)
	found := 0
	for name, p := range all {
		if p.Unsupported == "" {
			continue
		}
		found++
		if _, err := Files(deployDir, newest, "platform: "+name); err == nil || !strings.Contains(err.Error(), p.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found == 0 {
		t.Error("no platform is unsupported")
	}
}

// The schema and the description of the value platform have all platforms.
func TestPlatformsAreValues(t *testing.T) {
	t.Parallel()
	var s struct {
		Properties struct {
			Platform struct{ Enum []string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "chart/values.schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	all, names := platforms(t)
	if !slices.Equal(s.Properties.Platform.Enum, names) {
		t.Errorf("the schema has %v, the file %v", s.Properties.Platform.Enum, names)
	}
	supported := slices.DeleteFunc(names, func(n string) bool { return all[n].Unsupported != "" })
	if v := documented(t)[0]; v.path != "platform" || !strings.Contains(v.description, "One of "+strings.Join(supported, ", ")) {
		t.Errorf("values.yaml describes the platforms as %q, want %v", v.description, supported)
	}
}

// platformTables returns the tables of deploy/docs/platforms.md.
func platformTables(t *testing.T) string {
	t.Helper()
	all, names := platforms(t)
	var out strings.Builder
	out.WriteString("| platform | `platform:` | component | CRI socket | containerd's file | kubelet's folder | kubelet's kubeconfig | SELinux type |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range names {
		p := all[name]
		if p.Unsupported != "" {
			fmt.Fprintf(&out, "| %s | | | | | | | |\n", p.Title)
			continue
		}
		dir := "none needed"
		if c := component(name, p); c != "" {
			dir = "`" + path.Base(c) + "`"
		}
		config := "`" + p.Config + "`"
		if strings.Contains(p.Socket, "crio") {
			config = "(CRI-O)"
		}
		selinux := "the runtime's"
		if p.SELinuxType != "" {
			selinux = "`" + p.SELinuxType + "`"
		}
		fmt.Fprintf(&out, "| %s | `%s` | %s | `%s` | %s | `%s` | `%s` | %s |\n", p.Title, name, dir, p.Socket, config, p.Kubelet, p.Kubeconfig, selinux)
	}
	out.WriteString("\n| platform | secrets before Kubernetes 1.36 | limits | verified how |\n|---|---|---|---|\n")
	for _, name := range names {
		p := all[name]
		identity := "only by RBAC"
		if c := identityComponent(name, p, all[standard]); c != "" {
			identity = "`" + path.Base(c) + "`"
		}
		if p.Unsupported != "" {
			identity = ""
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", p.Title, identity, p.Limits, p.Verified)
	}
	return out.String()
}
