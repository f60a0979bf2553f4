package scale

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/whypull/whypull/deploy/lab"
)

func TestMain(m *testing.M) {
	if lab.Reexec() {
		return
	}
	os.Exit(m.Run())
}

// A few nodes go through everything that thousands would.
func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the lab needs root")
	}
	dir, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(dir + "-scale")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	var out, progress bytes.Buffer
	if err := Run(t.Context(), l, "../../..", Options{Agents: 3, Quiet: time.Second, Outage: time.Second}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &progress, &out)
	}
	t.Log("\n" + out.String())
	for _, want := range []string{"all 3 ready", "bad secret, healed", "3 pods, median", "watches are back"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for n, good := range map[int]bool{-1: false, 0: false, 1: true, maxAgents: true, maxAgents + 1: false} {
		if err := (Options{Agents: n}).Validate(); (err == nil) != good {
			t.Errorf("%d agents: %v", n, err)
		}
	}
}

// No two agents have one address.
func TestAgentAddress(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range maxAgents {
		if a := agentAddress(i); seen[a] {
			t.Fatalf("agent %d: %s is taken", i, a)
		} else {
			seen[a] = true
		}
	}
}
