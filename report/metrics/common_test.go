package metrics

import (
	"time"

	"github.com/whypull/whypull/agent/diagnosis"
)

func since() time.Time { return time.Date(2026, 1, 2, 3, 4, 1, 0, time.UTC) }

func confidences() []diagnosis.Confidence {
	return []diagnosis.Confidence{diagnosis.Confirmed, diagnosis.Likely, diagnosis.Suspected}
}

func outcomes() []diagnosis.Outcome {
	return []diagnosis.Outcome{diagnosis.Passed, diagnosis.Failed, diagnosis.Inconclusive, diagnosis.NotRun}
}

// newVerdict returns a verdict on a container of a pod.
func newVerdict(edits ...func(*diagnosis.Verdict)) diagnosis.Verdict {
	v := diagnosis.Verdict{
		Failure: diagnosis.Failure{
			Namespace: "shop", Pod: "web-5d7f8-x2x4z", UID: "0b0e7a0a-1111-4222-8333-444455556666", Node: "worker-3",
			Container: "app", Kind: diagnosis.KindContainer, Image: "hub.test2.company.com/nginx/nginx:1.12.1",
			Registry: "hub.test2.company.com", Repository: "nginx/nginx", Since: since(),
		},
		Cause: diagnosis.PullSecretNoMatch, Confidence: diagnosis.Confirmed,
	}
	for _, edit := range edits {
		edit(&v)
	}
	return v
}

func cause(c diagnosis.Cause) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Cause = c }
}

func container(name string) func(*diagnosis.Verdict) {
	return func(v *diagnosis.Verdict) { v.Failure.Container = name }
}
