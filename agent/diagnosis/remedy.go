package diagnosis

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// remedy returns what to run for this failure. A line is a shell command or, with
// # in front, what to know before the next one. What a person must fill in is in
// <angle brackets>: a shell refuses such a line until it is filled in.
func (x *facts) remedy(cause Cause) []string {
	var lines []string
	if of := x.row(cause).remedy; of != nil {
		lines = of(x)
	}
	if e, ok := x.redirected(); ok && e.Fault.Points() == cause && x.row(cause).kin&(kinName|kinConnection|kinTLS) != 0 {
		lines = x.hopRemedy(e, cause)
	}
	if len(lines) == 0 {
		lines = x.advise(cause)
	}
	if x.ofMirrorByText() && x.reading() == cause {
		lines = append(lines, x.mirrorByText()[:2]...)
	}
	if slices.Contains([]Cause{TagNotFound, RepositoryNotFound, DeniedOrNotFound, PolicyBlocked}, cause) {
		lines = x.withMoved(x.withCacheRule(cause, lines))
	}
	if image := x.meant(cause); image != "" {
		right := x.setImage(image, "use the name of the image instead of the address of its web page")
		if lines = append(right, lines...); x.row(cause).Place != OnTheWay { // the others are about the wrong name
			lines = right
		}
	}
	if full := x.fullName(); full != "" && cause != NotReproducible {
		lines = append([]string{comment("The image has no registry, so CRI-O uses %s. Write that name in the pod, because the kubelet selects credentials by the name as written.", full)}, lines...)
	}
	lines = x.withAbout(slices.DeleteFunc(lines, func(line string) bool { return line == "" }))
	for i := range lines {
		lines[i] = Printable(lines[i])
	}
	return lines
}

// advise returns the remedy of a cause that has none of its own.
func (x *facts) advise(cause Cause) []string {
	advice := x.row(cause).Advice
	if x.Offline {
		advice = cmp.Or(x.row(cause).offlineAdvice, advice)
	}
	if x.row(cause).Transient {
		return []string{comment("%s", advice), x.watch()}
	}
	return []string{comment("%s", advice), x.kubectl("describe", quote("pod/"+x.Pod))}
}

// fullName returns the name that CRI-O takes for a short one where that is not of
// docker.io, "" for any other.
func (x *facts) fullName() string {
	short := slices.ContainsFunc(x.all, func(e *Evidence) bool { return e.Endpoint.Image != "" })
	if !short || x.Registry == "docker.io" {
		return ""
	}
	return x.Registry + "/" + x.Repository
}

// watchRemedy watches the kubelet's next attempt.
func watchRemedy(x *facts) []string { return []string{x.watch()} }

func (x *facts) watch() string { return x.kubectl("get", quote("pod/"+x.Pod), "--watch") }

// needsCluster are the verbs of commands about what is in a cluster already.
var needsCluster = []string{"get", "describe", "edit", "debug", "delete"} //nolint:gochecknoglobals // never written

// kubectl returns a command, "" if there is no cluster for it.
func (x *facts) kubectl(verb string, args ...string) string {
	if x.Offline && slices.Contains(needsCluster, verb) {
		return ""
	}
	words := []string{"kubectl"}
	if x.Namespace != "" {
		words = append(words, "-n", quote(x.Namespace))
	}
	return strings.Join(append(append(words, verb), args...), " ")
}

// registryErrorRemedy is for a registry that rejects the tokens of its own token server.
func registryErrorRemedy(x *facts) []string {
	if x.refusedUpstream() {
		return []string{comment("On %s, correct the credentials of the cache for %s, such as the secret of a pull through cache rule or the endpoint of a proxy cache project. Also check that the upstream registry has the image under this name: official images of Docker Hub are in library/.", x.Registry, x.Repository), x.watch()}
	}
	e, ok := x.rejectedToken()
	if !ok {
		return nil
	}
	skew, why := e.Registry().Skew, "it does not have the key that signs them, or it expects another issuer or service"
	differ := skew == nil || *skew != 0
	switch {
	case skew == nil:
		why = "their clocks differ, " + why
	case differ:
		why = "their clocks differ"
	}
	lines := []string{comment("Ask the owner of %s why it rejects the tokens of its token server: "+why+". New credentials do not help.", x.Registry)}
	if differ {
		token := cmp.Or(e.Registry().TokenHost, x.host())
		lines = append(lines,
			comment("The header Date of each answer has the clock:"),
			"curl -sI --max-time 20 "+quote(x.endpoint()+"/v2/")+" "+quote(x.schemeOf(token)+"://"+token+"/"))
	}
	return lines
}

// --- images

func nameRemedy(x *facts) []string {
	what := "correct the image name"
	if x.Ref().hasLogin() {
		what = "take the credentials out of the image name, where everybody can read them: they belong in a pull secret"
	}
	if e, _ := x.first(CheckImage, FaultNameInvalid); len(e.Image().Candidates) > 0 {
		return x.setImage(e.Image().Candidates[0], what)
	}
	if image := x.Ref(); image.Valid() { // with a registry that the runtime does not take
		return x.setImage(strings.Replace(image.Written, x.Registry, blank("registry:port"), 1), "use a host name instead of the address")
	}
	return x.setImage(blank("image"), what)
}

func shortRemedy(x *facts) []string {
	return x.setImage(blank("registry")+"/"+x.Image, "add the registry to the image name")
}

func tagRemedy(x *facts) []string {
	e, _ := x.atOrigin(FaultTagNotFound)
	switch image := x.Ref(); {
	case x.childMissing():
		return []string{x.pushAgain(), x.watch()}
	case image.Digest != "" && image.Tag != "":
		return x.setImage(image.WithTag(image.Tag), "use the tag without the digest, which does not exist")
	case len(e.Registry().Candidates) == 0:
		return x.setImage(image.WithTag(blank("tag")), "use a tag that exists")
	default:
		return x.setImage(image.WithTag(e.Registry().Candidates[0]), "use the closest tag that exists, or push "+x.version()+" instead")
	}
}

func repositoryRemedy(x *facts) []string {
	_, page := x.atOrigin(FaultWebPage)
	if _, none := x.noAPI(); none || page {
		return append(x.respondent(), x.setImage(blank("registry")+"/"+x.Repository+x.Ref().Suffix(), "correct the registry if its name or port is wrong")...)
	}
	if name, ok := strings.CutPrefix(x.Repository, apiPath); ok && name != "" {
		return x.setImage(x.Registry+"/"+name+x.Ref().Suffix(), "take v2/ out of the image name")
	}
	return x.setImage(x.Registry+"/"+blank("repository")+":"+blank("tag"), "correct the repository")
}

func registryNameRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return resolveRemedy(x)
	}
	if e, ok := x.pod(); ok && e.DNS().Compared == ComparedOnlyPod && len(e.DNS().Addresses) > 0 {
		return x.clusterNameRemedy(e)
	}
	host := hostOnly(x.host())
	if e, ok := x.unresolved(FaultNameNotFound); ok && e.DNS().Sinkhole {
		return []string{
			comment("Allow %s in the DNS filter of the resolver of node %s, which answers 0.0.0.0. Or use a mirror. Check on the node:", host, x.Node),
			"getent ahosts " + quote(host),
		}
	}
	return append([]string{comment("If %s is correct, node %s must resolve it. Check on the node: getent ahosts %s", host, x.Node, host)},
		x.setImage(blank("registry")+"/"+x.Repository+x.Ref().Suffix(), "correct the registry if its name is wrong")...)
}

// clusterNameRemedy is for a registry's name that only the cluster's DNS knows,
// because nodes pull images.
func (x *facts) clusterNameRemedy(pod *Evidence) []string {
	host, address := hostOnly(x.host()), pod.DNS().Addresses[0]
	return append(x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix(), "use an address that nodes can reach, such as a NodePort, an ingress or a load balancer"),
		comment("Or forward the domain of %s from the resolver of the nodes to the cluster DNS and use that full name in the image. Or set an endpoint for it in hosts.toml. Or, if %s is the fixed address of a Service, on each node:", cmp.Or(pod.DNS().Name, host), address),
		"echo "+quote(address+" "+host)+" | tee -a /etc/hosts",
	)
}

func portRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return connectRemedy(x)
	}
	lines := append(x.correctHostsFile(), x.loadedHere()...)
	return append(append(lines, comment("Start the registry. Check from node %s: curl -sv --max-time 20 %s", x.Node, x.endpoint()+"/v2/")),
		x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix(), "correct the host and port if they are wrong")...)
}

