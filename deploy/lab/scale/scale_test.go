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
	for _, want := range []string{"all 3 ready", "bad secret, healed", "3 pods, median", "watches are back", "etcd writes a pod", "another client meanwhile: get", "watches on pods after"} {
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

// The ratio is the same in both rounds, so that no draw of them has another.
func TestCompare(t *testing.T) {
	t.Parallel()
	var rounds []round
	for n := range 2 {
		var r round
		for i := range 100 {
			wait := time.Duration((100-i)*(1+3*n)) * time.Millisecond
			r.agent, r.bare = append(r.agent, 3*wait), append(r.bare, 2*wait)
		}
		rounds = append(rounds, r)
	}
	want := `status seen to annotation seen, means of 2 bursts
                median                   p99
  agent, s      0.306 (0.153 to 0.612)   0.600 (0.300 to 1.200)
  bare patch, s 0.204 (0.102 to 0.408)   0.400 (0.200 to 0.800)
  ratio         1.500 (1.500 to 1.500)   1.500 (1.500 to 1.500)`
	if got := compare(rounds); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	at := time.Now()
	o := &others{}
	o.note(request{kind: "get", at: at.Add(-time.Second), took: time.Hour})
	for i := range 3 {
		o.note(request{kind: "get", at: at.Add(time.Second), took: time.Duration(i+1) * time.Millisecond})
	}
	o.note(request{kind: "update", at: at, took: time.Millisecond})
	o.note(request{kind: "update", at: at, err: context.Canceled})
	all := o.since(at)
	if got, want := latencies(all), "get 3, median 2ms, p99 3ms; list 0, median 0s, p99 0s; update 1, median 1ms, p99 1ms (1 failed)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := updates(all); n != 1 {
		t.Errorf("%d updates", n)
	}
}
