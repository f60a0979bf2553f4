package diagnosis

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// remedy is what to run for this one failure. A line is a shell command or,
// with # in front, what a person has to know before the next one. What a
// person must fill in stands in <angle brackets>: a shell refuses such a line
// until it is filled in.
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
	if full := x.fullName(); full != "" && cause != NotReproducible {
		lines = append([]string{comment("the image's name has no registry, and CRI-O takes %s for it; write that into the pod: the kubelet chooses credentials by the name as it is written", full)}, lines...)
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return lines
}

// advise is the remedy of a cause that has no command of its own.
func (x *facts) advise(cause Cause) []string {
	advice := x.row(cause).Advice
	if x.Offline {
		advice = cmp.Or(x.row(cause).offlineAdvice, advice)
	}
	return []string{comment("%s", advice), x.kubectl("describe", quote("pod/"+x.Pod))}
}

// fullName is the name that CRI-O takes for a short one where that is not of
// docker.io, "" for any other.
func (x *facts) fullName() string {
	short := slices.ContainsFunc(x.all, func(e *Evidence) bool { return e.Endpoint.Image != "" })
	if !short || x.Registry == "docker.io" {
		return ""
	}
	return x.Registry + "/" + x.Repository
}

// nothingRemedy watches the kubelet's next attempt.
func nothingRemedy(x *facts) []string {
	return []string{x.kubectl("get", quote("pod/"+x.Pod), "--watch")}
}

// needsCluster are the verbs of commands about what is in a cluster already.
var needsCluster = []string{"get", "describe", "edit", "debug", "delete"} //nolint:gochecknoglobals // never written

// kubectl is a command, "" where there is no cluster for it.
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

// --- images

func nameRemedy(x *facts) []string {
	if e, ok := x.first(CheckImage, FaultNameInvalid); ok && len(e.Image().Candidates) > 0 {
		return x.setImage(e.Image().Candidates[0])
	}
	return x.setImage(blank("image"))
}

func shortRemedy(x *facts) []string { return x.setImage(blank("registry") + "/" + x.Image) }

func tagRemedy(x *facts) []string {
	e, ok := x.atOrigin(FaultTagNotFound)
	if image := x.Ref(); image.Digest != "" && image.Tag != "" {
		return append([]string{comment("by the digest there is nothing; without it the image is what tag %s is now, if there is one:", image.Tag)}, x.setImage(image.WithTag(image.Tag))...)
	}
	if !ok || len(e.Registry().Candidates) == 0 {
		return x.setImage(x.Ref().WithTag(blank("tag")))
	}
	lines := []string{comment("of the tags that exist, %s is the most like it; push the missing one if that was not meant", e.Registry().Candidates[0])}
	return append(lines, x.setImage(x.Ref().WithTag(e.Registry().Candidates[0]))...)
}

func repositoryRemedy(x *facts) []string {
	return x.setImage(x.Registry + "/" + blank("repository") + ":" + blank("tag"))
}

func registryNameRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return onNodeRemedy("getent ahosts")(x)
	}
	if e, ok := x.pod(); ok && e.DNS().Compared == ComparedOnlyPod && len(e.DNS().Addresses) > 0 {
		return x.clusterNameRemedy(e)
	}
	if e, ok := x.unresolved(FaultNameNotFound); ok && e.DNS().Sinkhole {
		return []string{
			comment("allow %s in the DNS filter that node %s's resolver has (it answers 0.0.0.0), or use a mirror; ask there:", hostOnly(x.host()), x.Node),
			"getent ahosts " + quote(hostOnly(x.host())),
		}
	}
	lines := []string{
		comment("if the name is right, node %s has to resolve it; ask there: getent ahosts %s", x.Node, quote(hostOnly(x.host()))),
		comment("if it is wrong, correct it:"),
	}
	return append(lines, x.setImage(blank("registry")+"/"+x.Repository+x.Ref().Suffix())...)
}

// clusterNameRemedy: the registry's name is one that only the cluster's name
// service knows, and pulls are made by nodes.
func (x *facts) clusterNameRemedy(pod *Evidence) []string {
	host, address, full := hostOnly(x.host()), pod.DNS().Addresses[0], pod.DNS().Name
	if full == "" {
		full = host
	}
	lines := []string{
		comment("nodes do not ask the cluster's name service; any one of these helps. A name or address in the image that nodes reach as well (a NodePort, an ingress, a load balancer):"),
	}
	lines = append(lines, x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix())...)
	return append(lines,
		comment("or have the nodes' resolver forward the domain of %s to the cluster's (the image then has to name it in full), or give containerd an endpoint for it in hosts.toml; or, if %s is the address of a Service, which keeps it, on each node:", full, address),
		"echo "+quote(address+" "+host)+" | tee -a /etc/hosts",
	)
}

func portRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return onNodeRemedy("curl -sv --max-time 20")(x)
	}
	lines := []string{
		comment("nothing listens there: start the registry; ask from node %s: curl -sv --max-time 20 %s", x.Node, quote(x.endpoint()+"/v2/")),
		comment("or, if host or port are wrong, correct them:"),
	}
	return append(lines, x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix())...)
}

