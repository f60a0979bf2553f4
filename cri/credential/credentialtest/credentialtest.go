// Package credentialtest checks that values do not print the credentials that
// they hold.
package credentialtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// holder has a value in all the places in which a value can be.
type holder[T any] struct {
	hidden  T
	pointer *T
	Shown   T
	Pointer *T
	List    []T
	Map     map[string]T
	Any     any
}

// NeverShows fails the test if one of the secrets is in what printing, logging
// or encoding makes of the value, by itself or inside of something else.
func NeverShows[T any](t *testing.T, value T, secrets ...string) {
	t.Helper()
	for _, v := range []any{
		value, &value, []T{value}, map[string]T{"x": value}, []any{value, &value},
		holder[T]{value, &value, value, &value, []T{value}, map[string]T{"x": value}, value},
	} {
		text := Shown(v)
		if form := Find(text, secrets...); form != "" {
			t.Errorf("%T shows %q in %s", v, form, text)
		}
	}
}

// Shown returns everything that printing, logging and encoding make of a value.
// An encoder that refuses the value contributes its error.
func Shown(v any) string {
	var b bytes.Buffer
	for _, verb := range []string{ // also those that do not fit
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%T", "%p", "%c", "%U", "%b", "%o", "%e", "%z", "%!",
	} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, v)
	fmt.Fprintln(&b, fmt.Errorf("with %v: %w", v, errors.New("x")))
	fmt.Fprintln(&b, recovered(v))
	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
		encoded, err := encode(v)
		b.Write(encoded)
		fmt.Fprintln(&b, err)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("x", "value", v, "list", []any{v}, "map", map[string]any{"v": v})
	}
	return b.String()
}

// recovered returns the text of a panic with the value.
func recovered(v any) (text string) {
	defer func() { text = fmt.Sprintf("panic: %v [recovered] %+v", v, recover()) }()
	panic(v) //nolint:forbidigo // what a panic prints is what is tested
}

// Find returns the first secret in a text, in the form in which it is there: as
// it is, or as package fmt and the encoders write bytes. "" if there is none.
func Find(text string, secrets ...string) string {
	for _, s := range secrets {
		encoded := base64.StdEncoding.EncodeToString([]byte(s))
		encoded = encoded[:min(len(encoded), 8)] // the end depends on what follows
		for _, form := range []string{
			s, fmt.Sprintf("%x", s), fmt.Sprintf("%X", s), fmt.Sprintf("% x", s), encoded,
			strings.Trim(fmt.Sprintf("%v", []byte(s)), "[]"), strings.Trim(fmt.Sprintf("%#v", []byte(s)), "[]byte{}"),
		} {
			if strings.Contains(text, form) {
				return form
			}
		}
	}
	return ""
}
