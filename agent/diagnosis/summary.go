package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// summary is the verdict in one sentence.
func (x *facts) summary(cause Cause) string {
	if of := x.row(cause).summary; of != nil {
		if s := printable(of(x)); s != "" {
			return s
		}
	}
	return printable(x.general(cause))
}

// general is the sentence of a cause that has none of its own: the
// catalogue's meaning, the image, and the host that the text blames if that is
// not the image's.
func (x *facts) general(cause Cause) string {
	where := "image " + x.image()
	if host := x.elsewhere(); host != "" && x.reading() == cause {
		where += ", at " + host
	}
	return fmt.Sprintf("%s (%s)%s", strings.TrimSuffix(x.row(cause).Meaning, "."), where, x.asWell())
}

// image is the image as written; of a very long name the middle is left out.
func (x *facts) image() string {
	const most, half = 120, 56
	if len(x.Image) <= most {
		return x.Image
	}
	return x.Image[:half] + "…" + x.Image[len(x.Image)-half:]
}

// detailSummary takes the decisive evidence's own sentence; "" where there is none.
func detailSummary(faults ...Fault) func(*facts) string {
	return func(x *facts) string {
		e, _ := x.atOrigin(faults...)
		return x.detail(e)
	}
}

// connectionSummary is detailSummary for what keeps the node from the registry.
func connectionSummary(fault Fault) func(*facts) string {
	return func(x *facts) string { return x.onlyNode(detailSummary(fault)) }
}

// timeoutSummary is connectionSummary for what may only be slow.
func timeoutSummary(x *facts) string {
	s := connectionSummary(FaultConnectionTimeout)(x)
	if s != "" && x.impatient() {
		s += "; the runtime waits longer than whypull does"
	}
	return s
}

func shortSummary(x *facts) string {
	e, _ := x.first(CheckRegistry, FaultNameAmbiguous)
	return x.detail(e)
}

