package kube

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"

	"github.com/whypull/whypull/agent/kube/apitest"
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
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat(" ", largeEvent))}}
	p.Spec.TerminationGracePeriodSeconds, p.Spec.ServiceAccountName = new(int64(30)), "robot"
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// A large pod comes without what may be large and is not used. All else is as it was
// sent, and so is what comes before and after it.
func TestLargePodsAreSlim(t *testing.T) {
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
			small := pod("small", "8", "")
			small.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
			secret := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: naming().ObjectMeta}
			stream := slices.Concat(framed(t, "ADDED", small), framed(t, "MODIFIED", naming(tc.sent...)), framed(t, "ADDED", secret), framed(t, "DELETED", small))
			want := naming(tc.want...)
			want.ManagedFields = nil
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
func TestBrokenLargeEvents(t *testing.T) {
	t.Parallel()
	whole := framed(t, "ADDED", naming("a"))
	for name, stream := range map[string][]byte{
		"header":    whole[:2],
		"cut":       whole[:len(whole)-1],
		"only long": whole[:4],
		"no fields": append(binary.BigEndian.AppendUint32(nil, largeEvent), bytes.Repeat([]byte{0xff}, largeEvent)...),
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
