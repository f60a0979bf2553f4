package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Detail returns a piece of evidence as one sentence for people. It contains no
// credentials and no free text of a registry.
func Detail(f Failure, e *Evidence) string {
	if !e.LostSince.IsZero() {
		return f.lostDetail(*e)
	}
	if e.Reason != "" {
		return f.reasonDetail(e)
	}
	switch {
	case e.Check == CheckImage:
		return f.imageDetail(e, e.Image())
	case e.Check == CheckCredentials:
		return f.credentialDetail(e, e.Credentials())
	case e.Check == CheckRegistry && (e.Body != nil || e.Fault != ""):
		return f.registryDetail(e, e.Registry())
	case e.Body == nil: // the others need facts
		return ""
	case e.Check == CheckMessage:
		return f.messageDetail(e.Message())
	case e.Check == CheckPull:
		return f.pullDetail(e, e.Pull())
	}
	return f.dnsDetail(e, e.DNS())
}

// lostDetail returns the sentence of a check that cannot be made any more.
func (f Failure) lostDetail(e Evidence) string {
	since := e.LostSince.UTC().Format(time.RFC3339)
	if e.Fault == FaultSecretUnreadable {
		return fmt.Sprintf("secret %s has been unreadable since %s; the verdict is older than that", e.Credentials().Secret, since)
	}
	e.LostSince = time.Time{}
	return fmt.Sprintf("%s (since %s; the verdict is older than that)", Detail(f, &e), since)
}

// reasonDetail returns the sentence of a reason.
func (f Failure) reasonDetail(e *Evidence) string {
	if !strings.Contains(string(e.Reason), "{") {
		return string(e.Reason)
	}
	c, d := e.Credentials(), e.DNS()
	return strings.NewReplacer(
		"{image}", f.Image, "{name}", f.Registry+"/"+f.Repository, "{error}", e.Image().Error,
		"{secret}", c.Secret, "{file}", c.File, "{provider}", c.Provider, "{pattern}", c.Pattern, "{host}", d.Host, "{why}", d.Why,
		"{endpoint}", e.Endpoint.URL, "{with}", e.Registry().Credential.with(),
	).Replace(string(e.Reason))
}

func (f Failure) messageDetail(m *MessageFacts) string {
	if m.Text == "" {
		return fmt.Sprintf("the kubelet reports only the reason %s", f.Reason)
	}
	return "the kubelet reports: " + m.Text
}

// --- images

func (f Failure) imageDetail(e *Evidence, i *ImageFacts) string {
	switch {
	case e.Fault == FaultNameInvalid:
		return "the image reference does not parse" + after(": ", i.Invalid)
	case e.Fault == FaultRuntimeUnready:
		return fmt.Sprintf("the container runtime on node %s does not respond: %s", f.Node, i.Error)
	case e.Fault == FaultImageAbsent && len(i.Others) > 0:
		return fmt.Sprintf("the image is not on node %s; the node has %s", f.Node, strings.Join(i.Others, ", "))
	case e.Fault == FaultImageAbsent:
		return fmt.Sprintf("the image is not on node %s", f.Node)
	case e.Outcome == Passed, e.Fault == FaultNotVerified:
		return fmt.Sprintf("the image is on node %s%s", f.Node, records[i.Record].says+refusedUse(i, f.PullPolicy == "Never"))
	}
	return i.Error
}

// refusedUse says why the kubelet refuses the image to the pod, and what would
// help, without the names of other users of the image; "" if it does not refuse it.
// With the policy Never no pull can prove credentials: they must be recorded
// already, under the name as the pod writes it.
func refusedUse(i *ImageFacts, never bool) string {
	switch {
	case i.Use() != UseRefused:
		return ""
	case i.Record == RecordOtherSpelling && never:
		return fmt.Sprintf("it is recorded as %s, but the pod has %s; use the recorded name, or a pull policy other than Never", i.Recorded, i.Written)
	case i.Record == RecordOtherSpelling:
		return fmt.Sprintf("it is recorded as %s, but the pod has %s; use the recorded name, or let the kubelet pull it under this one", i.Recorded, i.Written)
	case i.Record == RecordNoCredentials && never:
		return "no pull under this name is recorded; only a pull policy other than Never helps, not a pull secret"
	case i.Record == RecordNoCredentials:
		return "no pull under this name is recorded yet"
	case never:
		return "it was pulled with credentials that this pod does not have; add the pull secret of an earlier pull, or use a pull policy other than Never"
	default:
		return "it was pulled with credentials that this pod does not have; add a pull secret that the registry accepts"
	}
}

