package diagnosis

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// constantsOf returns the values of a file's constants of one string type.
func constantsOf(t *testing.T, file, kind string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == kind {
			out = append(out, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return false
	})
	return out
}

// TestCatalogueIsComplete: every constant of type Cause once, nothing else.
func TestCatalogueIsComplete(t *testing.T) {
	var got []string
	for _, e := range Catalogue() {
		got = append(got, string(e.Cause))
	}
	want := constantsOf(t, "cause.go", "Cause")
	if !slices.Equal(got, want) {
		t.Errorf("catalogue %v\nconstants %v", got, want)
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
		t.Errorf("%d causes, %d of them distinct", len(got), n)
	}
}

// TestCatalogueTexts: what people read is a title without an end, and whole
// sentences.
func TestCatalogueTexts(t *testing.T) {
	titles := map[string]Cause{}
	for _, e := range Catalogue() {
		if other, ok := titles[e.Title]; ok {
			t.Errorf("%s and %s have the same title", e.Cause, other)
		}
		titles[e.Title] = e.Cause
		if e.Title == "" || len(e.Title) > 48 || strings.HasSuffix(e.Title, ".") || !unicode.IsUpper(rune(e.Title[0])) {
			t.Errorf("%s: title %q", e.Cause, e.Title)
		}
		for _, s := range []string{e.Meaning, e.Advice} {
			if s == "" || !strings.HasSuffix(s, ".") || strings.Count(s, ". ") > 0 || !unicode.IsUpper(rune(s[0])) {
				t.Errorf("%s: no sentence: %q", e.Cause, s)
			}
			checkText(t, s)
		}
		if !slices.Contains([]Fixer{FixApplication, FixCluster, FixNode, FixRegistry}, e.Fixer) {
			t.Errorf("%s: fixer %q", e.Cause, e.Fixer)
		}
	}
}

// TestCatalogueLabels: the table of the design, which the collected messages are
// labeled by.
func TestCatalogueLabels(t *testing.T) {
	unlabeled := []Cause{
		ImageNotVerifiedForPod, PullSecretNoMatch, RegistryConfigInvalid, SandboxImageFailed, PullStalled, NotReproducible,
	}
	want := map[Cause]string{
		InvalidImageName: "invalid_reference", ShortNameAmbiguous: "short_name_ambiguous", ImageNotPresent: "never_pull_missing",
		SignatureRejected: "signature_rejected", PolicyBlocked: "policy_blocked", PullSecretMissing: "pull_secret_missing",
		PullSecretMalformed: "pull_secret_malformed", AuthenticationRequired: "auth_required_no_credentials",
		CredentialsRejected: "auth_credentials_rejected", CredentialsExpired: "auth_token_expired", AccessDenied: "auth_forbidden",
		CredentialProviderFailed: "credential_provider_failed", DeniedOrNotFound: "denied_or_not_found", TagNotFound: "not_found_tag",
		RepositoryNotFound: "not_found_repository", PlatformMismatch: "platform_mismatch", UnsupportedFormat: "unsupported_format",
		ContentCorrupt: "content_corrupt", RegistryNameNotFound: "dns_nxdomain", DNSFailure: "dns_timeout_or_server_failure",
		ConnectionRefused: "connection_refused", ConnectionTimeout: "network_timeout", NetworkUnreachable: "network_unreachable_or_reset",
		TLSUntrusted: "tls_unknown_authority", TLSHostnameMismatch: "tls_hostname_mismatch", TLSExpired: "tls_expired",
		TLSHandshakeFailed: "tls_handshake_failed", HTTPSMismatch: "http_https_mismatch", ProxyFailed: "proxy_error",
		MirrorFailed: "mirror_error", RateLimited: "rate_limited", RegistryError: "registry_server_error", PullThrottled: "pull_qps_exceeded",
		PullTimeout: "pull_cancelled_or_progress_timeout", DiskFull: "disk_full", ImageStoreCorrupt: "image_gc_or_store_corrupt",
		ImageVolumeUnsupported: "image_volume_unsupported",
		RuntimeError:           "runtime_error", Unknown: "unknown",
	}
	for _, e := range Catalogue() {
		label, labeled := want[e.Cause]
		if labeled == slices.Contains(unlabeled, e.Cause) || e.Label != label {
			t.Errorf("%s: label %q, want %q", e.Cause, e.Label, label)
		}
		if e.Cause.Label() != e.Label {
			t.Errorf("%s: the catalogue says %q, Label says %q", e.Cause, e.Label, e.Cause.Label())
		}
	}
}

