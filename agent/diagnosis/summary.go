package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// summary returns the verdict in one sentence.
func (x *facts) summary(cause Cause) string {
	s := ""
	if of := x.row(cause).summary; of != nil {
		s = Printable(of(x))
	}
	if s == "" {
		s = x.general(cause)
	}
	if image := x.meant(cause); image != "" && !strings.Contains(s, image) {
		s += "; the name is the address of a web page: did you mean " + image + "?"
	}
	return Printable(s)
}

// general returns the summary of a cause that has none of its own: the image,
// the catalogue's meaning, and the host that the text blames if that is not the
// upstream registry.
func (x *facts) general(cause Cause) string {
	at := ""
	if host := x.elsewhere(); host != "" && x.reading() == cause {
		at = fmt.Sprintf(" (at %s)", host)
		if x.ofMirrorByText() {
			at = fmt.Sprintf(" (at mirror %s)", host)
		}
	}
	return fmt.Sprintf("%s cannot be pulled: %s%s%s", x.image(), x.row(cause).clause(), at, x.asWell())
}

// image returns the image as written, without the middle of a very long name.
func (f Failure) image() string {
	const most, half = 120, 56
	if len(f.Image) <= most {
		return f.Image
	}
	return f.Image[:half] + "…" + f.Image[len(f.Image)-half:]
}

// detailSummary returns the sentence of the decisive evidence, "" if there is none.
func detailSummary(faults ...Fault) func(*facts) string {
	return func(x *facts) string {
		e, _ := x.atOrigin(faults...)
		return x.detail(e)
	}
}

// blockedSummary is detailSummary, or about a registry that the node itself blocks.
func blockedSummary(x *facts) string {
	if s := detailSummary(FaultPolicyBlocked)(x); s != "" || !x.blockedHere() {
		return s
	}
	return fmt.Sprintf("the registry configuration of node %s blocks %s, so the runtime does not ask it for %s", x.Node, x.Registry, x.Repository)
}

// formatSummary is detailSummary, or about encrypted layers.
func formatSummary(x *facts) string {
	if s := detailSummary(FaultUnsupportedFormat, FaultWebPage)(x); s != "" || !x.undecrypted() {
		return s
	}
	return fmt.Sprintf("%s has encrypted layers, and the container runtime of node %s cannot decrypt them: it has no key for them, or no decryption set up", x.image(), x.Node)
}

// undecrypted reports whether the image has encrypted layers by the runtime's text or by its
// manifest.
func (x *facts) undecrypted() bool { return x.message().Undecrypted || x.encrypted() }

// trustSummary is detailSummary with a setting without effect that would make the runtime
// trust the registry, or not ask for a certificate.
func trustSummary(fault Fault) func(*facts) string {
	return func(x *facts) string {
		return x.withUnused(detailSummary(fault)(x), ConfigOfTLS, ConfigOfProxy, ConfigOfTrust)
	}
}

// unusedSummary is detailSummary with a setting without effect that would matter.
func unusedSummary(matters ConfigEffect, faults ...Fault) func(*facts) string {
	return func(x *facts) string { return x.withUnused(detailSummary(faults...)(x), matters) }
}

// connectionSummary is detailSummary with what the pod can do and the node cannot.
func connectionSummary(fault Fault) func(*facts) string {
	return func(x *facts) string {
		e, _ := x.atOrigin(fault)
		s := x.detail(e)
		if s == "" {
			return ""
		}
		connected := e.Registry().Phase.connected() || x.elsewhere() != "" // or it is another host
		s = x.withUnused(s, ConfigOfWay)
		if x.onlyIPv6() {
			s += "; its name has only IPv6 addresses"
		}
		stale, there := x.fromHostsFile(), "to it"
		if stale {
			s += "; the address is from the node's hosts file"
		}
		if e, ok := x.pod(); ok && (e.DNS().Compared == ComparedOther || stale) {
			s += fmt.Sprintf("; the pod's DNS resolves it to %s", list(e.DNS().Addresses))
			there = "there"
		}
		if x.podReaches() && !connected {
			s += "; the pod can connect " + there
		}
		return s
	}
}

// timeoutSummary is connectionSummary for what may only be slow.
func timeoutSummary(x *facts) string {
	s := connectionSummary(FaultConnectionTimeout)(x)
	if s != "" && x.impatient() {
		s += "; the runtime waits longer than whypull does"
	}
	return s
}

