package probe

import (
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, message string
		want            string
		cause           diagnosis.Cause
		host            string
		status          int
		after           bool
	}{
		"names a cause": {
			reason: "ErrImagePull", message: `failed to pull and unpack image "hub.test/app:1": failed to resolve image: failed to do request: Head "https://hub.test/v2/app/manifests/1": dial tcp: lookup hub.test on 10.0.0.53:53: no such host`,
			want:  `Failed | RegistryNameNotFound | the kubelet reports: failed to pull and unpack image "hub.test/app:1": failed to resolve image: failed to do request: Head "https://hub.test/v2/app/manifests/1": dial tcp: lookup hub.test on 10.0.0.53:53: no such host`,
			cause: diagnosis.RegistryNameNotFound, host: "hub.test",
		},
		"says nothing":  {reason: "ErrImagePull", message: "things went wrong", want: "Inconclusive | the kubelet reports: things went wrong", cause: diagnosis.Unknown},
		"reason alone":  {reason: "ErrImagePull", want: "Inconclusive | the kubelet reports only the reason ErrImagePull", cause: diagnosis.Unknown},
		"with a status": {reason: "ErrImagePull", message: "unexpected status from HEAD request to https://hub.test/v2/app/manifests/1: 503 Service Unavailable", want: "Failed | RegistryError | the kubelet reports: unexpected status from HEAD request to https://hub.test/v2/app/manifests/1: 503 Service Unavailable", cause: diagnosis.RegistryError, host: "hub.test", status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := failure(image)
			f.Reason, f.Message = tc.reason, tc.message
			e := messageEvidence(f)
			wellFormed(t, f, []diagnosis.Evidence{e})
			wantLines(t, "evidence", of(f, []diagnosis.Evidence{e}, diagnosis.CheckMessage), tc.want)
			if e.Message().Cause != tc.cause || e.Message().Host != tc.host || e.Message().Status != tc.status || e.Message().AfterManifest != tc.after {
				t.Errorf("evidence %+v", e)
			}
		})
	}
}