// TestCatalogueTransient: what passes by itself is nobody's mistake in a pod.
func TestCatalogueTransient(t *testing.T) {
	for _, e := range Catalogue() {
		if e.Transient && e.Fixer == FixApplication {
			t.Errorf("%s passes by itself, and the application has to fix it", e.Cause)
		}
	}
}

// TestEveryCauseIsSaid: each cause has a sentence and a remedy, also where
// nothing is known but the text that speaks of it.
func TestEveryCauseIsSaid(t *testing.T) {
	for _, e := range Catalogue() {
		for _, kind := range []Kind{KindContainer, KindInitContainer, KindEphemeralContainer, KindImageVolume, KindSandbox} {
			for _, owner := range []string{"", "Deployment", "StatefulSet", "Job", "Rollout", "Node"} {
				f := ordinary()
				f.Kind, f.Owner = kind, Owner{Kind: owner, Name: "web"}
				f.Platform = Platforms()[len(e.Cause)%len(Platforms())]
				x := newFacts(f, []Evidence{{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: e.Cause}}})
				checkSentence(t, Clip(x.summary(e.Cause), SummaryLimit))
				lines := x.remedy(e.Cause)
				checkRemedy(t, lines)
				if strings.TrimLeft(strings.Join(lines, ""), "# ") == "" {
					t.Errorf("%s, %s of %s: no remedy", e.Cause, kind, owner)
				}
			}
		}
	}
}

// TestTextAloneSuspects: a text without any check gives its own cause, and no
// more than a suspicion.
func TestTextAloneSuspects(t *testing.T) {
	for _, e := range Catalogue() {
		f := ordinary()
		v := Diagnose(f, []Evidence{{Check: CheckMessage, Outcome: Failed, Body: &MessageFacts{Cause: e.Cause}}})
		if v.Cause != e.Cause || v.Confidence != Suspected {
			t.Errorf("text of %s: %s, %s", e.Cause, v.Cause, v.Confidence)
		}
	}
}

// TestListsAreAll: a list has every constant of its type, once.
func TestListsAreAll(t *testing.T) {
	causes := constantsOf(t, "cause.go", "Cause") // texts have them as faults
	ofTexts := slices.DeleteFunc(causes, func(c string) bool { return c == string(Unknown) })
	for kind, c := range map[string]struct{ got, want []string }{
		"checks": {asStrings(Checks()), constantsOf(t, "evidence.go", "Check")},
		"phases": {asStrings(Phases()), constantsOf(t, "evidence.go", "Phase")},
		"faults": {asStrings(faults()[1:]), append(constantsOf(t, "fault.go", "Fault"), ofTexts...)}, // the first is ""
	} {
		got, want := slices.Sorted(slices.Values(c.got)), slices.Sorted(slices.Values(c.want))
		if !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s %v, constants %v", kind, got, want)
		}
	}
}

// asStrings returns the values of a string type.
func asStrings[T ~string](all []T) []string {
	var out []string
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// TestEntryOfUnknownCause: a cause that is not in the catalogue (one of a later
// version) is Unknown.
func TestEntryOfUnknownCause(t *testing.T) {
	if got := given().row("Later").Cause; got != Unknown {
		t.Error(got)
	}
}

// TestCatalogueIsACopy: nobody can change the catalogue for others.
func TestCatalogueIsACopy(t *testing.T) {
	before := fmt.Sprint(Catalogue())
	Catalogue()[0] = Entry{}
	if after := fmt.Sprint(Catalogue()); !bytes.Equal([]byte(before), []byte(after)) {
		t.Error("the catalogue was changed")
	}
}