// signatureSummary names the policy that has refused the image.
func signatureSummary(x *facts) string {
	e := x.policy()
	switch {
	case x.unsigned():
		return fmt.Sprintf("%s does not serve %s: its policy requires a signature that the image does not have", x.Registry, x.image())
	case e == nil:
		return ""
	case e.Config().Problem == ConfigPolicySigned:
		return fmt.Sprintf("CRI-O refuses %s: it has no signature that the node's policy %s accepts", x.image(), e.Config().File)
	}
	return x.detail(e)
}

func providerSummary(x *facts) string {
	if x.message().RuntimeHelper {
		return fmt.Sprintf("the credential helper of node %s's container runtime fails for %s; the runtime asks it where a pull brings no credentials", x.Node, x.image())
	}
	if e, ok := x.first(CheckCredentials, FaultProviderFailed); ok {
		c := e.Credentials()
		return fmt.Sprintf("kubelet credential provider %s %s; %s requires credentials for %s", c.Provider, x.ran(c, providerRuns[c.Run].says), x.Registry, x.Repository)
	}
	e, ok := x.noted(CheckCredentials, FaultProviderMatches)
	if !ok {
		return ""
	}
	if x.reading() != AuthenticationRequired {
		return fmt.Sprintf("kubelet credential provider %s returned no credentials with pull access to %s, and %s denies the pull", e.Credentials().Provider, x.Repository, x.Registry)
	}
	return fmt.Sprintf("kubelet credential provider %s returned no credentials, but %s requires them for %s", e.Credentials().Provider, x.Registry, x.Repository)
}

// nameSummary is detailSummary for the name of the registry, or of a server to
// which the registry redirects.
func nameSummary(fault Fault) func(*facts) string {
	return func(x *facts) string {
		if e, ok := x.unresolved(fault); ok {
			return x.withUnused(x.detail(e)+x.inPod(), ConfigOfWay)
		}
		if fault == FaultNameNotFound {
			return detailSummary(fault, FaultAddressUnspecified)(x)
		}
		return detailSummary(fault)(x)
	}
}

func sandboxSummary(x *facts) string {
	cause, _ := x.ofSandbox()
	if cause == "" {
		return ""
	}
	return fmt.Sprintf("no container of the pod can start: node %s cannot pull sandbox image %s: %s", x.Node, x.image(), x.asContainer().summary(cause))
}

// stalledSummary returns the sentence about the transfer and, if the pull of this
// image has stalled and not another one, what the registry answers now.
func stalledSummary(x *facts) string {
	e, ok := x.first(CheckPull, FaultStalled, FaultWaitsForIt)
	if !ok {
		if e, ok = x.atOrigin(FaultConnectionTimeout); ok {
			return fmt.Sprintf("CRI-O waits for %s without a time limit: %s", x.image(), x.detail(e))
		}
		return ""
	}
	switch bad := x.origin(); {
	case e.Fault != FaultStalled:
	case x.works():
		return x.detail(e) + "; the registry responds to whypull"
	case len(bad) > 0:
		return x.detail(e) + "; now: " + x.detail(bad[0])
	}
	return x.detail(e)
}

// diskFullSummary returns the sentence about the file systems, even if none of
// them is full now: a runtime removes what it wrote of an image that it could not
// store. If no file system can be seen, it names the directory that the runtime's
// text names.
func diskFullSummary(x *facts) string {
	if x.intentUnrecorded() {
		return fmt.Sprintf("no space left in %s on node %s, where the kubelet records each pull before it starts", kubeletsRoot, x.Node)
	}
	looked := filter(x.of(CheckPull), func(e *Evidence) bool { return e.Pull().Retry == nil })
	for _, some := range [][]*Evidence{filter(looked, (*Evidence).failed), looked} {
		if e, ok := firstOf(some, FaultDiskFull); ok {
			return x.detail(e)
		}
	}
	_, failed := x.first(CheckPull, FaultDiskFull)
	for _, e := range looked {
		switch {
		case len(e.Disk().Seen()) == 0 || !e.ran(), e.Disk().Presumed() && failed: // it seems to be the wrong one
		case failed:
			return "the runtime ran out of disk space, in a retried pull too; " + x.detail(e)
		default:
			return "the runtime ran out of disk space; " + x.detail(e)
		}
	}
	return fmt.Sprintf("node %s has no space left for what the runtime writes%s%s", x.Node, after(" to ", x.fullDirectory()), x.asWell())
}

