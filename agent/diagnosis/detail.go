package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Detail returns what people read of a piece of evidence: one sentence without
// credentials, and without anything that a registry worded freely.
func Detail(f Failure, e *Evidence) string {
	if s, ok := reasonSentences[e.Reason]; ok {
		return s
	}
	switch b := e.Body.(type) {
	case *MessageFacts:
		return f.messageDetail(b)
	case *ImageFacts:
		return f.imageDetail(e, b)
	case *CredentialFacts:
		return f.credentialDetail(e, b)
	case *DNSFacts:
		return f.dnsDetail(e, b)
	case *RegistryFacts:
		return f.registryDetail(e, b)
	case *PullFacts:
		return f.pullDetail(e, b)
	}
	return f.bareDetail(e)
}

// bareDetail is about evidence that needs no facts but those of the failure.
func (f Failure) bareDetail(e *Evidence) string {
	switch e.Check {
	case CheckImage:
		return f.imageDetail(e, &noImage)
	case CheckCredentials:
		return f.credentialDetail(e, &noCredentials)
	case CheckRegistry:
		if e.Reason != "" || e.Fault != "" {
			return f.registryDetail(e, &noRegistry)
		}
	case CheckMessage, CheckNodeDNS, CheckPodDNS, CheckPull:
	}
	return ""
}

func (f Failure) messageDetail(m *MessageFacts) string {
	if m.Text == "" {
		return fmt.Sprintf("the kubelet gives no more than the reason %s", f.Reason)
	}
	return "the kubelet says: " + m.Text
}

// --- images

func (f Failure) imageDetail(e *Evidence, i *ImageFacts) string {
	switch {
	case e.Reason == ReasonMachineUnknown:
		return "whether the image is on this machine is not known: " + i.Error
	case e.Fault == FaultNameInvalid:
		return "the image reference does not parse" + after(": ", i.Invalid)
	case e.Fault == FaultRuntimeUnready:
		return fmt.Sprintf("the container runtime of node %s does not answer: %s", f.Node, i.Error)
	case e.Fault == FaultImageAbsent && len(i.Others) > 0:
		return fmt.Sprintf("the image is not on node %s; the node has %s", f.Node, strings.Join(i.Others, ", "))
	case e.Fault == FaultImageAbsent:
		return fmt.Sprintf("the image is not on node %s", f.Node)
	case e.Outcome == Passed, e.Fault == FaultNotVerified:
		return fmt.Sprintf("the image is on node %s%s", f.Node, f.recordDetail(i))
	}
	return i.Error
}

// recordDetail is the end of the sentence on an image that is there. It says
// nothing of who else uses the image.
func (f Failure) recordDetail(i *ImageFacts) string {
	switch i.Record {
	case RecordNotPulled:
		return "; the kubelet has no record of pulling it, and by default lets every pod use such an image (not with imagePullCredentialsVerificationPolicy AlwaysVerify)"
	case RecordNodeWide:
		return ", and the kubelet lets every pod of the node use it"
	case RecordThisPod:
		return ", and the kubelet lets this pod use it: it has the credentials of an earlier pull"
	case RecordOtherCredentials, RecordOtherSpelling, RecordNoCredentials:
		return ", but the kubelet does not let this pod use it: " + refusedUse(i, f.PullPolicy == "Never")
	case RecordPulling:
		return "; the kubelet has begun a pull of it, and lets no pod use it before one has ended"
	case RecordUndecided:
		return "; whether the kubelet lets this pod use it depends on credentials that are not all known here"
	}
	return ""
}

// refusedUse says why, and what would help. With the policy Never there is no
// pull to prove credentials by: they have to be recorded already, under the name
// as the pod writes it.
func refusedUse(i *ImageFacts, never bool) string {
	switch {
	case i.Record == RecordOtherSpelling && never:
		return fmt.Sprintf("it is recorded as %s; the pod writes %s; it would with the recorded spelling, or another policy than Never", i.Recorded, i.Written)
	case i.Record == RecordOtherSpelling:
		return fmt.Sprintf("it is recorded as %s; the pod writes %s; it would with the recorded spelling, or after a pull under this one", i.Recorded, i.Written)
	case i.Record == RecordNoCredentials && never:
		return "the kubelet has no record of a pull under this name; no pull secret changes that, only another policy than Never"
	case i.Record == RecordNoCredentials:
		return "the kubelet has no record of a pull under this name; it would after one"
	case never:
		return "it was pulled with credentials that this pod does not have; it would if the pod had the pull secret of an earlier pull, or another policy than Never"
	default:
		return "it was pulled with credentials that this pod does not have; it would after a pull with a pull secret that the registry accepts"
	}
}