// sandboxRemedy: the sandbox's image is the node's affair. Pull secrets are never
// used for it.
func sandboxRemedy(x *facts) []string {
	return []string{
		comment("on node %s: see why its runtime cannot pull the image:", x.Node),
		"crictl pull " + quote(x.Image),
		comment("or name one that the node can have, in the runtime's configuration, and restart it: containerd 2: [plugins.'io.containerd.cri.v1.images'.pinned_images] sandbox; containerd 1: sandbox_image; CRI-O: pause_image"),
		comment("the pod starts by itself then:"),
		x.kubectl("get", quote("pod/"+x.Pod), "--watch"),
	}
}

// imageVolumeRemedy: a runtime that does not know image volumes cannot be
// configured to.
func imageVolumeRemedy(x *facts) []string {
	lines := []string{
		comment("node %s needs containerd 2.1, CRI-O 1.31 or later; to see what it runs:", x.Node),
		x.kubectl("get", quote("node/"+x.Node), "-o", "wide"),
	}
	if x.Kind == KindImageVolume {
		lines = append(lines, comment("until it is upgraded, schedule the pod on another node, or replace volume %s with an emptyDir volume that an init container with the same image fills", x.Container))
	}
	return lines
}

// service is the runtime's.
func (x *facts) service() string {
	if x.crio() {
		return "crio"
	}
	return "containerd"
}

// stalledRemedy: the kubelet never gives up a pull, not even with its pod; the
// runtime does only where it has a limit (image_pull_progress_timeout), which
// containerd's transfer service does not keep.
func stalledRemedy(x *facts) []string {
	if x.has(CheckPull, FaultWaitsForIt) {
		return []string{
			comment("on node %s: restart the runtime, which gives the stalled pull up (running containers go on); deleting a pod does not:", x.Node),
			"systemctl restart containerd",
			comment("so that one pull does not hold up others: serializeImagePulls: false and maxParallelImagePulls in the kubelet's configuration"),
		}
	}
	return []string{
		comment("on node %s: does the registry answer?", x.Node),
		"curl -sv --max-time 20 -o /dev/null " + quote(x.endpoint()+"/v2/"),
		comment("once it does, there: restart the runtime, which gives the pull up (running containers go on); deleting the pod does not:"),
		"systemctl restart " + x.service(),
	}
}

// diskFullRemedy: the kubelet removes images by itself only from a share of the
// image store's file system on (imageGCHighThresholdPercent), and looks at no other.
func diskFullRemedy(x *facts) []string {
	var of string
	switch dirs := x.directories(); {
	case x.intentUnrecorded():
		of = " " + kubeletsRoot
	case len(dirs) > 0:
		of = " " + strings.Join(dirs, " ")
	}
	return []string{
		comment("on node %s: see which file system is full, of bytes or of inodes:", x.Node),
		"df -h" + of,
		"df -i" + of,
		comment("there: remove the images that no container uses, or free the space otherwise:"),
		"crictl rmi --prune",
		comment("the kubelet tries again by itself:"),
		x.kubectl("get", quote("pod/"+x.Pod), "--watch"),
	}
}

// kubeletsRoot is the kubelet's default --root-dir.
const kubeletsRoot = "/var/lib/kubelet"

// directories are where the file systems that were looked at can be asked for, as
// words for a shell.
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

// setImage changes the image where the pod comes from.
func (x *facts) setImage(image string) []string {
	if x.Offline {
		return []string{comment("name this image instead: %s", image)}
	}
	switch x.Kind {
	case KindEphemeralContainer:
		return []string{comment("an ephemeral container cannot be changed; start another one:"), x.debug("--image=" + quote(image))}
	case KindImageVolume:
		return x.patchPod(map[string]any{"volumes": []any{
			map[string]any{"name": x.Container, "image": map[string]any{"reference": image}},
		}})
	case KindContainer, KindInitContainer, KindSandbox:
	}
	set := quote(x.Container) + "=" + quote(image)
	switch {
	case x.static():
		return []string{comment("the pod is static: put image %s into its manifest on node %s", image, x.Node)}
	case x.Owner.Kind == "":
		return []string{x.kubectl("set image", x.target(), set)}
	case slices.Contains(patchable, x.Owner.Kind):
		return append([]string{x.kubectl("set image", x.target(), set)}, x.again()...)
	}
	return []string{
		comment("%s %s makes the pod: correct the image there (a Job has to be made anew); until then:", x.Owner.Kind, x.Owner.Name),
		x.kubectl("set image", quote("pod/"+x.Pod), set),
	}
}

// debug starts an ephemeral container.
func (x *facts) debug(args ...string) string {
	return x.kubectl("debug", append([]string{quote("pod/" + x.Pod)}, args...)...)
}

// again recreates the pod where its owner does not do so by itself when the
// template changes: a StatefulSet waits for a pod that is not ready before it
// replaces one, the others never replace any.
func (x *facts) again() []string {
	if !slices.Contains([]string{"StatefulSet", "ReplicaSet", "ReplicationController"}, x.Owner.Kind) {
		return nil
	}
	return []string{
		comment("%s %s does not replace this pod by itself:", x.Owner.Kind, x.Owner.Name),
		x.kubectl("delete", quote("pod/"+x.Pod)),
	}
}

