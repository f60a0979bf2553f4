// Package manifest holds the objects of manifests as far as image pulls need them.
// Types and fields have the names of k8s.io/api/core/v1, which would make the agent
// 3 MB larger. All fields down to containers and volumes are there, so that a strict
// decoder finds the misspelt ones.
package manifest

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Unread is a value that has no effect on image pulls, of any type.
type Unread = json.RawMessage

// Pod is a Pod.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec `json:"spec"`
	Status            Unread  `json:"status"`
}

// PodTemplateSpec is the pod template of a workload.
type PodTemplateSpec struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec `json:"spec"`
}

// PodSpec is the spec of a pod or a pod template.
type PodSpec struct {
	Volumes                       []Volume               `json:"volumes"`
	InitContainers                []Container            `json:"initContainers"`
	Containers                    []Container            `json:"containers"`
	EphemeralContainers           []EphemeralContainer   `json:"ephemeralContainers"`
	RestartPolicy                 Unread                 `json:"restartPolicy"`
	TerminationGracePeriodSeconds Unread                 `json:"terminationGracePeriodSeconds"`
	ActiveDeadlineSeconds         Unread                 `json:"activeDeadlineSeconds"`
	DNSPolicy                     Unread                 `json:"dnsPolicy"`
	NodeSelector                  map[string]string      `json:"nodeSelector"`
	ServiceAccountName            string                 `json:"serviceAccountName"`
	DeprecatedServiceAccount      string                 `json:"serviceAccount"`
	AutomountServiceAccountToken  Unread                 `json:"automountServiceAccountToken"`
	NodeName                      Unread                 `json:"nodeName"`
	HostNetwork                   bool                   `json:"hostNetwork"`
	HostPID                       Unread                 `json:"hostPID"`
	HostIPC                       Unread                 `json:"hostIPC"`
	ShareProcessNamespace         Unread                 `json:"shareProcessNamespace"`
	SecurityContext               Unread                 `json:"securityContext"`
	ImagePullSecrets              []LocalObjectReference `json:"imagePullSecrets"`
	Hostname                      Unread                 `json:"hostname"`
	Subdomain                     Unread                 `json:"subdomain"`
	Affinity                      Unread                 `json:"affinity"`
	SchedulerName                 Unread                 `json:"schedulerName"`
	Tolerations                   Unread                 `json:"tolerations"`
	HostAliases                   Unread                 `json:"hostAliases"`
	PriorityClassName             Unread                 `json:"priorityClassName"`
	Priority                      Unread                 `json:"priority"`
	DNSConfig                     Unread                 `json:"dnsConfig"`
	ReadinessGates                Unread                 `json:"readinessGates"`
	RuntimeClassName              Unread                 `json:"runtimeClassName"`
	EnableServiceLinks            Unread                 `json:"enableServiceLinks"`
	PreemptionPolicy              Unread                 `json:"preemptionPolicy"`
	Overhead                      Unread                 `json:"overhead"`
	TopologySpreadConstraints     Unread                 `json:"topologySpreadConstraints"`
	SetHostnameAsFQDN             Unread                 `json:"setHostnameAsFQDN"`
	OS                            *PodOS                 `json:"os"`
	HostUsers                     Unread                 `json:"hostUsers"`
	SchedulingGates               Unread                 `json:"schedulingGates"`
	ResourceClaims                Unread                 `json:"resourceClaims"`
	Resources                     Unread                 `json:"resources"`
	HostnameOverride              Unread                 `json:"hostnameOverride"`
	SchedulingGroup               Unread                 `json:"schedulingGroup"`
	EvictionResponders            Unread                 `json:"evictionResponders"`
}

// PodOS is the operating system that a pod needs.
type PodOS struct {
	Name string `json:"name"`
}

// LocalObjectReference names an object in the same namespace.
type LocalObjectReference struct {
	Name string `json:"name"`
}

