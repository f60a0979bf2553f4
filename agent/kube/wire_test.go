package kube

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/whypull/whypull/agent/kube/apitest"
	own "github.com/whypull/whypull/agent/kube/corev1"
)

// fullPod returns a pod of the API with a value in every field that whypull reads,
// and in some that it does not.
func fullPod() *v1.Pod {
	always, at := v1.ContainerRestartPolicyAlways, metav1.NewTime(time.Unix(1767323045, 0))
	c := v1.Container{Name: "app", Image: "a:1", ImagePullPolicy: "Always", RestartPolicy: &always, Command: []string{"x"}, TTY: true,
		VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: true}, {Name: "model"}},
		Resources:    v1.ResourceRequirements{Limits: v1.ResourceList{"cpu": resource.MustParse("1")}}}
	plain := c
	plain.Name, plain.RestartPolicy = "plain", nil
	statuses := []v1.ContainerStatus{
		{Name: "waits", Image: "a:1", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "401"}},
			LastTerminationState: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: -1, Reason: "Error", Signal: 9, FinishedAt: at}}, RestartCount: 3},
		{Name: "runs", ImageID: "sha256:1", Ready: true, State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: at}}},
		{Name: "has begun", State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}},
		{Name: "nothing"},
	}
	return &v1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u", ResourceVersion: "7", CreationTimestamp: at, DeletionTimestamp: &at,
			Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"}, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-1", Controller: new(true)}}},
		Spec: v1.PodSpec{
			Volumes: []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
				{Name: "model", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: "m:1", PullPolicy: "Always"}}}},
			InitContainers: []v1.Container{c}, Containers: []v1.Container{c, plain},
			EphemeralContainers: []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon(c), TargetContainerName: "app"}},
			ServiceAccountName:  "sa", NodeName: nodeName, HostNetwork: true, ImagePullSecrets: []v1.LocalObjectReference{{Name: "one"}, {Name: "two"}},
			DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"10.0.0.2", "10.0.0.3"}, Searches: []string{"corp"}}, Tolerations: []v1.Toleration{{Key: "x"}},
		},
		Status: v1.PodStatus{Phase: "Pending", HostIP: "10.0.0.1", StartTime: &at,
			Conditions:            []v1.PodCondition{{Type: "Ready", Status: "False", LastTransitionTime: at, Reason: "x"}, {Type: "PodScheduled", Status: "True"}},
			InitContainerStatuses: statuses, ContainerStatuses: statuses, EphemeralContainerStatuses: statuses},
	}
}

// decoded encodes an object of the API and decodes it as the client does.
func decoded(t *testing.T, mediaType string, obj runtime.Object) runtime.Object {
	t.Helper()
	data, err := apitest.Encode(mediaType, obj)
	if err != nil {
		t.Fatal(err)
	}
	info, ok := runtime.SerializerInfoForMediaType(serializer.NewCodecFactory(newScheme()).WithoutConversion().SupportedMediaTypes(), mediaType)
	if !ok {
		t.Fatalf("no decoder for %s", mediaType)
	}
	out, _, err := info.Serializer.Decode(data, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", mediaType, err)
	}
	return out
}

