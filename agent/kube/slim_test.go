package kube

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/types"

	"github.com/whypull/whypull/agent/kube/apitest"
	"github.com/whypull/whypull/agent/podwatch"
)

// framed returns an event of a watch as it is sent, with the length before it.
func framed(t testing.TB, kind string, obj runtime.Object) []byte {
	t.Helper()
	raw, err := apitest.Encode(runtime.ContentTypeProtobuf, obj)
	if err != nil {
		t.Fatal(err)
	}
	event, err := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: raw}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...)
}

// received returns the objects of a watch as a client of ours decodes them, until its
// end or an error.
func received(t testing.TB, stream []byte) (objs []runtime.Object, err error) {
	t.Helper()
	codecs := serializer.NewCodecFactory(newScheme())
	of := slimSerializer{codecs.WithoutConversion()}
	i := slices.IndexFunc(of.SupportedMediaTypes(), func(s runtime.SerializerInfo) bool { return s.MediaType == runtime.ContentTypeProtobuf })
	info := of.SupportedMediaTypes()[i]
	s := info.StreamSerializer
	d := streaming.NewDecoder(s.NewFrameReader(io.NopCloser(bytes.NewReader(stream))), codecs.WithoutConversion().DecoderToVersion(s.Serializer, nil))
	for {
		var event metav1.WatchEvent
		if _, _, err := d.Decode(nil, &event); errors.Is(err, io.EOF) {
			return objs, nil
		} else if err != nil {
			return objs, err
		}
		obj, err := runtime.Decode(codecs.WithoutConversion().DecoderToVersion(info.Serializer, nil), event.Object.Raw)
		if err != nil {
			return objs, err
		}
		objs = append(objs, obj)
	}
}

// naming returns a pod that names pull secrets, and that has managed fields.
func naming(secrets ...string) *corev1.Pod {
	p := pod("web", "7", "ErrImagePull")
	p.Labels, p.Annotations = map[string]string{"app": "web"}, map[string]string{"note": strings.Repeat("x", 300)}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat(" ", keptBuffer))}}
	p.Spec.TerminationGracePeriodSeconds, p.Spec.ServiceAccountName = new(int64(30)), "robot"
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// A pod comes without what is not used, which may be large. All else is as it was sent, and
// so is what is no pod.
func TestPodsAreSlim(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("s", i))
	}
	for name, tc := range map[string]struct{ sent, want []string }{
		"none":         {nil, nil},
		"one":          {[]string{"a"}, []string{"a"}},
		"one again":    {slices.Repeat([]string{"a"}, 100_000), []string{"a"}},
		"no name":      {[]string{"", "a", "", "b"}, []string{"a", "b"}},
		"in order":     {[]string{"b", "a", "b", "c", "a"}, []string{"b", "a", "c"}},
		"many":         {many, many},
		"after many":   {append(slices.Clone(many), "s0", "s31", "s32"), append(slices.Clone(many), "s32")},
		"long lengths": {[]string{strings.Repeat("n", 200), strings.Repeat("n", 200), strings.Repeat("m", 20_000)}, []string{strings.Repeat("n", 200), strings.Repeat("m", 20_000)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			small, want := pod("small", "8", ""), naming(tc.want...)
			for _, p := range []*corev1.Pod{small, want} {
				p.ManagedFields, p.Status.ContainerStatuses[0].Image = nil, ""
			}
			sent := pod("small", "8", "")
			sent.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
			secret := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: naming().ObjectMeta}
			stream := slices.Concat(framed(t, "ADDED", sent), framed(t, "MODIFIED", naming(tc.sent...)), framed(t, "ADDED", secret), framed(t, "DELETED", sent))
			got, err := received(t, stream)
			if err != nil || len(got) != 4 {
				t.Fatalf("%d objects, error %v", len(got), err)
			}
			for i, w := range []runtime.Object{small, want, secret, small} {
				if g := got[i]; !reflect.DeepEqual(withoutType(g), withoutType(w)) {
					t.Errorf("object %d:\n%.500v, want\n%.500v", i, g, w)
				}
			}
		})
	}
}

// withoutType returns an object without its kind, which a decoder may set.
func withoutType(o runtime.Object) runtime.Object {
	o = o.DeepCopyObject()
	switch o := o.(type) {
	case *corev1.Pod:
		o.TypeMeta = metav1.TypeMeta{}
	case *metav1.PartialObjectMetadata:
		o.TypeMeta = metav1.TypeMeta{}
	}
	return o
}

