package corev1

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	api "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestTypesAreThoseOfTheAPI checks that each field is one of the API, with its name,
// JSON name and kind of type.
func TestTypesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	compare(t, reflect.TypeFor[Pod](), reflect.TypeFor[api.Pod]())
	compare(t, reflect.TypeFor[PodList](), reflect.TypeFor[api.PodList]())
	compare(t, reflect.TypeFor[Secret](), reflect.TypeFor[api.Secret]())
}

func compare(t *testing.T, got, want reflect.Type) {
	t.Helper()
	if got == want {
		return
	}
	if got.Kind() != want.Kind() || got.Name() != want.Name() {
		t.Errorf("%s is not like %s", got, want)
		return
	}
	switch got.Kind() { //nolint:exhaustive // the others have no elements
	case reflect.Pointer, reflect.Slice, reflect.Map:
		compare(t, got.Elem(), want.Elem())
	case reflect.Struct:
		for f := range got.Fields() {
			of, there := want.FieldByName(f.Name)
			if !there || jsonName(f) != jsonName(of) || f.Anonymous != of.Anonymous {
				t.Errorf("%s.%s is not a field of %s", got, f.Name, want)
				continue
			}
			compare(t, f.Type, of.Type)
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func TestValuesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{string(PodPending), string(api.PodPending)},
		{string(PodRunning), string(api.PodRunning)},
		{string(PodSucceeded), string(api.PodSucceeded)},
		{string(PodFailed), string(api.PodFailed)},
		{string(PodReady), string(api.PodReady)},
		{string(PodScheduled), string(api.PodScheduled)},
		{string(ConditionTrue), string(api.ConditionTrue)},
		{string(ConditionFalse), string(api.ConditionFalse)},
		{string(PullAlways), string(api.PullAlways)},
		{string(PullIfNotPresent), string(api.PullIfNotPresent)},
		{string(ContainerRestartPolicyAlways), string(api.ContainerRestartPolicyAlways)},
		{string(SecretTypeOpaque), string(api.SecretTypeOpaque)},
		{string(SecretTypeDockerConfigJSON), string(api.SecretTypeDockerConfigJson)},
		{DockerConfigJSONKey, api.DockerConfigJsonKey},
		{MirrorPodAnnotationKey, api.MirrorPodAnnotationKey},
		{LabelOSStable, api.LabelOSStable},
		{LabelArchStable, api.LabelArchStable},
		{GroupVersion().String(), api.SchemeGroupVersion.String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("got %q, want %q", pair[0], pair[1])
		}
	}
}

// full returns objects with a value in every field.
func full() []runtime.Object {
	always := ContainerRestartPolicyAlways
	container := Container{Name: "app", Image: "a", ImagePullPolicy: PullAlways, RestartPolicy: &always, VolumeMounts: []VolumeMount{{Name: "v"}}}
	state := ContainerState{Waiting: &ContainerStateWaiting{Reason: "r", Message: "m"}, Running: &ContainerStateRunning{}, Terminated: &ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}
	statuses := []ContainerStatus{{Name: "app", State: state, LastTerminationState: state, RestartCount: 2, Image: "a", ImageID: "i"}}
	meta := metav1.ObjectMeta{Name: "n", Labels: map[string]string{"a": "b"}}
	pod := Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: meta,
		Spec: PodSpec{
			Volumes:        []Volume{{Name: "v", VolumeSource: VolumeSource{Image: &ImageVolumeSource{Reference: "b", PullPolicy: PullAlways}}}},
			InitContainers: []Container{container}, Containers: []Container{container},
			EphemeralContainers: []EphemeralContainer{{EphemeralContainerCommon(container)}},
			ServiceAccountName:  "s", NodeName: "n", HostNetwork: true,
			ImagePullSecrets: []LocalObjectReference{{Name: "regcred"}}, DNSConfig: &PodDNSConfig{Nameservers: []string{"10.0.0.2"}},
		},
		Status: PodStatus{Phase: PodRunning, Conditions: []PodCondition{{Type: PodReady, Status: ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}},
			InitContainerStatuses: statuses, ContainerStatuses: statuses, EphemeralContainerStatuses: statuses},
	}
	return []runtime.Object{
		&pod,
		&PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []Pod{pod}},
		&Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: meta, Data: map[string][]byte{"a": []byte("b")}, Type: SecretTypeOpaque},
	}
}

func TestDeepCopySharesNothing(t *testing.T) {
	t.Parallel()
	for _, o := range full() {
		c := o.DeepCopyObject()
		if !reflect.DeepEqual(o, c) {
			t.Errorf("got\n%s\nwant\n%s", text(t, c), text(t, o))
		}
		separate(t, reflect.TypeOf(o).String(), reflect.ValueOf(o), reflect.ValueOf(c))
	}
}

// separate checks that two values share no memory, and that none of their fields is
// empty, except in metadata.
func separate(t *testing.T, path string, a, b reflect.Value) {
	t.Helper()
	if a.IsZero() {
		t.Errorf("%s is empty", path)
	}
	switch a.Kind() { //nolint:exhaustive // the others share nothing
	case reflect.Pointer:
		if a.Type().Elem().Size() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		if a.Type().Elem().Size() > 0 {
			separate(t, path, a.Elem(), b.Elem())
		}
	case reflect.Slice:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		for i := range a.Len() {
			separate(t, path, a.Index(i), b.Index(i))
		}
	case reflect.Map:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		for _, k := range a.MapKeys() {
			separate(t, path, a.MapIndex(k), b.MapIndex(k))
		}
	case reflect.Struct:
		if strings.HasPrefix(a.Type().PkgPath(), "k8s.io/") {
			return
		}
		for i := range a.NumField() {
			separate(t, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