// The decoder of protobuf reads the same as that of JSON, whose field names are
// compared with the API's.
func TestProtobufIsReadLikeJSON(t *testing.T) {
	t.Parallel()
	list := &v1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "8", Continue: "c"}, Items: []v1.Pod{*fullPod(), {}}}
	secret := pullSecret()
	secret.TypeMeta = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}
	secret.Data["empty"] = []byte{}
	for _, obj := range []runtime.Object{fullPod(), list, secret, &v1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}}} {
		got, want := decoded(t, runtime.ContentTypeProtobuf, obj), decoded(t, runtime.ContentTypeJSON, obj)
		for _, l := range []runtime.Object{got, want} { // TypeMeta of items is in JSON only
			if l, ok := l.(*wirePodList); ok {
				for i := range l.Items {
					l.Items[i].TypeMeta = metav1.TypeMeta{}
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
	}
}

// What the test above compares has a value in every field.
func TestFullPodIsFull(t *testing.T) {
	t.Parallel()
	pod, ok := decoded(t, runtime.ContentTypeProtobuf, fullPod()).(*wirePod)
	if !ok {
		t.Fatal("no pod")
	}
	set := map[string]bool{}
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		set[path] = set[path] || !v.IsZero()
		switch v.Kind() { //nolint:exhaustive // the others have no elements
		case reflect.Pointer:
			if !v.IsNil() {
				visit(path, v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				visit(path, v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if own := strings.HasSuffix(v.Type().PkgPath(), "agent/kube/corev1"); own {
					visit(path+"."+v.Type().Field(i).Name, v.Field(i))
				}
			}
		}
	}
	visit("pod", reflect.ValueOf(pod.Pod))
	for path, is := range set {
		if !is && !strings.HasSuffix(path, ".LastTerminationState.Waiting") && !strings.HasSuffix(path, ".LastTerminationState.Running") && !strings.HasSuffix(path, ".State.Terminated") {
			t.Errorf("%s is empty", path)
		}
	}
	if len(set) < 60 {
		t.Errorf("%d fields only", len(set))
	}
}

// A runtime's message may not be valid UTF-8.
func TestProtobufTakesAnyText(t *testing.T) {
	t.Parallel()
	const message = "a\xffb\x00c"
	pod := fullPod()
	pod.Status.ContainerStatuses[0].State.Waiting.Message = message
	got, ok := decoded(t, runtime.ContentTypeProtobuf, pod).(*wirePod)
	if !ok || got.Status.ContainerStatuses[0].State.Waiting.Message != message {
		t.Errorf("got %+v", got)
	}
}

func TestProtobufErrors(t *testing.T) {
	t.Parallel()
	for _, o := range []interface{ Unmarshal([]byte) error }{&wirePod{}, &wirePodList{}, &wireSecret{}} {
		for _, data := range []string{"\x0a", "\x0a\x01\xff", password} {
			if err := o.Unmarshal([]byte(data)); err == nil || strings.Contains(err.Error(), password) {
				t.Errorf("%T of %q: %v", o, data, err)
			}
		}
	}
	if err := (&wirePod{}).Unmarshal([]byte("\x1a\x05\x12\x03\x22\x01\xff")); err == nil {
		t.Error("a time that is none is taken")
	}
}

// The objects of a watch are those of package corev1.
func TestWatchDecodesPlainObjects(t *testing.T) {
	t.Parallel()
	codecs := serializer.NewCodecFactory(newScheme())
	secret := pullSecret()
	secret.TypeMeta = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
		d := plainSerializer{codecs.WithoutConversion()}.DecoderToVersion(info.Serializer, own.GroupVersion())
		for _, tc := range []struct{ obj, want runtime.Object }{{fullPod(), &own.Pod{}}, {secret, &own.Secret{}}} {
			data, err := apitest.Encode(mediaType, tc.obj)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := d.Decode(data, nil, nil)
			if err != nil || reflect.TypeOf(got) != reflect.TypeOf(tc.want) {
				t.Errorf("got %T, %v, want %T", got, err, tc.want)
			}
		}
		into := &wirePod{}
		data, err := apitest.Encode(mediaType, fullPod())
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := d.Decode(data, nil, into); err != nil || got != runtime.Object(into) || into.Name != "web" {
			t.Errorf("got %T, %v, want the object that was passed", got, err)
		}
	}
}

func TestDecodedPodIsCopied(t *testing.T) {
	t.Parallel()
	p := &wirePod{own.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}}}
	c, ok := p.DeepCopyObject().(*wirePod)
	if !ok || !reflect.DeepEqual(p, c) {
		t.Fatalf("got %+v, want %+v", c, p)
	}
	c.Labels["a"] = "c"
	if p.Labels["a"] != "b" {
		t.Error("the copy shares its labels")
	}
}

func BenchmarkDecodePod(b *testing.B) {
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		b.Run(mediaType, func(b *testing.B) {
			data, err := apitest.Encode(mediaType, fullPod())
			if err != nil {
				b.Fatal(err)
			}
			info, _ := runtime.SerializerInfoForMediaType(serializer.NewCodecFactory(newScheme()).SupportedMediaTypes(), mediaType)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := info.Serializer.Decode(data, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
