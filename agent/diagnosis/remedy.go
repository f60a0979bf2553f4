package diagnosis

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// remedy is what to run for this one failure. A line is a shell command or,
// with # in front, what a person has to know before the next one. What a
// person must fill in stands in <angle brackets>: a shell refuses such a line
// until it is filled in.
func remedy(cause Cause, x *facts) []string {
	mend := remedies()[cause]
	if mend == nil {
		return x.advise(cause)
	}
	lines := mend(x)
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}

func (x *facts) advise(cause Cause) []string {
	return []string{
		"# " + entry(cause).Advice,
		x.kubectl("describe pod", quote(x.Pod)),
	}
}

func remedies() map[Cause]func(*facts) []string {
	return map[Cause]func(*facts) []string{
		InvalidImageName:       mendName,
		ImageNotPresent:        mendNever,
		ImageNotVerifiedForPod: mendNotVerified,
		PullSecretMissing:      mendMissing,
		PullSecretMalformed:    mendMalformed,
		PullSecretNoMatch:      mendNoMatch,
		AuthenticationRequired: mendNoCredentials,
		CredentialsRejected:    mendRejected,
		CredentialsExpired:     mendRejected,
		AccessDenied:           mendDenied,
		DeniedOrNotFound:       mendDeniedOrNotFound,
		TagNotFound:            mendTag,
		RepositoryNotFound:     mendRepository,
		RegistryNameNotFound:   mendRegistryName,
		DNSFailure:             mendOnNode("getent ahosts"),
		ConnectionRefused:      mendPort,
		ConnectionTimeout:      mendOnNode("curl -sv --max-time 20"),
		NetworkUnreachable:     mendOnNode("curl -sv --max-time 20"),
		TLSUntrusted:           mendUntrusted,
		HTTPSMismatch:          mendHTTPS,
		NotReproducible:        func(x *facts) []string { return []string{x.kubectl("get pod", quote(x.Pod), "--watch")} },
	}
}

func (x *facts) kubectl(verb string, args ...string) string {
	return strings.Join(append([]string{"kubectl -n", quote(x.Namespace), verb}, args...), " ")
}

// --- images

func mendName(x *facts) []string {
	image := "<image>"
	if e, ok := x.first(CheckImage, FaultNameInvalid); ok && len(e.Candidates) > 0 {
		image = quote(e.Candidates[0])
	}
	return x.setImage(image)
}

func mendTag(x *facts) []string {
	e, ok := firstOf(x.origin(), FaultTagNotFound)
	if !ok || len(e.Candidates) == 0 {
		return x.setImage(quote(x.untagged()) + ":<tag>")
	}
	return x.setImage(quote(x.untagged() + ":" + e.Candidates[0]))
}

func mendRepository(x *facts) []string {
	return x.setImage(quote(x.Registry) + "/<repository>:<tag>")
}

func mendRegistryName(x *facts) []string {
	lines := []string{
		fmt.Sprintf("# if the name is right, node %s has to resolve it; ask there: getent ahosts %s", x.Node, quote(hostOnly(x.Registry))),
		"# if it is wrong, correct it:",
	}
	return append(lines, x.setImage("<registry>/"+quote(x.Repository+x.suffix()))...)
}

func mendPort(x *facts) []string {
	lines := []string{
		fmt.Sprintf("# nothing listens there: start the registry; ask from node %s: curl -sv --max-time 20 %s", x.Node, quote(x.endpoint()+"/v2/")),
		"# or, if host or port are wrong, correct them:",
	}
	return append(lines, x.setImage("<registry:port>/"+quote(x.Repository+x.suffix()))...)
}

// untagged is the image as written, without tag and digest.
func (x *facts) untagged() string {
	return strings.TrimSuffix(x.Image, x.suffix())
}