// static reports whether the pod stands in a file on its node.
func (x *facts) static() bool { return x.Owner.Kind == "Node" }

// target is what kubectl is to change: the workload, or the pod itself.
func (x *facts) target() string {
	if slices.Contains(patchable, x.Owner.Kind) {
		return quote(strings.ToLower(x.Owner.Kind) + "/" + x.Owner.Name)
	}
	return quote("pod/" + x.Pod)
}

// patchable are the workloads whose pod template may be changed.
var patchable = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"} //nolint:gochecknoglobals // never written

// --- policy

func neverRemedy(x *facts) []string {
	lines := []string{comment("load the image on node %s, or let the kubelet pull it:", x.Node)}
	return append(lines, x.allowPull(map[string]any{})...)
}

func notVerifiedRemedy(x *facts) []string {
	if e, ok := x.first(CheckImage, FaultNotVerified); ok && len(e.Image().Candidates) > 0 {
		return append([]string{comment("the kubelet knows the image by another spelling of its name:")}, x.setImage(e.Image().Candidates[0])...)
	}
	spec := map[string]any{}
	var lines []string
	if e, ok := x.first(CheckImage, FaultNotVerified); ok && e.Image().Record == RecordNoCredentials && x.PullPolicy == "Never" {
		return x.allowPull(spec)
	}
	if !x.matched() && !x.credentialed() && !x.static() {
		secret := x.wantedSecret()
		lines = append(lines, x.createSecret(secret))
		if !slices.Contains(x.PullSecrets, secret) {
			spec = attached(secret)
		}
	}
	switch {
	case x.PullPolicy == "Never":
		return append(lines, x.allowPull(spec)...)
	case len(spec) > 0 && x.Kind == KindEphemeralContainer:
		return append(lines, x.debugAnew(spec)...)
	case len(spec) > 0:
		return append(lines, x.patchPod(spec)...)
	}
	return lines
}

// wantedSecret is the name of the secret to make: the one that the pod already
// names, or a new one.
func (x *facts) wantedSecret() string {
	missing := x.secrets(FaultSecretMissing)
	if i := slices.IndexFunc(missing, validName); i >= 0 {
		return missing[i]
	}
	return x.newSecret()
}

// allowPull changes the policy Never of the failing container to IfNotPresent,
// and what else there is in spec.
func (x *facts) allowPull(spec map[string]any) []string {
	one := func(container map[string]any) []any {
		container["name"] = x.Container
		return []any{container}
	}
	switch x.Kind {
	case KindImageVolume:
		spec["volumes"] = one(map[string]any{"image": map[string]any{"pullPolicy": "IfNotPresent"}})
	case KindInitContainer:
		spec["initContainers"] = one(map[string]any{"imagePullPolicy": "IfNotPresent"})
	case KindEphemeralContainer:
		if !x.Offline {
			return x.debugAnew(spec)
		}
		spec["ephemeralContainers"] = one(map[string]any{"imagePullPolicy": "IfNotPresent"})
	default:
		spec["containers"] = one(map[string]any{"imagePullPolicy": "IfNotPresent"})
	}
	return x.patchPod(spec)
}

// debugAnew starts the ephemeral container again, where need be in a pod
// that is recreated with spec.
func (x *facts) debugAnew(spec map[string]any) []string {
	var lines []string
	if len(spec) > 0 {
		lines = x.patchPod(spec)
	}
	if x.Offline {
		return lines
	}
	if len(spec) > 0 && x.Owner.Kind != "" {
		return append(lines, comment("then start the ephemeral container in the new pod"))
	}
	args := []string{"--image=" + quote(x.Image)}
	if x.PullPolicy == "Never" {
		args = append(args, "--image-pull-policy=IfNotPresent")
	}
	return append(lines, comment("an ephemeral container cannot be changed; start another one:"), x.debug(args...))
}

// patchPod changes the pod's spec for good: in the workload's template, or, for
// a pod that nobody manages, by recreating it (most of its spec cannot be
// changed in place).
func (x *facts) patchPod(spec map[string]any) []string {
	if x.Offline {
		return []string{comment("put this into the pod's spec: %s", asJSON(spec))}
	}
	secrets, only := spec["imagePullSecrets"]
	switch kind := x.Owner.Kind; {
	case slices.Contains(patchable, kind):
		template := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}}
		return append([]string{x.kubectl("patch", x.target(), "-p", quote(asJSON(template)))}, x.again()...)
	case x.static():
		return []string{comment("the pod is static: put this into the spec of its manifest on node %s: %s", x.Node, asJSON(spec))}
	case kind == "":
		return x.remake(spec)
	case only && len(spec) == 1 && len(x.PullSecrets) == 0:
		return x.patchServiceAccount(secrets)
	default:
		return []string{comment("%s %s makes the pod: put this into its pod template's spec and make it anew: %s", kind, x.Owner.Name, asJSON(spec))}
	}
}

