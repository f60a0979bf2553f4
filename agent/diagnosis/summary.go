package diagnosis

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// summary is the verdict in one sentence.
func summary(cause Cause, x *facts) string {
	if s := summaries()[cause]; s != nil {
		return printable(s(x))
	}
	return printable(x.general(cause))
}

// general is the sentence of a cause that has none of its own: the
// catalogue's meaning and the image.
func (x *facts) general(cause Cause) string {
	return fmt.Sprintf("%s (image %s)", strings.TrimSuffix(entry(cause).Meaning, "."), x.Image)
}

func entry(cause Cause) Entry {
	all := Catalogue()
	if i := slices.IndexFunc(all, func(e Entry) bool { return e.Cause == cause }); i >= 0 {
		return all[i]
	}
	return all[len(all)-1]
}

func summaries() map[Cause]func(*facts) string {
	return map[Cause]func(*facts) string{
		InvalidImageName:       sayInvalidName,
		ImageNotPresent:        sayNotPresent,
		ImageNotVerifiedForPod: sayNotVerified,
		PullSecretMissing:      saySecretMissing,
		PullSecretMalformed:    saySecretMalformed,
		PullSecretNoMatch:      sayNoMatch,
		AuthenticationRequired: sayAuthenticationRequired,
		CredentialsRejected:    sayRejected,
		AccessDenied:           sayDenied,
		DeniedOrNotFound:       sayDeniedOrNotFound,
		TagNotFound:            sayTagNotFound,
		RepositoryNotFound:     sayRepositoryNotFound,
		RegistryNameNotFound:   sayNameNotFound,
		DNSFailure:             sayDetail(CheckNodeDNS, FaultDNSFailure),
		ConnectionRefused:      sayDetail(CheckRegistry, FaultConnectionRefused),
		ConnectionTimeout:      sayDetail(CheckRegistry, FaultConnectionTimeout),
		NetworkUnreachable:     sayDetail(CheckRegistry, FaultNetworkUnreachable),
		TLSUntrusted:           sayDetail(CheckRegistry, FaultTLSUntrusted),
		TLSHostnameMismatch:    sayDetail(CheckRegistry, FaultTLSHostnameMismatch),
		TLSExpired:             sayDetail(CheckRegistry, FaultTLSExpired),
		TLSHandshakeFailed:     sayDetail(CheckRegistry, FaultTLSHandshakeFailed),
		HTTPSMismatch:          sayDetail(CheckRegistry, FaultHTTPSMismatch),
		RateLimited:            sayDetail(CheckRegistry, FaultRateLimited),
		RegistryError:          sayDetail(CheckRegistry, FaultServerError),
		RuntimeError:           sayDetail(CheckImage, FaultRuntimeUnready),
		RegistryConfigInvalid:  sayConfig,
		NotReproducible:        sayWorksNow,
		Unknown:                sayUnknown,
	}
}

// sayDetail takes the decisive evidence's own sentence where there is one.
func sayDetail(check Check, fault Fault) func(*facts) string {
	return func(x *facts) string {
		all := x.of(check)
		if check == CheckRegistry {
			all = x.origin()
		}
		if e, ok := firstOf(all, fault); ok {
			return e.Detail
		}
		return x.general(x.reading())
	}
}

func sayConfig(x *facts) string {
	if e, ok := x.first(CheckRegistry, FaultConfigInvalid); ok {
		return e.Detail + "; without it the pull from " + x.Registry + " fails"
	}
	return x.general(RegistryConfigInvalid)
}

func sayInvalidName(x *facts) string {
	s := fmt.Sprintf("%q is not a valid image name", x.Image)
	if e, ok := x.first(CheckImage, FaultNameInvalid); ok && len(e.Candidates) > 0 {
		return s + fmt.Sprintf("; probably meant: %s", e.Candidates[0])
	}
	return s
}

func sayNotPresent(x *facts) string {
	return fmt.Sprintf("image %s is not on node %s and the pull policy is Never, so nothing will fetch it", x.Image, x.Node)
}

func sayNotVerified(x *facts) string {
	why := "the pod brings no credentials"
	switch {
	case x.credentialed():
		why = "the policy Never leaves the kubelet no way to check the pod's"
	case x.has(CheckCredentials, FaultNoMatchingCredential):
		why = "no pull secret of the pod is for " + x.Registry
	case x.has(CheckCredentials, FaultSecretMissing):
		why = "the pod's pull secret does not exist"
	}
	return fmt.Sprintf("image %s is on node %s, but the kubelet lets a pod use it only with credentials that may pull it, and %s",
		x.Image, x.Node, why)
}

func (x *facts) secrets(faults ...Fault) []string {
	var out []string
	for _, e := range x.of(CheckCredentials) {
		if e.Secret != "" && slices.Contains(faults, e.Fault) && !slices.Contains(out, e.Secret) {
			out = append(out, e.Secret)
		}
	}
	return out
}

func saySecretMissing(x *facts) string {
	names := x.secrets(FaultSecretMissing)
	if len(names) == 0 {
		return x.general(PullSecretMissing)
	}
	return fmt.Sprintf("%s not in namespace %s, and %s wants credentials", pullSecrets(names, "is", "are"), x.Namespace, x.Registry)
}

