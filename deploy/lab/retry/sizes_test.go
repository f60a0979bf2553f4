package retry

import (
	"strings"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/cri/scratchpull"
	"github.com/whypull/whypull/deploy/lab/runtimes"
)

// An image of many small layers is pulled completely.
func TestInsideManyLayersArePulled(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		for name, parts := range map[string]struct{ size, layers int64 }{"forty": {32 << 10, 40}, "one": {1 << 20, 1}} {
			image := put(t, name+"-"+r.Tool, parts.size, parts.layers)
			res, err := puller(t, r, limits()).Pull(t.Context(), scratchpull.Request{Ref: image, Credential: robot(), HostsDir: hostsDir(r)})
			if err != nil || res.Stopped != scratchpull.NotStopped || res.Bytes <= parts.size*parts.layers || res.Fetched != res.Bytes {
				t.Errorf("%s: %+v, %v (%s)", name, res, err, text(err))
			}
			a := newAgent(t, r, limits(), robots())
			v := a.judge(t, a.failure(t, image, strange))
			t.Logf("%s: %s", name, describe(v))
			again := retries(v)
			if v.Cause != diagnosis.NotReproducible || v.Confidence != diagnosis.Confirmed || len(again) != 1 ||
				!strings.HasPrefix(again[0].Detail, "the runtime retried the pull of "+image+" with the credentials in secret robots") {
				t.Errorf("%s: %s", name, describe(v))
			}
		}
	})
}

// An image beyond the size limit is not pulled, but replayed.
func TestInsideLargeImageIsReplayed(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		repository := "sparse-" + r.Tool
		image, sent, err := large.sparse(repository)
		if err != nil {
			t.Fatal(err)
		}
		l := limits()
		l.Bytes = sparseSize / 2
		res, err := puller(t, r, l).Pull(t.Context(), scratchpull.Request{Ref: image, Credential: robot(), HostsDir: hostsDir(r)})
		t.Logf("alone: %d bytes sent, %d fetched, %d requests", sent.Load(), res.Fetched, large.requests(repository))
		if err != nil || res.Stopped != scratchpull.StoppedTooLarge || res.Bytes < sparseSize {
			t.Errorf("%+v, %v (%s)", res, err, text(err))
		}
		if all := sent.Load(); all >= sparseSize/4 {
			t.Errorf("%d bytes were sent", all)
		}
		before, asked := sent.Load(), large.requests(repository)
		a := newAgent(t, r, l, robots())
		v := a.judge(t, a.failure(t, image, strange))
		t.Logf("by the agent: %d bytes sent, %d requests: %s", sent.Load()-before, large.requests(repository)-asked, describe(v))
		again := retries(v)
		if v.Cause != diagnosis.NotReproducible || len(again) != 1 || !strings.HasPrefix(again[0].Detail, "pull replayed with the credentials in secret robots") {
			t.Error(describe(v))
		}
	})
}

// A replay alone sends only a few requests.
func TestInsideReplaySendsFewRequests(t *testing.T) {
	eachRuntime(t, func(t *testing.T, r runtimes.Runtime) {
		repository := "asks-" + r.Tool
		image, sent, err := large.sparse(repository)
		if err != nil {
			t.Fatal(err)
		}
		a := newAgent(t, r, limits(), robots())
		a.collector.Retry.Isolated = nil
		v := a.judge(t, a.failure(t, image, strange))
		requests := large.requests(repository)
		t.Logf("%d bytes sent, %d requests: %s", sent.Load(), requests, describe(v))
		if v.Cause != diagnosis.NotReproducible || sent.Load() > 1<<20 || requests > 30 {
			t.Errorf("%d bytes, %d requests: %s", sent.Load(), requests, describe(v))
		}
	})
}