// The next frame of a watch that ends in between, or is no protobuf, is an error.
func TestBrokenEvents(t *testing.T) {
	t.Parallel()
	whole := framed(t, "ADDED", naming("a"))
	for name, stream := range map[string][]byte{
		"header":    whole[:2],
		"cut":       whole[:len(whole)-1],
		"only long": whole[:4],
		"no fields": append(binary.BigEndian.AppendUint32(nil, keptBuffer), bytes.Repeat([]byte{0xff}, keptBuffer)...),
		"too long":  append(binary.BigEndian.AppendUint32(nil, largestEvent+1), make([]byte, largestEvent+1)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := received(t, stream); err == nil || len(got) > 0 {
				t.Errorf("%d objects, error %v", len(got), err)
			}
		})
	}
}

// Whatever is sent, it is an error or decodes as before, but for what is left out.
func FuzzSlimEvent(f *testing.F) {
	f.Add(framed(f, "ADDED", naming("a", "b", "a", ""))[4:])
	f.Add(framed(f, "ADDED", pod("small", "8", ""))[4:])
	f.Fuzz(func(t *testing.T, event []byte) {
		var before, after metav1.WatchEvent
		if before.Unmarshal(event) != nil {
			return
		}
		size := len(event)
		slim, err := slimEvent(slices.Clone(event))
		if err != nil || len(slim) > size {
			return // client-go's decoder takes some that are malformed
		}
		if err := after.Unmarshal(slim); err != nil || after.Type != before.Type {
			t.Errorf("event of type %q, error %v, want %q", after.Type, err, before.Type)
		}
	})
}

// BenchmarkLargePod measures an event of a pod that names one secret 100,000 times.
func BenchmarkLargePod(b *testing.B) {
	stream := framed(b, "ADDED", naming(slices.Repeat([]string{"a"}, 100_000)...))
	b.ReportAllocs()
	for b.Loop() {
		if got, err := received(b, stream); err != nil || len(got) != 1 {
			b.Fatal(err)
		}
	}
}

// words are what generated pods have in fields of these names, with "" for all others.
var words = map[string][]string{
	"":                {"", "app", "side", "1.2.3.4"},
	"Name":            {"app", "app", "side", "data", "more", "web-5d7f8"},
	"Image":           {"hub.test/app:1", "hub.test/side:2", "joe:secret@hub.test/App", ""},
	"Reference":       {"hub.test/data:1", "hub.test/app:1"},
	"Reason":          {"ErrImagePull", "ErrImagePull", "ImagePullBackOff", "ContainerCreating", "CrashLoopBackOff", "raw error", ""},
	"Message":         {`failed to pull image "hub.test/app:1": x`, `failed to pull image "hub.test/data:1": x`, "a raw error", ""},
	"Phase":           {"Pending", "Running", "Running", "Failed"},
	"NodeName":        {nodeName, nodeName, nodeName, ""},
	"Kind":            {"ReplicaSet", "Job"},
	"APIVersion":      {"apps/v1", "example.com/v1"},
	"Type":            {"whypull.dev/ImagePullable", "Ready"},
	"ConditionType":   {"whypull.dev/ImagePullable", "Ready"},
	"Status":          {"True", "False"},
	"ImagePullPolicy": {"Always", "IfNotPresent", "Never"},
	"PullPolicy":      {"Always", "IfNotPresent", "Never"},
	"RestartPolicy":   {"Always", "OnFailure"},
	"Labels":          {"5d7f8", "shop"},
	"Labels keys":     {"pod-template-hash", "helm.toolkit.fluxcd.io/name", "argocd.argoproj.io/instance", "other"},
	"Annotations":     {"5d7f8", "shop", "{}"},
	"Annotations keys": {
		"whypull.dev/cause", "whypull.dev/summary", "whypull.dev/report", "preflight.whypull.dev/report",
		"argocd.argoproj.io/tracking-id", "kubernetes.io/config.hash", corev1.MirrorPodAnnotationKey, "other",
	},
}

// generator generates pods whose fields all have values.
type generator struct{ *rand.Rand }

