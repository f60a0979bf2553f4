package retry

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/registry/faulttest"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// The retried pull finds faults that only a transfer meets, where the runtime's message
// says nothing.
func TestInsideRetryFindsTheCause(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		settled := map[string]bool{"second-403": true, "second-500": true} // without a pull
		for _, fault := range []string{
			"two-layers-works", "second-without-parts", "second-trickles", "second-cut-off", "second-end-missing", "second-file-short",
			"second-403", "second-404", "second-500", "layer-broken-off", "layer-diffid-wrong", "basic-second-login-works",
		} {
			c := caseNamed(t, fault)
			a := newAgent(t, r, limits(), c.Credentials...)
			v := a.judge(t, a.failure(t, c.Image, strange))
			want := diagnosis.NotReproducible
			if truth := c.On(r.Name); truth != faulttest.Works {
				want = diagnosis.Cause(truth)
			}
			if v.Cause != want || v.Confidence != diagnosis.Confirmed || len(retries(v)) == 0 && !settled[fault] {
				t.Errorf("%s: want %s: %s", fault, want, describe(v))
			}
			t.Logf("%s: %s", fault, describe(v))
		}
	})
}

// All credentials are tried in turn, as the kubelet does, and reported separately. What
// the clerk is denied comes after the layers that are checked without a pull.
func TestInsideRetryReportsEachCredential(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		image := put(t, "forbidden-"+r.Tool, 32<<10, 40)
		forbid(t, image)
		nobody := faulttest.Credential{Source: "nobodys", Key: host, Credential: credential.New("nobody", "guessed")}
		for name, tc := range map[string]struct {
			credentials []faulttest.Credential
			cause       diagnosis.Cause
			tried       []string // prefixes of the evidence for each
		}{
			"one that may not": {[]faulttest.Credential{clerks()}, diagnosis.AccessDenied, []string{"Failed AccessDenied secret clerks"}},
			"the second may":   {[]faulttest.Credential{clerks(), robots()}, diagnosis.NotReproducible, []string{"Failed AccessDenied secret clerks", "Passed  secret robots"}},
			"the first may":    {[]faulttest.Credential{robots(), clerks()}, diagnosis.NotReproducible, []string{"Passed  secret robots"}},
			"the third may":    {[]faulttest.Credential{nobody, clerks(), robots()}, diagnosis.NotReproducible, []string{"Failed AccessDenied secret clerks", "Passed  secret robots"}}, // the first is rejected, and not sent again
			"none may":         {[]faulttest.Credential{clerks(), nobody}, diagnosis.AccessDenied, []string{"Failed AccessDenied secret clerks", "Failed CredentialsRejected secret nobodys"}},
		} {
			a := newAgent(t, r, limits(), tc.credentials...)
			v := a.judge(t, a.failure(t, image, strange))
			t.Logf("%s: %s", name, describe(v))
			if name == "none may" && !strings.Contains(v.Summary, "accepts the credentials in pull secret clerks, but they have no pull access to") {
				t.Errorf("%s: %s", name, v.Summary)
			}
			again := retries(v)
			if v.Cause != tc.cause || v.Confidence != diagnosis.Confirmed || len(again) != len(tc.tried) {
				t.Errorf("%s: want %s: %s", name, tc.cause, describe(v))
				continue
			}
			for i, e := range again {
				if got := string(e.Outcome) + " " + string(e.Retry().Cause) + " " + whose(e); got != tc.tried[i] {
					t.Errorf("%s: %q, want %q", name, got, tc.tried[i])
				}
			}
		}
	})
}

// whose returns the credentials of a retry.
func whose(e diagnosis.Finding) string {
	for _, source := range []string{"secret nobodys", "secret clerks", "secret robots"} {
		if strings.Contains(e.Detail, source) {
			return source
		}
	}
	return ""
}

// forbid denies the clerk the last layer of an image.
func forbid(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithTransport(direct{large.next}))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[len(layers)-1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	large.mu.Lock()
	defer large.mu.Unlock()
	large.forbidden[digest.String()] = true
}
