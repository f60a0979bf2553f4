package systemd

import (
	"testing"

	"github.com/whypull/whypull/cri/credential"
	"github.com/whypull/whypull/cri/credential/credentialtest"
)

func variable(name, value string) Variable {
	return Variable{Name: name, Value: credential.Redact(value)}
}

func TestEnvironment(t *testing.T) {
	env := Environment{variable("A", "1"), variable("B", "2")}
	env = env.Set(Variable{Name: "A", Value: credential.Redact("3"), File: "/f"}).Unset("B=1")
	if env.First("B", "A") != "2" || env.FileOf("A") != "/f" || env.FileOf("B") != "" || env.Unset("B=2").First("B", "A") != "3" {
		t.Errorf("got %v", env)
	}
}

func TestVariablesDoNotPrint(t *testing.T) {
	credentialtest.NeverShows(t, Environment{variable("A", "hunter2")}, "hunter2")
}
