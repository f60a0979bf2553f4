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
			if strings.Contains(line, "kubectl replace") || strings.Contains(line, "keeps retrying") || strings.Contains(line, "deletes the") {
				t.Errorf("%s: %s", s.name(), line)
			}
		}
		if strings.Contains(v.Summary, "whypull is not allowed") || strings.Contains(v.Summary, "retries") {
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
	create := "kubectl -n shop create secret docker-registry reg --dry-run=client -o yaml --from-file=.dockerconfigjson=<config.json>"
	where := " from config.json, a file with credentials for hub.example.com that docker login or podman login --authfile has written:"
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
			"hub.example.com requires credentials, and pull secret reg is not given, so whether the image can be pulled is unknown", nil},
		"refused, secrets not given": {"Always", []Evidence{unread, other, refused}, Unknown, Suspected,
			"hub.example.com requires credentials, and pull secrets reg, more are not given, so whether the image can be pulled is unknown", nil},
		"nothing known": {"Always", nil, Unknown, Suspected, "the checks do not show whether hub.example.com/team/app:1.2 can be pulled", nil},
		"wrong type":    {"Always", []Evidence{wrong, refused}, PullSecretMalformed, Confirmed, "pull secret reg is not usable: wrong type", []string{"# Replace pull secret reg" + where, create}},
		"no login": {"Always", []Evidence{none, refused}, AuthenticationRequired, Confirmed, "hub.example.com requires credentials for team/app, but the pod has no pull secret",
			[]string{
				"# Create pull secret pull-hub.example.com" + where,
				"kubectl -n shop create secret docker-registry pull-hub.example.com --from-file=.dockerconfigjson=<config.json>",
				`# In the pod spec, add the pull secret: '{"imagePullSecrets":[{"name":"pull-hub.example.com"}]}'`,
			}},
		"never": {"Never", []Evidence{absent}, ImageNotPresent, Confirmed, "image hub.example.com/team/app:1.2 is not on node worker-3, and the pull policy Never prevents a pull",
			[]string{
				"# Load the image onto node worker-3, or let the kubelet pull it.",
				`# In the pod spec, set the pull policy IfNotPresent: '{"containers":[{"imagePullPolicy":"IfNotPresent","name":"app"}]}'`,
			}},
		"tag": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultTagNotFound, Endpoint: Endpoint{URL: at}}}, TagNotFound, Confirmed,
			"tag 1.2 does not exist in hub.example.com/team/app", []string{"# Put image hub.example.com/team/app:<tag> into the manifest, to use a tag that exists"}},
		"limit": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultRateLimited, Endpoint: Endpoint{URL: at}, Body: &RegistryFacts{RetryAfter: time.Minute}}}, RateLimited, Confirmed,
			"the rate limit of " + at + " is exceeded; retry in 1m", []string{"# The registry allows a retry in 1m", "# A pull secret for hub.example.com gives the pod its own limit. A mirror avoids the limit"}},
		"server error": {"Always", []Evidence{none, {Check: CheckRegistry, Outcome: Failed, Fault: FaultServerError, Endpoint: Endpoint{URL: at}}}, RegistryError, Confirmed,
			at + " returned a server error", []string{"# Ask the owner of the registry."}},
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

// An ephemeral container of a manifest is not started again.
func TestOfflineEphemeral(t *testing.T) {
	f := offline()
	f.Kind, f.PullPolicy = KindEphemeralContainer, "Never"
	want := []string{`# In the pod spec, add the pull secret and set the pull policy IfNotPresent: '{"ephemeralContainers":[{"imagePullPolicy":"IfNotPresent","name":"app"}],"imagePullSecrets":"x"}'`}
	if got := (&facts{Failure: f}).allowPull(map[string]any{"imagePullSecrets": "x"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	f.PullPolicy = "Always"
	want = []string{`# In the pod spec, add the pull secret: '{"imagePullSecrets":"x"}'`}
	if got := (&facts{Failure: f}).attach(map[string]any{"imagePullSecrets": "x"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