// remake deletes a pod that nobody manages and recreates it. A pod may not be
// created with ephemeral containers in it. The output of the first command
// carries the namespace, so the second needs none.
func (x *facts) remake(spec map[string]any) []string {
	spec["ephemeralContainers"] = nil
	patch := asJSON(map[string]any{"spec": spec})
	return []string{
		comment("this deletes the pod and makes it anew, since most of a pod cannot be changed in place:"),
		x.kubectl("patch", x.target(), "--dry-run=client -o json -p", quote(patch)) + " | kubectl replace --force -f -",
	}
}

// patchServiceAccount serves pods whose template cannot be changed, such as a
// Job's: the service account's secrets go into every new pod that names none
// (admission plugin ServiceAccount).
func (x *facts) patchServiceAccount(secrets any) []string {
	return []string{
		comment("every new pod of service account %s gets the secret; %s %s then makes the pod anew:", x.account(), x.Owner.Kind, x.Owner.Name),
		x.kubectl("patch", quote("serviceaccount/"+x.account()), "-p", quote(asJSON(map[string]any{"imagePullSecrets": secrets}))),
		x.kubectl("delete", quote("pod/"+x.Pod)),
	}
}

func (x *facts) account() string {
	if x.ServiceAccount == "" {
		return "default"
	}
	return x.ServiceAccount
}

// --- secrets

func missingRemedy(x *facts) []string {
	missing := x.secrets(FaultSecretMissing)
	i := slices.IndexFunc(missing, validName)
	switch {
	case len(missing) == 0:
		return nil
	case i < 0:
		return append([]string{comment("%q is no name that a secret can have; give the pod another one:", missing[0])}, x.addSecret()...)
	}
	return append(x.spelling(), x.createSecret(missing[i]))
}

// spelling is the first thing to do where the registry does not say whether it
// has the repository at all.
func (x *facts) spelling() []string {
	if !x.evasive() {
		return nil
	}
	return []string{comment("check that %s/%s is spelled right; if it is:", x.Registry, x.Repository)}
}

func malformedRemedy(x *facts) []string {
	if e, ok := x.first(CheckCredentials, FaultSecretMalformed); ok {
		if len(e.Credentials().Hosts) > 1 && validName(e.Credentials().Secret) {
			return []string{
				comment("it has entries for %s as well, which are lost if it is made anew: mend the one entry", list(e.Credentials().Hosts)),
				x.kubectl("edit", quote("secret/"+e.Credentials().Secret)),
			}
		}
		return []string{x.replaceSecret(e.Credentials().Secret, false)}
	}
	if e, ok := x.first(CheckCredentials, FaultSecretWrongType, FaultSecretEmpty); ok {
		if e.Fault == FaultSecretEmpty {
			return append(x.spelling(), x.renew(e.Credentials().Secret)...)
		}
		if x.Offline {
			return append(x.spelling(), x.replaceSecret(e.Credentials().Secret, true))
		}
		// A secret's type cannot be changed in place.
		return append(x.spelling(), comment("this deletes the secret and makes it anew; if something else uses it, take another name and add it to imagePullSecrets"),
			x.replaceSecret(e.Credentials().Secret, true))
	}
	return nil
}

func noMatchRemedy(x *facts) []string {
	if x.evasive() { // the secret may be innocent, so it is left alone
		return append(x.spelling(), x.addSecret()...)
	}
	return x.renewFirst(x.secrets(FaultNoMatchingCredential))
}

// renewFirst renews the first of several secrets; nil if there is none.
func (x *facts) renewFirst(secrets []string) []string {
	if len(secrets) == 0 {
		return nil
	}
	return x.renew(secrets[0])
}

// renew replaces a secret in place where that loses nothing but the one entry
// that is of no use here, and adds another secret where it would.
func (x *facts) renew(secret string) []string {
	i := slices.IndexFunc(x.all, func(e *Evidence) bool { return e.Check == CheckCredentials && e.Credentials().Secret == secret })
	if i < 0 {
		return []string{comment("replace the login in %s, on node %s", secret, x.Node)}
	}
	hosts := x.all[i].Credentials().Hosts
	if len(hosts) > 1 {
		return x.addSecret()
	}
	var lines []string
	if len(hosts) == 1 && hosts[0] != x.Registry && hosts[0] != server(x.Registry) {
		lines = append(lines, comment("this replaces the secret's only entry, for %s; if other pods need that, take another name and add it to imagePullSecrets", hosts[0]))
	}
	return append(lines, x.replaceSecret(secret, false))
}

func noCredentialsRemedy(x *facts) []string {
	if len(x.unsent()) > 0 {
		return unsentRemedy(x)
	}
	var lines []string
	if unread := x.secrets(FaultSecretUnreadable); len(unread) > 0 && !x.Offline {
		lines = append(lines, comment("%s either not there or not for %s:", pullSecrets(unread, "is", "are"), x.Registry))
	}
	return append(lines, x.addSecret()...)
}

