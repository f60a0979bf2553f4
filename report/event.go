package report

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/diagnosis"
)

// Controller is the reportingController of whypull's Events; the instance is
// the node.
const Controller = "whypull.dev/agent"

// Limits of the API server in bytes (events.k8s.io validation).
const (
	noteLimit     = 1024
	instanceLimit = 128
)

// RecoveredReason is the reason of the Event that ends an incident.
const RecoveredReason = "ImagePullRecovered"

// failureEvent returns the Warning for a new verdict. Its name is derived from the
// verdict, so the same verdict is never recorded twice.
func failureEvent(v diagnosis.Verdict, now time.Time) *eventsv1.Event {
	return newEvent(v.Failure, corev1.EventTypeWarning, string(v.Cause), v.Summary, now)
}

// recoveredEvent returns the Normal Event for a container that now has its image.
func recoveredEvent(f diagnosis.Failure, now time.Time) *eventsv1.Event {
	note := string(f.Kind) + " " + f.Container + " has its image " + diagnosis.Printable(f.Image)
	return newEvent(f, corev1.EventTypeNormal, RecoveredReason, note, now)
}

func newEvent(f diagnosis.Failure, kind, reason, note string, now time.Time) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: f.Namespace, Name: eventName(f, reason, note)},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: Controller,
		ReportingInstance:   f.Node[:min(len(f.Node), instanceLimit)],
		Action:              "Diagnose",
		Reason:              reason,
		Type:                kind,
		Note:                diagnosis.Clip(note, noteLimit),
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: f.Namespace, Name: f.Pod, UID: types.UID(f.UID),
			FieldPath: fieldPath(f),
		},
	}
}

// eventName returns a name that is unique for an incident, reason and note, at
// most 253 bytes.
func eventName(f diagnosis.Failure, reason, note string) string {
	incident := f.Incident
	if incident.IsZero() {
		incident = f.Since
	}
	sum := sha256.Sum256([]byte(f.UID + "\x00" + string(f.Kind) + "\x00" + f.Container + "\x00" + f.Image +
		"\x00" + stamp(incident) + "\x00" + reason + "\x00" + note))
	return clipName(f.Pod, 253-1-16) + "." + hex.EncodeToString(sum[:8])
}

// clipName cuts a name to n bytes, without a dot or dash at the end.
func clipName(s string, n int) string { return strings.TrimRight(s[:min(len(s), n)], ".-") }

// fieldPath returns the field path as the kubelet writes it; empty for a volume and a sandbox.
func fieldPath(f diagnosis.Failure) string {
	if list := specLists[f.Kind]; list != "" {
		return "spec." + list + "{" + f.Container + "}"
	}
	return ""
}

// specLists are the lists of a pod's spec in which its containers are.
var specLists = map[diagnosis.Kind]string{ //nolint:gochecknoglobals // never written
	diagnosis.KindContainer: "containers", diagnosis.KindInitContainer: "initContainers", diagnosis.KindEphemeralContainer: "ephemeralContainers",
}
