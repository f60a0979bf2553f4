package probe

import (
	"fmt"
	"strings"

	"github.com/whypull/whypull/agent/diagnosis"
)

// message is what the kubelet's and the runtime's own words support.
func message(f diagnosis.Failure) diagnosis.Evidence {
	r := diagnosis.ReadMessage(f.Reason, f.Message)
	e := diagnosis.Evidence{
		Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive,
		Cause: r.Cause, Host: r.Host, Status: r.Status, AfterManifest: afterManifest(r.Text),
		Blob: r.Blob, BehindProxy: r.BehindProxy, LoginSent: r.LoginSent, SaysExpired: r.Expired,
		Detail: "the kubelet says: " + r.Text,
	}
	if r.Cause != diagnosis.Unknown {
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.Fault(r.Cause)
	}
	if r.Text == "" {
		e.Detail = fmt.Sprintf("the kubelet gives no more than the reason %s", f.Reason)
	}
	return e
}

// afterManifest tells that a runtime got past the manifest before it failed:
// these words are containerd's and containers/image's for copying and
// unpacking blobs.
func afterManifest(text string) bool {
	for _, w := range []string{"failed to copy", "httpReadSeeker", "reading blob", "copying blob", "writing blob", "failed to extract layer", "failed to unpack image", "failed commit on ref"} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			return true
		}
	}
	return false
}
