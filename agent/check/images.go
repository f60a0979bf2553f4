package check

import (
	"cmp"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/podwatch"
)

// target is one image to check: that of a container or image volume of a pod, or
// the one on the command line.
type target struct {
	pod     *pod // nil for the image on the command line
	line    int  // of the image's field in the pod's file; 0 for the image on the command line
	failure diagnosis.Failure
	account string // service account that is not in the files and may have pull secrets; else empty
}

// ofImage returns the target for the image on the command line. Its pull policy is
// Always, since the question is whether it can be pulled.
func ofImage(image, node string, now time.Time) target {
	f := diagnosis.Failure{Node: node, Container: "image", Kind: diagnosis.KindContainer, PullPolicy: string(corev1.PullAlways), Offline: true, Since: now}
	f.SetImage(podwatch.ImageOf(image))
	return target{failure: f}
}

// targets returns the images of all pods: of init containers, containers,
// ephemeral containers and image volumes.
func (o *objects) targets(node string, now time.Time) []target {
	var out []target
	for i := range o.pods {
		p := &o.pods[i]
		names, unknown := o.pullSecrets(p)
		for _, f := range p.images() {
			f.Namespace, f.Pod, f.Node, f.PullSecrets, f.ServiceAccount = p.namespace, p.name, node, names, p.account()
			f.Offline, f.Since = true, now
			if p.kind != "Pod" {
				f.Owner = diagnosis.Owner{Kind: p.kind, Name: p.name}
			}
			out = append(out, target{pod: p, line: p.from.lineOf(f.Image), failure: f, account: unknown})
		}
	}
	return out
}

// images returns the pod's images with their pull policies.
func (p *pod) images() []diagnosis.Failure {
	var out []diagnosis.Failure
	add := func(kind diagnosis.Kind, name, written string, policy corev1.PullPolicy) {
		image := podwatch.ImageOf(written)
		f := diagnosis.Failure{Kind: kind, Container: cmp.Or(name, "unnamed"), PullPolicy: string(cmp.Or(policy, defaultPolicy(image)))}
		f.SetImage(image)
		out = append(out, f)
	}
	for _, s := range podwatch.Slots(&corev1.Pod{Spec: p.spec}) {
		add(s.Kind, s.Name, s.Image, s.ImagePullPolicy)
	}
	for _, v := range p.spec.Volumes {
		if v.Image != nil {
			add(diagnosis.KindImageVolume, v.Name, v.Image.Reference, v.Image.PullPolicy)
		}
	}
	return out
}

// defaultPolicy returns the pull policy that the API server sets (apis/core/v1,
// SetDefaults_Container and SetDefaults_Volume): Always for the tag latest, also if
// implied; otherwise IfNotPresent, also for invalid references.
func defaultPolicy(image diagnosis.Image) corev1.PullPolicy {
	if image.Latest() {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// otherPlatforms returns a note for each pod that requires nodes of another
// platform by its nodeSelector (well-known labels) or spec.os.
func (o *objects) otherPlatforms(of ocispec.Platform) []string {
	var out []string
	for _, p := range o.pods {
		system, arch := p.spec.NodeSelector[corev1.LabelOSStable], p.spec.NodeSelector[corev1.LabelArchStable]
		if p.spec.OS != nil {
			system = string(p.spec.OS.Name)
		}
		system, arch = cmp.Or(system, of.OS), cmp.Or(arch, of.Architecture)
		if system != of.OS || arch != of.Architecture {
			out = append(out, fmt.Sprintf("%s: %s %s needs nodes of %s/%s but is checked for %s; set --platform to change that",
				p.at, p.kind, p.name, system, arch, platforms.Format(of)))
		}
	}
	return out
}