// fullDirectory returns containerd's content store if the runtime's text names it.
func (x *facts) fullDirectory() string {
	for _, e := range x.retries() {
		if m := e.Retry().Message; m != nil && m.FullStore != "" {
			return m.FullStore
		}
	}
	return x.message().FullStore
}

// withUnused adds to a sentence a setting that would matter, and that has no effect.
func (x *facts) withUnused(s string, matters ...ConfigEffect) string {
	if unused := x.unused(append(matters, ConfigOfBoth)...); unused != "" && s != "" {
		s += "; " + unused
	}
	return s
}

// unused returns the sentence of a setting without effect; "" if there is none that matters.
func (x *facts) unused(matters ...ConfigEffect) string {
	e, ok := find(x.of(CheckRegistry), func(e *Evidence) bool { return slices.Contains(matters, e.Config().Problem.Effect()) })
	if !ok {
		return ""
	}
	return x.detail(e)
}

// inPod returns what the pod's DNS says of a name that the node does not resolve.
func (x *facts) inPod() string {
	e, _ := x.pod()
	switch e.DNS().Compared {
	case ComparedOnlyPod:
		return fmt.Sprintf("; the pod's DNS resolves it to %s, but image pulls use the node's resolver", list(e.DNS().Addresses))
	case ComparedNeither:
		return fmt.Sprintf("; the pod's DNS (%s) does not resolve it either", e.DNS().Server)
	case "", ComparedSame, ComparedOther, ComparedOnlyNode:
	}
	return ""
}

func runtimeSummary(x *facts) string {
	if x.unmapped() {
		return fmt.Sprintf("%s has files of users or groups that the user namespace of the container runtime on node %s does not have", x.image(), x.Node)
	}
	e, _ := x.noted(CheckImage, FaultRuntimeUnready)
	return x.detail(e)
}

// unmapped reports whether the runtime could not give a file of the image to its owner, in
// the words of containerd and containers/storage: it runs in a user namespace.
func (x *facts) unmapped() bool {
	text := x.message().Text
	shows := func(words string) bool { return strings.Contains(text, words) }
	return x.reading() == RuntimeError && (slices.ContainsFunc([]string{"/etc/subuid", "insufficient UIDs", "cannot be mapped to a host ID"}, shows) ||
		shows("lchown ") && shows(": invalid argument"))
}

func configSummary(x *facts) string {
	e, _ := x.wrongConfig()
	switch {
	case e == &none:
		return ""
	case e == x.changed() && x.works():
		return x.detail(e) + "; by the file as it is now, the pull works"
	case e.failed(), e.Config().Endpoint != "":
		return x.detail(e)
	}
	return x.detail(e) + "; this may be why the pull from " + x.Registry + " fails"
}

func mirrorSummary(x *facts) string {
	all := x.mirrors()
	hidden, _ := x.hidden()
	switch {
	case len(all) == 0:
		return ""
	case x.blocked():
		return fmt.Sprintf("node %s asks mirrors only, since it blocks %s itself, and they fail: %s", x.Node, x.Registry, x.detail(x.shown()))
	case x.crio() && x.row(hidden).Unreachable():
		return fmt.Sprintf("node %s has no way to %s, and its mirror fails: %s", x.Node, x.Registry, x.detail(x.shown()))
	case x.replaced():
		return fmt.Sprintf("%s; node %s uses this mirror instead of %s", x.detail(all[0]), x.Node, x.Registry)
	case hidden != "":
		return fmt.Sprintf("%s; a mirror's error hides this: %s", x.withoutMirrors().summary(hidden), x.detail(x.shown()))
	}
	content := x.unusable()
	if len(content) == 0 {
		return ""
	}
	return fmt.Sprintf("%s; node %s pulls %s from this mirror", x.detail(content[0]), x.Node, x.image())
}