// --- credentials

// minute is how the times of credentials are written: dates and no ages, since
// evidence must not change with every look.
const minute = "2006-01-02 15:04 UTC"

func (f Failure) credentialDetail(e *Evidence, c *CredentialFacts) string {
	switch {
	case !c.UnreadSince.IsZero():
		return fmt.Sprintf("secret %s has been unreadable since %s; the verdict is from before", c.Secret, c.UnreadSince.UTC().Format(time.RFC3339))
	case c.Unread != "":
		return c.Unread
	case c.More > 0:
		return fmt.Sprintf("the pod names %d more pull secrets, which whypull does not read", c.More)
	case e.Reason == ReasonProviderNear:
		return fmt.Sprintf("the kubelet's credential provider %s is for %s, which does not match %s/%s: port and path have to be as in the image's name", c.Provider, c.Pattern, f.Registry, f.Repository)
	case e.Reason == ReasonSecretForbidden:
		return fmt.Sprintf("whypull may not read secret %s; impersonate-on:associated-node:get or get on it would allow that", c.Secret)
	}
	switch e.Fault { //nolint:exhaustive // the others are of other checks
	case FaultNoCredentials:
		return f.noCredentials()
	case FaultSecretUnreadable:
		return fmt.Sprintf("secret %s could not be read from the API server", c.Secret)
	case FaultSecretMissing:
		return fmt.Sprintf("secret %s does not exist in namespace %s", c.Secret, f.Namespace) + elsewhereDetail(c.Elsewhere)
	case FaultProviderMatches:
		return f.providerDetail(c)
	case FaultCredentialExpired:
		return expiredDetail(c)
	case FaultNoMatchingCredential:
		return fmt.Sprintf("secret %s is for %s%s", c.Secret, some(c.Hosts), f.nearDetail(c))
	case FaultSecretMalformed, FaultSecretWrongType, FaultSecretEmpty:
		return "pull secret " + c.Secret + after(": ", c.Problem)
	}
	return f.matchDetail(e, c)
}

func (f Failure) noCredentials() string {
	switch {
	case f.Kind == KindSandbox: // podsandbox ensureImageExists brings no credentials of the kubelet's
		return "the runtime pulls the sandbox image without any pull secret or credentials of the kubelet"
	case f.ServiceAccount == "" || f.Offline:
		return "the pod names no pull secret"
	}
	// Those of the service account are copied when a pod is made (admission plugin
	// ServiceAccount).
	return fmt.Sprintf("the pod names no pull secret; one that is added to service account %s counts for new pods only", f.ServiceAccount)
}

func elsewhereDetail(e Elsewhere) string {
	switch e {
	case ElsewhereExists:
		return "; a secret of that name exists in another namespace"
	case ElsewhereUnknown:
		return "; one of that name in another namespace does not count"
	}
	return ""
}

func (f Failure) providerDetail(c *CredentialFacts) string {
	mode := ""
	if c.TokenMode {
		mode = " and gets a token of the pod's service account"
	}
	pattern := c.Pattern
	if pattern == "" {
		pattern = f.Registry
	}
	return fmt.Sprintf("the kubelet also asks credential provider %s, which is configured for %s%s; whypull does not run it", c.Provider, pattern, mode)
}

func (c *CredentialFacts) source() string {
	if c.File != "" {
		return "the node's file " + c.File
	}
	return "secret " + c.Secret
}

