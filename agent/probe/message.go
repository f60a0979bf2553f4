package probe

import (
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// messageEvidence returns the evidence from the message of the kubelet and the runtime.
func messageEvidence(f diagnosis.Failure) diagnosis.Evidence {
	r := f.Facts
	if r == nil {
		r = message.Read(f.Reason, f.Message)
	}
	e := diagnosis.Evidence{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: r}
	if r.Cause != diagnosis.Unknown {
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultOf(r.Cause)
	}
	return e
}