// sandboxRemedy changes the node: pull secrets are never used for a sandbox image.
func sandboxRemedy(x *facts) []string {
	tools := x.tools()
	lines := []string{
		comment("On node %s, see why the runtime cannot pull the sandbox %s:", x.Node, "image"+after(". ", tools.crictl)),
		tools.pull + " " + quote(x.Image),
	}
	if e, found := x.first(CheckRegistry, FaultUnauthorized); found {
		set := "Set the credentials of %s in registry.configs in config.toml and restart containerd, because the runtime uses no pull secret for the sandbox image"
		switch {
		case tools.auth != "":
			set = "Set the credentials of %s in " + tools.auth + ", because the runtime uses no pull secret for the sandbox image"
		case x.crio():
			set = "Set the credentials of %s in the file that pause_image_auth_file in crio.conf names, because the runtime uses no pull secret for the sandbox image"
		}
		lines = append(lines, comment(set, hostOf(e.Endpoint.URL)))
	}
	return append(lines,
		comment("Or configure a sandbox image that the node can pull, and restart the runtime. Setting in containerd 2: %s. In containerd 1: sandbox_image. In CRI-O: pause_image", "sandbox in [plugins.\"io.containerd.cri.v1.images\".pinned_images]"),
		comment("The pod then starts on its own:"),
		x.watch(),
	)
}

// imageVolumeRemedy upgrades the runtime: one without image volumes cannot be
// configured to support them.
func imageVolumeRemedy(x *facts) []string {
	lines := []string{
		comment("Upgrade the container runtime of node %s to containerd 2.1, CRI-O 1.31 or later. See what it runs:", x.Node),
		x.kubectl("get", quote("node/"+x.Node), "-o", "wide"),
	}
	if x.Kind == KindImageVolume {
		lines = append(lines, comment("Until then, run the pod on another node, or replace volume %s with an emptyDir volume that an init container with the same image fills", x.Container))
	}
	return lines
}

// stalledRemedy restarts the runtime: the kubelet never cancels a pull, not even
// with its pod; the runtime does only if it has a limit
// (image_pull_progress_timeout), which containerd's transfer service ignores.
func stalledRemedy(x *facts) []string {
	tools := x.tools()
	if x.has(CheckPull, FaultWaitsForIt) {
		return []string{
			comment("On node %s, restart the runtime to cancel the stalled pull. %s Deleting the pod does not cancel it:", x.Node, tools.running),
			tools.restart,
			comment("To keep one pull from blocking others, set serializeImagePulls: false and maxParallelImagePulls in the kubelet configuration"),
		}
	}
	return []string{
		comment("On node %s, check that the registry responds:", x.Node),
		"curl -sv --max-time 20 -o /dev/null " + quote(x.endpoint()+"/v2/"),
		comment("When it does, restart the runtime to cancel the stalled pull. %s Deleting the pod does not cancel it:", tools.running),
		tools.restart,
	}
}

// diskFullRemedy frees space: the kubelet only removes images when the image
// store's file system is fuller than imageGCHighThresholdPercent, and looks at no
// other.
func diskFullRemedy(x *facts) []string {
	of := after(" ", strings.Join(x.directories(), " "))
	if x.intentUnrecorded() {
		of = " " + kubeletsRoot
	}
	tools := x.tools()
	then := comment("Then free space. The kubelet removes unused images only when the image store is fuller than imageGCHighThresholdPercent")
	if tools.prune != "" {
		then = comment("Then remove the images that no container uses, or free space in %s:", "another way"+after(". ", tools.crictl))
	}
	return []string{
		comment("On node %s, find the file system that has no bytes or no inodes left:", x.Node),
		"df -h" + of,
		"df -i" + of,
		then,
		tools.prune,
		comment("The kubelet retries on its own:"),
		x.watch(),
	}
}

// kubeletsRoot is the kubelet's default --root-dir.
const kubeletsRoot = "/var/lib/kubelet"

// directories returns a directory on each file system that could be seen, as words
// for a shell.
func (x *facts) directories() []string {
	var out []string
	for _, e := range x.of(CheckPull) {
		for _, d := range e.Disk().Seen() {
			if word := quote(d); !slices.Contains(out, word) {
				out = append(out, word)
			}
		}
	}
	return out
}

// setImage changes the image in the workload that creates the pod. what continues
// "In the Deployment web, …".
func (x *facts) setImage(image, what string) []string {
	if x.Offline {
		return []string{comment("Put image %s into the manifest, to %s", image, what)}
	}
	switch x.Kind {
	case KindEphemeralContainer:
		return []string{comment("Start another ephemeral container, because one cannot be changed, and %s:", what), x.debug("--image=" + quote(image))}
	case KindImageVolume:
		return x.patchPod(what, map[string]any{"volumes": []any{
			map[string]any{"name": x.Container, "image": map[string]any{"reference": image}},
		}})
	case KindContainer, KindInitContainer, KindSandbox:
	}
	set := quote(x.Container) + "=" + quote(image)
	switch {
	case x.static():
		return []string{comment("Put image %s into the manifest of static pod %s on node %s, to %s", image, x.Pod, x.Node, what)}
	case x.ofRollout():
		return append(x.managed(), x.setRolloutImage(set, what)...)
	case x.Owner.Kind == "" || x.patchable():
		lines := append(x.managed(), comment("In %s, %s:", x.place(), what), x.kubectl("set image", x.target(), set))
		return append(lines, x.recreate()...)
	}
	if x.ofCronJob() {
		return append(x.managed(),
			comment("In %s, %s:", x.cronJob(), what),
			x.kubectl("set image", quote("cronjob/"+x.Owner.CronJob), set),
			comment("Until its next Job, change the pod, because the template of %s cannot be changed:", x.owner()),
			x.kubectl("set image", quote("pod/"+x.Pod), set),
		)
	}
	if x.Owner.Kind == "Job" {
		what += " and create it again"
	}
	return append(x.managed(),
		comment("In %s, which creates the pod, %s. Until then, change the pod:", x.owner(), what),
		x.kubectl("set image", quote("pod/"+x.Pod), set),
	)
}

// debug starts an ephemeral container.
func (x *facts) debug(args ...string) string {
	return x.kubectl("debug", append([]string{quote("pod/" + x.Pod)}, args...)...)
}

// recreate deletes the pod if its owner does not replace it after a change of the
// template: a StatefulSet waits for a pod that is not ready, and these others never
// replace any.
func (x *facts) recreate() []string {
	if !slices.Contains([]string{"StatefulSet", "ReplicaSet", "ReplicationController"}, x.Owner.Kind) {
		return nil
	}
	return []string{comment("Delete the pod, because %s does not replace it on its own:", x.owner()), x.kubectl("delete", quote("pod/"+x.Pod))}
}

// static reports whether the pod comes from a file on its node.
func (x *facts) static() bool { return x.Owner.Kind == "Node" }

// patchable reports whether the owner has a pod template that may be changed.
func (x *facts) patchable() bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"}, x.Owner.Kind)
}

// target returns what kubectl has to change: the workload, or the pod itself.
func (x *facts) target() string {
	if x.patchable() {
		return quote(strings.ToLower(x.Owner.Kind) + "/" + x.Owner.Name)
	}
	return quote("pod/" + x.Pod)
}

// place names the target.
func (x *facts) place() string {
	if x.patchable() {
		return x.owner()
	}
	return "pod " + x.Pod
}

func (x *facts) owner() string {
	kind := x.Owner.Kind
	if x.ofRollout() {
		kind = "Rollout"
	}
	return fmt.Sprintf("the %s %s", kind, x.Owner.Name)
}

// ofCronJob reports whether the pod's Job is presumably one of a CronJob.
func (x *facts) ofCronJob() bool { return x.Owner.Kind == "Job" && x.Owner.CronJob != "" }

// cronJob names the CronJob and why it is thought to have created the Job.
func (x *facts) cronJob() string {
	return fmt.Sprintf("the CronJob %s, to which the Job %s belongs by its name", x.Owner.CronJob, x.Owner.Name)
}

// --- policy

func neverRemedy(x *facts) []string {
	if built := x.builtHere(); built != "" {
		return x.setImage(built, "use the name that the image has on the node")
	}
	return append([]string{comment("Load the image onto node %s, or let the kubelet pull it.", x.Node)}, x.allowPull(nil)...)
}