// --- credentials

// minute is the layout of the times of credentials. They are dates, not ages,
// because evidence must not change with every look.
const minute = "2006-01-02 15:04 UTC"

func (f Failure) credentialDetail(e *Evidence, c *CredentialFacts) string {
	switch {
	case c.Unread != "":
		return c.Unread
	case c.More > 0:
		return fmt.Sprintf("the pod names %d more pull secrets, which whypull does not read", c.More)
	}
	switch e.Fault { //nolint:exhaustive // the others are of other checks
	case FaultNoCredentials:
		return f.noCredentials()
	case FaultSecretUnreadable:
		return fmt.Sprintf("secret %s could not be read from the API server", c.Secret)
	case FaultSecretMissing:
		return fmt.Sprintf("secret %s does not exist in namespace %s", c.Secret, f.Namespace) + elsewhereDetails[c.Elsewhere]
	case FaultProviderMatches, FaultProviderFailed:
		return f.providerDetail(c)
	case FaultCredentialExpired:
		return expiredDetail(c)
	case FaultNoMatchingCredential:
		return fmt.Sprintf("secret %s has credentials for %s%s", c.Secret, some(shownKeys(c.Hosts)), f.nearDetail(c))
	case FaultSecretMalformed, FaultSecretWrongType, FaultSecretEmpty:
		return "pull secret " + c.Secret + " is not usable" + after(": ", c.Problem)
	}
	return f.matchDetail(e, c)
}

func (f Failure) noCredentials() string {
	switch {
	case f.Kind == KindSandbox: // podsandbox ensureImageExists brings no credentials of the kubelet's
		return "the runtime pulls the sandbox image without pull secrets or other credentials of the kubelet"
	case f.ServiceAccount == "" || f.Offline:
		return "the pod has no pull secret"
	}
	// The secrets of the service account are copied when a pod is created (admission
	// plugin ServiceAccount).
	return fmt.Sprintf("the pod has no pull secret; one that is added to service account %s applies to new pods only", f.ServiceAccount)
}

// elsewhereDetails say whether a missing secret is in another namespace.
var elsewhereDetails = map[Elsewhere]string{ //nolint:gochecknoglobals // never written
	ElsewhereExists:  "; a secret of that name exists in another namespace",
	ElsewhereUnknown: "; one of that name in another namespace would not count",
}

func (f Failure) providerDetail(c *CredentialFacts) string {
	mode := ""
	if c.TokenMode {
		mode = " and gets a token of the pod's service account"
	}
	pattern := cmp.Or(c.Pattern, f.Registry)
	if says := providerRuns[c.Run].says; says != "" {
		return fmt.Sprintf("credential provider %s, which the kubelet runs for %s, %s", c.Provider, pattern, f.ran(c, says))
	}
	return fmt.Sprintf("the kubelet also runs credential provider %s, which is configured for %s%s; whypull does not run it", c.Provider, pattern, mode)
}

// ran returns the end of the sentence on a run.
func (f Failure) ran(c *CredentialFacts, sentence string) string {
	switch c.Run { //nolint:exhaustive // the others need no facts
	case ProviderExited:
		return fmt.Sprintf(sentence, c.ExitStatus)
	case ProviderGaveOthers:
		return fmt.Sprintf(sentence, f.Registry, f.Repository)
	case ProviderNoAnnotation, ProviderAccountMissing:
		return fmt.Sprintf(sentence, f.ServiceAccount, c.Annotation)
	}
	return sentence
}

