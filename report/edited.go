package report

import (
	"crypto/sha256"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/podwatch"
)

// sealOf returns the digest of the annotations that whypull writes; others in the
// map do not count.
func sealOf(annotations map[string]string) digest {
	h := sha256.New()
	for _, key := range Annotations() {
		text, there := annotations[key]
		fmt.Fprintf(h, "%t %d %s\n", there, len(text), text)
	}
	return digest(h.Sum(nil))
}

// digest stands for a text to compare with; zero for none.
type digest [sha256.Size]byte

func digestOf(text string) digest { return sha256.Sum256([]byte(text)) }

// edited reports whether somebody has changed or removed the annotations or the
// condition (nil for none), which were to say what they say now: whoever may write to a
// pod can forge its report. What the watch had seen before they were written does not
// count. Of a report that an earlier run of the agent has written, only the other two
// annotations can be compared.
func (t *podState) edited(u podwatch.Update, now rendering, condition *corev1.PodCondition) bool {
	other := condition != nil && !sameCondition(condition, pullable(u.Conditions))
	if t.seal != (digest{}) {
		return u.SeenAt.After(t.begun) && (other || sealOf(u.Annotations) != t.seal)
	}
	expected := maps.Clone(now.annotations)
	expected[ReportAnnotation] = u.Annotations[ReportAnnotation]
	return other || sealOf(u.Annotations) != sealOf(expected)
}
