package corev1

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyObject implements runtime.Object.
func (p *Pod) DeepCopyObject() runtime.Object { return p.DeepCopy() }

// DeepCopyObject implements runtime.Object.
func (l *PodList) DeepCopyObject() runtime.Object {
	out := *l
	out.ListMeta = *l.DeepCopy()
	out.Items = copied(l.Items, func(p *Pod) { *p = *p.DeepCopy() })
	return &out
}

// DeepCopyObject implements runtime.Object.
func (s *Secret) DeepCopyObject() runtime.Object {
	out := *s
	out.ObjectMeta = *s.DeepCopy()
	out.Data = maps.Clone(s.Data)
	for k, v := range out.Data {
		out.Data[k] = slices.Clone(v)
	}
	return &out
}

// DeepCopy returns a copy that shares nothing with the pod.
func (p *Pod) DeepCopy() *Pod {
	out := *p
	out.ObjectMeta = *p.ObjectMeta.DeepCopy()
	spec, status := &out.Spec, &out.Status
	spec.Volumes = copied(spec.Volumes, func(v *Volume) { v.Image = pointed(v.Image) })
	spec.InitContainers = copied(spec.InitContainers, (*Container).unshare)
	spec.Containers = copied(spec.Containers, (*Container).unshare)
	spec.EphemeralContainers = copied(spec.EphemeralContainers, func(c *EphemeralContainer) { (*Container)(&c.EphemeralContainerCommon).unshare() })
	spec.ImagePullSecrets = slices.Clone(spec.ImagePullSecrets)
	if spec.DNSConfig != nil {
		spec.DNSConfig = &PodDNSConfig{Nameservers: slices.Clone(spec.DNSConfig.Nameservers)}
	}
	status.Conditions = slices.Clone(status.Conditions)
	status.InitContainerStatuses = copied(status.InitContainerStatuses, (*ContainerStatus).unshare)
	status.ContainerStatuses = copied(status.ContainerStatuses, (*ContainerStatus).unshare)
	status.EphemeralContainerStatuses = copied(status.EphemeralContainerStatuses, (*ContainerStatus).unshare)
	return &out
}

func (c *Container) unshare() {
	c.RestartPolicy = pointed(c.RestartPolicy)
	c.VolumeMounts = slices.Clone(c.VolumeMounts)
}

func (s *ContainerStatus) unshare() {
	s.State.unshare()
	s.LastTerminationState.unshare()
}

func (s *ContainerState) unshare() {
	*s = ContainerState{Waiting: pointed(s.Waiting), Running: pointed(s.Running), Terminated: pointed(s.Terminated)}
}

// copied returns a copy of a slice after unshare was called for each element.
func copied[T any](all []T, unshare func(*T)) []T {
	all = slices.Clone(all)
	for i := range all {
		unshare(&all[i])
	}
	return all
}

// pointed returns a pointer to a copy; nil for nil.
func pointed[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}
