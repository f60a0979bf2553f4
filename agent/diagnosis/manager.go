package diagnosis

import (
	"cmp"
	"fmt"
	"strings"
)

// Tool is a program that keeps objects of a cluster as they are in a source of its
// own, so that a change made only in the cluster does not last.
type Tool string

// The tools.
const (
	ToolArgoCD            Tool = "Argo CD"
	ToolFluxKustomization Tool = "Flux Kustomization"
	ToolFluxHelmRelease   Tool = "Flux HelmRelease"
	ToolHelm              Tool = "Helm"
	ToolExternalSecret    Tool = "ExternalSecret"
	ToolSealedSecret      Tool = "SealedSecret"
)

// toolWords are what remedies say about a tool.
var toolWords = map[Tool]struct{ tool, object, source, until string }{ //nolint:gochecknoglobals // never written
	ToolArgoCD:            {"Argo CD", "Argo CD application", "in the source of the application", "the next sync"},
	ToolFluxKustomization: {"Flux", "Flux Kustomization", "in the source of the Kustomization", "the next reconciliation"},
	ToolFluxHelmRelease:   {"Flux", "Flux HelmRelease", "in the values of the HelmRelease", "the next reconciliation"},
	ToolHelm:              {"Helm", "Helm release", "in the values or the chart of the release", "the next upgrade"},
	ToolExternalSecret:    {tool: "An ExternalSecret", object: "ExternalSecret"},
	ToolSealedSecret:      {tool: "A SealedSecret", object: "SealedSecret"},
}

// Manager is the tool's object that an object of the cluster comes from. The zero
// value: none is known. Whoever writes the object chooses the names.
type Manager struct {
	Tool Tool
	// Namespace and Name are "" if they are not known, or not valid.
	Namespace, Name string
}

// NewManager returns a manager without names that the API server would refuse.
func NewManager(tool Tool, namespace, name string) Manager {
	m := Manager{Tool: tool}
	if validName(name) {
		m.Name = strings.Clone(name) // of an annotation that may be large
		if validName(namespace) {
			m.Namespace = strings.Clone(namespace)
		}
	}
	return m
}

// ManagerOf returns the manager that an object's labels and annotations name. Flux and
// Argo CD come before Helm, because a chart's labels do not show who has rendered it.
func ManagerOf(labels, annotations map[string]string) Manager {
	const flux, helm = ".toolkit.fluxcd.io/", "meta.helm.sh/release-"
	either := func(key string) string { return cmp.Or(annotations[key], labels[key]) }
	if name := labels["helm"+flux+"name"]; name != "" {
		return NewManager(ToolFluxHelmRelease, labels["helm"+flux+"namespace"], name)
	}
	if name := labels["kustomize"+flux+"name"]; name != "" {
		return NewManager(ToolFluxKustomization, labels["kustomize"+flux+"namespace"], name)
	}
	if id := either("argocd.argoproj.io/tracking-id"); id != "" {
		app, _, _ := strings.Cut(id, ":")
		namespace, name, found := strings.Cut(app, "_")
		if !found {
			namespace, name = "", app
		}
		return NewManager(ToolArgoCD, namespace, name)
	}
	switch app := either("argocd.argoproj.io/instance"); {
	case app != "":
		return NewManager(ToolArgoCD, "", app)
	case annotations[helm+"name"] != "":
		return NewManager(ToolHelm, annotations[helm+"namespace"], annotations[helm+"name"])
	case labels["app.kubernetes.io/managed-by"] == "Helm", labels["helm.sh/chart"] != "":
		return NewManager(ToolHelm, "", labels["app.kubernetes.io/instance"])
	case labels["heritage"] == "Helm":
		return NewManager(ToolHelm, "", labels["release"])
	}
	return Manager{}
}

// String returns the manager in words, such as "Argo CD application web in namespace
// team"; "" for none.
func (m Manager) String() string {
	words := toolWords[m.Tool]
	switch {
	case m.Name == "":
		return words.tool
	case m.Namespace == "":
		return words.object + " " + m.Name
	}
	return words.object + " " + m.Name + " in namespace " + m.Namespace
}

// Source returns where to change what the manager manages, such as "in the source of
// the application"; "" for none.
func (m Manager) Source() string { return toolWords[m.Tool].source }