func notVerifiedRemedy(x *facts) []string {
	e, refused := x.first(CheckImage, FaultNotVerified)
	if len(e.Image().Candidates) > 0 {
		return x.setImage(e.Image().Candidates[0], "use the image name that the kubelet has recorded")
	}
	never := x.PullPolicy == "Never"
	if refused && e.Image().Record == RecordNoCredentials && never {
		return x.allowPull(nil)
	}
	var lines []string
	var spec map[string]any
	if !x.matched() && !x.credentialed() && !x.static() {
		secret := x.newSecret()
		if missing := x.secrets(FaultSecretMissing); slices.ContainsFunc(missing, validName) {
			secret = missing[slices.IndexFunc(missing, validName)]
		}
		lines = x.createSecret(secret)
		if !slices.Contains(x.PullSecrets, secret) {
			spec = attached(secret)
		}
	}
	switch {
	case never:
		return append(lines, x.allowPull(spec)...)
	case len(spec) > 0:
		return append(lines, x.attach(spec)...)
	}
	return lines
}

// allowPull changes the policy Never of the failing container to IfNotPresent,
// together with the changes in spec.
func (x *facts) allowPull(spec map[string]any) []string {
	what := "set the pull policy IfNotPresent"
	if len(spec) > 0 {
		what = "add the pull secret and " + what
	}
	spec = maps.Clone(spec)
	if spec == nil {
		spec = map[string]any{}
	}
	field, change := "containers", map[string]any{"name": x.Container, "imagePullPolicy": "IfNotPresent"}
	switch x.Kind {
	case KindImageVolume:
		field, change = "volumes", map[string]any{"name": x.Container, "image": map[string]any{"pullPolicy": "IfNotPresent"}}
	case KindInitContainer:
		field = "initContainers"
	case KindEphemeralContainer:
		if !x.Offline {
			return x.attach(spec)
		}
		field = "ephemeralContainers"
	case KindContainer, KindSandbox:
	}
	spec[field] = []any{change}
	return x.patchPod(what, spec)
}

// attach adds the pull secret in spec, if any, to the pod, and starts an ephemeral
// container again, with the policy IfNotPresent instead of Never.
func (x *facts) attach(spec map[string]any) []string {
	var lines []string
	if len(spec) > 0 {
		lines = x.patchPod("add the pull secret", spec)
	}
	switch {
	case x.Kind != KindEphemeralContainer || x.Offline:
		return lines
	case len(spec) > 0 && x.Owner.Kind != "":
		return append(lines, comment("Then start the ephemeral container in the new pod"))
	}
	args := []string{"--image=" + quote(x.Image)}
	if x.PullPolicy == "Never" {
		args = append(args, "--image-pull-policy=IfNotPresent")
	}
	return append(lines, comment("Start another ephemeral container, because one cannot be changed:"), x.debug(args...))
}

// patchPod changes the pod's spec for good: in the workload's template or, for a
// pod without an owner, by recreating it. what continues "In the Deployment web, …".
func (x *facts) patchPod(what string, spec map[string]any) []string {
	if x.Offline {
		return []string{comment("In the pod spec, %s: %s", what, asJSON(spec))}
	}
	return append(x.managed(), x.patchInCluster(what, spec)...)
}

// patchInCluster is patchPod without what the manager makes of it.
func (x *facts) patchInCluster(what string, spec map[string]any) []string {
	secrets, only := spec["imagePullSecrets"]
	switch {
	case x.ofRollout():
		return x.patchRollout(what, spec)
	case x.patchable():
		template := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
		return append([]string{comment("In %s, %s:", x.place(), what), x.kubectl("patch", x.target(), "-p", quote(asJSON(template)))}, x.recreate()...)
	case x.static():
		return []string{comment("In the manifest of static pod %s on node %s, %s: %s", x.Pod, x.Node, what, asJSON(spec))}
	case x.Owner.Kind == "":
		return x.remake(what, spec)
	case only && len(spec) == 1 && len(x.PullSecrets) == 0:
		return x.patchServiceAccount(secrets)
	case x.ofCronJob():
		template := map[string]any{"spec": map[string]any{"jobTemplate": map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}}}
		return []string{
			comment("In %s, %s:", x.cronJob(), what),
			x.kubectl("patch", quote("cronjob/"+x.Owner.CronJob), "-p", quote(asJSON(template))),
			comment("Then delete %s, because its template cannot be changed. The next Job has the change:", x.owner()),
			x.kubectl("delete", quote("job/"+x.Owner.Name)),
		}
	}
	return []string{comment("In the pod template of %s, %s and create it again: %s", x.owner(), what, asJSON(spec))}
}

// remake recreates a pod without an owner. A pod cannot be created with ephemeral
// containers. The output of the first command has the namespace, so the second
// needs none.
func (x *facts) remake(what string, spec map[string]any) []string {
	spec["ephemeralContainers"] = nil
	patch := asJSON(map[string]any{"spec": spec})
	return []string{
		comment("In %s, %s. This deletes the pod and creates it again, because most of a pod cannot be changed in place:", x.place(), what),
		x.kubectl("patch", x.target(), "--dry-run=client -o json -p", quote(patch)) + " | kubectl replace --force -f -",
	}
}

// patchServiceAccount is for pods whose template cannot be changed, such as a
// Job's: the service account's secrets go into every new pod that has none
// (admission plugin ServiceAccount).
func (x *facts) patchServiceAccount(secrets any) []string {
	account := cmp.Or(x.ServiceAccount, "default")
	return []string{
		comment("In service account %s, add the pull secret for every new pod. Then delete the pod, so that %s creates another one:", account, x.owner()),
		x.kubectl("patch", quote("serviceaccount/"+account), "-p", quote(asJSON(map[string]any{"imagePullSecrets": secrets}))),
		x.kubectl("delete", quote("pod/"+x.Pod)),
	}
}

// --- secrets

func missingRemedy(x *facts) []string {
	missing := x.secrets(FaultSecretMissing)
	i := slices.IndexFunc(missing, validName)
	switch {
	case len(missing) == 0 && len(x.PullSecrets) == 1 && validName(x.PullSecrets[0]):
		return x.createSecret(x.PullSecrets[0])
	case len(missing) == 0:
		return nil
	case i < 0:
		return append([]string{comment("Use another pull secret, because %s is not a valid secret name.", missing[0])}, x.addSecret()...)
	}
	return append(x.spelling(), x.createSecret(missing[i])...)
}

// spelling comes first if the registry does not say whether the repository exists.
func (x *facts) spelling() []string {
	if !x.evasive() {
		return nil
	}
	return []string{comment("Check that %s is spelled correctly. If it is, continue.", x.Registry+"/"+x.Repository)}
}

func malformedRemedy(x *facts) []string {
	if e, ok := x.first(CheckCredentials, FaultSecretMalformed); ok {
		secret, hosts := e.Credentials().Secret, e.Credentials().Hosts
		if len(hosts) > 1 && validName(secret) {
			return x.changeSecret(secret, false, []string{
				comment("In secret %s, fix the malformed entry. It also has entries for %s", secret, list(hosts)),
				x.kubectl("edit", quote("secret/"+secret)),
			})
		}
		return x.replaceSecret(secret, false)
	}
	e, ok := x.first(CheckCredentials, FaultSecretWrongType, FaultSecretEmpty)
	switch {
	case !ok:
		return nil
	case e.Fault == FaultSecretEmpty:
		return append(x.spelling(), x.renew(e.Credentials().Secret)...)
	}
	return append(x.spelling(), x.replaceSecret(e.Credentials().Secret, true)...)
}

func noMatchRemedy(x *facts) []string {
	secrets := x.secrets(FaultNoMatchingCredential)
	switch {
	case x.evasive(): // the secret may be fine, so it stays
		return append(x.spelling(), x.addSecret()...)
	case len(secrets) == 0:
		return nil
	}
	return x.renew(secrets[0])
}

// renew replaces a secret if only the entry that does not help is lost, else adds
// another one.
func (x *facts) renew(secret string) []string {
	c := x.secret(secret)
	hosts := c.Hosts
	switch {
	case c.Secret == "":
		return []string{comment("On node %s, replace the credentials in %s", x.Node, secret)}
	case len(hosts) > 1:
		return x.addSecret()
	}
	var lines []string
	if len(hosts) == 1 && hosts[0] != x.Registry && hosts[0] != server(x.Registry) {
		lines = append(lines, comment("This replaces the only entry of the secret, for %s. If other pods need it, use another secret name and add that to imagePullSecrets.", strings.TrimSpace(hosts[0])))
	}
	return append(lines, x.replaceSecret(secret, false)...)
}

func noCredentialsRemedy(x *facts) []string {
	if e, _ := x.refusal(); len(x.unsent()) > 0 || e.Registry().NoChallenge {
		return unsentRemedy(x)
	}
	var lines []string
	if unused := x.unused(ConfigOfAccess); unused != "" {
		lines = append(lines, comment("On node %s, correct this, and restart the runtime, or k3s or RKE2: %s. Or:", x.Node, unused))
	}
	if unread := x.secrets(FaultSecretUnreadable); len(unread) > 0 && !x.Offline {
		lines = append(lines, comment("Add another pull secret, because %s missing or not for %s.", pullSecrets(unread, "is", "are"), x.Registry))
	}
	return slices.Concat(lines, x.cloudsRemedy(), x.addSecret())
}