// signatureSummary names the policy that has refused the image.
func signatureSummary(x *facts) string {
	e := x.policy()
	switch {
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
	e, ok := x.noted(CheckCredentials, FaultProviderMatches)
	if !ok {
		return ""
	}
	if x.reading() != AuthenticationRequired {
		return fmt.Sprintf("%s refuses %s: the kubelet's credential provider %s, which is for it, has given no credentials, or some that may not pull it", x.Registry, x.Repository, e.Credentials().Provider)
	}
	return fmt.Sprintf("%s wants credentials, and the pull went out without: the kubelet's credential provider %s, which is for it, has given none", x.Registry, e.Credentials().Provider)
}

// nameSummary is detailSummary for names: that of the registry, or the one of a server
// to which the registry sends its callers.
func nameSummary(fault Fault) func(*facts) string {
	return func(x *facts) string {
		if e, ok := x.unresolved(fault); ok {
			s := x.detail(e) + x.inPod()
			if unused := x.unused(); unused != nil {
				s += "; " + x.detail(unused)
			}
			return s
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
	return fmt.Sprintf("no container of the pod can start: node %s cannot get the sandbox image %s: %s", x.Node, x.image(), x.asContainer().summary(cause))
}

// stalledSummary takes the sentence of the books, with what the registry says now; not
// where it is another's pull that stalls, most likely of another registry.
func stalledSummary(x *facts) string {
	e, ok := x.first(CheckPull, FaultStalled, FaultWaitsForIt)
	if !ok {
		if e, ok = x.atOrigin(FaultConnectionTimeout); ok {
			return fmt.Sprintf("CRI-O waits without end for %s: %s", x.image(), x.detail(e))
		}
		return ""
	}
	switch bad := x.origin(); {
	case e.Fault == FaultWaitsForIt:
		return x.detail(e)
	case x.works():
		return x.detail(e) + "; the registry answers whypull"
	case len(bad) > 0:
		return x.detail(e) + "; asked now: " + x.detail(bad[0])
	}
	return x.detail(e)
}

// diskFullSummary takes the sentence about the file systems, also where none of them
// is full any more: a runtime removes what it has written of an image that it
// could not store. Where none can be seen there is the directory in the runtime's
// words.
func diskFullSummary(x *facts) string {
	if x.intentUnrecorded() {
		return fmt.Sprintf("the kubelet finds no space left on node %s's file system of its own files (%s), where it notes down each pull before it begins", x.Node, kubeletsRoot)
	}
	looked := filter(x.of(CheckPull), func(e *Evidence) bool { return e.Pull().Retry == nil })
	if e, ok := firstOf(filter(looked, (*Evidence).failed), FaultDiskFull); ok {
		return x.detail(e)
	}
	if e, ok := firstOf(looked, FaultDiskFull); ok {
		return x.detail(e)
	}
	_, failed := x.first(CheckPull, FaultDiskFull)
	for _, e := range looked {
		switch {
		case len(e.Disk().Seen()) == 0 || !e.ran(), e.Disk().Presumed() && failed: // it seems to be the wrong one
		case failed:
			return "pulled again, the runtime finds no space left; " + x.detail(e)
		default:
			return "the runtime found no space left; " + x.detail(e)
		}
	}
	said := fmt.Sprintf("node %s had no space left for what the runtime writes", x.Node)
	if dir := x.fullDirectory(); dir != "" {
		said += " to " + dir
	}
	return said + x.asWell()
}

// fullDirectory is containerd's content store, if the runtime's words are of it.
func (x *facts) fullDirectory() string {
	for _, e := range x.retries() {
		if m := e.Retry().Message; m != nil && m.FullStore != "" {
			return m.FullStore
		}
	}
	return x.message().FullStore
}

// unused is a setting that would matter where a registry is not reached, and that has
// no effect; nil if there is none.
func (x *facts) unused() *Evidence {
	e, ok := find(x.of(CheckRegistry), func(e *Evidence) bool {
		p := e.Config().Problem
		return p == ConfigSectionIgnored || strings.HasPrefix(string(p), "Proxy")
	})
	if !ok {
		return nil
	}
	return e
}

// inPod says how the name that the node does not resolve fares in the pod.
func (x *facts) inPod() string {
	e, _ := x.pod()
	switch e.DNS().Compared {
	case ComparedOnlyPod:
		return fmt.Sprintf("; but in the pod it does (%s, says %s), and pulls use the node's resolver", list(e.DNS().Addresses), e.DNS().Server)
	case ComparedNeither:
		return fmt.Sprintf("; nor does it in the pod (%s)", e.DNS().Server)
	case "", ComparedSame, ComparedOther, ComparedOnlyNode:
	}
	return ""
}

// onlyNode adds that the pod reaches what the node does not.
func (x *facts) onlyNode(say func(*facts) string) string {
	s := say(x)
	if s == "" {
		return ""
	}
	if e := x.unused(); e != nil {
		s += "; " + x.detail(e)
	}
	if x.onlyIPv6() {
		s += "; its name has only IPv6 addresses"
	}
	if e, ok := x.pod(); ok && e.DNS().Compared == ComparedOther {
		s += fmt.Sprintf("; in the pod it is %s", list(e.DNS().Addresses))
	}
	if x.podReaches() {
		s += "; from the pod a connection succeeds"
	}
	return s
}

func runtimeSummary(x *facts) string {
	e, _ := x.noted(CheckImage, FaultRuntimeUnready)
	return x.detail(e)
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
	case x.crio() && unreachable(hidden):
		return fmt.Sprintf("node %s has no way to %s, and its mirror fails: %s", x.Node, x.Registry, x.detail(x.shown()))
	case x.replaced():
		return fmt.Sprintf("node %s asks a mirror in place of %s, and it fails: %s", x.Node, x.Registry, x.detail(all[0]))
	case hidden != "":
		return fmt.Sprintf("a mirror's answer hides that %s; the mirror: %s", x.withoutMirrors().summary(hidden), x.detail(x.shown()))
	}
	content := x.unusable()
	if len(content) == 0 {
		return ""
	}
	return fmt.Sprintf("node %s takes %s from a mirror: %s", x.Node, x.image(), x.detail(content[0]))
}

// unreachable reports whether a cause is that there is no way to a registry.
func unreachable(c Cause) bool {
	return slices.Contains([]Cause{RegistryNameNotFound, DNSFailure, ConnectionRefused, ConnectionTimeout, NetworkUnreachable}, c)
}

// shown is the failure at the mirror that the runtime's text is about, else at
// the first.
func (x *facts) shown() *Evidence {
	all, host, cause := x.mirrors(), x.message().Host, x.reading()
	i := slices.IndexFunc(all, func(e *Evidence) bool { return hostOf(e.Endpoint.URL) == host })
	if i < 0 {
		i = slices.IndexFunc(all, func(e *Evidence) bool { return x.akin(e.Fault.Points(), cause) })
	}
	return all[max(i, 0)]
}

func invalidNameSummary(x *facts) string {
	s := fmt.Sprintf("%q is not a valid image name", x.Image)
	if e, ok := x.first(CheckImage, FaultNameInvalid); ok && len(e.Image().Candidates) > 0 {
		return s + fmt.Sprintf("; probably meant: %s", e.Image().Candidates[0])
	}
	return s
}

func notPresentSummary(x *facts) string {
	if !x.absent() {
		return fmt.Sprintf("image %s is not present on node %s, or present but not verified for this pod: the kubelet does not say which; with the pull policy Never it pulls nothing", x.image(), x.Node)
	}
	return fmt.Sprintf("image %s is not on node %s and the pull policy is Never, so nothing will fetch it", x.image(), x.Node)
}

func notVerifiedSummary(x *facts) string {
	if e, ok := x.first(CheckImage, FaultNotVerified); ok && e.Image().Record != "" {
		return x.detail(e)
	}
	why := "the pod brings no credentials"
	switch {
	case x.matched() || x.credentialed():
		why = "the policy Never leaves the kubelet no way to check the pod's"
	case x.has(CheckCredentials, FaultNoMatchingCredential):
		why = "no pull secret of the pod is for " + x.Registry
	case x.has(CheckCredentials, FaultSecretMissing):
		why = "the pod's pull secret does not exist"
	case x.unread():
		why = "whypull may not read the pod's pull secret"
	}
	return fmt.Sprintf("image %s is on node %s, but the kubelet lets a pod use it only with credentials that may pull it, and %s",
		x.image(), x.Node, why)
}

// secrets names the secrets with one of the faults, each once.
func (x *facts) secrets(faults ...Fault) []string {
	return names(filter(x.of(CheckCredentials), func(e *Evidence) bool { return slices.Contains(faults, e.Fault) }))
}

func names(all []*Evidence) []string {
	var out []string
	for _, e := range all {
		if e.Credentials().Secret != "" && !slices.Contains(out, e.Credentials().Secret) {
			out = append(out, e.Credentials().Secret)
		}
	}
	return out
}

func secretMissingSummary(x *facts) string {
	missing := x.secrets(FaultSecretMissing)
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("%s not in namespace %s, and %s wants credentials%s", pullSecrets(missing, "is", "are"), x.Namespace, x.Registry, x.reserve())
}

// reserve is added where the registry refuses everybody alike, so that the
// image's name may as well be wrong.
func (x *facts) reserve() string {
	if !x.evasive() {
		return ""
	}
	return fmt.Sprintf(" or has no %s: it does not say which", x.Repository)
}

func secretMalformedSummary(x *facts) string {
	for _, faults := range [][]Fault{{FaultSecretMalformed}, {FaultSecretWrongType, FaultSecretEmpty}} {
		if e, ok := x.first(CheckCredentials, faults...); ok {
			return x.detail(e)
		}
	}
	return ""
}

// matching names the secrets that are for the image.
func (x *facts) matching() []string { return names(filter(x.of(CheckCredentials), matches)) }

func noMatchSummary(x *facts) string {
	all := filter(x.of(CheckCredentials), func(e *Evidence) bool { return e.Fault == FaultNoMatchingCredential && e.Credentials().Secret != "" })
	if len(all) == 1 && all[0].Credentials().Near != "" {
		return "pull " + x.detail(all[0])
	}
	var parts []string
	for _, e := range all {
		parts = append(parts, fmt.Sprintf("pull secret %s is for %s", e.Credentials().Secret, list(e.Credentials().Hosts)))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, but the image is on %s%s", strings.Join(parts, "; "), x.wanted(), x.doubt())
}

// doubt is reserve for a sentence that speaks of the image's place.
func (x *facts) doubt() string {
	if !x.evasive() {
		return ""
	}
	return ", which does not say whether it exists"
}

// wanted is the registry, with the repository where a secret has the right
// host and another path.
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

// expiredCredentials are the refused attempts whose credential is known to be over, else
// all of them.
func (x *facts) expiredCredentials() []*Evidence {
	if over := x.overdue(); len(over) > 0 {
		return over
	}
	return append(x.rejected(), x.denied()...)
}

func authenticationRequiredSummary(x *facts) string {
	if unsent := x.unsent(); len(unsent) > 0 {
		return fmt.Sprintf("%s asks for no credentials at /v2/, but does for %s; CRI-O looks at /v2/ alone, so those of %s are not sent", x.Registry, x.Repository, x.whose(unsent))
	}
	none := "the pod brings none"
	if len(x.PullSecrets) > 0 {
		none = "the pull brought none"
	}
	if x.Stall == StallSandbox {
		none = "the runtime brings none for a sandbox's image"
	}
	if e, ok := x.noted(CheckCredentials, FaultProviderMatches); ok {
		none += fmt.Sprintf(", unless credential provider %s gives some", e.Credentials().Provider)
	}
	if e, ok := find(x.of(CheckCredentials), func(e *Evidence) bool { return e.Reason == ReasonProviderNear }); ok {
		none += "; " + x.detail(e)
	}
	return fmt.Sprintf("%s wants credentials for %s and %s%s", x.Registry, x.Repository, none, x.blind())
}

// blind tells of the secrets that whypull may not read.
func (x *facts) blind() string {
	unread := x.secrets(FaultSecretUnreadable)
	if len(unread) == 0 {
		return ""
	}
	if x.Offline {
		return "; not given: " + pullSecrets(unread, "", "")
	}
	return "; whypull may not read " + pullSecrets(unread, "", "")
}

// used names the credentials of attempts in the kubelet's order, each once.
func used(attempts []*Evidence) []string {
	var out []string
	for _, e := range attempts {
		if c := e.Credential(); c != nil && !slices.Contains(out, c.Source) {
			out = append(out, c.Source)
		}
	}
	return out
}

// whose names the credentials that attempts were made with, else those that
// would be used: "pull secret a", or "" when none is known.
func (x *facts) whose(attempts []*Evidence) string {
	sources := used(attempts)
	if len(sources) == 0 {
		sources = x.matching()
	}
	switch known := names(x.of(CheckCredentials)); {
	case len(sources) == 0:
		return ""
	case slices.ContainsFunc(sources, func(s string) bool { return !slices.Contains(known, s) }):
		return list(sources) // among them the node's own
	}
	return pullSecrets(sources, "", "")
}

func rejectedSummary(x *facts) string {
	s := fmt.Sprintf("%s rejects the credentials that the pull brings%s", x.Registry, x.blind())
	if x.message().CredentialsSent && !x.unread() {
		s += "; they are not the pod's, but the node's own or a credential provider's"
	}
	if whose := x.whose(x.orAgain(x.rejected(), CredentialsRejected)); whose != "" {
		s = fmt.Sprintf("%s rejects the credentials of %s", x.Registry, whose)
	}
	if slices.ContainsFunc(x.anonymous(), (*Evidence).passed) {
		s += "; the image is public and would be had without them"
	}
	return s
}

func expiredSummary(x *facts) string {
	if e, ok := x.first(CheckCredentials, FaultCredentialExpired); ok && e.Credential() != nil {
		return fmt.Sprintf("%s refuses the login: %s", x.Registry, x.detail(e))
	}
	whose := x.whose(x.expiredCredentials())
	if whose == "" {
		return ""
	}
	return fmt.Sprintf("the credentials of %s for %s have expired", whose, x.Registry)
}

func deniedSummary(x *facts) string {
	if e, ok := x.refusedElsewhere(); ok {
		return x.detail(e)
	}
	if all := x.refusedContents(); len(used(all)) > 1 {
		return fmt.Sprintf("%s gives the manifest and refuses %s with any login of %s", all[0].at(), blobOf(all), x.whose(all))
	} else if len(all) > 0 {
		return x.detail(all[0]) + x.rejectedToo()
	}
	denied := x.orAgain(x.denied(), AccessDenied)
	if e, ok := x.refusal(); ok && len(denied) == 0 && e.Fault == FaultForbidden {
		return x.detail(e) + "; it asks for no credentials"
	}
	if whose := x.whose(denied); whose != "" {
		return fmt.Sprintf("%s accepts the login of %s, but does not let it pull %s%s", x.Registry, whose, x.Repository, x.rejectedToo())
	}
	return fmt.Sprintf("%s refuses repository %s to the pull%s", x.Registry, x.Repository, x.blind())
}

// blobOf names the blob that was refused to several credentials, if it is one.
func blobOf(all []*Evidence) string {
	const most = len("sha256:") + 12
	blob := all[0].Registry().Blob
	if blob == "" || slices.ContainsFunc(all, func(e *Evidence) bool { return e.Registry().Blob != blob }) {
		return "what it names"
	}
	return blob[:min(len(blob), most)]
}

// rejectedToo tells of credentials that the registry does not take, where another
// decides.
func (x *facts) rejectedToo() string {
	names := used(x.orAgain(x.rejected(), CredentialsRejected))
	if len(names) == 0 {
		return ""
	}
	return "; it rejects the login of " + list(names)
}

func deniedOrNotFoundSummary(x *facts) string {
	undisclosed := x.orAgain(x.undisclosed(), DeniedOrNotFound)
	if whose := x.whose(undisclosed); whose != "" && len(undisclosed) > 0 {
		return fmt.Sprintf("%s accepts the login of %s, but refuses repository %s to it and does not say whether it exists%s", x.Registry, whose, x.Repository, x.rejectedToo())
	}
	s := fmt.Sprintf("%s refuses repository %s and does not say whether it exists", x.Registry, x.Repository)
	if x.unread() {
		return s + x.blind()
	}
	return s + "; the pod has no credentials that settle it"
}

func tagNotFoundSummary(x *facts) string {
	e, ok := x.atOrigin(FaultTagNotFound)
	if !ok {
		return fmt.Sprintf("%s has no manifest for %s", x.Registry, x.image())
	}
	s := fmt.Sprintf("%s has repository %s, but not %s", x.Registry, x.Repository, x.version())
	if len(e.Registry().Candidates) > 0 {
		s += "; it has " + list(e.Registry().Candidates)
	}
	return s
}

// version is the tag or digest of the image as written, "tag latest" if none.
func (x *facts) version() string {
	image := x.Ref()
	if image.Digest != "" {
		return "digest " + image.Digest
	}
	return "tag " + cmp.Or(image.Tag, "latest")
}

func repositoryNotFoundSummary(x *facts) string {
	if e, ok := x.atOrigin(FaultWebPage); ok {
		return x.detail(e)
	}
	return fmt.Sprintf("%s answers, but has no repository %s", x.Registry, x.Repository)
}

func worksNowSummary(x *facts) string {
	if x.Offline {
		return x.pullableSummary()
	}
	if e, ok := x.found(); ok && e.Image().Use() == UseAllowed && !x.works() {
		return fmt.Sprintf("image %s is on node %s now, and the kubelet lets this pod use it; it %s", x.image(), x.Node, x.nextTry())
	}
	if x.onlyReplayed() {
		return fmt.Sprintf("every check of %s passes now, of large layers only their ends; nothing was stored or unpacked; the kubelet %s", x.image(), x.nextTry())
	}
	return fmt.Sprintf("every check of %s passes now; the kubelet %s", x.image(), x.nextTry())
}

// nextTry says when the kubelet tries again: with the first sync of the pod after
// its back-off, and syncs that fail are up to betweenSyncs apart; where it is not
// known, within the longest back-off that there is (MaxImageBackOff).
func (x *facts) nextTry() string {
	if x.NextTry.IsZero() {
		return "will try again within five minutes"
	}
	from := x.NextTry.UTC()
	return fmt.Sprintf("tries again between about %s and %s", from.Format(time.TimeOnly), from.Add(betweenSyncs).Format("15:04:05 UTC"))
}

// betweenSyncs is the longest that the kubelet takes from a sync of a pod that
// has failed to the next (pod_workers.go: backOffPeriod, and half as much more).
const betweenSyncs = 15 * time.Second

// pullableSummary is the good news where nobody tries the pull again.
func (x *facts) pullableSummary() string {
	if !x.works() {
		return fmt.Sprintf("image %s is on node %s, and the kubelet lets this pod use it", x.image(), x.Node)
	}
	return fmt.Sprintf("%s can be pulled%s", x.image(), x.blind())
}

func unknownSummary(x *facts) string {
	if unread := x.secrets(FaultSecretUnreadable); len(unread) > 0 && x.wantsCredentials() {
		if x.Offline {
			return fmt.Sprintf("%s wants credentials, and %s not given, so it is not known whether the image can be pulled",
				x.Registry, pullSecrets(unread, "is", "are"))
		}
		return fmt.Sprintf("%s wants credentials; whypull may not read %s and cannot tell what is wrong with it",
			x.Registry, pullSecrets(unread, "", ""))
	}
	if x.Offline {
		return fmt.Sprintf("the checks do not settle whether %s can be pulled", x.image())
	}
	return fmt.Sprintf("the evidence does not settle why %s cannot be pulled%s", x.image(), x.asWell())
}

// pullSecrets makes "pull secret a is", "pull secrets a, b are".
func pullSecrets(names []string, one, many string) string {
	noun, verb := "pull secret", one
	if len(names) > 1 {
		noun, verb = "pull secrets", many
	}
	return strings.TrimSpace(noun + " " + list(names) + " " + verb)
}

// list joins the first three and counts the rest.
func list(all []string) string {
	const most = 3
	switch {
	case len(all) == 0:
		return "no registry"
	case len(all) <= most:
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// clip cuts s to at most n bytes at a rune boundary.
func clip(s string, n int) string {
	const ellipsis = "…"
	if len(s) <= n {
		return s
	}
	cut := n - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}

// printable drops what is not UTF-8 and what moves a terminal's cursor, breaks
// the line or reorders the text around it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s)
}