func rejectedRemedy(x *facts) []string {
	lines := x.renewUsed(x.orAgain(x.rejected(), CredentialsRejected))
	if e, ok := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.passed() && e.Credentials().IfRejected != "" }); ok {
		lines = append([]string{comment("%s", e.Credentials().IfRejected)}, lines...)
	}
	if len(lines) == 0 && x.message().CredentialsSent {
		return append([]string{comment("on node %s, look at the kubelet's own credentials (/var/lib/kubelet/config.json) and credential providers; or give the pod its own:", x.Node)}, x.addSecret()...)
	}
	if slices.ContainsFunc(x.anonymous(), (*Evidence).passed) && len(used(x.rejected())) > 0 && len(lines) > 0 {
		return append([]string{comment("take %s out of imagePullSecrets, since nobody needs credentials here, or mend it:", list(used(x.rejected())))}, lines...)
	}
	return lines
}

func expiredRemedy(x *facts) []string { return x.renewUsed(x.expiredCredentials()) }

func deniedRemedy(x *facts) []string {
	if e, ok := x.refusedElsewhere(); ok {
		host := hostOf(e.Endpoint.URL)
		first := comment("pulls from %s also need %s, to which it redirects: allow that host in the firewall or proxy between node %s and there, or use a mirror", x.Registry, host, x.Node)
		return append([]string{first}, onNodeRemedy("curl -sv --max-time 20")(x)...)
	}
	refused := x.refusedContents()
	if len(refused) > 0 && refused[0].redirected() {
		return x.elsewhereRemedy(hostOf(refused[0].Endpoint.URL))
	}
	lines := x.renewUsed(append(refused, x.orAgain(x.denied(), AccessDenied, DeniedOrNotFound)...))
	if len(lines) == 0 {
		return nil
	}
	return append([]string{comment("have the user granted pull on %s, or take another user:", x.Repository)}, lines...)
}

// hopRemedy lets the node come through to a host that the registry redirects to,
// which a firewall that allows the registry alone does not.
func (x *facts) hopRemedy(e *Evidence, cause Cause) []string {
	host, command := hostOf(e.Endpoint.URL), "curl -sv --max-time 20"
	first := comment("pulls from %s also need %s, to which it redirects: let node %s reach that host (firewall, proxy, NO_PROXY), or use a mirror", x.Registry, host, x.Node)
	switch {
	case x.row(cause).kin&kinName != 0:
		first = comment("pulls from %s also need %s, to which it redirects: have node %s resolve that name, or use a mirror", x.Registry, host, x.Node)
		command = "getent ahosts"
	case x.row(cause).kin&kinTLS != 0:
		first = comment("pulls from %s also need %s, to which it redirects: exempt that host from TLS inspection, or have node %s trust the authority that inspects", x.Registry, host, x.Node)
		command = "curl -svk --max-time 20"
	}
	return append([]string{first}, onNodeRemedy(command)(x)...)
}

// elsewhereRemedy: a registry sends for blobs to addresses that it has signed, by
// its own clock, for a storage that holds them against its own; neither the credentials
// nor the node's clock has a part in that.
func (x *facts) elsewhereRemedy(host string) []string {
	lines := []string{
		comment("the registry gives the manifest; it is %s that refuses: look for a proxy, a firewall or an endpoint policy between node %s and there", host, x.Node),
		comment("if it refuses other nodes as well, have the registry's right to its own storage looked at, and its clock, by which it signs the addresses"),
	}
	return append(lines, onNodeRemedy("curl -sv --max-time 20")(x)...)
}

// renewUsed renews the secret that attempts were made with, else the one that
// would be used; nil if none is known.
func (x *facts) renewUsed(attempts []*Evidence) []string {
	if sources := append(used(attempts), x.matching()...); len(sources) > 0 {
		return x.renew(sources[0])
	}
	unread := x.secrets(FaultSecretUnreadable)
	if len(unread) == 0 {
		return nil
	}
	return []string{
		comment("whypull may not read secret %s; if it holds nothing but this login, replace it:", unread[0]),
		x.replaceSecret(unread[0], false),
	}
}

// rateLimitRemedy waits; where the pull brings no credential, one has a limit of its
// own.
func rateLimitRemedy(x *facts) []string {
	when := "it succeeds when the limit is over"
	if e, ok := x.atOrigin(FaultRateLimited); ok && e.Registry().RetryAfter > 0 {
		when = fmt.Sprintf("the registry may be asked again in %s", e.Registry().RetryAfter.Truncate(time.Second))
	}
	lines := []string{comment("the kubelet goes on trying; %s", when)}
	if x.Offline {
		lines = []string{comment("%s", when)}
	}
	if !x.credentialed() && len(x.PullSecrets) == 0 {
		lines = append(lines, comment("a pull secret for %s would give the pod a limit of its own; a mirror spares both", x.Registry))
	}
	return append(lines, x.kubectl("get", quote("pod/"+x.Pod), "--watch"))
}

func deniedOrNotFoundRemedy(x *facts) []string {
	if len(x.orAgain(x.undisclosed(), DeniedOrNotFound)) > 0 {
		return deniedRemedy(x)
	}
	lines := []string{comment("check that %s/%s is spelled right; if it is, give the pod credentials that may pull it:", x.Registry, x.Repository)}
	return append(lines, x.addSecret()...)
}

