package probe

import (
	"fmt"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// messageEvidence returns what the kubelet's and the runtime's own words support.
func messageEvidence(f diagnosis.Failure) diagnosis.Evidence {
	r := factsOf(f)
	e := diagnosis.Evidence{
		Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive,
		Cause: r.Cause, Host: r.Host, Status: r.Status, AfterManifest: r.AfterManifest,
		Blob: r.Blob, BehindProxy: r.BehindProxy, LoginSent: r.CredentialsSent, SaysExpired: r.SaysExpired,
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

// factsOf returns what the failure's text says.
func factsOf(f diagnosis.Failure) *diagnosis.MessageFacts {
	if f.Facts != nil {
		return f.Facts
	}
	return message.Read(f.Reason, f.Message)
}
