package manifest

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// fieldsOf returns the JSON names of a struct's fields with their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			maps.Copy(out, fieldsOf(f.Type))
			continue
		}
		out[name] = f.Type
	}
	return out
}

// Every field of the API is known, so that none is reported as misspelt, and no other.
func TestFieldsAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]any{
		{Pod{}, corev1.Pod{}}, {PodTemplateSpec{}, corev1.PodTemplateSpec{}}, {PodSpec{}, corev1.PodSpec{}}, {PodOS{}, corev1.PodOS{}},
		{LocalObjectReference{}, corev1.LocalObjectReference{}}, {Container{}, corev1.Container{}}, {EphemeralContainer{}, corev1.EphemeralContainer{}},
		{Volume{}, corev1.Volume{}}, {ImageVolumeSource{}, corev1.ImageVolumeSource{}}, {Secret{}, corev1.Secret{}}, {ServiceAccount{}, corev1.ServiceAccount{}},
	} {
		mine, theirs := reflect.TypeOf(pair[0]), reflect.TypeOf(pair[1])
		got, want := fieldsOf(mine), fieldsOf(theirs)
		if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
			t.Errorf("%s: got %s, want %s", mine, a, b)
		}
		if mine.Name() != theirs.Name() {
			t.Errorf("%s has another name than %s, which errors contain", mine, theirs)
		}
		for name, typ := range got {
			if typ != reflect.TypeFor[Unread]() && kindOf(typ) != kindOf(want[name]) {
				t.Errorf("%s.%s is %s, want %s", mine, name, typ, want[name])
			}
		}
	}
}

// kindOf returns the kind of JSON value that a type is decoded from.
func kindOf(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the others are not used
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice, reflect.Map:
		return t.Kind().String() + " of " + kindOf(t.Elem())
	}
	return t.Kind().String()
}