// shown returns the failure at the mirror that the runtime's text is about, else
// at the first mirror.
func (x *facts) shown() *Evidence {
	all, host, cause := x.mirrors(), x.message().Host, x.reading()
	i := slices.IndexFunc(all, func(e *Evidence) bool { return hostOf(e.Endpoint.URL) == host })
	if i < 0 {
		i = slices.IndexFunc(all, func(e *Evidence) bool { return x.akin(e.Fault.Points(), cause) })
	}
	return all[max(i, 0)]
}

// imageVolumeSummary: the image has been pulled, and its content cannot be used.
func imageVolumeSummary(x *facts) string {
	return fmt.Sprintf("%s cannot be mounted: the container runtime of node %s does not support image volumes", x.image(), x.Node)
}

func invalidNameSummary(x *facts) string {
	e, _ := x.first(CheckImage, FaultNameInvalid)
	s := fmt.Sprintf("image name %q is not valid%s", x.image(), after(": ", e.Image().Invalid))
	if len(e.Image().Candidates) > 0 {
		s += fmt.Sprintf("; did you mean %s?", e.Image().Candidates[0])
	}
	return s
}

func notPresentSummary(x *facts) string {
	if !x.absent() {
		return fmt.Sprintf("image %s is not present on node %s or not verified for this pod: the kubelet does not say which, and the pull policy Never prevents a pull", x.image(), x.Node)
	}
	s := fmt.Sprintf("image %s is not on node %s, and the pull policy Never prevents a pull", x.image(), x.Node)
	if built := x.builtHere(); built != "" {
		s += "; the node has it as " + built
	}
	return s
}

// builtHere returns the name, without a registry's, under which the node has the
// image; "" if it has none.
func (x *facts) builtHere() string {
	e, _ := x.first(CheckImage, FaultImageAbsent)
	i := slices.IndexFunc(e.Image().Others, func(name string) bool {
		return x.Registry != "localhost" && strings.HasPrefix(name, "localhost/") && strings.HasSuffix(name, ":"+cmp.Or(x.Ref().Tag, "latest"))
	})
	if i < 0 {
		return ""
	}
	return e.Image().Others[i]
}

func notVerifiedSummary(x *facts) string {
	if e, ok := x.first(CheckImage, FaultNotVerified); ok && e.Image().Record != "" {
		return x.detail(e)
	}
	why := "the pod has no pull secret"
	switch {
	case x.matched() || x.credentialed():
		why = "with the pull policy Never it cannot check those of the pod"
	case x.has(CheckCredentials, FaultNoMatchingCredential):
		why = "no pull secret of the pod is for " + x.Registry
	case x.has(CheckCredentials, FaultSecretMissing):
		why = "the pod's pull secret does not exist"
	case x.unread():
		why = fmt.Sprintf("whypull %s the pod's pull secret", x.didNotRead())
	}
	return fmt.Sprintf("image %s is on node %s, but the kubelet requires credentials that can pull it, and %s",
		x.image(), x.Node, why)
}

// secrets returns the names of the secrets with one of the faults, each once.
func (x *facts) secrets(faults ...Fault) []string {
	return names(filter(x.of(CheckCredentials), func(e *Evidence) bool { return slices.Contains(faults, e.Fault) }))
}

func names(all []*Evidence) []string {
	return distinct(all, func(e *Evidence) string { return e.Credentials().Secret })
}

