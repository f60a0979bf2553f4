package systemd

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	env := Environment{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}
	env = env.Set(Variable{Name: "A", Value: "3", File: "/f"}).Unset("B=1")
	if env.First("B", "A") != "2" || env.FileOf("A") != "/f" || env.FileOf("B") != "" || env.Unset("B=2").First("B", "A") != "3" {
		t.Errorf("got %v", env)
	}
}

func TestVariablesDoNotPrint(t *testing.T) {
	const secret = "hunter2"
	env := Environment{{Name: "A", Value: secret}}
	encoded, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %d %q", env, env, env[0], env[0], env, env) + string(encoded) + slog.AnyValue(env[0]).Resolve().String()
	if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) || !strings.Contains(text, "A") {
		t.Errorf("printed: %s", text)
	}
}
