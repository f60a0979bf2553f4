package kube

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/whypull/whypull/agent/kube/apitest"
)

// large returns a pod of 1.5 MB that cannot get its image, and that a tenant may create.
func large(name string) *corev1.Pod {
	p := pod(name, "7", "ErrImagePull")
	p.Annotations = map[string]string{"note": strings.Repeat("x", 200<<10)}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat(" ", 500<<10))}}
	p.Spec.Containers[0].Args = []string{strings.Repeat("x", 800<<10)}
	return p
}

// appendField appends a field with a length to a message.
func appendField(message []byte, number int32, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, protowire.Number(number), protowire.BytesType), value)
}

// heap returns how many bytes are in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The pods of a node are never in memory together, however large they are and in whichever
// way they come when a watch begins.
func TestManyLargePods(t *testing.T) { // measures memory, so not in parallel
	const count, most = 110, 8 << 20
	name := func(i int) string { return fmt.Sprintf("web-%03d", i) }
	whenAllHaveCome := func(t *testing.T, s *watched, before int64) {
		t.Helper()
		eventually(t, "all pods are seen", func() bool { return len(s.seen()) == count })
		if kept := heap() - before; kept > most {
			t.Errorf("%d KiB are in use when all pods have come, want at most %d", kept>>10, most>>10)
		}
		if s.synced() {
			t.Error("the watch has begun without the end of the list")
		}
	}

	t.Run("watch", func(t *testing.T) {
		before := heap()
		s := newWatched(t, AccessAuto, apiruntime.ContentTypeProtobuf, nil)
		for i := range count {
			s.send(t, "ADDED", large(name(i)))
		}
		whenAllHaveCome(t, s, before)
		s.send(t, "BOOKMARK", bookmark("8", true))
		eventually(t, "sync", s.synced)
	})

	t.Run("list", func(t *testing.T) {
		before := heap()
		measured := make(chan struct{})
		end := sync.OnceFunc(func() { close(measured) })
		defer end()
		item := func(i int) []byte {
			p, err := large(name(i)).Marshal()
			if err != nil {
				t.Error(err)
			}
			return appendField(nil, listItems, p)
		}
		s := newWatched(t, AccessAuto, apiruntime.ContentTypeProtobuf, func(w http.ResponseWriter, r request) bool {
			switch {
			case r.URL.Query().Get("sendInitialEvents") != "":
				apitest.Fail(w, 422, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
			case r.URL.Query().Get("watch") == "":
				w.Header().Set("Content-Type", apiruntime.ContentTypeProtobuf)
				meta := appendField(nil, listMetadata, []byte("\x12\x014"))
				start := protowire.AppendTag([]byte(magic), protowire.Number(unknownRaw), protowire.BytesType)
				_, _ = w.Write(protowire.AppendVarint(start, uint64(len(meta)+count*len(item(0)))))
				for i := range count {
					_, _ = w.Write(item(i))
				}
				_ = http.NewResponseController(w).Flush()
				<-measured
				_, _ = w.Write(meta)
			default:
				return false
			}
			return true
		})
		whenAllHaveCome(t, s, before)
		end()
		eventually(t, "sync", s.synced)
		s.send(t, "DELETED", pod(name(0), "9", ""))
		eventually(t, "all pods and the end of one", func() bool { return len(s.seen()) == count+1 })
		if all := s.All(); all[len(all)-1].URL.Query().Get("resourceVersion") != "4" {
			t.Errorf("the watch begins with %s", all[len(all)-1].URL)
		}
	})
}

// A large pod does not become much larger when it is decoded, whatever it is filled with.
func TestHostilePodsAreSlim(t *testing.T) { // measures memory, so not in parallel
	container := func(i int) corev1.Container {
		return corev1.Container{Name: fmt.Sprint("c", i), Image: "a", ImagePullPolicy: "Always", TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: "File"}
	}
	for name, fill := range map[string]func(p *corev1.Pod, i int){
		"env": func(p *corev1.Pod, i int) {
			p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "E"})
		},
		"mounts": func(p *corev1.Pod, i int) {
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: fmt.Sprint("/", i)})
		},
		"volumes": func(p *corev1.Pod, i int) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i), VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		},
		"image volumes": func(p *corev1.Pod, i int) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i), VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "a"}}})
		},
		"containers":      func(p *corev1.Pod, i int) { p.Spec.Containers = append(p.Spec.Containers, container(i)) },
		"init containers": func(p *corev1.Pod, i int) { p.Spec.InitContainers = append(p.Spec.InitContainers, container(i)) },
		"ephemeral containers": func(p *corev1.Pod, i int) {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(container(i))})
		},
		"tolerations": func(p *corev1.Pod, _ int) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: "Exists"})
		},
		"gates": func(p *corev1.Pod, _ int) {
			p.Spec.ReadinessGates = append(p.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: "a"})
		},
		"secrets": func(p *corev1.Pod, i int) {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: fmt.Sprint("s", i)})
		},
		"labels": func(p *corev1.Pod, i int) { metav1.SetMetaDataLabel(&p.ObjectMeta, fmt.Sprint(i), "") },
		"owners": func(p *corev1.Pod, _ int) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "a", Name: "a", UID: "a"})
		},
		"finalizers": func(p *corev1.Pod, _ int) { p.Finalizers = append(p.Finalizers, "a/b") },
	} {
		p := pod("web", "7", "ErrImagePull")
		for i, count := 0, 1000; i < count; i++ {
			if fill(p, i); i == 999 {
				count = (256 << 10) / (p.Size() / 1000)
			}
		}
		stream := framed(t, "ADDED", p)
		before := heap()
		got, err := received(t, stream)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %d objects, error %v", name, len(got), err)
		}
		if kept := heap() - before; kept > 12*int64(len(stream)) {
			t.Errorf("%s: %d KiB for a pod of %d", name, kept>>10, len(stream)>>10)
		}
		runtime.KeepAlive([]any{p, stream, got})
	}
}

