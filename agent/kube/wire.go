package kube

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/whypull/whypull/agent/kube/corev1"
)

// The objects of package corev1 as they are decoded: from JSON like these
// themselves, and from protobuf, which is several times cheaper for both sides.
type (
	wirePod     struct{ corev1.Pod }
	wirePodList struct{ corev1.PodList }
	wireSecret  struct{ corev1.Secret }
)

// plainSerializer decodes the objects of a watch as those of package corev1.
type plainSerializer struct{ runtime.NegotiatedSerializer }

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (s plainSerializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return plainDecoder{s.NegotiatedSerializer.DecoderToVersion(d, gv)}
}

type plainDecoder struct{ runtime.Decoder }

// Decode implements runtime.Decoder.
func (d plainDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := d.Decoder.Decode(data, defaults, into)
	if into != nil {
		return obj, kind, err
	}
	switch o := obj.(type) {
	case *wirePod:
		obj = &o.Pod
	case *wireSecret:
		obj = &o.Secret
	}
	return obj, kind, err
}

// Reset implements the decoder's interface.
func (p *wirePod) Reset() { *p = wirePod{} }

// Reset implements the decoder's interface.
func (l *wirePodList) Reset() { *l = wirePodList{} }

// Reset implements the decoder's interface.
func (s *wireSecret) Reset() { *s = wireSecret{} }

// DeepCopyObject implements runtime.Object.
func (p *wirePod) DeepCopyObject() runtime.Object { return &wirePod{*p.DeepCopy()} }

// Unmarshal decodes protobuf.
func (p *wirePod) Unmarshal(data []byte) error {
	m := &podMessage{}
	if err := unmarshal(data, m); err != nil {
		return fmt.Errorf("decode pod: %w", err)
	}
	return m.into(&p.Pod)
}