// cloudsRemedy is for a registry whose passwords end after hours, where the kubelet gets new
// ones with a credential provider and the rights of its node; nil for any other, or where a
// provider is the question already.
func (x *facts) cloudsRemedy() []string {
	_, matches := x.noted(CheckCredentials, FaultProviderMatches)
	in := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix("."+x.Registry, s) })
	}
	var provider, right, life string
	switch {
	case x.Offline, matches:
	case strings.Contains(x.Registry, ".dkr.ecr."), strings.Contains(x.Registry, ".dkr-ecr."):
		provider, right, life = "ecr-credential-provider", "the IAM role of the node has the policy AmazonEC2ContainerRegistryPullOnly", "12 hours"
	case in(".azurecr.io", ".azurecr.cn", ".azurecr.us"):
		provider, right, life = "acr-credential-provider", "the identity of the kubelet has the role AcrPull", "3 hours"
	case in(".gcr.io", "-docker.pkg.dev"):
		provider, right, life = "auth-provider-gcp", "the service account of the node has the role roles/artifactregistry.reader", "an hour"
	}
	if provider == "" {
		return nil
	}
	return []string{comment("The kubelet of node %s gets credentials for %s itself if its credential provider %s covers it, and %s. Or use a pull secret; a token in it is valid for %s.",
		x.Node, x.Registry, provider, right, life)}
}

func rejectedRemedy(x *facts) []string {
	lines := x.renewUsed(x.orAgain(x.rejected(), CredentialsRejected))
	if e, ok := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.passed() && e.Credentials().IfRejected != "" }); ok {
		lines = append([]string{comment("%s", e.Credentials().IfRejected)}, lines...)
	}
	if len(lines) == 0 && (x.message().CredentialsSent || len(x.PullSecrets) == 0) {
		return x.kubeletsRemedy()
	}
	if slices.ContainsFunc(x.anonymous(), (*Evidence).passed) && len(used(x.rejected())) > 0 && len(lines) > 0 {
		return append([]string{comment("Remove %s from imagePullSecrets, because the image is public. Or replace the credentials.", list(used(x.rejected())))}, lines...)
	}
	return lines
}

// kubeletsRemedy is for credentials that are not the pod's.
func (x *facts) kubeletsRemedy() []string {
	return append([]string{comment("Check the credentials of the kubelet on node %s, in /var/lib/kubelet/config.json and its credential providers. Or give the pod its own.", x.Node)}, x.addSecret()...)
}

func expiredRemedy(x *facts) []string {
	lines := x.renewUsed(x.expired())
	if len(lines) == 0 && len(x.PullSecrets) == 0 {
		return x.kubeletsRemedy()
	}
	if e, ok := x.first(CheckCredentials, FaultCredentialExpired); ok && e.Credentials().Secret != "" && len(lines) > 0 {
		lines = append(lines, comment("The next token expires too: renew the secret in time, such as from a CronJob, or let a credential provider of the kubelet get the tokens."))
	}
	return lines
}

func deniedRemedy(x *facts) []string {
	if e, ok := x.refusedElsewhere(); ok && !e.redirected() {
		first := comment("Ask whoever runs the firewall or proxy in front of %s to let pulls of node %s through. What its page says is the answer to:", x.Registry, x.Node)
		return append([]string{first}, x.onNode("curl -sv --max-time 20", "")[1])
	} else if ok {
		host := hostOf(e.Endpoint.URL)
		first := comment("Pulls from %s also need %s, to which it redirects: allow it in the firewall or proxy between node %s and that host. Or use a mirror.", x.Registry, host, x.Node)
		return append([]string{first}, connectRemedy(x)...)
	}
	refused := x.refusedContents()
	if len(refused) > 0 && refused[0].redirected() {
		return x.elsewhereRemedy(hostOf(refused[0].Endpoint.URL))
	}
	if host := x.elsewhere(); host != "" && len(refused) == 0 && x.message().AfterManifest && x.reading() == AccessDenied {
		return x.elsewhereRemedy(host)
	}
	lines := x.renewUsed(append(refused, x.orAgain(x.denied(), AccessDenied, DeniedOrNotFound)...))
	if len(lines) == 0 {
		return x.deniedToAll(len(refused) > 0)
	}
	return append([]string{comment("On %s, grant the user pull access to %s. Or use another user.", x.Registry, x.Repository)}, lines...)
}

// deniedToAll is deniedRemedy where no check has seen credentials denied.
func (x *facts) deniedToAll(content bool) []string {
	switch {
	case content:
		return append([]string{comment("Ask the owner of %s why it denies this content, but not the manifest, such as by a firewall in front of it or for lack of access to its storage. Or give the pod credentials.", x.Registry)}, x.addSecret()...)
	case x.unasked():
		lines := x.onNode("curl -sv --max-time 20", "see what the registry answers")
		return append([]string{comment("On %s, allow pulls of %s without credentials, or add node %s to a list of allowed addresses. A pull secret does not help, because the registry does not ask for credentials.", x.Registry, x.Repository, x.Node)}, lines...)
	}
	return append([]string{comment("On %s, grant the user of this pull access to %s. Or give the pod credentials of another user.", x.Registry, x.Repository)}, x.addSecret()...)
}

// hopRemedy gives the node access to a host that the registry redirects to, which a
// firewall that allows only the registry does not.
func (x *facts) hopRemedy(e *Evidence, cause Cause) []string {
	host, command := hostOf(e.Endpoint.URL), "curl -sv --max-time 20"
	fix := "let node %s connect to it, through the firewall or proxy"
	switch {
	case x.row(cause).kin&kinName != 0:
		fix, command = "make node %s resolve its name", "getent ahosts"
	case x.row(cause).kin&kinTLS != 0:
		fix, command = "exempt it from TLS inspection, or make node %s trust the authority that inspects", "curl -svk --max-time 20"
	}
	return append([]string{comment("Pulls from %s also need %s, to which it redirects: "+fix+". Or use a mirror.", x.Registry, host, x.Node)}, x.onNode(command, "check the host")...)
}

// elsewhereRemedy is for blobs: the registry redirects to URLs that it has signed,
// by its own clock, for a storage that checks them by its own. Neither the
// credentials nor the node's clock matter.
func (x *facts) elsewhereRemedy(host string) []string {
	lines := []string{
		comment("The registry serves the manifest, but %s denies the blob. Look for a proxy, a firewall or an endpoint policy between node %s and that host.", host, x.Node),
		comment("If it denies other nodes too, check the access of the registry to its storage, and its clock, by which it signs the URLs."),
	}
	return append(lines, connectRemedy(x)...)
}

// renewUsed renews the secret of the attempts, else the one that has credentials
// for the image; nil if none is known.
func (x *facts) renewUsed(attempts []*Evidence) []string {
	if len(attempts) > 0 && attempts[0].Credential() != nil && attempts[0].Credential().OfProvider {
		return []string{comment("On node %s, make credential provider %s return credentials with access to %s/%s. Or give the pod a pull secret, which the kubelet tries first.", x.Node, attempts[0].Credential().Source, x.Registry, x.Repository)}
	}
	if sources := append(used(attempts), x.matching()...); len(sources) > 0 {
		return x.renew(sources[0])
	}
	unread := x.secrets(FaultSecretUnreadable)
	if len(unread) == 0 {
		return nil
	}
	return append([]string{comment("Replace secret %s only if it has no entries for other registries. whypull %s it.", unread[0], x.didNotRead())},
		x.replaceSecret(unread[0], false)...)
}

// rateLimitRemedy waits; a pull without credentials may use some, which have a
// limit of their own.
func rateLimitRemedy(x *facts) []string {
	when := "The pull succeeds when the limit has reset"
	if e, _ := x.atOrigin(FaultRateLimited); e.Registry().RetryAfter > 0 {
		when = fmt.Sprintf("The registry allows a retry in %s", plain(e.Registry().RetryAfter))
	}
	if !x.Offline {
		when += ". The kubelet keeps retrying"
	}
	lines := []string{comment("%s", when)}
	if !x.credentialed() && len(x.PullSecrets) == 0 {
		lines = append(lines, comment("A pull secret for %s gives the pod its own limit. A mirror avoids the limit", x.Registry))
	}
	for _, fault := range []Fault{FaultNoMatchingCredential, FaultSecretMissing, FaultSecretWrongType, FaultSecretEmpty} {
		if e, ok := x.noted(CheckCredentials, fault); ok && !x.credentialed() && !x.matched() && !x.unread() && !x.provided() {
			lines = append(lines, comment("The pull has no credentials, with which it has a limit of its own: %s", x.detail(e)))
			break
		}
	}
	if e, ok := x.ineffective(); ok && (perRegistry(e.Config().File) || e.Config().Problem == ConfigDockerMirror) {
		lines = append(lines, comment("On node %s, check whether a mirror was to serve this image: %s", x.Node, x.detail(e)))
	}
	return append(lines, x.watch())
}

