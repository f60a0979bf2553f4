package report

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// PullableCondition is the type of the condition that a pod has, where that is turned
// on, once one of its images could not be pulled: False while that is so, with the cause
// as its reason and the summary as its message; True, with RecoveredReason, when the
// image is there; Unknown, with WithdrawnReason, when the failure ended in another way.
const PullableCondition corev1.PodConditionType = Prefix + "ImagePullable"

// WithdrawnReason is the reason of PullableCondition after a failure that ended without
// the image: the pod ended, its image was changed, or the pull goes on.
const WithdrawnReason = "ImagePullFailureWithdrawn"

// condition returns the condition to write with the verdicts; nil if there is nothing to
// write. A pod whose readiness depends on the condition gets none: only pods whose image
// could not be pulled would ever become ready.
func (p *Publisher) condition(u podwatch.Update, state *podState, verdicts []diagnosis.Verdict) *corev1.PodCondition {
	if !p.conditions() || slices.Contains(u.ReadinessGates, PullableCondition) {
		return nil
	}
	was := cmp.Or(state.condition, pullable(u.Conditions))
	c := corev1.PodCondition{Type: PullableCondition, LastTransitionTime: metav1.NewTime(p.now())}
	switch {
	case len(verdicts) > 0:
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, string(verdicts[0].Cause), summaryOf(verdicts, u.Unexamined)
	case was == nil || was.Status == corev1.ConditionTrue:
		return nil
	case state.recovered:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, RecoveredReason, "the image that could not be pulled is there"
	case was.Status == corev1.ConditionUnknown:
		return nil
	default:
		c.Status, c.Reason, c.Message = corev1.ConditionUnknown, WithdrawnReason, "the pod ended, its image was changed, or the pull goes on"
	}
	if was != nil && was.Status == c.Status {
		c.LastTransitionTime = was.LastTransitionTime
	}
	return &c
}

// pullable returns the condition among others; nil if it is not there.
func pullable(all []corev1.PodCondition) *corev1.PodCondition {
	for i := range all {
		if all[i].Type == PullableCondition {
			return &all[i]
		}
	}
	return nil
}

// sameCondition reports whether two conditions say the same; b may be nil.
func sameCondition(a, b *corev1.PodCondition) bool {
	return b != nil && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}
