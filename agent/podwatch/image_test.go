package podwatch

import (
	"errors"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

func TestParseImage(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a1", 32)
	tests := map[string]diagnosis.Image{
		"nginx":                         {Registry: "docker.io", Repository: "library/nginx"},
		"nginx:1.27":                    {Registry: "docker.io", Repository: "library/nginx", Tag: "1.27"},
		"localhost:5000":                {Registry: "docker.io", Repository: "library/localhost", Tag: "5000"},
		"index.docker.io/x/y:1":         {Registry: "docker.io", Repository: "x/y", Tag: "1"},
		"hub.test:5000/team/app":        {Registry: "hub.test:5000", Repository: "team/app"},
		"hub.test/app@" + digest:        {Registry: "hub.test", Repository: "app", Digest: digest},
		"hub.test:5000/a:1@" + digest:   {Registry: "hub.test:5000", Repository: "a", Tag: "1", Digest: digest},
		"[fd00::1]:5000/a:1":            {Registry: "[fd00::1]:5000", Repository: "a", Tag: "1"},
		"my_host.test/app:1":            {Registry: "my_host.test", Repository: "app", Tag: "1"},
		"my_user/app":                   {Registry: "docker.io", Repository: "my_user/app"},
		"hub.test/app:latest":           {Registry: "hub.test", Repository: "app", Tag: "latest"},
		"hub.test/app:latest@" + digest: {Registry: "hub.test", Repository: "app", Tag: "latest", Digest: digest},
	}
	for written, want := range tests {
		want.Written = written
		got, err := ParseImage(written)
		if got != want || err != nil || !got.Valid() {
			t.Errorf("%s: got %+v, %v, want %+v", written, got, err, want)
		}
		f := diagnosis.Failure{}
		f.SetImage(got)
		if f.Image != written || f.Ref() != want {
			t.Errorf("%s: got %+v of a failure", written, f.Ref())
		}
	}
}

func TestParseImageError(t *testing.T) {
	t.Parallel()
	if _, err := ParseImage("hub.example.com/app:a/b"); !errors.Is(err, reference.ErrReferenceInvalidFormat) {
		t.Errorf("got %v, want an error that wraps ErrReferenceInvalidFormat", err)
	}
}

// What may be secret in a name that does not parse is not kept.
func TestSecretsInNames(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"joe:hunter2@hub.test/app:v1":                       "REDACTED@hub.test/app:v1",
		"joe:hunter2@shared.test/app:v1":                    "REDACTED@shared.test/app:v1",
		"https://joe:hunter2@hub.test/app":                  "https://REDACTED@hub.test/app",
		"joe:hun'ter2 <x@hub.test/app":                      "REDACTED@hub.test/app",
		"https://hub.test/app:v1?X-Amz-Signature=hunter2":   "https://hub.test/app:v1?REDACTED",
		"hub.test/app:v1?token=hunter2":                     "hub.test/app:v1?REDACTED",
		"joe:" + strings.Repeat("hunter2", 1000) + "@h/App": "REDACTED@h/App",
	} {
		for range 2 { // and again
			if got := ImageOf(written); got != (diagnosis.Image{Written: want}) {
				t.Errorf("%.60s: got %+v, want %s", written, got, want)
			}
			written = want
		}
	}
}

// A name can be as long as its parts: a host of DNS with a port, a path of 255, a tag of 128
// and a digest.
func TestLongNames(t *testing.T) {
	t.Parallel()
	host := strings.Repeat("a.", 124) + "test"
	longest := host + ":65535/" + strings.Repeat("p", 255) + ":" + strings.Repeat("t", 128) + "@sha512:" + strings.Repeat("0", 128)
	if got, err := ParseImage(longest); err != nil || !got.Valid() || got.Written != longest {
		t.Errorf("%+v, %v", got, err)
	}
	for _, written := range []string{"more.than." + host + ":65535/app", strings.Repeat("a.", 1000) + "test/app"} {
		if got, err := ParseImage(written); !errors.Is(err, reference.ErrReferenceInvalidFormat) || got.Valid() || len(got.Written) > maxImage {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// Name and Reference are as the runtimes' library has them.
func FuzzParseImage(f *testing.F) {
	digest := "@sha256:" + strings.Repeat("a1", 32)
	for _, s := range []string{"nginx", "nginx:1", "hub.test:5000/a/b", "hub.test:5000/a/b" + digest, "a:1" + digest, "[fd00::1]:5000/a", "A", "a:b:c", "a@b", "", strings.Repeat("a1", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, written string) {
		got, err := ParseImage(written)
		if len(written) > maxHost {
			if got.Valid() != (err == nil) || len(got.Written) > maxImage {
				t.Errorf("%d bytes: got %+v, %v", len(written), got, err)
			}
			return
		}
		named, wantErr := reference.ParseNormalizedNamed(written)
		if wantErr != nil {
			if err == nil || err.Error() != wantErr.Error() || got != (diagnosis.Image{Written: message.RedactImage(written)}) || got.Name() != "" || got.Reference() != "" {
				t.Errorf("%q: got %+v, %v, want the error %v", written, got, err, wantErr)
			}
			return
		}
		if err != nil || got.Name() != named.Name() || got.Reference() != reference.TagNameOnly(named).String() {
			t.Errorf("%q: got %q, %q, %v; want %q", written, got.Name(), got.Reference(), err, named)
		}
		if redacted := message.RedactImage(written); redacted != written {
			t.Errorf("%q: redacted to %q", written, redacted)
		}
		if got.Untagged()+got.Suffix() != written {
			t.Errorf("%q: got %q and %q", written, got.Untagged(), got.Suffix())
		}
		tagged, isTagged := reference.TagNameOnly(named).(reference.Tagged)
		if latest := isTagged && tagged.Tag() == "latest"; got.Latest() != latest {
			t.Errorf("%q: got latest %v, want %v", written, got.Latest(), latest)
		}
	})
}
