package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/registry"
)

func TestLoginDoesNotPrint(t *testing.T) {
	login := registry.Login{Username: "the-user", Password: secret}
	holder := struct {
		L registry.Login
		P *registry.Login
		M map[string]registry.Login
	}{login, &login, map[string]registry.Login{"a": login}}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
		for _, value := range []any{login, &login, holder, &holder, []registry.Login{login}} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "login", login, "pointer", &login, "holder", holder)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	for _, taboo := range []string{secret, "the-user", fmt.Sprintf("%x", secret)} {
		if strings.Contains(out.String(), taboo) {
			t.Errorf("%q is in\n%s", taboo, out.String())
		}
	}
}
