package probe

import (
	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// messageEvidence returns the evidence from the message of the kubelet and the runtime.
func messageEvidence(f diagnosis.Failure) diagnosis.Evidence {
	r := factsOf(f)
	e := diagnosis.Evidence{Check: diagnosis.CheckMessage, Outcome: diagnosis.Inconclusive, Body: r}
	if r.Cause != diagnosis.Unknown {
		e.Outcome, e.Fault = diagnosis.Failed, diagnosis.FaultOf(r.Cause)
	}
	return e
}

// factsOf returns the facts in the failure's message.
func factsOf(f diagnosis.Failure) *diagnosis.MessageFacts {
	if f.Facts != nil {
		return f.Facts
	}
	return message.Read(f.Reason, f.Message)
}