func deniedOrNotFoundRemedy(x *facts) []string {
	if len(x.orAgain(x.undisclosed(), DeniedOrNotFound)) > 0 {
		return deniedRemedy(x)
	}
	if strings.HasPrefix(x.Repository, apiPath) {
		return repositoryRemedy(x)
	}
	if x.unasked() {
		return append(x.spelling(), x.deniedToAll(false)...)
	}
	lines := []string{comment("Check that %s is spelled correctly. If it is, give the pod credentials that can pull it.", x.Registry+"/"+x.Repository)}
	lines = append(lines, x.loadedHere()...)
	if renewed := x.renewUsed(x.denied()); len(renewed) > 0 {
		return append(lines, renewed...)
	}
	return append(lines, x.addSecret()...)
}

// loadedHere is for an image that was built by hand, so that the registry of its name
// never had it. It does not say whether the node has the image, which is not disclosed
// with the policy Always.
func (x *facts) loadedHere() []string {
	if x.PullPolicy != "Always" || x.Offline || x.Registry != "docker.io" && x.Registry != "localhost" {
		return nil
	}
	return []string{comment("If you built the image and loaded it onto node %s, set the pull policy IfNotPresent instead, because with Always the kubelet asks %s.", x.Node, x.Registry)}
}

// addSecret creates a new secret and adds it to the pod.
func (x *facts) addSecret() []string {
	if x.static() {
		return []string{comment("On node %s, add credentials for %s to /var/lib/kubelet/config.json, because a static pod cannot use pull secrets", x.Node, x.Registry)}
	}
	name := x.newSecret()
	return append(x.createSecret(name), x.attach(attached(name))...)
}

// attached returns a pod's spec with one more pull secret: the list is merged with
// the one of the pod.
func attached(secret string) map[string]any {
	return map[string]any{"imagePullSecrets": []any{map[string]any{"name": secret}}}
}

// newSecret returns a valid name for a secret for the image's registry.
func (x *facts) newSecret() string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(x.Registry))
	const most = 200
	return strings.TrimRight("pull-"+strings.TrimLeft(name[:min(len(name), most)], "-."), "-.")
}

// validName reports whether the API server accepts the name for a secret. It does
// not validate the names in imagePullSecrets.
func validName(name string) bool {
	odd := func(r rune) bool { return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, odd) && strings.Trim(name, "-.") == name
}

// createSecret creates a secret of the credentials in a file: a password in a
// command would be in the process list and the shell's history.
func (x *facts) createSecret(name string) []string { return x.secretCommand("Create", name, "", "") }

// replaceSecret replaces a secret, behind what its manager makes of that.
func (x *facts) replaceSecret(name string, force bool) []string {
	// kubectl create secret docker-registry gives no secret a legacy type.
	return x.changeSecret(name, force, x.replaceInCluster(name, force || x.secret(name).Legacy))
}

// replaceInCluster replaces a secret. Its type cannot be changed in place, so force
// deletes it first; else its labels and owners stay. The output of the first command
// has the namespace, so the second needs none.
func (x *facts) replaceInCluster(name string, force bool) []string {
	const print = "--dry-run=client -o yaml"
	switch {
	case x.Offline:
		return x.secretCommand("Replace", name, print, "")
	case !force:
		return x.secretCommand("Replace", name, print, " | kubectl apply -f -")
	}
	warning := comment("This deletes the secret and creates it again. If something else uses it, use another name and add that to imagePullSecrets.")
	return append([]string{warning}, x.secretCommand("Replace", name, print, " | kubectl replace --force -f -")...)
}

// secretCommand returns the command for a secret, with further flags and what to do with
// its output. The blank comes last, where every shell takes it for a syntax error.
func (x *facts) secretCommand(verb, name, flags, then string) []string {
	if !validName(name) {
		return []string{comment("Use another name for the secret, because %s is not valid", name)}
	}
	return []string{
		comment("%s pull secret %s from config.json, a file with credentials for %s that docker login or podman login --authfile has written:", verb, name, server(x.Registry)),
		x.kubectl("create secret docker-registry", quote(name)) + after(" ", flags) + " --from-file=.dockerconfigjson=<config.json>" + then,
	}
}

// server returns the key under which the kubelet finds the credentials of a
// registry (credentialprovider: Docker Hub has its old index name).
func server(registry string) string {
	if registry == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return registry
}

// --- node

// certificateRemedy has no command that fixes the certificate; it shows the one
// that the node gets.
func certificateRemedy(cause Cause) func(*facts) []string {
	return func(x *facts) []string {
		return append([]string{comment("%s", x.row(cause).Advice)}, x.onNode("curl -svk --max-time 20", "look at the certificate")...)
	}
}

// runtimeRemedy shows what the runtime says, and restarts one that does not answer.
func runtimeRemedy(x *facts) []string {
	tools := x.tools()
	if x.unmapped() {
		return []string{
			comment("On node %s, give the user of the container runtime a range in /etc/subuid and /etc/subgid that has the IDs in the message, 65536 IDs as a rule, and restart the runtime. If the node is a container itself, change its ID map on its host:", x.Node),
			"cat /etc/subuid /etc/subgid /proc/self/uid_map",
			comment("Or build the image again with files of users and groups below 65536 only"),
		}
	}
	lines := []string{comment("On node %s, read the log of the container runtime:", x.Node), tools.log}
	if _, unready := x.noted(CheckImage, FaultRuntimeUnready); unready {
		lines = append(lines, comment("If it hangs or does not run, restart it. %s", tools.running), tools.restart)
	}
	return append(lines, x.watch())
}

// storeRemedy has the runtime fetch again what its store lacks.
func storeRemedy(x *facts) []string {
	tools := x.tools()
	if tools.prune == "" {
		return nil
	}
	return []string{
		comment("On node %s, remove the images that no container uses, so that the runtime fetches their content %s:", x.Node, "again"+after(". ", tools.crictl)),
		tools.prune,
		comment("If the pull fails again, read the log of the runtime, and check the disk:"),
		tools.log,
		x.watch(),
	}
}

// mirrorRemedy fixes what the mirror's error hides, since the mirror may only lack
// what the registry denies to it, and then the mirror.
func mirrorRemedy(x *facts) []string {
	all := x.mirrors()
	if len(all) == 0 {
		return x.mirrorByText()
	}
	var lines []string
	if hidden, _ := x.hidden(); hidden != "" {
		lines = x.withoutMirrors().remedy(hidden)
	}
	file := cmp.Or(all[0].Endpoint.ConfigFile, x.hostsDir()+"/hosts.toml")
	if withheld, ok := find(x.of(CheckRegistry), func(e *Evidence) bool { return e.Endpoint.Mirror && e.Reason == ReasonCredentialsWithheld }); ok {
		host := hostOf(withheld.Endpoint.URL)
		lines = append(lines, comment("CRI-O does not send the pod's credentials to %s: add the credentials of the mirror to global_auth_file on the node, or use %s in the image", host, host))
	}
	wants, ok := find(all, func(e *Evidence) bool { return e.Fault.Refuses() && e.Registry().Credential == nil && !e.Endpoint.CRIO })
	if host := hostOf(wants.Endpoint.URL); ok && host != "" {
		lines = append(lines, comment("The kubelet selects credentials by the registry in the image, %s, not by the mirror. Use %s in the image, or set its credentials in the registry configuration of the node", x.Registry, host))
		named := func(key string) bool { return hostOnly(keyHost(key)) == hostOnly(host) }
		if e, ok := x.noted(CheckCredentials, FaultNoMatchingCredential); ok && slices.ContainsFunc(e.Credentials().Hosts, named) {
			lines = append(lines, comment("A pull secret for the mirror has no effect: %s", x.detail(e)))
		}
	}
	from := comment("On node %s, fix the mirror, or remove it from %s", x.Node, file)
	if readsRegistries(file) {
		from += ", and run " + reloadCRIO + " after a change"
	}
	return append(lines, from+":",
		"curl -sv --max-time 20 "+quote(all[0].Endpoint.URL+"/v2/"))
}