// providerRuns say of each run what it shows, and how it continues "credential provider X,
// which the kubelet runs for Y,". What is inconclusive may go another way where the kubelet
// runs it.
//
//nolint:gochecknoglobals // never written
var providerRuns = map[ProviderRun]struct {
	shows Outcome
	says  string
}{
	ProviderGave:         {Passed, ""},
	ProviderGaveNone:     {Failed, "returns no credentials"},
	ProviderGaveOthers:   {Failed, "returns credentials, but none for %s/%s"},
	ProviderExited:       {Failed, "fails with exit status %d"},
	ProviderKilled:       {Inconclusive, "was killed by a signal when whypull ran it"},
	ProviderTimedOut:     {Failed, "does not finish within a minute, after which the kubelet stops it"},
	ProviderInvalid:      {Failed, "returns something other than a CredentialProviderResponse of the configured version"},
	ProviderTooLarge:     {Inconclusive, "returns more than whypull reads"},
	ProviderMissing:      {Failed, "is missing from the kubelet's directory of plugins"},
	ProviderUnexecutable: {Failed, "is not an executable program"},
	ProviderNoAccount:    {Failed, "is only run for pods with a service account"},

	ProviderNoAnnotation:   {Failed, "is not run, because service account %s lacks the annotation %s, which its configuration requires"},
	ProviderAccountMissing: {Failed, "is not run, because service account %[1]s does not exist"},
	ProviderAudience:       {Failed, "is not run, because nodes may not request tokens for its serviceAccountTokenAudience"},

	ProviderRunning:      {NotRun, "is still running"},
	ProviderBusy:         {NotRun, "was not run by whypull: too many wait to be run"},
	ProviderHidden:       {NotRun, "was not run by whypull: the directory of the plugins is not mounted or not known (--image-credential-provider-bin-dir)"},
	ProviderDependent:    {NotRun, "was not run by whypull: it needs a loader or interpreter that is not mounted"},
	ProviderNoCapability: {NotRun, "was not run by whypull: the capability SYS_CHROOT is missing"},
	ProviderWantsToken:   {NotRun, "was not run by whypull: it needs a token of the pod's service account, which whypull may not request here (component credential-provider-tokens)"},
	ProviderNoToken:      {NotRun, "was not run by whypull: the API server issued no token of the pod's service account"},
	ProviderUnstarted:    {NotRun, "was not run by whypull: it could not be started"},
}

// Shows returns what evidence about the run shows.
func (r ProviderRun) Shows() Outcome { return cmp.Or(providerRuns[r].shows, NotRun) }

func (c *CredentialFacts) source() string {
	if c.Provider != "" {
		return "credential provider " + c.Provider
	}
	if c.File != "" {
		return "the node's file " + c.File
	}
	return "secret " + c.Secret
}

func expiredDetail(c *CredentialFacts) string {
	if !c.ExpiredAt.IsZero() {
		return fmt.Sprintf("%s (entry %s) has a token that expired at %s", c.source(), c.Credential.key(), c.ExpiredAt.UTC().Format(minute))
	}
	return fmt.Sprintf("%s (entry %s) has a token and was last changed at %s, but such tokens expire after %s",
		c.source(), c.Credential.key(), c.Changed.UTC().Format(minute), hours(c.Lifetime))
}

// name is the source of the credential as in a list of sources; "" for none.
func (c *CredentialRef) name() string {
	switch {
	case c == nil:
		return ""
	case c.OfProvider:
		return "the answer of credential provider " + c.Source
	}
	return c.Source
}

func (c *CredentialRef) key() string {
	if c == nil {
		return ""
	}
	return c.Key
}

