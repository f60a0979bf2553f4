// Package corev1 holds the part of the API group core/v1 that whypull reads. Types,
// fields and JSON names are those of k8s.io/api/core/v1, which makes each program
// 3 MB larger: it registers every type of the group, so the linker keeps them all.
package corev1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of the types.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Version: "v1"} }

// AddToScheme adds the types to a scheme.
func AddToScheme(s *runtime.Scheme) {
	s.AddKnownTypes(GroupVersion(), &Pod{}, &PodList{}, &Secret{})
	metav1.AddToGroupVersion(s, GroupVersion())
}

// Values of string types.
const (
	PodPending   PodPhase = "Pending"
	PodRunning   PodPhase = "Running"
	PodSucceeded PodPhase = "Succeeded"
	PodFailed    PodPhase = "Failed"

	PodReady     PodConditionType = "Ready"
	PodScheduled PodConditionType = "PodScheduled"

	ConditionTrue  ConditionStatus = "True"
	ConditionFalse ConditionStatus = "False"

	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"

	ContainerRestartPolicyAlways ContainerRestartPolicy = "Always"

	SecretTypeOpaque           SecretType = "Opaque"
	SecretTypeDockerConfigJSON SecretType = "kubernetes.io/dockerconfigjson" //nolint:gosec // a type
)

// Well-known keys.
const (
	DockerConfigJSONKey    = ".dockerconfigjson"
	MirrorPodAnnotationKey = "kubernetes.io/config.mirror"
	LabelOSStable          = "kubernetes.io/os"
	LabelArchStable        = "kubernetes.io/arch"
)

// Strings with a fixed set of values, or with known ones among others.
type (
	// PodPhase is where a pod is in its life.
	PodPhase string
	// PodConditionType is what a condition is about.
	PodConditionType string
	// ConditionStatus is True, False or Unknown.
	ConditionStatus string
	// PullPolicy is when the kubelet pulls an image.
	PullPolicy string
	// ContainerRestartPolicy is when a container is restarted.
	ContainerRestartPolicy string
	// SecretType is what a secret is for.
	SecretType string
)

// Pod is a pod.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec   `json:"spec"`
	Status            PodStatus `json:"status"`
}

// PodList is a list of pods.
type PodList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Pod `json:"items"`
}

// PodSpec is what a pod consists of.
type PodSpec struct {
	Volumes             []Volume               `json:"volumes,omitempty"`
	InitContainers      []Container            `json:"initContainers,omitempty"`
	Containers          []Container            `json:"containers"`
	EphemeralContainers []EphemeralContainer   `json:"ephemeralContainers,omitempty"`
	ServiceAccountName  string                 `json:"serviceAccountName,omitempty"`
	NodeName            string                 `json:"nodeName,omitempty"`
	HostNetwork         bool                   `json:"hostNetwork,omitempty"`
	ImagePullSecrets    []LocalObjectReference `json:"imagePullSecrets,omitempty"`
	DNSConfig           *PodDNSConfig          `json:"dnsConfig,omitempty"`
}

// Container is a container or an init container.
type Container struct {
	Name            string                  `json:"name"`
	Image           string                  `json:"image,omitempty"`
	RestartPolicy   *ContainerRestartPolicy `json:"restartPolicy,omitempty"`
	VolumeMounts    []VolumeMount           `json:"volumeMounts,omitempty"`
	ImagePullPolicy PullPolicy              `json:"imagePullPolicy,omitempty"`
}

// EphemeralContainer is a container that was added to a running pod.
type EphemeralContainer struct {
	EphemeralContainerCommon `json:",inline"`
}

// EphemeralContainerCommon has the fields of a Container.
type EphemeralContainerCommon Container

// VolumeMount mounts a volume in a container.
type VolumeMount struct {
	Name string `json:"name"`
}

// Volume is a volume of a pod.
type Volume struct {
	Name         string `json:"name"`
	VolumeSource `json:",inline"`
}

// VolumeSource is where a volume comes from; nil if not from an image.
type VolumeSource struct {
	Image *ImageVolumeSource `json:"image,omitempty"`
}

// ImageVolumeSource is an image that is mounted as a volume.
type ImageVolumeSource struct {
	Reference  string     `json:"reference,omitempty"`
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
}

// LocalObjectReference names an object in the same namespace.
type LocalObjectReference struct {
	Name string `json:"name,omitempty"`
}

// PodDNSConfig has the DNS settings of a pod.
type PodDNSConfig struct {
	Nameservers []string `json:"nameservers,omitempty"`
}

// PodStatus is the state of a pod as the kubelet reports it.
type PodStatus struct {
	Phase                      PodPhase          `json:"phase,omitempty"`
	Conditions                 []PodCondition    `json:"conditions,omitempty"`
	InitContainerStatuses      []ContainerStatus `json:"initContainerStatuses,omitempty"`
	ContainerStatuses          []ContainerStatus `json:"containerStatuses,omitempty"`
	EphemeralContainerStatuses []ContainerStatus `json:"ephemeralContainerStatuses,omitempty"`
}

// PodCondition is one condition of a pod.
type PodCondition struct {
	Type               PodConditionType `json:"type"`
	Status             ConditionStatus  `json:"status"`
	LastTransitionTime metav1.Time      `json:"lastTransitionTime"`
}

// ContainerStatus is the state of a container of any kind.
type ContainerStatus struct {
	Name                 string         `json:"name"`
	State                ContainerState `json:"state"`
	LastTerminationState ContainerState `json:"lastState"`
	RestartCount         int32          `json:"restartCount"`
	Image                string         `json:"image"`
	ImageID              string         `json:"imageID"`
}

// ContainerState has at most one state; none means waiting.
type ContainerState struct {
	Waiting    *ContainerStateWaiting    `json:"waiting,omitempty"`
	Running    *ContainerStateRunning    `json:"running,omitempty"`
	Terminated *ContainerStateTerminated `json:"terminated,omitempty"`
}

// ContainerStateWaiting says why a container does not run yet.
type ContainerStateWaiting struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// ContainerStateRunning is the state of a running container.
type ContainerStateRunning struct{}

// ContainerStateTerminated is the state of a container that has ended.
type ContainerStateTerminated struct {
	ExitCode int32  `json:"exitCode"`
	Reason   string `json:"reason,omitempty"`
}

// Secret is a secret.
type Secret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Data              map[string][]byte `json:"data,omitempty"`
	Type              SecretType        `json:"type,omitempty"`
}