// suffix is the tag and digest of the image as written, with their marks.
func (x *facts) suffix() string {
	slash := strings.LastIndex(x.Image, "/") + 1
	if i := strings.IndexAny(x.Image[slash:], ":@"); i >= 0 {
		return x.Image[slash+i:]
	}
	return ""
}

// setImage changes the image where the pod comes from. image is a shell word.
func (x *facts) setImage(image string) []string {
	switch x.Kind {
	case KindEphemeralContainer:
		return []string{
			"# an ephemeral container cannot be changed; start another one:",
			x.kubectl("debug", quote(x.Pod), "--image="+image),
		}
	case KindImageVolume:
		return x.patchPod(map[string]any{"volumes": []any{
			map[string]any{"name": x.Container, "image": map[string]any{"reference": image}},
		}})
	case KindContainer, KindInitContainer:
	}
	if x.Owner.Kind == "" || slices.Contains(patchable(), x.Owner.Kind) {
		return []string{x.kubectl("set image", x.target(), quote(x.Container)+"="+image)}
	}
	return []string{
		fmt.Sprintf("# the pod is made by %s %s, whose template cannot be changed by kubectl set image: correct it there, until then:", x.Owner.Kind, x.Owner.Name),
		x.kubectl("set image", "pod/"+quote(x.Pod), quote(x.Container)+"="+image),
	}
}

// target is what kubectl is to change: the workload, or the pod itself.
func (x *facts) target() string {
	if slices.Contains(patchable(), x.Owner.Kind) {
		return strings.ToLower(x.Owner.Kind) + "/" + quote(x.Owner.Name)
	}
	return "pod/" + quote(x.Pod)
}

// patchable are the workloads whose pod template may be changed.
func patchable() []string {
	return []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"}
}

// --- policy

func mendNever(x *facts) []string {
	lines := []string{fmt.Sprintf("# load the image on node %s, or let the kubelet pull it:", x.Node)}
	return append(lines, x.patchPod(x.policy(map[string]any{}))...)
}

func mendNotVerified(x *facts) []string {
	spec := map[string]any{}
	if x.PullPolicy == "Never" {
		spec = x.policy(spec)
	}
	if x.credentialed() || x.matched() {
		return x.patchPod(spec)
	}
	name := x.newSecret()
	spec["imagePullSecrets"] = []any{map[string]any{"name": name}}
	return append([]string{x.createSecret(name)}, x.patchPod(spec)...)
}

// matched tells that a secret of the pod is for the image, whether or not it
// was tried.
func (x *facts) matched() bool {
	return slices.ContainsFunc(x.of(CheckCredentials), func(e Evidence) bool { return e.Outcome == Passed })
}

// policy adds imagePullPolicy IfNotPresent for the failing container.
func (x *facts) policy(spec map[string]any) map[string]any {
	switch x.Kind {
	case KindImageVolume:
		spec["volumes"] = []any{map[string]any{"name": x.Container, "image": map[string]any{"pullPolicy": "IfNotPresent"}}}
	case KindInitContainer:
		spec["initContainers"] = []any{map[string]any{"name": x.Container, "imagePullPolicy": "IfNotPresent"}}
	default:
		spec["containers"] = []any{map[string]any{"name": x.Container, "imagePullPolicy": "IfNotPresent"}}
	}
	return spec
}

// patchPod changes the pod's spec for good: in the workload's template, or, for
// a pod that nobody manages, by making it anew (most of its spec cannot be
// changed in place).
func (x *facts) patchPod(spec map[string]any) []string {
	if slices.Contains(patchable(), x.Owner.Kind) {
		template := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
		return []string{x.kubectl("patch", x.target(), "-p", quote(asJSON(template)))}
	}
	if secrets, ok := spec["imagePullSecrets"]; ok && len(spec) == 1 && x.Owner.Kind != "" && len(x.PullSecrets) == 0 {
		return x.patchServiceAccount(secrets)
	}
	if x.Owner.Kind != "" {
		return []string{fmt.Sprintf("# the pod is made by %s %s: put this in its pod template's spec and create it anew: %s", x.Owner.Kind, x.Owner.Name, asJSON(spec))}
	}
	// A pod may not be created with ephemeral containers in it.
	if x.Kind == KindEphemeralContainer {
		spec["ephemeralContainers"] = nil
	}
	patch := asJSON(map[string]any{"spec": spec})
	return []string{x.kubectl("patch", "pod/"+quote(x.Pod), "--dry-run=client -o json -p", quote(patch)) + " | kubectl replace --force -f -"}
}