func hours(d time.Duration) string {
	if d == time.Hour {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", int(d.Hours()))
}

// nearDetail says where the image is, and why the entry that was most likely meant
// does not match if it is not simply for another host.
func (f Failure) nearDetail(c *CredentialFacts) string {
	switch {
	case c.NearIs == NearOtherPath:
		return ", but the image is " + f.Registry + "/" + f.Repository + after(" ", c.Near)
	case c.Near != "" && c.NearIs == NearOtherPort:
		return "; " + c.Near
	}
	return ", but the image is on " + f.Registry + after("; ", c.Near)
}

// matchDetail returns the sentence about an entry that is for the image.
func (f Failure) matchDetail(e *Evidence, c *CredentialFacts) string {
	if c.File != "" && e.Outcome == Inconclusive {
		return fmt.Sprintf("the node's file %s has an entry for %s", c.File, f.Registry) + after(": ", c.Problem) + after(": ", c.Note)
	}
	verb := "has"
	if c.Provider != "" {
		verb = "returns"
	}
	has := fmt.Sprintf("%s %s credentials for %s (entry %s)", c.source(), verb, f.Registry, c.Key)
	ends := ""
	if !c.Expires.IsZero() {
		ends = "; the token expires at " + c.Expires.UTC().Format(minute)
	}
	if c.File != "" {
		return has + ends + after(": ", c.Problem) + after(": ", c.Note)
	}
	return has + after(": ", c.Note) + ends
}

// --- words

// after returns s behind a separator, "" for "".
func after(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}

// shortDigest returns the algorithm and the first 12 digits of a digest.
func shortDigest(digest string) string {
	const most = len("sha256:") + 12
	return digest[:min(len(digest), most)]
}

// with says with which credentials an attempt is made.
func (c *CredentialRef) with() string {
	if c == nil {
		return "without credentials"
	}
	return "with " + c.where()
}

// where says where the credentials come from.
func (c *CredentialRef) where() string {
	if c.OfProvider {
		return fmt.Sprintf("the credentials of credential provider %s (entry %s)", c.Source, c.Key)
	}
	if c.OfNode {
		return fmt.Sprintf("the node's credentials in %s (entry %s)", c.Source, c.Key)
	}
	return fmt.Sprintf("the credentials in secret %s (entry %s)", c.Source, c.Key)
}

func moment(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// hostsInTurn names the first host and those that are asked if it fails.
func hostsInTurn(hosts []string) string {
	switch len(hosts) {
	case 0:
		return ""
	case 1:
		return hosts[0]
	}
	return hosts[0] + " (fallback: " + some(hosts[1:]) + ")"
}

// --- names

func (f Failure) dnsDetail(e *Evidence, d *DNSFacts) string {
	switch {
	case d.Proxy != "":
		source := ""
		if d.ProxySource != "" {
			source = fmt.Sprintf(" (%s)", d.ProxySource)
		}
		return fmt.Sprintf("requests to %s go through proxy %s%s, which resolves the name", e.Endpoint.URL, d.Proxy, source)
	case d.Connection != "":
		return connectionDetail(d)
	case e.Check == CheckPodDNS:
		return podLookupDetail(e, d)
	}
	return f.nodeLookupDetail(e, d)
}

func (f Failure) nodeLookupDetail(e *Evidence, d *DNSFacts) string {
	by := "the node's hosts file"
	switch {
	case d.Server != "":
		by = "resolver " + d.server()
	case d.System:
		by = "the system's resolver"
	}
	switch {
	case d.Sinkhole:
		return fmt.Sprintf("node %s cannot resolve %s: %s answers 0.0.0.0, as DNS filters do for names that they block (a DNS sinkhole)", f.Node, d.Host, by)
	case e.Outcome == Inconclusive:
		return fmt.Sprintf("node %s could not look up %s: %s", f.Node, d.Host, d.Why)
	case e.Fault != "":
		return fmt.Sprintf("node %s cannot resolve %s: %s", f.Node, d.Host, d.answer())
	}
	return fmt.Sprintf("node %s resolves %s to %s (%s)", f.Node, d.Host, strings.Join(d.Addresses, ", "), by+d.searched())
}

func podLookupDetail(e *Evidence, d *DNSFacts) string {
	from := map[Vantage]string{VantageShared: ", the pod uses the node's network", VantageNode: ", asked from the node's network"}[d.From]
	if e.Fault != "" {
		return fmt.Sprintf("the pod's DNS cannot resolve %s: %s%s", d.Host, d.answer(), from)
	}
	s := fmt.Sprintf("the pod's DNS resolves %s to %s (resolver %s%s)%s", d.Host, strings.Join(d.Addresses, ", "), d.Server, d.searched(), from)
	if d.Compared == ComparedOther {
		s += "; the node resolves it to " + some(d.NodeAddresses)
	}
	return s
}

// server names the resolver and those that it forwards to.
func (d *DNSFacts) server() string {
	return d.Server + after(", which forwards to ", strings.Join(d.Upstream, ", "))
}

// answer says what a resolver answered to a lookup that found nothing.
func (d *DNSFacts) answer() string {
	why := d.Why
	if d.Alias != "" {
		why = fmt.Sprintf("it is an alias of %s, which does not exist", d.Alias)
	}
	switch rest, of := strings.CutPrefix(why, "it "); {
	case d.Server == "":
		return why
	case d.Alias != "":
		return fmt.Sprintf("%s (resolver %s)", why, d.server())
	case of:
		return fmt.Sprintf("resolver %s %s", d.Server, rest)
	case strings.HasPrefix(why, "its "):
		return fmt.Sprintf("resolver %s: %s", d.Server, why)
	}
	return fmt.Sprintf("%s from %s", why, d.server())
}

// searched returns the name that the search list has made of the registry's.
func (d *DNSFacts) searched() string {
	if d.Name == "" || strings.EqualFold(d.Name, strings.TrimSuffix(d.Host, ".")) {
		return ""
	}
	return ", as " + d.Name
}

func connectionDetail(d *DNSFacts) string {
	if d.Trouble == "" {
		return fmt.Sprintf("a connection from the pod to %s succeeds", d.Connection)
	}
	return fmt.Sprintf("a connection from the pod to %s fails (%s), but images are pulled from the node", d.Connection, d.Trouble)
}

// --- pulls

func (f Failure) pullDetail(e *Evidence, p *PullFacts) string {
	switch {
	case p.Room != nil:
		return f.roomDetail(p.Room)
	case p.Retry != nil:
		return f.retryDetail(e, p.Retry)
	case p.Disk != nil:
		return f.diskDetail(e, p.Disk)
	case p.Behind != nil:
		return fmt.Sprintf("node %s receives no other image meanwhile, as if the kubelet pulled one at a time; pods that wait for theirs: %s", f.Node, p.Behind.Detail(f))
	}
	switch e.Fault { //nolint:exhaustive // the others are of other checks
	case FaultNoSandbox:
		return fmt.Sprintf("the pod has had no sandbox since %s or earlier, and the sandbox image is not on node %s", moment(p.Since), f.Node)
	case FaultStalled:
		return fmt.Sprintf("the pull of %s from %s has stalled: less than 1 MiB received since %s; it has %s of %s, and blob %s is incomplete",
			f.Image, hostsInTurn(p.Sources), moment(p.Since), Size(p.Done), Size(p.Total), shortDigest(p.Blob))
	case FaultWaitsForIt:
		return fmt.Sprintf("the pull of %s has not started: the node waits for the pull of %s, which has received less than 1 MiB since %s", f.Image, p.Ahead.Detail(), moment(p.Since))
	case FaultUnbegun:
		return fmt.Sprintf("nothing of %s has been received from %s since %s", f.Image, f.Registry, moment(p.Since))
	}
	return ""
}

// Detail names the pull that others wait for.
func (a Ahead) Detail() string {
	switch {
	case a.Hidden:
		return "another image, for a pod in another namespace"
	case a.Pod == "":
		return "another image"
	}
	return fmt.Sprintf("the image of pod %s from %s", a.Pod, hostsInTurn(a.Sources))
}

// Detail names the waiting pods of the failure's own namespace and counts the
// others, which a pod's report must not name.
func (b *Behind) Detail(f Failure) string {
	var parts []string
	if len(b.Pods) > 0 {
		parts = append(parts, strings.Join(b.Pods, ", "))
	}
	if b.More > 0 {
		parts = append(parts, fmt.Sprintf("%d more in namespace %s", b.More, f.Namespace))
	}
	if b.Others > 0 {
		parts = append(parts, fmt.Sprintf("%d in other namespaces", b.Others))
	}
	return strings.Join(parts, "; ")
}

func (f Failure) roomDetail(r *Room) string {
	what := "the pull of " + f.Image + " was not retried"
	if r.Stopped {
		what = "the retried pull of " + f.Image + " was stopped"
	}
	return fmt.Sprintf("%s for lack of disk space: node %s has %s free, and whypull leaves %s free for others", what, f.Node, Size(r.Free), Size(r.Floor))
}

func (f Failure) retryDetail(e *Evidence, r *RetryFacts) string {
	switch with := r.Credential.with(); {
	case r.Replay != nil && r.Whole:
		return fmt.Sprintf("pull replayed %s: %s serves the manifest, the config, and the first and last bytes of each of %d layers (%s in total)",
			with, e.Endpoint.URL, r.Layers, Size(r.Bytes))
	case r.Replay != nil:
		return fmt.Sprintf("pull replayed %s: %s", with, f.contentDetail(e, r.Replay))
	case r.Message != nil:
		return fmt.Sprintf("the runtime retried the pull %s and it failed: %s", with, r.Message.Text)
	default:
		return fmt.Sprintf("the runtime retried the pull of %s %s and it succeeded: %s, %s of them from the registry; nothing was kept",
			f.Image, with, Size(r.Bytes), Size(r.Fetched))
	}
}

// --- file systems

func (f Failure) diskDetail(e *Evidence, d *DiskFacts) string {
	switch {
	case len(d.Filesystems) == 0:
		return ""
	case e.Fault == FaultDiskFull:
		return f.shortageDetail(d, d.Filesystems[0])
	}
	var parts []string
	for _, s := range d.Filesystems {
		if s.Unseen != "" {
			continue
		}
		part := fmt.Sprintf("%s%s free on %s", Size(s.Free), s.fewInodes(), s.directory())
		if len(parts) == 0 {
			part = fmt.Sprintf("node %s now has %s", f.Node, part)
		}
		if s.Needed > 0 {
			part += ", and " + d.wants(s)
		}
		parts = append(parts, part)
	}
	return strings.Join(append(parts, unseenDetail(d.Filesystems)...), "; ")
}

// shortageDetail returns the sentence about a file system that is full, or too
// small for the image.
func (f Failure) shortageDetail(d *DiskFacts, s Filesystem) string {
	switch {
	case s.NoInodes:
		return fmt.Sprintf("node %s has no inodes left on %s, so no file can be created; %s free", f.Node, s.directory(), Size(s.Free))
	case s.Full && s.Needed > 0:
		return fmt.Sprintf("node %s has no space left on %s (0 B of %s), and %s", f.Node, s.directory(), Size(s.Total), d.wants(s))
	case s.Full:
		return fmt.Sprintf("node %s has no space left on %s (0 B of %s)", f.Node, s.directory(), Size(s.Total))
	}
	few := "has"
	if d.Estimated && !d.Sole {
		few = "may have"
	}
	return fmt.Sprintf("node %s %s too little space on %s: %s free, and %s", f.Node, few, s.directory(), Size(s.Free), d.wants(s))
}

// wants says how much space on a file system the image needs.
func (d *DiskFacts) wants(s Filesystem) string {
	what, unpacked := "the image", ""
	if d.Partial {
		what = "the rest of the image"
	}
	if slices.Contains(s.Uses, FilesystemImages) {
		unpacked = " once unpacked"
	}
	return fmt.Sprintf("%s needs about %s%s", what, Size(s.Needed), unpacked)
}

// directory names a file system, and the other directory at which it was seen: that
// is on the same one unless the node has mounted something in between.
func (s Filesystem) directory() string {
	seen := ""
	if s.Presumed && s.Seen != "" {
		seen = ", seen at " + s.Seen
	}
	return fmt.Sprintf("%s (%s%s)", s.Path, s.purposes(), seen)
}

func (s Filesystem) purposes() string {
	uses := make([]string, len(s.Uses))
	for i, u := range s.Uses {
		uses[i] = string(u)
	}
	return strings.Join(uses, ", ")
}

// fewInodes says how many inodes are free if they are few.
func (s Filesystem) fewInodes() string {
	const share = 20
	if s.TotalInodes == 0 || s.FreeInodes > s.TotalInodes/share {
		return ""
	}
	return fmt.Sprintf(" and only %d of %d inodes", s.FreeInodes, s.TotalInodes)
}

// unseenDetail returns a part for each reason why file systems could not be seen.
func unseenDetail(all []Filesystem) []string {
	var parts []string
	for _, why := range []Unseen{UnseenNotMounted, UnseenMissing, UnseenForbidden, UnseenTimeout, UnseenFailed} {
		var where []string
		for _, s := range all {
			if s.Unseen == why {
				where = append(where, fmt.Sprintf("%s (%s)", s.Path, s.purposes()))
			}
		}
		if len(where) > 0 {
			parts = append(parts, fmt.Sprintf("free space at %s is unknown: %s", strings.Join(where, " and "), why))
		}
	}
	return parts
}