// Container is a container or an init container.
type Container struct {
	Name                     string `json:"name"`
	Image                    string `json:"image"`
	Command                  Unread `json:"command"`
	Args                     Unread `json:"args"`
	WorkingDir               Unread `json:"workingDir"`
	Ports                    Unread `json:"ports"`
	EnvFrom                  Unread `json:"envFrom"`
	Env                      Unread `json:"env"`
	Resources                Unread `json:"resources"`
	ResizePolicy             Unread `json:"resizePolicy"`
	RestartPolicy            Unread `json:"restartPolicy"`
	RestartPolicyRules       Unread `json:"restartPolicyRules"`
	VolumeMounts             Unread `json:"volumeMounts"`
	VolumeDevices            Unread `json:"volumeDevices"`
	LivenessProbe            Unread `json:"livenessProbe"`
	ReadinessProbe           Unread `json:"readinessProbe"`
	StartupProbe             Unread `json:"startupProbe"`
	Lifecycle                Unread `json:"lifecycle"`
	TerminationMessagePath   Unread `json:"terminationMessagePath"`
	TerminationMessagePolicy Unread `json:"terminationMessagePolicy"`
	ImagePullPolicy          string `json:"imagePullPolicy"`
	SecurityContext          Unread `json:"securityContext"`
	Stdin                    Unread `json:"stdin"`
	StdinOnce                Unread `json:"stdinOnce"`
	TTY                      Unread `json:"tty"`
}

// EphemeralContainer is an ephemeral container.
type EphemeralContainer struct {
	Container           `json:",inline"`
	TargetContainerName Unread `json:"targetContainerName"`
}

// Volume is a volume; Image is nil if it is not from an image.
type Volume struct {
	Name                  string             `json:"name"`
	HostPath              Unread             `json:"hostPath"`
	EmptyDir              Unread             `json:"emptyDir"`
	GCEPersistentDisk     Unread             `json:"gcePersistentDisk"`
	AWSElasticBlockStore  Unread             `json:"awsElasticBlockStore"`
	GitRepo               Unread             `json:"gitRepo"`
	Secret                Unread             `json:"secret"`
	NFS                   Unread             `json:"nfs"`
	ISCSI                 Unread             `json:"iscsi"`
	Glusterfs             Unread             `json:"glusterfs"`
	PersistentVolumeClaim Unread             `json:"persistentVolumeClaim"`
	RBD                   Unread             `json:"rbd"`
	FlexVolume            Unread             `json:"flexVolume"`
	Cinder                Unread             `json:"cinder"`
	CephFS                Unread             `json:"cephfs"`
	Flocker               Unread             `json:"flocker"`
	DownwardAPI           Unread             `json:"downwardAPI"`
	FC                    Unread             `json:"fc"`
	AzureFile             Unread             `json:"azureFile"`
	ConfigMap             Unread             `json:"configMap"`
	VsphereVolume         Unread             `json:"vsphereVolume"`
	Quobyte               Unread             `json:"quobyte"`
	AzureDisk             Unread             `json:"azureDisk"`
	PhotonPersistentDisk  Unread             `json:"photonPersistentDisk"`
	Projected             Unread             `json:"projected"`
	PortworxVolume        Unread             `json:"portworxVolume"`
	ScaleIO               Unread             `json:"scaleIO"`
	StorageOS             Unread             `json:"storageos"`
	CSI                   Unread             `json:"csi"`
	Ephemeral             Unread             `json:"ephemeral"`
	Image                 *ImageVolumeSource `json:"image"`
}

// ImageVolumeSource is an image that is mounted as a volume.
type ImageVolumeSource struct {
	Reference  string `json:"reference"`
	PullPolicy string `json:"pullPolicy"`
}

// Secret is a Secret.
type Secret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Immutable         Unread            `json:"immutable"`
	Data              map[string][]byte `json:"data"`
	StringData        map[string]string `json:"stringData"`
	Type              string            `json:"type"`
}

// ServiceAccount is a ServiceAccount.
type ServiceAccount struct {
	metav1.TypeMeta              `json:",inline"`
	metav1.ObjectMeta            `json:"metadata"`
	Secrets                      Unread                 `json:"secrets"`
	ImagePullSecrets             []LocalObjectReference `json:"imagePullSecrets"`
	AutomountServiceAccountToken Unread                 `json:"automountServiceAccountToken"`
}