func saySecretMalformed(x *facts) string {
	e, ok := x.first(CheckCredentials, FaultSecretMalformed)
	if !ok {
		e, ok = x.first(CheckCredentials, FaultSecretWrongType, FaultSecretEmpty)
	}
	if !ok {
		return x.general(PullSecretMalformed)
	}
	return e.Detail
}

func sayNoMatch(x *facts) string {
	var parts []string
	for _, e := range x.of(CheckCredentials) {
		if e.Fault == FaultNoMatchingCredential && e.Secret != "" {
			parts = append(parts, fmt.Sprintf("pull secret %s is for %s", e.Secret, list(e.Hosts, 3)))
		}
	}
	return fmt.Sprintf("%s, but the image is on %s", strings.Join(parts, "; "), x.wanted())
}

// wanted is the registry, with the repository where a secret has the right
// host and another path.
func (x *facts) wanted() string {
	for _, e := range x.of(CheckCredentials) {
		for _, h := range e.Hosts {
			if e.Fault == FaultNoMatchingCredential && strings.Contains(h, x.Registry) {
				return x.Registry + "/" + x.Repository
			}
		}
	}
	return x.Registry
}

func sayAuthenticationRequired(x *facts) string {
	return fmt.Sprintf("%s wants credentials for %s and the pod brings none", x.Registry, x.Repository)
}

// used names the credentials of attempts in the kubelet's order, each once.
func used(attempts []Evidence) []string {
	var out []string
	for _, e := range attempts {
		if e.Credential != nil && !slices.Contains(out, e.Credential.Source) {
			out = append(out, e.Credential.Source)
		}
	}
	return out
}

func sayRejected(x *facts) string {
	names := used(x.rejected())
	if len(names) == 0 {
		return fmt.Sprintf("%s rejects the credentials that the pod brings", x.Registry)
	}
	s := fmt.Sprintf("%s rejects the credentials of %s", x.Registry, pullSecrets(names, "", ""))
	if e, ok := x.anonymous(); ok && e.Outcome == Passed {
		s += "; the image is public and would be had without them"
	}
	return s
}

func sayDenied(x *facts) string {
	names := used(x.denied())
	if len(names) == 0 {
		return fmt.Sprintf("%s accepts the login, but refuses repository %s to it", x.Registry, x.Repository)
	}
	return fmt.Sprintf("%s accepts the login of %s, but refuses it repository %s", x.Registry, pullSecrets(names, "", ""), x.Repository)
}

func sayDeniedOrNotFound(x *facts) string {
	return fmt.Sprintf("%s refuses repository %s and does not say whether it exists; the pod has no credentials that settle it", x.Registry, x.Repository)
}

func sayTagNotFound(x *facts) string {
	e, ok := firstOf(x.origin(), FaultTagNotFound)
	if !ok {
		return fmt.Sprintf("%s has no manifest for %s", x.Registry, x.Image)
	}
	s := fmt.Sprintf("%s has repository %s, but not %s", x.Registry, x.Repository, x.version())
	if len(e.Candidates) > 0 {
		s += "; it has " + list(e.Candidates, 3)
	}
	return s
}

// version is the tag or digest of the image as written, "tag latest" if none.
func (x *facts) version() string {
	if _, d, ok := strings.Cut(x.Image, "@"); ok {
		return "digest " + d
	}
	last := x.Image[strings.LastIndex(x.Image, "/")+1:]
	if _, t, ok := strings.Cut(last, ":"); ok {
		return "tag " + t
	}
	return "tag latest"
}

func sayRepositoryNotFound(x *facts) string {
	return fmt.Sprintf("%s answers, but has no repository %s", x.Registry, x.Repository)
}

func sayNameNotFound(x *facts) string {
	if e, ok := x.first(CheckNodeDNS, FaultNameNotFound); ok {
		return e.Detail
	}
	return fmt.Sprintf("the registry's name %s does not exist in the name service of node %s", x.Registry, x.Node)
}

func sayWorksNow(x *facts) string {
	return fmt.Sprintf("every check of %s passes now; the kubelet will try again within five minutes", x.Image)
}

func sayUnknown(x *facts) string {
	if names := x.secrets(FaultSecretUnreadable); len(names) > 0 && x.wantsCredentials() {
		return fmt.Sprintf("%s wants credentials; whypull may not read %s and cannot tell what is wrong with it",
			x.Registry, pullSecrets(names, "", ""))
	}
	return fmt.Sprintf("the evidence does not settle why %s cannot be pulled", x.Image)
}

// pullSecrets makes "pull secret a is", "pull secrets a, b are".
func pullSecrets(names []string, one, many string) string {
	noun, verb := "pull secret", one
	if len(names) > 1 {
		noun, verb = "pull secrets", many
	}
	return strings.TrimSpace(noun + " " + strings.Join(names, ", ") + " " + verb)
}

// list joins the first n and counts the rest.
func list(all []string, n int) string {
	if len(all) == 0 {
		return "no registry"
	}
	if len(all) <= n {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:n], ", "), len(all)-n)
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

// printable drops what moves a terminal's cursor or is not UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || bidi(r) {
			return -1
		}
		return r
	}, s)
}

// bidi tells the runes that reorder text around them.
func bidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
}
