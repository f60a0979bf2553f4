package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whypull/whypull/deploy/lab"
	"github.com/whypull/whypull/deploy/lab/supervise"
)

func TestHelpEverywhere(t *testing.T) {
	for _, name := range []string{"", "build", "up", "down", "reset", "status", "kubeconfig", "exec", "load"} {
		out, err := execute(t, strings.Fields(name+" --help")...)
		if err != nil || !strings.Contains(out, "--dir") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestStatusOfALabThatDoesNotRun(t *testing.T) {
	out, err := execute(t, "status", "--dir", filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, lab.ErrNotRunning) || !strings.Contains(out, "none") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestKubeconfigIsInTheFolder(t *testing.T) {
	out, err := execute(t, "kubeconfig", "--dir", "/x")
	if err != nil || strings.TrimSpace(out) != "/x/admin.kubeconfig" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestPrintStatus(t *testing.T) {
	c := statusCommand(&options{})
	var out bytes.Buffer
	c.SetOut(&out)
	err := printStatus(c, lab.Status{Running: true, Components: []supervise.State{
		{Name: "a", Title: "the first", Ready: true}, {Name: "b", Stopped: true}, {Name: "c"},
	}})
	if err == nil {
		t.Error("a lab with a stopped component counts as ready")
	}
	for _, want := range []string{"ready", "stopped", "waiting", "the first"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestExecWantsACommand(t *testing.T) {
	if _, err := execute(t, "exec"); err == nil {
		t.Error("no error without a command")
	}
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := newCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}