// patchServiceAccount serves pods whose template cannot be changed, such as a
// Job's: the service account's secrets go into every new pod that names none
// (admission plugin ServiceAccount).
func (x *facts) patchServiceAccount(secrets any) []string {
	return []string{
		fmt.Sprintf("# every new pod of service account %s gets the secret; %s %s then makes the pod anew:", x.account(), x.Owner.Kind, x.Owner.Name),
		x.kubectl("patch serviceaccount", quote(x.account()), "-p", quote(asJSON(map[string]any{"imagePullSecrets": secrets}))),
		x.kubectl("delete pod", quote(x.Pod)),
	}
}

func (x *facts) account() string {
	if x.ServiceAccount == "" {
		return "default"
	}
	return x.ServiceAccount
}

// --- secrets

func mendMissing(x *facts) []string {
	var lines []string
	if names := x.secrets(FaultSecretMissing); len(names) > 0 {
		lines = append(lines, x.createSecret(names[0]))
	}
	return lines
}

func mendMalformed(x *facts) []string {
	if e, ok := x.first(CheckCredentials, FaultSecretMalformed); ok {
		return []string{x.replaceSecret(e.Secret, false)}
	}
	e, ok := x.first(CheckCredentials, FaultSecretWrongType, FaultSecretEmpty)
	if !ok {
		return x.advise(PullSecretMalformed)
	}
	// A secret's type cannot be changed in place.
	return []string{x.replaceSecret(e.Secret, e.Fault == FaultSecretWrongType)}
}

func mendNoMatch(x *facts) []string {
	e, ok := x.first(CheckCredentials, FaultNoMatchingCredential)
	if !ok {
		return x.advise(PullSecretNoMatch)
	}
	return x.renew(e)
}

// renew replaces a secret in place where that loses nothing but the one entry
// that is of no use here, and adds another secret where it would.
func (x *facts) renew(e Evidence) []string {
	if len(e.Hosts) > 1 {
		return x.addSecret()
	}
	var lines []string
	if len(e.Hosts) == 1 && e.Fault == FaultNoMatchingCredential {
		lines = append(lines, fmt.Sprintf("# this replaces the secret's only entry, for %s; if other pods need that, take another name and add it to imagePullSecrets", e.Hosts[0]))
	}
	return append(lines, x.replaceSecret(e.Secret, false))
}

func mendNoCredentials(x *facts) []string { return x.addSecret() }

func mendRejected(x *facts) []string {
	names := used(x.rejected())
	if len(names) == 0 {
		return x.advise(CredentialsRejected)
	}
	return x.renew(x.secret(names[0]))
}

func mendDenied(x *facts) []string {
	names := used(x.denied())
	if len(names) == 0 {
		return x.advise(AccessDenied)
	}
	lines := []string{fmt.Sprintf("# have the user of secret %s granted pull on %s, or take another user:", names[0], x.Repository)}
	return append(lines, x.renew(x.secret(names[0]))...)
}

// secret is the credentials check's evidence about one secret.
func (x *facts) secret(name string) Evidence {
	for _, e := range x.of(CheckCredentials) {
		if e.Secret == name {
			return e
		}
	}
	return Evidence{Secret: name}
}

func mendDeniedOrNotFound(x *facts) []string {
	lines := []string{fmt.Sprintf("# check that %s/%s is spelled right; if it is, give the pod credentials that may pull it:", x.Registry, x.Repository)}
	return append(lines, x.addSecret()...)
}

