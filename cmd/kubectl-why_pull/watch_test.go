package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cmd/kubectl-why_pull/apitest"
	"github.com/whypull/whypull/cmd/kubectl-why_pull/why"
)

func TestWatch(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull), broken("other", "x", diagnosis.DiskFull))
	w := watch(t, s)
	w.await(t, "shop/web container app: DiskFull, a sentence on web\n")
	s.Put(broken("shop", "web", diagnosis.TagNotFound))
	w.await(t, "shop/web container app: TagNotFound, a sentence on web\n")
	s.Put(silent("shop", "api"))
	w.await(t, "shop/api container app: no report, ")
	s.Delete(silent("shop", "api"))
	w.await(t, "shop/api: fails no more\n")
	if status := w.interrupt(t); status != somethingFails || w.stderr.String() != "" {
		t.Errorf("status %d, %s", status, w.stderr.String())
	}
	if got := w.stdout.String(); strings.Count(got, "\n") != 4 || strings.Contains(got, "other/x") || strings.Contains(got, "\x1b") {
		t.Errorf("output:\n%s", got)
	}
}

// The exit status is that of the last state.
func TestWatchUntilAllIsWell(t *testing.T) {
	s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull), broken("b", "web", diagnosis.DiskFull))
	w := watch(t, s, "-A")
	w.await(t, "b/web container app: DiskFull")
	s.Put(fine("shop", "web"))
	s.Delete(broken("b", "web", diagnosis.DiskFull))
	w.await(t, "shop/web: fails no more\n")
	w.await(t, "b/web: fails no more\n")
	if status := w.interrupt(t); status != nothingFails {
		t.Errorf("status %d, %s", status, w.stderr.String())
	}
}

func TestWatchNothing(t *testing.T) {
	s := apitest.New(t, fine("shop", "web"))
	w := watch(t, s)
	w.await(t, "Nothing fails.\n")
	s.AwaitWatch(t)
	s.EndWatches(true) // a new list, with the same in it
	s.Put(broken("shop", "web", diagnosis.DiskFull))
	w.await(t, "DiskFull")
	if status := w.interrupt(t); status != somethingFails {
		t.Errorf("status %d", status)
	}
}

func TestWatchOne(t *testing.T) {
	s := apitest.New(t, fine("shop", "web"), broken("shop", "db", diagnosis.DiskFull))
	w := watch(t, s, "web")
	w.await(t, "Nothing fails.\n")
	s.Put(broken("shop", "web", diagnosis.TagNotFound))
	w.await(t, "shop/web container app: TagNotFound")
	if status := w.interrupt(t); status != somethingFails || strings.Contains(w.stdout.String(), "shop/db") {
		t.Errorf("status %d\n%s", status, w.stdout.String())
	}
}

func TestWatchDocuments(t *testing.T) {
	for format, separator := range map[string]string{"json": "", "yaml": "---\n"} {
		s := apitest.New(t, broken("shop", "web", diagnosis.DiskFull))
		w := watch(t, s, "-o", format)
		w.await(t, "DiskFull")
		s.Put(broken("shop", "web", diagnosis.TagNotFound))
		w.await(t, "TagNotFound")
		w.interrupt(t)
		out := w.stdout.String()
		if format == "yaml" {
			if strings.Count(out, separator) != 2 || !strings.HasPrefix(out, separator) {
				t.Errorf("YAML:\n%s", out)
			}
			continue
		}
		for line := range strings.Lines(out) {
			var o why.Overview
			if err := json.Unmarshal([]byte(line), &o); err != nil || len(o.Pods) != 1 {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func TestWatchRefused(t *testing.T) {
	for _, line := range []string{"list shop", "watch shop"} {
		s := apitest.New(t, fine("shop", "web"))
		s.Refuse(line)
		status, _, errs := called(t, s, "--watch")
		if status != usageError || !strings.Contains(errs, "forbidden") || strings.Contains(errs, "\x1b") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q", line, status, errs)
		}
	}
}