// addSecret makes a new secret and gives it to the pod.
func (x *facts) addSecret() []string {
	if x.static() {
		return []string{comment("a static pod has no pull secrets: put a login for %s into /var/lib/kubelet/config.json on node %s", x.Registry, x.Node)}
	}
	name := x.newSecret()
	lines := []string{x.createSecret(name)}
	if x.Kind == KindEphemeralContainer {
		return append(lines, x.debugAnew(attached(name))...)
	}
	return append(lines, x.patchPod(attached(name))...)
}

// attached is a pod's spec that names one more secret: such a list is merged
// with the one that is there.
func attached(secret string) map[string]any {
	return map[string]any{"imagePullSecrets": []any{map[string]any{"name": secret}}}
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
	const most = 200
	return strings.TrimRight("pull-"+strings.TrimLeft(name[:min(len(name), most)], "-."), "-.")
}

// validName tells what the API server takes for the name of a secret. It does
// not ask this of the names in imagePullSecrets.
func validName(name string) bool {
	odd := func(r rune) bool { return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, odd) && strings.Trim(name, "-.") == name
}

func (x *facts) createSecret(name string) string {
	if !validName(name) {
		return comment("%q is no name that a secret can have", name)
	}
	return x.kubectl("create secret docker-registry", quote(name),
		"--docker-server="+quote(server(x.Registry)), "--docker-username=<username>", "--docker-password=<password>")
}

