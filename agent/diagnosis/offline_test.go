package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// offline is a failure of which there is no more than a manifest.
func offline() Failure {
	f := ordinary()
	f.Offline, f.Reason = true, ""
	return f
}

// TestOfflineRemedies: where there is no pod in a cluster, no command is about
// one; what can be made there is a secret.
func TestOfflineRemedies(t *testing.T) {
	for _, s := range verdictCases(t) {
		f := s.failure
		f.Offline, f.Stall = true, ""
		if f.Kind == KindSandbox || f.Owner.Kind == "Node" { // not of a manifest
			continue
		}
		v := Diagnose(f, slices.DeleteFunc(slices.Clone(s.evidence), func(e Evidence) bool { return e.Check == CheckMessage || e.Check == CheckPull }))
		for _, line := range v.Remedy {
			if strings.HasPrefix(line, "kubectl ") && !strings.Contains(line, " create secret docker-registry ") && line != nodesByPlatform {
				t.Errorf("%s: %s", s.name(), line)
			}
			if strings.Contains(line, "kubectl replace") || strings.Contains(line, "goes on trying") || strings.Contains(line, "deletes the") {
				t.Errorf("%s: %s", s.name(), line)
			}
		}
		if strings.Contains(v.Summary, "whypull may not read") || strings.Contains(v.Summary, "try again") {
			t.Errorf("%s: %s", s.name(), v.Summary)
		}
		if v.Cause != NotReproducible { // good news, and nothing to do
			checkVerdict(t, v)
		}
	}
}

func TestOfflineVerdicts(t *testing.T) {
	const at = "https://hub.example.com"
	passed := Evidence{Check: CheckRegistry, Outcome: Passed, Endpoint: Endpoint{URL: at}}
	refused := Evidence{Check: CheckRegistry, Outcome: Failed, Fault: FaultUnauthorized, Endpoint: Endpoint{URL: at}, Body: &RegistryFacts{Status: 401}}
	unread := Evidence{Check: CheckCredentials, Outcome: NotRun, Fault: FaultSecretUnreadable, Body: &CredentialFacts{Secret: "reg"}}
	other := Evidence{Check: CheckCredentials, Outcome: NotRun, Fault: FaultSecretUnreadable, Body: &CredentialFacts{Secret: "more"}}
	none := Evidence{Check: CheckCredentials, Outcome: Failed, Fault: FaultNoCredentials}
	wrong := Evidence{Check: CheckCredentials, Outcome: Failed, Fault: FaultSecretWrongType, Body: &CredentialFacts{Secret: "reg", Problem: "wrong type"}}
	absent := Evidence{Check: CheckImage, Outcome: Failed, Fault: FaultImageAbsent}
	usable := Evidence{Check: CheckImage, Outcome: Passed, Body: &ImageFacts{Record: RecordThisPod}}
	create := "kubectl -n shop create secret docker-registry reg --docker-server=hub.example.com --docker-username=<username> --docker-password=<password> --dry-run=client -o yaml"
	for name, tc := range map[string]struct {
		policy     string
		evidence   []Evidence
		cause      Cause
		confidence Confidence
		summary    string
		remedy     []string // nil: any
	}{
		"sound": {"Always", []Evidence{none, passed}, NotReproducible, Confirmed, "hub.example.com/team/app:1.2 can be pulled", []string{}},
		"sound, a secret not given": {"Always", []Evidence{unread, passed}, NotReproducible, Likely,
			"hub.example.com/team/app:1.2 can be pulled; not given: pull secret reg", []string{}},
		"there": {"IfNotPresent", []Evidence{usable}, NotReproducible, Confirmed,
			"image hub.example.com/team/app:1.2 is on node worker-3, and the kubelet lets this pod use it", []string{}},
		"refused, a secret not given": {"Always", []Evidence{unread, refused}, Unknown, Suspected,
			"hub.example.com wants credentials, and pull secret reg is not given, so it is not known whether the image can be pulled", nil},
		"refused, secrets not given": {"Always", []Evidence{unread, other, refused}, Unknown, Suspected,
			"hub.example.com wants credentials, and pull secrets reg, more are not given, so it is not known whether the image can be pulled", nil},
		"nothing known": {"Always", nil, Unknown, Suspected, "the checks do not settle whether hub.example.com/team/app:1.2 can be pulled", nil},
		"wrong type":    {"Always", []Evidence{wrong, refused}, PullSecretMalformed, Confirmed, "pull secret reg: wrong type", []string{create}},
		"no login": {"Always", []Evidence{none, refused}, AuthenticationRequired, Confirmed, "hub.example.com wants credentials for team/app and the pod brings none",
			[]string{
				"kubectl -n shop create secret docker-registry pull-hub.example.com --docker-server=hub.example.com --docker-username=<username> --docker-password=<password>",
				`# put this into the pod's spec: {"imagePullSecrets":[{"name":"pull-hub.example.com"}]}`,
			}},
		"never": {"Never", []Evidence{absent}, ImageNotPresent, Confirmed, "image hub.example.com/team/app:1.2 is not on node worker-3 and the pull policy is Never, so nothing will fetch it",
			[]string{
				"# load the image on node worker-3, or let the kubelet pull it:",
				`# put this into the pod's spec: {"containers":[{"imagePullPolicy":"IfNotPresent","name":"app"}]}`,
			}},
		"tag": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultTagNotFound, Endpoint: Endpoint{URL: at}}}, TagNotFound, Confirmed,
			"hub.example.com has repository team/app, but not tag 1.2", []string{"# name this image instead: hub.example.com/team/app:<tag>"}},
		"limit": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultRateLimited, Endpoint: Endpoint{URL: at}, Body: &RegistryFacts{RetryAfter: time.Minute}}}, RateLimited, Confirmed,
			at + " limits the rate of requests; it may be asked again in 1m0s", []string{"# the registry may be asked again in 1m0s", "# a pull secret for hub.example.com would give the pod a limit of its own; a mirror spares both"}},
		"server error": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultServerError, Endpoint: Endpoint{URL: at}}}, RegistryError, Confirmed,
			at + " answers with a server error", []string{"# Ask the registry's owner."}},
	} {
		t.Run(name, func(t *testing.T) {
			f := offline()
			f.PullPolicy = tc.policy
			v := Diagnose(f, tc.evidence)
			if v.Cause != tc.cause || v.Confidence != tc.confidence || v.Summary != tc.summary {
				t.Errorf("%s (%s): %s", v.Cause, v.Confidence, v.Summary)
			}
			if tc.remedy != nil && !slices.Equal(v.Remedy, tc.remedy) {
				t.Errorf("remedy\n%s\nwant\n%s", strings.Join(v.Remedy, "\n"), strings.Join(tc.remedy, "\n"))
			}
		})
	}
}

// An ephemeral container of a manifest is not started anew.
func TestOfflineEphemeral(t *testing.T) {
	f := offline()
	f.Kind, f.PullPolicy = KindEphemeralContainer, "Never"
	want := []string{`# put this into the pod's spec: {"ephemeralContainers":[{"imagePullPolicy":"IfNotPresent","name":"app"}],"imagePullSecrets":"x"}`}
	if got := (&facts{Failure: f}).allowPull(map[string]any{"imagePullSecrets": "x"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	f.PullPolicy = "Always"
	want = []string{`# put this into the pod's spec: {"imagePullSecrets":"x"}`}
	if got := (&facts{Failure: f}).debugAnew(map[string]any{"imagePullSecrets": "x"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