// distinct returns what evidence has of something, each once, without "".
func distinct(all []*Evidence, of func(*Evidence) string) []string {
	var out []string
	for _, e := range all {
		if s := of(e); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func secretMissingSummary(x *facts) string {
	missing := x.secrets(FaultSecretMissing)
	if len(missing) == 0 {
		return ""
	}
	s := fmt.Sprintf("%s not exist in namespace %s, and %s requires credentials", pullSecrets(missing, "does", "do"), x.Namespace, x.Registry)
	if x.evasive() { // the image's name may be wrong as well
		s += fmt.Sprintf(" or has no repository %s: it does not say which", x.Repository)
	}
	if e, ok := x.first(CheckCredentials, FaultSecretMalformed, FaultSecretWrongType, FaultSecretEmpty); ok { // its detail would be too long here
		s += fmt.Sprintf("; pull secret %s is not usable either", e.Credentials().Secret)
	}
	return s
}

func secretMalformedSummary(x *facts) string {
	for _, faults := range [][]Fault{{FaultSecretMalformed}, {FaultSecretWrongType, FaultSecretEmpty}} {
		if e, ok := x.first(CheckCredentials, faults...); ok {
			return x.detail(e)
		}
	}
	return ""
}

// matching returns the names of the secrets that have credentials for the image.
func (x *facts) matching() []string { return names(filter(x.of(CheckCredentials), matches)) }

func noMatchSummary(x *facts) string {
	all := filter(x.of(CheckCredentials), func(e *Evidence) bool { return e.Fault == FaultNoMatchingCredential && e.Credentials().Secret != "" })
	if len(all) == 1 && (all[0].Credentials().Near != "" || all[0].Credentials().NearIs != "") {
		return "pull " + x.detail(all[0])
	}
	if len(all) == 0 {
		return ""
	}
	var hosts []string
	for _, e := range all {
		hosts = append(hosts, shownKeys(e.Credentials().Hosts)...)
	}
	s := fmt.Sprintf("%s credentials for %s, but the image is on %s", pullSecrets(names(all), "has", "have"), list(hosts), x.wanted())
	if x.evasive() {
		s += ", which does not say whether it exists"
	}
	return s
}

// shownKeys returns registry keys for a sentence: those with a blank in quotes, else the
// blank at an end would not be seen.
func shownKeys(keys []string) []string {
	keys = slices.Clone(keys)
	for i, key := range keys {
		if key == "" || strings.Contains(key, " ") {
			keys[i] = strconv.Quote(key)
		}
	}
	return keys
}

// wanted returns the registry, with the repository if a secret has the right host
// and another path.
func (x *facts) wanted() string {
	for _, e := range x.of(CheckCredentials) {
		for _, h := range e.Credentials().Hosts {
			if e.Fault == FaultNoMatchingCredential && strings.Contains(h, x.Registry) {
				return x.Registry + "/" + x.Repository
			}
		}
	}
	return x.Registry
}

// expired returns the refused attempts whose credentials are known to have
// expired, else all of them.
func (x *facts) expired() []*Evidence {
	if over := x.overdue(); len(over) > 0 {
		return over
	}
	return append(x.rejected(), x.denied()...)
}

func authenticationRequiredSummary(x *facts) string {
	if e, ok := x.refusal(); ok && (e.Registry().NoChallenge || e.challenged()) {
		return x.detail(e)
	}
	if unsent := x.unsent(); len(unsent) > 0 {
		return fmt.Sprintf("%s requires no credentials at /v2/, but does for %s; CRI-O checks only /v2/, so it does not send those of %s", x.Registry, x.Repository, x.whose(unsent))
	}
	none := "the pod has no pull secret"
	if len(x.PullSecrets) > 0 {
		none = "the pull was made without any"
	}
	if x.Stall == StallSandbox {
		none = "the runtime pulls a sandbox image without any"
	}
	if e, ok := x.noted(CheckCredentials, FaultProviderMatches); ok {
		none += fmt.Sprintf(", unless credential provider %s returns some", e.Credentials().Provider)
	}
	if e, ok := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.Reason == ReasonProviderNear || e.Reason == ReasonProviderUnfilled }); ok {
		none += "; " + x.detail(e)
	}
	written := func(e *Evidence) bool {
		return e.Config().Problem == ConfigNotGenerated || e.Config().Problem.Effect() == ConfigOfAccess
	}
	if e, ok := find(x.of(CheckRegistry), written); ok {
		none += "; " + x.detail(e)
	}
	return fmt.Sprintf("%s requires credentials for %s, but %s%s", x.Registry, x.Repository, none, x.blind())
}

// blind returns the end of a sentence that names the secrets whypull cannot read.
func (x *facts) blind() string {
	unread := x.secrets(FaultSecretUnreadable)
	if len(unread) == 0 {
		return ""
	}
	if x.Offline {
		return "; not given: " + pullSecrets(unread, "", "")
	}
	return fmt.Sprintf("; whypull %s %s", x.didNotRead(), pullSecrets(unread, "", ""))
}

// didNotRead returns why a secret was not read, in words between whypull and the secret.
func (x *facts) didNotRead() string {
	if e, ok := x.noted(CheckCredentials, FaultSecretUnreadable); ok && e.Outcome == Inconclusive {
		return "could not read"
	}
	return "is not allowed to read"
}