// ofMirrorByText reports whether only the runtime's text shows that a mirror fails.
func (x *facts) ofMirrorByText() bool {
	return x.message().OfMirror && x.elsewhere() == x.message().Host && len(x.mirrors()) == 0
}

// mirrorByText is mirrorRemedy where only the runtime has seen the mirror.
func (x *facts) mirrorByText() []string {
	file := cmp.Or(x.tools().registries, x.hostsDir()+"/hosts.toml")
	switch {
	case x.crio():
		file = "/etc/containers/registries.conf"
	case x.docker():
		file = "/etc/docker/daemon.json"
	}
	return []string{comment("On node %s, fix the mirror that the message is about, or remove it from %s:", x.Node, file), "cat " + quote(file), x.watch()}
}

// proxyRemedy sends a request through the proxy, as the runtime does.
func proxyRemedy(x *facts) []string {
	e, _ := x.atOrigin(FaultProxyFailed, FaultWebPage)
	if e.Registry().Proxy == "" {
		return []string{
			comment("On node %s, see which HTTPS_PROXY and NO_PROXY the runtime has, and fix the proxy or this setting:", x.Node),
			x.tools().proxies,
		}
	}
	written := ""
	if unused := x.unused(ConfigOfProxy); unused != "" {
		written = comment("If node %s is to reach the registry without the proxy, correct this and restart the runtime: %s", x.Node, unused)
	}
	tls := ""
	if strings.HasPrefix(e.Registry().Proxy, "https://") {
		tls = comment("HTTPS_PROXY starts with https://, so the runtime uses TLS to the proxy itself. Most proxies expect http:// there")
	}
	return []string{
		written,
		tls,
		comment("On node %s, use the proxy as the runtime does:", x.Node),
		"curl -sv --max-time 20 --proxy " + quote(e.Registry().Proxy) + " " + quote(e.Endpoint.URL+"/v2/"),
		comment("Then fix the proxy, or add %s to NO_PROXY in the environment of the runtime and restart the runtime", hostOnly(x.host())),
	}
}

// nodesByPlatform shows the platform of every node.
const nodesByPlatform = "kubectl get nodes --label-columns=kubernetes.io/os,kubernetes.io/arch"

// formatRemedy shows what the node gets if that is not a manifest at all.
func formatRemedy(x *facts) []string {
	switch e, _ := x.atOrigin(FaultUnsupportedFormat); e.Registry().Form { //nolint:exhaustive // below
	case FormZstd:
		return []string{
			comment("Update the container runtime of node %s: zstd needs Docker 23.0 or containerd 1.5. Or push the image with gzip layers:", x.Node),
			"docker buildx build --output type=registry,name=" + quote(x.Image) + ",compression=gzip,force-compression=true .",
		}
	case FormBlob:
		return x.setImage(x.Ref().Untagged()+"@"+blank("digest"), "use the digest of the manifest or index, which docker buildx imagetools inspect shows")
	}
	if _, ok := x.atOrigin(FaultWebPage); ok {
		return x.respondent()
	}
	if _, ok := x.atOrigin(FaultUnsupportedFormat); !ok && x.undecrypted() {
		return x.decryptRemedy()
	}
	lines := []string{
		comment("%s Its manifest shows what it is now, such as schema 1, a Helm chart or another artifact:", x.row(UnsupportedFormat).Advice),
		"docker buildx imagetools inspect --raw " + quote(x.Image),
	}
	if e, _ := x.atOrigin(FaultUnsupportedFormat); e.Registry().Form == FormMediaType {
		lines = append(lines, comment("If it is the manifest of an image, have the registry, or the web server in its place, send its mediaType as Content-Type."))
	}
	return lines
}

// decryptRemedy gives the runtime a key for the image.
func (x *facts) decryptRemedy() []string {
	dir, of := "/etc/containerd/ocicrypt/keys", "containerd, which also needs the program ctd-decoder: stream_processors in its configuration names the program and the directory"
	if x.crio() {
		dir, of = "/etc/crio/keys", "CRI-O: decryption_keys_path in its configuration"
	}
	return []string{
		comment("On node %s, install the private key for %s, in %s unless another directory is configured for "+of+". Or push the image without encryption.", x.Node, x.image(), dir),
		x.watch(),
	}
}

// contentRemedy puts whole content into the registry: a push leaves out what the
// registry says it has.
func contentRemedy(x *facts) []string {
	_, corrupt := x.atOrigin(FaultContentCorrupt)
	_, missing := x.atOrigin(FaultContentMissing)
	again := comment("Push the image again, and check the storage of the registry and the proxies in front of it. Delete the image in %s first, because a push leaves out content that the registry says it has.", x.Registry)
	switch {
	case missing:
		return []string{x.pushAgain(), x.watch()}
	case corrupt || x.failedAgain():
		return []string{again, x.watch()}
	}
	return []string{
		comment("On a node other than %s, pull the image:", x.Node),
		x.tools().pull + " " + quote(x.Image),
		comment("If this works, look for what changes or cuts off content on its way to node %s, such as a mirror or a proxy. Otherwise:", x.Node),
		again,
	}
}

// pushAgain is for a registry that lacks a part of an image.
func (x *facts) pushAgain() string {
	return comment("Push the image again from where it was built, because %s lacks content of it. If that is a cache of another registry, remove the image from the cache.", x.Registry)
}

// respondent finds out what responds in the place of a registry.
func (x *facts) respondent() []string {
	return append([]string{comment("Find out what responds instead of %s: a login page of the network, a web server or a proxy.", x.Registry)}, connectRemedy(x)...)
}

// handshakeRemedy is for a server that does not know the name of the registry.
func handshakeRemedy(x *facts) []string {
	e, _ := x.atOrigin(FaultTLSHandshakeFailed)
	first := comment("%s", x.row(TLSHandshakeFailed).Advice)
	if e.Registry().Alert == AlertName || strings.Contains(x.message().Text, "tls: unrecognized name") {
		first = comment("Add %s to the server or load balancer that responds, or use a name that it serves.", x.host())
	} else if e.Registry().Alert == AlertMalformed || strings.Contains(x.message().Text, "failed to parse certificate from server") {
		first = comment("Replace the certificate of %s, or of what inspects TLS in front of it, by one that is made again, with a positive serial number and valid names.", x.host())
	}
	return append([]string{first}, x.onNode("curl -sv --max-time 20", "see its answer")...)
}

// platformRemedy has no command that builds an image; it shows where the image
// would run.
func platformRemedy(x *facts) []string {
	e, _ := x.atOrigin(FaultPlatformMismatch)
	switch {
	case e.Registry().Platform == "" && x.Offline:
		return nil
	case e.Registry().Platform == "":
		return []string{comment("%s", x.row(PlatformMismatch).Advice), nodesByPlatform}
	}
	if len(e.Registry().Platforms) == 0 {
		return []string{comment("Build and push %s for %s with docker buildx build --platform, because the existing index names no platform", x.image(), e.Registry().Platform)}
	}
	return []string{
		comment("Build and push %s for %s too, with docker buildx build --platform. Or run the pod on a node with one of these platforms: %s", x.image(), e.Registry().Platform, list(e.Registry().Platforms)),
		nodesByPlatform,
	}
}

// configRemedy says what to correct, and where.
func configRemedy(x *facts) []string {
	e, ok := x.wrongConfig()
	if !ok {
		return x.configByText()
	}
	if e.Config().Problem == ConfigNotLoaded {
		return []string{comment("On node %s, reload CRI-O: %s", x.Node, x.detail(e)), reloadCRIO, x.watch()}
	}
	when := "The runtime reads it again for each pull"
	switch {
	case e.Config().Problem == ConfigNotGenerated:
		units := "k3s*.service"
		if strings.Contains(e.Config().File, "/rke2/") {
			units = "rke2*.service"
		}
		return []string{
			comment("On node %s, restart k3s or RKE2, which reads %s when it starts and stops no container:", x.Node, e.Config().File),
			"systemctl try-restart " + quote(units), x.watch(),
		}
	case readsRegistries(e.Config().File):
		when = "Then reload CRI-O: " + reloadCRIO
	case slices.Contains(ofConfigPath, e.Config().Problem), !perRegistry(e.Config().File) && !slices.Contains(readForEachPull, e.Config().Problem):
		when = "Then restart the runtime, which reads it when it starts"
	}
	return []string{comment("On node %s, correct this: %s. %s", x.Node, x.detail(e), when), x.watch()}
}