func (g generator) fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		of, known := words[name]
		if !known {
			of = words[""]
		}
		v.SetString(of[g.IntN(len(of))])
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(g.Int64N(3))
	case reflect.Uint8:
		v.SetUint(g.Uint64N(3))
	case reflect.Pointer:
		if g.IntN(2) == 0 && (name != "DeletionTimestamp" || g.IntN(4) == 0) {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), g.IntN(4), 4))
		for i := range v.Len() {
			g.fill(v.Index(i), name)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(key, name+" keys")
			g.fill(value, name)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		g.fillStruct(v)
	default:
		panic("a pod has no field of kind " + v.Kind().String())
	}
}

func (g generator) fillStruct(v reflect.Value) {
	switch of := v.Addr().Interface().(type) {
	case *metav1.Time:
		*of = metav1.Unix(1+g.Int64N(3), 0)
	case *resource.Quantity:
		*of = *resource.NewQuantity(g.Int64N(3), resource.DecimalSI)
	default:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				g.fill(v.Field(i), f.Name)
			}
		}
	}
}

// life returns the states of a pod one after the other, as they are sent.
func (g generator) life(t *testing.T) [][]byte {
	t.Helper()
	var out [][]byte
	for range 3 {
		p := &corev1.Pod{}
		g.fill(reflect.ValueOf(p).Elem(), "")
		p.Namespace, p.Name, p.UID = "team", "web", types.UID(fmt.Sprint("u-", g.IntN(5)/4))
		for i := range p.Spec.Volumes { // the API server takes no name twice
			p.Spec.Volumes[i].Name = []string{"data", "app", "more"}[i]
		}
		for i := range 50 * g.IntN(2) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Image: "hub.test/c:1"})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: fmt.Sprint("c", i), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "x"}}})
		}
		for i := range 50 * g.IntN(2) {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: fmt.Sprint("s", i)})
		}
		sent, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, sent)
	}
	return out
}

// emitted returns what podwatch makes of a pod's states, slimmed, the first of which exists
// when the watch begins.
func emitted(t *testing.T, life [][]byte, slim func([]byte) ([]byte, error)) (out []any) {
	t.Helper()
	at := time.Unix(0, 0)
	now := func() time.Time { at = at.Add(time.Second); return at }
	stores := podwatch.Stores{
		podwatch.NewTracker("whypull.dev/", now, func(u podwatch.Update) { out = append(out, u) }, "whypull.dev/cause", "whypull.dev/summary", "whypull.dev/report"),
		podwatch.NewRunning("preflight.whypull.dev/report", true, func(r podwatch.RunningPod) { out = append(out, r) }),
	}
	for i, sent := range life {
		p := &corev1.Pod{}
		slimmed, err := slim(slices.Clone(sent))
		if err == nil {
			err = p.Unmarshal(slimmed)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			stores.AddListed(p)
		} else if err := stores.Update(p); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// without returns parts from which one is missing, for each of them.
func without(parts []part, at string) map[string][]part {
	out := map[string][]part{}
	for i, p := range parts {
		here := fmt.Sprint(at, " ", p.number)
		if p.parts == nil {
			out[here] = slices.Delete(slices.Clone(parts), i, i+1)
		}
		for name, inner := range without(p.parts, here) {
			changed := slices.Clone(parts)
			changed[i].parts = inner
			out[name] = changed
		}
	}
	return out
}

// What is left out of a pod is nothing that podwatch reads, and each part that is left is
// read.
func TestPartsAreWhatIsRead(t *testing.T) {
	t.Parallel()
	type sample struct {
		life [][]byte
		want []any
	}
	g := generator{rand.New(rand.NewPCG(1, 2))}
	var samples []sample
	for range 300 {
		life := g.life(t)
		want := emitted(t, life, func(pod []byte) ([]byte, error) { return pod, nil })
		if got := emitted(t, life, slimPod); !reflect.DeepEqual(got, want) {
			t.Fatalf("slim:\n%+v, whole:\n%+v", got, want)
		}
		samples = append(samples, sample{life, want})
	}
	for name, parts := range without(podParts, "") {
		if name == " 1 6" || strings.HasSuffix(name, " 24") && name != " 2 20 24" {
			continue // the reflector reads resource versions, and of other containers than init containers nothing reads restartPolicy
		}
		slim := func(pod []byte) ([]byte, error) { return only(parts, pod) }
		missed := func(p sample) bool { return !reflect.DeepEqual(emitted(t, p.life, slim), p.want) }
		if !slices.ContainsFunc(samples, missed) {
			t.Errorf("nothing reads the field%s", name)
		}
	}
}