func expiredDetail(c *CredentialFacts) string {
	if !c.ExpiredAt.IsZero() {
		return fmt.Sprintf("%s (entry %s) holds a token that expired on %s", c.source(), c.Credential.key(), c.ExpiredAt.UTC().Format(minute))
	}
	return fmt.Sprintf("%s (entry %s) holds a token and was last changed on %s; such tokens live %s",
		c.source(), c.Credential.key(), c.Changed.UTC().Format(minute), hours(c.Lifetime))
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

// nearDetail says where the image is, and the reason why the entry that was most
// likely meant does not match, where it is not simply another host.
func (f Failure) nearDetail(c *CredentialFacts) string {
	if c.Near != "" && c.NearPlace {
		return "; " + c.Near
	}
	return ", the image is on " + f.Registry + after("; ", c.Near)
}

// matchDetail is about an entry that is for the image.
func (f Failure) matchDetail(e *Evidence, c *CredentialFacts) string {
	if c.File != "" && e.Outcome == Inconclusive {
		return fmt.Sprintf("the node's file %s names %s", c.File, f.Registry) + after(": ", c.Problem) + after(": ", c.Note)
	}
	has := fmt.Sprintf("%s has credentials for %s under %s", c.source(), f.Registry, c.Key)
	ends := ""
	if !c.Expires.IsZero() {
		ends = "; it is a token that expires at " + c.Expires.UTC().Format(minute)
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

// some joins the first five and counts the rest.
func some(all []string) string {
	const most = 5
	if len(all) == 0 {
		return "no registry"
	}
	s := strings.Join(all[:min(len(all), most)], ", ")
	if n := len(all) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// shortDigest is a digest as people write it to each other.
func shortDigest(digest string) string {
	const most = len("sha256:") + 12
	return digest[:min(len(digest), most)]
}

// with names the credential of an attempt.
func (c *CredentialRef) with() string {
	switch {
	case c == nil:
		return "without credentials"
	case c.OfNode:
		return fmt.Sprintf("with the node's own credential from %s (entry %s)", c.Source, c.Key)
	}
	return fmt.Sprintf("with secret %s (entry %s)", c.Source, c.Key)
}

func moment(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// unsignedSize is Size of a number that may be too large for it.
func unsignedSize(n uint64) string {
	const most = 1<<63 - 1
	return Size(int64(min(n, most))) // #nosec G115 -- it fits
}

// hostsInTurn names the hosts that are asked in turn.
func hostsInTurn(hosts []string) string {
	switch len(hosts) {
	case 0:
		return ""
	case 1:
		return hosts[0]
	}
	return hosts[0] + " (or, where that does not serve it, " + some(hosts[1:]) + ")"
}

// --- names

func (f Failure) dnsDetail(e *Evidence, d *DNSFacts) string {
	switch {
	case e.Reason == ReasonIsAddress:
		return d.Host + " is an address; there is no name to resolve"
	case e.Reason == ReasonNameUnasked:
		return "the name could not be asked for in the pod: " + d.Why
	case e.Reason == ReasonSandboxError:
		return d.Why
	case d.Proxy != "":
		source := ""
		if d.ProxySource != "" {
			source = fmt.Sprintf(" (%s)", d.ProxySource)
		}
		return fmt.Sprintf("%s is asked through the proxy %s%s, which resolves the name", e.Endpoint.URL, d.Proxy, source)
	case d.Connection != "":
		return connectionDetail(d)
	case e.Check == CheckPodDNS:
		return podLookupDetail(e, d)
	}
	return f.nodeLookupDetail(e, d)
}

func (f Failure) nodeLookupDetail(e *Evidence, d *DNSFacts) string {
	by := "the node's hosts file"
	if d.Server != "" {
		by = "resolver " + d.Server
	}
	if len(d.Upstream) > 0 {
		by += ", which asks " + strings.Join(d.Upstream, ", ")
	}
	switch {
	case d.Sinkhole:
		return fmt.Sprintf("the registry's name %s resolves to 0.0.0.0 on node %s (%s): DNS servers answer so for names that they block (a DNS sinkhole)", d.Host, f.Node, by)
	case e.Outcome == Inconclusive:
		return fmt.Sprintf("the registry's name %s could not be looked up on node %s: %s", d.Host, f.Node, d.Why)
	case e.Fault == "":
		return fmt.Sprintf("%s resolves to %s (%s)", d.Host, strings.Join(d.Addresses, ", "), by+d.searched())
	case e.Fault == FaultNameNotFound && d.Server == "":
		return fmt.Sprintf("the registry's name %s does not resolve on node %s: %s", d.Host, f.Node, d.why())
	case e.Fault == FaultNameNotFound:
		return fmt.Sprintf("the registry's name %s does not resolve on node %s: %s, says %s", d.Host, f.Node, d.why(), by)
	}
	return fmt.Sprintf("the registry's name %s cannot be resolved on node %s: resolver %s: %s", d.Host, f.Node, d.Server, d.Why)
}

func podLookupDetail(e *Evidence, d *DNSFacts) string {
	from := map[Vantage]string{VantageShared: ", the pod has the node's network", VantageNode: ", asked from the node's network"}[d.From]
	switch {
	case e.Fault == "":
		s := fmt.Sprintf("in the pod %s resolves to %s (resolver %s%s)%s", d.Host, strings.Join(d.Addresses, ", "), d.Server, d.searched(), from)
		if d.Compared == ComparedOther {
			s += fmt.Sprintf("; other addresses than on the node, where it is %s", some(d.NodeAddresses))
		}
		return s
	case e.Fault == FaultNameNotFound && d.Server == "":
		return fmt.Sprintf("in the pod the registry's name %s does not resolve: %s%s", d.Host, d.why(), from)
	case e.Fault == FaultNameNotFound:
		return fmt.Sprintf("in the pod the registry's name %s does not resolve: %s, says resolver %s%s", d.Host, d.why(), d.Server, from)
	}
	return fmt.Sprintf("in the pod the registry's name %s cannot be resolved: resolver %s: %s%s", d.Host, d.Server, d.Why, from)
}

// searched is about a name that the search list has completed.
func (d *DNSFacts) searched() string {
	if d.Name == "" || strings.EqualFold(d.Name, strings.TrimSuffix(d.Host, ".")) {
		return ""
	}
	return ", as " + d.Name
}

// why is what a lookup came to that has found nothing, in a few words.
func (d *DNSFacts) why() string {
	if d.Alias != "" {
		return fmt.Sprintf("it is an alias of %s, which does not exist", d.Alias)
	}
	return d.Why
}

func connectionDetail(d *DNSFacts) string {
	if d.Trouble == "" {
		return fmt.Sprintf("a connection from the pod to %s succeeds", d.Connection)
	}
	return fmt.Sprintf("a connection from the pod to %s fails (%s); pulls do not go that way, but the node's", d.Connection, d.Trouble)
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
		return fmt.Sprintf("node %s receives no other image meanwhile, as when the kubelet pulls one at a time; pods that wait for theirs without a byte: %s", f.Node, p.Behind.Detail(f))
	}
	switch e.Fault { //nolint:exhaustive // the others are of other checks
	case FaultNoSandbox:
		return fmt.Sprintf("the pod has no sandbox since %s at least, and its image is not on node %s", moment(p.Since), f.Node)
	case FaultStalled:
		return fmt.Sprintf("the pull of %s from %s stands still: less than 1 MiB has come since %s; it has %s of %s, and of %s not all",
			f.Image, hostsInTurn(p.Sources), moment(p.Since), Size(p.Done), Size(p.Total), shortDigest(p.Blob))
	case FaultWaitsForIt:
		return fmt.Sprintf("the pull of %s has not begun: the node waits for the pull of %s, of which less than 1 MiB has come since %s", f.Image, p.Ahead.Detail(), moment(p.Since))
	case FaultUnbegun:
		return fmt.Sprintf("of %s no byte has come from %s since %s", f.Image, f.Registry, moment(p.Since))
	}
	return ""
}

// Detail names the pull that others wait for.
func (a Ahead) Detail() string {
	switch {
	case a.Hidden:
		return "another image, for a pod of another namespace"
	case a.Pod == "":
		return "another image"
	}
	return fmt.Sprintf("pod %s's image from %s", a.Pod, hostsInTurn(a.Sources))
}

// Detail names the pods that wait: a pod's report may do so for its own namespace
// only.
func (b *Behind) Detail(f Failure) string {
	var parts []string
	if len(b.Pods) > 0 {
		parts = append(parts, strings.Join(b.Pods, ", "))
	}
	if b.More > 0 {
		parts = append(parts, fmt.Sprintf("%d more of namespace %s", b.More, f.Namespace))
	}
	if b.Others > 0 {
		parts = append(parts, fmt.Sprintf("%d of other namespaces", b.Others))
	}
	return strings.Join(parts, "; ")
}

func (f Failure) roomDetail(r *Room) string {
	what := "was not asked to pull " + f.Image + " again"
	if r.Stopped {
		what = "was stopped while it pulled " + f.Image + " again"
	}
	return fmt.Sprintf("the runtime %s, for want of room: %s are free on node %s, and whypull leaves %s to others", what, unsignedSize(r.Free), f.Node, unsignedSize(r.Floor))
}

func (f Failure) retryDetail(e *Evidence, r *RetryFacts) string {
	switch with := r.Credential.with(); {
	case r.Replay != nil && r.Whole:
		return fmt.Sprintf("replayed %s: %s gives manifest, config, and the first and last bytes of each of %d layers (%s in all)",
			with, e.Endpoint.URL, r.Layers, Size(r.Bytes))
	case r.Replay != nil:
		return fmt.Sprintf("replayed %s: %s", with, f.contentDetail(e, r.Replay))
	case r.Message != nil:
		return fmt.Sprintf("pulled again by the runtime %s, it fails: %s", with, r.Message.Text)
	default:
		return fmt.Sprintf("pulled again by the runtime %s, where no pod finds it, %s came whole: %s, of them %s from the registry; nothing of it was kept",
			with, f.Image, Size(r.Bytes), Size(r.Fetched))
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
		part := fmt.Sprintf("%s%s are free now on node %s's file system of %s", unsignedSize(s.Free), s.fewInodes(), f.Node, s.directory())
		if len(parts) > 0 {
			part = fmt.Sprintf("%s%s on that of %s", unsignedSize(s.Free), s.fewInodes(), s.directory())
		}
		if s.Needed > 0 {
			part += ", and " + d.wants(s)
		}
		parts = append(parts, part)
	}
	return strings.Join(append(parts, unseenDetail(d.Filesystems)...), "; ")
}

// shortageDetail is about a file system that is full, or too small for the image.
func (f Failure) shortageDetail(d *DiskFacts, s Filesystem) string {
	where := fmt.Sprintf("node %s's file system of %s", f.Node, s.directory())
	missing := unsignedSize(s.Needed - min(s.Free, s.Needed))
	switch {
	case s.NoInodes:
		return fmt.Sprintf("no inodes are left on %s, so no file can be made there; %s are free", where, unsignedSize(s.Free))
	case s.Full && s.Needed > 0:
		return fmt.Sprintf("no byte of %s is left on %s, and %s", unsignedSize(s.Total), where, d.wants(s))
	case s.Full:
		return fmt.Sprintf("no byte of %s is left on %s", unsignedSize(s.Total), where)
	case d.Estimated && !d.Sole:
		return fmt.Sprintf("%s may be missing on %s: %s are free, and %s", missing, where, unsignedSize(s.Free), d.wants(s))
	}
	return fmt.Sprintf("about %s are missing on %s: %s are free, and %s", missing, where, unsignedSize(s.Free), d.wants(s))
}

// wants says how many bytes of a file system the image needs.
func (d *DiskFacts) wants(s Filesystem) string {
	what, unpacked := "the image", ""
	if d.Partial {
		what = "what is left of the image"
	}
	if slices.Contains(s.Uses, FilesystemImages) {
		unpacked = " once unpacked"
	}
	return fmt.Sprintf("%s needs about %s%s", what, unsignedSize(s.Needed), unpacked)
}

// directory names a file system. Of one that was seen at another directory, which
// is on the same unless the node has mounted something in between, it says so.
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

// fewInodes says how many inodes are free where they are few: an image has many
// files. The number changes all the time.
func (s Filesystem) fewInodes() string {
	const share = 20
	if s.TotalInodes == 0 || s.FreeInodes > s.TotalInodes/share {
		return ""
	}
	return fmt.Sprintf(" and no more than %d of %d inodes", s.FreeInodes, s.TotalInodes)
}

// unseenDetail says what could not be looked at, and why, a part for each reason.
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
			parts = append(parts, fmt.Sprintf("how much room there is at %s is not known: %s", strings.Join(where, " and "), why))
		}
	}
	return parts
}