// addSecret makes a new secret and gives it to the pod.
func (x *facts) addSecret() []string {
	name := x.newSecret()
	attach := x.patchPod(map[string]any{"imagePullSecrets": []any{map[string]any{"name": name}}})
	return append([]string{x.createSecret(name)}, attach...)
}

// newSecret is a name for a secret for the image's registry, as the API
// server allows it.
func (x *facts) newSecret() string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(x.Registry))
	return "pull-" + strings.Trim(name, "-.")
}

func (x *facts) createSecret(name string) string {
	return x.kubectl("create secret docker-registry", quote(name),
		"--docker-server="+quote(server(x.Registry)), "--docker-username=<username>", "--docker-password=<password>")
}

func (x *facts) replaceSecret(name string, force bool) string {
	verb := " | kubectl replace"
	if force {
		verb += " --force"
	}
	return x.createSecret(name) + " --dry-run=client -o yaml" + verb + " -f -"
}

// server is the key under which the kubelet finds a credential for a registry
// (credentialprovider: Docker Hub's images are found by its old index name).
func server(registry string) string {
	if registry == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return registry
}

// --- node

// mendOnNode says what to ask on the node, with the command that shows it.
func mendOnNode(command string) func(*facts) []string {
	return func(x *facts) []string {
		what := quote(x.endpoint() + "/v2/")
		if !strings.HasPrefix(command, "curl") {
			what = quote(hostOnly(x.Registry))
		}
		return []string{fmt.Sprintf("# on node %s:", x.Node), command + " " + what}
	}
}

// endpoint is the image's own registry as it was talked to.
func (x *facts) endpoint() string {
	for _, e := range x.of(CheckRegistry) {
		if !e.Mirror && e.Endpoint != "" {
			return e.Endpoint
		}
	}
	return "https://" + x.Registry
}

func mendUntrusted(x *facts) []string {
	dir := x.hostsDir()
	url := "https://" + x.Registry
	return []string{
		fmt.Sprintf("# on node %s, with the CA certificate of %s in <ca.crt>:", x.Node, x.Registry),
		"install -D -m 0644 <ca.crt> " + quote(dir+"/ca.crt"),
		hostsFile(dir, `server = "`+url+`"`, `[host."`+url+`"]`, `ca = "ca.crt"`),
	}
}

func mendHTTPS(x *facts) []string {
	dir := x.hostsDir()
	url := "http://" + x.Registry
	if strings.HasPrefix(x.endpoint(), "http://") {
		url = "https://" + x.Registry
	}
	return []string{
		fmt.Sprintf("# on node %s:", x.Node),
		"mkdir -p " + quote(dir),
		hostsFile(dir, `server = "`+url+`"`, `[host."`+url+`"]`),
	}
}

func hostsFile(dir string, lines ...string) string {
	words := make([]string, len(lines))
	for i, l := range lines {
		words[i] = quote(l)
	}
	return "printf '%s\\n' " + strings.Join(words, " ") + " > " + quote(dir+"/hosts.toml")
}

// hostsDir is where containerd looks for the registry's hosts.toml.
func (x *facts) hostsDir() string {
	root := "/etc/containerd/certs.d"
	for _, e := range x.of(CheckRegistry) {
		if e.ConfigDir != "" {
			root = e.ConfigDir
		}
	}
	return root + "/" + x.Registry
}

func hostOnly(registry string) string {
	if i := strings.LastIndex(registry, ":"); i > strings.LastIndex(registry, "]") {
		registry = registry[:i]
	}
	return strings.Trim(registry, "[]")
}

// --- words

// quote makes s one word for a POSIX shell, as it is where that is safe.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func unsafeRune(r rune) bool {
	ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	return !ok
}

// asJSON renders a patch; json.Marshal cannot fail on maps of strings.
func asJSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return "{}"
	}
	return strings.TrimSpace(b.String())
}