// Unmarshal decodes protobuf.
func (l *wirePodList) Unmarshal(data []byte) error {
	m := &podListMessage{}
	if err := unmarshal(data, m); err != nil {
		return fmt.Errorf("decode pods: %w", err)
	}
	if err := l.ListMeta.Unmarshal(m.Metadata); err != nil {
		return err
	}
	l.Items = make([]corev1.Pod, len(m.Items))
	for i, item := range m.Items {
		if err := item.into(&l.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// Unmarshal decodes protobuf.
func (s *wireSecret) Unmarshal(data []byte) error {
	m := &secretMessage{}
	if err := unmarshal(data, m); err != nil {
		return fmt.Errorf("decode secret: %w", err)
	}
	s.Data, s.Type = m.Data, corev1.SecretType(m.Type)
	return s.ObjectMeta.Unmarshal(m.Metadata)
}

func unmarshal(data []byte, into protoadapt.MessageV1) error {
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, protoadapt.MessageV2Of(into))
}

// The messages of k8s.io/api/core/v1/generated.proto, as far as package corev1 has
// their fields. Texts are bytes, because Kubernetes does not require UTF-8 of them
// and a protobuf string does.
type (
	podMessage struct {
		Metadata []byte            `protobuf:"bytes,1,opt,name=metadata,proto3"`
		Spec     *podSpecMessage   `protobuf:"bytes,2,opt,name=spec,proto3"`
		Status   *podStatusMessage `protobuf:"bytes,3,opt,name=status,proto3"`
	}
	podListMessage struct {
		Metadata []byte        `protobuf:"bytes,1,opt,name=metadata,proto3"`
		Items    []*podMessage `protobuf:"bytes,2,rep,name=items,proto3"`
	}
	podSpecMessage struct {
		Volumes             []*volumeMessage    `protobuf:"bytes,1,rep,name=volumes,proto3"`
		Containers          []*containerMessage `protobuf:"bytes,2,rep,name=containers,proto3"`
		ServiceAccountName  []byte              `protobuf:"bytes,8,opt,name=serviceAccountName,proto3"`
		NodeName            []byte              `protobuf:"bytes,10,opt,name=nodeName,proto3"`
		HostNetwork         bool                `protobuf:"varint,11,opt,name=hostNetwork,proto3"`
		ImagePullSecrets    []*nameMessage      `protobuf:"bytes,15,rep,name=imagePullSecrets,proto3"`
		InitContainers      []*containerMessage `protobuf:"bytes,20,rep,name=initContainers,proto3"`
		DNSConfig           *dnsConfigMessage   `protobuf:"bytes,26,opt,name=dnsConfig,proto3"`
		EphemeralContainers []*ephemeralMessage `protobuf:"bytes,34,rep,name=ephemeralContainers,proto3"`
	}
	containerMessage struct {
		Name            []byte         `protobuf:"bytes,1,opt,name=name,proto3"`
		Image           []byte         `protobuf:"bytes,2,opt,name=image,proto3"`
		VolumeMounts    []*nameMessage `protobuf:"bytes,9,rep,name=volumeMounts,proto3"`
		ImagePullPolicy []byte         `protobuf:"bytes,14,opt,name=imagePullPolicy,proto3"`
		RestartPolicy   []byte         `protobuf:"bytes,24,opt,name=restartPolicy,proto3"`
	}
	ephemeralMessage struct {
		Common *containerMessage `protobuf:"bytes,1,opt,name=ephemeralContainerCommon,proto3"`
	}
	// nameMessage is a VolumeMount or a LocalObjectReference.
	nameMessage struct {
		Name []byte `protobuf:"bytes,1,opt,name=name,proto3"`
	}
	volumeMessage struct {
		Name   []byte               `protobuf:"bytes,1,opt,name=name,proto3"`
		Source *volumeSourceMessage `protobuf:"bytes,2,opt,name=volumeSource,proto3"`
	}
	volumeSourceMessage struct {
		Image *imageVolumeMessage `protobuf:"bytes,30,opt,name=image,proto3"`
	}
	imageVolumeMessage struct {
		Reference  []byte `protobuf:"bytes,1,opt,name=reference,proto3"`
		PullPolicy []byte `protobuf:"bytes,2,opt,name=pullPolicy,proto3"`
	}
	dnsConfigMessage struct {
		Nameservers [][]byte `protobuf:"bytes,1,rep,name=nameservers,proto3"`
	}
	podStatusMessage struct {
		Phase                      []byte              `protobuf:"bytes,1,opt,name=phase,proto3"`
		Conditions                 []*conditionMessage `protobuf:"bytes,2,rep,name=conditions,proto3"`
		ContainerStatuses          []*statusMessage    `protobuf:"bytes,8,rep,name=containerStatuses,proto3"`
		InitContainerStatuses      []*statusMessage    `protobuf:"bytes,10,rep,name=initContainerStatuses,proto3"`
		EphemeralContainerStatuses []*statusMessage    `protobuf:"bytes,13,rep,name=ephemeralContainerStatuses,proto3"`
	}
	conditionMessage struct {
		Type               []byte `protobuf:"bytes,1,opt,name=type,proto3"`
		Status             []byte `protobuf:"bytes,2,opt,name=status,proto3"`
		LastTransitionTime []byte `protobuf:"bytes,4,opt,name=lastTransitionTime,proto3"`
	}
	statusMessage struct {
		Name         []byte        `protobuf:"bytes,1,opt,name=name,proto3"`
		State        *stateMessage `protobuf:"bytes,2,opt,name=state,proto3"`
		LastState    *stateMessage `protobuf:"bytes,3,opt,name=lastState,proto3"`
		RestartCount int32         `protobuf:"varint,5,opt,name=restartCount,proto3"`
		Image        []byte        `protobuf:"bytes,6,opt,name=image,proto3"`
		ImageID      []byte        `protobuf:"bytes,7,opt,name=imageID,proto3"`
	}
	stateMessage struct {
		Waiting    *waitingMessage    `protobuf:"bytes,1,opt,name=waiting,proto3"`
		Running    *emptyMessage      `protobuf:"bytes,2,opt,name=running,proto3"`
		Terminated *terminatedMessage `protobuf:"bytes,3,opt,name=terminated,proto3"`
	}
	waitingMessage struct {
		Reason  []byte `protobuf:"bytes,1,opt,name=reason,proto3"`
		Message []byte `protobuf:"bytes,2,opt,name=message,proto3"`
	}
	terminatedMessage struct {
		ExitCode int32  `protobuf:"varint,1,opt,name=exitCode,proto3"`
		Reason   []byte `protobuf:"bytes,3,opt,name=reason,proto3"`
	}
	emptyMessage  struct{}
	secretMessage struct {
		Metadata []byte            `protobuf:"bytes,1,opt,name=metadata,proto3"`
		Data     map[string][]byte `protobuf:"bytes,2,rep,name=data,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3"`
		Type     []byte            `protobuf:"bytes,3,opt,name=type,proto3"`
	}
)

// Reset, String and ProtoMessage make the messages protobuf's.
func (m *podMessage) Reset()         { *m = podMessage{} }
func (m *podMessage) String() string { return "pod" }
func (m *podMessage) ProtoMessage()  {}

func (m *podListMessage) Reset()         { *m = podListMessage{} }
func (m *podListMessage) String() string { return "pods" }
func (m *podListMessage) ProtoMessage()  {}

func (m *secretMessage) Reset()         { *m = secretMessage{} }
func (m *secretMessage) String() string { return "secret" }
func (m *secretMessage) ProtoMessage()  {}

func (m *podMessage) into(p *corev1.Pod) error {
	if err := p.ObjectMeta.Unmarshal(m.Metadata); err != nil {
		return err
	}
	if s := m.Spec; s != nil {
		s.into(&p.Spec)
	}
	if s := m.Status; s != nil {
		return s.into(&p.Status)
	}
	return nil
}

func (m *podSpecMessage) into(s *corev1.PodSpec) {
	s.Volumes = each(m.Volumes, (*volumeMessage).volume)
	s.InitContainers = each(m.InitContainers, (*containerMessage).container)
	s.Containers = each(m.Containers, (*containerMessage).container)
	s.EphemeralContainers = each(m.EphemeralContainers, func(m *ephemeralMessage) (c corev1.EphemeralContainer) {
		if m.Common != nil {
			c.EphemeralContainerCommon = corev1.EphemeralContainerCommon(m.Common.container())
		}
		return c
	})
	s.ServiceAccountName, s.NodeName, s.HostNetwork = string(m.ServiceAccountName), string(m.NodeName), m.HostNetwork
	s.ImagePullSecrets = each(m.ImagePullSecrets, func(m *nameMessage) corev1.LocalObjectReference {
		return corev1.LocalObjectReference{Name: string(m.Name)}
	})
	if m.DNSConfig != nil {
		s.DNSConfig = &corev1.PodDNSConfig{Nameservers: each(m.DNSConfig.Nameservers, func(b []byte) string { return string(b) })}
	}
}

func (m *containerMessage) container() corev1.Container {
	c := corev1.Container{
		Name: string(m.Name), Image: string(m.Image), ImagePullPolicy: corev1.PullPolicy(m.ImagePullPolicy),
		VolumeMounts: each(m.VolumeMounts, func(m *nameMessage) corev1.VolumeMount { return corev1.VolumeMount{Name: string(m.Name)} }),
	}
	if m.RestartPolicy != nil {
		c.RestartPolicy = new(corev1.ContainerRestartPolicy(m.RestartPolicy))
	}
	return c
}

func (m *volumeMessage) volume() corev1.Volume {
	v := corev1.Volume{Name: string(m.Name)}
	if m.Source != nil && m.Source.Image != nil {
		v.Image = &corev1.ImageVolumeSource{Reference: string(m.Source.Image.Reference), PullPolicy: corev1.PullPolicy(m.Source.Image.PullPolicy)}
	}
	return v
}

func (m *podStatusMessage) into(s *corev1.PodStatus) error {
	s.Phase = corev1.PodPhase(m.Phase)
	for _, c := range m.Conditions {
		var at metav1.Time
		if err := at.Unmarshal(c.LastTransitionTime); err != nil {
			return err
		}
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(c.Type), Status: corev1.ConditionStatus(c.Status), LastTransitionTime: at})
	}
	s.InitContainerStatuses = each(m.InitContainerStatuses, (*statusMessage).status)
	s.ContainerStatuses = each(m.ContainerStatuses, (*statusMessage).status)
	s.EphemeralContainerStatuses = each(m.EphemeralContainerStatuses, (*statusMessage).status)
	return nil
}

func (m *statusMessage) status() corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: string(m.Name), State: m.State.state(), LastTerminationState: m.LastState.state(),
		RestartCount: m.RestartCount, Image: string(m.Image), ImageID: string(m.ImageID),
	}
}

func (m *stateMessage) state() (s corev1.ContainerState) {
	if m == nil {
		return s
	}
	if w := m.Waiting; w != nil {
		s.Waiting = &corev1.ContainerStateWaiting{Reason: string(w.Reason), Message: string(w.Message)}
	}
	if m.Running != nil {
		s.Running = &corev1.ContainerStateRunning{}
	}
	if t := m.Terminated; t != nil {
		s.Terminated = &corev1.ContainerStateTerminated{ExitCode: t.ExitCode, Reason: string(t.Reason)}
	}
	return s
}

// each returns the results of convert; nil for none.
func each[M, T any](all []M, convert func(M) T) []T {
	if len(all) == 0 {
		return nil
	}
	out := make([]T, len(all))
	for i, m := range all {
		out[i] = convert(m)
	}
	return out
}