// first returns the line in front of the commands that change an object.
func (m Manager) first(object string) []string {
	if m.Tool == "" {
		return nil
	}
	words := toolWords[m.Tool]
	return []string{comment("%s manages %s, so make this change "+words.source+". To try it in the cluster first, until "+words.until+":", m.String(), object)}
}

// managed returns the line in front of the commands that change the workload.
func (x *facts) managed() []string {
	if x.Offline || x.static() {
		return nil
	}
	if x.Owner.Kind == "" {
		return x.Manager.first("pod " + x.Pod)
	}
	if x.ofCronJob() {
		return x.Manager.first("the CronJob " + x.Owner.CronJob)
	}
	return x.Manager.first(x.owner())
}

// secret returns what is known of a pull secret; nothing, if the name is of another source.
func (x *facts) secret(name string) *CredentialFacts {
	e, _ := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.Credentials().Secret == name })
	return e.Credentials()
}

// changeSecret returns the lines that change a secret in the cluster, behind what its
// manager makes of that. retyped reports whether its type has to change.
func (x *facts) changeSecret(name string, retyped bool, lines []string) []string {
	m := x.secret(name).Manager
	switch {
	case x.Offline || !validName(name):
		return lines
	case m.Tool == ToolExternalSecret:
		return x.externalSecret(name, m, retyped)
	case m.Tool == ToolSealedSecret:
		return x.sealAgain(name, m)
	}
	return append(m.first("secret "+name), lines...)
}

// externalSecret is for a secret that the External Secrets Operator writes.
func (x *facts) externalSecret(name string, m Manager, retyped bool) []string {
	lines := []string{comment("%s writes secret %s and overwrites changes of it. Correct the credentials for %s in the store that it reads.", m.String(), name, server(x.Registry))}
	if retyped {
		lines = append(lines, comment("Set the type kubernetes.io/dockerconfigjson and the key .dockerconfigjson in spec.target.template of the ExternalSecret."))
	}
	const kind = "externalsecrets.external-secrets.io"
	show := x.kubectl("get", kind)
	if m.Name != "" {
		show = x.kubectl("describe", quote(kind+"/"+m.Name))
	}
	return append(lines, comment("See which entry of the store that is, and when it is read again:"), show)
}

// sealAgain is for a secret that the controller of Sealed Secrets writes. kubeseal
// prints the sealed secret, whose place is in a repository.
func (x *facts) sealAgain(name string, m Manager) []string {
	first := comment("%s writes secret %s and overwrites changes of it. Replace the SealedSecret with the output of kubeseal, where it comes from.", m.String(), name)
	return append([]string{first}, x.secretCommand("Seal", name, "--dry-run=client -o yaml", " | kubeseal --format yaml")...)
}

// KindRollout is the kind of an owner of Argo Rollouts, as kubectl takes it.
const KindRollout = "Rollout.argoproj.io"

// ofRollout reports whether Argo Rollouts makes the pod.
func (x *facts) ofRollout() bool { return x.Owner.Kind == KindRollout }

// setRolloutImage changes the image in a Rollout, for which kubectl set image has no
// support. A flag may not stand in front of a plugin's name.
func (x *facts) setRolloutImage(set, what string) []string {
	if !validName(x.Owner.Name) {
		return []string{comment("In %s, %s", x.owner(), what)}
	}
	return []string{
		comment("In %s, %s, with the kubectl plugin of Argo Rollouts:", x.owner(), what),
		fmt.Sprintf("kubectl argo rollouts -n %s set image %s %s", quote(x.Namespace), quote(x.Owner.Name), set),
	}
}

// patchRollout changes the pod template of a Rollout. A merge patch, the only kind that
// a custom resource has for this, replaces lists, so only that of the pull secrets
// can be written whole.
func (x *facts) patchRollout(what string, spec map[string]any) []string {
	target := quote(strings.ToLower(x.Owner.Kind) + "/" + x.Owner.Name)
	added, only := spec["imagePullSecrets"].([]any)
	if !only || len(spec) > 1 || x.MoreSecrets > 0 {
		return []string{comment("In the pod template of %s, %s: %s", x.owner(), what, asJSON(spec)), x.kubectl("edit", target)}
	}
	var all []any
	for _, name := range x.PullSecrets {
		all = append(all, map[string]any{"name": name})
	}
	patch := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"imagePullSecrets": append(all, added...)}}}}
	return []string{comment("In %s, %s:", x.owner(), what), x.kubectl("patch", target, "--type=merge -p", quote(asJSON(patch)))}
}