// ofConfigPath are the problems of containerd's config_path, over which it does not look
// at a file.
//
//nolint:gochecknoglobals // never written
var ofConfigPath = []ConfigProblem{ConfigPathList, ConfigPathUnset, ConfigPathElsewhere}

// readForEachPull are the problems of files that CRI-O reads for each pull.
//
//nolint:gochecknoglobals // never written
var readForEachPull = []ConfigProblem{ConfigAuthFileBroken, ConfigPolicyUnusable, ConfigSignatureStoreBroken, ConfigCertificatesUnusable}

// configByText is configRemedy where only the runtime has seen what is wrong.
func (x *facts) configByText() []string {
	tools := x.tools()
	where := comment("On node %s, correct what the message is about: %s, or the configuration file of containerd. The log of the runtime may say more:", x.Node, x.hostsDir()+"/hosts.toml")
	switch {
	case x.crio():
		where = comment("On node %s, correct what the message is about: registries.conf, registries.conf.d or policy.json in /etc/containers. The log of the runtime may say more:", x.Node)
	case x.docker(), tools.registries != "":
		where = comment("On node %s, correct what the message is about in %s. The log of the runtime may say more:", x.Node, cmp.Or(tools.registries, "/etc/docker/daemon.json"))
	}
	return []string{where, tools.log, x.watch()}
}

// helperRemedy fixes the credential helper of the runtime, or the credential provider
// that whypull has run.
func helperRemedy(x *facts) []string {
	if e, ok := x.first(CheckCredentials, FaultProviderFailed); ok && !x.message().RuntimeHelper {
		return x.fixProvider(e.Credentials())
	}
	if !x.message().RuntimeHelper {
		return []string{
			comment("On node %s, fix the credential provider plugin, whose error is in the log of the kubelet:", x.Node),
			x.tools().kubeletLog, x.watch(),
		}
	}
	return []string{
		comment("On node %s, install or fix the docker-credential- program that credHelpers in the credentials file of the runtime, or credential-helpers in registries.conf, names. Or give the pod a pull secret.", x.Node),
		x.watch(),
	}
}

// fixProvider fixes a credential provider that gives no credentials.
func (x *facts) fixProvider(c *CredentialFacts) []string {
	var what, command string
	switch c.Run {
	case ProviderMissing, ProviderUnexecutable:
		what = "Install the program of credential provider %s on node %s again, for the right architecture."
	case ProviderGaveNone, ProviderGaveOthers:
		what = "Credential provider %s runs on node %s: give the identity that it uses access to the registry."
	case ProviderAudience:
		what = "Grant system:nodes the verb request-serviceaccounts-token-audience on the serviceAccountTokenAudience of credential provider %s on node %s."
	case ProviderNoAnnotation:
		what = "Credential provider %s on node %s is for service accounts with this annotation. Add it if that of the pod is meant to be one."
		command = x.kubectl("edit", quote("serviceaccount/"+x.ServiceAccount))
	case ProviderAccountMissing:
		what = "Credential provider %s on node %s needs the service account of the pod. Create that again."
	case ProviderNoAccount:
		return x.addSecret()
	default:
		what = "Fix credential provider %s on node %s. The log of the kubelet has what it prints to stderr."
		command = x.tools().kubeletLog
	}
	return []string{comment(what+" Or give the pod a pull secret, which the kubelet tries first.", c.Provider, x.Node), command, x.watch()}
}

// unsentRemedy fixes a registry that does not require credentials where CRI-O checks, or
// in no way that runtimes know.
func unsentRemedy(x *facts) []string {
	return []string{
		comment("Make %s answer GET /v2/ with 401 and a WWW-Authenticate header for Basic or Bearer credentials, as the distribution specification requires. Check on node %s:", x.host(), x.Node),
		"curl -sv --max-time 20 " + quote(x.endpoint()+"/v2/"),
	}
}

// reloadCRIO makes CRI-O read registries.conf again, without a restart.
const reloadCRIO = "systemctl reload crio"

// readsRegistries reports whether a file is one that CRI-O keeps until it is asked to
// reload.
func readsRegistries(file string) bool { return strings.Contains(file, "/registries.conf") }

// signatureRemedy names the policy that refused the image.
func signatureRemedy(x *facts) []string {
	e := x.policy()
	if x.unsigned() {
		return []string{comment("Sign %s with the tool that the message names. Or ask the owner of %s to change the policy of the project", x.image(), x.Registry)}
	}
	if e == nil {
		if !strings.Contains(x.message().Text, "image verifier") {
			return nil
		}
		return []string{
			comment("On node %s, containerd asks the programs in bin_dir of its plugin io.containerd.image-verifier.v1.bindir. Sign or correct the image as the reason in the message says, or change these programs. By default they are here:", x.Node),
			"ls -l /opt/containerd/image-verifier/bin",
		}
	}
	return []string{
		comment("Sign the image, or on node %s change the entry in %s for %s. CRI-O reads it again for each pull:", x.Node, e.Config().File, x.Registry),
		"cat " + quote(e.Config().File),
	}
}

// blockedRemedy names the file in which the node blocks the registry.
func blockedRemedy(x *facts) []string {
	e, file := x.config(ConfigBlocked), "registries.conf or registries.conf.d in /etc/containers"
	switch {
	case e != nil:
		file = e.Config().File
	case !x.blockedHere():
		return x.withheldRemedy()
	}
	return []string{
		comment("On node %s, remove blocked = true from the entry for %s in %s if the registry may be used. Then:", x.Node, x.Registry, file),
		reloadCRIO,
	}
}

// withheldRemedy says what to ask the owner of the registry. Runtimes request the manifest
// with HEAD, whose answer has no words that say why.
func (x *facts) withheldRemedy() []string {
	e, _ := x.atOrigin(FaultPolicyBlocked)
	status := e.Registry().Status
	if text := x.message(); status == 0 && x.reading() == PolicyBlocked {
		status = text.Status
		if strings.Contains(strings.ToLower(text.Text), "quota") {
			status = http402
		}
	}
	switch status {
	case http402:
		return []string{comment("Ask the owner of the account at %s about unpaid invoices and used up quotas of storage or transfer. Or pull the image from another registry.", x.Registry), x.watch()}
	case http451:
		return []string{comment("Ask the owner of %s which law or order it applies, and to which places: a mirror elsewhere may serve the image.", x.Registry)}
	}
	return []string{
		comment("Ask the owner of %s which policy blocks the image, such as one for vulnerabilities, a quarantine or a firewall. The answer to this names it, unless the registry requires credentials:", x.Registry),
		"curl -s --max-time 20 " + quote(x.endpoint()+"/v2/"+x.Repository+"/manifests/"+cmp.Or(x.Ref().Digest, x.Ref().Tag, "latest")),
	}
}

func resolveRemedy(x *facts) []string {
	lines := x.onNode("getent ahosts", "resolve the name")
	if e, ok := x.atOrigin(FaultNameNotFound); ok && e.Registry().Phase == PhaseToken && len(e.Registry().Hops) == 0 {
		return append([]string{comment("If nodes cannot know this name, set the external URL of %s, from which it makes the realm in its WWW-Authenticate header", x.Registry)}, lines...)
	}
	return lines
}

func connectRemedy(x *facts) []string {
	if x.cutOff() {
		return []string{
			comment("On node %s, pull the image and see how far it comes. Look for a proxy, a firewall or a load balancer that ends long transfers, and for an MTU that is too large:", x.Node),
			x.tools().pull + " " + quote(x.Image),
		}
	}
	return append(x.correctHostsFile(), x.onNode("curl -sv --max-time 20", "connect to the registry")...)
}

// correctHostsFile is for an address that the node has from its hosts file, and nobody else.
func (x *facts) correctHostsFile() []string {
	if !x.fromHostsFile() {
		return nil
	}
	return []string{comment("In /etc/hosts on node %s, correct the address of %s, or remove it. What the node resolves it to:", x.Node, hostOnly(x.host())), "getent ahosts " + quote(hostOnly(x.host()))}
}

// onNode runs a command on the node with the host or, for curl, the URL that fails.
func (x *facts) onNode(command, why string) []string {
	host, url := x.host(), x.endpoint()+"/v2/"
	if e := x.elsewhere(); e != "" {
		scheme := x.schemeOf(e)
		host, url, why = e, scheme+"://"+e+"/", strings.Replace(why, "the registry", "the host", 1)
	}
	if !strings.HasPrefix(command, "curl") {
		url = hostOnly(host)
	}
	return []string{comment("On node %s, %s:", x.Node, why), command + " " + quote(url)}
}