// A list that ends in between, or is no protobuf, is an error.
func TestBrokenLists(t *testing.T) {
	t.Parallel()
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{*pod("a", "1", ""), *pod("b", "2", "")}}
	list.ResourceVersion, list.Continue = "9", "more"
	whole := listBytes(list)
	listed := func(p *corev1.Pod) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: p.ObjectMeta}
	}
	got, err := readList(bytes.NewReader(whole), listed)
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := got.(*metav1.PartialObjectMetadataList); !ok || l.ResourceVersion != "9" || l.Continue != "more" || len(l.Items) != 2 || l.Items[1].Name != "b" {
		t.Errorf("got %+v", got)
	}
	raw := func(content []byte) []byte { return appendField([]byte(magic), unknownRaw, content) }
	ofLength := func(size uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag([]byte(magic), protowire.Number(unknownRaw), protowire.BytesType), size)
	}
	for name, body := range map[string][]byte{
		"nothing":                nil,
		"JSON":                   []byte(`{"kind":"PodList"}`),
		"cut in an object":       whole[:len(whole)/2],
		"no fields":              append([]byte(magic), bytes.Repeat([]byte{0xff}, 99)...),
		"no length":              ofLength(1)[:len(magic)+1],
		"a number":               append(protowire.AppendTag([]byte(magic), protowire.Number(unknownRaw), protowire.VarintType), 1),
		"negative length":        ofLength(1 << 63),
		"no end":                 ofLength(99),
		"cut behind an object":   append(ofLength(99), appendField(nil, listMetadata, nil)...),
		"not a pod":              raw(appendField(nil, listItems, []byte{0xff})),
		"not a pod's name":       raw(appendField(nil, listItems, appendField(nil, 1, []byte{0x0a, 9}))),
		"a pod that is too long": raw(appendField(nil, listItems, appendField(nil, 99, make([]byte, largestEvent)))),
	} {
		if got, err := readList(bytes.NewReader(body), listed); err == nil || got != nil {
			t.Errorf("%s: got %v, error %v", name, got, err)
		}
	}
}