// replaceSecret recreates a secret. The output of the first command carries
// the namespace given by -n, so the second needs none.
func (x *facts) replaceSecret(name string, force bool) string {
	if !validName(name) {
		return x.createSecret(name)
	}
	if x.Offline {
		return x.createSecret(name) + " --dry-run=client -o yaml"
	}
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

// certificateRemedy has no command that fixes it; it shows the certificate as the
// node gets it, whatever is wrong with it.
func certificateRemedy(cause Cause) func(*facts) []string {
	return func(x *facts) []string {
		return append([]string{comment("%s", x.row(cause).Advice)}, onNodeRemedy("curl -svk --max-time 20")(x)...)
	}
}

// mirrorRemedy fixes what is wrong behind the mirror, since the mirror itself may
// only lack what the registry would not give it; and says where the mirror is
// configured.
func mirrorRemedy(x *facts) []string {
	var lines []string
	if hidden, _ := x.hidden(); hidden != "" {
		lines = append(x.withoutMirrors().remedy(hidden), comment("and for the mirror:"))
	}
	e := x.mirrors()
	if len(e) == 0 {
		return nil
	}
	file := e[0].Endpoint.ConfigFile
	if file == "" {
		file = x.hostsDir() + "/hosts.toml"
	}
	if withheld, ok := find(x.of(CheckRegistry), func(e *Evidence) bool { return e.Endpoint.Mirror && e.Reason == ReasonCredentialsWithheld }); ok {
		lines = append(lines, comment("CRI-O does not send the pod's credentials to %s: put the mirror's own into the node's global_auth_file, or name %s in the image", hostOf(withheld.Endpoint.URL), hostOf(withheld.Endpoint.URL)))
	}
	reload := ""
	if readsRegistries(file) {
		reload = ", and run " + reloadCRIO + " after a change"
	}
	lines = append(lines, comment("on node %s: mend the mirror, or take it out of %s%s:", x.Node, file, reload))
	return append(lines, "curl -sv --max-time 20 "+quote(e[0].Endpoint.URL+"/v2/"))
}

// proxyRemedy asks for the registry through the proxy, as the runtime does.
func proxyRemedy(x *facts) []string {
	e, ok := x.atOrigin(FaultProxyFailed, FaultWebPage)
	if !ok || e.Registry().Proxy == "" {
		return nil
	}
	tls := ""
	if strings.HasPrefix(e.Registry().Proxy, "https://") {
		tls = comment("HTTPS_PROXY begins with https://, so that the runtime speaks TLS with the proxy itself; most proxies take http:// there")
	}
	return []string{
		tls,
		comment("on node %s, ask through the proxy as the runtime does:", x.Node),
		"curl -sv --max-time 20 --proxy " + quote(e.Registry().Proxy) + " " + quote(e.Endpoint.URL+"/v2/"),
		comment("then mend the proxy, or set NO_PROXY for %s in the runtime's environment and restart the runtime", hostOnly(x.host())),
	}
}

// nodesByPlatform shows the platform of every node.
const nodesByPlatform = "kubectl get nodes --label-columns=kubernetes.io/os,kubernetes.io/arch"

// formatRemedy looks at what the node gets, where that is no manifest at all.
func formatRemedy(x *facts) []string {
	if _, ok := x.atOrigin(FaultWebPage); !ok {
		return nil
	}
	lines := []string{comment("find out who answers in place of %s: a login page of the network, a web server, a proxy", x.Registry)}
	return append(lines, onNodeRemedy("curl -sv --max-time 20")(x)...)
}

// platformRemedy has no command that builds an image; it shows where the image
// would run.
func platformRemedy(x *facts) []string {
	e, ok := x.atOrigin(FaultPlatformMismatch)
	if !ok || e.Registry().Platform == "" {
		return nil
	}
	if len(e.Registry().Platforms) == 0 {
		return []string{comment("build and push %s for %s (docker buildx build --platform …): the index that is there names no platform", x.image(), e.Registry().Platform)}
	}
	return []string{
		comment("build and push %s for %s as well (docker buildx build --platform …), or let the pod run where one of these fits: %s", x.image(), e.Registry().Platform, list(e.Registry().Platforms)),
		nodesByPlatform,
	}
}

// configRemedy says what to correct, and where.
func configRemedy(x *facts) []string {
	e, ok := x.wrongConfig()
	if !ok {
		return x.advise(RegistryConfigInvalid)
	}
	if e.Config().Problem == ConfigNotLoaded {
		return []string{
			comment("on node %s, have CRI-O read its registries again: %s", x.Node, x.detail(e)),
			reloadCRIO, x.kubectl("get", quote("pod/"+x.Pod), "--watch"),
		}
	}
	when := "the runtime reads it anew for each pull"
	switch {
	case readsRegistries(e.Config().File):
		when = "then have CRI-O read it again with " + reloadCRIO
	case !perRegistry(e.Config().File) && !slices.Contains(readForEachPull, e.Config().Problem):
		when = "then restart the runtime, which reads it when it starts"
	}
	return []string{
		comment("on node %s, correct this; %s: %s", x.Node, when, x.detail(e)),
		x.kubectl("get", quote("pod/"+x.Pod), "--watch"),
	}
}

// readForEachPull are the problems of files that CRI-O reads for each pull.
//
//nolint:gochecknoglobals // never written
var readForEachPull = []ConfigProblem{ConfigAuthFileBroken, ConfigPolicyUnusable, ConfigSignatureStoreBroken, ConfigCertificatesUnusable}

// helperRemedy is for the runtime's own credential helper.
func helperRemedy(x *facts) []string {
	if !x.message().RuntimeHelper {
		return nil
	}
	return []string{
		comment("on node %s: install or correct the program docker-credential-… that credHelpers of the runtime's file of credentials, or credential-helpers of registries.conf, names; or give the pod a pull secret", x.Node),
		x.kubectl("get", quote("pod/"+x.Pod), "--watch"),
	}
}

// unsentRemedy is for a registry that does not ask for credentials where CRI-O looks.
func unsentRemedy(x *facts) []string {
	return []string{
		comment("have %s answer GET /v2/ with 401 and a WWW-Authenticate header, as the distribution specification has it; ask on node %s:", x.host(), x.Node),
		"curl -sv --max-time 20 " + quote(x.endpoint()+"/v2/"),
	}
}

// reloadCRIO has CRI-O read registries.conf again, without a restart.
const reloadCRIO = "systemctl reload crio"

// readsRegistries reports whether a file is one that CRI-O keeps until it is told to
// reload.
func readsRegistries(file string) bool { return strings.Contains(file, "/registries.conf") }

// signatureRemedy says where the policy is that has refused the image.
func signatureRemedy(x *facts) []string {
	e := x.policy()
	if e == nil {
		return nil
	}
	return []string{
		comment("sign the image, or on node %s change what %s says of %s; CRI-O reads it anew for each pull:", x.Node, e.Config().File, x.Registry),
		"cat " + quote(e.Config().File),
	}
}

// blockedRemedy says where the node itself blocks the registry.
func blockedRemedy(x *facts) []string {
	e, ok := find(x.of(CheckRegistry), func(e *Evidence) bool { return e.Config().Problem == ConfigBlocked })
	if !ok {
		return nil
	}
	return []string{
		comment("on node %s, take blocked = true out of the entry for %s in %s if the registry is to be used; then:", x.Node, x.Registry, e.Config().File),
		reloadCRIO,
	}
}

// onNodeRemedy says what to ask on the node, with the command that shows it.
func onNodeRemedy(command string) func(*facts) []string {
	return func(x *facts) []string {
		host, url := x.host(), x.endpoint()+"/v2/"
		if e := x.elsewhere(); e != "" {
			host, url = e, "https://"+e+"/"
		}
		what := quote(url)
		if !strings.HasPrefix(command, "curl") {
			what = quote(hostOnly(host))
		}
		return []string{comment("on node %s:", x.Node), command + " " + what}
	}
}

func untrustedRemedy(x *facts) []string {
	if x.elsewhere() != "" { // hosts.toml is about registries only
		return nil
	}
	if file := x.configFile(); file != "" && !x.crio() {
		return x.inFile(file, "give the registry's CA certificate")
	}
	if x.crio() {
		return x.certificateOfCRIO()
	}
	dir, url := x.hostsDir(), x.endpoint()
	return []string{
		comment("on node %s, with the CA certificate of %s in <ca.crt>:", x.Node, x.host()),
		// In this order a shell refuses the line until it is filled in, also
		// where there is a file ca.crt.
		"mkdir -p " + quote(dir) + " && cat > " + quote(dir+"/ca.crt") + " <ca.crt>",
		comment("a hosts.toml that is there already is left alone: add ca = \"ca.crt\" to its host; CRI-O reads /etc/containers/certs.d/%s/ca.crt instead:", x.Registry),
		hostsFile(dir, `server = "`+url+`"`, `[host."`+url+`"]`, `ca = "ca.crt"`),
	}
}

// certificateOfCRIO gives CRI-O the registry's authority.
func (x *facts) certificateOfCRIO() []string {
	dir := "/etc/containers/certs.d/" + x.host()
	return []string{
		comment("on node %s, with the CA certificate of %s in <ca.crt>; CRI-O reads it anew for each pull:", x.Node, x.host()),
		"mkdir -p " + quote(dir) + " && cat > " + quote(dir+"/ca.crt") + " <ca.crt>",
	}
}

// schemeOfCRIO lets CRI-O speak plain HTTP, by a file of its own.
func (x *facts) schemeOfCRIO() []string {
	if file := x.configFile(); file != "" {
		return []string{
			comment("on node %s, set insecure = true for %s in %s if it is to speak plain HTTP; then:", x.Node, x.host(), file),
			reloadCRIO,
		}
	}
	const dir = "/etc/containers/registries.conf.d"
	file := quote(dir + "/" + strings.NewReplacer(":", "_", "/", "_").Replace(x.host()) + ".conf")
	return []string{
		comment("on node %s, if %s is to speak plain HTTP:", x.Node, x.host()),
		"mkdir -p " + quote(dir),
		"test -e " + file + " || printf '%s\\n' " + quote("[[registry]]") + " " + quote(`location = "`+x.host()+`"`) + " " + quote("insecure = true") + " > " + file,
		reloadCRIO,
	}
}

func httpsRemedy(x *facts) []string {
	if x.elsewhere() != "" {
		return nil
	}
	if e, ok := x.atOrigin(FaultHTTPSMismatch); ok && e.Registry().OtherProtocol {
		lines := []string{
			comment("see what answers there; ask from node %s: curl -sv --max-time 20 %s", x.Node, quote(strings.Replace(x.endpoint(), "https://", "http://", 1)+"/v2/")),
			comment("if the registry is on another port, correct it:"),
		}
		return append(lines, x.setImage(blank("registry:port")+"/"+x.Repository+x.Ref().Suffix())...)
	}
	if x.crio() {
		return x.schemeOfCRIO()
	}
	if file := x.configFile(); file != "" {
		return x.inFile(file, "correct the registry's scheme")
	}
	dir := x.hostsDir()
	url := "http://" + x.host()
	if strings.HasPrefix(x.endpoint(), "http://") {
		url = "https://" + x.host()
	}
	return []string{
		comment("on node %s; a hosts.toml that is there already is left alone: correct the scheme in it:", x.Node),
		"mkdir -p " + quote(dir),
		hostsFile(dir, `server = "`+url+`"`, `[host."`+url+`"]`),
	}
}

// hostsFile writes a file of these lines, unless there is one.
func hostsFile(dir string, lines ...string) string {
	words := make([]string, len(lines))
	for i, l := range lines {
		words[i] = quote(l)
	}
	file := quote(dir + "/hosts.toml")
	return "test -e " + file + " || printf '%s\\n' " + strings.Join(words, " ") + " > " + file
}

// configFile is the runtime's own file that configures the registry, "" where
// that is hosts.toml or nothing.
func (x *facts) configFile() string {
	for _, e := range x.origin() {
		if e.Endpoint.ConfigFile != "" {
			return e.Endpoint.ConfigFile
		}
	}
	return ""
}

// inFile says what to do in the runtime's own file.
func (x *facts) inFile(file, what string) []string {
	how := "registry.configs of this host has its TLS settings; containerd reads it when it starts"
	if strings.HasPrefix(file, "/etc/containers/") {
		how = "CRI-O takes CA certificates from /etc/containers/certs.d/" + x.host() + ", and insecure = true for plain HTTP from this file"
	}
	return []string{comment("on node %s, %s: %s is configured in %s (%s)", x.Node, what, x.Registry, file, how), x.kubectl("get", quote("pod/"+x.Pod), "--watch")}
}

// hostsDir is where containerd looks for the registry's hosts.toml.
func (x *facts) hostsDir() string {
	root := "/etc/containerd/certs.d"
	for _, e := range x.of(CheckRegistry) {
		if e.Endpoint.ConfigDir != "" {
			root = e.Endpoint.ConfigDir
		}
	}
	return root + "/" + x.Registry
}

// --- words

// What a person has to fill in stands between these two in a text that is not
// yet quoted. They are private to whoever uses them; no image has them.
const (
	blankStart = "\uE000"
	blankEnd   = "\uE001"
)

func blank(name string) string { return blankStart + name + blankEnd }

// blanks are the names that blank is called with.
var blanks = []string{"image", "tag", "repository", "registry", "registry:port"} //nolint:gochecknoglobals // never written

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

// comment is a line that a shell skips. What is in it may come from anybody:
// remedy takes the line ends out.
func comment(format string, args ...any) string {
	return "# " + strings.NewReplacer(blankStart, "<", blankEnd, ">").Replace(fmt.Sprintf(format, args...))
}

// quote makes s one word for a POSIX shell, as it is where that is safe. The
// blanks in it stay open, so that a shell refuses the word.
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