// schemeOf returns the scheme with which a host other than the registry is asked: that of
// the place that the registry redirects to, or of its token server.
func (x *facts) schemeOf(host string) string {
	if at, ok := x.redirected(); ok && strings.HasPrefix(at.Endpoint.URL, "http://") {
		return "http"
	}
	plain := func(e *Evidence) bool {
		r := e.Registry()
		return r.TokenPlain && (r.TokenHost == host || r.TokenHost == host+":80")
	}
	if slices.ContainsFunc(x.of(CheckRegistry), plain) {
		return "http"
	}
	return "https"
}

func untrustedRemedy(x *facts) []string {
	if x.elsewhere() != "" { // hosts.toml is about registries only
		return certificateRemedy(TLSUntrusted)(x)
	}
	lines := x.trust()
	e, _ := x.atOrigin(FaultTLSUntrusted)
	c := e.Registry().Certificate
	switch {
	case c == nil || !c.Namesake:
	case c.SelfSigned:
		lines = append([]string{comment("The registry seems to have made a new self-signed certificate, and node %s trusts the old one. Use the new one:", x.Node)}, lines...)
	default:
		lines = append([]string{comment("Authority %s seems to have been issued again with another key, and node %s trusts the old one. Use its current certificate:", c.Issuer, x.Node)}, lines...)
	}
	if unused := x.unused(ConfigOfTLS); unused != "" {
		lines = append([]string{comment("On node %s, correct this: %s. Or:", x.Node, unused)}, lines...)
	}
	if c != nil && c.Alone && !c.Namesake && !c.SelfSigned && c.Issuer != "" {
		lines = append(lines, comment("Or, if %s is an intermediate authority of one that the node trusts, make the server send its certificate too", c.Issuer))
	}
	return lines
}

// trust makes the node trust the registry's authority.
func (x *facts) trust() []string {
	if lines := x.trustOnPlatform(); lines != nil {
		return lines
	}
	switch file := x.configFile(); {
	case x.crio():
		return x.certificateIn("/etc/containers/certs.d/", "CRI-O")
	case strings.HasSuffix(file, ".json"):
		return x.certificateIn("/etc/docker/certs.d/", "Docker")
	case file != "":
		return x.inFile(file, "set the CA certificate")
	}
	dir, url := x.hostsDir(), x.endpoint()
	return []string{
		comment("On node %s, add the CA certificate of %s from the file ca.crt:", x.Node, x.host()),
		// In this order a shell refuses the line until it is filled in, even if there
		// is a file ca.crt.
		"mkdir -p " + quote(dir) + " && cat > " + quote(dir+"/ca.crt") + " <ca.crt>",
		comment("An existing hosts.toml is not changed: add %s to its host. CRI-O reads /etc/containers/certs.d/%s/ca.crt instead:", `ca = "ca.crt"`, x.Registry),
		writeUnlessThere(dir+"/hosts.toml", `server = "`+url+`"`, `[host."`+url+`"]`, `ca = "ca.crt"`),
	}
}

// certificateIn gives a runtime the registry's authority, in a directory of hosts.
func (x *facts) certificateIn(dir, runtime string) []string {
	dir += x.host()
	return []string{
		comment("On node %s, install the CA certificate of %s from <ca.crt>. %s reads it again for each pull:", x.Node, x.host(), runtime),
		"mkdir -p " + quote(dir) + " && cat > " + quote(dir+"/ca.crt") + " <ca.crt>",
	}
}

// schemeOfCRIO lets CRI-O speak plain HTTP, by a file of its own.
func (x *facts) schemeOfCRIO() []string {
	if file := x.configFile(); file != "" {
		return []string{
			comment("On node %s, set insecure = true for %s in %s if the registry uses plain HTTP. Then:", x.Node, x.host(), file),
			reloadCRIO,
		}
	}
	const dir = "/etc/containers/registries.conf.d"
	file := dir + "/" + strings.NewReplacer(":", "_", "/", "_").Replace(x.host()) + ".conf"
	return []string{
		comment("On node %s, if %s uses plain HTTP:", x.Node, x.host()),
		"mkdir -p " + quote(dir),
		writeUnlessThere(file, "[[registry]]", `location = "`+x.host()+`"`, "insecure = true"),
		reloadCRIO,
	}
}

func httpsRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return append([]string{comment("%s", x.row(HTTPSMismatch).Advice)}, x.onNode("curl -sv --max-time 20", "see its answer")...)
	}
	if e, ok := x.atOrigin(FaultHTTPSMismatch); ok && e.Registry().OtherProtocol {
		first := comment("Find out what responds there. Check from node %s: curl -sv --max-time 20 %s", x.Node, strings.Replace(x.endpoint(), "https://", "http://", 1)+"/v2/")
		return append([]string{first}, x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix(), "correct the port if the registry has another one")...)
	}
	url := "http://" + x.host()
	if strings.HasPrefix(x.endpoint(), "http://") {
		url = "https://" + x.host()
	}
	if lines := x.schemeOnPlatform(url); lines != nil {
		return lines
	}
	if x.crio() {
		return x.schemeOfCRIO()
	}
	if file := x.configFile(); file != "" {
		return x.inFile(file, "correct the scheme")
	}
	dir := x.hostsDir()
	return []string{
		comment("On node %s, set the scheme of %s. An existing hosts.toml is not changed: correct the scheme in it:", x.Node, x.Registry),
		"mkdir -p " + quote(dir),
		writeUnlessThere(dir+"/hosts.toml", `server = "`+url+`"`, `[host."`+url+`"]`),
	}
}

// configFile returns the runtime's own file that configures the registry, "" if it
// is hosts.toml or none.
func (x *facts) configFile() string {
	e, _ := find(x.origin(), func(e *Evidence) bool { return e.Endpoint.ConfigFile != "" })
	return e.Endpoint.ConfigFile
}

// inFile says what to do in the runtime's own file.
func (x *facts) inFile(file, what string) []string {
	how := "containerd has it in registry.configs of this host and reads the file when it starts"
	switch {
	case strings.HasSuffix(file, ".json"):
		how = "Docker uses plain HTTP for the insecure-registries of this file, which it reads when it starts and at systemctl reload docker"
	case strings.HasPrefix(file, "/etc/containers/"):
		how = "CRI-O reads CA certificates from /etc/containers/certs.d/" + x.host() + ", and insecure = true for plain HTTP from this file"
	}
	return []string{comment("On node %s, %s of %s in %s. %s", x.Node, what, x.Registry, file, how), x.watch()}
}

// hostsDir returns the directory of containerd's hosts.toml for the registry.
func (x *facts) hostsDir() string {
	root := x.tools().certsDir
	for _, e := range x.of(CheckRegistry) {
		if e.Endpoint.ConfigDir != "" {
			root = e.Endpoint.ConfigDir
		}
	}
	return root + "/" + x.Registry
}

// --- words

// What a person has to fill in is between these two in a text that is not yet
// quoted. They are of the private use area; no image has them.
const (
	blankStart = "\uE000"
	blankEnd   = "\uE001"
)

func blank(name string) string { return blankStart + name + blankEnd }

// blanks are the names that blank may have.
var blanks = []string{"image", "tag", "digest", "repository", "registry", "registry:port"} //nolint:gochecknoglobals // never written

// cutBlank cuts s around its first blank; name is "" if there is none.
func cutBlank(s string) (before, name, after string) {
	for i := range s {
		if !strings.HasPrefix(s[i:], blankStart) {
			continue
		}
		name, after, ok := strings.Cut(s[i+len(blankStart):], blankEnd)
		if ok && slices.Contains(blanks, name) {
			return s[:i], name, after
		}
	}
	return s, "", ""
}

// comment returns a line that a shell skips. Its arguments may come from anybody
// and are quoted if need be: an interactive zsh runs a pasted comment as a command
// whose name is #. format has nothing that is special to a shell.
func comment(format string, args ...any) string {
	for i, arg := range args {
		if s, ok := arg.(string); ok && (s == "" || strings.ContainsFunc(s, func(r rune) bool { return r != ' ' && unsafeRune(r) })) {
			args[i] = quote(s)
		}
	}
	return "# " + fmt.Sprintf(format, args...)
}

// quote returns s as one word for a POSIX shell, unchanged if that is safe. The
// blanks in it are not quoted, so that a shell refuses the word.
func quote(s string) string {
	before, name, after := cutBlank(s)
	if name == "" {
		return quoteWord(s)
	}
	out := "<" + name + ">"
	if before != "" {
		out = quoteWord(before) + out
	}
	if after != "" {
		out += quote(after)
	}
	return out
}

func quoteWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func unsafeRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:@%+=,", r)
}

// asJSON returns a patch, whose maps of strings always encode.
func asJSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return "{}"
	}
	return strings.TrimSpace(b.String())
}