// used returns the sources of the credentials of attempts, in the kubelet's order,
// each once.
func used(attempts []*Evidence) []string {
	return distinct(attempts, func(e *Evidence) string { return e.Credential().name() })
}

// whose names the sources of the credentials of attempts, else those of the
// credentials for the image, such as "pull secret a"; "" if none is known.
func (x *facts) whose(attempts []*Evidence) string {
	sources := used(attempts)
	if len(sources) == 0 {
		sources = x.matching()
	}
	switch known := names(x.of(CheckCredentials)); {
	case len(sources) == 0:
		return ""
	case slices.ContainsFunc(sources, func(s string) bool { return !slices.Contains(known, s) }):
		return list(x.withEntries(sources, attempts)) // among them the node's own
	}
	return pullSecrets(x.withEntries(sources, attempts), "", "")
}

// withEntries returns sources of credentials, each with the entries that the attempts are
// made with where it has several for their host.
func (x *facts) withEntries(sources []string, attempts []*Evidence) []string {
	out := slices.Clone(sources)
	for i, source := range sources {
		keys := entriesOf(source, attempts)
		if len(keys) == 0 || !x.severalEntries(source, keys) {
			continue
		}
		noun := "entry"
		if len(keys) > 1 {
			noun = "entries"
		}
		out[i] = fmt.Sprintf("%s (%s %s)", source, noun, list(keys))
	}
	return out
}

// severalEntries reports whether a source has other credentials for the image than those
// of the keys, or other entries for their hosts.
func (x *facts) severalEntries(source string, keys []string) bool {
	if len(entriesOf(source, x.of(CheckRegistry))) > 1 {
		return true
	}
	otherHost := func(key string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { return keyHost(k) == keyHost(key) })
	}
	return slices.ContainsFunc(x.of(CheckCredentials), func(e *Evidence) bool {
		c := e.Credentials()
		return (c.Secret == source || c.File == source) && len(slices.DeleteFunc(slices.Clone(c.Hosts), otherHost)) > 1
	})
}

// keyHost returns the host[:port] of a registry key, such as https://index.docker.io/v1/.
func keyHost(key string) string {
	if _, after, found := strings.Cut(key, "://"); found {
		key = after
	}
	host, _, _ := strings.Cut(key, "/")
	return strings.ToLower(host)
}

// entriesOf returns the distinct keys of a source's credentials in attempts.
func entriesOf(source string, attempts []*Evidence) []string {
	return distinct(attempts, func(e *Evidence) string {
		if c := e.Credential(); c != nil && c.Source == source {
			return c.Key
		}
		return ""
	})
}

func rejectedSummary(x *facts) string {
	s := fmt.Sprintf("%s rejects the credentials of the pull%s", x.Registry, x.blind())
	if x.message().CredentialsSent && !x.unread() {
		s += "; they come from the node or a credential provider, not from the pod"
	}
	if whose := x.whose(x.orAgain(x.rejected(), CredentialsRejected)); whose != "" {
		s = fmt.Sprintf("%s rejects the credentials in %s%s", x.Registry, whose, x.padding())
	}
	if slices.ContainsFunc(x.anonymous(), (*Evidence).passed) {
		s += "; the image is public and needs none"
	}
	return s
}

// padding returns the end of a sentence about a password that begins or ends with a
// space or line break, in a secret that has credentials for the image.
func (x *facts) padding() string {
	e, ok := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.passed() && e.Credentials().Padding != "" })
	switch {
	case !ok:
		return ""
	case len(x.matching()) > 1:
		return fmt.Sprintf("; in %s the %s", e.Credentials().Secret, e.Credentials().Padding)
	}
	return ", whose " + e.Credentials().Padding
}

func expiredSummary(x *facts) string {
	if e, ok := x.first(CheckCredentials, FaultCredentialExpired); ok && e.Credential() != nil {
		return fmt.Sprintf("%s; %s rejects it", x.detail(e), x.Registry)
	}
	whose := x.whose(x.expired())
	if whose == "" {
		return ""
	}
	return fmt.Sprintf("the credentials in %s for %s have expired", whose, x.Registry)
}

func deniedSummary(x *facts) string {
	if e, ok := x.refusedElsewhere(); ok {
		return x.detail(e)
	}
	if all := x.refusedContents(); len(used(all)) > 1 {
		return fmt.Sprintf("%s serves the manifest, but denies %s with the credentials in %s", all[0].at(), blobOf(all), x.whose(all))
	} else if len(all) > 0 {
		return x.detail(all[0]) + x.rejectedToo()
	}
	denied := x.orAgain(x.denied(), AccessDenied)
	if host := x.elsewhere(); host != "" && len(denied) == 0 && x.message().AfterManifest && x.reading() == AccessDenied {
		return fmt.Sprintf("%s serves the manifest, but %s denies a blob of it", x.Registry, host)
	}
	if e, ok := x.refusal(); ok && len(denied) == 0 && e.Fault == FaultForbidden {
		if x.unasked() {
			return x.detail(e) + "; it does not ask for any"
		}
		return x.detail(e)
	}
	if whose := x.whose(denied); whose != "" {
		return fmt.Sprintf("%s accepts the credentials in %s, but they have no pull access to %s%s", x.Registry, whose, x.Repository, x.rejectedToo())
	}
	return fmt.Sprintf("%s denies pull access to repository %s%s", x.Registry, x.Repository, x.blind())
}

// blobOf names the blob that was denied to all attempts, if it is the same one.
func blobOf(all []*Evidence) string {
	blob := all[0].Registry().Blob
	if blob == "" || slices.ContainsFunc(all, func(e *Evidence) bool { return e.Registry().Blob != blob }) {
		return "its blobs"
	}
	return "blob " + shortDigest(blob)
}

// rejectedToo returns the end of a sentence that names rejected credentials which
// do not decide.
func (x *facts) rejectedToo() string {
	rejected := x.orAgain(x.rejected(), CredentialsRejected)
	names := used(rejected)
	if len(names) == 0 {
		return ""
	}
	return "; it rejects those in " + list(x.withEntries(names, rejected))
}

func deniedOrNotFoundSummary(x *facts) string {
	undisclosed := x.orAgain(x.undisclosed(), DeniedOrNotFound)
	if whose := x.whose(undisclosed); whose != "" && len(undisclosed) > 0 {
		return fmt.Sprintf("%s accepts the credentials in %s, but denies them repository %s and does not say whether it exists%s%s", x.Registry, whose, x.Repository, x.rejectedToo(), x.versioned())
	}
	if x.unasked() {
		return fmt.Sprintf("%s denies repository %s without asking for credentials, and does not say whether it exists%s", x.Registry, x.Repository, x.versioned())
	}
	s := fmt.Sprintf("%s denies repository %s and does not say whether it exists%s", x.Registry, x.Repository, x.versioned())
	if x.unread() {
		return s + x.blind()
	}
	if denied := x.denied(); len(denied) > 0 {
		return s + "; it denies the credentials in " + x.whose(denied) + " too"
	}
	return s + "; the pod has no credentials that would show it"
}

func tagNotFoundSummary(x *facts) string {
	e, ok := x.atOrigin(FaultTagNotFound)
	switch {
	case x.childMissing():
		return fmt.Sprintf("%s has %s of %s, but lacks a manifest that it refers to", cmp.Or(x.elsewhere(), x.Registry), x.version(), x.Repository)
	case !ok:
		return fmt.Sprintf("%s has no manifest for %s", x.Registry, x.image())
	}
	s := fmt.Sprintf("%s does not exist in %s/%s", x.version(), x.Registry, x.Repository)
	if len(e.Registry().Candidates) > 0 {
		s += "; closest tags: " + list(e.Registry().Candidates)
	}
	return s
}

// version returns the tag or digest of the image as written, "tag latest" if none.
func (f Failure) version() string {
	image := f.Ref()
	if image.Digest != "" {
		return "digest " + image.Digest
	}
	return "tag " + cmp.Or(image.Tag, "latest")
}

func repositoryNotFoundSummary(x *facts) string {
	if e, ok := x.noAPI(); ok {
		return x.detail(e)
	}
	if e, ok := x.atOrigin(FaultWebPage); ok {
		return x.detail(e)
	}
	return fmt.Sprintf("repository %s does not exist on %s%s", x.Repository, x.Registry, x.versioned())
}

// apiPath is the start of the path of a registry's API, which is no part of a
// repository's name.
const apiPath = "v2/"

// versioned returns the end of a sentence about a repository that has the path of the
// API in its name, "" for any other.
func (x *facts) versioned() string {
	if !strings.HasPrefix(x.Repository, apiPath) {
		return ""
	}
	return "; /v2/ does not belong in the name of an image"
}

func worksNowSummary(x *facts) string {
	if x.Offline {
		return x.pullableSummary()
	}
	if e, ok := x.found(); ok && e.Image().Use() == UseAllowed && !x.works() {
		return fmt.Sprintf("image %s is on node %s now, and the kubelet lets this pod use it; it %s", x.image(), x.Node, x.nextTry())
	}
	if x.onlyReplayed() {
		return fmt.Sprintf("all checks of %s pass now, of large layers only their ends; nothing was stored or unpacked; the kubelet %s", x.image(), x.nextTry())
	}
	return fmt.Sprintf("all checks of %s pass now; the kubelet %s%s", x.image(), x.nextTry(), x.slowMirror())
}

// nextTry says when the kubelet retries: with the first sync of the pod after the
// back-off, up to betweenSyncs later; if the end of the back-off is not known,
// within the longest one (MaxImageBackOff).
func (x *facts) nextTry() string {
	if x.NextTry.IsZero() {
		return "retries within five minutes"
	}
	from := x.NextTry.UTC()
	return fmt.Sprintf("retries between about %s and %s", from.Format(time.TimeOnly), from.Add(betweenSyncs).Format("15:04:05 UTC"))
}

// betweenSyncs is the longest time between a failed sync of a pod and the next
// (pod_workers.go: backOffPeriod, and half as much more).
const betweenSyncs = 15 * time.Second

// pullableSummary is worksNowSummary without a kubelet that retries.
func (x *facts) pullableSummary() string {
	if !x.works() {
		return fmt.Sprintf("image %s is on node %s, and the kubelet lets this pod use it", x.image(), x.Node)
	}
	return fmt.Sprintf("%s can be pulled%s%s", x.image(), x.blind(), x.slowMirror())
}

// slowMirror says that a mirror does not answer, for which the runtime waits.
func (x *facts) slowMirror() string {
	all := x.waits()
	if len(all) == 0 {
		return ""
	}
	return "; but " + x.detail(all[0]) + ", and the runtime waits for it longer than whypull does"
}

func unknownSummary(x *facts) string {
	if unread := x.secrets(FaultSecretUnreadable); len(unread) > 0 && x.wantsCredentials() {
		if x.Offline {
			return fmt.Sprintf("%s requires credentials, and %s not given, so whether the image can be pulled is unknown",
				x.Registry, pullSecrets(unread, "is", "are"))
		}
		return fmt.Sprintf("%s requires credentials, but whypull %s %s, so what is wrong is unknown",
			x.Registry, x.didNotRead(), pullSecrets(unread, "", ""))
	}
	if x.Offline {
		return fmt.Sprintf("the checks do not show whether %s can be pulled", x.image())
	}
	return fmt.Sprintf("no check shows why %s cannot be pulled%s", x.image(), x.asWell())
}

// pullSecrets returns "pull secret a is" or "pull secrets a, b are", with one and
// many as the verbs.
func pullSecrets(names []string, one, many string) string {
	noun, verb := "pull secret", one
	if len(names) > 1 {
		noun, verb = "pull secrets", many
	}
	return strings.TrimSpace(noun + " " + list(names) + " " + verb)
}

// list joins the first three and counts the rest.
func list(all []string) string { return firstFew(all, 3) }

// some is list for the first five.
func some(all []string) string { return firstFew(all, 5) }

func firstFew(all []string, most int) string {
	switch {
	case len(all) == 0:
		return "no registry"
	case len(all) <= most:
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// Clip cuts s to at most n bytes, ellipsis included, at a rune boundary.
func Clip(s string, n int) string {
	const ellipsis = "…"
	if len(s) <= n {
		return s
	}
	cut := max(n-len(ellipsis), 0)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}

// Printable drops what is not UTF-8 and what moves a terminal's cursor, breaks
// the line or reorders the text around it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if ' ' <= r && r <= '~' { // nearly every rune, without a search in tables
			return r
		}
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s)
}
